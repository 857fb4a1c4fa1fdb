//! HTTP probes (K-259 to K-262): one request to the Pod, redirects within it, and what the answer means. What the
//! container says is hostile: everything is bounded, and the caller bounds the time.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::message::{NetAnswer, Purpose};

/// Most of an answer's head. Go takes a megabyte; a probe needs a status line and a few headers.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 128;
/// K-261: most of an answer's body that is waited for.
const MAX_BODY_BYTES: usize = 10 * 1024;
/// K-260.
const MAX_REDIRECTS: usize = 10;
/// K-225, K-261; a server may want to know who asks.
const PROBE_AGENT: &str = "kube-probe/1.36";
const HOOK_AGENT: &str = "kube-lifecycle/1.36";
/// The Pod's own address, which is what a probe's URL names.
const HOST: &str = "127.0.0.1";

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    port: u16,
    path: String,
}

/// What counts of an answer.
struct Response {
    status: u16,
    location: Option<String>,
    body: Vec<u8>,
}

/// Where a redirect leads.
#[derive(Debug, PartialEq, Eq)]
enum Redirect {
    Follow(Target),
    /// To somewhere else, which is not followed.
    Elsewhere,
}

/// Asks, follows, judges.
pub(super) async fn probe(
    port: u16,
    path: String,
    headers: &[(String, String)],
    purpose: Purpose,
) -> NetAnswer {
    let url = format!("http://{HOST}:{port}{path}");
    let failure = |what: String| NetAnswer::Failure {
        output: format!("Get \"{url}\": {what}"),
    };
    let mut target = Target { port, path };
    for _ in 0..=MAX_REDIRECTS {
        let response = match request(&target, headers, purpose).await {
            Ok(response) => response,
            Err(error) => return failure(error.to_string()),
        };
        match response
            .location
            .as_deref()
            .filter(|_| is_redirect(response.status))
        {
            Some(location) => match redirect(&target, location) {
                Redirect::Follow(next) => target = next,
                Redirect::Elsewhere => return judge(&response, purpose),
            },
            None => return judge(&response, purpose),
        }
    }
    failure(format!("stopped after {MAX_REDIRECTS} redirects"))
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
        status => NetAnswer::Failure {
            output: format!("HTTP probe failed with statuscode: {status}"),
        },
    }
}

/// Statuses whose `Location` Go's client follows.
fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

fn redirect(from: &Target, location: &str) -> Redirect {
    let location = location.split('#').next().unwrap_or_default();
    let target = |port, path: &str| {
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        Redirect::Follow(Target { port, path })
    };
    let same_scheme = location.strip_prefix("http:").unwrap_or(location);
    if let Some(rest) = same_scheme.strip_prefix("//") {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
        return match port.parse() {
            Ok(port) if host == HOST => target(port, path),
            _ => Redirect::Elsewhere,
        };
    }
    // Another scheme; a colon further back belongs to the path.
    let before_path = location.split(['/', '?']).next().unwrap_or_default();
    if before_path.contains(':') {
        return Redirect::Elsewhere;
    }
    let path = from.path.split('?').next().unwrap_or_default();
    if location.starts_with('/') {
        target(from.port, location)
    } else if location.is_empty() || location.starts_with('?') {
        target(from.port, &format!("{path}{location}"))
    } else {
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        target(from.port, &format!("{directory}/{location}"))
    }
}

async fn request(target: &Target, headers: &[(String, String)], purpose: Purpose) -> io::Result<Response> {
    let mut stream = super::connect(target.port).await.map_err(|error| {
        let words = super::probe::words(&error);
        io::Error::other(format!("dial tcp {HOST}:{}: {words}", target.port))
    })?;
    stream
        .write_all(head(target, headers, purpose).as_bytes())
        .await?;
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
    let host = host.unwrap_or_else(|| format!("{HOST}:{}", target.port));
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

async fn read_response(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<Response> {
    let malformed = |what: &str| io::Error::other(format!("malformed HTTP response: {what}"));
    let mut bytes = Vec::new();
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
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
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
mod tests {
    use super::*;

    fn read(text: &str) -> io::Result<Response> {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let mut bytes = text.as_bytes();
        runtime.expect("a runtime").block_on(read_response(&mut bytes))
    }

    #[test]
    fn statuses_mean_what_they_mean_to_a_kubelet() {
        for (status, expected) in [
            (200, NetAnswer::Success {}),
            (204, NetAnswer::Success {}),
            (
                404,
                NetAnswer::Failure {
                    output: "HTTP probe failed with statuscode: 404".to_owned(),
                },
            ),
        ] {
            let text = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(judge(&read(&text).expect("a response"), Purpose::Probe), expected);
        }
        let moved =
            read("HTTP/1.1 302 Found\r\nLocation: http://0.0.0.0/\r\n\r\nGo away").expect("a response");
        assert_eq!(moved.location.as_deref(), Some("http://0.0.0.0/"));
        assert!(
            matches!(judge(&moved, Purpose::Probe), NetAnswer::Warning { output, .. } if output == "Go away")
        );
    }

    #[test]
    fn interim_answers_are_skipped_and_nonsense_is_refused() {
        let text =
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nmore";
        assert_eq!(read(text).expect("a response").status, 200);
        assert!(read("SSH-2.0-OpenSSH\r\n").is_err());
        assert!(read("HTTP/1.1 200 OK\r\nContent-").is_err());
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(2 * MAX_HEAD_BYTES));
        assert!(read(&endless).is_err());
    }

    #[test]
    fn redirects_stay_at_the_pod() {
        let from = Target {
            port: 8080,
            path: "/a/b?c=d".to_owned(),
        };
        let follow = |port, path: &str| {
            Redirect::Follow(Target {
                port,
                path: path.to_owned(),
            })
        };
        for (location, expected) in [
            ("/healthz", follow(8080, "/healthz")),
            ("x?y#z", follow(8080, "/a/x?y")),
            ("?e=f", follow(8080, "/a/b?e=f")),
            ("http://127.0.0.1:9090/z", follow(9090, "/z")),
            ("http://127.0.0.1", follow(80, "/")),
            ("http://0.0.0.0/", Redirect::Elsewhere),
            ("//example.org/", Redirect::Elsewhere),
            ("https://127.0.0.1/", Redirect::Elsewhere),
            ("http://127.0.0.1.example.org/", Redirect::Elsewhere),
        ] {
            assert_eq!(redirect(&from, location), expected, "{location}");
        }
    }

    #[test]
    fn headers_of_the_probe_replace_ours() {
        let target = Target {
            port: 80,
            path: "/x".to_owned(),
        };
        let given = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            head(&target, &[], Purpose::Probe),
            "GET /x HTTP/1.1\r\nHost: 127.0.0.1:80\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\n\
             Connection: close\r\n\r\n"
        );
        let headers = [
            given("Host", "web"),
            given("accept", ""),
            given("X-A", "1"),
            given("X-A", "2"),
            given("User-Agent", "me"),
        ];
        assert_eq!(
            head(&target, &headers, Purpose::Probe),
            "GET /x HTTP/1.1\r\nHost: web\r\nX-A: 1\r\nX-A: 2\r\nUser-Agent: me\r\nConnection: close\r\n\r\n"
        );
    }
}
