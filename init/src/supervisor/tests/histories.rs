//! Invariants over random histories.

use std::collections::BTreeMap;
use std::time::Duration;

use manifest_sync::lifecycle::{Hook, Hooks};
use manifest_sync::plan::{ContainerPlan, RestartPolicy, RestartRule, RuleAction, RuleOperator};
use manifest_sync::probe::Probes;
use manifest_sync::status::{ContainerState, Phase};
use proptest::prelude::*;

use super::plans::{container, outcome, plan, probe, scratch};
use super::world::World;
use crate::supervisor::event::{Event, ExitStatus, HookKind, Pid, ProbeKind, SpawnError};
use crate::supervisor::unit::UnitId;

#[derive(Debug, Clone)]
enum Move {
    Exit { which: usize, status: u8 },
    Pass { millis: u64 },
    Stop { grace: Option<u32> },
    SpawnErrors { volume: bool },
    ImageError(bool),
    StartError,
    Probed { which: usize, outcome: usize },
    Hooked { which: usize, fails: bool },
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => (any::<usize>(), 0u8..5).prop_map(|(which, status)| Move::Exit { which, status }),
        6 => (1u64..700_000).prop_map(|millis| Move::Pass { millis }),
        1 => prop::option::of(0u32..40).prop_map(|grace| Move::Stop { grace }),
        1 => any::<bool>().prop_map(|volume| Move::SpawnErrors { volume }),
        1 => any::<bool>().prop_map(Move::ImageError),
        1 => Just(Move::StartError),
        6 => (any::<usize>(), any::<bool>()).prop_map(|(which, fails)| Move::Hooked { which, fails }),
        8 => (any::<usize>(), 0usize..6).prop_map(|(which, outcome)| Move::Probed { which, outcome }),
    ];
    prop::collection::vec(one, 0..60)
}

fn end_of(number: u8) -> (ExitStatus, bool) {
    match number {
        0 => (ExitStatus::Code(0), false),
        1 => (ExitStatus::Code(1), false),
        2 => (ExitStatus::Signal(15), false),
        3 => (ExitStatus::Signal(9), true),
        _ => (ExitStatus::Signal(9), false),
    }
}

