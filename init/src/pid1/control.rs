//! The control port: accepting, the stream header under a deadline, the conversation's bytes, log streams. Tasks
//! here move bytes and parse control frames; every decision is the loop's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use manifest_sync::link::{self, Listener, Stream, StreamReply};
use manifest_sync::protocol::{FromEnclave, enclave};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, timeout, timeout_at};

use super::input::{ConnectionId, Input};
use super::log_store::LogStore;
use crate::handshakes::{Handshakes, Room};

/// How long a connection may take to send its header, and a controller its Hello.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a controller may take to make room for the next frame.
const STALL: Duration = Duration::from_secs(30);
/// Connections that may be in their handshake at once.
const HANDSHAKES: usize = 64;
/// Control connections at most: the controller, and others that have not said Hello yet.
const MAX_CONNECTIONS: usize = 64;
/// Frames that wait for a controller that does not read; with the next one it is given up.
const OUTBOX: usize = 256;
/// Bytes read from a controller in one turn.
const READ_BYTES: usize = 16 * 1024;
/// Bytes of log sent in one turn.
const LOG_BATCH_BYTES: usize = 128 * 1024;
/// How long a record waits for others to be sent with it, unless there is enough: whoever reads is woken some hundred times a
/// second, not for each line.
const LOG_DELAY: Duration = Duration::from_millis(5);
/// Pause after an error of `accept`: descriptors may have run out (accept(2)), and a spin would help nobody.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The control connections.
#[derive(Default)]
pub(crate) struct Connections {
    open: BTreeMap<ConnectionId, Sender<Vec<u8>>>,
    controller: Option<ConnectionId>,
    last: u64,
}

impl Connections {
    /// Starts a conversation. With one too many the oldest that has not said Hello is given up, as in [`Handshakes`].
    pub(crate) fn open(&mut self, stream: Stream, inbox: Sender<Input>) -> Room {
        let silent = self.open.keys().find(|id| !self.is_controller(**id)).copied();
        let room = match silent.filter(|_| self.open.len() >= MAX_CONNECTIONS) {
            Some(oldest) => {
                self.open.remove(&oldest);
                Room::Made
            }
            None => Room::Free,
        };
        self.last += 1;
        let id = ConnectionId(self.last);
        let (sender, outbox) = mpsc::channel(OUTBOX);
        self.open.insert(id, sender);
        tokio::task::spawn_local(converse(id, stream, inbox, outbox));
        room
    }

    /// Makes a connection the controller; returns the one it replaces.
    pub(crate) fn promote(&mut self, id: ConnectionId) -> Option<ConnectionId> {
        self.controller.replace(id).filter(|old| *old != id)
    }

    /// The controller's connection.
    pub(crate) fn controller(&self) -> Option<ConnectionId> {
        self.controller
    }

    /// Whether a connection is the controller.
    pub(crate) fn is_controller(&self, id: ConnectionId) -> bool {
        self.controller == Some(id)
    }

    /// Whether there is a controller.
    pub(crate) fn has_controller(&self) -> bool {
        self.controller.is_some()
    }

    /// Forgets a connection: what was sent still leaves, then it is closed. `true`: it was the controller.
    pub(crate) fn close(&mut self, id: ConnectionId) -> bool {
        self.open.remove(&id);
        self.controller.take_if(|controller| *controller == id).is_some()
    }

    /// Sends to one connection; one that does not read is closed.
    pub(crate) fn send(&mut self, id: ConnectionId, message: &FromEnclave) {
        let Some(sender) = self.open.get(&id) else { return };
        if sender.try_send(enclave::encode(message)).is_err() {
            log::warn!("control: connection {} does not read: closed", id.0);
            self.open.remove(&id);
        }
    }

    /// Sends to the controller, if there is one.
    pub(crate) fn send_to_controller(&mut self, message: &FromEnclave) {
        if let Some(id) = self.controller {
            self.send(id, message);
        }
    }
}

