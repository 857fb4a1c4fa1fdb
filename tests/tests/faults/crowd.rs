//! F37: more clients than there is memory for. host-proxy knows its limit, refuses whom it has no room for, keeps those that
//! it has, and lives: also when all of them send and none reads.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::json;
use tests::{Product, Up, guest, pod, product, wait_for};

/// What host-proxy may have for all of them.
const LIMIT: u64 = 32 << 20;
const CLIENTS: usize = 10_000;
/// Clients in a row that are refused: there is no room.
const ENOUGH: usize = 20;
/// Fewer than this would be a bound for its own sake (docs/ingress.md has the sum).
const FEWEST: usize = 250;
const PORT: u16 = 7;

/// A cgroup with a memory limit, of whichever version this machine has.
struct Cgroup {
    path: PathBuf,
    usage: &'static str,
    /// File with the count of processes that were killed.
    events: &'static str,
}

impl Cgroup {
    fn create() -> Option<Self> {
        let kinds = [
            (
                "/sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "memory.oom_control",
            ),
            ("/sys/fs/cgroup", "memory.max", "memory.current", "memory.events"),
        ];
        kinds.into_iter().find_map(|(root, limit, usage, events)| {
            let path = Path::new(root).join(format!("cloister-crowd-{}", std::process::id()));
            fs::create_dir(&path).ok()?;
            let cgroup = Self { path, usage, events };
            // Without the controller there is no such file.
            let file = cgroup.path.join(limit);
            (file.exists() && fs::write(&file, LIMIT.to_string()).is_ok()).then_some(cgroup)
        })
    }

    /// The product, whose `up` is in this cgroup from its first instruction on, once there is the file `join`.
    fn around(&self, product: &Product, scratch: &Path) -> Product {
        let script = scratch.join("host-proxy");
        let text = format!(
            "#!/bin/sh\nif [ \"$1\" = up ] && [ -e {0}/join ]; then echo $$ > {1}/cgroup.procs; fi\nexec {2} \"$@\"\n",
            scratch.display(),
            self.path.display(),
            product.proxy.display()
        );
        fs::write(&script, text).expect("a script");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("a script");
        Product {
            proxy: script,
            ..product.clone()
        }
    }

    fn killed(&self) -> u64 {
        let text = fs::read_to_string(self.path.join(self.events)).expect("the counts");
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.parse().ok()).expect("a count")
    }

    fn usage(&self) -> usize {
        let text = fs::read_to_string(self.path.join(self.usage)).expect("the usage");
        text.trim().parse().expect("a number")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}

fn echoed(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    stream.write_all(b"x").is_ok() && stream.read_exact(&mut byte).is_ok() && byte == *b"x"
}

/// A client that is served, or none.
fn client(place: &SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(place, Duration::from_secs(10)).ok();
    stream.filter(|stream| stream.try_clone().is_ok_and(|mut stream| echoed(&mut stream)))
}

/// Bytes of a client's own buffers.
const BUFFER: usize = 16 << 10;

/// Writes as long as somebody takes it, and reads nothing; the bytes that were taken.
fn stuff(stream: &mut TcpStream) -> usize {
    let piece = [7; 64 * 1024];
    let mut taken = 0;
    stream.set_nonblocking(true).expect("a socket");
    setsockopt(stream, sockopt::SndBuf, &BUFFER).expect("a socket");
    setsockopt(stream, sockopt::RcvBuf, &BUFFER).expect("a socket");
    loop {
        match stream.write(&piece) {
            Ok(count) => taken += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return taken,
            Err(error) => panic!("who is in is kept: {error}"),
        }
    }
}

