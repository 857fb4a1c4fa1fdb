//! One connection from Welcome to its end: messages in, wishes out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use manifest_sync::protocol::{FromEnclave, RefusedReason, ToEnclave};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::connection::{Connection, Outgoing, serve_blob};
use super::{ApplyError, Bundle, Control, Intent, Request, Stopping, refused};
use crate::broker;
use crate::client::{Applied, rejected};
use crate::exit::{Exit, Failure};
use crate::table::escape;
use crate::view::Link;

/// How often the enclave is asked for its counters.
const PING_EVERY: Duration = Duration::from_secs(2);
/// An enclave that has said nothing for so long is taken for lost.
const SILENCE: Duration = Duration::from_secs(20);
/// How long the logs of an ended Pod may take.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// Blobs served at the same time; the enclave asks for one image's at a time.
const MAX_BLOBS: usize = 64;

/// Connections to the secret service at the same time; the enclave asks for one for each class.
const MAX_BROKERS: usize = 64;

/// Conditions that the enclave is asked to set at the same time.
const MAX_CONDITIONS: usize = 64;

/// How one connection ended.
pub(super) enum End {
    /// The Pod has ended.
    Finished(u8),
    /// Stop came before there was a Pod.
    NeverApplied,
    /// The connection is gone; why.
    Lost(String),
}

/// Whose bundle the enclave is judging.
enum Applying {
    Nobody,
    /// The one that the proxy was started with.
    Ours,
    /// One that came over HTTP.
    Wish(oneshot::Sender<Result<Applied, ApplyError>>),
}

