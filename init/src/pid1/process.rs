//! Starting a process: descriptors, files and the `child` applet. What it says on its report pipe is read when the
//! loop decides, so that an exit can never overtake its start.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;

use attest::Secret;
use cloister_init::supervisor::event::Pid;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::Sender;

use super::container::{MANAGED_FILES, TERMINATION_LOG};
use super::input::Input;
use crate::child::report::Report;
use crate::child::spec::ChildSpec;
use crate::sys::fd;
use crate::sys::spawn::{Namespaces, spawn};

/// Descriptors of the `child` applet.
const SPEC_FD: i32 = 3;
const REPORT_FD: i32 = 4;
/// First number for descriptors that a program keeps.
pub(crate) const FIRST_KEPT_FD: i32 = 5;
/// K-332: the last bytes of the termination log that count.
const TERMINATION_MESSAGE_BYTES: usize = 4096;

/// Standard input, output and error of a process.
pub(crate) struct Outputs<'a> {
    /// `None`: /dev/null.
    pub(crate) stdin: Option<&'a dyn AsFdObject>,
    pub(crate) stdout: &'a dyn AsFdObject,
    pub(crate) stderr: &'a dyn AsFdObject,
}

/// `AsFd`, as an object.
pub(crate) trait AsFdObject {
    fn fd(&self) -> std::os::fd::BorrowedFd<'_>;
}

impl<T: AsFd> AsFdObject for T {
    fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.as_fd()
    }
}

/// A process on its way to `exec`.
pub(crate) struct Started {
    pub(crate) pid: Pid,
    pub(crate) report: ReportPipe,
}

/// The read end of a report pipe.
pub(crate) struct ReportPipe(Rc<AsyncFd<OwnedFd>>);

impl ReportPipe {
    /// Tells the loop when there is something to read. It reads; this only waits.
    pub(crate) fn watch(&self, pid: Pid, inbox: Sender<Input>) {
        let pipe = Rc::clone(&self.0);
        tokio::task::spawn_local(async move {
            if pipe.readable().await.is_ok() {
                let _ = inbox.send(Input::Report(pid)).await;
            }
        });
    }

    /// Waits for the report; `None`: the program was executed.
    pub(crate) async fn wait(&self) -> Option<Report> {
        let _ = self.0.readable().await;
        self.read()
    }

    /// The report, or `None` if the program was executed.
    pub(crate) fn read(&self) -> Option<Report> {
        let mut bytes = [0; 4096];
        match nix::unistd::read(self.0.get_ref(), &mut bytes) {
            Ok(0) | Err(_) => None,
            Ok(count) => Report::decode(&bytes[..count]),
        }
    }
}

/// Starts `child` with this description. `kept` become the program's descriptors in their order, from
/// [`FIRST_KEPT_FD`] at entry.
pub(crate) fn start(
    spec: &ChildSpec,
    namespaces: Namespaces,
    outputs: &Outputs<'_>,
    kept: &[&OwnedFd],
) -> io::Result<Started> {
    let spec = fd::memfd("spec", to_json(spec)?.expose())?;
    let (report, report_end) = fd::pipe()?;
    fd::set_nonblocking(&report, true)?;
    let null = std::fs::File::open("/dev/null")?;
    let mut fds = vec![
        (outputs.stdin.map_or(null.as_fd(), AsFdObject::fd), 0),
        (outputs.stdout.fd(), 1),
        (outputs.stderr.fd(), 2),
        (spec.as_fd(), SPEC_FD),
        (report_end.as_fd(), REPORT_FD),
    ];
    fds.extend(kept.iter().map(|fd| fd.as_fd()).zip(FIRST_KEPT_FD..));
    let report = ReportPipe(Rc::new(fd::watch(report)?));
    let pid = spawn("child", &[], namespaces, &fds, &[])?;
    Ok(Started { pid, report })
}

/// The description may hold secrets: its text is made exactly as large as it gets, because a buffer that grows leaves a
/// copy behind, and is wiped.
fn to_json(spec: &ChildSpec) -> io::Result<Secret> {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, spec)?;
    let mut text = Vec::with_capacity(count.0);
    serde_json::to_writer(&mut text, spec)?;
    Ok(Secret::new(text))
}

/// Makes the directory of an instance with its managed files and an empty termination log (K-331).
pub(crate) fn prepare(instance: &Path, contents: [String; MANAGED_FILES.len()]) -> io::Result<()> {
    std::fs::create_dir_all(instance)?;
    for ((name, _), content) in MANAGED_FILES.iter().zip(contents) {
        write(&instance.join(name), &content, 0o644)?;
    }
    write(&instance.join(TERMINATION_LOG), "", 0o666)
}

fn write(path: &Path, content: &str, mode: u32) -> io::Result<()> {
    std::fs::write(path, content)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// What the instance left in its termination log: the last 4096 bytes (K-332).
pub(crate) fn termination_message(instance: &Path) -> String {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let read = || -> io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(instance.join(TERMINATION_LOG))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(
            length.saturating_sub(TERMINATION_MESSAGE_BYTES as u64),
        ))?;
        let mut bytes = Vec::new();
        file.take(TERMINATION_MESSAGE_BYTES as u64)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}
