//! Secrets that are released by attestation: when they are asked for, what has come, and when they are asked for again. For
//! each class the host is asked for a connection to the broker, which goes to the `attest` service; the values come back
//! from there. Pure but for the memory file that they come in.

use std::collections::BTreeMap;
use std::time::Duration;

use attest::Secret;
use attest::release::{Names, SecretName, decode_set};
use cloister_init::supervisor::time::Time;
use manifest_sync::data::{Content, Released};
use manifest_sync::plan::Plan;
use manifest_sync::secret_class::SecretClassPlan;
use manifest_sync::volume::Files;

/// K-390: pauses between tries to set a volume up.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(122);
/// How long the host may take to make a connection to the broker, and the service to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// All classes of the Pod.
#[derive(Default)]
pub(super) struct Secrets {
    classes: BTreeMap<String, Class>,
    released: Released,
    last_request: u64,
}

struct Class {
    plan: SecretClassPlan,
    names: Names,
    /// In the order of the plan's objects.
    values: Option<Vec<Content>>,
    state: State,
    pause: Duration,
}

/// What a class waits for.
enum State {
    /// A connection to the broker, or the answer over it.
    Asked {
        request: u64,
        connected: bool,
        until: Time,
    },
    /// The next try, or the next rotation.
    Resting { until: Option<Time> },
}

/// What has become of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The first values of a class.
    Arrived { class: String },
    /// Other values than before.
    Changed { class: String },
    /// The same values as before.
    Unchanged,
    /// None; it will be tried again. `rotation`: the class has values.
    Failed {
        class: String,
        rotation: bool,
        message: String,
    },
}

impl Secrets {
    /// The classes of an accepted Pod; every one is asked for.
    pub(super) fn new(plan: &Plan, now: Time) -> Result<Self, String> {
        let mut secrets = Self::default();
        for (name, class) in &plan.secret_classes {
            let names: Vec<_> = class
                .objects
                .iter()
                .map(|object| SecretName::try_from(object.name.clone()))
                .collect::<Result<_, _>>()
                .map_err(|error| format!("SecretProviderClass {name}: {error}"))?;
            let names =
                Names::try_from(names).map_err(|error| format!("SecretProviderClass {name}: {error}"))?;
            let state = secrets.ask(now);
            let class = Class {
                plan: class.clone(),
                names,
                values: None,
                state,
                pause: FIRST_PAUSE,
            };
            secrets.classes.insert(name.clone(), class);
        }
        Ok(secrets)
    }

    fn ask(&mut self, now: Time) -> State {
        self.last_request += 1;
        State::Asked {
            request: self.last_request,
            connected: false,
            until: now + PATIENCE,
        }
    }

    /// Whether every class has values.
    pub(super) fn are_complete(&self) -> bool {
        self.classes.values().all(|class| class.values.is_some())
    }

    /// The requests for which the host has to make a connection.
    pub(super) fn wanted(&self) -> Vec<u64> {
        let asked = self.classes.values().filter_map(|class| match class.state {
            State::Asked {
                request,
                connected: false,
                ..
            } => Some(request),
            _ => None,
        });
        asked.collect()
    }

    /// The host has made a connection: what to ask over it.
    pub(super) fn connected(&mut self, wanted: u64) -> Option<(Names, [u8; 32])> {
        self.classes
            .values_mut()
            .find_map(|class| match &mut class.state {
                State::Asked {
                    request, connected, ..
                } if *request == wanted && !*connected => {
                    *connected = true;
                    Some((class.names.clone(), class.plan.broker_key))
                }
                _ => None,
            })
    }

    /// A request has come to nothing. `None`: nobody waits for it.
    pub(super) fn failed(&mut self, request: u64, message: String, now: Time) -> Option<Outcome> {
        let (name, class) = self.find(request)?;
        Some(class.fail(name, message, now))
    }

    /// The values of a request have come. `None`: nobody waits for them.
    pub(super) fn arrived(&mut self, request: u64, set: &Secret, now: Time) -> Option<Outcome> {
        let (name, class) = self.find(request)?;
        let values: Vec<Content> = match decode_set(set, &class.names) {
            Ok(values) => values
                .iter()
                .map(|(_, value)| Content::new(value.expose().to_vec()))
                .collect(),
            Err(error) => return Some(class.fail(name, error.to_string(), now)),
        };
        class.pause = FIRST_PAUSE;
        class.rest(now);
        let outcome = match &class.values {
            None => Outcome::Arrived { class: name },
            Some(old) if *old == values => return Some(Outcome::Unchanged),
            Some(_) => Outcome::Changed { class: name },
        };
        let plan = class.plan.clone();
        class.values = Some(values.clone());
        self.released.put(&plan, &values);
        Some(outcome)
    }

    fn find(&mut self, wanted: u64) -> Option<(String, &mut Class)> {
        let mut classes = self.classes.iter_mut();
        let asked = |class: &Class| matches!(class.state, State::Asked { request, .. } if request == wanted);
        classes
            .find(|(_, class)| asked(class))
            .map(|(name, class)| (name.clone(), class))
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        let deadlines = self.classes.values().filter_map(|class| match class.state {
            State::Asked { until, .. } => Some(until),
            State::Resting { until } => until,
        });
        deadlines.min()
    }

    /// Does what is due: gives up what has taken too long, asks again.
    pub(super) fn advance(&mut self, now: Time) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let mut due = Vec::new();
        for (name, class) in &mut self.classes {
            match class.state {
                State::Asked { until, connected, .. } if until <= now => {
                    let who = if connected {
                        "the service that asks the broker did not answer"
                    } else {
                        "the host did not make a connection to the broker"
                    };
                    let message = format!("{who} within {} s", PATIENCE.as_secs());
                    outcomes.push(class.fail(name.clone(), message, now));
                }
                State::Resting { until: Some(until) } if until <= now => due.push(name.clone()),
                _ => {}
            }
        }
        for name in due {
            let state = self.ask(now);
            if let Some(class) = self.classes.get_mut(&name) {
                class.state = state;
            }
        }
        outcomes
    }

    /// The files of a class: relative path → content and mode. `None` as long as it has no values.
    pub(super) fn files(&self, class: &str) -> Option<Files> {
        let class = self.classes.get(class)?;
        Some(class.plan.files(class.values.as_ref()?))
    }

    /// The Secrets that classes make of their values.
    pub(super) fn released(&self) -> &Released {
        &self.released
    }
}

impl Class {
    /// After an answer: until the next rotation.
    fn rest(&mut self, now: Time) {
        let every = self.plan.rotation_seconds;
        let until = every.map(|seconds| now + Duration::from_secs(seconds.into()));
        self.state = State::Resting { until };
    }

    fn fail(&mut self, class: String, message: String, now: Time) -> Outcome {
        let rotation = self.values.is_some();
        self.state = State::Resting {
            until: Some(now + self.pause),
        };
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Outcome::Failed {
            class,
            rotation,
            message,
        }
    }
}