/// State of one connection.
pub(super) struct Conversation<'a> {
    control: &'a mut Control,
    connection: Connection,
    stopping: &'a mut Option<Stopping>,
    applying: Applying,
    /// Digest of the bundle that the enclave has.
    applied: Option<String>,
    blobs: JoinSet<()>,
    brokers: JoinSet<()>,
    heard: Instant,
    nonce: u64,
    /// Conditions that the enclave has not answered for, by request.
    conditions: BTreeMap<u64, oneshot::Sender<Result<(), String>>>,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(
        control: &'a mut Control,
        connection: Connection,
        stopping: &'a mut Option<Stopping>,
    ) -> Self {
        let applied = connection.bundle.clone();
        Self {
            control,
            connection,
            stopping,
            applying: Applying::Nobody,
            applied,
            blobs: JoinSet::new(),
            brokers: JoinSet::new(),
            heard: Instant::now(),
            nonce: 0,
            conditions: BTreeMap::new(),
        }
    }

    pub(super) async fn run(mut self) -> Result<End, Failure> {
        self.welcome()?;
        if let Some(end) = self.begin().await? {
            return Ok(end);
        }
        let mut ping = tokio::time::interval(PING_EVERY);
        loop {
            self.control.beat();
            tokio::select! {
                message = self.connection.incoming.recv() => match message {
                    Some(Ok(message)) => {
                        self.heard = Instant::now();
                        if let Some(end) = self.take(message).await? {
                            return Ok(end);
                        }
                    }
                    Some(Err(reason)) => return Ok(End::Lost(reason)),
                    None => return Ok(End::Lost("the connection was closed".to_owned())),
                },
                Some(request) = self.control.requests.recv() => {
                    if let Some(end) = self.wish(request).await {
                        return Ok(end);
                    }
                }
                Some(_) = self.blobs.join_next() => {}
                Some(_) = self.brokers.join_next() => {}
                _ = ping.tick() => {
                    if self.heard.elapsed() > SILENCE {
                        return Ok(End::Lost(format!("no answer for {} s", SILENCE.as_secs())));
                    }
                    self.nonce += 1;
                    self.send(ToEnclave::Ping { nonce: self.nonce });
                }
            }
        }
    }

    /// Keeps the key, which later runs need.
    fn welcome(&mut self) -> Result<(), Failure> {
        let session = self.connection.session.clone();
        if self.control.session.as_ref() != Some(&session) {
            (self.control.store_session)(&session).map_err(|error| {
                Failure::new(Exit::Host, format!("cannot store the session key: {error}"))
            })?;
        }
        self.control.session = Some(session.clone());
        self.control.publisher.send_modify(|snapshot| {
            snapshot.link = Link::Connected;
            snapshot.session = Some(session);
        });
        Ok(())
    }

    /// Applies our bundle where there is none; repeats a Stop that was asked for.
    async fn begin(&mut self) -> Result<Option<End>, Failure> {
        if self.stopping.is_some() && self.applied.is_none() {
            return Ok(Some(End::NeverApplied));
        }
        match (&self.applied, &self.control.bundle) {
            (Some(there), Some(ours))
                if *there != ours.digest && self.control.offered.as_ref() != Some(there) =>
            {
                let message = format!(
                    "the enclave already runs another bundle ({}); change it with `host-proxy update`, or stop it first \
                     with `host-proxy stop`",
                    escape(there)
                );
                return Err(Failure::new(Exit::Refused, message));
            }
            (None, Some(ours)) => {
                let bytes = ours.bytes.clone();
                self.applying = Applying::Ours;
                self.apply(bytes);
            }
            _ => {}
        }
        if let Some(Stopping { grace }) = *self.stopping {
            self.send(ToEnclave::Stop { grace_seconds: grace });
        }
        Ok(None)
    }

    async fn take(&mut self, message: FromEnclave) -> Result<Option<End>, Failure> {
        match message {
            FromEnclave::Welcome { .. } => return Ok(Some(End::Lost("a second Welcome".to_owned()))),
            FromEnclave::Refused {
                reason: RefusedReason::AlreadyApplied,
                message,
            } => match std::mem::replace(&mut self.applying, Applying::Nobody) {
                Applying::Wish(reply) => drop(reply.send(Err(ApplyError::Another(message)))),
                _ => return Err(refused(RefusedReason::AlreadyApplied, &message)),
            },
            FromEnclave::Refused { reason, message } => return Err(refused(reason, &message)),
            FromEnclave::Applied { digest, warnings } => {
                for warning in &warnings {
                    log::debug!("applied with a warning: {}", escape(&warning.to_string()));
                }
                self.applied = Some(digest.clone());
                if let Applying::Wish(reply) = std::mem::replace(&mut self.applying, Applying::Nobody) {
                    let _ = reply.send(Ok(Applied { digest, warnings }));
                }
                if let Some(Stopping { grace }) = *self.stopping {
                    self.send(ToEnclave::Stop { grace_seconds: grace });
                }
            }
            FromEnclave::Rejected { rejection } => {
                match std::mem::replace(&mut self.applying, Applying::Nobody) {
                    Applying::Wish(reply) => drop(reply.send(Err(ApplyError::Rejected(rejection)))),
                    _ => return Err(rejected(&rejection)),
                }
            }
            FromEnclave::NeedBlob { request, digest } => self.need_blob(request, digest).await,
            FromEnclave::NeedBroker { request } => self.need_broker(request),
            FromEnclave::Status { report } => {
                self.control
                    .publisher
                    .send_modify(|snapshot| snapshot.report = Some(*report));
            }
            FromEnclave::Event { event } => {
                self.control
                    .publisher
                    .send_modify(|snapshot| snapshot.push_event(event));
            }
            FromEnclave::Pong { counters, .. } => {
                self.control.publisher.send_if_modified(|snapshot| {
                    snapshot.counters = counters;
                    false
                });
            }
            FromEnclave::ConditionSet { request, refusal } => {
                if let Some(reply) = self.conditions.remove(&request) {
                    let _ = reply.send(refusal.map_or(Ok(()), Err));
                }
            }
            FromEnclave::Finished { exit_code, report } => {
                self.control.publisher.send_modify(|snapshot| {
                    snapshot.report = Some(*report);
                    snapshot.ended = true;
                });
                return Ok(Some(self.finish(exit_code).await));
            }
        }
        Ok(None)
    }

    /// The logs come out before the enclave is let go: what it holds is gone afterwards.
    async fn finish(&mut self, exit_code: u8) -> End {
        if let Some(drained) = self.control.logs_drained.take()
            && tokio::time::timeout(DRAIN_DEADLINE, drained).await.is_err()
        {
            log::warn!("the last logs did not come out in time");
        }
        self.send(ToEnclave::FinishedAck {});
        self.connection.flush().await;
        self.control
            .publisher
            .send_modify(|snapshot| snapshot.link = Link::Finished);
        End::Finished(exit_code)
    }

    async fn need_blob(&mut self, request: u64, digest: manifest_sync::digest::Digest) {
        let unavailable = |message: String| ToEnclave::BlobUnavailable { request, message };
        if self.blobs.len() >= MAX_BLOBS {
            return self.send(unavailable("too many blobs at once".to_owned()));
        }
        log::debug!("blob {digest} is wanted");
        match self.control.blobs.open(&digest) {
            Ok(file) => {
                let (enclave, session) = (self.control.enclave.clone(), self.connection.session.clone());
                let outgoing = self.connection.outgoing.clone();
                self.blobs.spawn(async move {
                    if let Err(error) = serve_blob(&enclave, session, request, file).await {
                        log::warn!("blob {digest}: {error}");
                        let message = error.to_string();
                        let _ = outgoing
                            .send(Outgoing::Message(ToEnclave::BlobUnavailable { request, message }))
                            .await;
                    }
                });
            }
            Err(error) => {
                log::warn!("blob {digest}: {error}");
                self.send(unavailable(error.to_string()));
            }
        }
    }

    fn need_broker(&mut self, request: u64) {
        let unavailable = |message: String| ToEnclave::BrokerUnavailable { request, message };
        let Some(address) = self.control.broker.clone() else {
            return self.send(unavailable(
                "host-proxy was not told where it is: see --broker".to_owned(),
            ));
        };
        if self.brokers.len() >= MAX_BROKERS {
            return self.send(unavailable("too many connections at once".to_owned()));
        }
        let (enclave, session) = (self.control.enclave.clone(), self.connection.session.clone());
        let outgoing = self.connection.outgoing.clone();
        self.brokers.spawn_local(async move {
            if let Err(error) = broker::connect(&address, &enclave, session, request).await {
                log::warn!("secrets: {error}");
                let message = error.to_string();
                let unavailable = ToEnclave::BrokerUnavailable { request, message };
                let _ = outgoing.send(Outgoing::Message(unavailable)).await;
            }
        });
    }

    async fn wish(&mut self, request: Request) -> Option<End> {
        match request {
            Request::Stop { grace } => {
                *self.stopping = Some(Stopping { grace });
                self.control
                    .publisher
                    .send_modify(|snapshot| snapshot.stopping = true);
                if self.applied.is_none() && matches!(self.applying, Applying::Nobody) {
                    return Some(End::NeverApplied);
                }
                self.send(ToEnclave::Stop { grace_seconds: grace });
            }
            Request::SetCondition { condition, reply } => {
                self.conditions.retain(|_, waiting| !waiting.is_closed());
                if self.conditions.len() >= MAX_CONDITIONS {
                    let _ = reply.send(Err("too many conditions at once".to_owned()));
                    return None;
                }
                self.nonce += 1;
                self.conditions.insert(self.nonce, reply);
                let request = self.nonce;
                self.send(ToEnclave::SetCondition { request, condition });
            }
            Request::Apply {
                bundle,
                intent,
                reply,
            } => self.offer(Bundle::new(bundle), intent, reply),
        }
        None
    }

    /// Sends a bundle of somebody else's, if it is one that could be meant.
    fn offer(&mut self, bundle: Bundle, intent: Intent, reply: oneshot::Sender<Result<Applied, ApplyError>>) {
        let refusal = match (&self.applied, intent) {
            _ if !matches!(self.applying, Applying::Nobody) => Err(ApplyError::Busy),
            (Some(there), _) if *there == bundle.digest => Ok(Applied {
                digest: bundle.digest,
                warnings: Vec::new(),
            }),
            (Some(there), Intent::Begin) => Err(ApplyError::Another(there.clone())),
            (None, Intent::Change) => Err(ApplyError::NothingRuns),
            (None, Intent::Begin) | (Some(_), Intent::Change) => {
                if intent == Intent::Change {
                    if let Err(error) = (self.control.store_offered)(&bundle.digest) {
                        log::warn!("the digest of the update cannot be kept: {error}");
                    }
                    self.control.offered = Some(bundle.digest);
                }
                self.applying = Applying::Wish(reply);
                return self.apply(bundle.bytes);
            }
        };
        let _ = reply.send(refusal);
    }

    fn apply(&mut self, bytes: Vec<u8>) {
        let _ = self.connection.outgoing.try_send(Outgoing::Apply(bytes));
    }

    /// Never waits: an enclave that does not read fills the queue, falls silent and is taken for lost. What was
    /// not sent then (a Stop, a bundle) is sent again on the next connection.
    fn send(&mut self, message: ToEnclave) {
        let _ = self.connection.outgoing.try_send(Outgoing::Message(message));
    }
}
