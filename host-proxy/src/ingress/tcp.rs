//! Connections: each is carried to the Pod on a stream of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use manifest_sync::config::DATA_PORT;
use manifest_sync::link::StreamKind;
use manifest_sync::relay::relay_and_count;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::gate::When;
use super::port::Port;
use crate::enclave::Enclave;
use crate::room::{Purpose, Room};
use crate::view::View;

/// Connections relayed at the same time for one port; beyond it the kernel's queue waits.
const MAX_CONNECTIONS: usize = 4096;
/// A connection in which nothing moves for so long is closed; as long as most load balancers are generous, and
/// short enough that forgotten connections do not pile up.
const IDLE: Duration = Duration::from_secs(4 * 3600);
/// First pause of an accept loop that has no descriptor left; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Longest pause of an accept loop.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Accepts for ever.
pub(super) async fn serve(
    listener: TcpListener,
    port: Arc<Port>,
    enclave: Enclave,
    when: When,
    view: View,
    room: Room,
) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut pause = FIRST_PAUSE;
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((client, address)) => {
                pause = FIRST_PAUSE;
                let Some(place) = room.admit(Purpose::Ingress) else {
                    port.connections.fetch_add(1, Relaxed);
                    refuse(&client, &port);
                    continue;
                };
                let (port, enclave, room) = (port.clone(), enclave.clone(), room.clone());
                let session = {
                    let now = view.borrow();
                    now.session.clone().filter(|_| when.lets_in(&now))
                };
                tokio::task::spawn_local(async move {
                    carry(client, address, &port, &enclave, session, &room).await;
                    drop((place, permit));
                });
            }
            // accept(2): errors of the connection that was waiting; EMFILE and its kind pass with time.
            Err(error) => {
                log::warn!("{}: accept: {error}", port.listen);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// One connection from its accept to its end.
async fn carry(
    client: TcpStream,
    address: SocketAddr,
    port: &Port,
    enclave: &Enclave,
    session: Option<String>,
    room: &Room,
) {
    port.connections.fetch_add(1, Relaxed);
    let kind = StreamKind::Ingress {
        port: port.container,
        client: Some(address),
    };
    let stream = match session {
        // In a box that goes when the stream is open: an idle connection shall not cost what opening it took.
        Some(session) => Box::pin(enclave.open(DATA_PORT, Some(session), kind))
            .await
            .map_err(|error| error.to_string()),
        None => Err("the Pod is not ready".to_owned()),
    };
    match stream {
        Ok(stream) => {
            let _ = client.set_nodelay(true);
            let _open = port.open();
            let count = |direction, bytes| {
                port.moved(direction, bytes);
                room.moved(bytes);
            };
            if let (_, Err(error)) = relay_and_count(client, stream, IDLE, count).await {
                log::debug!("{}: {error}", port.listen);
            }
        }
        Err(error) => {
            log::debug!("{}: {error}", port.listen);
            refuse(&client, port);
        }
    }
}

/// The client learns it as from a port where nobody listens: a reset, not an empty answer (tcp(7)).
fn refuse(client: &TcpStream, port: &Port) {
    port.refused.fetch_add(1, Relaxed);
    let _ = client.set_zero_linger();
}
