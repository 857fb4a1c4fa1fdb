//! What back-ends share that run an enclave on this machine: a launcher in a session of its own starts it and stays to see
//! how it ends, so that the enclave survives host-proxy and its terminal, and is picked up again.
//!
//! ```text
//! host-proxy up ─spawn─► launcher ─spawn─► the enclave's process
//!        ▲                   │ waits, writes `exit`
//!        └── one line on a pipe: `pid N`, or `error …`
//! ```

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::dup2_stdout;

use super::Probe;
use super::process::Process;
use crate::exit::{Exit, Failure};

/// Files of the state directory.
const RECORD: &str = "enclave.json";
const EXIT: &str = "exit";
const CONSOLE: &str = "console.log";
/// What an earlier enclave left behind and a new one must not see.
const STALE: [&str; 4] = [RECORD, EXIT, "session", "logs.cursor"];
/// sockaddr_un(7): 108 bytes with the final NUL.
const MAX_SOCKET_PATH: usize = 107;
/// How long a launcher may take to write how the enclave ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(20);
/// Lines of the console in a message for people.
const LAST_LINES: usize = 8;
/// How a kernel's last word begins.
const PANIC: &str = "Kernel panic";
/// Most that a launcher says before its enclave runs, bytes.
const MAX_SAID: u64 = 64 * 1024;

/// An enclave of a state directory.
#[derive(Debug, Clone)]
pub(super) struct Detached {
    state: PathBuf,
}

impl Detached {
    pub(super) fn of(state: &Path) -> Self {
        Self {
            state: state.to_path_buf(),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.state.join(name)
    }

    /// Whether it runs.
    pub(super) fn probe(&self) -> Probe {
        if let Ok(how) = fs::read_to_string(self.path(EXIT)) {
            return Probe::Ended(how.trim().to_owned());
        }
        match Process::read(&self.path(RECORD)) {
            Some(process) if process.is_alive() => Probe::Running,
            _ => Probe::Absent,
        }
    }

    /// One message for people when it is gone.
    pub(super) fn obituary(&self) -> Option<String> {
        let deadline = Instant::now() + LAST_WORDS;
        while self.probe() == Probe::Absent && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        let how = match self.probe() {
            Probe::Running => return None,
            Probe::Ended(how) => how,
            Probe::Absent => "nobody saw how".to_owned(),
        };
        let console = self.path(CONSOLE);
        Some(format!(
            "the enclave died ({how}); its console, {}, ends with:\n{}",
            console.display(),
            tail(&console)
        ))
    }

    /// Ends it at once, whatever it does.
    pub(super) fn terminate(&self) {
        if let Some(process) = Process::read(&self.path(RECORD)) {
            process.kill();
        }
    }

    /// Forgets an earlier enclave, and makes sure that sockets whose paths end with `longest_socket` can be bound.
    pub(super) fn prepare(&self, longest_socket: &str) -> io::Result<()> {
        if self.state.as_os_str().len() + longest_socket.len() > MAX_SOCKET_PATH {
            let message = "the path is too long for a Unix socket: choose a shorter one with --state-dir";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        STALE.iter().try_for_each(|name| remove(&self.path(name)))
    }

    /// Starts a launcher (an applet of this program) and waits until it has announced the enclave or why there is none.
    pub(super) fn launch(&self, kind: &str, applet: &str, arguments: &[&Path]) -> Result<(), Failure> {
        let said = self
            .run_launcher(applet, arguments)
            .map_err(|error| unavailable(kind, &format!("cannot launch it: {error}")))?;
        match said.lines().find_map(|line| line.strip_prefix("error ")) {
            Some(error) => Err(unavailable(kind, error)),
            None if said.starts_with("pid ") => Ok(()),
            None => Err(unavailable(
                kind,
                &format!("its launcher said nothing; see {}", self.path(CONSOLE).display()),
            )),
        }
    }

    fn run_launcher(&self, applet: &str, arguments: &[&Path]) -> io::Result<String> {
        let console = fs::File::create(self.path(CONSOLE))?;
        let mut launcher = Command::new("/proc/self/exe")
            .arg0("host-proxy")
            .arg(applet)
            .arg(&self.state)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(console)
            // Ctrl-C in our terminal is ours alone; the launcher makes a session of its own too.
            .process_group(0)
            .spawn()?;
        let mut said = String::new();
        if let Some(stdout) = launcher.stdout.take() {
            stdout.take(MAX_SAID).read_to_string(&mut said)?;
        }
        Ok(said)
    }

    /// In the launcher: records the enclave's process and tells host-proxy of it.
    pub(super) fn announce(&self, child: &Child) -> Result<(), String> {
        let pid = child.id().cast_signed();
        let record = Process::observe(pid)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
            .and_then(|process| Ok(serde_json::to_vec(&process)?))
            .and_then(|bytes| write_atomically(&self.path(RECORD), &bytes));
        record.map_err(|error| format!("cannot record its pid: {error}"))?;
        println!("pid {pid}");
        // What the enclave's process has to say until it runs follows on the same pipe; we must not keep it open.
        let _ = io::stdout().flush();
        dup2_stdout(io::stderr()).map_err(|error| format!("cannot let go of the pipe: {error}"))
    }

    /// In the launcher: records how the enclave ended.
    pub(super) fn record_end(&self, status: ExitStatus) -> io::Result<()> {
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit {code}\n"),
            (None, Some(signal)) => format!("signal {signal}\n"),
            (None, None) => "unknown\n".to_owned(),
        };
        write_atomically(&self.path(EXIT), how.as_bytes())
    }
}

/// Removes a file that need not be there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, content)?;
    fs::rename(new, path)
}

fn unavailable(kind: &str, message: &str) -> Failure {
    Failure::new(
        Exit::Unavailable,
        format!("cannot start a {kind} enclave: {message}"),
    )
}

/// The last lines of the console, up to a kernel's panic if there is one: the trace that follows it says nothing to people.
fn tail(console: &Path) -> String {
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut lines: Vec<&str> = text.lines().collect();
    if let Some(panic) = lines.iter().rposition(|line| line.contains(PANIC)) {
        lines.truncate(panic + 1);
    }
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    last.iter()
        .map(|line| format!("  {}", crate::table::escape(line)))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_panic_is_among_the_last_lines() {
        let console = tempfile::NamedTempFile::new().expect("a file");
        let mut text: String = (0..20).map(|number| format!("line {number}\n")).collect();
        fs::write(console.path(), &text).expect("a console");
        assert!(tail(console.path()).starts_with("  line 12\n"));
        assert!(tail(console.path()).ends_with("  line 19"));
        text.push_str("Kernel panic - not syncing: no memory\n");
        text.push_str(&"? 0xffff\n".repeat(30));
        fs::write(console.path(), &text).expect("a console");
        assert!(tail(console.path()).ends_with("  line 19\n  Kernel panic - not syncing: no memory"));
        assert_eq!(tail(Path::new("/absent")), "");
    }
}
