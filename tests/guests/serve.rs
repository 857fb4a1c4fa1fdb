//! The server behind the relays that are measured. A client's first byte says what it wants of its connection.

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Threads that accept. Connections that last get one of their own.
const ACCEPTORS: usize = 4;
/// Bytes moved at once.
const CHUNK: usize = 256 * 1024;
/// Bytes that a connection exchanges before it idles.
const GREETING: usize = 100;

/// Connections that idle.
static PARKED: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());
/// Between two looks at which of them have ended.
const LOOK: Duration = Duration::from_millis(100);
/// getrlimit(2): descriptors.
const NOFILE: i32 = 7;
/// poll(2).
const POLLIN: i16 = 1;

#[repr(C)]
struct PollFd {
    fd: i32,
    events: i16,
    revents: i16,
}

unsafe extern "C" {
    fn poll(fds: *mut PollFd, count: u64, milliseconds: i32) -> i32;
    fn getrlimit(resource: i32, limits: *mut [u64; 2]) -> i32;
    fn setrlimit(resource: i32, limits: *const [u64; 2]) -> i32;
}

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

fn accept<S: Read + Write + Send + Into<OwnedFd> + 'static>(next: impl Fn() -> io::Result<S> + Send + Sync + 'static) {
    let mut limits = [0; 2];
    // SAFETY: both have room for a `struct rlimit`.
    unsafe {
        getrlimit(NOFILE, &mut limits);
        setrlimit(NOFILE, &[limits[1]; 2]);
    }
    std::thread::spawn(close_what_has_ended);
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

fn begin<S: Read + Write + Send + Into<OwnedFd> + 'static>(mut stream: S) -> io::Result<()> {
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
            PARKED.lock().expect("no panic").push(stream.into());
            return Ok(());
        }
        b"d" => discard,
        b"s" => send,
        _ => echo,
    };
    std::thread::spawn(move || work(stream));
    Ok(())
}

/// Without a thread for each: their stacks would be counted as the kernel's memory for a connection.
fn close_what_has_ended() {
    loop {
        std::thread::sleep(LOOK);
        let mut parked = PARKED.lock().expect("no panic");
        let mut asked: Vec<PollFd> = parked
            .iter()
            .map(|fd| PollFd { fd: fd.as_raw_fd(), events: POLLIN, revents: 0 })
            .collect();
        // SAFETY: an array of `struct pollfd` of this length.
        unsafe { poll(asked.as_mut_ptr(), asked.len() as u64, 0) };
        // Its client says nothing any more: what there is to read is an end.
        let mut ended = asked.iter().map(|one| one.revents != 0);
        parked.retain(|_| !ended.next().unwrap_or(false));
    }
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
