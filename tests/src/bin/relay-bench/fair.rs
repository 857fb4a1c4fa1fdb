//! Many connections at once, with and without one whose client has stopped to read.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::clients::{CHUNK, WARM_UP, connect, percentile};

/// Streams of bytes from the server.
const BULK: usize = 30;
/// Connections that ping.
const PINGS: usize = 100;
/// Between two pings of one connection.
const PING_PAUSE: Duration = Duration::from_millis(50);
/// A slow reader takes so much at once, and then rests.
const SIP: usize = 64 * 1024;
const REST: Duration = Duration::from_millis(10);

/// What all threads share.
#[derive(Default)]
struct Shared {
    over: AtomicBool,
    /// Which measurement this is; odd: one is on.
    phase: AtomicU64,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }
}

/// Measures `pairs` times for `window` without and `window` with a stalled reader, everything else as it was. One slow
/// reader is there always.
pub(crate) fn fair(port: u16, window: Duration, pairs: usize) -> Result<Value> {
    let shared = Arc::new(Shared::default());
    let counts: Vec<Arc<AtomicU64>> = (0..BULK).map(|_| Arc::default()).collect();
    let mut threads = Vec::new();
    for count in &counts {
        let (mut stream, count, shared) = (connect(port, b"s")?, Arc::clone(count), Arc::clone(&shared));
        threads.push(thread::spawn(move || {
            let mut buffer = vec![0; CHUNK];
            while !shared.is_over() {
                let Ok(more @ 1..) = stream.read(&mut buffer) else {
                    break;
                };
                count.fetch_add(more as u64, Relaxed);
            }
        }));
    }
    let (mut slow, also) = (connect(port, b"s")?, Arc::clone(&shared));
    threads.push(thread::spawn(move || {
        let mut buffer = vec![0; SIP];
        while !also.is_over() && slow.read_exact(&mut buffer).is_ok() {
            thread::sleep(REST);
        }
    }));
    let pingers = (0..PINGS)
        .map(|index| pinger(port, index, Arc::clone(&shared)))
        .collect::<Result<Vec<_>>>()?;
    thread::sleep(WARM_UP);
    let mut phases = Vec::new();
    for phase in 0..2 * pairs {
        // Which comes first changes: what the machine does meanwhile shall not always meet the same.
        let is_stalled = phase % 4 == 1 || phase % 4 == 2;
        let stalled = if is_stalled {
            Some(connect(port, b"s")?)
        } else {
            None
        };
        // Until what lies between is full, the stalled one is a stream like the others.
        thread::sleep(WARM_UP);
        let before: Vec<u64> = counts.iter().map(|count| count.load(Relaxed)).collect();
        shared.phase.fetch_add(1, Relaxed);
        let start = Instant::now();
        thread::sleep(window);
        let seconds = start.elapsed().as_secs_f64();
        shared.phase.fetch_add(1, Relaxed);
        let after = counts.iter().map(|count| count.load(Relaxed));
        let rates: Vec<f64> = after
            .zip(before)
            .map(|(after, before)| (after - before) as f64 / 1e9 / seconds)
            .collect();
        let slowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
        phases.push((is_stalled, rates.iter().sum::<f64>(), slowest));
        drop(stalled);
    }
    shared.over.store(true, Relaxed);
    for thread in threads {
        let _ = thread.join();
    }
    let mut times = vec![Vec::new(); 2 * pairs];
    for pinger in pingers {
        for (phase, time) in pinger.join().ok().context("a client panicked")? {
            let index = usize::try_from(phase / 2)?;
            if let Some(list) = times.get_mut(index) {
                list.push(time);
            }
        }
    }
    let phases = phases.into_iter().zip(times).map(|((is_stalled, all, slowest), mut times)| {
        let [p50, p99] = [0.5, 0.99].map(|part| percentile(&mut times, part));
        json!({"stalled": is_stalled, "gigabytesPerSecond": all, "slowestOverMean": slowest * BULK as f64 / all,
            "p50": p50, "p99": p99})
    });
    Ok(phases.collect())
}

/// A connection that pings now and then; its times, each with the phase in which it was measured.
fn pinger(port: u16, index: usize, shared: Arc<Shared>) -> Result<thread::JoinHandle<Vec<(u64, f64)>>> {
    let mut stream = connect(port, b"e")?;
    Ok(thread::spawn(move || {
        use std::io::Write as _;
        let mut times = Vec::new();
        thread::sleep(PING_PAUSE.mul_f64(index as f64 / PINGS as f64));
        while !shared.is_over() {
            let (phase, start) = (shared.phase.load(Relaxed), Instant::now());
            if stream.write_all(&[1]).is_err() || stream.read_exact(&mut [0]).is_err() {
                break;
            }
            if phase % 2 == 1 && shared.phase.load(Relaxed) == phase {
                times.push((phase, start.elapsed().as_secs_f64() * 1e6));
            }
            thread::sleep(PING_PAUSE);
        }
        times
    }))
}
