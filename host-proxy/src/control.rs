//! The control task: the one conversation with the enclave, over as many connections as it takes.
//!
//! ```text
//! dial ─► Hello ─► Welcome ─► (Apply ─► Applied) ─► Status, Event, NeedBlob … ─► Finished ─► FinishedAck
//!  ▲                                   │ connection lost
//!  └──────── back-off, jitter ◄────────┘   (too long, or the enclave's process is gone: it died)
//! ```
//!
//! It owns the [`Snapshot`](crate::view::Snapshot) and decides nothing that the enclave should decide. Whatever the enclave sends is
//! parsed once, in the link, and is data here.

mod backoff;
mod connection;
mod conversation;

use std::time::{Duration, Instant};

use manifest_sync::digest::BundleDigest;
use manifest_sync::protocol::{GateCondition, RefusedReason};
use manifest_sync::reject::Rejection;
use manifest_sync::trust::envelope::Delivery;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::blobs::BlobStore;
use crate::broker::BrokerAddress;
use crate::client::Applied;
use crate::enclave::Enclave;
use crate::exit::{Exit, Failure};
use crate::table::escape;
use crate::view::{Link, Publisher};

use backoff::Backoff;
use conversation::{Conversation, End};

/// A wish from outside the task.
#[derive(Debug)]
pub enum Request {
    /// Apply a bundle.
    Apply {
        /// Its bytes.
        bundle: Vec<u8>,
        /// What for.
        intent: Intent,
        /// The verdict.
        reply: oneshot::Sender<Result<Applied, ApplyError>>,
    },
    /// Stop the Pod.
    Stop {
        /// Overrides the grace period, in seconds.
        grace: Option<u32>,
    },
    /// Set a condition that the Pod has a readiness gate for.
    SetCondition {
        /// The condition.
        condition: GateCondition,
        /// Whether it was set; if not, why, in words.
        reply: oneshot::Sender<Result<(), String>>,
    },
}

/// What a bundle is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// Be the first of its enclave.
    Begin,
    /// Change what runs.
    Change,
}

/// Why a bundle was not applied.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// It is wrong.
    #[error("the bundle was rejected")]
    Rejected(#[source] Rejection),
    /// The enclave has one already.
    #[error("the enclave already runs the bundle {0}; change it with `host-proxy update`, or stop it first")]
    Another(String),
    /// There is nothing that an update could change.
    #[error("the enclave runs no Pod yet: `host-proxy apply` gives it one")]
    NothingRuns,
    /// Not now.
    #[error("another bundle is being applied")]
    Busy,
}

/// A bundle to apply when the enclave has none.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The exact bytes that travel: a bundle, or a signed envelope around one.
    pub bytes: Vec<u8>,
    /// Digest of the bundle, as text: what the enclave calls it.
    pub digest: String,
}

impl Bundle {
    /// Takes the bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        // What is neither of the two is for the enclave to refuse.
        let digest = Delivery::read(&bytes).map_or_else(|_| BundleDigest::of(&bytes), |read| read.digest());
        let digest = digest.to_string();
        Self { bytes, digest }
    }
}

/// A connection that lasted so long was a good one: the next loss is counted from its own beginning.
const STABLE: Duration = Duration::from_secs(5);

/// Called with each new session key; must have stored it when it returns.
pub type StoreSession = Box<dyn Fn(&str) -> std::io::Result<()> + Send + Sync>;
/// Says why, when the enclave is known to be gone.
pub type Obituary = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// Says whether the enclave can be dialled.
pub type HasBooted = Box<dyn Fn() -> bool + Send + Sync>;
/// An enclave that has said nothing for so long may be one that never does: it is dialled.
const SILENT: Duration = Duration::from_secs(30);

