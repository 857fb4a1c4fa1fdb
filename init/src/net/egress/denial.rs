//! Telling PID 1 what was denied, to whom, and what went wrong; not more often than somebody can read. PID 1 finds the
//! container by the socket; whoever is denied is answered when it has, or after a moment.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use cloister_init::egress::limit::Limit;
use cloister_init::supervisor::time::Time;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Egress;
use super::socket_table::{self, Client};
use crate::net::message::{DeniedKind, FromNet};
use crate::sys::fd;

/// How long PID 1 may take to find the container.
const PATIENCE: Duration = Duration::from_millis(500);
/// What has not been told one by one is counted this often.
const FLUSH: Duration = Duration::from_secs(5);
/// Longest destination that is told: a name whose every byte is written as a number is cut.
const MAX_SHOWN: usize = 300;

/// The line to PID 1 and what has gone over it.
pub(super) struct Denials {
    socket: Rc<AsyncFd<OwnedFd>>,
    limit: RefCell<Limit>,
    failures: RefCell<Limit>,
    waiting: RefCell<BTreeMap<u64, oneshot::Sender<()>>>,
    last: Cell<u64>,
    troubles: RefCell<Vec<String>>,
}

impl Denials {
    pub(super) fn new(socket: Rc<AsyncFd<OwnedFd>>) -> Self {
        Self {
            socket,
            limit: RefCell::default(),
            failures: RefCell::default(),
            waiting: RefCell::default(),
            last: Cell::new(0),
            troubles: RefCell::default(),
        }
    }

    /// Tells of a client's attempt on `destination`, if it is time to.
    pub(super) async fn tell(&self, now: Time, kind: DeniedKind, destination: &str, client: Client) {
        let limit = match &kind {
            DeniedKind::Failed { .. } => &self.failures,
            _ => &self.limit,
        };
        let Some(untold) = limit.borrow_mut().admit(destination, now) else {
            return;
        };
        self.last.set(self.last.get() + 1);
        let number = self.last.get();
        let (heard, answer) = oneshot::channel();
        self.waiting.borrow_mut().insert(number, heard);
        let told = self.send(&FromNet::EgressDenied {
            number,
            kind: match kind {
                DeniedKind::ServerName { name } => DeniedKind::ServerName { name: shown(&name) },
                other => other,
            },
            destination: shown(destination),
            socket: socket_table::find(client),
            untold,
        });
        if told {
            let _ = timeout(PATIENCE, answer).await;
        }
        self.waiting.borrow_mut().remove(&number);
    }

    /// PID 1 has looked.
    pub(super) fn heard(&self, number: u64) {
        if let Some(waiting) = self.waiting.borrow_mut().remove(&number) {
            let _ = waiting.send(());
        }
    }

    /// Tells of something that is in the way of egress as a whole, once.
    pub(super) fn trouble(&self, message: String) {
        let mut troubles = self.troubles.borrow_mut();
        if troubles.len() < 64 && !troubles.contains(&message) {
            log::warn!("egress: {message}");
            self.send(&FromNet::EgressTrouble {
                message: message.clone(),
            });
            troubles.push(message);
        }
    }

    /// Never waits: PID 1 has room for far more than the limit lets through.
    fn send(&self, message: &FromNet) -> bool {
        let packet = serde_json::to_vec(message).unwrap_or_default();
        fd::send_with_fd(self.socket.get_ref(), &packet, None).is_ok()
    }
}

/// The task that counts has no address.
pub(super) fn origin() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
}

/// Counts what has not been told, for ever.
pub(super) async fn flush(egress: Rc<Egress>) {
    loop {
        tokio::time::sleep(FLUSH).await;
        let count = egress.denials.limit.borrow_mut().take_untold();
        if count > 0 {
            egress.denials.send(&FromNet::EgressUntold { count });
        }
    }
}

/// A destination as a container wrote it, for people.
pub(super) fn shown(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]\\".contains(&byte);
    let mut out: String = text
        .bytes()
        .take(MAX_SHOWN)
        .map(|byte| if plain(byte) { char::from(byte) } else { '?' })
        .collect();
    if text.len() > MAX_SHOWN {
        out.push('\u{2026}');
    }
    out
}
