//! The harness of the end-to-end tests: the real `host-proxy` and `cloister-init`, a scratch state directory for each
//! enclave, waiting for conditions. `cargo xtask test` builds what they run and names it in the environment.
#![forbid(unsafe_code)]

pub mod broker;
pub mod history;
pub mod images;
pub mod load;
pub mod logs;
pub mod process;
#[path = "../../init/tests/histories/rules.rs"]
#[allow(dead_code, reason = "the model uses all of it")]
mod rules;
pub mod together;

use std::fmt::Display;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use manifest_sync::status::{ContainerState, ContainerStatus, Phase, PodReport};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

pub use process::stat;

/// Generous: machines are shared, and nothing here measures time.
const DEADLINE: Duration = Duration::from_secs(180);
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(20);

/// What the tests run.
#[derive(Debug, Clone)]
pub struct Product {
    /// `cloister-init`.
    pub init: PathBuf,
    /// `host-proxy`.
    pub proxy: PathBuf,
    /// OCI layout with `guest:latest`.
    pub guests: PathBuf,
    /// Where enclaves run.
    pub backend: Backend,
    /// Variables of `host-proxy` beside those of this process.
    pub environment: Vec<(&'static str, PathBuf)>,
}

/// Where the enclaves of a test run; most tests run unchanged on both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// Namespaces on this machine.
    Local,
    /// A real image in an emulated machine.
    Qemu {
        /// The enclave image.
        eif: PathBuf,
    },
}

/// The product, or `None` after saying loudly why the test is skipped. `cargo xtask test --vm` names an enclave image.
pub fn product() -> Option<Product> {
    let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let backend = path("CLOISTER_EIF").map_or(Backend::Local, |eif| Backend::Qemu { eif });
    match (
        path("CLOISTER_INIT"),
        path("CLOISTER_HOST_PROXY"),
        path("CLOISTER_GUESTS"),
    ) {
        (Some(init), Some(proxy), Some(guests)) => Some(Product {
            init,
            proxy,
            guests,
            backend,
            environment: Vec::new(),
        }),
        _ => {
            println!("SKIPPED: an end-to-end test needs the built product: run `cargo xtask test`");
            None
        }
    }
}

/// Waits until `look` finds something.
///
/// # Panics
/// When it has not within a generous deadline.
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    look_for(look).unwrap_or_else(|| panic!("waited in vain for {what}"))
}

/// The same for those who can go on without: `None` after the deadline.
pub fn look_for<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + DEADLINE;
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= end {
            return found;
        }
        std::thread::sleep(LOOK);
    }
}

/// The sum of those series of a `/metrics` whose lines begin so.
pub fn sum(metrics: &str, series: &str) -> u64 {
    values(metrics, series).sum()
}

/// The values of those series.
pub fn values(metrics: &str, series: &str) -> impl Iterator<Item = u64> {
    let lines = metrics.lines().filter(move |line| line.starts_with(series));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
}

/// A Pod with these containers.
pub fn pod(spec: impl Into<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "test"}, "spec": spec.into()})
}

/// A container that runs the guest with these words.
pub fn guest(name: &str, words: &[&str]) -> Value {
    json!({"name": name, "image": "guest", "args": words})
}

/// `host-proxy up` and its enclave.
pub struct Up {
    product: Product,
    scratch: TempDir,
    child: Child,
}

impl Up {
    /// Runs these objects; `flags` go to `host-proxy up`.
    pub fn start(product: &Product, objects: &[Value], flags: &[&str]) -> Self {
        let text = objects
            .iter()
            .map(Value::to_string)
            .collect::<Vec<_>>()
            .join("\n---\n");
        Self::start_text(product, &text, flags)
    }

    /// Runs a manifest as it is written.
    pub fn start_text(product: &Product, manifest: &str, flags: &[&str]) -> Self {
        let scratch = tempfile::Builder::new()
            .prefix("cl")
            .tempdir()
            .expect("a scratch directory");
        std::fs::write(scratch.path().join("pod.yaml"), manifest).expect("a manifest");
        let child = spawn(product, scratch.path(), flags);
        Self {
            product: product.clone(),
            scratch,
            child,
        }
    }

    /// [`Up::start_again`], with a port of the Pod published: the port that it has here now.
    pub fn publish_again(&mut self, port: u16) -> u16 {
        let announced = self.stderr().len();
        self.start_again(&["--publish", &format!("0:{port}")]);
        self.announced_port(announced, port)
    }

