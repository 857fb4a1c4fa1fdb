//! The position that an honest host has: the control conversation, with the session key.

use std::path::Path;
use std::time::{Duration, Instant};

use manifest_sync::digest::Digest;
use manifest_sync::link::{StreamKind, StreamReply};
use manifest_sync::protocol::{Counters, FromEnclave};
use manifest_sync::reject::Rejection;
use manifest_sync::status::{ContainerState, ContainerStatus, Event, PodReport};
use serde_json::{Value, json};

use crate::enclave::Enclave;
use crate::wire::Wire;

/// How long a state of the Pod is waited for.
const PATIENCE: Duration = Duration::from_secs(180);

/// A controller that was welcomed.
pub(crate) struct Controller {
    pub(crate) wire: Wire,
    /// Key of this session.
    pub(crate) key: String,
    pub(crate) boot_id: String,
    /// Digest of the bundle that was there already.
    pub(crate) bundle: Option<String>,
    pub(crate) report: Option<PodReport>,
    pub(crate) events: Vec<Event>,
    /// Exit code, once the Pod has ended.
    pub(crate) finished: Option<u8>,
    /// Requests for blobs that have been answered or seen.
    pub(crate) requests: Vec<(u64, Digest)>,
    pings: u64,
}

/// Hello, with or without a key.
pub(crate) fn hello(key: Option<&str>) -> Value {
    match key {
        Some(key) => json!({"type": "hello", "version": 1, "session": key}),
        None => json!({"type": "hello", "version": 1}),
    }
}

/// What answers a request for a blob.
pub(crate) type Store<'a> = &'a mut dyn FnMut(&Enclave, &str, u64, &Digest) -> Option<Value>;

/// Opens the stream of a blob and sends these bytes on it, as blob of that size.
pub(crate) fn supply(enclave: &Enclave, key: &str, request: u64, size: u64, bytes: &[u8]) -> Wire {
    let mut stream = enclave.stream(Some(key), StreamKind::Blob { request, size });
    stream.expect_reply(StreamReply::Accepted);
    stream.send(bytes);
    stream
}

/// The blob of this digest in a layout.
pub(crate) fn blob(layout: &Path, digest: &Digest) -> Option<Vec<u8>> {
    std::fs::read(layout.join("blobs/sha256").join(digest.hex())).ok()
}

/// An honest store of a layout's blobs.
pub(crate) fn serve(enclave: &Enclave, key: &str, layout: &Path, request: u64, digest: &Digest) {
    let bytes = blob(layout, digest).expect("a blob of the layout");
    supply(enclave, key, request, bytes.len() as u64, &bytes);
}

impl Controller {
    /// Says Hello and is welcomed.
    pub(crate) fn connect(enclave: &Enclave, key: Option<&str>) -> Self {
        let mut wire = enclave.control();
        wire.say(&hello(key));
        match wire.hear() {
            Some(FromEnclave::Welcome {
                session,
                boot_id,
                bundle,
                ..
            }) => Self {
                wire,
                key: session,
                boot_id,
                bundle,
                report: None,
                events: Vec::new(),
                finished: None,
                requests: Vec::new(),
                pings: 0,
            },
            other => panic!("not welcome: {other:?}"),
        }
    }

    /// The next message; state that it carries is kept.
    pub(crate) fn next(&mut self) -> FromEnclave {
        let message = self.wire.hear().expect("the enclave hung up on its controller");
        match &message {
            FromEnclave::Status { report } => self.report = Some((**report).clone()),
            FromEnclave::Event { event } => self.events.push(event.clone()),
            FromEnclave::NeedBlob { request, digest } => self.requests.push((*request, digest.clone())),
            FromEnclave::Finished { exit_code, report } => {
                self.report = Some((**report).clone());
                self.finished = Some(*exit_code);
            }
            FromEnclave::Refused { reason, message } => panic!("refused: {reason:?}: {message}"),
            _ => {}
        }
        message
    }

    /// Delivers a bundle: its digest, or everything that is wrong with it.
    pub(crate) fn apply(&mut self, bundle: &[u8]) -> Result<String, Rejection> {
        self.wire.say(&json!({"type": "apply", "size": bundle.len()}));
        self.wire.frame(bundle);
        loop {
            match self.next() {
                FromEnclave::Applied { digest, .. } => return Ok(digest),
                FromEnclave::Rejected { rejection } => return Err(rejection),
                _ => {}
            }
        }
    }

    /// The counters, by an answer to this very question.
    pub(crate) fn ping(&mut self) -> Counters {
        self.pings += 1;
        let nonce = self.pings;
        self.wire.say(&json!({"type": "ping", "nonce": nonce}));
        loop {
            if let FromEnclave::Pong {
                nonce: echo,
                counters,
            } = self.next()
                && echo == nonce
            {
                return counters;
            }
        }
    }

    /// Hears, and answers requests for blobs, until `done`.
    pub(crate) fn until(
        &mut self,
        enclave: &Enclave,
        store: Store<'_>,
        what: &str,
        done: impl Fn(&Self) -> bool,
    ) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(
                Instant::now() < end,
                "waited in vain for {what}: {:?}",
                self.report
            );
            if let FromEnclave::NeedBlob { request, digest } = self.next()
                && let Some(answer) = store(enclave, &self.key, request, &digest)
            {
                self.wire.say(&answer);
            }
        }
    }

    /// Waits until all these containers run, with images of a layout.
    pub(crate) fn until_running(&mut self, enclave: &Enclave, layout: &Path, names: &[&str]) {
        let mut honest = |enclave: &Enclave, key: &str, request: u64, digest: &Digest| {
            serve(enclave, key, layout, request, digest);
            None
        };
        self.until(enclave, &mut honest, &format!("{names:?} to run"), |controller| {
            names.iter().all(|name| controller.is_running(name))
        });
    }

    /// Status of a container.
    pub(crate) fn container(&self, name: &str) -> Option<&ContainerStatus> {
        let statuses = &self.report.as_ref()?.status.container_statuses;
        statuses.iter().find(|status| status.name == name)
    }

    /// Whether a container runs.
    pub(crate) fn is_running(&self, name: &str) -> bool {
        self.container(name)
            .is_some_and(|status| matches!(status.state, ContainerState::Running { .. }))
    }

    /// Why a container waits: reason and message.
    pub(crate) fn waiting(&self, name: &str) -> Option<(&str, &str)> {
        match &self.container(name)?.state {
            ContainerState::Waiting { reason, message } => {
                Some((reason, message.as_deref().unwrap_or_default()))
            }
            _ => None,
        }
    }
}
