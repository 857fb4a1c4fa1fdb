//! Probes and hooks: those over the network are carried out by `net`, commands as processes in the container's
//! namespaces. The command of a probe that takes too long is killed with its process group; whatever has left that group
//! goes with the container, and so does a hook.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use cloister_init::supervisor::event::{Event, ExitStatus, HookKind, Pid, ProbeKind, ProbeOutcome};
use cloister_init::supervisor::unit::UnitId;
use manifest_sync::expansion::expand;
use manifest_sync::lifecycle::Hook;
use manifest_sync::plan::{ContainerPlan, EnvValue};
use manifest_sync::probe::{PortRef, ProbeHandler};
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;

use super::event_loop::Pid1;
use super::input::Input;
use super::process::{self, FIRST_KEPT_FD, Outputs, ReportPipe};
use crate::child::spec::ChildSpec;
use crate::net::message::{NetAnswer, NetProbe, Purpose};
use crate::sys::spawn::Namespaces;
use crate::sys::{fd, join, kill};

/// K-256: what is kept of each output of a command; the rest is read and forgotten.
const MAX_OUTPUT_BYTES: usize = 10 * 1024;
/// What goes into an event: the API's bound of a message, less our own words.
const MAX_TOLD_BYTES: usize = 960;
/// K-211: a hook has no time limit. `net` wants a number; this one is longer than any grace period that people mean.
const HOOK_TIMEOUT_MS: u64 = 7 * 24 * 3_600_000;
/// Instead of what a container says, where nothing of that may leave.
const WITHHELD: &str = "(withheld: the trust policy does not say `allowClearLogs`)";

/// What has been asked and not answered.
#[derive(Default)]
pub(super) struct Probes {
    last: u64,
    commands: BTreeMap<Pid, Command>,
    in_net: BTreeMap<u64, Question>,
}

/// What an answer is about.
#[derive(Debug, Clone)]
pub(super) struct Question {
    target: Pid,
    about: About,
}

#[derive(Debug, Clone)]
enum About {
    Probe(ProbeKind),
    Hook {
        kind: HookKind,
        /// What failed, if it does (K-213).
        subject: String,
    },
}

/// A command that runs in a container.
struct Command {
    question: Question,
    number: u64,
    report: ReportPipe,
    outputs: [Rc<Output>; 2],
    timer: Option<AbortHandle>,
    /// Set when it has taken too long: what is said then.
    late: Option<String>,
    late_words: String,
}

/// One output of a command.
struct Output {
    pipe: AsyncFd<OwnedFd>,
    kept: RefCell<Vec<u8>>,
}

impl Pid1 {
    /// Asks; the events are answers that are known at once.
    pub(super) fn probe(&mut self, unit: UnitId, target: Pid, kind: ProbeKind) -> Vec<Event> {
        let question = Question {
            target,
            about: About::Probe(kind),
        };
        match self.ask(unit, kind, question.clone()) {
            Ok(()) => Vec::new(),
            Err(error) => vec![question.answer(ProbeOutcome::Error(error))],
        }
    }

