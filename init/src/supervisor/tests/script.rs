//! The language of transcripts: `pod` with settings, `@2s > event`, `@2s set what value`, `@2s end`.

use std::fmt::Write as _;
use std::time::Duration;

use manifest_sync::digest::Digest;
use manifest_sync::lifecycle::Hook;
use manifest_sync::plan::{ContainerPlan, Plan, RestartPolicy, RestartRule, RuleAction, RuleOperator};
use manifest_sync::protocol::GateCondition;
use manifest_sync::resize::OnResize;
use manifest_sync::resources::ResourcesPlan;
use manifest_sync::status::ConditionStatus;

use super::plans::{container, outcome, plan, probe, probe_kind, scratch};
use super::world::{World, supervisor};
use crate::supervisor::event::{Event, ExitStatus, HookKind, ProbeKind, SpawnError};
use crate::supervisor::time::Time;

/// Runs the script of a transcript: the lines that start with `pod` or `@`, without `tick`s.
pub(super) fn replay(script: &str) -> String {
    play(script).log
}

/// The world at the end of a script.
pub(super) fn play(script: &str) -> World {
    let mut world = World::new();
    for line in script.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["#", ..] => {
                let _ = writeln!(world.log, "{line}");
            }
            ["pod", settings @ ..] => {
                let _ = writeln!(world.log, "{line}");
                world.boot();
                world.plan = Some(parse_pod(settings));
                world.step(Event::Accept(Box::new(parse_pod(settings))));
            }
            [at, "set", what, rest @ ..] => {
                world.pass_to(parse_time(at));
                let _ = writeln!(world.log, "{line}");
                set(&mut world, what, &rest.join(" "));
            }
            [at, ">", event @ ..] => {
                world.pass_to(parse_time(at));
                let _ = writeln!(world.log, "{line}");
                happen(&mut world, event);
            }
            [at, "end"] => {
                world.pass_to(parse_time(at));
                let _ = writeln!(world.log, "{line}");
            }
            _ => {}
        }
    }
    world
}

fn parse_time(at: &str) -> Time {
    let text = at.trim_start_matches('@');
    let millis = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(millis), _) => millis.parse::<u64>(),
        (None, Some(seconds)) => seconds.parse::<u64>().map(|seconds| seconds * 1000),
        (None, None) => panic!("no time in {at}"),
    };
    Time::from_millis(millis.unwrap_or_else(|error| panic!("{at}: {error}")))
}

