//! HTTP/1.1 for the broker: one listener for enclaves, one for health and metrics. Whoever connects may be hostile or slow:
//! connections, heads, bodies and time are bounded, for each peer and for all.

mod answer;
mod health;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::decide::Broker;
use super::limit::{ConnectionLimit, RateLimit};

/// Bytes of a head.
const MAX_HEAD: usize = 16 << 10;
/// How long a head may take, and a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last: an exchange takes two requests. It also bounds how slowly an answer is read.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections to health and metrics.
const HEALTH_CONNECTIONS: usize = 32;
/// Pause of an accept loop after an error, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Answer = Response<http_body_util::Full<hyper::body::Bytes>>;

/// What a broker takes on at a time.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests for each second and peer; four times as many at once.
    pub requests_per_second: u32,
    /// Connections open at a time.
    pub connections: usize,
    /// Connections of one peer.
    pub connections_per_peer: usize,
    /// Documents verified at a time.
    pub verifications: usize,
    /// How long a body may take.
    pub body: Duration,
    /// How long a request may wait for its turn to be verified.
    pub turn: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            requests_per_second: 10,
            connections: 256,
            connections_per_peer: 32,
            verifications: cores,
            body: Duration::from_secs(10),
            turn: Duration::from_secs(5),
        }
    }
}

/// A broker with its limits.
pub struct Server {
    broker: Arc<Broker>,
    limits: Limits,
    rate: RateLimit,
    peers: Arc<ConnectionLimit>,
    verifications: Arc<Semaphore>,
    /// Turns true, once.
    stopping: watch::Receiver<bool>,
}

impl Server {
    /// A server that ends when `stopping` says so.
    pub fn new(broker: Arc<Broker>, limits: Limits, stopping: watch::Receiver<bool>) -> Arc<Self> {
        Arc::new(Self {
            broker,
            limits,
            rate: RateLimit::new(limits.requests_per_second, Instant::now()),
            peers: ConnectionLimit::new(limits.connections_per_peer),
            verifications: Arc::new(Semaphore::new(limits.verifications)),
            stopping,
        })
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Answers enclaves until the server stops and the requests that are under way have been answered.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let permits = Arc::new(Semaphore::new(self.limits.connections));
        while let Some((stream, address, permit)) = self.accept(&listener, &permits).await {
            let Some(peer) = self.peers.admit(address.ip()) else {
                self.broker.metrics().connection_refused();
                continue;
            };
            let server = self.clone();
            tokio::spawn(async move {
                server.broker.metrics().connected();
                let answering = server.clone();
                let service = move |request| {
                    let server = answering.clone();
                    async move { answer::answer(request, &server, address).await }
                };
                connection(stream, service, server.stopping.clone()).await;
                server.broker.metrics().disconnected();
                drop((peer, permit));
            });
        }
        drop(listener);
        // All permits are back when all connections have ended.
        let all = u32::try_from(self.limits.connections).unwrap_or(u32::MAX);
        let _ = permits.acquire_many(all).await;
    }

    /// Answers questions about health and metrics for ever: while the broker drains, too.
    pub async fn serve_health(self: Arc<Self>, listener: TcpListener) {
        let permits = Arc::new(Semaphore::new(HEALTH_CONNECTIONS));
        let (_never, forever) = watch::channel(false);
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else {
                return;
            };
            let Some((stream, _)) = accepted(listener.accept().await).await else {
                continue;
            };
            let (server, forever) = (self.clone(), forever.clone());
            tokio::spawn(async move {
                let service = move |request| {
                    let server = server.clone();
                    async move { health::answer(request, server).await }
                };
                connection(stream, service, forever).await;
                drop(permit);
            });
        }
    }

    /// The next connection, when there is room for one; `None` when the server stops.
    async fn accept(
        &self,
        listener: &TcpListener,
        permits: &Arc<Semaphore>,
    ) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let mut stopping = self.stopping.clone();
        loop {
            let next = async {
                let permit = permits.clone().acquire_owned().await.ok()?;
                let (stream, address) = accepted(listener.accept().await).await?;
                Some((stream, address, permit))
            };
            tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => return None,
                next = next => if next.is_some() {
                    return next;
                },
            }
        }
    }
}

async fn accepted(accepted: io::Result<(TcpStream, SocketAddr)>) -> Option<(TcpStream, SocketAddr)> {
    match accepted {
        Ok(accepted) => Some(accepted),
        Err(_) => {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// One connection. When `stopping` says so, it ends after the request that is under way.
async fn connection<S, F>(stream: S, answer: impl Fn(Request<Incoming>) -> F, stopping: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Answer>,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut stopping = stopping;
    let serving = async {
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    };
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, serving).await;
}
