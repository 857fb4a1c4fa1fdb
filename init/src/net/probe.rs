//! Probes over the network: PID 1 says which, this process asks the Pod and says what came of it. It has no say in when
//! or how often, and PID 1 reads no byte of an answer.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::message::{FromNet, NetAnswer, NetProbe};
use super::{connect, http};
use crate::sys::fd;

/// Carries out one probe and reports.
pub(super) async fn carry_out(socket: Rc<AsyncFd<OwnedFd>>, number: u64, probe: NetProbe) {
    let answer = ask(probe).await;
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
    let failure = |output: String| NetAnswer::Failure { output };
    match probe {
        NetProbe::Connect { port, timeout_ms } => {
            let failed = |words: &str| failure(format!("dial tcp 127.0.0.1:{port}: {words}"));
            match timeout(Duration::from_millis(timeout_ms), connect(port)).await {
                Ok(Ok(_stream)) => NetAnswer::Success {},
                Ok(Err(error)) => failed(&words(&error)),
                Err(_elapsed) => failed("i/o timeout"),
            }
        }
        NetProbe::Get {
            port,
            path,
            headers,
            timeout_ms,
            purpose,
        } => {
            let url = format!("http://127.0.0.1:{port}{path}");
            let asked = timeout(
                Duration::from_millis(timeout_ms),
                http::probe(port, path, &headers, purpose),
            );
            asked.await.unwrap_or_else(|_elapsed| {
                failure(format!(
                    "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
                ))
            })
        }
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
