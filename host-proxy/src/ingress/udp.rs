//! Datagrams: what one client address sends is one conversation, on a stream of its own, until it falls silent. As on
//! any network, what cannot be carried at once is dropped, and counted.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use manifest_sync::config::DATA_PORT;
use manifest_sync::link::StreamKind;
use manifest_sync::relay::datagrams::{Datagrams, MAX_DATAGRAM, datagrams};
use tokio::net::UdpSocket;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::gate::When;
use super::port::Port;
use crate::enclave::Enclave;
use crate::room::{Purpose, Room};
use crate::view::View;

/// Conversations of one port at the same time; datagrams of others are dropped.
const MAX_CONVERSATIONS: usize = 1024;
/// Datagrams of one client that wait for the link.
const MAX_WAITING: usize = 64;
/// A conversation is over when nothing was said for so long: conntrack's limit for one that had answers (180 s) is
/// longer, the one for one without (30 s) shorter.
const SILENCE: Duration = Duration::from_secs(60);
/// Pause after an error of the socket.
const PAUSE: Duration = Duration::from_millis(100);

/// Carries datagrams for ever.
pub(super) async fn serve(
    socket: UdpSocket,
    port: Arc<Port>,
    enclave: Enclave,
    when: When,
    view: View,
    room: Room,
) {
    let socket = Rc::new(socket);
    let mut conversations: BTreeMap<SocketAddr, Sender<Vec<u8>>> = BTreeMap::new();
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                log::debug!("{}: {error}", port.listen);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let datagram = buffer.get(..length).unwrap_or_default().to_vec();
        conversations.retain(|_, conversation| !conversation.is_closed());
        if !conversations.contains_key(&client) {
            let session = view.borrow().session.clone();
            let lets_in = when.lets_in(&view.borrow()) && conversations.len() < MAX_CONVERSATIONS;
            let place = lets_in.then(|| room.admit(Purpose::Ingress)).flatten();
            let (Some(place), Some(session)) = (place, session) else {
                port.dropped_datagrams.fetch_add(1, Relaxed);
                continue;
            };
            let (sender, receiver) = channel(MAX_WAITING);
            conversations.insert(client, sender);
            let conversation = Conversation {
                socket: Rc::clone(&socket),
                client,
                waiting: Mutex::new(receiver),
            };
            let (port, enclave) = (port.clone(), enclave.clone());
            tokio::task::spawn_local(async move {
                carry(conversation, &port, &enclave, session).await;
                drop(place);
            });
        }
        // What waits here is a client's to choose: it must not be what memory is short of.
        let waits = conversations.get(&client).filter(|_| !room.is_short());
        let taken = waits.map(|one| one.try_send(datagram));
        room.moved(length as u64);
        if !matches!(taken, Some(Ok(()))) {
            port.dropped_datagrams.fetch_add(1, Relaxed);
        }
    }
}

async fn carry(conversation: Conversation, port: &Port, enclave: &Enclave, session: String) {
    port.connections.fetch_add(1, Relaxed);
    let kind = StreamKind::Datagrams { port: port.container };
    match enclave.open(DATA_PORT, Some(session), kind).await {
        Ok(stream) => {
            let _open = port.open();
            let count = |direction, bytes| port.moved(direction, bytes);
            if let (_, Err(error)) = datagrams(&conversation, stream, SILENCE, count).await {
                log::debug!("{}: {error}", port.listen);
            }
        }
        Err(error) => {
            port.refused.fetch_add(1, Relaxed);
            log::debug!("{}: {error}", port.listen);
        }
    }
}

/// One client, seen from the link.
struct Conversation {
    socket: Rc<UdpSocket>,
    client: SocketAddr,
    waiting: Mutex<Receiver<Vec<u8>>>,
}

impl Datagrams for Conversation {
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(datagram) = self.waiting.lock().await.recv().await else {
            return Ok(None);
        };
        if let Some(room) = buffer.get_mut(..datagram.len()) {
            room.copy_from_slice(&datagram);
        }
        Ok(Some(datagram.len()))
    }

    async fn send(&self, datagram: &[u8]) {
        let _ = self.socket.send_to(datagram, self.client).await;
    }
}