fn random_history(policies: &[u8], sidecars: &[bool], probed: &[u8], rules: &[u8], moves: &[Move]) {
    let policy = |number: u8| match number % 3 {
        0 => RestartPolicy::Always,
        1 => RestartPolicy::OnFailure,
        _ => RestartPolicy::Never,
    };
    let containers = (1..policies.len())
        .map(|index| container(&format!("c{index}")))
        .collect();
    let pod_policy = policy(policies[0]);
    let mut pod = plan(pod_policy, 30, containers);
    pod.init_containers = sidecars
        .iter()
        .enumerate()
        .map(|(index, is_sidecar)| {
            let mut init = container(&format!("i{index}"));
            init.restart_policy = is_sidecar.then_some(RestartPolicy::Always);
            init
        })
        .collect();
    let mut all: Vec<&mut ContainerPlan> = pod
        .init_containers
        .iter_mut()
        .filter(|init| init.restart_policy.is_some())
        .chain(&mut pod.containers)
        .collect();
    for (container, bits) in all.iter_mut().zip(rules) {
        // Exits with 1 and after SIGTERM.
        let rule = |bit: u8, value: i32| {
            (bits & bit != 0).then(|| RestartRule {
                action: RuleAction::RestartAllContainers,
                operator: RuleOperator::In,
                values: vec![value],
            })
        };
        container.restart_rules = [rule(1, 1), rule(2, 143)].into_iter().flatten().collect();
        if !container.restart_rules.is_empty() {
            container.restart_policy.get_or_insert(pod_policy);
        }
    }
    let may_start_over = all.iter().any(|container| !container.restart_rules.is_empty());
    let mut world = World::new();
    for (container, bits) in all.iter_mut().zip(probed) {
        let plan = |bit: u8, settings: &str| (bits & bit != 0).then(|| probe(settings));
        container.probes = Probes {
            startup: plan(1, "period=3,failure=2"),
            liveness: plan(2, "failure=1,grace=7"),
            readiness: plan(4, "period=7,delay=5,success=2"),
        };
        let hook = |bit: u8| (bits & bit != 0).then_some(Hook::Sleep { seconds: 0 });
        container.hooks = Hooks {
            post_start: hook(8),
            pre_stop: hook(16),
            stop_signal: None,
        };
        for kind in ["startup", "liveness", "readiness"] {
            // Answers are moves.
            world.answers.insert(format!("{}/{kind}", container.name), None);
        }
    }
    pod.volumes.push(scratch());
    world.boot();
    world.step(Event::Accept(Box::new(pod)));
    let mut restarts: BTreeMap<String, u32> = BTreeMap::new();
    let mut phase = Phase::Pending;
    for step in moves {
        match step {
            Move::Exit { which, status } => {
                let pids: Vec<Pid> = world.live.keys().copied().collect();
                if let Some(pid) = pids.get(which % pids.len().max(1)) {
                    world.exit(*pid, end_of(*status));
                }
            }
            Move::Pass { millis } => world.pass_to(world.now + Duration::from_millis(*millis)),
            Move::Stop { grace } => world.step(Event::Stop {
                grace_seconds: *grace,
            }),
            Move::SpawnErrors { volume: true } => world.volume_errors.push("because".to_owned()),
            Move::SpawnErrors { volume: false } => {
                world
                    .spawn_errors
                    .push((SpawnError::Config, "because".to_owned()));
            }
            Move::ImageError(fails) => world.image_error = fails.then(|| "absent".to_owned()),
            Move::Probed {
                which,
                outcome: result,
            } => {
                let asked: Vec<(Pid, ProbeKind)> = world.asked.keys().copied().collect();
                if let Some(asked) = asked.get(which % asked.len().max(1)) {
                    let names = ["success", "success", "warning", "failure", "failure", "error"];
                    world.answer(*asked, outcome(names[*result]));
                }
            }
            Move::Hooked { which, fails } => {
                let hooked: Vec<(Pid, HookKind)> = world.hooked.iter().copied().collect();
                // Late answers, answers twice, answers for the dead: all must do no harm.
                if let Some((pid, kind)) = hooked.get(which % hooked.len().max(1)).copied() {
                    let result = if *fails { Err("because".to_owned()) } else { Ok(()) };
                    world.step(Event::HookEnded { pid, kind, result });
                }
            }
            Move::StartError => world.start_error = Some("no such file".to_owned()),
        }
        let report = world.supervisor.report().expect("accepted");
        // K-294.
        if matches!(phase, Phase::Succeeded | Phase::Failed) {
            assert_eq!(
                report.status.phase, phase,
                "a phase that was the last has changed"
            );
        }
        phase = report.status.phase;
        for status in report.status.all_containers() {
            let before = restarts
                .insert(status.name.clone(), status.restart_count)
                .unwrap_or(0);
            assert!(status.restart_count >= before, "restartCount went back");
            let runs = matches!(status.state, ContainerState::Running { .. });
            assert!(!runs || status.started || !status.ready, "{status:?}");
        }
    }
    if pod_policy == RestartPolicy::Never && !may_start_over {
        for (unit, count) in &world.spawned {
            let may_restart = match unit {
                UnitId::Service(_) | UnitId::Ephemeral(_) => true,
                UnitId::Init(index) => sidecars[*index],
                UnitId::Container(_) => false,
            };
            assert!(may_restart || *count == 1, "{unit} was started {count} times");
        }
    }
    // After a stop, nothing but time is needed, whoever ignores SIGTERM: the grace of the containers, then that of the
    // services.
    world.image_error = None;
    world.step(Event::Stop { grace_seconds: None });
    let end = world.now + Duration::from_secs(40) + Duration::from_secs(10);
    world.pass_to(end);
    assert!(world.finished.is_some(), "not finished:\n{}", world.log);
    assert!(world.live.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn random_histories_hold_the_invariants(
        policies in prop::collection::vec(0u8..3, 2..5),
        sidecars in prop::collection::vec(any::<bool>(), 0..4),
        probed in prop::collection::vec(0u8..32, 0..6),
        rules in prop::collection::vec(prop_oneof![4 => Just(0u8), 1 => 1u8..4], 0..6),
        moves in moves(),
    ) {
        random_history(&policies, &sidecars, &probed, &rules, &moves);
    }
}