/// What the task works with.
pub struct Control {
    /// The enclave.
    pub enclave: Enclave,
    /// What it may fetch.
    pub blobs: BlobStore,
    /// Where its secrets come from.
    pub broker: Option<BrokerAddress>,
    /// What it shall run, when it has nothing yet.
    pub bundle: Option<Bundle>,
    /// The key of an earlier run.
    pub session: Option<String>,
    /// Keeps a new key.
    pub store_session: StoreSession,
    /// Digest of the last update that was sent, by this run or an earlier one: whether it was accepted may have been lost
    /// with a connection, and then the enclave rightly runs another bundle than the first.
    pub offered: Option<String>,
    /// Keeps such a digest.
    pub store_offered: StoreSession,
    /// Knows when the enclave is gone.
    pub obituary: Obituary,
    /// Knows when the enclave can be dialled.
    pub has_booted: HasBooted,
    /// How long the first connection may take.
    pub first_deadline: Duration,
    /// How long a lost connection may stay lost.
    pub lost_deadline: Duration,
    /// What is known.
    pub publisher: Publisher,
    /// Wishes.
    pub requests: mpsc::Receiver<Request>,
    /// Resolves when all logs of the ended Pod are out.
    pub logs_drained: Option<oneshot::Receiver<()>>,
}

/// How a run ended without failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The Pod has ended with this exit code, and the enclave knows that we know.
    Finished(u8),
    /// Stop came before there was a Pod.
    NeverApplied,
}

/// A Stop that was asked for; kept until the Pod has ended, and repeated after a reconnect.
#[derive(Debug, Clone, Copy)]
struct Stopping {
    grace: Option<u32>,
}

impl Control {
    /// Runs until the Pod has ended or cannot be reached any more.
    pub async fn run(mut self) -> Result<Ended, Failure> {
        let mut backoff = Backoff::new();
        let mut stopping = None;
        let mut connected_before = false;
        let mut lost_since = Instant::now();
        loop {
            self.beat();
            let tried = if (self.has_booted)() || lost_since.elapsed() > SILENT {
                connection::connect(&self.enclave, self.session.clone(), self.last_event()).await
            } else {
                Err(connection::ConnectError::Failed("it is booting".to_owned()))
            };
            let reason = match tried {
                Ok(connection) => {
                    let connected = Instant::now();
                    if connected_before {
                        self.publisher.send_modify(|snapshot| snapshot.reconnects += 1);
                    }
                    let end = Conversation::new(&mut self, connection, &mut stopping)
                        .run()
                        .await?;
                    // An enclave that answers and breaks off, over and over, is as lost as one that is silent.
                    if !connected_before || connected.elapsed() > STABLE {
                        backoff = Backoff::new();
                        lost_since = Instant::now();
                    }
                    connected_before = true;
                    match end {
                        End::Finished(code) => return Ok(Ended::Finished(code)),
                        End::NeverApplied => return Ok(Ended::NeverApplied),
                        End::Lost(reason) => reason,
                    }
                }
                Err(connection::ConnectError::Refused { reason, message }) => {
                    return Err(refused(reason, &message));
                }
                Err(connection::ConnectError::Failed(reason)) => reason,
            };
            log::debug!("control: {reason}");
            self.publisher.send_modify(|snapshot| {
                snapshot.link = Link::Connecting {
                    reason: reason.clone(),
                }
            });
            self.give_up(connected_before, lost_since, &reason)?;
            if let Some(ended) = self.wait(backoff.next(), &mut stopping).await {
                return Ok(ended);
            }
        }
    }

    /// Fails when there is no hope: the process is gone, or the deadline has passed.
    fn give_up(&self, connected_before: bool, since: Instant, reason: &str) -> Result<(), Failure> {
        if let Some(obituary) = (self.obituary)() {
            return Err(Failure::new(Exit::Died, obituary));
        }
        let address = &self.enclave;
        if connected_before && since.elapsed() > self.lost_deadline {
            let message = format!(
                "the enclave at {address} died: it has not answered for {} s: {reason}",
                since.elapsed().as_secs()
            );
            return Err(Failure::new(Exit::Died, message));
        }
        if !connected_before && since.elapsed() > self.first_deadline {
            let message = format!("the enclave at {address} cannot be reached: {reason}");
            return Err(Failure::new(Exit::Unavailable, message));
        }
        Ok(())
    }