/// `policy=Never grace=5 init/first sidecar/log app other:OnFailure third:Never:In:42,43 fourth:Never:AllIn:42`
/// `fifth:image=shared probe/app/liveness:period=1,failure=2 hook/app/PreStop gate=example.com/ready`
fn parse_pod(settings: &[&str]) -> Plan {
    let policy = |name: &str| match name {
        "Always" => RestartPolicy::Always,
        "OnFailure" => RestartPolicy::OnFailure,
        "Never" => RestartPolicy::Never,
        other => panic!("no policy {other}"),
    };
    let mut pod = plan(RestartPolicy::Always, 30, Vec::new());
    for setting in settings {
        match setting.split_once('=') {
            Some(("policy", name)) => pod.restart_policy = policy(name),
            Some(("deadline", seconds)) => {
                pod.active_deadline_seconds = Some(seconds.parse().expect("seconds"));
            }
            Some(("gate", kind)) => pod.readiness_gates.push(kind.to_owned()),
            None if *setting == "volume" => pod.volumes.push(scratch()),
            Some(("grace", seconds)) => pod.grace_seconds = seconds.parse().expect("seconds"),
            // `amount/app/memory=64` `resize/app/memory`: a limit, and that another needs a restart.
            Some((what, value)) if what.starts_with("amount/") => {
                let words: Vec<&str> = what.split('/').collect();
                amount(&mut find(&mut pod, words[1]).resources, words[2], value);
            }
            _ if setting.starts_with("resize/") => {
                let words: Vec<&str> = setting.split('/').collect();
                let resize = &mut find(&mut pod, words[1]).resize;
                match words[2] {
                    "cpu" => resize.cpu = OnResize::RestartContainer,
                    _ => resize.memory = OnResize::RestartContainer,
                }
            }
            _ if setting.starts_with("hook/") => {
                let words: Vec<&str> = setting.split('/').collect();
                let mut all = pod.init_containers.iter_mut().chain(&mut pod.containers);
                let hooks = &mut all.find(|one| one.name == words[1]).expect("a container").hooks;
                let (kind, handler) = words[2].split_once(':').unwrap_or((words[2], "sleep"));
                let hook = Some(match handler {
                    "exec" => Hook::Exec {
                        command: vec!["true".to_owned()],
                    },
                    _ => Hook::Sleep { seconds: 0 },
                });
                match kind {
                    "PostStart" => hooks.post_start = hook,
                    "PreStop" => hooks.pre_stop = hook,
                    other => panic!("no hook {other}"),
                }
            }
            _ if setting.starts_with("probe/") => {
                let words: Vec<&str> = setting.split(['/', ':']).collect();
                let plan = Some(probe(words.get(3).unwrap_or(&"")));
                let mut all = pod.init_containers.iter_mut().chain(&mut pod.containers);
                let probes = &mut all.find(|one| one.name == words[1]).expect("a container").probes;
                match probe_kind(words[2]) {
                    ProbeKind::Startup => probes.startup = plan,
                    ProbeKind::Liveness => probes.liveness = plan,
                    ProbeKind::Readiness => probes.readiness = plan,
                }
            }
            _ => {
                let parts: Vec<&str> = setting.split(':').collect();
                let (kind, name) = parts[0].split_once('/').unwrap_or(("", parts[0]));
                let mut one = container(name);
                let mut parts = parts.clone();
                if let Some(place) = parts.iter().position(|part| part.starts_with("image=")) {
                    let image = parts.remove(place).trim_start_matches("image=");
                    one.image = format!("{image}:1");
                    one.image_digest = Digest::sha256(image.as_bytes());
                }
                one.restart_policy = parts.get(1).map(|name| policy(name));
                if kind == "sidecar" {
                    one.restart_policy = Some(RestartPolicy::Always);
                }
                for rule in parts.get(2..).unwrap_or_default().chunks(2) {
                    let (action, operator) = match rule[0] {
                        "In" => (RuleAction::Restart, RuleOperator::In),
                        "NotIn" => (RuleAction::Restart, RuleOperator::NotIn),
                        "AllIn" => (RuleAction::RestartAllContainers, RuleOperator::In),
                        other => panic!("no rule {other}"),
                    };
                    let values = rule[1];
                    let values = values
                        .split(',')
                        .map(|value| value.parse().expect("code"))
                        .collect();
                    one.restart_rules.push(RestartRule {
                        action,
                        operator,
                        values,
                    });
                }
                match kind {
                    "" => pod.containers.push(one),
                    _ => pod.init_containers.push(one),
                }
            }
        }
    }
    pod
}

fn find<'a>(pod: &'a mut Plan, name: &str) -> &'a mut ContainerPlan {
    let mut all = pod.init_containers.iter_mut().chain(&mut pod.containers);
    all.find(|one| one.name == name).expect("a container")
}

fn set(world: &mut World, what: &str, value: &str) {
    let message = (!value.is_empty()).then(|| value.to_owned());
    match what {
        // Before `pod`.
        "max-restart-period" => {
            let seconds = value.parse().expect("seconds");
            world.supervisor = supervisor(Duration::from_secs(seconds));
        }
        "image-error" => world.image_error = message,
        "resize-error" => world.resize_error = message,
        "infeasible" => world.infeasible = message,
        "start-error" => world.start_error = message,
        "config-error" => world.spawn_errors.push((SpawnError::Config, value.to_owned())),
        "volume-error" => world.volume_errors.push(value.to_owned()),
        probe if probe.contains('/') => {
            let answer = (value != "hang").then(|| outcome(value));
            world.answers.insert(probe.to_owned(), answer);
        }
        other => panic!("no setting {other}"),
    }
}

