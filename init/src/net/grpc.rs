//! gRPC probes (K-265): one `grpc.health.v1.Health/Check` in clear, and what the answer means. The server is hostile:
//! HTTP/2 is h2's, with small bounds, and the caller bounds the time.
//!
//! gRPC is a POST whose body and answer are one message each, a flag byte and a length before its protobuf; the outcome
//! is in the trailers (gRPC over HTTP/2, "Requests" and "Responses").

mod health;

use std::cell::Cell;
use std::future::poll_fn;
use std::io::Cursor;
use std::task::Poll;
use std::time::Duration;

use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout_at};

use self::health::{message, status};
use super::http::{HOST, PROBE_AGENT};
use super::message::NetAnswer;

const CHECK: &str = "/grpc.health.v1.Health/Check";
/// An answer is two bytes; one with fields that are not known yet may be larger.
const MAX_MESSAGE_BYTES: usize = 4096;
/// Names and values of headers or trailers of an answer, and 32 bytes each (RFC 9113, 6.5.2).
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// A server that does not accept yet is asked again, as a kubelet's client does, until the time is over.
const AGAIN: Duration = Duration::from_millis(200);
/// Flag byte and length.
const PREFIX_BYTES: usize = 5;

/// `grpc.health.v1.HealthCheckResponse.ServingStatus`.
const SERVING: u64 = 1;
/// Codes of gRPC that mean something to a kubelet.
const OK: u32 = 0;
const UNKNOWN: u32 = 2;
const DEADLINE_EXCEEDED: u32 = 4;
const PERMISSION_DENIED: u32 = 7;
const UNIMPLEMENTED: u32 = 12;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;
const UNAUTHENTICATED: u32 = 16;

/// Why there is no status.
#[derive(Debug)]
enum Trouble {
    /// No server has said a word of HTTP/2.
    NotConnected(String),
    /// The server, or its end, is an answer: code, our words, the container's.
    Status(u32, String, String),
}

/// Asks and judges.
pub(super) async fn probe(port: u16, service: &str, timeout_ms: u64) -> NetAnswer {
    let deadline = Instant::now() + Duration::from_millis(timeout_ms);
    let within = seconds(timeout_ms);
    let unreachable = |why: &str| {
        NetAnswer::failure(format!(
            "timeout: failed to connect service \"{HOST}:{port}\" within {within}: {why}"
        ))
    };
    let mut last = "context deadline exceeded".to_owned();
    loop {
        let connected = Cell::new(false);
        let attempt = async {
            let stream = super::connect(port)
                .await
                .map_err(|error| Trouble::NotConnected(super::probe::words(&error)))?;
            check(stream, port, service, &connected).await
        };
        match timeout_at(deadline, attempt).await {
            Ok(Ok(status)) => return judge(status),
            Ok(Err(Trouble::Status(code, said, output))) => return failed(code, &said, output, &within),
            Ok(Err(Trouble::NotConnected(why))) => last = why,
            Err(_elapsed) if connected.get() => {
                return NetAnswer::failure(format!("timeout: health rpc did not complete within {within}"));
            }
            Err(_elapsed) => return unreachable(&last),
        }
        if timeout_at(deadline, sleep(AGAIN)).await.is_err() {
            return unreachable(&last);
        }
    }
}

fn judge(status: u64) -> NetAnswer {
    let name = match status {
        SERVING => return NetAnswer::Success {},
        0 => "UNKNOWN".to_owned(),
        2 => "NOT_SERVING".to_owned(),
        3 => "SERVICE_UNKNOWN".to_owned(),
        other => other.to_string(),
    };
    NetAnswer::failure(format!("service unhealthy (responded with \"{name}\")"))
}

fn failed(code: u32, said: &str, output: String, within: &str) -> NetAnswer {
    let said = match code {
        UNIMPLEMENTED => format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {said}"
        ),
        DEADLINE_EXCEEDED => {
            return NetAnswer::failure(format!("timeout: health rpc did not complete within {within}"));
        }
        code => format!(
            "error: health rpc probe failed: rpc error: code = {} desc = {said}",
            name(code)
        ),
    };
    NetAnswer::Failure { said, output }
}

