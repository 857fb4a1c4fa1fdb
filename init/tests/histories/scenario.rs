//! A random Pod, and what the world does to it: how long its processes live, what they make of SIGTERM, what its probes
//! answer, when somebody asks for a stop. Everything follows from the seed, so that both sides see the same world.

use serde_json::{Value, json};

use crate::random::Random;
use crate::rules::{Policy, Rule, SECOND};

/// Time is counted in ticks of half a second: everything that the kubelet semantics count is in seconds, so ticks show
/// which way fractions are rounded.
pub(crate) const TICK_MS: u64 = 500;
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Init,
    Sidecar,
    Regular,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Startup,
    Liveness,
    Readiness,
}

pub(crate) const KINDS: [Kind; 3] = [Kind::Startup, Kind::Liveness, Kind::Readiness];

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) oom: bool,
}

pub(crate) const KILLED: Exit = Exit {
    code: None,
    signal: Some(9),
    oom: false,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    No,
    /// The probe could not be carried out.
    Error,
}

/// One probe; seconds.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    pub(crate) delay: u64,
    pub(crate) period: u64,
    pub(crate) successes: u64,
    pub(crate) failures: u64,
    pub(crate) grace: Option<u64>,
    /// How many answers in a hundred are good.
    health: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Unit {
    pub(crate) role: Role,
    pub(crate) policy: Option<Policy>,
    pub(crate) rules: Vec<Rule>,
    /// As in [`KINDS`].
    pub(crate) probes: [Option<Probe>; 3],
    temper: Temper,
}

/// What a container's processes are like.
#[derive(Debug, Clone)]
struct Temper {
    /// Runs that fail, in a hundred.
    failing: u64,
    /// Lengths of runs, seconds; 0: for ever.
    lives: Vec<u64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) policy: Policy,
    /// Seconds.
    pub(crate) grace: u64,
    /// `activeDeadlineSeconds`.
    pub(crate) deadline: Option<u64>,
    /// Init containers and sidecars, then regular containers.
    pub(crate) units: Vec<Unit>,
    /// Tick and grace period of every stop, in order of time. The last comes when the history is over.
    pub(crate) stops: Vec<(u64, Option<u64>)>,
}

impl Scenario {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, &[0]);
        let policies = [Policy::Always, Policy::OnFailure, Policy::Never];
        let policy = random.pick(&policies);
        let ticks = match random.below(20) {
            0 => random.below(4000),
            1..6 => random.below(600),
            _ => random.below(200),
        };
        let mut roles = Vec::new();
        for _ in 0..random.pick(&[0, 0, 1, 1, 2, 3]) {
            roles.push(random.pick(&[Role::Init, Role::Sidecar]));
        }
        for _ in 0..random.pick(&[1, 1, 1, 2, 2, 3]) {
            roles.push(Role::Regular);
        }
        let units = roles.into_iter().map(|role| unit(role, &mut random)).collect();
        let mut stops = vec![(ticks, random.pick(&[None, None, Some(0), Some(1), Some(7)]))];
        // A second one while the first is under way.
        while random.percent(30) {
            let (before, _) = stops[stops.len() - 1];
            stops.push((
                before + random.below(40),
                random.pick(&[None, Some(0), Some(3), Some(20)]),
            ));
        }
        Self {
            seed,
            policy,
            grace: random.pick(&[0, 1, 2, 5, 10, 30]),
            deadline: random.percent(10).then(|| 1 + random.below(120)),
            units,
            stops,
        }
    }

    pub(crate) fn inits(&self) -> usize {
        self.units
            .iter()
            .filter(|unit| unit.role != Role::Regular)
            .count()
    }

    /// Name of a container; their order by name is that of the spec.
    pub(crate) fn name(index: usize) -> String {
        format!("c{index}")
    }

    /// The Pod as a bundle.
    pub(crate) fn bundle(&self) -> Vec<u8> {
        let containers: Vec<Value> = self.units.iter().enumerate().map(container).collect();
        let (inits, regular) = containers.split_at(self.inits());
        let mut spec = json!({
            "restartPolicy": format!("{:?}", self.policy),
            "terminationGracePeriodSeconds": self.grace,
            "initContainers": inits,
            "containers": regular,
        });
        if let Some(deadline) = self.deadline {
            spec["activeDeadlineSeconds"] = json!(deadline);
        }
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [pod]});
        list.to_string().into_bytes()
    }

    fn of_run(&self, unit: usize, run: usize, what: u64) -> Random {
        Random::new(self.seed, &[what, unit as u64, run as u64])
    }

    /// Whether the program of this run cannot be executed.
    pub(crate) fn fails_to_start(&self, unit: usize, run: usize) -> bool {
        self.of_run(unit, run, 1).percent(4)
    }

    /// After how many ticks this run ends by itself, and how.
    pub(crate) fn life(&self, unit: usize, run: usize) -> Option<(u64, Exit)> {
        let mut random = self.of_run(unit, run, 2);
        let temper = &self.units[unit].temper;
        let seconds = random.pick(&temper.lives);
        // Processes end between seconds, too.
        let ticks = (seconds * SECOND + random.below(2)).max(1);
        (seconds > 0).then(|| (ticks, exit(random.percent(temper.failing), &mut random)))
    }

    /// After how many ticks this run ends on SIGTERM, and how; `None`: it ignores it.
    pub(crate) fn on_terminate(&self, unit: usize, run: usize) -> Option<(u64, Exit)> {
        let mut random = self.of_run(unit, run, 3);
        let term = Exit {
            code: None,
            signal: Some(15),
            oom: false,
        };
        let zero = Exit {
            code: Some(0),
            signal: None,
            oom: false,
        };
        let ticks = 1 + random.pick(&[0, 0, 1, 3, 8, 30]);
        random.percent(75).then(|| (ticks, random.pick(&[term, zero])))
    }

    /// After how many ticks a probe is answered, and how.
    pub(crate) fn answer(&self, unit: usize, kind: usize, number: usize) -> (u64, Answer) {
        let mut random = Random::new(self.seed, &[4, unit as u64, kind as u64, number as u64]);
        let health = self.units[unit].probes[kind]
            .as_ref()
            .map_or(100, |probe| probe.health);
        // Answers come in runs, so that thresholds are reached.
        let mood = Random::new(self.seed, &[5, unit as u64, kind as u64, number as u64 / 3]).percent(health);
        let answer = match random.below(100) {
            0..6 => Answer::Error,
            6..16 if mood => Answer::No,
            6..16 => Answer::Yes,
            _ if mood => Answer::Yes,
            _ => Answer::No,
        };
        (1 + random.pick(&[0, 0, 0, 1, 2, 5]), answer)
    }
}