/// Accepts forever. A connection that stalls in its handshake delays no other.
pub(crate) async fn accept(mut listener: Listener, inbox: Sender<Input>) {
    let handshakes = Handshakes::new(HANDSHAKES);
    loop {
        match listener.accept().await {
            Ok(stream) => {
                let wishes = inbox.clone();
                let room = handshakes.start(|place| async move {
                    let input = handshake(stream).await;
                    drop(place);
                    let _ = wishes.send(input).await;
                });
                if room == Room::Made && inbox.send(Input::ConnectionRefused).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            Err(error) => {
                log::warn!("control: accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn handshake(mut stream: Stream) -> Input {
    let refusal = match timeout(HANDSHAKE, link::read_header(&mut stream)).await {
        Ok(Ok(header)) => return Input::Connection(header, stream),
        Ok(Err(error)) => {
            log::info!("control: refused a connection: {error}");
            error.reply()
        }
        Err(_elapsed) => StreamReply::Timeout,
    };
    let _ = timeout(HANDSHAKE, link::write_reply(&mut stream, refusal)).await;
    Input::ConnectionRefused
}

/// Sends a reply and closes.
pub(crate) fn refuse(mut stream: Stream, reply: StreamReply) {
    tokio::task::spawn_local(async move {
        let _ = timeout(HANDSHAKE, link::write_reply(&mut stream, reply)).await;
    });
}

async fn converse(id: ConnectionId, mut stream: Stream, inbox: Sender<Input>, outbox: Receiver<Vec<u8>>) {
    if link::write_reply(&mut stream, StreamReply::Accepted)
        .await
        .is_ok()
    {
        let (reader, writer) = tokio::io::split(stream);
        // The writer ends when the loop has dropped the connection and everything is sent.
        tokio::select! {
            () = hear(id, reader, &inbox) => {}
            () = speak(writer, outbox) => {}
        }
    }
    let _ = inbox.send(Input::ControlClosed(id)).await;
}

async fn hear(id: ConnectionId, mut reader: impl tokio::io::AsyncRead + Unpin, inbox: &Sender<Input>) {
    let mut conversation = enclave::Conversation::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut greeted = false;
    // For all of Hello: a byte now and then must not buy more.
    let deadline = Instant::now() + HANDSHAKE;
    loop {
        let read = reader.read(&mut buffer);
        let count = if greeted {
            read.await
        } else {
            timeout_at(deadline, read).await.unwrap_or(Ok(0))
        };
        let Ok(count @ 1..) = count else { return };
        for input in conversation.handle_bytes(&buffer[..count]) {
            greeted = true;
            if inbox.send(Input::Control(id, input)).await.is_err() {
                return;
            }
        }
    }
}

async fn speak(mut writer: impl tokio::io::AsyncWrite + Unpin, mut outbox: Receiver<Vec<u8>>) {
    while let Some(bytes) = outbox.recv().await {
        if !matches!(timeout(STALL, writer.write_all(&bytes)).await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = writer.shutdown().await;
}

/// What a log stream is to deliver.
pub(crate) struct LogRequest {
    pub(crate) container: Option<String>,
    pub(crate) after: u64,
    pub(crate) follow: bool,
}

/// Delivers logs until the reader has all (without `follow`, or after the end), or is gone.
pub(crate) async fn deliver_logs(
    mut stream: Stream,
    request: LogRequest,
    store: Rc<RefCell<LogStore>>,
    inbox: Sender<Input>,
) {
    let _ = deliver(&mut stream, request, &store).await;
    let _ = stream.shutdown().await;
    let _ = inbox.send(Input::LogStreamEnded).await;
}

async fn deliver(stream: &mut Stream, request: LogRequest, store: &RefCell<LogStore>) -> std::io::Result<()> {
    link::write_reply(stream, StreamReply::Accepted).await?;
    let changed = store.borrow().changed();
    let (mut after, mut bytes) = (request.after, Vec::new());
    loop {
        // Registered before looking, so that a record in between is not missed.
        let notified = changed.notified();
        bytes.clear();
        let container = request.container.as_deref();
        after = store
            .borrow_mut()
            .read_after(after, container, LOG_BATCH_BYTES, &mut bytes);
        if bytes.is_empty() {
            if !request.follow || store.borrow().is_closed() {
                return Ok(());
            }
            notified.await;
            let _ = timeout(LOG_DELAY, enough(store, &changed)).await;
            continue;
        }
        stream.write_all(&bytes).await?;
    }
}

/// Waits until there is as much as is sent at once, or a ring could be half full.
async fn enough(store: &RefCell<LogStore>, changed: &Notify) {
    let (before, limit) = {
        let store = store.borrow();
        (store.taken_bytes, store.ring_limit() / 2)
    };
    let enough = before.saturating_add(limit.min(LOG_BATCH_BYTES as u64));
    loop {
        let notified = changed.notified();
        if store.borrow().taken_bytes >= enough || store.borrow().is_closed() {
            return;
        }
        notified.await;
    }
}
