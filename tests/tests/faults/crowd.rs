//! F37: more clients than there is memory for. host-proxy has a bound, keeps those that it has, and lives.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tests::{Up, guest, pod, product, wait_for};

/// What host-proxy may have for all of them: what docs/ingress.md says that the connections of a full port need.
const LIMIT: &str = "67108864";
const CLIENTS: usize = 10_000;
/// Clients in a row that nobody answers: there is no room.
const ENOUGH: usize = 20;
const PORT: u16 = 7;

/// A cgroup with a memory limit, of whichever version this machine has.
struct Cgroup {
    path: PathBuf,
    /// File with the count of processes that were killed.
    events: &'static str,
}

impl Cgroup {
    fn create() -> Option<Self> {
        let kinds = [
            (
                "/sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.oom_control",
            ),
            ("/sys/fs/cgroup", "memory.max", "memory.events"),
        ];
        kinds.into_iter().find_map(|(root, limit, events)| {
            let path = Path::new(root).join(format!("cloister-crowd-{}", std::process::id()));
            fs::create_dir(&path).ok()?;
            let cgroup = Self { path, events };
            // Without the controller there is no such file.
            let file = cgroup.path.join(limit);
            (file.exists() && fs::write(&file, LIMIT).is_ok()).then_some(cgroup)
        })
    }

    fn add(&self, pid: i32) {
        fs::write(self.path.join("cgroup.procs"), pid.to_string()).expect("a process that runs");
    }

    fn killed(&self) -> u64 {
        let text = fs::read_to_string(self.path.join(self.events)).expect("the counts");
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.parse().ok()).expect("a count")
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
    let spec = json!({"containers": [container], "terminationGracePeriodSeconds": 0});
    let mut up = Up::start(&product, &[pod(spec)], &["--publish", "0:7"]);
    up.wait_log("ready");
    let place: SocketAddr = format!("127.0.0.1:{}", up.port(PORT))
        .parse()
        .expect("an address");
    cgroup.add(up.proxy_pid());
    let mut first = TcpStream::connect(place).expect("a connection");
    assert!(echoed(&mut first));
    let (mut crowd, mut refused) = (Vec::new(), 0);
    while crowd.len() < CLIENTS && refused < ENOUGH {
        match TcpStream::connect_timeout(&place, Duration::from_millis(200)) {
            Ok(stream) => {
                crowd.push(stream);
                refused = 0;
            }
            Err(_) => refused += 1,
        }
    }
    println!("{} clients are in, {refused} were not let in", crowd.len());
    assert!(crowd.len() > 500, "{} clients", crowd.len());
    assert_eq!(cgroup.killed(), 0);
    assert!(!up.has_ended(), "{}", up.stderr());
    assert!(echoed(&mut first), "the first client is served");
    drop(crowd);
    wait_for("room for a new client", || {
        TcpStream::connect_timeout(&place, Duration::from_secs(1))
            .is_ok_and(|mut stream| echoed(&mut stream))
            .then_some(())
    });
    assert!(echoed(&mut first), "the first client is served");
    assert_eq!(cgroup.killed(), 0);
    drop(up);
}
