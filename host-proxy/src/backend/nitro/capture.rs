//! One run of a program that ends: its output is bounded, its time too. Nothing here knows `nitro-cli`.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use std::os::unix::process::CommandExt as _;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How much of each stream is kept, in bytes: the description of an enclave takes about 2 KiB, and an instance has at
/// most four. The rest is read and dropped, so that the program does not wait for us.
const KEEP: usize = 256 * 1024;
/// How long output may come after the end: a daemon that the program left may hold the pipe open for ever.
const LATE: Duration = Duration::from_millis(500);
/// How often the end is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// What a program has said and how it ended.
#[derive(Debug)]
pub(super) struct Output {
    /// `None`: it was killed at its deadline.
    pub(super) status: Option<ExitStatus>,
    /// Standard output.
    pub(super) stdout: Vec<u8>,
    /// Standard error.
    pub(super) stderr: Vec<u8>,
}

/// Runs `command` in a process group of its own: a Ctrl-C in our terminal is ours alone, and at the deadline all of
/// the group is killed. Daemons that it made (they have a session of their own) live on.
///
/// # Errors
/// It could not be started.
pub(super) fn run(command: &mut Command, patience: Duration) -> io::Result<Output> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let deadline = Instant::now() + patience;
    let streams = child.stdout.take().map(Stream::read).transpose();
    let errors = child.stderr.take().map(Stream::read).transpose();
    let status = match (&streams, &errors) {
        (Ok(_), Ok(_)) => wait(&mut child, deadline),
        // No thread to read: it would be stuck at its first full pipe.
        _ => Ok(None),
    };
    if !matches!(status, Ok(Some(_))) {
        kill(&mut child);
    }
    let last = Instant::now() + LATE;
    let stdout = streams?.map(|stream| stream.take(last)).unwrap_or_default();
    let stderr = errors?.map(|stream| stream.take(last)).unwrap_or_default();
    Ok(Output {
        status: status?,
        stdout,
        stderr,
    })
}

fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(Some(status)),
            None if Instant::now() >= deadline => return Ok(None),
            None => thread::sleep(LOOK),
        }
    }
}

fn kill(child: &mut Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// A stream that a thread reads to its end.
struct Stream {
    kept: Arc<Mutex<Vec<u8>>>,
    end: Receiver<()>,
}

impl Stream {
    fn read(mut pipe: impl Read + Send + 'static) -> io::Result<Self> {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (ended, end) = channel();
        let shared = Arc::clone(&kept);
        thread::Builder::new()
            .name("nitro-cli".to_owned())
            .spawn(move || {
                let mut chunk = [0; 4096];
                while let Ok(count @ 1..) = pipe.read(&mut chunk) {
                    let mut kept = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    let room = KEEP.saturating_sub(kept.len()).min(count);
                    kept.extend(chunk.iter().take(room));
                }
                let _ = ended.send(());
            })?;
        Ok(Self { kept, end })
    }

    fn take(self, last: Instant) -> Vec<u8> {
        let _ = self
            .end
            .recv_timeout(last.saturating_duration_since(Instant::now()));
        std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, patience: Duration) -> Output {
        run(Command::new("/bin/sh").args(["-c", script]), patience).expect("a shell")
    }

    #[test]
    fn both_streams_and_the_status_come_back() {
        let output = shell("echo out; echo err >&2; exit 3", Duration::from_secs(60));
        assert_eq!(
            (output.stdout, output.stderr),
            (b"out\n".to_vec(), b"err\n".to_vec())
        );
        assert_eq!(output.status.and_then(|status| status.code()), Some(3));
    }

    #[test]
    fn output_without_end_is_bounded_and_stops_nobody() {
        let output = shell(
            "head -c 10000000 /dev/zero; echo done >&2",
            Duration::from_secs(60),
        );
        assert_eq!(output.stdout.len(), KEEP);
        assert_eq!(output.stderr, b"done\n");
    }

    #[test]
    fn a_hang_ends_at_the_deadline_with_its_children() {
        let started = Instant::now();
        let output = shell("echo first; sleep 1000; echo never", Duration::from_millis(200));
        assert!(output.status.is_none());
        assert_eq!(output.stdout, b"first\n");
        assert!(started.elapsed() < Duration::from_secs(100));
    }

    #[test]
    fn a_daemon_that_keeps_the_pipe_open_is_not_waited_for() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let pid = directory.path().join("pid");
        let script = format!(
            "setsid sh -c 'echo $$ > {}; exec sleep 1000' & echo up",
            pid.display()
        );
        let output = shell(&script, Duration::from_secs(60));
        assert_eq!(output.stdout, b"up\n");
        // Ours to end: it has a session of its own.
        let until = Instant::now() + Duration::from_secs(60);
        let daemon = loop {
            let text = std::fs::read_to_string(&pid).unwrap_or_default();
            match text.trim().parse::<i32>() {
                Ok(daemon) => break daemon,
                Err(_) => assert!(Instant::now() < until, "the daemon has written its pid"),
            }
            thread::sleep(LOOK);
        };
        nix::sys::signal::kill(Pid::from_raw(daemon), Signal::SIGKILL).expect("it runs");
    }
}
