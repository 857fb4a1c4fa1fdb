//! The server behind the relays that are measured. A client's first byte says what it wants of its connection.

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

/// Threads that accept. Connections that last get one of their own.
const ACCEPTORS: usize = 4;
/// Bytes moved at once.
const CHUNK: usize = 256 * 1024;
/// Bytes that a connection exchanges before it idles.
const GREETING: usize = 100;

/// Serves at a port of 127.0.0.1, or at the path of a Unix socket, for ever.
pub(crate) fn serve(address: &str) {
    match address.parse::<u16>() {
        Ok(port) => {
            let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
            accept(move || {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Ok(stream)
            });
        }
        Err(_) => {
            let listener = UnixListener::bind(address).expect("a path");
            accept(move || listener.accept().map(|(stream, _)| stream));
        }
    }
}

fn accept<S: Read + Write + Send + 'static>(next: impl Fn() -> io::Result<S> + Send + Sync + 'static) {
    let next = Arc::new(next);
    println!("ready");
    let threads: Vec<_> = (0..ACCEPTORS)
        .map(|_| {
            let next = Arc::clone(&next);
            std::thread::spawn(move || {
                loop {
                    if let Ok(stream) = next() {
                        // A client that is gone is the client's affair.
                        let _ = begin(stream);
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        let _ = thread.join();
    }
}

fn begin<S: Read + Write + Send + 'static>(mut stream: S) -> io::Result<()> {
    let mut first = [0];
    stream.read_exact(&mut first)?;
    let work: fn(S) -> io::Result<()> = match &first {
        // One byte each way.
        b"c" => {
            stream.write_all(&first)?;
            let _ = stream.read(&mut first)?;
            return Ok(());
        }
        b"i" => {
            let mut greeting = [0; GREETING - 1];
            stream.read_exact(&mut greeting)?;
            stream.write_all(&greeting)?;
            // It stays open until this process ends.
            std::mem::forget(stream);
            return Ok(());
        }
        b"d" => discard,
        b"s" => send,
        _ => echo,
    };
    std::thread::spawn(move || work(stream));
    Ok(())
}

fn discard<S: Read>(mut stream: S) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

fn send<S: Write>(mut stream: S) -> io::Result<()> {
    let chunk = vec![7; CHUNK];
    loop {
        stream.write_all(&chunk)?;
    }
}

fn echo<S: Read + Write>(mut stream: S) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count])?;
    }
}
