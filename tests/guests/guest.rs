//! The program inside the containers of the end-to-end tests: one binary that misbehaves on demand. It needs nothing
//! but the kernel, so its image is one file.

mod steps;
mod outside;
mod bombs;
mod floods;
mod serve;
mod turn;
mod target;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["do", steps @ ..] => steps::perform(steps),
        ["exit", code] => std::process::exit(code.parse().expect("a code")),
        ["say", text] => println!("{text}"),
        // The word tells processes apart.
        ["sleep"] | ["idle", _] => forever(),
        // The kernel's doing, so that the first process of a PID namespace dies of it, too.
        ["fault"] => std::process::abort(),
        ["fork-bomb", port] => bombs::processes(port.parse().expect("a port")),
        // PID 1 of a PID namespace ignores SIGTERM unless it has a handler: this is a program that does not end.
        ["ignore-term"] => forever(),
        ["fail-once", marker] => fail_once(marker),
        ["orphans", count] => orphans(count.parse().expect("a number")),
        ["orphan"] => {}
        ["parent-of-orphan"] => {
            Command::new("/guest").arg("orphan").spawn().expect("a child");
        }
        ["target", mode, port] => target::serve(mode, port.parse().expect("a port")),
        ["spin"] => loop {
            std::hint::spin_loop();
        },
        // Ends while its children live.
        ["with-children", count, code] => {
            for _ in 0..count.parse::<u32>().expect("a number") {
                Command::new("/guest").args(["idle", "child"]).spawn().expect("a child");
            }
            std::process::exit(code.parse().expect("a code"));
        }
        ["flood"] => flood(),
        ["flood-at-signal", _name, kind, amount] => std::process::exit(floods::flood(kind, amount.parse().expect("a number"))),
        ["both", out, error, code] => {
            println!("{out}");
            eprintln!("{error}");
            std::process::exit(code.parse().expect("a code"));
        }
        ["stdin"] => {
            std::io::copy(&mut std::io::stdin(), &mut std::io::stdout()).expect("an end");
        }
        ["flood-and-fail"] => {
            let line = [b'x'; 65536];
            std::io::stdout().write_all(&line).expect("a reader");
            std::io::stderr().write_all(&line).expect("a reader");
            std::process::exit(1);
        }
        ["lines", count, length, per_second] => {
            let number = |text: &str| text.parse().expect("a number");
            lines(number(count), number(length), number(per_second) as u64);
        }
        ["one-line", bytes] => one_line(bytes.parse().expect("a number")),
        ["count-as", name, lines] => (0..lines.parse::<u64>().expect("a number")).for_each(|line| println!("{name}={line:07}")),
        ["count", lines, burst, pause] => {
            let number = |text: &str| text.parse().expect("a number");
            count(number(lines), number(burst), number(pause));
        }
        ["serve", address] => serve::serve(address),
        ["echo", port] => echo(port.parse().expect("a port")),
        ["echo-datagrams", port] => echo_datagrams(port.parse().expect("a port")),
        ["cat", path] => print!("{}", std::fs::read_to_string(path).unwrap_or_else(|error| error.to_string())),
        ["cat-and-sleep", path] => {
            println!("{}", std::fs::read_to_string(path).unwrap_or_else(|error| error.to_string()));
            forever();
        }
        ["env", name] => {
            println!("{name}={}", std::env::var(name).unwrap_or_else(|_| "absent".to_owned()));
            forever();
        }
        ["watch", paths @ ..] => watch(paths),
        ["write", path, text] => std::fs::write(path, text).expect("a writable file"),
        ["show", path] => show(path),
        ["attest", socket, target] => {
            let (status, body) = get(socket, target);
            println!("status {status}");
            println!("body {body}");
            forever();
        }
        ["attest-once", socket, target] => println!("{}", get(socket, target).1),
        ["attest-flood", socket, count] => attest_flood(socket, count.parse().expect("a number")),
        ["exists", path] => std::process::exit(i32::from(std::fs::metadata(path).is_err())),
        ["healthy-for", milliseconds, path] => healthy_for(milliseconds.parse().expect("a number"), path),
        ["http", port] => http(port.parse().expect("a port")),
        ["hang-with-child", word] => {
            println!("hanging");
            Command::new("/guest").args(["hang-with-child", "child-of", word]).spawn().expect("a child");
            forever();
        }
        ["hang-with-child", "child-of", _word] => forever(),
        ["leave-behind", word, code] => {
            Command::new("/guest").args(["escape", word]).spawn().expect("a child");
            std::process::exit(code.parse().expect("a code"));
        }
        ["hang-and-fork", count, word] => hang_and_fork(count.parse().expect("a number"), word),
        ["escape", word, "twice"] => {
            // SAFETY: a system call without arguments.
            unsafe { setsid() };
            Command::new("/guest").args(["escape", word]).spawn().expect("a child");
        }
        ["escape", _word] => {
            // SAFETY: a system call without arguments.
            unsafe { setsid() };
            // It says nothing: its output may be closed by now.
            loop {
                std::thread::sleep(Duration::from_secs(3600));
            }
        }
        ["watch-for", word] => watch_for(word),
        ["wait-lines", path, count] => wait_lines(path, count.parse().expect("a number")),
        ["on-signal", milliseconds, code] => {
            on_signal(milliseconds.parse().expect("a number"), code.parse().expect("a code"));
        }
        ["mad", port] => mad(port.parse().expect("a port")),
        ["grpc", port] => grpc(port.parse().expect("a port")),
        ["append", path, text] => append(path, text),
        ["append-and-fail", path, text] => {
            append(path, text);
            std::process::exit(3);
        }
        ["turns", directory, name, steps @ ..] => turn::take(directory, name, steps),
        ["who"] => who(),
        ["stamp"] => stamp(),
        ["inspect"] => inspect(),
        ["cgroup"] => cgroup(),
        ["eat"] => eat(),
        ["eat-in-a-child"] => {
            let mut child = Command::new("/guest").arg("eat").spawn().expect("a child");
            println!("the child: {}", child.wait().expect("our child"));
            forever();
        }
        ["make-device", name] => make_device(name),
        ["calls"] => calls(),
        ["vsock"] => vsock(),
        ["copy-setuid", path] => copy_setuid(path),
        ["leave-child", word] => {
            Command::new("/guest").args(["hang-with-child", "child-of", word]).spawn().expect("a child");
            println!("left {word}");
        }
        ["processes"] => processes(),
        ["try-write", path] => {
            println!("write {path}: {}", outcome(std::fs::File::options().create(true).append(true).open(path).map(drop)));
        }
        ["inspect-to", path] => {
            let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
            std::fs::write(path, status + "end of the status\n").expect("a writable volume");
        }
        ["wait-and-cat", path] => {
            let whole = |text: &String| text.ends_with("end of the status\n");
            loop {
                if let Some(text) = std::fs::read_to_string(path).ok().filter(whole) {
                    print!("{text}");
                    forever();
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        ["write-bytes", path, hex] => write_bytes(path, hex),
        ["reach", paths @ ..] => reach(paths),
        ["kill-everything"] => kill_everything(),
        ["call", host, port, text] => outside::call(host, port.parse().expect("a port"), text),
        ["hear", host, port] => outside::hear(host, port.parse().expect("a port")),
        ["storm", host, port, count] => {
            let count = count.parse().expect("a number");
            outside::storm(host, port.parse().expect("a port"), count);
        }
        ["half-open", host, port, count] => outside::half_open(host, port.parse().expect("a port"), count.parse().expect("a number")),
        ["hello", host, port, pace] => outside::hello(host, port.parse().expect("a port"), pace),
        ["watch-port", host, port] => outside::watch(host, port.parse().expect("a port")),
        ["dns-corpus", allowed] => outside::corpus(allowed),
        ["whisper"] => outside::whisper(),
        ["die-at", port] => die_at(port.parse().expect("a port")),
        other => panic!("guest: {other:?}?"),
    }
}

fn forever() {
    println!("ready");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Healthy for a while, then not.
fn healthy_for(milliseconds: u64, path: &str) {
    std::fs::write(path, "ok").expect("a writable file");
    std::thread::sleep(Duration::from_millis(milliseconds));
    std::fs::remove_file(path).expect("our file");
    forever();
}

unsafe extern "C" {
    fn getrlimit(resource: i32, limits: *mut [u64; 2]) -> i32;
    fn setrlimit(resource: i32, limits: *const [u64; 2]) -> i32;
    fn setsid() -> i32;
    fn signal(number: i32, handler: usize) -> usize;
}

/// Hangs, after having started so many processes that leave its group and session, and whose parents end.
fn hang_and_fork(count: usize, word: &str) {
    for _ in 0..count {
        // Too many is what is wanted.
        let _ = Command::new("/guest").args(["escape", word, "twice"]).spawn();
    }
    forever();
}

/// Says how many other processes have this word among their arguments, whenever that changes.
fn watch_for(word: &str) {
    let mut last = None;
    loop {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        // Neither this process nor `self`, which is this process.
        let is_other = |name: &std::ffi::OsStr| name.to_str().and_then(|name| name.parse().ok()).is_some_and(|pid: u32| pid != 1);
        let others = entries.filter(|entry| is_other(&entry.file_name()));
        let commands = others.map(|entry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default());
        let has_word = |command: &Vec<u8>| command.split(|byte| *byte == 0).any(|part| part == word.as_bytes());
        let count = Some(commands.filter(has_word).count());
        if count != last {
            println!("seen {}", count.unwrap_or_default());
            last = count;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until a file has so many lines.
fn wait_lines(path: &str, count: usize) {
    while std::fs::read_to_string(path).unwrap_or_default().lines().count() < count {
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("{count} lines");
    forever();
}

/// The last signal that came.
static SIGNAL: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);

extern "C" fn note(number: i32) {
    SIGNAL.store(number, std::sync::atomic::Ordering::SeqCst);
}

/// Waits for SIGTERM, SIGUSR1 or SIGRTMIN+3, says which, and ends after a while.
fn on_signal(milliseconds: u64, code: i32) {
    catch(&[15, 10, 37]);
    println!("ready");
    let number = caught();
    println!("signal {number}");
    std::thread::sleep(Duration::from_millis(milliseconds));
    println!("handled {number}");
    std::process::exit(code);
}

fn catch(signals: &[i32]) {
    for number in signals {
        // SAFETY: the handler stores one number.
        unsafe { signal(*number, note as *const () as usize) };
    }
}

/// Waits for one of those that are caught.
fn caught() -> i32 {
    loop {
        match SIGNAL.load(std::sync::atomic::Ordering::SeqCst) {
            0 => std::thread::sleep(Duration::from_millis(10)),
            number => break number,
        }
    }
}

/// A server that says too much, too slowly, nonsense, or nothing; another thing to each who asks.
fn mad(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    println!("ready");
    for (number, stream) in listener.incoming().enumerate() {
        let Ok(mut stream) = stream else { continue };
        println!("connection {number}");
        std::thread::spawn(move || {
            let mut state = number as u64 + 1;
            let mut random = move || {
                // xorshift: nobody has to believe that it is random.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            };
            let (first, again): (&[u8], Vec<u8>) = match number % 6 {
                0 => (b"", (0..4096).map(|_| random()).collect()),
                1 => (b"HTTP/1.1 200 OK\r\nX: ", vec![b'x'; 4096]),
                2 => (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", vec![b'x'; 4096]),
                // Settings, and pings without end (RFC 9113, 6.7).
                3 => (&[0, 0, 0, 4, 0, 0, 0, 0, 0], [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8].repeat(200)),
                // A record of TLS, byte by byte.
                4 => (&[0x16, 3, 3, 0x40, 0, 2], vec![0]),
                _ => (b"", Vec::new()),
            };
            let _ = stream.write_all(first);
            while !again.is_empty() && stream.write_all(&again).is_ok() {
                if again.len() == 1 {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            let _ = stream.read_to_end(&mut Vec::new());
        });
    }
}

/// A gRPC health server that serves, without reading what is asked: settings, acknowledgement, and when the request is
/// over (its data frame ends the stream), headers, `{status: SERVING}` and trailers.
fn grpc(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    println!("ready");
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let mut preface = [0; 24];
        let served = stream.read_exact(&mut preface).and_then(|()| serve_health(&mut stream));
        println!("served: {}", outcome(served));
    }
}

fn serve_health(stream: &mut std::net::TcpStream) -> std::io::Result<()> {
    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
        bytes.extend_from_slice(payload);
        bytes
    }
    fn literal(name: &str, value: &str) -> Vec<u8> {
        let mut bytes = vec![0, name.len() as u8];
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(value.len() as u8);
        bytes.extend_from_slice(value.as_bytes());
        bytes
    }
    stream.write_all(&frame(4, 0, 0, &[]))?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload)?;
        match (head[3], head[4]) {
            (4, 0) => stream.write_all(&frame(4, 1, 0, &[]))?,
            (0, 1) => break,
            _ => {}
        }
    }
    let headers = [&[0x88][..], &literal("content-type", "application/grpc")].concat();
    stream.write_all(&frame(1, 4, 1, &headers))?;
    stream.write_all(&frame(0, 0, 1, &[0, 0, 0, 0, 2, 8, 1]))?;
    stream.write_all(&frame(1, 5, 1, &literal("grpc-status", "0")))?;
    // The client says goodbye.
    stream.read_to_end(&mut Vec::new()).map(drop)
}

/// Answers `/redirect` with a way to `/`, `/redirect-broken` with one to `/broken`, `/elsewhere` with a way out, `/broken` with 500, and everything else with 200.
fn http(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    println!("ready");
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
            head.push(byte[0]);
            if head == [0x16] {
                // Somebody speaks TLS.
                break;
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        println!("asked: {}", head.replace("\r\n", " | "));
        let answer = match head.split(' ').nth(1) {
            Some("/redirect") => "302 Found\r\nLocation: /",
            Some("/redirect-broken") => "302 Found\r\nLocation: /broken",
            Some("/elsewhere") => "302 Found\r\nLocation: http://0.0.0.0/",
            _ if head.starts_with('\u{16}') => "400 Bad Request",
            Some("/broken") => "500 Broken",
            _ => "200 OK",
        };
        let _ = write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 4\r\n\r\nbody");
    }
}

/// Says what is in files, and again whenever it changes.
fn watch(paths: &[&str]) {
    let mut known = vec![String::new(); paths.len()];
    loop {
        for (path, known) in paths.iter().zip(&mut known) {
            let now = std::fs::read_to_string(path).unwrap_or_else(|_| "absent".to_owned());
            if now != *known {
                println!("{path}: {now}");
                *known = now;
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn append(path: &str, text: &str) {
    let file = std::fs::File::options().create(true).append(true).open(path);
    writeln!(file.expect("a writable file"), "{text}").expect("room");
}

/// Where a command of a probe finds itself; it fails, so that this is told.
fn who() {
    println!("argv0 {:?}", std::env::args().next());
    println!("hostname {}", std::env::var("HOSTNAME").unwrap_or_default());
    println!("own {}", std::env::var("OWN").unwrap_or_default());
    let mut processes: Vec<u32> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    processes.sort_unstable();
    println!("first process {:?}", processes.first());
    let first = std::fs::read_to_string("/proc/1/cmdline").unwrap_or_default();
    println!("it is {}", first.replace('\0', " ").trim());
    for line in std::fs::read_to_string("/proc/self/status").unwrap_or_default().lines() {
        if ["Uid", "CapEff"].iter().any(|field| line.starts_with(field)) {
            println!("{}", line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    std::process::exit(1);
}

fn fail_once(marker: &str) {
    if std::fs::metadata(marker).is_err() {
        std::fs::write(marker, "was here").expect("a writable volume");
        std::process::exit(1);
    }
    forever();
}

/// Processes whose parent is gone: they belong to PID 1 of this container, which is us, and when we end, to nobody.
fn orphans(count: usize) {
    for _ in 0..count {
        let mut parent = Command::new("/guest").arg("parent-of-orphan").spawn().expect("a child");
        parent.wait().expect("its end");
    }
    println!("{count} orphans made");
    forever();
}

fn flood() {
    let line = [b'x'; 99];
    let mut chunk = Vec::new();
    for _ in 0..600 {
        chunk.extend_from_slice(&line);
        chunk.push(b'\n');
    }
    let mut out = std::io::stdout().lock();
    while out.write_all(&chunk).is_ok() {}
}

/// Numbered lines of a length, so many bytes a second; then nothing more.
fn lines(count: usize, length: usize, per_second: u64) {
    let start = std::time::Instant::now();
    let rest = "x".repeat(length - 12);
    let (mut chunk, mut written) = (Vec::new(), 0);
    let mut out = std::io::stdout().lock();
    for number in 0..count {
        writeln!(chunk, "{number:010} {rest}").expect("memory");
        if chunk.len() >= 32 << 10 || number + 1 == count {
            out.write_all(&chunk).expect("a reader");
            written += chunk.len() as u64;
            chunk.clear();
            let due = Duration::from_secs_f64(written as f64 / per_second as f64);
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
    }
    out.flush().expect("a reader");
    forever();
}

/// So many bytes without a line's end; then nothing more.
fn one_line(mut bytes: usize) {
    let chunk = [b'x'; 1 << 16];
    let mut out = std::io::stdout().lock();
    while bytes > 0 {
        let now = bytes.min(chunk.len());
        out.write_all(&chunk[..now]).expect("a reader");
        bytes -= now;
    }
    out.flush().expect("a reader");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Numbered lines, `burst` at once, with pauses of so many milliseconds; then nothing more.
fn count(lines: u64, burst: u64, pause: u64) {
    let mut out = std::io::stdout().lock();
    let mut chunk = Vec::new();
    for line in 0..lines {
        writeln!(chunk, "line {line:07}").expect("memory");
        if (line + 1) % burst == 0 || line + 1 == lines {
            out.write_all(&chunk).expect("a reader");
            out.flush().expect("a reader");
            chunk.clear();
            std::thread::sleep(Duration::from_millis(pause));
        }
    }
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// As many descriptors as this process may have.
fn raise_descriptors() {
    let mut limits = [0_u64; 2];
    // SAFETY: a structure of two numbers that outlives the calls (getrlimit(2), RLIMIT_NOFILE).
    unsafe { getrlimit(7, &mut limits) };
    limits[0] = limits[1];
    // SAFETY: as above.
    unsafe { setrlimit(7, &limits) };
}

/// As servers do that expect many clients, it raises its limit of open files.
fn echo(port: u16) {
    raise_descriptors();
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    println!("ready");
    for stream in listener.incoming() {
        std::thread::spawn(move || {
            let Ok(mut stream) = stream else { return };
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
        });
    }
}

fn echo_datagrams(port: u16) {
    let socket = std::net::UdpSocket::bind(("127.0.0.1", port)).expect("a free port");
    println!("ready");
    let mut buffer = vec![0; 64 * 1024];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        let _ = socket.send_to(&buffer[..length], client);
    }
}

/// Dies of SIGKILL's like: aborts when somebody connects.
fn die_at(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    println!("ready");
    let _ = listener.accept();
    std::process::exit(9);
}

/// What its cgroup says; it is the root of all that the container sees.
fn cgroup() {
    for name in ["cpu.max", "cpu.weight", "memory.max", "memory.swap.max", "memory.oom.group"] {
        let value = std::fs::read_to_string(format!("/sys/fs/cgroup/{name}"));
        println!("{name} {}", value.as_deref().map_or("absent", str::trim));
    }
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    println!("cgroup {}", own.trim());
    let score = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    println!("oom_score_adj {}", score.trim());
    println!("write {}", outcome(std::fs::write("/sys/fs/cgroup/memory.max", "max")));
    println!("end");
}

/// Takes memory until there is none.
fn eat() -> ! {
    let mut all = Vec::new();
    loop {
        all.push(vec![1u8; 1 << 20]);
    }
}

unsafe extern "C" {
    fn mknod(path: *const std::ffi::c_char, mode: u32, device: u64) -> i32;
}

/// Makes the device node that /proc/misc names, wherever it can, and tries to open it.
fn make_device(name: &str) {
    let known = std::fs::read_to_string("/proc/misc").expect("/proc/misc");
    let minor = known.lines().find_map(|line| line.trim().strip_suffix(&format!(" {name}"))).expect("the device");
    let minor: u64 = minor.trim().parse().expect("a number");
    for place in ["/device", "/dev/device", "/dev/shm/device", "/data/device"] {
        let path = std::ffi::CString::new(place).expect("no NUL");
        // SAFETY: a system call with a string that outlives it.
        let made = unsafe { mknod(path.as_ptr(), 0o020_666, miscellaneous(minor)) };
        let opened = std::fs::File::options().read(true).write(true).open(place);
        println!("{place}: made {} opened {}", made == 0, outcome(opened.map(drop)));
    }
    println!("end");
}

/// A miscellaneous device as makedev(3) writes it: the minor number of a driver that has none of its own exceeds 8 bits.
fn miscellaneous(minor: u64) -> u64 {
    (minor & 0xff) | 10 << 8 | (minor & !0xff) << 12
}

unsafe extern "C" {
    fn syscall(number: i64, ...) -> i64;
}

/// What becomes of a system call: nothing, or its errno.
fn call(name: &str, number: i64, arguments: [u64; 5]) {
    let [a, b, c, d, e] = arguments;
    // SAFETY: numbers, and null pointers where the kernel wants to read.
    let result = unsafe { syscall(number, a, b, c, d, e) };
    let error = std::io::Error::last_os_error().raw_os_error();
    println!("call {name}: {}", if result >= 0 { "ok".to_owned() } else { format!("errno {}", error.unwrap_or(0)) });
}

/// Calls that filters treat differently (x86_64).
fn calls() {
    call("keyctl", 250, [0, 0, 0, 0, 0]);
    call("personality", 135, [0xffff_ffff, 0, 0, 0, 0]);
    call("personality of 32 bits", 135, [0x0080_0000, 0, 0, 0, 0]);
    call("clone3", 435, [0, 0, 0, 0, 0]);
    call("io_uring_setup", 425, [1, 0, 0, 0, 0]);
    call("socket of ALG", 41, [38, 5, 0, 0, 0]);
    call("socket of UNIX", 41, [1, 1, 0, 0, 0]);
    call("bpf", 321, [99, 0, 0, 0, 0]);
    call("kexec_load", 246, [0, 0, 0, 0, 0]);
    call("of the security module", 16, [0, 0xc020_0a00, 0, 0, 0]);
    call("that no kernel knows", 480, [0, 0, 0, 0, 0]);
    call("mount", 165, [c"none".as_ptr() as u64, c"/dev/mqueue".as_ptr() as u64, c"tmpfs".as_ptr() as u64, 0, 0]);
    call("sethostname", 170, [c"other".as_ptr() as u64, 5, 0, 0, 0]);
    call("unshare", 272, [0x1000_0000, 0, 0, 0, 0]);
    println!("end");
}

/// Everything that could lead to the host, for who may make nodes and, perhaps, mount.
fn vsock() {
    call("socket of vsock", 41, [40, 1, 0, 0, 0]);
    call("pair of vsock", 53, [40, 1, 0, 0, 0]);
    call("io_uring_setup", 425, [1, 0, 0, 0, 0]);
    let _ = std::fs::create_dir("/devices");
    // SAFETY: strings that outlive the call.
    let mounted = unsafe { syscall(165, c"none".as_ptr(), c"/devices".as_ptr(), c"devtmpfs".as_ptr(), 0u64, 0u64) };
    println!("devtmpfs: {}", mounted == 0);
    for name in ["nsm", "vsock", "mem"] {
        println!("node {name}: {}", std::path::Path::new("/devices").join(name).exists());
    }
    let known = std::fs::read_to_string("/proc/misc").expect("/proc/misc");
    for name in ["nsm", "vsock"] {
        let minor = known.lines().find_map(|line| line.trim().strip_suffix(&format!(" {name}"))).expect("the device");
        let minor: u64 = minor.trim().parse().expect("a number");
        for place in ["/made", "/devices/made"] {
            let path = std::ffi::CString::new(place).expect("no NUL");
            // SAFETY: a system call with a string that outlives it.
            let made = unsafe { mknod(path.as_ptr(), 0o020_666, miscellaneous(minor)) };
            println!("{name} at {place}: made {}", made == 0);
        }
    }
    rebind();
    println!("end");
}

/// Has the kernel make the module's node again, as one who may write to /sys can, and asks the module.
fn rebind() {
    use std::os::fd::AsRawFd as _;
    let _ = std::fs::create_dir("/system");
    // SAFETY: strings that outlive the call.
    unsafe { syscall(165, c"none".as_ptr(), c"/system".as_ptr(), c"sysfs".as_ptr(), 0u64, 0u64) };
    let drivers = std::fs::read_dir("/system/bus/virtio/drivers").into_iter().flatten().flatten();
    for driver in drivers.map(|entry| entry.path()).filter(|path| path.to_string_lossy().contains("nsm")) {
        let devices = std::fs::read_dir(&driver).into_iter().flatten().flatten();
        for device in devices.filter(|entry| entry.file_name().to_string_lossy().starts_with("virtio")) {
            let device = device.file_name().to_string_lossy().into_owned();
            println!("unbind: {}", outcome(std::fs::write(driver.join("unbind"), &device)));
            println!("bind: {}", outcome(std::fs::write(driver.join("bind"), &device)));
        }
    }
    match std::fs::File::options().read(true).write(true).open("/devices/nsm") {
        Ok(file) => call("of the security module", 16, [file.as_raw_fd() as u64, 0xc020_0a00, 0, 0, 0]),
        Err(error) => println!("module: {:?}", error.kind()),
    }
}

/// A copy of this program that runs as root, whoever starts it.
fn copy_setuid(path: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::copy("/guest", path).expect("a writable volume");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o4755)).expect("our file");
}

/// All processes that it sees, again and again.
fn processes() {
    loop {
        let mut all = Vec::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            all.push(format!("{pid} {}", command.trim_end_matches('\0').replace('\0', " ")));
        }
        println!("own {} of [{}]", std::process::id(), all.join(", "));
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A file, a variable if there is no such file; then stays, and shows it again whenever it has changed.
fn show(what: &str) {
    let mut last = None;
    loop {
        let value = std::fs::read_to_string(what).ok().or_else(|| std::env::var(what).ok());
        if last != Some(value.clone()) {
            println!("{what} is {} bytes, sum {}", value.as_ref().map_or(0, String::len), sum(value.as_deref()));
            last = Some(value);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Tells a secret from another one without telling it (FNV-1a).
fn sum(value: Option<&str>) -> String {
    let bytes = value.unwrap_or_default().bytes();
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

/// One GET at a Unix socket: the first line of the answer, and the body in hexadecimal.
fn get(socket: &str, target: &str) -> (String, String) {
    let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("the socket");
    write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("written");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let body = answer[end + 4..].iter().map(|byte| format!("{byte:02x}")).collect();
    (head.lines().next().unwrap_or_default().to_owned(), body)
}

/// Many documents one after another: how many there were, and how often it was too many.
fn attest_flood(socket: &str, count: usize) {
    let answers: Vec<String> = (0..count).map(|_| get(socket, "/v1/attestation").0).collect();
    let with = |code: &str| answers.iter().filter(|status| status.contains(code)).count();
    println!("answers {} {}", with(" 200 "), with(" 429 "));
}

/// Writes bytes that no argument could hold, to a file or (`-`) to standard output.
fn write_bytes(path: &str, hex: &str) {
    let digit = |index: usize| u8::from_str_radix(&hex[index..index + 2], 16).expect("hexadecimal");
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(digit).collect();
    match path {
        "-" => std::io::stdout().write_all(&bytes).expect("standard output"),
        path => std::fs::write(path, bytes).expect("a writable file"),
    }
}

/// Tries to get at each of these: as a file, as a directory, as a socket. Says what processes there are.
fn reach(paths: &[&str]) {
    for path in paths {
        let read = std::fs::File::open(path).and_then(|mut file| file.read(&mut [0; 16]));
        let written = std::fs::File::options().write(true).open(path).map(drop);
        let listed = std::fs::read_dir(path).map(drop);
        let connected = std::os::unix::net::UnixStream::connect(path).map(drop);
        let outcomes = [read.map(drop), written, listed, connected].map(outcome);
        println!("{path}: {}", outcomes.join(" "));
    }
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    println!("processes: {:?}", processes.collect::<Vec<_>>());
    forever();
}

unsafe extern "C" {
    fn kill(pid: i32, signal: i32) -> i32;
}

/// Kills all processes that it can see and may kill; as PID 1 of its namespace it survives that (kill(2)).
fn kill_everything() {
    for pid in (2..=4096).chain([-1]) {
        // SAFETY: a system call without pointers.
        unsafe { kill(pid, 9) };
    }
    forever();
}

/// When it started and when it ended, in microseconds since 1970: the next instance's start shows how long it took.
fn stamp() {
    let now = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| since.as_micros())
    };
    println!("start {}", now());
    println!("end {}", now());
    std::process::exit(1);
}

/// What this process sees of its world, one `name: value` a line.
fn inspect() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_else(|error| format!("error: {error}"));
    println!("pid: {}", std::process::id());
    println!("cwd: {}", std::env::current_dir().map(|dir| dir.display().to_string()).unwrap_or_default());
    for line in read("/proc/self/status").lines() {
        for field in ["Uid", "Gid", "Groups", "CapInh", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "SigIgn"] {
            if let Some(value) = line.strip_prefix(field).and_then(|rest| rest.strip_prefix(':')) {
                println!("{field}: {}", value.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
    }
    let mut fds: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    fds.sort_unstable();
    // The last is the directory that is being read.
    fds.pop();
    println!("fds: {fds:?}");
    for (name, value) in std::env::vars() {
        println!("env {name}: {value}");
    }
    for line in read("/proc/self/mounts").lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        println!("mount {}: {} {}", fields[1], fields[2], fields[3]);
    }
    for path in ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"] {
        println!("file {path}: {:?}", read(path));
    }
    println!("write /: {}", outcome(std::fs::write("/written", "x")));
    println!("write /proc/sys/kernel/hostname: {}", outcome(std::fs::write("/proc/sys/kernel/hostname", "x")));
    println!("read /proc/kcore: {:?}", std::fs::read("/proc/kcore").map(|bytes| bytes.len()).map_err(|e| e.kind()));
    println!("dev nsm: {}", std::path::Path::new("/dev/nsm").exists());
    println!("end");
}

fn outcome(result: std::io::Result<()>) -> String {
    result.map_or_else(|error| format!("{:?}", error.kind()), |()| "ok".to_owned())
}