    /// The pause between two tries; wishes are heard meanwhile.
    async fn wait(&mut self, pause: Duration, stopping: &mut Option<Stopping>) -> Option<Ended> {
        let pause = tokio::time::sleep(pause);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return None,
                Some(request) = self.requests.recv() => match request {
                    Request::Stop { grace } => {
                        *stopping = Some(Stopping { grace });
                        self.publisher.send_modify(|snapshot| snapshot.stopping = true);
                        let nothing_ran = self.session.is_none() && self.publisher.borrow().report.is_none();
                        if nothing_ran {
                            return Some(Ended::NeverApplied);
                        }
                    }
                    Request::Apply { reply, .. } => {
                        let _ = reply.send(Err(ApplyError::Busy));
                    }
                    Request::SetCondition { reply, .. } => {
                        let _ = reply.send(Err("the enclave is not connected".to_owned()));
                    }
                },
            }
        }
    }

    fn last_event(&self) -> u64 {
        self.publisher.borrow().last_event()
    }

    /// Says that the task is alive, without waking those who wait for news.
    fn beat(&self) {
        self.publisher.send_if_modified(|snapshot| {
            snapshot.beat = Instant::now();
            false
        });
    }
}

/// The end of a conversation that the enclave did not want.
fn refused(reason: RefusedReason, message: &str) -> Failure {
    let what = match reason {
        RefusedReason::NotYourSession => "another controller holds the enclave, or our session key is wrong",
        RefusedReason::Superseded => "another host-proxy with our session key has taken over",
        RefusedReason::Version => "the enclave speaks another version of the protocol",
        RefusedReason::Malformed => "the enclave did not understand us",
        RefusedReason::AlreadyApplied => "the enclave already runs another bundle",
    };
    Failure::new(
        Exit::Refused,
        format!("refused by the enclave: {what} ({})", escape(message)),
    )
}

#[cfg(test)]
mod tests {
    use manifest_sync::link::Address;

    use super::*;
    use crate::view::Snapshot;

    /// A control task for an enclave that is not there.
    fn control(obituary: Obituary, first_deadline: Duration) -> (Control, mpsc::Sender<Request>) {
        let (wishes, requests) = mpsc::channel(1);
        let control = Control {
            enclave: Enclave::new(Address::Unix {
                dir: "/nonexistent".into(),
            }),
            blobs: BlobStore::new(None),
            broker: None,
            bundle: None,
            session: None,
            store_session: Box::new(|_| Ok(())),
            offered: None,
            store_offered: Box::new(|_| Ok(())),
            obituary,
            has_booted: Box::new(|| true),
            first_deadline,
            lost_deadline: Duration::ZERO,
            publisher: Publisher::new(Snapshot::new()),
            requests,
            logs_drained: None,
        };
        (control, wishes)
    }

    #[tokio::test]
    async fn an_enclave_that_is_not_there_is_given_up_at_the_deadline() {
        let (control, _wishes) = control(Box::new(|| None), Duration::from_millis(20));
        let failure = control.run().await.expect_err("there is none");
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(
            failure
                .message
                .starts_with("the enclave at unix:/nonexistent cannot be reached: "),
            "{failure}"
        );
    }

    #[tokio::test]
    async fn an_enclave_that_boots_is_not_dialled() {
        let (mut control, _wishes) = control(Box::new(|| None), Duration::from_millis(20));
        control.has_booted = Box::new(|| false);
        let failure = control.run().await.expect_err("nobody is there");
        assert!(failure.message.ends_with("it is booting"), "{failure}");
    }

    #[tokio::test]
    async fn an_enclave_that_is_known_to_be_dead_is_given_up_at_once() {
        let obituary = || Some("it died".to_owned());
        let (control, _wishes) = control(Box::new(obituary), Duration::from_secs(3600));
        assert_eq!(control.run().await, Err(Failure::new(Exit::Died, "it died")));
    }

    #[tokio::test]
    async fn stop_before_there_is_anything_ends_the_task() {
        let (control, wishes) = control(Box::new(|| None), Duration::from_secs(3600));
        wishes.send(Request::Stop { grace: None }).await.expect("queued");
        assert_eq!(control.run().await, Ok(Ended::NeverApplied));
    }
}
