//! One connection out: a stream of the host's, the name, the host's answer, the client's first bytes, the relay.

use std::io;
use std::time::Duration;

use cloister_init::egress::hello::{Hello, inspect};
use manifest_sync::link::{self, EgressHost, EgressReply, EgressTarget, Stream};
use manifest_sync::relay;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::Egress;
use super::listener::reset;
use super::socket_table::Client;
use crate::net::message::DeniedKind;

/// How long a connection may take, from the container's to the host's answer; the host gives itself ten seconds.
const OPEN: Duration = Duration::from_secs(15);
/// A connection on which nothing moves for so long is ended, as for ingress.
const IDLE: Duration = Duration::from_secs(3600);
/// How long a TLS client may take for its first message, once it has begun.
const HELLO: Duration = Duration::from_secs(10);
/// Bytes read at once while the first message is awaited.
const CHUNK: usize = 4096;

/// Why there is no connection.
pub(super) enum Failure {
    /// The host says.
    Host(EgressReply),
    /// The host does not answer.
    Silent,
    /// Too many others wait for the same target.
    Crowded,
}

/// Carries a connection to `target`. What comes before the relay has boxes of its own: a task is as large as the largest
/// state that it ever has, and the relay is where connections stay.
pub(super) async fn carry(egress: &Egress, client: TcpStream, who: Client, target: &EgressTarget) {
    match Box::pin(open(egress, target)).await {
        Ok(stream) => converse(egress, client, who, target, stream, Vec::new()).await,
        Err(failure) => {
            Box::pin(tell(egress, who, target, &failure)).await;
            reset(&client);
        }
    }
}

/// Has the host connect.
pub(super) async fn open(egress: &Egress, target: &EgressTarget) -> Result<Stream, Failure> {
    let Some(_opening) = egress.openings.begin(target) else {
        return Err(Failure::Crowded);
    };
    let attempts = async {
        loop {
            let mut stream = egress.pool.take().await;
            let answer = async {
                link::write_target(&mut stream, target).await?;
                link::read_egress_reply(&mut stream).await
            };
            match answer.await {
                Ok(EgressReply::Connected) => return Ok(stream),
                Ok(reply) => return Err(Failure::Host(reply)),
                // Its host was gone before it answered; nothing of the connection was sent.
                Err(error) => log::debug!("egress: a stream was dead: {error}"),
            }
        }
    };
    timeout(OPEN, attempts).await.unwrap_or(Err(Failure::Silent))
}

/// Says what went wrong to whoever runs the Pod.
pub(super) async fn tell(egress: &Egress, who: Client, target: &EgressTarget, failure: &Failure) {
    let kind = match failure {
        Failure::Host(EgressReply::NotAllowed | EgressReply::Forbidden) => DeniedKind::ByHost,
        Failure::Host(reply) => DeniedKind::Failed {
            reason: reply.to_string(),
        },
        Failure::Silent => DeniedKind::Failed {
            reason: "host-proxy does not answer".to_owned(),
        },
        Failure::Crowded => DeniedKind::Failed {
            reason: "too many connections to it wait for its answer".to_owned(),
        },
    };
    let destination = target.to_string();
    egress.denials.tell(egress.now(), kind, &destination, who).await;
}

/// Relays, once the client's first bytes have been looked at. `first` is what the client has sent already.
pub(super) async fn converse(
    egress: &Egress,
    mut client: TcpStream,
    who: Client,
    target: &EgressTarget,
    mut stream: Stream,
    first: Vec<u8>,
) {
    let _ = client.set_nodelay(true);
    if let EgressHost::Name(name) = &target.host {
        match Box::pin(begin(&mut client, &mut stream, name, first)).await {
            Ok(Verdict::Fits) => {}
            Ok(Verdict::Foreign(server_name)) => {
                let kind = DeniedKind::ServerName { name: server_name };
                let destination = target.to_string();
                Box::pin(egress.denials.tell(egress.now(), kind, &destination, who)).await;
                return reset(&client);
            }
            Err(_) => return reset(&client),
        }
    } else if stream.write_all(&first).await.is_err() {
        return reset(&client);
    }
    let (moved, result) = relay::relay(client, stream, IDLE).await;
    if let Err(error) = result {
        log::debug!(
            "egress: connection ended after {} and {} bytes: {error}",
            moved.to_link,
            moved.from_link
        );
    }
}

enum Verdict {
    /// The relay may go on.
    Fits,
    /// A TLS client asks for this server, and that is not the one it is connected to.
    Foreign(String),
}

/// Holds the client's bytes back until they show which server it means, and passes the server's on meanwhile: with many
/// protocols the server speaks first. Bytes that are not TLS pass at once.
async fn begin(
    client: &mut TcpStream,
    stream: &mut Stream,
    name: &str,
    first: Vec<u8>,
) -> io::Result<Verdict> {
    let (mut client_read, mut client_write) = client.split();
    let (mut link_read, mut link_write) = tokio::io::split(stream);
    let mut greeting = Vec::new();
    let mut held = first;
    let mut deadline = None;
    let mut active = Instant::now();
    let verdict = loop {
        match (inspect(&held), held.is_empty()) {
            (Hello::Incomplete, true) => {}
            (Hello::Incomplete, false) => {
                deadline.get_or_insert_with(|| Instant::now() + HELLO);
            }
            (Hello::Named(server_name), _) if server_name != name => break Verdict::Foreign(server_name),
            (Hello::Malformed, _) => return Err(io::ErrorKind::InvalidData.into()),
            (Hello::Named(_) | Hello::Nameless | Hello::Other, _) => break Verdict::Fits,
        }
        let late = sleep_until(deadline.unwrap_or(active + IDLE));
        let mut chunk = [0; CHUNK];
        tokio::select! {
            count = client_read.read(&mut chunk) => match count? {
                // Whoever ends before the first message is complete has nothing to say to a TLS server.
                0 if held.is_empty() => break Verdict::Fits,
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => held.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            },
            moved = greet(&mut link_read, &mut client_write, &mut greeting) => {
                active = Instant::now();
                // A server that has said all speaks no TLS. Its end has to reach a client that only listens.
                match moved? {
                    0 if held.is_empty() => break Verdict::Fits,
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    _ => {}
                }
            }
            () = late => return Err(io::ErrorKind::TimedOut.into()),
        }
    };
    if matches!(verdict, Verdict::Fits) {
        client_write.write_all(&greeting).await?;
        link_write.write_all(&held).await?;
    }
    Ok(verdict)
}

/// One step of passing the server's bytes on: a read or a write, so that nothing is lost when it is given up. 0: the server
/// has no more.
async fn greet(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    greeting: &mut Vec<u8>,
) -> io::Result<usize> {
    if greeting.is_empty() {
        let mut chunk = [0; CHUNK];
        let count = from.read(&mut chunk).await?;
        greeting.extend_from_slice(chunk.get(..count).unwrap_or_default());
        return Ok(count);
    }
    let count = to.write(greeting).await?;
    greeting.drain(..count);
    Ok(count)
}
