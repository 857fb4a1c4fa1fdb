//! Commands that the host has started in containers (`host-proxy exec`), where the trust policy says `allowDebugExec`.
//! Here is which may run, where, and how they end; [`super::exec_stream`] moves their bytes.
//!
//! A command is what a probe's is: a process in the container's namespaces and cgroup, with its user, environment, limits
//! and filters. It ends, with everything that it has started, when its stream does, when it has ended itself, and when the
//! container ends. Every one is told in an event, on the console, and in the history that attestation documents carry.

use std::collections::BTreeMap;

use cloister_init::supervisor::event::{ExitStatus, Pid};
use cloister_init::supervisor::unit::UnitId;
use manifest_sync::exec::{Failed, FailedReason, Request, Started};
use manifest_sync::link::{Stream, StreamReply};
use manifest_sync::plan::Plan;
use manifest_sync::status::EventType::Warning;
use tokio::sync::{oneshot, watch};

use super::command::Beside;
use super::control;
use super::event_loop::Pid1;
use super::exec_stream::{self, Work};
use super::probe::cut;
use super::process::Outputs;
use crate::child::spec::Leftovers;
use crate::sys::fd;

/// Streams at most, each with one command. They are for people; each may keep some 100 KiB here.
const MAX_EXECS: usize = 8;
/// Which container kubectl takes when it is told none.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// The exec streams and their commands.
#[derive(Default)]
pub(super) struct Execs {
    last: u64,
    open: BTreeMap<u64, Exec>,
}

/// One stream, from its header until it has ended and nothing of its command is left.
struct Exec {
    /// Whether the stream is still there.
    stream: bool,
    /// Until the command is started, or is not.
    verdict: Option<oneshot::Sender<Result<Work, Failed>>>,
    /// Told the exit code.
    end: watch::Sender<Option<u8>>,
    process: Option<Process>,
}

/// What runs.
struct Process {
    /// Of the process that waits for it.
    pid: Pid,
    /// Of the container.
    target: Pid,
    beside: Beside,
}

impl Pid1 {
    /// The host has opened an exec stream.
    pub(super) fn open_exec(&mut self, stream: Stream) {
        let refusal = if !self.policy.allow_debug_exec {
            log::info!("exec: refused: the trust policy does not say `allowDebugExec`");
            Some(StreamReply::NoExec)
        } else if self.plan.is_none() {
            Some(StreamReply::NoPod)
        } else if self.execs.open.len() >= MAX_EXECS {
            Some(StreamReply::Busy)
        } else {
            None
        };
        if let Some(reply) = refusal {
            self.refused += 1;
            return control::refuse(stream, reply);
        }
        self.execs.last += 1;
        let number = self.execs.last;
        let (verdict, started) = oneshot::channel();
        let (end, ended) = watch::channel(None);
        let exec = Exec {
            stream: true,
            verdict: Some(verdict),
            end,
            process: None,
        };
        self.execs.open.insert(number, exec);
        tokio::task::spawn_local(exec_stream::serve(
            number,
            stream,
            started,
            ended,
            self.wishes.clone(),
        ));
    }

    /// The host has said what is to be executed.
    pub(super) fn exec(&mut self, number: u64, request: Request) {
        let Some(verdict) = self
            .execs
            .open
            .get_mut(&number)
            .and_then(|exec| exec.verdict.take())
        else {
            return;
        };
        let work = match self.start_exec(request) {
            Ok((process, work)) => {
                if let Some(exec) = self.execs.open.get_mut(&number) {
                    exec.process = Some(process);
                }
                Ok(work)
            }
            Err(failed) => Err(failed),
        };
        // A stream that has ended meanwhile says so, too.
        let _ = verdict.send(work);
    }

    fn start_exec(&mut self, request: Request) -> Result<(Process, Work), Failed> {
        let failed = |reason, message: String| Failed { reason, message };
        let plan = self.plan.clone();
        let plan = plan.ok_or_else(|| failed(FailedReason::NotRunning, "no Pod runs".to_owned()))?;
        let started = choose(&plan, request.container.as_deref())?;
        let name = &started.container;
        let target = self.running(name).ok_or_else(|| {
            failed(
                FailedReason::NotRunning,
                format!("container not found (\"{name}\"): it does not run"),
            )
        })?;
        self.record_exec(target, name, &request.command);
        let io = |error: std::io::Error| failed(FailedReason::Failed, format!("cannot start: {error}"));
        let (stdin_end, stdin) = match request.stdin {
            true => fd::pipe()
                .map(|(end, stdin)| (Some(end), Some(stdin)))
                .map_err(io)?,
            false => (None, None),
        };
        let (stdout, stdout_end) = fd::pipe().map_err(io)?;
        let (stderr, stderr_end) = fd::pipe().map_err(io)?;
        let ends = Outputs {
            stdin: stdin_end.as_ref().map(|end| end as _),
            stdout: &stdout_end,
            stderr: &stderr_end,
        };
        // Before there is a process that somebody has to end.
        let (stdin, stdout, stderr) = exec_stream::watch(stdin, stdout, stderr).map_err(io)?;
        let (process, beside) = self
            .start_beside(target, request.command, &ends, Leftovers::End)
            .map_err(|message| failed(FailedReason::Failed, message))?;
        let work = Work {
            started,
            report: process.report,
            stdin,
            stdout,
            stderr,
        };
        let process = Process {
            pid: process.pid,
            target,
            beside,
        };
        Ok((process, work))
    }

