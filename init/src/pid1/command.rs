//! Commands of probes and hooks: processes in the namespaces of a container, with the container's environment, user and
//! limits. Those of the host are [`super::exec`]'s, and are started and ended here, too. What they write is read,
//! bounded, so that none is ever blocked by us. One that is given up is killed with everything that it has started,
//! whatever group or session that is in: by its cgroup, or, on a machine whose cgroups are not ours, by the process that
//! waits for it ([`crate::sys::descendant`]). What an ended command has left behind belongs to the container and ends with
//! it, as on a node.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use cloister_init::supervisor::event::{Event, ExitStatus, Pid, ProbeOutcome};
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;

use super::cgroup;
use super::event_loop::Pid1;
use super::input::Input;
use super::probe::{Question, cut};
use super::process::{self, FIRST_KEPT_FD, Outputs, ReportPipe, Started};
use crate::child::spec::Leftovers;
use crate::sys::spawn::Namespaces;
use crate::sys::{fd, join, kill};

/// K-256: what is kept of each output of a command; the rest is read and forgotten.
const MAX_OUTPUT_BYTES: usize = 10 * 1024;

/// A command that runs in a container.
struct Command {
    /// `None`: nobody wants to know any more.
    question: Option<Question>,
    process: Beside,
    /// As people write it.
    words: String,
    report: ReportPipe,
    outputs: [Output; 2],
    timer: Option<AbortHandle>,
    timeout_seconds: u32,
    /// It has taken too long and was killed.
    late: bool,
}

/// The commands that run.
#[derive(Default)]
pub(super) struct Commands {
    /// Number of the last process beside a container's own, whatever it was for.
    last: u64,
    running: BTreeMap<Pid, Command>,
}

/// A process beside a container's own.
pub(super) struct Beside {
    number: u64,
    cgroup: Option<PathBuf>,
}

/// One output of a command. Nobody reads it any more once this is gone.
struct Output {
    pipe: Rc<AsyncFd<OwnedFd>>,
    kept: Rc<RefCell<Vec<u8>>>,
    drain: AbortHandle,
}

impl Pid1 {
    /// Starts a command; without a time it may run for as long as the container does (K-211).
    pub(super) fn execute(
        &mut self,
        argv: Vec<String>,
        timeout_seconds: Option<u32>,
        question: Question,
    ) -> Result<(), String> {
        let words = argv.join(" ");
        let pipes = || Ok::<_, std::io::Error>((fd::pipe()?, fd::pipe()?));
        let ((stdout, stdout_end), (stderr, stderr_end)) = pipes().map_err(|error| error.to_string())?;
        let watch = |pipe| Output::watch(pipe).map_err(|error| error.to_string());
        let outputs = [watch(stdout)?, watch(stderr)?];
        let ends = Outputs {
            stdin: None,
            stdout: &stdout_end,
            stderr: &stderr_end,
        };
        let (started, process) = self.start_beside(question.target, argv, &ends, Leftovers::Stay)?;
        let (pid, report, number) = (started.pid, started.report, process.number);
        let facts = self.facts.clone();
        let timer = timeout_seconds.map(|seconds| {
            let timer = tokio::task::spawn_local(async move {
                tokio::time::sleep(Duration::from_secs(seconds.into())).await;
                let _ = facts.send(Input::CommandLate(number)).await;
            });
            timer.abort_handle()
        });
        let command = Command {
            question: Some(question),
            process,
            words,
            report,
            outputs,
            timer,
            timeout_seconds: timeout_seconds.unwrap_or_default(),
            late: false,
        };
        self.commands.running.insert(pid, command);
        Ok(())
    }

    /// Starts a process in the namespaces of a container's.
    pub(super) fn start_beside(
        &mut self,
        target: Pid,
        argv: Vec<String>,
        ends: &Outputs<'_>,
        leftovers: Leftovers,
    ) -> Result<(Started, Beside), String> {
        let child = self.children.get(&target).ok_or("container not running")?;
        let spec = child.spec.as_deref().ok_or("container not running")?;
        let mut spec = spec.beside(argv, FIRST_KEPT_FD, leftovers);
        let number = self.commands.last + 1;
        spec.cgroup = match &spec.cgroup {
            Some(container) => {
                Some(cgroup::create_command(container, number).map_err(|error| error.to_string())?)
            }
            None => None,
        };
        let start = || {
            let target = join::pidfd(self.process(target))?;
            process::start(&spec, Namespaces::Inherited, ends, &[&target])
        };
        let started = start().inspect_err(|_| {
            spec.cgroup.as_deref().map(cgroup::remove_command);
        });
        let started = started.map_err(|error| error.to_string())?;
        self.commands.last = number;
        let cgroup = spec.cgroup.clone();
        Ok((started, Beside { number, cgroup }))
    }

    /// A command has taken too long.
    pub(super) fn command_late(&mut self, number: u64) {
        let mut running = self.commands.running.iter_mut();
        if let Some((pid, command)) = running.find(|(_, command)| command.process.number == number) {
            command.late = true;
            command.process.kill(*pid);
        }
    }

