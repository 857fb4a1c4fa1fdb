//! Listening at an address that stands for a name, or for a network, and accepting there.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::socket_table::Client;
use super::{Egress, connection};
use crate::net::message::DeniedKind;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 1024;
/// Pause after an error of accept(2): descriptors may have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// Binds and listens.
pub(super) fn bind(place: SocketAddr) -> io::Result<TcpListener> {
    let socket = match place.ip() {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            // IPv4 has a listener of its own.
            setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
            socket
        }
    };
    // Connections of an earlier run of this process may still be closing.
    socket.set_reuseaddr(true)?;
    socket.bind(place)?;
    socket.listen(BACKLOG)
}

/// Accepts for ever.
pub(super) async fn accept(egress: Rc<Egress>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                take(&egress, client);
                tokio::task::yield_now().await;
            }
            Err(error) => {
                log::warn!("egress: accept: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn take(egress: &Rc<Egress>, client: TcpStream) {
    let Ok(who) = Client::of(&client) else { return };
    let Ok(permit) = Arc::clone(&egress.connections).try_acquire_owned() else {
        egress
            .denials
            .trouble("too many connections at once: the next ones are reset".to_owned());
        return reset(&client);
    };
    let egress = Rc::clone(egress);
    tokio::task::spawn_local(async move {
        match egress.target(who.ours) {
            Some(target) => connection::carry(&egress, client, who, &target).await,
            None => {
                let destination = SocketAddr::new(who.ours.ip().to_canonical(), who.ours.port());
                let destination = destination.to_string();
                let told = egress
                    .denials
                    .tell(egress.now(), DeniedKind::Connection, &destination, who);
                Box::pin(told).await;
                reset(&client);
            }
        }
        drop(permit);
    });
}

/// Ends a connection so that the other side sees an error, and not an empty answer (tcp(7), `SO_LINGER`).
pub(super) fn reset(client: &TcpStream) {
    let _ = client.set_zero_linger();
}