    /// Starts `host-proxy up` again, after the first was killed.
    pub fn start_again(&mut self, flags: &[&str]) {
        self.child = spawn(&self.product, self.scratch.path(), flags);
    }

    /// Scratch directory: `pod.yaml`, `state`, `stdout`, `stderr`.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// State directory of the enclave.
    pub fn state(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    /// A client command of `host-proxy` for this enclave.
    pub fn client(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(&self.product.proxy)
            .args(arguments)
            .arg("--state-dir")
            .arg(self.state())
            .output()
            .expect("host-proxy runs")
    }

    /// `host-proxy exec` for this enclave, without an input.
    pub fn exec(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(&self.product.proxy)
            .args(["exec", "--state-dir"])
            .arg(self.state())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("host-proxy runs")
    }

    /// `host-proxy update` with these objects; `flags` go to it.
    pub fn update(&self, objects: &[Value], flags: &[&str]) -> std::process::Output {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let path = self.scratch.path().join("update.json");
        std::fs::write(&path, list.to_string()).expect("a manifest");
        let mut arguments = vec!["update", "-f", path.to_str().expect("UTF-8")];
        arguments.extend(flags);
        if !flags.contains(&"--images") {
            arguments.extend(["--images", self.product.guests.to_str().expect("UTF-8")]);
        }
        self.client(&arguments)
    }

    /// The newest report.
    pub fn report(&self) -> Option<PodReport> {
        let output = self.client(&["status", "-o", "json"]);
        let mut answer: Value = serde_json::from_slice(&output.stdout).ok()?;
        serde_json::from_value(answer.get_mut("pod")?.take()).ok()
    }

    /// Waits until a container's status satisfies `holds`.
    pub fn wait_container(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&ContainerStatus) -> bool,
    ) -> ContainerStatus {
        wait_for(
            &format!("container {name} {what}; it is {:?}", self.report()),
            || {
                let statuses = self.report()?.status.container_statuses;
                statuses
                    .into_iter()
                    .find(|status| status.name == name && holds(status))
            },
        )
    }

