//! An enclave whose host is the test: started as the local back-end starts one, without an honest `host-proxy`. What the
//! attacks need of its insides is read from /proc of this machine.

use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use manifest_sync::config::{CONTROL_PORT, DATA_PORT};
use manifest_sync::link::{StreamKind, StreamReply};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tests::{Product, Up, wait_for};

use crate::wire::Wire;

/// A running enclave, ended when it is dropped.
pub(crate) struct Enclave {
    scratch: TempDir,
    launcher: Child,
    pid: i32,
}

impl Enclave {
    /// Starts one with this trust policy.
    pub(crate) fn start(product: &Product, policy: &str) -> Self {
        let scratch = tempfile::Builder::new()
            .prefix("clh")
            .tempdir()
            .expect("a scratch directory");
        let state = scratch.path().join("state");
        let mut private = std::fs::DirBuilder::new();
        private.mode(0o700);
        for directory in [state.clone(), state.join("link")] {
            private.create(directory).expect("a directory");
        }
        std::fs::write(state.join("policy.json"), policy).expect("a policy");
        let console = std::fs::File::create(state.join("console.log")).expect("a console");
        let mut launcher = Command::new(&product.proxy)
            .arg("local-launcher")
            .args([&state, &product.init])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(console)
            .spawn()
            .expect("the launcher runs");
        let mut said = String::new();
        let mut stdout = launcher.stdout.take().expect("piped");
        stdout.read_to_string(&mut said).expect("its words");
        let pid = said
            .lines()
            .find_map(|line| line.strip_prefix("pid ")?.parse().ok());
        let pid = pid.unwrap_or_else(|| panic!("no enclave: {said}"));
        let enclave = Self {
            scratch,
            launcher,
            pid,
        };
        wait_for("the enclave to listen", || {
            UnixStream::connect(enclave.socket(CONTROL_PORT)).ok()
        });
        enclave
    }

    /// State directory, as `host-proxy --state-dir` takes it.
    pub(crate) fn state(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    fn socket(&self, port: u32) -> PathBuf {
        self.state().join(format!("link/{port}.sock"))
    }

    /// A connection to a port, on which nothing has been said.
    pub(crate) fn dial(&self, port: u32) -> Wire {
        Wire::new(UnixStream::connect(self.socket(port)).expect("it listens"))
    }

    /// A control connection: header sent and accepted, no Hello yet.
    pub(crate) fn control(&self) -> Wire {
        let mut wire = self.dial(CONTROL_PORT);
        wire.header(None, StreamKind::Control {});
        wire.expect_reply(StreamReply::Accepted);
        wire
    }

    /// A stream of the control port, its header sent.
    pub(crate) fn stream(&self, key: Option<&str>, kind: StreamKind) -> Wire {
        let mut wire = self.dial(CONTROL_PORT);
        wire.header(key, kind);
        wire
    }

    /// A stream of the data port, its header sent.
    pub(crate) fn ingress(&self, key: Option<&str>, port: u16) -> Wire {
        let mut wire = self.dial(DATA_PORT);
        wire.header(key, StreamKind::Ingress { port, client: None });
        wire
    }

    /// What the enclave has written to its console.
    pub(crate) fn console(&self) -> String {
        let bytes = std::fs::read(self.state().join("console.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Pid of its PID 1 on this machine.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether a guest runs whose command line has this word.
    pub(crate) fn runs(&self, word: &str) -> bool {
        let executes = |pid: i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|part| part == word.as_bytes())
        };
        Up::children_of(self.pid).into_iter().any(executes)
    }

    /// Open descriptors of PID 1.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid)).map_or(0, Iterator::count)
    }

    /// Whether PID 1 lives.
    pub(crate) fn is_alive(&self) -> bool {
        tests::stat(self.pid).is_some_and(|(state, _)| state != 'Z')
    }
}

impl Drop for Enclave {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- console:\n{}", self.console());
        }
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        let _ = self.launcher.wait();
    }
}
