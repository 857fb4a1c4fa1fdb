//! An enclave of the tests: the real link and the real enclave's end of the conversation, and no Pod behind it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use manifest_sync::config::{CONTROL_PORT, DATA_PORT, Takeover};
use manifest_sync::digest::Digest;
use manifest_sync::link::{Address, Stream, StreamKind, StreamReply, listen, read_header, write_reply};
use manifest_sync::log_record::{Dropped, Entry, LogRun, LogStream};
use manifest_sync::plan::Protocol;
use manifest_sync::protocol::enclave::{Conversation, Input, encode};
use manifest_sync::protocol::session::{Decision, Sessions};
use manifest_sync::protocol::{Counters, FromEnclave, RefusedReason, VERSION};
use manifest_sync::reject::{Finding, Rejection};
use manifest_sync::status::{
    Condition, ContainerState, ContainerStatus, Event, EventType, Phase, PodReport, PodStatus, ReportedPort,
};
use manifest_sync::trust::envelope::Delivery;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

/// What the enclave saw; tests wait for these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Hello { with_key: bool },
    Applied(Vec<u8>),
    Blob(Vec<u8>),
    BlobUnavailable(String),
    BrokerUnavailable(String),
    Stop(Option<u32>),
    FinishedAck,
}

/// What the enclave does beside its duty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Honest,
    /// Refuses every bundle.
    Rejects,
    /// Sends bytes that are no frames after Welcome, the first time.
    GarblesOnce,
}

pub(crate) struct Fake {
    pub(crate) address: Address,
    pub(crate) seen: mpsc::UnboundedReceiver<Seen>,
    inner: Arc<Inner>,
}

struct Inner {
    seen: mpsc::UnboundedSender<Seen>,
    sessions: Mutex<Sessions>,
    bundle: Mutex<Option<String>>,
    manner: Mutex<Manner>,
    blob: Digest,
}

/// Starts an enclave in `dir`; it asks for the blob `blob` once a bundle is applied.
pub(crate) fn start(dir: &Path, manner: Manner, blob: Digest) -> Fake {
    let address = Address::Unix { dir: dir.to_owned() };
    let (sender, seen) = mpsc::unbounded_channel();
    let sessions = Mutex::new(Sessions::new("ab".repeat(16), Takeover::Never));
    let inner = Arc::new(Inner {
        seen: sender,
        sessions,
        bundle: Mutex::default(),
        manner: Mutex::new(manner),
        blob,
    });
    for port in [CONTROL_PORT, DATA_PORT] {
        let mut listener = listen(&address, port).expect("listening");
        let inner = inner.clone();
        tokio::spawn(async move {
            while let Ok(stream) = listener.accept().await {
                tokio::spawn(inner.clone().stream(stream));
            }
        });
    }
    Fake { address, seen, inner }
}

impl Fake {
    /// A controller is there already.
    pub(crate) fn hold(&self) {
        assert_eq!(
            self.inner.sessions.lock().expect("lock").decide(None),
            Decision::Accept
        );
    }
}

impl Inner {
    fn tell(&self, seen: Seen) {
        let _ = self.seen.send(seen);
    }

    async fn stream(self: Arc<Self>, mut stream: Stream) {
        let Ok(header) = read_header(&mut stream).await else {
            return;
        };
        let key_is_right = header
            .session
            .as_deref()
            .is_some_and(|key| self.sessions.lock().expect("lock").is_key(key));
        if header.stream != (StreamKind::Control {}) && !key_is_right {
            let _ = write_reply(&mut stream, StreamReply::NotYourSession).await;
            return;
        }
        if matches!(header.stream, StreamKind::Ingress { port: 81, .. }) {
            let _ = write_reply(&mut stream, StreamReply::NoSuchTarget).await;
            return;
        }
        // A proxy that ends meanwhile does not wait for it.
        if write_reply(&mut stream, StreamReply::Accepted).await.is_err() {
            return;
        }
        match header.stream {
            StreamKind::Control {} => self.control(stream).await,
            StreamKind::Logs { after, follow, .. } => logs(stream, after, follow).await,
            StreamKind::Blob { size, .. } => {
                let mut blob = Vec::new();
                let _ = stream.read_to_end(&mut blob).await;
                assert_eq!(blob.len() as u64, size);
                self.tell(Seen::Blob(blob));
            }
            // What the proxy relays for a request is what a client is relayed: this end echoes both.
            StreamKind::Ingress { .. }
            | StreamKind::Datagrams { .. }
            | StreamKind::Broker { .. }
            | StreamKind::Egress {}
            | StreamKind::Exec {} => {
                let (mut read, mut write) = tokio::io::split(stream);
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            }
        }
    }