/// Stuffs all of them until nothing moves any more, or, since the smallest buffers trickle, for some seconds.
fn stuff_all(crowd: &mut [TcpStream]) -> usize {
    let (mut total, mut quiet) = (0, 0);
    let end = Instant::now() + Duration::from_secs(6);
    wait_for("everything to be full", || {
        let taken: usize = crowd.iter_mut().map(stuff).sum();
        total += taken;
        quiet = if taken == 0 { quiet + 1 } else { 0 };
        (quiet == 10 || Instant::now() > end).then_some(())
    });
    total
}

#[test]
fn f37_a_crowd_of_clients_does_not_cost_host_proxy_its_memory() {
    let Some(product) = product() else { return };
    let Some(cgroup) = Cgroup::create() else {
        println!("SKIPPED: this user cannot make a cgroup with a memory limit");
        return;
    };
    // Each client is a descriptor of ours.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("our own limit");
    let mut container = guest("echo", &["echo", "7"]);
    container["ports"] = json!([{"containerPort": PORT}]);
    // What is stuck is meant to be in host-proxy, not in the enclave.
    let buffers = ["net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"]
        .map(|name| json!({"name": name, "value": "4096 16384 32768"}));
    let spec = json!({
        "containers": [container],
        "securityContext": {"sysctls": buffers},
        "terminationGracePeriodSeconds": 0,
    });
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let product = cgroup.around(&product, scratch.path());
    // The enclave has its memory elsewhere, as a real one has: it is there before host-proxy comes into the cgroup.
    let mut up = Up::start(&product, &[pod(spec)], &["--publish", "0:7"]);
    up.wait_log("ready");
    up.signal(Signal::SIGKILL);
    let _ = up.wait();
    fs::write(scratch.path().join("join"), "").expect("a file");
    let port = up.publish_again(7);
    let place = SocketAddr::from(([127, 0, 0, 1], port));
    let mut first = wait_for("the first client", || client(&place));

    // Clients that stay and say nothing.
    let empty = cgroup.usage();
    let mut crowd: Vec<TcpStream> = (0..CLIENTS).filter_map(|_| client(&place)).collect();
    let (count, full) = (crowd.len(), cgroup.usage());
    println!(
        "{count} idle clients are in, {} bytes each, {empty} without them",
        full.saturating_sub(empty) / count.max(1)
    );
    assert!((FEWEST..CLIENTS / 2).contains(&count), "{count} clients");
    assert_eq!(cgroup.killed(), 0);
    let refused = format!(
        "cloister_proxy_memory_refused_connections_total {}",
        CLIENTS - count
    );
    assert!(up.metrics().contains(&refused), "{refused}: {}", up.metrics());
    let words = "and the memory limit of 32 MiB (";
    assert_eq!(up.stderr().matches(words).count(), 1, "{}", up.stderr());

    // All of them send, none reads, and neither does the server any more.
    let total = stuff_all(&mut crowd);
    println!("{total} bytes are stuck, {} in use", cgroup.usage());
    assert_eq!(cgroup.killed(), 0);
    assert!(!up.has_ended(), "{}", up.stderr());
    assert!(echoed(&mut first), "the first client is served");
    drop(crowd);
    wait_for("room for a new client", || client(&place));

    // Each of them gets stuck as soon as it is there, while there is memory for large buffers.
    let (mut crowd, mut refused) = (Vec::new(), 0);
    while refused < ENOUGH {
        match client(&place) {
            Some(mut stream) => {
                stuff(&mut stream);
                crowd.push(stream);
                refused = 0;
            }
            None => refused += 1,
        }
    }
    let total = stuff_all(&mut crowd);
    println!(
        "{} clients are in, {total} bytes more, {} in use",
        crowd.len(),
        cgroup.usage()
    );
    assert_eq!(cgroup.killed(), 0);
    assert!(!up.has_ended(), "{}", up.stderr());
    assert!(echoed(&mut first), "the first client is served");
    drop(crowd);
    wait_for("room for a new client", || client(&place));
    assert!(echoed(&mut first), "the first client is served");
    assert_eq!(cgroup.killed(), 0);
    drop(up);
}
