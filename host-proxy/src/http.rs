//! Health, status, metrics and logs over HTTP/1.1: read-only on TCP, with `apply`, `stop` and `exec` on the Unix socket.
//!
//! Whoever reaches the TCP port may be hostile or slow: connections, headers and bodies are bounded, and a
//! connection that does not follow logs has a deadline.

mod answer;
mod body;
mod exec;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc};

use crate::control::Request;
use crate::egress::Egress;
use crate::enclave::Enclave;
use crate::ingress::Ingress;
use crate::logs::Ring;
use crate::view::View;

pub use exec::PROTOCOL as EXEC_PROTOCOL;

/// Connections served at the same time by one listener.
const MAX_CONNECTIONS: usize = 64;
/// Bytes of a request's head.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// How long a head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take that does not follow anything.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause of an accept loop after an error.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the answers are made of; cheap to clone.
#[derive(Clone)]
pub struct Site {
    /// For `/exec`.
    pub enclave: Enclave,
    /// What is known.
    pub view: View,
    /// For the ports' counters.
    pub ingress: Ingress,
    /// For its counters.
    pub egress: Egress,
    /// For `/logs`.
    pub logs: Ring,
    /// To the control task.
    pub control: mpsc::Sender<Request>,
}

/// What may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// GET only.
    ReadOnly,
    /// `POST /apply`, `/update`, `/stop`, `/condition` and `/exec`, too: the socket belongs to the user who started the proxy.
    Full,
}

/// Serves on TCP, read-only, for ever.
pub async fn serve_tcp(listener: TcpListener, site: Site) {
    let accept = || async { listener.accept().await.map(|(stream, _)| stream) };
    serve(accept, site, Access::ReadOnly).await;
}

/// Serves on the Unix socket, for ever.
pub async fn serve_unix(listener: UnixListener, site: Site) {
    let accept = || async { listener.accept().await.map(|(stream, _)| stream) };
    serve(accept, site, Access::Full).await;
}

async fn serve<S, F>(accept: impl Fn() -> F, site: Site, access: Access)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = std::io::Result<S>>,
{
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        match accept().await {
            Ok(stream) => {
                let site = site.clone();
                tokio::spawn(async move {
                    connection(stream, site, access).await;
                    drop(permit);
                });
            }
            Err(error) => {
                log::warn!("http: accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    site: Site,
    access: Access,
) {
    let follows = Arc::new(AtomicBool::new(false));
    let marker = follows.clone();
    let service = service_fn(move |request| {
        let (site, follows) = (site.clone(), marker.clone());
        async move { Ok::<_, Infallible>(answer::answer(request, &site, access, &follows).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    if let Ok(ended) = tokio::time::timeout(CONNECTION_TIMEOUT, connection.as_mut()).await {
        if let Err(error) = ended {
            log::debug!("http: {error}");
        }
    } else if follows.load(Relaxed) {
        let _ = connection.await;
    }
}
