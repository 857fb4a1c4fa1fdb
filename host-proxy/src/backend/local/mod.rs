//! The local back-end: the same `cloister-init` as PID 1 of fresh namespaces with a root file system of its own, and
//! Unix sockets for the link. For development: it isolates like a container and protects nothing from this machine.
//!
//! ```text
//! host-proxy up ─spawn─► launcher (own session, unshares) ─spawn─► root (PID 1: builds the root) ─exec─► /init
//!        ▲                   │ waits, writes `exit`
//!        └── one line on a pipe: the pid, or why not
//! ```
//!
//! The launcher is not a child that host-proxy must wait for: the enclave survives host-proxy and is picked up again.

mod launcher;
mod process;
mod root;

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use manifest_sync::link::Address;

use crate::exit::{Exit, Failure};
use process::Process;

/// Our applets, by their first argument.
const LAUNCHER: &str = "local-launcher";
const ROOT: &str = "local-root";
/// Files of the state directory.
const RECORD: &str = "enclave.json";
const EXIT: &str = "exit";
const CONSOLE: &str = "console.log";
const LINK: &str = "link";
/// What an earlier enclave left behind and a new one must not see.
const STALE: [&str; 4] = [RECORD, EXIT, "session", "logs.cursor"];
/// sockaddr_un(7): 108 bytes with the final NUL.
const MAX_SOCKET_PATH: usize = 107;
/// Longest name in the link directory.
const LONGEST_SOCKET: &str = "/4294967295.sock";

/// Runs an applet of this back-end, if the arguments name one.
pub fn applet() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    let applet = args.next()?;
    let state = PathBuf::from(args.next().unwrap_or_default());
    let init = PathBuf::from(args.next().unwrap_or_default());
    match applet.to_str()? {
        LAUNCHER => Some(launcher::main(&state, &init)),
        ROOT => Some(root::main(&state, &init)),
        _ => None,
    }
}

/// An enclave of a state directory.
#[derive(Debug, Clone)]
pub struct Enclave {
    state: PathBuf,
}

/// What is known of the enclave of a state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It runs.
    Running,
    /// It has ended: `exit N` or `signal N`.
    Ended(String),
    /// There was none, or nobody was left to say how it ended.
    Absent,
}

impl Enclave {
    /// The enclave of a state directory, whether it runs or not.
    pub fn of(state: &Path) -> Self {
        Self {
            state: state.to_path_buf(),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> Address {
        Address::Unix {
            dir: self.state.join(LINK),
        }
    }

    /// Whether it runs.
    pub fn probe(&self) -> Probe {
        if let Ok(how) = fs::read_to_string(self.state.join(EXIT)) {
            return Probe::Ended(how.trim().to_owned());
        }
        match Process::read(&self.state.join(RECORD)) {
            Some(process) if process.is_alive() => Probe::Running,
            _ => Probe::Absent,
        }
    }

    /// One message for people when it is gone.
    pub fn obituary(&self) -> Option<String> {
        let console = self.state.join(CONSOLE);
        let how = match self.probe() {
            Probe::Running => return None,
            Probe::Ended(how) => how,
            Probe::Absent => "nobody saw how".to_owned(),
        };
        let tail = tail(&console);
        Some(format!(
            "the enclave died ({how}); its console, {}, ends with:\n{tail}",
            console.display()
        ))
    }

    /// Starts it. `init` is the `cloister-init` binary.
    pub fn start(&self, init: &Path) -> Result<(), Failure> {
        self.prepare().map_err(|error| {
            let message = format!("cannot prepare {}: {error}", self.state.display());
            Failure::new(Exit::Host, message)
        })?;
        let said = self
            .launch(init)
            .map_err(|error| unavailable(&format!("cannot launch it: {error}")))?;
        match said.lines().find_map(|line| line.strip_prefix("error ")) {
            Some(error) => Err(unavailable(error)),
            None if said.starts_with("pid ") => Ok(()),
            None => Err(unavailable(&format!(
                "its launcher said nothing; see {}",
                self.state.join(CONSOLE).display()
            ))),
        }
    }

    /// Ends it at once, whatever it does.
    pub fn terminate(&self) {
        if let Some(process) = Process::read(&self.state.join(RECORD)) {
            process.kill();
        }
    }

    fn prepare(&self) -> io::Result<()> {
        let link = self.state.join(LINK);
        if link.as_os_str().len() + LONGEST_SOCKET.len() > MAX_SOCKET_PATH {
            let message = "the path is too long for a Unix socket: choose a shorter one with --state-dir";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        for name in STALE {
            match fs::remove_file(self.state.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        // Sockets of a dead enclave would refuse the first dial instead of being absent.
        match fs::remove_dir_all(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::DirBuilder::new().mode(0o700).create(&link)
    }

    /// What the launcher and the root applet say until the enclave's program runs or they have failed.
    fn launch(&self, init: &Path) -> io::Result<String> {
        let console = fs::File::create(self.state.join(CONSOLE))?;
        let mut launcher = Command::new("/proc/self/exe")
            .arg0("host-proxy")
            .arg(LAUNCHER)
            .args([&self.state, init])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(console)
            // Ctrl-C in our terminal is ours alone; the launcher makes a session of its own too.
            .process_group(0)
            .spawn()?;
        let mut said = String::new();
        if let Some(stdout) = launcher.stdout.take() {
            stdout.take(64 * 1024).read_to_string(&mut said)?;
        }
        Ok(said)
    }
}

/// The `cloister-init` binary: the one that was named, or the one beside this program.
pub fn find_init(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join("cloister-init"));
    let path = match named {
        Some(path) => path.to_path_buf(),
        None => std::env::var_os("CLOISTER_INIT")
            .map(PathBuf::from)
            .or_else(beside)
            .unwrap_or_default(),
    };
    fs::canonicalize(&path).map_err(|error| {
        let message = format!(
            "cannot find cloister-init at {}: {error}; name it with --init or CLOISTER_INIT",
            path.display()
        );
        Failure::new(Exit::NoInput, message)
    })
}

fn unavailable(message: &str) -> Failure {
    Failure::new(
        Exit::Unavailable,
        format!("cannot start a local enclave: {message}"),
    )
}

/// The last lines of the console.
fn tail(console: &Path) -> String {
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(5)..];
    last.iter()
        .map(|line| format!("  {}", crate::table::escape(line)))
        .collect::<Vec<_>>()
        .join("\n")
}