    /// Runs a hook; the events are answers that are known at once.
    pub(super) fn hook(&mut self, unit: UnitId, target: Pid, kind: HookKind) -> Vec<Event> {
        let Some((plan, container)) = self.plan.as_deref().zip(self.container(unit)) else {
            return Vec::new();
        };
        let hook = match kind {
            HookKind::PostStart => &container.hooks.post_start,
            HookKind::PreStop => &container.hooks.pre_stop,
        };
        let Some(hook) = hook.clone() else {
            return Vec::new();
        };
        let what = match &hook {
            Hook::Exec { command } => format!("Exec lifecycle hook ([{}])", command.join(" ")),
            Hook::HttpGet(get) => format!("HTTP lifecycle hook ({})", get.path),
            Hook::Sleep { seconds } => format!("Sleep lifecycle hook ({seconds})"),
        };
        let subject = format!(
            "{what} for Container \"{}\" in Pod \"{}_{}({})\" failed",
            container.name, plan.name, plan.namespace, self.runtime.uid
        );
        let question = Question {
            target,
            about: About::Hook { kind, subject },
        };
        let started = match hook {
            Hook::Exec { command } => self.execute(command, None, question.clone()),
            Hook::HttpGet(get) => resolve(&get.port, container).and_then(|port| {
                let probe = NetProbe::Get {
                    port,
                    path: get.path,
                    headers: get.headers,
                    timeout_ms: HOOK_TIMEOUT_MS,
                    purpose: Purpose::Hook,
                };
                self.ask_net(probe, question.clone())
            }),
            Hook::Sleep { seconds } => {
                let (facts, question) = (self.facts.clone(), question.clone());
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
                    let _ = facts.send(Input::Slept(question)).await;
                });
                Ok(())
            }
        };
        match started {
            Ok(()) => Vec::new(),
            Err(error) => vec![question.answer(ProbeOutcome::Error(error))],
        }
    }

    /// A hook has slept.
    pub(super) fn slept(&mut self, question: Question) {
        self.step(question.answer(ProbeOutcome::Success));
    }

    fn ask(&mut self, unit: UnitId, kind: ProbeKind, question: Question) -> Result<(), String> {
        let container = self.container(unit).ok_or("no such container")?;
        let probes = &container.probes;
        let plan = match kind {
            ProbeKind::Startup => &probes.startup,
            ProbeKind::Liveness => &probes.liveness,
            ProbeKind::Readiness => &probes.readiness,
        };
        let plan = plan.as_ref().ok_or("no such probe")?.clone();
        let port = |port: &PortRef| resolve(port, container);
        let timeout_ms = u64::from(plan.timeout_seconds) * 1000;
        let probe = match &plan.handler {
            ProbeHandler::Exec { command } => {
                let argv = expanded(command, container);
                return self.execute(argv, Some(plan.timeout_seconds), question);
            }
            ProbeHandler::TcpSocket { port: number } => NetProbe::Connect {
                port: port(number)?,
                timeout_ms,
            },
            ProbeHandler::HttpGet(get) => NetProbe::Get {
                port: port(&get.port)?,
                path: get.path.clone(),
                headers: get.headers.clone(),
                timeout_ms,
                purpose: Purpose::Probe,
            },
        };
        self.ask_net(probe, question)
    }

    fn ask_net(&mut self, probe: NetProbe, question: Question) -> Result<(), String> {
        self.probes.last += 1;
        let number = self.probes.last;
        self.services
            .probe(number, probe)
            .map_err(|error| error.to_string())?;
        self.probes.in_net.insert(number, question);
        Ok(())
    }

    /// `net` has answered.
    pub(super) fn net_answered(&mut self, number: u64, answer: NetAnswer) {
        let Some(question) = self.probes.in_net.remove(&number) else {
            return;
        };
        let outcome = match answer {
            NetAnswer::Success {} => ProbeOutcome::Success,
            NetAnswer::Warning { said, output } => ProbeOutcome::Warning(cut(&(said + &self.told(output)))),
            NetAnswer::Failure { output } => ProbeOutcome::Failure(cut(&output)),
        };
        self.step(question.answer(outcome));
    }

    /// `net` has ended: what it was asked is not answered any more.
    pub(super) fn net_ended(&mut self) {
        let questions = std::mem::take(&mut self.probes.in_net);
        let error = || ProbeOutcome::Error("the network service has ended".to_owned());
        let answers = questions.into_values().map(|question| question.answer(error()));
        self.step_all(answers.collect());
    }

    fn execute(
        &mut self,
        argv: Vec<String>,
        timeout_seconds: Option<u32>,
        question: Question,
    ) -> Result<(), String> {
        let child = self
            .children
            .get(&question.target)
            .ok_or("container not running")?;
        let spec = child.spec.as_deref().ok_or("container not running")?;
        let seconds = timeout_seconds.unwrap_or_default();
        let late_words = format!("command timed out: {argv:?} timed out after {seconds}s");
        let spec = spec.beside(argv, FIRST_KEPT_FD);
        let (pid, report, outputs) = start(&spec, question.target).map_err(|error| error.to_string())?;
        self.probes.last += 1;
        let number = self.probes.last;
        let facts = self.facts.clone();
        let timer = timeout_seconds.map(|seconds| {
            let timer = tokio::task::spawn_local(async move {
                tokio::time::sleep(Duration::from_secs(seconds.into())).await;
                let _ = facts.send(Input::ProbeLate(number)).await;
            });
            timer.abort_handle()
        });
        let command = Command {
            question,
            number,
            report,
            outputs,
            timer,
            late: None,
            late_words,
        };
        self.probes.commands.insert(pid, command);
        Ok(())
    }

    /// A command has taken too long.
    pub(super) fn probe_late(&mut self, number: u64) {
        let mut commands = self.probes.commands.iter_mut();
        if let Some((pid, command)) = commands.find(|(_, command)| command.number == number) {
            command.late = Some(std::mem::take(&mut command.late_words));
            kill::kill_group(*pid);
            // It may not have a group of its own yet.
            kill::kill(*pid);
        }
    }

    /// A process ended: the answer, if it was a command of a probe.
    pub(super) fn probe_exited(&mut self, pid: Pid, status: ExitStatus) -> Option<Event> {
        let command = self.probes.commands.remove(&pid)?;
        command.timer.inspect(AbortHandle::abort);
        let outcome = match (command.late, command.report.read(), status) {
            (Some(late), _, _) => ProbeOutcome::Failure(cut(&late)),
            (None, Some(report), _) => ProbeOutcome::Error(cut(&report.to_string())),
            (None, None, ExitStatus::Code(0)) => ProbeOutcome::Success,
            (None, None, _) => {
                let texts = command.outputs.map(|output| output.text());
                ProbeOutcome::Failure(cut(&self.told(texts.concat())))
            }
        };
        Some(command.question.answer(outcome))
    }

    /// What a container says leaves the enclave only where its logs may.
    fn told(&self, output: String) -> String {
        if self.policy.allow_clear_logs || output.is_empty() {
            output
        } else {
            WITHHELD.to_owned()
        }
    }
}