fn exit(fails: bool, random: &mut Random) -> Exit {
    let code = |code| Exit {
        code: Some(code),
        signal: None,
        oom: false,
    };
    if !fails {
        return Exit {
            // A child of it was killed for memory.
            oom: random.percent(5),
            ..code(0)
        };
    }
    match random.below(8) {
        0 => KILLED,
        1 => Exit { oom: true, ..KILLED },
        2 => Exit {
            signal: Some(random.pick(&[1, 2, 6, 11, 15])),
            ..KILLED
        },
        _ => code(random.pick(&[1, 2, 42, 128, 137, 143, 255])),
    }
}

fn unit(role: Role, random: &mut Random) -> Unit {
    let own = [Policy::Always, Policy::OnFailure, Policy::Never];
    let mut policy = match role {
        Role::Sidecar => Some(Policy::Always),
        // Always would make it a sidecar.
        Role::Init => random.percent(20).then(|| random.pick(&own[1..])),
        Role::Regular => random.percent(25).then(|| random.pick(&own)),
    };
    let mut rules = Vec::new();
    if role != Role::Sidecar && random.percent(15) {
        policy = policy.or(Some(Policy::Never));
        for _ in 0..1 + random.below(2) {
            rules.push(Rule {
                is_in: random.percent(60),
                codes: random.pick(&[vec![42], vec![0, 1], vec![0], vec![137, 143], vec![1, 2, 255]]),
            });
        }
    }
    let lives = match role {
        Role::Init => vec![vec![1], vec![1, 2, 5], vec![3, 20], vec![1, 60]],
        Role::Sidecar => vec![vec![0], vec![0], vec![0, 40], vec![5], vec![1, 300, 700]],
        Role::Regular => vec![
            vec![0],
            vec![0, 30],
            vec![1],
            vec![1, 2, 15],
            vec![20, 90],
            vec![1, 120, 400, 590, 601, 700],
        ],
    };
    let lives = random.pick(&lives);
    let mut probes = [const { None }; 3];
    if role != Role::Init {
        for (slot, kind) in probes.iter_mut().zip(KINDS) {
            *slot = random.percent(30).then(|| probe(kind, random));
        }
    }
    Unit {
        role,
        policy,
        rules,
        probes,
        temper: Temper {
            failing: random.pick(&[0, 20, 50, 100]),
            lives,
        },
    }
}

fn probe(kind: Kind, random: &mut Random) -> Probe {
    let for_readiness = kind == Kind::Readiness;
    Probe {
        delay: random.pick(&[0, 0, 0, 1, 4, 15]),
        period: random.pick(&[1, 1, 2, 3, 7, 10]),
        successes: if for_readiness {
            random.pick(&[1, 1, 2, 3])
        } else {
            1
        },
        failures: random.pick(&[1, 1, 2, 3]),
        grace: (!for_readiness && random.percent(30)).then(|| random.pick(&[1, 4, 45])),
        health: random.pick(&[100, 95, 80, 40, 10]),
    }
}

fn container((index, unit): (usize, &Unit)) -> Value {
    let name = Scenario::name(index);
    let mut container =
        json!({"name": name, "image": format!("example.com/{name}@sha256:{}", "0".repeat(64))});
    if let Some(policy) = unit.policy {
        container["restartPolicy"] = json!(format!("{policy:?}"));
    }
    if !unit.rules.is_empty() {
        let rules: Vec<Value> = unit
            .rules
            .iter()
            .map(|rule| {
                let operator = if rule.is_in { "In" } else { "NotIn" };
                json!({"action": "Restart", "exitCodes": {"operator": operator, "values": rule.codes}})
            })
            .collect();
        container["restartPolicyRules"] = json!(rules);
    }
    for (field, probe) in ["startupProbe", "livenessProbe", "readinessProbe"]
        .into_iter()
        .zip(&unit.probes)
    {
        let Some(probe) = probe else { continue };
        container[field] = json!({
            "exec": {"command": ["true"]},
            "initialDelaySeconds": probe.delay,
            "periodSeconds": probe.period,
            "successThreshold": probe.successes,
            "failureThreshold": probe.failures,
        });
        if let Some(grace) = probe.grace {
            container[field]["terminationGracePeriodSeconds"] = json!(grace);
        }
    }
    container
}
