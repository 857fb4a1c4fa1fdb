//! What is measured beside what: the product with an enclave, each peer once and twice in a row, and no relay at all; all
//! of them run during the whole measurement.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ::tests::{Product, Up, guest, pod, wait_for};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::super::{Running, free_port};
use crate::build;
use crate::system::need;

/// Port of the server in the container.
const PORT: u16 = 7;

/// One way to a server.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// Relays between client and server.
    pub(super) hops: usize,
    pub(super) is_ours: bool,
    pub(super) port: u16,
    /// The relays' processes: pids, with a `+` where processes below it are meant, too.
    pub(super) processes: Vec<String>,
}

impl Case {
    /// In a plot and a table.
    pub(super) fn label(&self) -> String {
        match self.hops {
            0 => self.name.to_owned(),
            1 => format!("one relay: {}", self.name),
            _ => format!("two relays: {}", self.name),
        }
    }
}

/// Everything that runs.
pub(super) struct Setup {
    pub(super) cases: Vec<Case>,
    client: PathBuf,
    _up: Up,
    _running: Vec<Running>,
    _scratch: tempfile::TempDir,
}

/// The programs.
pub(super) struct Programs<'a> {
    pub(super) product: &'a Product,
    /// `tests/guests/guest.rs`.
    pub(super) guest: &'a Path,
    /// `tests/src/bin/relay-bench`.
    pub(super) client: PathBuf,
}

impl<'a> Programs<'a> {
    pub(super) fn build(product: &'a Product, guest: &'a Path) -> Result<Self> {
        need("socat", "socat")?;
        Ok(Self {
            product,
            guest,
            client: build::for_this_machine("tests", "relay-bench")?,
        })
    }
}

impl Setup {
    /// Starts everything, and waits until it answers.
    pub(super) fn start(programs: &Programs<'_>) -> Result<Self> {
        let scratch = tempfile::Builder::new().prefix("cl").tempdir()?;
        let path = |name: &str| scratch.path().join(name).to_string_lossy().into_owned();
        let mut running = Vec::new();
        let mut start = |program: &Path, words: &[&str]| -> Result<String> {
            let mut command = Command::new(program);
            command.args(words).stdin(Stdio::null());
            // socat complains of every client that breaks off.
            let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            let child = child.with_context(|| format!("cannot run {}", program.display()))?;
            let pid = child.id().to_string();
            running.push(Running(child));
            Ok(pid)
        };
        let server_port = free_port()?.to_string();
        let server = path("1.sock");
        start(programs.guest, &["serve", &server])?;
        start(programs.guest, &["serve", &server_port])?;
        let mut cases = vec![Case {
            name: "no relay",
            hops: 0,
            is_ours: false,
            port: server_port.parse()?,
            processes: Vec::new(),
        }];
        for (name, kind) in [
            ("bare splice", "splice"),
            ("tokio copy_bidirectional", "tokio"),
            ("Cloister's", "ours"),
        ] {
            let port = free_port()?;
            let pid = start(&programs.client, &["relay", kind, &port.to_string(), &server])?;
            cases.push(Case {
                name,
                hops: 1,
                is_ours: kind == "ours",
                port,
                processes: vec![pid],
            });
        }
        let listen =
            |port: u16| format!("TCP-LISTEN:{port},fork,reuseaddr,bind=127.0.0.1,nodelay,backlog=1024");
        let port = free_port()?;
        let pid = start(
            Path::new("socat"),
            &[&listen(port), &format!("UNIX-CONNECT:{server}")],
        )?;
        cases.push(Case {
            name: "socat",
            hops: 1,
            is_ours: false,
            port,
            processes: vec![format!("+{pid}")],
        });
        for (name, kind) in [("bare splice", "splice"), ("tokio copy_bidirectional", "tokio")] {
            let (port, middle) = (free_port()?, path(&format!("{kind}.sock")));
            let outside = start(&programs.client, &["relay", kind, &port.to_string(), &middle])?;
            let inside = start(&programs.client, &["relay", kind, &middle, &server_port])?;
            cases.push(Case {
                name,
                hops: 2,
                is_ours: false,
                port,
                processes: vec![outside, inside],
            });
        }
        let (port, middle) = (free_port()?, path("socat.sock"));
        let outside = start(
            Path::new("socat"),
            &[&listen(port), &format!("UNIX-CONNECT:{middle}")],
        )?;
        let inside = [
            format!("UNIX-LISTEN:{middle},fork,backlog=1024"),
            format!("TCP:127.0.0.1:{server_port},nodelay"),
        ];
        let inside = start(Path::new("socat"), &[&inside[0], &inside[1]])?;
        cases.push(Case {
            name: "socat",
            hops: 2,
            is_ours: false,
            port,
            processes: vec![format!("+{outside}"), format!("+{inside}")],
        });
        let (up, case) = whole(programs.product)?;
        cases.push(case);
        for case in &cases {
            wait_for(&case.label(), || exchange_byte(case.port));
        }
        Ok(Self {
            cases,
            client: programs.client.clone(),
            _up: up,
            _running: running,
            _scratch: scratch,
        })
    }

    /// What a client of `relay-bench` says. A client that fails gets a second chance: a neighbour may have had the
    /// machine for itself.
    pub(super) fn ask(&self, words: &[String]) -> Result<Value> {
        let ask = || -> Result<Value> {
            let output = Command::new(&self.client)
                .args(words)
                .stdin(Stdio::null())
                .output()?;
            if !output.status.success() {
                bail!(
                    "relay-bench {}: {}",
                    words.join(" "),
                    String::from_utf8_lossy(&output.stderr).trim()
                );
            }
            Ok(serde_json::from_slice(&output.stdout)?)
        };
        ask().or_else(|error| {
            eprintln!("xtask: {error:#}; once more");
            ask()
        })
    }

    /// A client that has opened `count` connections, and keeps them until it is dropped.
    pub(super) fn idle(&self, count: usize, port: u16) -> Result<Running> {
        let mut command = Command::new(&self.client);
        command.args(["idle", &count.to_string(), &port.to_string()]);
        let mut running = Running(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
        let mut ready = [0; 5];
        let output = running.0.stdout.as_mut().context("its output is a pipe")?;
        output
            .read_exact(&mut ready)
            .with_context(|| format!("{count} connections were not opened"))?;
        Ok(running)
    }
}

/// host-proxy, and an enclave with the server in a container.
fn whole(product: &Product) -> Result<(Up, Case)> {
    let mut container = guest("server", &["serve", &PORT.to_string()]);
    container["ports"] = json!([{"containerPort": PORT}]);
    let spec = json!({"containers": [container], "terminationGracePeriodSeconds": 0});
    let up = Up::start(product, &[pod(spec)], &["--publish", &format!("0:{PORT}")]);
    up.wait_log("ready");
    let init = up.enclave_pid().context("the enclave runs")?;
    let is_net = |pid: &i32| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.split('\0').nth(1) == Some("net")
    };
    let net = Up::children_of(init).into_iter().find(is_net);
    let net = net.context("the enclave has a process `net`")?;
    let case = Case {
        name: "host-proxy and the enclave's net",
        hops: 2,
        is_ours: true,
        port: up.port(PORT),
        processes: vec![up.proxy_pid().to_string(), net.to_string()],
    };
    Ok((up, case))
}

fn exchange_byte(port: u16) -> Option<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"c").ok()?;
    stream.read_exact(&mut [0]).ok()
}
