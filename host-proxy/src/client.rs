//! The commands that talk to a running proxy: HTTP over its Unix socket.

use std::io::Write as _;
use std::path::Path;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use manifest_sync::protocol::GateCondition;
use manifest_sync::reject::{Finding, Rejection};
use serde::Deserialize;
use tokio::net::UnixStream;

use crate::cli::Output;
use crate::exit::{Exit, Failure};
use crate::http::EXEC_PROTOCOL;
use crate::view::StatusAnswer;
use crate::{table, time};

/// Answers larger than this are not read; reports are bounded by the enclave's frames.
const MAX_ANSWER_BYTES: usize = 16 << 20;

#[derive(Deserialize)]
struct Message {
    message: String,
}

/// What `/apply` answers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, Deserialize)]
pub struct Applied {
    /// Digest of the bundle.
    pub digest: String,
    /// What was ignored because it is harmless.
    pub warnings: Vec<Finding>,
}

/// `host-proxy status`.
pub async fn status(socket: &Path, output: Output, watch: bool) -> Result<(), Failure> {
    let mut shown = String::new();
    loop {
        let answer = whole(request(socket, Method::GET, "/status", Bytes::new()).await?).await?;
        let text = match output {
            Output::Json => String::from_utf8_lossy(&answer).into_owned(),
            Output::Yaml | Output::Table => {
                let value: StatusAnswer = parse(&answer)?;
                match output {
                    Output::Yaml => serde_norway::to_string(&value).map_err(|error| garbled(&error))?,
                    _ => table::status(&value, time::now()),
                }
            }
        };
        if text != shown {
            print(&text)?;
            shown = text;
        }
        if !watch {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}

/// `host-proxy logs`.
pub async fn logs(socket: &Path, container: Option<&str>, follow: bool) -> Result<(), Failure> {
    use std::io::IsTerminal as _;
    let path = format!(
        "/logs?container={}&follow={}",
        container.unwrap_or_default(),
        u8::from(follow)
    );
    let mut answer = request(socket, Method::GET, &path, Bytes::new()).await?;
    let terminal = std::io::stdout().is_terminal();
    while let Some(frame) = answer.body_mut().frame().await {
        let frame = frame.map_err(|error| garbled(&error))?;
        let Ok(bytes) = frame.into_data() else { continue };
        if terminal {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let escaped: Vec<_> = text.split('\n').map(table::escape).collect();
            print(&escaped.join("\n"))?;
        } else {
            print_bytes(&bytes)?;
        }
    }
    Ok(())
}

/// `host-proxy stop`.
pub async fn stop(socket: &Path, grace: Option<u32>) -> Result<(), Failure> {
    let path = grace.map_or_else(|| "/stop".to_owned(), |grace| format!("/stop?grace={grace}"));
    request(socket, Method::POST, &path, Bytes::new()).await?;
    Ok(())
}

/// `host-proxy condition`.
pub async fn condition(socket: &Path, condition: &GateCondition) -> Result<(), Failure> {
    let body = serde_json::to_vec(condition).map_err(|error| garbled(&error))?;
    request(socket, Method::POST, "/condition", body.into()).await?;
    Ok(())
}

/// `host-proxy apply`.
pub async fn apply(socket: &Path, bundle: Vec<u8>) -> Result<Applied, Failure> {
    let answer = request(socket, Method::POST, "/apply", bundle.into()).await?;
    parse(&whole(answer).await?)
}

/// `host-proxy update`.
pub async fn update(socket: &Path, bundle: Vec<u8>) -> Result<Applied, Failure> {
    let answer = request(socket, Method::POST, "/update", bundle.into()).await?;
    parse(&whole(answer).await?)
}

/// A connection to the proxy that becomes something else.
pub async fn upgrade(socket: &Path, path: &str) -> Result<TokioIo<Upgraded>, Failure> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("host", "host-proxy")
        .header("connection", "upgrade")
        .header("upgrade", EXEC_PROTOCOL)
        .body(Full::new(Bytes::new()));
    let request = request.map_err(|error| Failure::new(Exit::Usage, format!("{path}: {error}")))?;
    let answer = send(socket, request).await?;
    let upgraded = hyper::upgrade::on(answer)
        .await
        .map_err(|error| garbled(&error))?;
    Ok(TokioIo::new(upgraded))
}

/// Sends one request; an answer that is no success becomes a failure with the proxy's own words.
async fn request(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Response<Incoming>, Failure> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "host-proxy")
        .body(Full::new(body));
    let request = request.map_err(|error| Failure::new(Exit::Usage, format!("{path}: {error}")))?;
    send(socket, request).await
}

async fn send(socket: &Path, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
    let stream = UnixStream::connect(socket).await.map_err(|error| {
        let message = format!(
            "no proxy runs here: cannot connect to {}: {error}",
            socket.display()
        );
        Failure::new(Exit::Unavailable, message)
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| garbled(&error))?;
    tokio::spawn(connection.with_upgrades());
    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| garbled(&error))?;
    if answer.status().is_success() || answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        Ok(answer)
    } else {
        Err(refusal(answer).await)
    }
}

async fn refusal(answer: Response<Incoming>) -> Failure {
    let status = answer.status();
    let exit = match status {
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::PAYLOAD_TOO_LARGE => Exit::Rejected,
        StatusCode::CONFLICT => Exit::Refused,
        StatusCode::LOCKED => Exit::InUse,
        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => Exit::Usage,
        _ => Exit::Unavailable,
    };
    let body = match whole(answer).await {
        Ok(body) => body,
        Err(failure) => return failure,
    };
    if let Ok(rejection) = serde_json::from_slice::<Rejection>(&body) {
        return rejected(&rejection);
    }
    let message = match serde_json::from_slice::<Message>(&body) {
        Ok(message) => message.message,
        Err(_) => String::from_utf8_lossy(&body).trim().to_owned(),
    };
    Failure::new(exit, table::escape(&message))
}

/// A rejection as a failure: every finding on its own line.
pub fn rejected(rejection: &Rejection) -> Failure {
    let mut message = "the bundle was rejected:".to_owned();
    for finding in &rejection.errors {
        message.push_str("\n  ");
        message.push_str(&table::escape(&finding.to_string()));
    }
    Failure::new(Exit::Rejected, message)
}

async fn whole(answer: Response<Incoming>) -> Result<Bytes, Failure> {
    let body = http_body_util::Limited::new(answer.into_body(), MAX_ANSWER_BYTES);
    let body = body
        .collect()
        .await
        .map_err(|error| Failure::new(Exit::Unavailable, error.to_string()))?;
    Ok(body.to_bytes())
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| garbled(&error))
}

fn garbled(error: &dyn std::error::Error) -> Failure {
    Failure::new(
        Exit::Unavailable,
        format!("the proxy's answer is not understood: {error}"),
    )
}

fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// `println!` panics on a closed pipe; `status | head` must not.
fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(Exit::Host, format!("cannot write to standard output: {error}")))
}
