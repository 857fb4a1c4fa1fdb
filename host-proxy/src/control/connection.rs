//! One control connection: a task that reads messages, a task that writes them, bounded queues between them and the
//! conversation. Neither a slow nor a garbling enclave can hold up the other side.

use std::fs::File;
use std::io;
use std::time::Duration;

use manifest_sync::config::CONTROL_PORT;
use manifest_sync::link::{Stream, StreamKind};
use manifest_sync::protocol::host::{self, Conversation};
use manifest_sync::protocol::{FromEnclave, RefusedReason, ToEnclave, VERSION};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::enclave::{Enclave, OpenError};

/// Messages in flight in each direction.
const QUEUE: usize = 256;
/// How long the enclave may take to answer Hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last message may take to go out.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of a blob read at once.
const BLOB_BUFFER: usize = 256 << 10;

/// What is written.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// A message.
    Message(ToEnclave),
    /// Apply, and the bundle.
    Apply(Vec<u8>),
}

/// Why there is no connection.
pub(super) enum ConnectError {
    /// The enclave does not want us: there is no point in trying again.
    Refused {
        /// For programs.
        reason: RefusedReason,
        /// For people.
        message: String,
    },
    /// It may work later.
    Failed(String),
}

/// A connection that was welcomed.
pub(super) struct Connection {
    /// The session key.
    pub(super) session: String,
    /// Digest of the bundle that the enclave has.
    pub(super) bundle: Option<String>,
    /// Messages; an error or the end is the end of the connection.
    pub(super) incoming: mpsc::Receiver<Result<FromEnclave, String>>,
    /// To the writing task.
    pub(super) outgoing: mpsc::Sender<Outgoing>,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
    }
}

impl Connection {
    /// Waits until everything that was queued is written.
    pub(super) async fn flush(&mut self) {
        let (closed, _) = mpsc::channel(1);
        self.outgoing = closed;
        let _ = tokio::time::timeout(FLUSH_TIMEOUT, &mut self.writer).await;
    }
}

/// Dials, says Hello and waits for Welcome.
pub(super) async fn connect(
    enclave: &Enclave,
    session: Option<String>,
    events_after: u64,
) -> Result<Connection, ConnectError> {
    let failed = |error: &dyn std::error::Error| ConnectError::Failed(error.to_string());
    let stream = enclave
        .open(CONTROL_PORT, None, StreamKind::Control {})
        .await
        .map_err(|error| match error {
            OpenError::Refused(manifest_sync::link::StreamReply::Version) => ConnectError::Refused {
                reason: RefusedReason::Version,
                message: error.to_string(),
            },
            _ => failed(&error),
        })?;
    let (read, write) = tokio::io::split(stream);
    let (outgoing, queued) = mpsc::channel(QUEUE);
    let (received, mut incoming) = mpsc::channel(QUEUE);
    let reader = tokio::spawn(read_messages(read, received));
    let writer = tokio::spawn(write_messages(write, queued));
    let hello = ToEnclave::Hello {
        version: VERSION,
        session,
        events_after,
    };
    let _ = outgoing.send(Outgoing::Message(hello)).await;
    let answer = tokio::time::timeout(HELLO_TIMEOUT, incoming.recv()).await;
    let mut connection = Connection {
        session: String::new(),
        bundle: None,
        incoming,
        outgoing,
        reader,
        writer,
    };
    match answer {
        Ok(Some(Ok(FromEnclave::Welcome { session, bundle, .. }))) => {
            connection.session = session;
            connection.bundle = bundle;
            Ok(connection)
        }
        Ok(Some(Ok(FromEnclave::Refused { reason, message }))) => {
            Err(ConnectError::Refused { reason, message })
        }
        Ok(Some(Ok(_))) => Err(ConnectError::Failed(
            "the enclave did not begin with Welcome".to_owned(),
        )),
        Ok(Some(Err(reason))) => Err(ConnectError::Failed(reason)),
        Ok(None) => Err(ConnectError::Failed(
            "the connection was closed before Welcome".to_owned(),
        )),
        Err(_) => Err(ConnectError::Failed("no answer to Hello".to_owned())),
    }
}

async fn read_messages(mut stream: ReadHalf<Stream>, received: mpsc::Sender<Result<FromEnclave, String>>) {
    let mut conversation = Conversation::new();
    let mut buffer = vec![0; 16 << 10];
    loop {
        let reason = match stream.read(&mut buffer).await {
            Ok(0) => "the connection was closed".to_owned(),
            Err(error) => error.to_string(),
            Ok(count) => {
                conversation.push(buffer.get(..count).unwrap_or_default());
                match forward(&mut conversation, &received).await {
                    Ok(()) => continue,
                    Err(reason) => reason,
                }
            }
        };
        let _ = received.send(Err(reason)).await;
        return;
    }
}

/// Hands on every complete message.
async fn forward(
    conversation: &mut Conversation,
    received: &mpsc::Sender<Result<FromEnclave, String>>,
) -> Result<(), String> {
    loop {
        match conversation.next_message() {
            Ok(Some(message)) => received
                .send(Ok(message))
                .await
                .map_err(|_| "nobody listens".to_owned())?,
            Ok(None) => return Ok(()),
            Err(error) => return Err(format!("the enclave is not understood: {error}")),
        }
    }
}

async fn write_messages(mut stream: WriteHalf<Stream>, mut queued: mpsc::Receiver<Outgoing>) {
    while let Some(outgoing) = queued.recv().await {
        let bytes = match outgoing {
            Outgoing::Message(message) => host::encode(&message),
            Outgoing::Apply(bundle) => match host::encode_apply(&bundle) {
                Some(bytes) => bytes,
                None => {
                    log::error!("the bundle is too large to be sent");
                    continue;
                }
            },
        };
        if let Err(error) = stream.write_all(&bytes).await {
            // The reading task sees the end of the connection, too, and reports it.
            log::debug!("control: {error}");
            return;
        }
    }
}

/// Sends one file on a blob stream of its own.
pub(super) async fn serve_blob(
    enclave: &Enclave,
    session: String,
    request: u64,
    file: File,
) -> Result<(), io::Error> {
    let size = file.metadata()?.len();
    let kind = StreamKind::Blob { request, size };
    let mut stream = enclave
        .open(CONTROL_PORT, Some(session), kind)
        .await
        .map_err(io::Error::other)?;
    let mut file = tokio::fs::File::from_std(file).take(size);
    let mut buffer = vec![0; BLOB_BUFFER];
    loop {
        let count = file.read(&mut buffer).await?;
        if count == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(buffer.get(..count).unwrap_or_default()).await?;
    }
}