/// One request over a connection of its own. `connected` becomes true when the server has sent its settings: until then
/// it may be anything.
async fn check<S>(stream: S, port: u16, service: &str, connected: &Cell<bool>) -> Result<u64, Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let not_connected = |error: h2::Error| Trouble::NotConnected(error.to_string());
    let (client, connection) = Builder::new()
        .enable_push(false)
        .header_table_size(0)
        .max_header_list_size(MAX_HEADER_BYTES)
        .initial_window_size(u16::MAX.into())
        // Until the server's settings say otherwise.
        .initial_max_send_streams(0)
        .handshake::<_, Cursor<Vec<u8>>>(stream)
        .await
        .map_err(not_connected)?;
    let request = async {
        // Whatever makes it ready was read by the connection, which is polled before this.
        poll_fn(|_| match client.current_max_send_streams() {
            0 => Poll::Pending,
            _ => Poll::Ready(()),
        })
        .await;
        connected.set(true);
        ask(client.clone(), port, service).await.map_err(status_of)
    };
    tokio::pin!(request);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        ended = &mut connection => match ended {
            _ if connected.get() => request.await,
            Ok(()) => Err(Trouble::NotConnected("EOF".to_owned())),
            Err(error) => Err(not_connected(error)),
        },
        answer = &mut request => answer,
    }
}

/// What the server has to say, or why the request failed.
async fn ask(client: SendRequest<Cursor<Vec<u8>>>, port: u16, service: &str) -> Result<u64, Failed> {
    let request = Request::post(format!("http://{HOST}:{port}{CHECK}"))
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", PROBE_AGENT)
        .body(())
        .map_err(|_invalid| Failed::Broken("the request cannot be written"))?;
    let mut client = client.ready().await?;
    let (response, mut body) = client.send_request(request, false)?;
    body.send_data(Cursor::new(message(service)), true)?;
    let response = response.await?;
    let (head, mut body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(Failed::Http(head.status));
    }
    // An answer without a body has its trailers in its head.
    outcome(&head.headers)?;
    let answer = read(&mut body).await?;
    let trailers = body.trailers().await?.unwrap_or_default();
    outcome(&trailers)?;
    answer
        .as_deref()
        .and_then(status)
        .ok_or(Failed::Broken("the answer is no HealthCheckResponse"))
}

/// Why a request that reached a server of HTTP/2 has no answer.
enum Failed {
    Transport(h2::Error),
    Http(StatusCode),
    /// Code, and the container's words.
    Status(u32, String),
    Broken(&'static str),
}

impl From<h2::Error> for Failed {
    fn from(error: h2::Error) -> Self {
        Self::Transport(error)
    }
}

/// The codes are those that gRPC's own clients make of it.
fn status_of(failed: Failed) -> Trouble {
    let said = |code, said: String| Trouble::Status(code, said, String::new());
    match failed {
        Failed::Transport(error) => said(code_of(&error), error.to_string()),
        Failed::Http(status) => {
            let code = match status.as_u16() {
                400 => INTERNAL,
                401 => UNAUTHENTICATED,
                403 => PERMISSION_DENIED,
                404 => UNIMPLEMENTED,
                429 | 502 | 503 | 504 => UNAVAILABLE,
                _ => UNKNOWN,
            };
            said(
                code,
                format!("unexpected HTTP status code received from server: {status}"),
            )
        }
        Failed::Status(code, output) => Trouble::Status(code, String::new(), output),
        Failed::Broken(what) => said(INTERNAL, what.to_owned()),
    }
}

fn code_of(error: &h2::Error) -> u32 {
    match error.reason() {
        Some(Reason::REFUSED_STREAM) => UNAVAILABLE,
        Some(_) => INTERNAL,
        None => UNAVAILABLE,
    }
}

/// `Ok`, if these headers say so or nothing.
fn outcome(headers: &HeaderMap) -> Result<(), Failed> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(code) = headers.get("grpc-status") else {
        return Ok(());
    };
    match code.to_str().ok().and_then(|code| code.parse().ok()) {
        Some(OK) => Ok(()),
        code => Err(Failed::Status(
            code.unwrap_or(UNKNOWN),
            text("grpc-message").unwrap_or_default().to_owned(),
        )),
    }
}

/// The first message of a body, which has no other; `None`: there is none, or it is too long.
async fn read(body: &mut RecvStream) -> Result<Option<Vec<u8>>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        if bytes.len() + chunk.len() > PREFIX_BYTES + MAX_MESSAGE_BYTES {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    let Some((prefix, message)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
        return Ok(None);
    };
    let [flag, length @ ..] = prefix;
    let whole = *flag == 0
        && usize::try_from(u32::from_be_bytes(*length)).is_ok_and(|length| length == message.len());
    Ok(whole.then(|| message.to_vec()))
}

/// As Go writes a code.
fn name(code: u32) -> String {
    const NAMES: [&str; 17] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    let name = usize::try_from(code).ok().and_then(|code| NAMES.get(code));
    name.map_or_else(|| format!("Code({code})"), |name| (*name).to_owned())
}

/// Whole seconds as Go writes a duration.
fn seconds(milliseconds: u64) -> String {
    match milliseconds / 1000 {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        seconds => format!("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests;