    async fn control(self: Arc<Self>, mut stream: Stream) {
        let mut conversation = Conversation::new();
        let mut buffer = vec![0; 4096];
        while let Ok(count) = stream.read(&mut buffer).await {
            if count == 0 {
                break;
            }
            for input in conversation.handle_bytes(&buffer[..count]) {
                for answer in self.answers(input) {
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            }
        }
        self.sessions.lock().expect("lock").disconnected();
    }

    fn answers(&self, input: Input) -> Vec<Vec<u8>> {
        let mut sessions = self.sessions.lock().expect("lock");
        match input {
            Input::Hello { session, .. } => {
                self.tell(Seen::Hello {
                    with_key: session.is_some(),
                });
                if sessions.decide(session.as_deref()) == Decision::Refuse {
                    let (reason, message) = (RefusedReason::NotYourSession, "taken".to_owned());
                    return vec![encode(&FromEnclave::Refused { reason, message })];
                }
                let bundle = self.bundle.lock().expect("lock").clone();
                let applied = bundle.is_some();
                let welcome = FromEnclave::Welcome {
                    version: VERSION,
                    session: sessions.key().to_owned(),
                    boot_id: "00".to_owned(),
                    bundle,
                };
                let mut answers = vec![encode(&welcome)];
                let mut manner = self.manner.lock().expect("lock");
                if *manner == Manner::GarblesOnce {
                    *manner = Manner::Honest;
                    answers.push(vec![0xff; 64]);
                } else if applied {
                    answers.push(encode(&FromEnclave::Status {
                        report: Box::new(report(Phase::Running)),
                    }));
                }
                answers
            }
            Input::SetCondition { request, condition } => {
                let refusal = (condition.r#type != "example.com/ready").then(|| "no such gate".to_owned());
                vec![encode(&FromEnclave::ConditionSet { request, refusal })]
            }
            Input::Apply { .. } if *self.manner.lock().expect("lock") == Manner::Rejects => {
                let finding = Finding {
                    object: "Pod/web".to_owned(),
                    path: "spec.x".to_owned(),
                    message: "not\u{1b} supported".to_owned(),
                };
                let rejection = Rejection {
                    errors: vec![finding],
                };
                vec![encode(&FromEnclave::Rejected { rejection })]
            }
            Input::Apply { bundle } => {
                let digest = Delivery::read(&bundle).expect("a bundle").digest().to_string();
                *self.bundle.lock().expect("lock") = Some(digest.clone());
                self.tell(Seen::Applied(bundle));
                let absent = Digest::sha256(b"absent");
                [
                    FromEnclave::Applied {
                        digest,
                        warnings: Vec::new(),
                    },
                    FromEnclave::NeedBlob {
                        request: 1,
                        digest: self.blob.clone(),
                    },
                    FromEnclave::NeedBlob {
                        request: 2,
                        digest: absent,
                    },
                    FromEnclave::NeedBroker { request: 1 },
                    FromEnclave::Event { event: event() },
                    FromEnclave::Status {
                        report: Box::new(report(Phase::Running)),
                    },
                ]
                .iter()
                .map(encode)
                .collect()
            }
            Input::BrokerUnavailable { message, .. } => {
                self.tell(Seen::BrokerUnavailable(message));
                Vec::new()
            }
            Input::BlobUnavailable { message, .. } => {
                self.tell(Seen::BlobUnavailable(message));
                Vec::new()
            }
            Input::Stop { grace_seconds } => {
                self.tell(Seen::Stop(grace_seconds));
                vec![encode(&FromEnclave::Finished {
                    exit_code: 7,
                    report: Box::new(report(Phase::Failed)),
                })]
            }
            Input::FinishedAck => {
                self.tell(Seen::FinishedAck);
                Vec::new()
            }
            Input::Ping { nonce } => {
                let counters = Counters {
                    resident_bytes: 4096,
                    ..Counters::default()
                };
                vec![encode(&FromEnclave::Pong { nonce, counters })]
            }
            Input::Violation { message, .. } => panic!("the proxy broke the protocol: {message}"),
        }
    }
}

/// Three records and a gap; one of them is split.
async fn logs(mut stream: Stream, after: u64, follow: bool) {
    let record = |sequence, partial, bytes: &[u8]| {
        Entry::Run(LogRun {
            sequence,
            time_ns: 1_795_230_280_000_000_000,
            container: "app".into(),
            attempt: 0,
            stream: LogStream::Stdout,
            partial,
            records: 1,
            text: bytes.to_vec().into(),
        })
    };
    let entries = [
        record(1, false, b"hello"),
        Entry::Dropped(Dropped {
            first: 2,
            records: 5,
            container: Some("app".into()),
        }),
        record(7, true, b"one "),
        record(8, false, b"line"),
    ];
    let mut bytes = Vec::new();
    for entry in entries.iter().filter(|entry| entry.last_sequence() > after) {
        entry.encode(&mut bytes);
    }
    let _ = stream.write_all(&bytes).await;
    if follow {
        // Until the proxy goes.
        let _ = stream.read_u8().await;
    }
}

fn event() -> Event {
    Event {
        sequence: 1,
        time: "2026-01-01T00:00:00Z".to_owned(),
        r#type: EventType::Normal,
        reason: "Started".to_owned(),
        message: "Started container app".to_owned(),
        field_path: Some("spec.containers{app}".to_owned()),
        ..Event::default()
    }
}

fn report(phase: Phase) -> PodReport {
    let running = phase == Phase::Running;
    let app = ContainerStatus {
        name: "app".to_owned(),
        image: "app".to_owned(),
        ready: running,
        started: true,
        restart_count: 1,
        state: ContainerState::Running {
            started_at: "2026-01-01T00:00:00Z".to_owned(),
        },
        ..ContainerStatus::default()
    };
    let ready = Condition {
        r#type: "Ready".to_owned(),
        status: if running { "True" } else { "False" }.to_owned(),
        reason: None,
        message: None,
        last_transition_time: "2026-01-01T00:00:00Z".to_owned(),
    };
    PodReport {
        name: "web".to_owned(),
        ports: vec![ReportedPort {
            container: "app".to_owned(),
            container_port: 80,
            host_port: 80,
            protocol: Protocol::Tcp,
        }],
        status: PodStatus {
            phase,
            start_time: "2026-01-01T00:00:00Z".to_owned(),
            conditions: vec![ready],
            container_statuses: vec![app],
            ..PodStatus::default()
        },
        ..PodReport::default()
    }
}
