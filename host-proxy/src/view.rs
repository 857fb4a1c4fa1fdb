//! What is known about the enclave at this moment: one value with one writer (the control task) and many readers
//! (HTTP, ingress, announcements), who can wait for it to change.

use std::collections::VecDeque;
use std::time::Instant;

use manifest_sync::protocol::Counters;
use manifest_sync::status::{Event, PodReport};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// State of the connection to the enclave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum Link {
    /// Not connected yet, or not any more; trying.
    Connecting {
        /// Why the last try failed; empty before the first.
        reason: String,
    },
    /// Connected and welcome.
    Connected,
    /// The Pod has ended and the enclave knows that we know.
    Finished,
}

/// Everything that is known.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The connection.
    pub link: Link,
    /// The session key, once the enclave gave one.
    pub session: Option<String>,
    /// The newest report; `None` before the first.
    pub report: Option<PodReport>,
    /// The latest [`MAX_EVENTS`] events, oldest first.
    pub events: VecDeque<Event>,
    /// The newest counters of PID 1.
    pub counters: Counters,
    /// Connections made after the first.
    pub reconnects: u64,
    /// The Pod has ended: the report is final.
    pub ended: bool,
    /// The Pod was asked to stop.
    pub stopping: bool,
    /// When the control task last went through its loop.
    pub beat: Instant,
}

/// Events kept; a flooding enclave must not exhaust the host.
pub const MAX_EVENTS: usize = 256;

impl Snapshot {
    /// What is known before anything is.
    pub fn new() -> Self {
        Self {
            link: Link::Connecting {
                reason: String::new(),
            },
            session: None,
            report: None,
            events: VecDeque::new(),
            counters: Counters::default(),
            reconnects: 0,
            ended: false,
            stopping: false,
            beat: Instant::now(),
        }
    }

    /// Sequence of the newest event; 0 before the first.
    pub fn last_event(&self) -> u64 {
        self.events.back().map_or(0, |event| event.sequence)
    }

    /// Takes one event, in the place of one that it repeats; one that is known already (a reconnect) is ignored.
    pub fn push_event(&mut self, event: Event) {
        if event.sequence <= self.last_event() {
            return;
        }
        if event.id != 0 {
            self.events.retain(|earlier| earlier.id != event.id);
        }
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// `Ok` when the Pod's Ready condition is True and the enclave is connected, else the reason.
    pub fn ready(&self) -> Result<(), String> {
        if let Link::Connecting { reason } = &self.link {
            return Err(format!("the enclave is not connected: {reason}"));
        }
        let Some(report) = &self.report else {
            return Err("no Pod yet".to_owned());
        };
        let ready = report
            .status
            .conditions
            .iter()
            .find(|condition| condition.r#type == "Ready");
        match ready {
            Some(condition) if condition.status == "True" => Ok(()),
            Some(condition) => Err(condition
                .message
                .clone()
                .or_else(|| condition.reason.clone())
                .unwrap_or_else(|| "the Pod is not ready".to_owned())),
            None => Err("the Pod has no Ready condition yet".to_owned()),
        }
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        Self::new()
    }
}

/// Writer's end.
pub type Publisher = watch::Sender<Snapshot>;
/// Readers' end.
pub type View = watch::Receiver<Snapshot>;

/// What `/status` answers: the report as the enclave made it, and the state of the link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusAnswer {
    /// The connection.
    pub link: Link,
    /// Absent before the first report.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pod: Option<PodReport>,
    /// The latest events, oldest first.
    #[serde(default)]
    pub events: Vec<Event>,
}

impl From<&Snapshot> for StatusAnswer {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            link: snapshot.link.clone(),
            pod: snapshot.report.clone(),
            events: snapshot.events.iter().cloned().collect(),
        }
    }
}