    /// A container's process has ended: what runs beside it has no business any more. Usually the kernel has killed it
    /// with its PID namespace.
    pub(super) fn end_commands(&mut self, target: Pid) {
        for (pid, command) in &mut self.commands.running {
            if command
                .question
                .take_if(|question| question.target == target)
                .is_some()
            {
                command.process.kill(*pid);
            }
        }
    }

    /// A process ended. Whether it was a command, and the answer, if somebody waits for it.
    pub(super) fn command_exited(&mut self, pid: Pid, status: ExitStatus) -> Option<Vec<Event>> {
        let command = self.commands.running.remove(&pid)?;
        command.timer.as_ref().map(AbortHandle::abort);
        command.process.ended();
        let outcome = self.outcome(&command, status);
        let answer = command.question.map(|question| question.answer(outcome));
        Some(answer.into_iter().collect())
    }

    /// K-255; of a hook, the error is a runtime's (K-213).
    fn outcome(&self, command: &Command, status: ExitStatus) -> ProbeOutcome {
        let words = &command.words;
        if command.late {
            let seconds = command.timeout_seconds;
            let late = format!("command timed out: \"{words}\" timed out after {seconds}s");
            return ProbeOutcome::Failure(cut(&late));
        }
        if let Some(report) = command.report.read() {
            return ProbeOutcome::Error(cut(&report.to_string()));
        }
        let code = match status {
            ExitStatus::Code(0) => return ProbeOutcome::Success,
            ExitStatus::Code(code) => code,
            ExitStatus::Signal(signal) => 128 + signal,
        };
        let target = command.question.as_ref().map(|question| question.target);
        let [stdout, stderr] = command.outputs.each_ref().map(Output::text);
        if command.question.as_ref().is_some_and(Question::is_hook) {
            let stderr = self.told(target, stderr);
            let all = self.told(target, stdout + &stderr);
            let error = format!("command '{words}' exited with {code}: {stderr}, message: {all:?}");
            return ProbeOutcome::Failure(error);
        }
        ProbeOutcome::Failure(cut(&self.told(target, stdout + &stderr)))
    }
}

impl Beside {
    /// Kills it and everything that it has started. `pid` is that of the process that waits for it.
    pub(super) fn kill(&self, pid: Pid) {
        match &self.cgroup {
            // The process that waits for it is outside, and ends when the command has; and one that has not got as far
            // as its cgroup is still in the group of that process.
            Some(cgroup) => {
                cgroup::kill_command(cgroup);
                kill::kill_group(pid);
            }
            None => kill::terminate(pid),
        }
    }

    /// It has ended; what it has left behind stays.
    pub(super) fn ended(&self) {
        self.cgroup.as_deref().map(cgroup::remove_command);
    }

    /// It has ended, and what it has left behind has to. Where no cgroup holds that, who waits has seen to it.
    pub(super) fn end_all(&self) {
        if let Some(cgroup) = &self.cgroup {
            cgroup::kill_command(cgroup);
            cgroup::remove_command(cgroup);
        }
    }
}

impl Output {
    fn watch(pipe: OwnedFd) -> std::io::Result<Self> {
        fd::set_nonblocking(&pipe, true)?;
        let (pipe, kept) = (Rc::new(fd::watch(pipe)?), Rc::default());
        let drain = tokio::task::spawn_local(drain(Rc::clone(&pipe), Rc::clone(&kept))).abort_handle();
        Ok(Self { pipe, kept, drain })
    }

    /// What was written before the command ended. Somebody that it has left behind may go on writing (K-258): that is
    /// not waited for.
    fn text(&self) -> String {
        while self.kept.borrow().len() < MAX_OUTPUT_BYTES
            && matches!(read(self.pipe.get_ref(), &self.kept), Ok(1..))
        {}
        String::from_utf8_lossy(&self.kept.borrow()).into_owned()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.drain.abort();
    }
}

/// Reads until the end; one chunk each time the loop comes round.
async fn drain(pipe: Rc<AsyncFd<OwnedFd>>, kept: Rc<RefCell<Vec<u8>>>) {
    while let Ok(mut ready) = pipe.readable().await {
        match ready.try_io(|pipe| read(pipe.get_ref(), &kept)) {
            Ok(Ok(1..)) | Err(_) => {}
            Ok(_) => return,
        }
        tokio::task::yield_now().await;
    }
}

fn read(pipe: &OwnedFd, kept: &RefCell<Vec<u8>>) -> std::io::Result<usize> {
    let mut chunk = [0; 4096];
    let count = nix::unistd::read(pipe.as_fd(), &mut chunk)?;
    let mut kept = kept.borrow_mut();
    let room = MAX_OUTPUT_BYTES.saturating_sub(kept.len());
    kept.extend_from_slice(&chunk[..count.min(room)]);
    Ok(count)
}
