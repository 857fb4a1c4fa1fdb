//! Probes and hooks: what is asked of whom, and what the answers mean. Those over the network are carried out by `net`;
//! commands are [`super::command`]'s. When a container's process ends, what was asked of it is forgotten: nobody waits
//! for the answer, and its number may soon be another's.

use std::collections::BTreeMap;
use std::time::Duration;

use cloister_init::supervisor::event::{Event, HookKind, Pid, ProbeKind, ProbeOutcome};
use cloister_init::supervisor::unit::UnitId;
use manifest_sync::expansion::expand;
use manifest_sync::lifecycle::Hook;
use manifest_sync::plan::{ContainerPlan, EnvValue};
use manifest_sync::probe::{HttpGet, PortRef, ProbeHandler, Scheme};
use manifest_sync::status::EventType::Warning;
use tokio::task::AbortHandle;

use super::event_loop::{POD_IP, Pid1};
use super::input::Input;
use crate::net::message::{self, NetAnswer, NetProbe, Purpose};

/// What goes into an event: the API's bound of a message, less our own words.
const MAX_TOLD_BYTES: usize = 960;
/// K-211: a hook has no time limit. `net` wants a number; this one is longer than any grace period that people mean.
const HOOK_TIMEOUT_MS: u64 = 7 * 24 * 3_600_000;
/// Instead of what a container says, where nothing of that may leave.
const WITHHELD: &str = "(withheld: the policy keeps what the container says in the enclave)";

/// What has been asked and not answered, but for commands.
#[derive(Default)]
pub(super) struct Probes {
    last: u64,
    in_net: BTreeMap<u64, Question>,
    /// Hooks that sleep, with their timers.
    asleep: BTreeMap<u64, (Question, AbortHandle)>,
}

/// What an answer is about.
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// Process of the instance that is asked.
    pub(super) target: Pid,
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
            Hook::HttpGet(get) => {
                let probe = request(&get, container, HOOK_TIMEOUT_MS, Purpose::Hook);
                probe.and_then(|probe| self.ask_net(probe, question.clone()))
            }
            Hook::Sleep { seconds } => {
                self.sleep(Duration::from_secs(seconds.into()), question.clone());
                Ok(())
            }
        };
        match started {
            Ok(()) => Vec::new(),
            Err(error) => vec![question.answer(ProbeOutcome::Error(error))],
        }
    }

    fn sleep(&mut self, time: Duration, question: Question) {
        self.probes.last += 1;
        let number = self.probes.last;
        let facts = self.facts.clone();
        let timer = tokio::task::spawn_local(async move {
            tokio::time::sleep(time).await;
            let _ = facts.send(Input::Slept(number)).await;
        });
        let timer = timer.abort_handle();
        self.probes.asleep.insert(number, (question, timer));
    }

    /// A hook has slept.
    pub(super) fn slept(&mut self, number: u64) {
        if let Some((question, _)) = self.probes.asleep.remove(&number) {
            self.step(question.answer(ProbeOutcome::Success));
        }
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
        let timeout_ms = u64::from(plan.timeout_seconds) * 1000;
        let probe = match &plan.handler {
            ProbeHandler::Exec { command } => {
                let argv = expanded(command, container);
                return self.execute(argv, Some(plan.timeout_seconds), question);
            }
            ProbeHandler::TcpSocket { port } => NetProbe::Connect {
                port: resolve(port, container)?,
                timeout_ms,
            },
            ProbeHandler::HttpGet(get) => request(get, container, timeout_ms, Purpose::Probe)?,
            ProbeHandler::Grpc { port, service } => NetProbe::Health {
                port: *port,
                service: service.clone(),
                timeout_ms,
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
            NetAnswer::FellBack { port } => {
                // K-526.
                let unit = self.children.get(&question.target).map(|child| child.unit);
                let message = format!(
                    "request to HTTPS lifecycle hook {POD_IP}:{port} got HTTP response, retry with HTTP succeeded"
                );
                self.emit(unit, Warning, "LifecycleHTTPFallback", &message);
                ProbeOutcome::Success
            }
            NetAnswer::Warning { said, output } => {
                ProbeOutcome::Warning(cut(&(said + &self.told(Some(question.target), output))))
            }
            NetAnswer::Failure { said, output } => {
                ProbeOutcome::Failure(cut(&(said + &self.told(Some(question.target), output))))
            }
        };
        self.step(question.answer(outcome));
    }

    /// The process of a container has ended: what was asked of it is not answered any more.
    pub(super) fn target_ended(&mut self, target: Pid) {
        self.end_commands(target);
        self.end_execs(target);
        let Self { probes, services, .. } = self;
        probes.in_net.retain(|number, question| {
            let waits = question.target != target;
            if !waits {
                services.forget(*number);
            }
            waits
        });
        probes.asleep.retain(|_, (question, timer)| {
            let waits = question.target != target;
            if !waits {
                timer.abort();
            }
            waits
        });
    }

    /// `net` has ended: what it was asked is not answered any more.
    pub(super) fn net_ended(&mut self) {
        let questions = std::mem::take(&mut self.probes.in_net);
        let error = || ProbeOutcome::Error("the network service has ended".to_owned());
        let answers = questions.into_values().map(|question| question.answer(error()));
        self.step_all(answers.collect());
    }

    /// What a container says leaves the enclave only where its logs may.
    pub(super) fn told(&self, target: Option<Pid>, output: String) -> String {
        let child = target.and_then(|target| self.children.get(&target));
        let container = child.and_then(|child| self.container(child.unit));
        let logs = self.logs.borrow();
        let clear = match container {
            Some(container) => logs.is_clear(&container.name),
            None => logs.is_all_clear(),
        };
        if clear || output.is_empty() {
            output
        } else {
            WITHHELD.to_owned()
        }
    }
}

impl Question {
    pub(super) fn is_hook(&self) -> bool {
        matches!(self.about, About::Hook { .. })
    }

    pub(super) fn answer(self, outcome: ProbeOutcome) -> Event {
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

/// An HTTP request of a probe or hook.
fn request(
    get: &HttpGet,
    container: &ContainerPlan,
    timeout_ms: u64,
    purpose: Purpose,
) -> Result<NetProbe, String> {
    Ok(NetProbe::Get {
        scheme: match get.scheme {
            Scheme::Http => message::Scheme::Http,
            Scheme::Https => message::Scheme::Https,
        },
        port: resolve(&get.port, container)?,
        path: get.path.clone(),
        headers: get.headers.clone(),
        timeout_ms,
        purpose,
    })
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
            EnvValue::Key { .. } | EnvValue::Fact(_) | EnvValue::File { .. } => String::new(),
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
pub(super) fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TOLD_BYTES)].to_owned()
}
