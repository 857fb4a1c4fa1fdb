//! Servers that answer probes badly, each in one way. Every connection is told.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// Answers every connection to `port` as `mode` says.
pub(crate) fn serve(mode: &str, port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    for (number, stream) in listener.incoming().enumerate() {
        let Ok(stream) = stream else { continue };
        println!("{mode} {number}");
        let mode = mode.to_owned();
        std::thread::spawn(move || {
            // Whoever has gone has gone.
            let _ = answer(&mode, number, stream);
        });
    }
}

fn answer(mode: &str, number: usize, mut stream: TcpStream) -> std::io::Result<()> {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";
    match mode {
        "closes" => return Ok(()),
        "half" => {
            read_head(&mut stream)?;
            return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-");
        }
        _ => read_head(&mut stream)?,
    }
    match mode {
        "silent" => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        "drip" => {
            for byte in ok.as_bytes() {
                stream.write_all(&[*byte])?;
                std::thread::sleep(Duration::from_secs(1));
            }
            Ok(())
        }
        "loop" => stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"),
        "huge" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")?;
            let block = [b'x'; 1 << 16];
            for _ in 0..1600 {
                stream.write_all(&block)?;
            }
            Ok(())
        }
        // Never twice in a row.
        "flaps" if number % 2 == 0 => stream.write_all(b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n"),
        _ => stream.write_all(ok.as_bytes()),
    }
}

fn read_head(stream: &mut TcpStream) -> std::io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(())
}
