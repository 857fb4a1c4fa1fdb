//! Clients of a relay; each prints one JSON object with what it saw. What a connection asks of the server is in
//! `tests/guests/serve.rs`.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::process::Processes;

/// Bytes moved at once.
pub(crate) const CHUNK: usize = 256 * 1024;
/// What is not measured: slow start, and the relay's own way into its quick path.
pub(crate) const WARM_UP: Duration = Duration::from_millis(150);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes that a connection exchanges before it idles.
const GREETING: usize = 100;

/// A connection that has said what it wants.
pub(crate) fn connect(port: u16, wish: &[u8]) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(wish)?;
    Ok(stream)
}

/// One stream of bytes to the server.
pub(crate) fn bulk_in(port: u16, window: Duration, processes: &[&str]) -> Result<Value> {
    let chunk = vec![7; CHUNK];
    let mut stream = connect(port, b"d")?;
    bulk(window, processes, || {
        stream.write_all(&chunk)?;
        Ok(chunk.len())
    })
}

/// One stream of bytes from the server.
pub(crate) fn bulk_out(port: u16, window: Duration, processes: &[&str]) -> Result<Value> {
    let mut buffer = vec![0; CHUNK];
    let mut stream = connect(port, b"s")?;
    bulk(window, processes, || match stream.read(&mut buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    })
}

fn bulk(window: Duration, processes: &[&str], mut step: impl FnMut() -> io::Result<usize>) -> Result<Value> {
    let warm = Instant::now() + WARM_UP;
    while Instant::now() < warm {
        step()?;
    }
    let processes = Processes::new(processes)?;
    let (cpu, start, mut bytes) = (processes.cpu(), Instant::now(), 0);
    while start.elapsed() < window {
        bytes += step()?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let gigabytes = bytes as f64 / 1e9;
    Ok(
        json!({"gigabytesPerSecond": gigabytes / seconds, "cpuPerGigabyte": (processes.cpu() - cpu) / gigabytes}),
    )
}

/// Connections that carry one byte each way, by `count` clients that make one after another.
pub(crate) fn connections(count: usize, port: u16, window: Duration) -> Result<Value> {
    let start = Instant::now();
    let clients: Vec<_> = (0..count)
        .map(|_| {
            std::thread::spawn(move || {
                let (mut made, mut failed) = (0_u64, 0_u64);
                let mut byte = [0];
                while start.elapsed() < window {
                    let exchanged = connect(port, b"c").and_then(|mut stream| stream.read_exact(&mut byte));
                    match exchanged {
                        Ok(()) => made += 1,
                        Err(_) => failed += 1,
                    }
                }
                (made, failed)
            })
        })
        .collect();
    let (mut made, mut failed) = (0, 0);
    for client in clients {
        let Ok((more, worse)) = client.join() else {
            bail!("a client panicked")
        };
        (made, failed) = (made + more, failed + worse);
    }
    let rate = made as f64 / start.elapsed().as_secs_f64();
    Ok(json!({"perSecond": rate, "failed": failed}))
}

/// Round trips of `size` bytes on one connection, alone or with a stream of bytes to the server beside it.
pub(crate) fn ping(size: usize, busy: bool, port: u16, window: Duration) -> Result<Value> {
    let mut stream = connect(port, b"e")?;
    let over = Arc::new(AtomicBool::new(false));
    let bulk = if busy {
        let (mut bulk, over) = (connect(port, b"d")?, Arc::clone(&over));
        Some(std::thread::spawn(move || -> io::Result<()> {
            let chunk = vec![7; CHUNK];
            while !over.load(Relaxed) {
                bulk.write_all(&chunk)?;
            }
            Ok(())
        }))
    } else {
        None
    };
    let mut message = vec![1; size];
    let mut times = Vec::new();
    let start = Instant::now();
    loop {
        let before = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        let passed = before.duration_since(start);
        if passed > WARM_UP + window {
            break;
        }
        if passed > WARM_UP {
            times.push(before.elapsed().as_secs_f64() * 1e6);
        }
    }
    over.store(true, Relaxed);
    if let Some(bulk) = bulk
        && !matches!(bulk.join(), Ok(Ok(())))
    {
        bail!("the stream beside the pings broke");
    }
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|part| percentile(&mut times, part));
    Ok(json!({"p50": p50, "p99": p99, "p999": p999, "count": times.len()}))
}

/// The value below which `part` of them are.
pub(crate) fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index: not negative, and far below 2^52"
    )]
    let index = (values.len().saturating_sub(1) as f64 * part).round() as usize;
    values.get(index).copied().unwrap_or(f64::NAN)
}

/// Opens so many connections, exchanges a few bytes on each, says `ready`, and keeps them until standard input ends.
pub(crate) fn idle(count: usize, port: u16) -> Result<()> {
    let mut greeting = [1; GREETING];
    greeting[0] = b'i';
    let mut open = Vec::new();
    for _ in 0..count {
        let mut stream = connect(port, &greeting)?;
        stream.read_exact(&mut [0; GREETING - 1])?;
        open.push(stream);
    }
    println!("ready");
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
