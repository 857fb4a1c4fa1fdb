//! For programs that want an HTTP proxy (`HTTPS_PROXY=http://127.0.0.53:3128`): CONNECT (RFC 9110, section 9.3.6) to what the
//! policy allows. Nothing sets that variable; programs without it get the same through the resolver.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use manifest_sync::egress::{PROXY_PORT, RESOLVER, is_name, normalize};
use manifest_sync::link::{EgressHost, EgressReply, EgressTarget, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::connection::{self, Failure};
use super::socket_table::Client;
use super::{Egress, listener};
use crate::net::message::DeniedKind;

/// Bytes of a request's head.
const MAX_HEAD: usize = 8192;
/// Header lines of a request.
const MAX_HEADERS: usize = 64;
/// How long a head may take.
const HEAD: Duration = Duration::from_secs(10);

/// Listens.
pub(super) fn start(egress: &Rc<Egress>) -> io::Result<()> {
    let place = SocketAddr::from((RESOLVER, PROXY_PORT));
    let listener = listener::bind(place)?;
    egress.start(place, accept(Rc::clone(egress), listener));
    Ok(())
}

async fn accept(egress: Rc<Egress>, listener: TcpListener) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&egress.connections).try_acquire_owned() else {
            listener::reset(&client);
            continue;
        };
        let egress = Rc::clone(&egress);
        tokio::task::spawn_local(async move {
            serve(&egress, client).await;
            drop(permit);
        });
        tokio::task::yield_now().await;
    }
}

/// What a request wants.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    /// A connection to a host and port.
    Connect(EgressHost, u16),
    /// Something that is no CONNECT.
    Other,
    /// No HTTP, or a target that is no host and port.
    Malformed,
}

async fn serve(egress: &Egress, client: TcpStream) {
    let Ok(who) = Client::of(&client) else { return };
    // In a box, which is gone when the connection goes on.
    if let Some(established) = Box::pin(establish(egress, client, who)).await {
        let Established {
            client,
            target,
            stream,
            rest,
        } = established;
        connection::converse(egress, client, who, &target, stream, rest).await;
    }
}

/// A connection that its client was told of.
struct Established {
    client: TcpStream,
    target: EgressTarget,
    stream: Stream,
    /// What the client has sent behind its request.
    rest: Vec<u8>,
}

/// Answers a request; `None`: with a refusal, or to nobody.
async fn establish(egress: &Egress, mut client: TcpStream, who: Client) -> Option<Established> {
    match answer(egress, &mut client, who).await {
        Ok((target, stream, rest)) => {
            let established = b"HTTP/1.1 200 Connection established\r\n\r\n";
            client.write_all(established).await.ok()?;
            Some(Established {
                client,
                target,
                stream,
                rest,
            })
        }
        Err((status, words)) => {
            refuse(client, status, &words).await;
            None
        }
    }
}

/// The way to what a request asks for, and what came behind the request; or the status and the words of the refusal.
async fn answer(
    egress: &Egress,
    client: &mut TcpStream,
    who: Client,
) -> Result<(EgressTarget, Stream, Vec<u8>), (&'static str, String)> {
    let refusal = |status, words: &str| Err((status, words.to_owned()));
    let Ok(Ok((head, rest))) = timeout(HEAD, read_head(client)).await else {
        return refusal("400 Bad Request", "no request came, or one that is too long");
    };
    let (host, port) = match parse(&head) {
        Request::Connect(host, port) => (host, port),
        Request::Other => {
            let words = "this proxy takes CONNECT only; plain HTTP needs no proxy here";
            return refusal("405 Method Not Allowed\r\nAllow: CONNECT", words);
        }
        Request::Malformed => return refusal("400 Bad Request", "this is no CONNECT to HOST:PORT"),
    };
    let shown = format!("{host}:{port}");
    let Some(target) = egress.allowed(host, port) else {
        egress
            .denials
            .tell(egress.now(), DeniedKind::Connection, &shown, who)
            .await;
        let words = "spec.egress of the EnclavePolicy does not allow it";
        return refusal("403 Forbidden", words);
    };
    match connection::open(egress, &target).await {
        Ok(stream) => Ok((target, stream, rest)),
        Err(failure) => {
            connection::tell(egress, who, &target, &failure).await;
            match &failure {
                Failure::Host(EgressReply::NotAllowed | EgressReply::Forbidden) => {
                    refusal("403 Forbidden", "host-proxy does not allow it")
                }
                Failure::Host(EgressReply::Timeout) | Failure::Silent => {
                    refusal("504 Gateway Timeout", "no answer in time")
                }
                Failure::Host(reply) => Err(("502 Bad Gateway", reply.to_string())),
                Failure::Crowded => refusal(
                    "503 Service Unavailable",
                    "too many connections to it wait for its answer",
                ),
            }
        }
    }
}

/// The head, and what came with it of the connection.
async fn read_head(client: &mut TcpStream) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let count = client.read(&mut chunk).await?;
        if count == 0 || head.len() > MAX_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let searched = head.len().saturating_sub(3);
        head.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let tail = head.get(searched..).unwrap_or_default();
        if let Some(at) = tail.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = head.split_off(searched + at + 4);
            return Ok((head, rest));
        }
    }
}

fn parse(head: &[u8]) -> Request {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    if !matches!(request.parse(head), Ok(httparse::Status::Complete(_))) {
        return Request::Malformed;
    }
    if request.method != Some("CONNECT") {
        return Request::Other;
    }
    let target = request.path.and_then(|path| path.rsplit_once(':'));
    let Some((host, port)) = target else {
        return Request::Malformed;
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bare.unwrap_or(host).parse() {
        Ok(address) => EgressHost::Address(address),
        Err(_) => EgressHost::Name(normalize(host)),
    };
    let named = match &host {
        EgressHost::Name(name) => is_name(name),
        EgressHost::Address(_) => true,
    };
    match port.parse() {
        Ok(port) if port > 0 && named => Request::Connect(host, port),
        _ => Request::Malformed,
    }
}

async fn refuse(mut client: TcpStream, status: &str, words: &str) {
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{words}\n",
        words.len() + 1
    );
    let _ = timeout(HEAD, client.write_all(answer.as_bytes())).await;
    let _ = client.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_name_or_an_address_with_a_port() {
        let ask = |target: &str| parse(format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        let name = |text: &str| EgressHost::Name(text.to_owned());
        let address = |text: &str| EgressHost::Address(text.parse().expect("one"));
        assert_eq!(
            ask("API.example.com:443"),
            Request::Connect(name("api.example.com"), 443)
        );
        assert_eq!(ask("10.1.2.3:80"), Request::Connect(address("10.1.2.3"), 80));
        assert_eq!(
            ask("[2001:db8::1]:80"),
            Request::Connect(address("2001:db8::1"), 80)
        );
        for bad in [
            "example.com",
            "example.com:0",
            "example.com:x",
            ":443",
            "127.1:80",
            "a/b:1",
            "::1:99999",
        ] {
            assert_eq!(ask(bad), Request::Malformed, "{bad}");
        }
        assert_eq!(parse(b"GET http://a.b/ HTTP/1.1\r\n\r\n"), Request::Other);
        assert_eq!(parse(b"\x16\x03\x01\r\n\r\n"), Request::Malformed);
    }
}