    /// Process of the instance of a container that executes.
    fn running(&self, container: &str) -> Option<Pid> {
        let mut children = self.children.iter();
        let (pid, _) = children
            .find(|(_, child)| child.container.as_deref() == Some(container) && child.report.is_none())?;
        Some(*pid)
    }

    /// What the host does here, others can know.
    fn record_exec(&mut self, target: Pid, container: &str, command: &[String]) {
        let words = serde_json::to_string(command).unwrap_or_default();
        if let Some(release) = &mut self.release {
            release.history = release.history.then_exec(container, command);
            let history = release.history;
            log::warn!(
                "exec: the host executes {} in container {container}; history {history}",
                cut(&words)
            );
            if let Some(Err(error)) = self.services.attestation().map(|attest| attest.follow(history)) {
                log::error!("the attest service cannot be told of a command of the host's: {error}");
            }
        }
        let unit = self.children.get(&target).map(|child| child.unit);
        let message = cut(&format!("The host executes {words} in container {container}"));
        self.emit(
            unit.filter(|unit| !matches!(unit, UnitId::Service(_))),
            Warning,
            "DebugExec",
            &message,
        );
    }

    /// A stream has ended, and its command has to.
    pub(super) fn exec_closed(&mut self, number: u64) {
        if let Some(exec) = self.execs.open.get_mut(&number) {
            exec.stream = false;
            if let Some(process) = &exec.process {
                process.beside.kill(process.pid);
            }
        }
        self.execs.forget();
    }

    /// A container's process has ended: the host's commands in it have to.
    pub(super) fn end_execs(&mut self, target: Pid) {
        let processes = self.execs.open.values().filter_map(|exec| exec.process.as_ref());
        for process in processes.filter(|process| process.target == target) {
            process.beside.kill(process.pid);
        }
    }

    /// A process ended. Whether it was a command of the host's.
    pub(super) fn exec_exited(&mut self, pid: Pid, status: ExitStatus) -> bool {
        let is_it = |exec: &&mut Exec| exec.process.as_ref().is_some_and(|process| process.pid == pid);
        let Some(exec) = self.execs.open.values_mut().find(is_it) else {
            return false;
        };
        if let Some(process) = exec.process.take() {
            process.beside.end_all();
        }
        let code = match status {
            ExitStatus::Code(code) => code,
            ExitStatus::Signal(signal) => 128 + signal,
        };
        exec.end.send_replace(Some(u8::try_from(code).unwrap_or(u8::MAX)));
        self.execs.forget();
        true
    }
}

impl Execs {
    /// Forgets those of which nothing is left.
    fn forget(&mut self) {
        self.open.retain(|_, exec| exec.stream || exec.process.is_some());
    }
}

/// The container that is meant: the named one, that of kubectl's annotation, or the first.
fn choose(plan: &Plan, named: Option<&str>) -> Result<Started, Failed> {
    let names = || {
        plan.all_containers()
            .chain(&plan.ephemeral_containers)
            .map(|container| &container.name)
    };
    let invalid = |name: &str| Failed {
        reason: FailedReason::Invalid,
        message: format!(
            "container {name} is not valid for pod {}: it has {}",
            plan.name,
            names().map(String::as_str).collect::<Vec<_>>().join(", ")
        ),
    };
    if let Some(name) = named {
        return match names().any(|known| known == name) {
            true => Ok(Started {
                container: name.to_owned(),
                of: Vec::new(),
            }),
            false => Err(invalid(name)),
        };
    }
    let annotated = plan.annotations.get(DEFAULT_CONTAINER);
    let annotated = annotated.filter(|name| names().any(|known| known == *name));
    let first = plan.containers.first().map(|container| &container.name);
    let container = annotated.or(first).ok_or_else(|| invalid(""))?.clone();
    let of: Vec<String> = names().cloned().collect();
    Ok(Started {
        container,
        of: if of.len() > 1 { of } else { Vec::new() },
    })
}
