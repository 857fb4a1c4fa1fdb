//! HTTP probes and hooks (K-225, K-259 to K-262): one request to the Pod, redirects within it, and what the answer means.
//! What the container says is hostile: everything is bounded, and the caller bounds the time.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::message::{NetAnswer, Purpose, Scheme};
use super::tls::{self, Refusal};
use super::url::{Redirect, Target};

/// Most of an answer's head. Go takes a megabyte; a probe needs a status line and a few headers. A head that comes byte by
/// byte is parsed anew with each, so this also bounds the work.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Interim answers before the real one.
const MAX_INTERIM: usize = 16;
const MAX_HEADERS: usize = 128;
/// K-261: most of an answer's body that is waited for.
const MAX_BODY_BYTES: usize = 10 * 1024;
/// K-260, as Go counts: the first request is one of them.
const MAX_REQUESTS: usize = 10;
/// K-225, K-261; a server may want to know who asks.
pub(super) const PROBE_AGENT: &str = "kube-probe/1.36";
const HOOK_AGENT: &str = "kube-lifecycle/1.36";
/// The Pod's own address, which is what a probe's URL names.
pub(super) const HOST: &str = "127.0.0.1";

/// What counts of an answer.
struct Response {
    status: u16,
    location: Option<String>,
    body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
enum Failed {
    /// The server of an `https` target speaks HTTP in clear.
    Plain,
    Broken(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl Failed {
    /// In the words of Go's client, since people know them.
    fn words(&self) -> String {
        match self {
            Self::Plain => "http: server gave HTTP response to HTTPS client".to_owned(),
            Self::Broken(error) if error.kind() == io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
            Self::Broken(error) => error.to_string(),
        }
    }
}

/// Asks, follows, judges.
pub(super) async fn probe(first: Target, headers: &[(String, String)], purpose: Purpose) -> NetAnswer {
    let mut target = first.clone();
    for _ in 0..MAX_REQUESTS {
        let response = match request(&target, headers, purpose).await {
            Ok(response) => response,
            Err(Failed::Plain) if purpose == Purpose::Hook && first.scheme == Scheme::Https => {
                return fall_back(first, headers).await;
            }
            Err(failed) => {
                return NetAnswer::failure(format!("Get \"{}\": {}", target.url(), failed.words()));
            }
        };
        let location = response.location.as_deref();
        match location.filter(|_| is_redirect(response.status)) {
            Some(location) => match target.redirect(location) {
                Redirect::Follow(next) => target = next,
                Redirect::Elsewhere => return judge(&response, purpose),
            },
            None => return judge(&response, purpose),
        }
    }
    let url = target.url();
    NetAnswer::failure(format!("Get \"{url}\": stopped after {MAX_REQUESTS} redirects"))
}

/// K-225: an HTTPS hook whose server has no TLS is asked in clear, without its credentials.
async fn fall_back(https: Target, headers: &[(String, String)]) -> NetAnswer {
    let headers: Vec<(String, String)> = headers
        .iter()
        .filter(|(name, _)| !name.eq_ignore_ascii_case("authorization"))
        .cloned()
        .collect();
    let url = https.url();
    let port = https.port;
    let plain = Target {
        scheme: Scheme::Http,
        ..https
    };
    match Box::pin(probe(plain, &headers, Purpose::Hook)).await {
        NetAnswer::Success {} => NetAnswer::FellBack { port },
        // The first error is the one that is told.
        _ => NetAnswer::failure(format!("Get \"{url}\": {}", Failed::Plain.words())),
    }
}

/// K-259, K-260.
fn judge(response: &Response, purpose: Purpose) -> NetAnswer {
    match response.status {
        _ if purpose == Purpose::Hook => NetAnswer::Success {},
        200..=299 => NetAnswer::Success {},
        300..=399 => {
            let body = String::from_utf8_lossy(&response.body);
            NetAnswer::Warning {
                said: "Probe terminated redirects, Response body: ".to_owned(),
                output: body.into_owned(),
            }
        }
        status => NetAnswer::failure(format!("HTTP probe failed with statuscode: {status}")),
    }
}

/// Statuses whose `Location` Go's client follows.
fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

async fn request(
    target: &Target,
    headers: &[(String, String)],
    purpose: Purpose,
) -> Result<Response, Failed> {
    let stream = super::connect(target.port).await.map_err(|error| {
        let words = super::probe::words(&error);
        io::Error::other(format!("dial tcp {HOST}:{}: {words}", target.port))
    })?;
    let head = head(target, headers, purpose);
    match target.scheme {
        Scheme::Http => Ok(exchange(stream, &head).await?),
        Scheme::Https => match tls::wrap(stream).await {
            Ok(stream) => Ok(exchange(stream, &head).await?),
            Err(Refusal::Plain) => Err(Failed::Plain),
            Err(Refusal::Failed(error)) => Err(Failed::Broken(error)),
        },
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, head: &str) -> io::Result<Response> {
    stream.write_all(head.as_bytes()).await?;
    stream.flush().await?;
    read_response(&mut stream).await
}

/// K-261.
fn head(target: &Target, headers: &[(String, String)], purpose: Purpose) -> String {
    let given = |name: &'static str| {
        headers
            .iter()
            .filter(move |(given, _)| given.eq_ignore_ascii_case(name))
    };
    let mut text = format!("GET {} HTTP/1.1\r\n", target.path);
    let host = given("host").next_back().map(|(_, value)| value.clone());
    let host = host.unwrap_or_else(|| match target.port {
        port if port == target.scheme.default_port() => HOST.to_owned(),
        port => format!("{HOST}:{port}"),
    });
    text.push_str(&format!("Host: {host}\r\n"));
    if given("user-agent").next().is_none() {
        let agent = match purpose {
            Purpose::Probe => PROBE_AGENT,
            Purpose::Hook => HOOK_AGENT,
        };
        text.push_str(&format!("User-Agent: {agent}\r\n"));
    }
    if given("accept").next().is_none() {
        text.push_str("Accept: */*\r\n");
    }
    for (name, value) in headers {
        let ours = ["host", "connection"]
            .iter()
            .any(|ours| name.eq_ignore_ascii_case(ours));
        // An Accept that is given as empty means none.
        let none = name.eq_ignore_ascii_case("accept") && value.is_empty();
        if !ours && !none {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    text.push_str("Connection: close\r\n\r\n");
    text
}

async fn read_response(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Response> {
    let malformed = |what: &str| io::Error::other(format!("malformed HTTP response: {what}"));
    let mut bytes = Vec::new();
    let mut interim = 0;
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response
            .parse(&bytes)
            .map_err(|error| malformed(&error.to_string()))?;
        if let httparse::Status::Complete(end) = parsed {
            let status = response.code.unwrap_or_default();
            if (100..200).contains(&status) && status != 101 {
                // An interim answer (RFC 9110, 15.2): the real one follows.
                bytes.drain(..end);
                interim += 1;
                if interim > MAX_INTERIM {
                    return Err(malformed("too many interim answers"));
                }
                continue;
            }
            let header = |name: &str| {
                let found = response
                    .headers
                    .iter()
                    .find(|header| header.name.eq_ignore_ascii_case(name))?;
                std::str::from_utf8(found.value).ok().map(ToOwned::to_owned)
            };
            let location = header("location");
            let length = header("content-length").and_then(|length| length.trim().parse().ok());
            let chunked = header("transfer-encoding").is_some();
            let mut body = bytes.split_off(end);
            if !matches!(status, 101 | 204 | 304) {
                read_body(stream, &mut body, length.filter(|_: &usize| !chunked)).await?;
            }
            return Ok(Response {
                status,
                location,
                body,
            });
        }
        if bytes.len() >= MAX_HEAD_BYTES {
            return Err(malformed("its head is too long"));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// As much of the body as counts: to its length, its last chunk, its end, or the bound.
async fn read_body(
    stream: &mut (impl AsyncRead + Unpin),
    body: &mut Vec<u8>,
    length: Option<usize>,
) -> io::Result<()> {
    let most = length.unwrap_or(usize::MAX).min(MAX_BODY_BYTES);
    while body.len() < most && !(length.is_none() && body.ends_with(b"0\r\n\r\n")) {
        if stream.read_buf(body).await? == 0 {
            break;
        }
    }
    body.truncate(most);
    Ok(())
}

#[cfg(test)]
mod tests;