    /// The same, of an init container or sidecar.
    pub fn wait_init(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&ContainerStatus) -> bool,
    ) -> ContainerStatus {
        wait_for(&format!("init container {name} {what}"), || {
            let statuses = self.report()?.status.init_container_statuses;
            statuses
                .into_iter()
                .find(|status| status.name == name && holds(status))
        })
    }

    /// Waits for an event with this reason whose message contains `text`; returns the message.
    pub fn wait_event(&self, reason: &str, text: &str) -> String {
        wait_for(&format!("an event {reason} with {text:?}"), || {
            let output = self.client(&["status", "-o", "json"]);
            let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
            let events = answer.get("events")?.as_array()?.clone();
            events.into_iter().find_map(|event| {
                let message = event.get("message")?.as_str()?.to_owned();
                (event.get("reason")? == reason && message.contains(text)).then_some(message)
            })
        })
    }

    /// Waits until a container runs.
    pub fn wait_running(&self, name: &str) -> ContainerStatus {
        self.wait_container(name, "running", |status| {
            matches!(status.state, ContainerState::Running { .. })
        })
    }

    /// Waits for a waiting reason; returns its message.
    pub fn wait_waiting(&self, name: &str, wanted: &str) -> String {
        let status = self.wait_container(
            name,
            wanted,
            |status| matches!(&status.state, ContainerState::Waiting { reason, .. } if reason == wanted),
        );
        match status.state {
            ContainerState::Waiting { message, .. } => message.unwrap_or_default(),
            _ => String::new(),
        }
    }

    /// Phase of the Pod.
    pub fn phase(&self) -> Option<Phase> {
        Some(self.report()?.status.phase)
    }

    /// What the containers have written, as `up` prints it.
    pub fn stdout(&self) -> String {
        read(&self.scratch.path().join("stdout"))
    }

    /// What the enclave has written to its console.
    pub fn console(&self) -> String {
        read(&self.state().join("console.log"))
    }

    /// Waits until the console has a line that contains `text`; returns the whole console.
    pub fn wait_console(&self, text: &str) -> String {
        wait_for(&format!("{text:?} on the console"), || {
            Some(self.console()).filter(|console| console.contains(text))
        })
    }

    /// `/metrics` of host-proxy; empty while nobody answers.
    pub fn metrics(&self) -> String {
        let ask = || -> std::io::Result<String> {
            let mut stream = UnixStream::connect(self.state().join("proxy.sock"))?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().unwrap_or_default()
    }

    /// The sum of the series of [`Self::metrics`] whose lines begin so; 0 when there is none, or while nobody answers.
    pub fn metric(&self, series: &str) -> u64 {
        sum(&self.metrics(), series)
    }

    /// What `up` has to say.
    pub fn stderr(&self) -> String {
        read(&self.scratch.path().join("stderr"))
    }

    /// Waits until a container has written a line that contains `text`.
    pub fn wait_log(&self, text: &str) {
        wait_for(&format!("the log line {text:?}"), || {
            self.stdout().contains(text).then_some(())
        });
    }

    /// Sends a signal to host-proxy.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("host-proxy runs");
    }

    /// Whether host-proxy has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_some()
    }

    /// Waits for host-proxy to end.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("host-proxy to end", || self.child.try_wait().expect("our child"))
    }

    /// Waits for its exit code.
    ///
    /// # Panics
    /// When a signal killed it.
    pub fn exit_code(&mut self) -> i32 {
        let status = self.wait();
        status.code().unwrap_or_else(|| panic!("host-proxy: {status}"))
    }

    /// Pid of host-proxy.
    pub fn proxy_pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Pid of the enclave's PID 1 on this machine.
    pub fn enclave_pid(&self) -> Option<i32> {
        let record: Value =
            serde_json::from_slice(&std::fs::read(self.state().join("enclave.json")).ok()?).ok()?;
        i32::try_from(record.get("pid")?.as_i64()?).ok()
    }

    /// Pids of this machine whose parent is `parent`.
    pub fn children_of(parent: i32) -> Vec<i32> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| stat(*pid).is_some_and(|(_, of)| of == parent))
            .collect()
    }

    /// Pid on this machine of the process of the enclave that executes the guest with this word.
    pub fn guest_pid(&self, word: &str) -> i32 {
        wait_for(&format!("a process {word}"), || self.find_guest(word))
    }

    /// The same, if there is one now.
    pub fn find_guest(&self, word: &str) -> Option<i32> {
        Self::children_of(self.enclave_pid()?).into_iter().find(|pid| {
            let command = read(Path::new(&format!("/proc/{pid}/cmdline")));
            command.split('\0').any(|part| part == word)
        })
    }

    /// Port outside of a published port: `80`, or `53/udp`.
    pub fn port(&self, container: impl Display) -> u16 {
        self.announced_port(0, container)
    }

    /// What is said behind the first `from` bytes.
    fn announced_port(&self, from: usize, container: impl Display) -> u16 {
        let start = format!("port {container} of the Pod: ");
        wait_for("the announced port", || {
            let text = self.stderr().split_off(from);
            let line = text.lines().find(|line| line.starts_with(&start))?;
            line.rsplit_once(':')?.1.trim().parse().ok()
        })
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

fn spawn(product: &Product, scratch: &Path, flags: &[&str]) -> Child {
    let append = |name: &str| {
        File::options()
            .create(true)
            .append(true)
            .open(scratch.join(name))
            .expect("a scratch file")
    };
    let mut command = Command::new(&product.proxy);
    command.arg("up").arg("--file").arg(scratch.join("pod.yaml"));
    if !flags.contains(&"--images") {
        command.arg("--images").arg(&product.guests);
    }
    command
        .arg("--state-dir")
        .arg(scratch.join("state"))
        .args(["--http-address", "none"]);
    match &product.backend {
        Backend::Local => command.arg("--init").arg(&product.init),
        Backend::Qemu { eif } => command.args(["--backend", "qemu", "--eif"]).arg(eif),
    };
    command
        .args(flags)
        .envs(product.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(append("stdout"))
        .stderr(append("stderr"))
        .spawn()
        .expect("host-proxy runs")
}

impl Drop for Up {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- up said:\n{}\n--- console:\n{}",
                self.stderr(),
                read(&self.state().join("console.log"))
            );
        }
        let enclave = self.enclave_pid();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(pid) = enclave {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Sends `request` to a port of this machine and returns what comes back until the end.
pub fn exchange(port: u16, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(request)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}