fn happen(world: &mut World, event: &[&str]) {
    match event {
        ["exited", name, how] => {
            let end = match how.split_once('=') {
                Some(("code", code)) => (ExitStatus::Code(code.parse().expect("code")), false),
                Some(("signal", signal)) => (ExitStatus::Signal(signal.parse().expect("signal")), false),
                // K-305: the main process may have survived.
                Some(("oom", code)) => (ExitStatus::Code(code.parse().expect("code")), true),
                _ => (ExitStatus::Signal(9), true),
            };
            world.exit(world.pid_of(name), end);
        }
        ["probed", name, kind, result] => {
            let asked = (world.pid_of(name), probe_kind(kind));
            world.answer(asked, outcome(result));
        }
        ["hooked", name, kind, result] => {
            let kind = if *kind == "PreStop" {
                HookKind::PreStop
            } else {
                HookKind::PostStart
            };
            world.step(Event::HookEnded {
                pid: world.pid_of(name),
                kind,
                result: if *result == "success" {
                    Ok(())
                } else {
                    Err("because".to_owned())
                },
            });
        }
        ["condition", kind, status] => {
            let all = [
                ConditionStatus::True,
                ConditionStatus::False,
                ConditionStatus::Unknown,
            ];
            let status = all.into_iter().find(|one| one.name() == *status);
            world.step(Event::SetCondition(GateCondition {
                r#type: (*kind).to_owned(),
                status: status.expect("a status"),
                reason: None,
                message: None,
            }));
        }
        ["stop"] => world.step(Event::Stop { grace_seconds: None }),
        ["stop", grace] => world.step(Event::Stop {
            grace_seconds: Some(grace.parse().expect("seconds")),
        }),
        ["update", changes @ ..] => {
            let plan = Box::new(updated(world, changes));
            let infeasible = world.infeasible.take();
            world.step(Event::Update { plan, infeasible });
        }
        ["evict", message @ ..] => world.step(Event::Evicted {
            message: message.join(" "),
        }),
        ["tick"] => world.step(Event::Tick),
        other => panic!("no event {other:?}"),
    }
}

/// `cpu=500` thousandths, `memory=64` bytes: limit and request.
fn amount(resources: &mut ResourcesPlan, field: &str, value: &str) {
    let value = Some(value.parse().expect("a number"));
    match field {
        "cpu" => (resources.cpu_limit, resources.cpu_request) = (value, value),
        "memory" => (resources.memory_limit, resources.memory_request) = (value, value),
        other => panic!("no resource {other}"),
    }
}

/// `update app=app:2 app.cpu=200 deadline=60`: the plan that runs, with another image, limit or deadline.
fn updated(world: &mut World, changes: &[&str]) -> Plan {
    let plan = world.plan.as_mut().expect("a Pod");
    for change in changes {
        let (what, value) = change.split_once('=').expect("name=value");
        if what == "deadline" {
            plan.active_deadline_seconds = Some(value.parse().expect("seconds"));
            continue;
        }
        if what == "ephemeral" {
            plan.ephemeral_containers.push(container(value));
            continue;
        }
        let (name, field) = what.split_once('.').unwrap_or((what, "image"));
        let mut all = plan.init_containers.iter_mut().chain(&mut plan.containers);
        let container = all.find(|one| one.name == name).expect("a container");
        if field != "image" {
            amount(&mut container.resources, field, value);
            continue;
        }
        value.clone_into(&mut container.image);
        container.image_digest = Digest::sha256(value.as_bytes());
    }
    plan.clone()
}