impl Question {
    fn answer(self, outcome: ProbeOutcome) -> Event {
        let pid = self.target;
        match self.about {
            About::Probe(kind) => Event::Probed { pid, kind, outcome },
            About::Hook { kind, subject } => {
                let result = match outcome {
                    ProbeOutcome::Success | ProbeOutcome::Warning(_) => Ok(()),
                    ProbeOutcome::Failure(error) | ProbeOutcome::Error(error) => {
                        Err(cut(&format!("{subject} - error: {error}")))
                    }
                };
                Event::HookEnded { pid, kind, result }
            }
        }
    }
}

/// Starts a command in the namespaces of a container's process.
fn start(spec: &ChildSpec, target: Pid) -> std::io::Result<(Pid, ReportPipe, [Rc<Output>; 2])> {
    let pidfd = join::pidfd(target)?;
    let (stdout, stdout_end) = fd::pipe()?;
    let (stderr, stderr_end) = fd::pipe()?;
    let outputs = [Output::watch(stdout)?, Output::watch(stderr)?];
    let ends = Outputs {
        stdout: &stdout_end,
        stderr: &stderr_end,
    };
    let started = process::start(spec, Namespaces::Inherited, &ends, &[&pidfd])?;
    Ok((started.pid, started.report, outputs))
}

impl Output {
    fn watch(pipe: OwnedFd) -> std::io::Result<Rc<Self>> {
        fd::set_nonblocking(&pipe, true)?;
        let output = Rc::new(Self {
            pipe: fd::watch(pipe)?,
            kept: RefCell::default(),
        });
        tokio::task::spawn_local(Rc::clone(&output).drain());
        Ok(output)
    }

    /// Reads until the end, so that a command is never blocked by us; one chunk each time the loop comes round.
    async fn drain(self: Rc<Self>) {
        while let Ok(mut ready) = self.pipe.readable().await {
            match ready.try_io(|pipe| self.read(pipe.get_ref())) {
                Ok(Ok(1..)) | Err(_) => {}
                Ok(_) => return,
            }
            tokio::task::yield_now().await;
        }
    }

    fn read(&self, pipe: &OwnedFd) -> std::io::Result<usize> {
        let mut chunk = [0; 4096];
        let count = nix::unistd::read(pipe.as_fd(), &mut chunk)?;
        let mut kept = self.kept.borrow_mut();
        let room = MAX_OUTPUT_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(&chunk[..count.min(room)]);
        Ok(count)
    }

    /// What was written before the command ended. Somebody that it has left behind may go on writing (K-258): that is
    /// not waited for.
    fn text(&self) -> String {
        while self.kept.borrow().len() < MAX_OUTPUT_BYTES && matches!(self.read(self.pipe.get_ref()), Ok(1..))
        {
        }
        String::from_utf8_lossy(&self.kept.borrow()).into_owned()
    }
}

/// Whether commands will be started in it.
pub(super) fn has_commands(container: &ContainerPlan) -> bool {
    let hooks = [&container.hooks.post_start, &container.hooks.pre_stop];
    let mut hooks = hooks.into_iter().flatten();
    if hooks.any(|hook| matches!(hook, Hook::Exec { .. })) {
        return true;
    }
    let probes = &container.probes;
    [&probes.startup, &probes.liveness, &probes.readiness]
        .into_iter()
        .flatten()
        .any(|probe| matches!(probe.handler, ProbeHandler::Exec { .. }))
}

/// K-257: only what `env` says literally is known here, the last entry of a name wins.
fn expanded(command: &[String], container: &ContainerPlan) -> Vec<String> {
    let lookup = |name: &str| {
        let variable = container.env.iter().rfind(|variable| variable.name == name)?;
        Some(match &variable.value {
            EnvValue::Literal(value) => value.clone(),
            EnvValue::Key { .. } | EnvValue::Field(_) => String::new(),
        })
    };
    command.iter().map(|text| expand(text, lookup)).collect()
}

/// K-263.
fn resolve(port: &PortRef, container: &ContainerPlan) -> Result<u16, String> {
    match port {
        PortRef::Number(number) => Ok(*number),
        PortRef::Name(name) => container
            .ports
            .iter()
            .find(|port| port.name.as_ref() == Some(name))
            .map(|port| port.container_port)
            .ok_or_else(|| format!("the container has no port named \"{name}\"")),
    }
}

/// At most so much, at the end of a character.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TOLD_BYTES)].to_owned()
}
