//! Probes over the network: PID 1 says which, this process asks the Pod and says what came of it. It has no say in when
//! or how often, and PID 1 reads no byte of an answer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::message::{FromNet, NetAnswer, NetProbe};
use super::url::Target;
use super::{connect, grpc, http};
use crate::sys::fd;

/// What is being asked, by its number.
#[derive(Default)]
pub(super) struct Questions(RefCell<BTreeMap<u64, AbortHandle>>);

impl Questions {
    /// Asks, and reports to PID 1.
    pub(super) fn ask(self: &Rc<Self>, socket: &Rc<AsyncFd<OwnedFd>>, number: u64, probe: NetProbe) {
        let (questions, socket) = (Rc::clone(self), Rc::clone(socket));
        let asking = tokio::task::spawn_local(async move {
            let answer = ask(probe).await;
            questions.0.borrow_mut().remove(&number);
            report(&socket, number, answer).await;
        });
        self.0.borrow_mut().insert(number, asking.abort_handle());
    }

    /// Nobody waits for the answer any more.
    pub(super) fn forget(&self, number: u64) {
        if let Some(asking) = self.0.borrow_mut().remove(&number) {
            asking.abort();
        }
    }
}

async fn report(socket: &AsyncFd<OwnedFd>, number: u64, answer: NetAnswer) {
    let Ok(packet) = serde_json::to_vec(&FromNet::Probed { number, answer }) else {
        return;
    };
    while let Ok(mut ready) = socket.writable().await {
        match ready.try_io(|socket| fd::send_with_fd(socket.get_ref(), &packet, None)) {
            // PID 1 is there for as long as we are.
            Ok(_) => return,
            Err(_would_block) => {}
        }
    }
}

async fn ask(probe: NetProbe) -> NetAnswer {
    match probe {
        NetProbe::Connect { port, timeout_ms } => {
            let failed = |words: &str| NetAnswer::failure(format!("dial tcp 127.0.0.1:{port}: {words}"));
            match timeout(Duration::from_millis(timeout_ms), connect(port)).await {
                Ok(Ok(_stream)) => NetAnswer::Success {},
                Ok(Err(error)) => failed(&words(&error)),
                Err(_elapsed) => failed("i/o timeout"),
            }
        }
        NetProbe::Get {
            scheme,
            port,
            path,
            headers,
            timeout_ms,
            purpose,
        } => {
            let target = Target::new(scheme, port, &path);
            let url = target.url();
            let asked = timeout(
                Duration::from_millis(timeout_ms),
                http::probe(target, &headers, purpose),
            );
            asked.await.unwrap_or_else(|_elapsed| {
                NetAnswer::failure(format!(
                    "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
                ))
            })
        }
        NetProbe::Health {
            port,
            service,
            timeout_ms,
        } => grpc::probe(port, &service, timeout_ms).await,
    }
}

/// An error of connect(2) as Go writes it, since people know its messages.
pub(super) fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    }
}
