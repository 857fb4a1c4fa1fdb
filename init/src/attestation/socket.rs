//! The socket of one container: `GET /v1/attestation?nonce=HEX&data=HEX` and nothing else. Who asks is known by the socket,
//! which is in no other container; what is asked for is bounded, and how often too, so that no container can keep the
//! security module from the others.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};
use std::{fmt, io};

use attest::hex::from_hex;
use attest::http::{HttpError, RequestHead, parse_get};
use attest::nsm::MAX_USER_DATA;
use attest::statement::{MAX_DATA, Statement, StatementError};
use tokio::net::UnixListener;
use tokio::time::timeout;

use super::connection::Connection;
use super::{Shared, Unavailable, document};

/// How long a request may take to arrive, and its answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections of one container at once; others wait to be accepted.
const CONNECTIONS: usize = 8;
/// Documents that one container may have at once when it has not asked for a while, and per second after that.
const BURST: u32 = 20;
const PER_SECOND: u32 = 10;
/// RFC 9052 section 11.3.1.
const COSE_SIGN1: &str = "application/cose; cose-type=\"cose-sign1\"";
/// Pause after an error of accept(2).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no document.
#[derive(Debug)]
enum Refusal {
    Http(HttpError),
    Path,
    Parameter(String),
    TooOften,
    Statement(StatementError),
    Unavailable(Unavailable),
}

impl Refusal {
    /// RFC 9110 section 15, RFC 6585.
    fn status(&self) -> &'static str {
        match self {
            Self::Http(HttpError::Method) => "405 Method Not Allowed",
            Self::Http(HttpError::HeadTooLong) => "431 Request Header Fields Too Large",
            Self::Http(_) | Self::Parameter(_) | Self::Statement(_) => "400 Bad Request",
            Self::Path => "404 Not Found",
            Self::TooOften => "429 Too Many Requests",
            Self::Unavailable(_) => "503 Service Unavailable",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => error.fmt(f),
            Self::Path => f.write_str("there is nothing but /v1/attestation"),
            Self::Parameter(what) => f.write_str(what),
            Self::TooOften => write!(
                f,
                "too many requests: {PER_SECOND} documents per second are made for a container"
            ),
            Self::Statement(error) => error.fmt(f),
            Self::Unavailable(error) => error.fmt(f),
        }
    }
}

/// Serves a container for as long as this process lives.
pub(super) fn serve(container: String, listener: OwnedFd, shared: Shared) -> io::Result<()> {
    let listener = std::os::unix::net::UnixListener::from(listener);
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    tokio::task::spawn_local(accept(listener, Rc::new(Desk::new(container, shared))));
    Ok(())
}

async fn accept(listener: UnixListener, desk: Rc<Desk>) {
    let places = std::sync::Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = std::sync::Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let accepted = match listener.accept().await {
            Ok((stream, _)) => stream.into_std().map(OwnedFd::from).and_then(Connection::new),
            Err(error) => Err(error),
        };
        match accepted {
            Ok(connection) => {
                let desk = Rc::clone(&desk);
                tokio::task::spawn_local(async move {
                    let _ = timeout(PATIENCE, desk.serve(&connection)).await;
                    drop(place);
                });
            }
            Err(error) => {
                log::warn!("container {}: accept: {error}", desk.container);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Where one container is served.
struct Desk {
    container: String,
    shared: Shared,
    allowance: RefCell<Allowance>,
}

impl Desk {
    fn new(container: String, shared: Shared) -> Self {
        Self {
            container,
            shared,
            allowance: RefCell::new(Allowance::new(Instant::now())),
        }
    }

    async fn serve(&self, connection: &Connection) -> io::Result<()> {
        let answer = match self.answer(connection).await? {
            Ok(document) => response("200 OK", COSE_SIGN1, &document),
            Err(refusal) => {
                let body = serde_json::to_vec(&serde_json::json!({ "error": refusal.to_string() }))?;
                response(refusal.status(), "application/json", &body)
            }
        };
        connection.write(&answer).await
    }

    async fn answer(&self, connection: &Connection) -> io::Result<Result<Vec<u8>, Refusal>> {
        let mut head = Vec::new();
        let mut buffer = [0; 1024];
        loop {
            match parse_get(&head) {
                Ok(Some(request)) => return Ok(self.decide(&request)),
                Ok(None) => {}
                Err(error) => return Ok(Err(Refusal::Http(error))),
            }
            match connection.read(&mut buffer).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => head.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            }
        }
    }

    fn decide(&self, request: &RequestHead) -> Result<Vec<u8>, Refusal> {
        if request.path != "/v1/attestation" {
            return Err(Refusal::Path);
        }
        let asked = parameters(&request.query)?;
        if !self.allowance.borrow_mut().take(Instant::now()) {
            return Err(Refusal::TooOften);
        }
        let identity = self.shared.borrow().identity.clone();
        let identity = identity.ok_or(Refusal::Unavailable(Unavailable::NoModule))?;
        let statement = Statement {
            bundle: *identity.bundle.as_bytes(),
            generation: identity.generation,
            application: identity.application,
            history: identity.history,
            subject: self.container.clone(),
            data: asked.data,
        };
        let user_data = statement.encode().map_err(Refusal::Statement)?;
        document(&self.shared, &user_data, asked.nonce.as_deref(), None).map_err(Refusal::Unavailable)
    }
}

/// One answer; the connection ends with it.
fn response(status: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// What a container says in its query.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    nonce: Option<Vec<u8>>,
    data: Vec<u8>,
}

fn parameters(query: &str) -> Result<Asked, Refusal> {
    let mut asked = Asked::default();
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if seen.contains(&name) {
            return Err(Refusal::Parameter(format!("{name:?} is there twice")));
        }
        seen.push(name);
        match name {
            "nonce" => asked.nonce = Some(bytes(name, value, MAX_USER_DATA)?),
            "data" => asked.data = bytes(name, value, MAX_DATA)?,
            other => {
                let message =
                    format!("{other:?} is unknown: there are \"nonce\" and \"data\", both hexadecimal");
                return Err(Refusal::Parameter(message));
            }
        }
    }
    Ok(asked)
}

fn bytes(name: &str, value: &str, most: usize) -> Result<Vec<u8>, Refusal> {
    let bytes = from_hex(value).ok_or_else(|| {
        Refusal::Parameter(format!("{name:?} is not hexadecimal: two digits for each byte"))
    })?;
    if bytes.len() > most {
        return Err(Refusal::Parameter(format!(
            "{name:?} has {} bytes, at most {most} fit",
            bytes.len()
        )));
    }
    Ok(bytes)
}

/// How often somebody may ask: a bucket of tokens.
#[derive(Debug)]
struct Allowance {
    tokens: u32,
    filled: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self {
            tokens: BURST,
            filled: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let each = Duration::from_secs(1) / PER_SECOND;
        let earned = (now - self.filled).as_nanos() / each.as_nanos();
        let earned = u32::try_from(earned).unwrap_or(BURST).min(BURST);
        if earned > 0 {
            self.tokens = (self.tokens + earned).min(BURST);
            // What is left of a token is kept, unless the bucket is full anyway.
            self.filled = if self.tokens == BURST {
                now
            } else {
                self.filled + each * earned
            };
        }
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_hexadecimal_known_and_there_once() {
        let asked = parameters("nonce=00ff&data=0102").expect("valid");
        assert_eq!(
            asked,
            Asked {
                nonce: Some(vec![0, 255]),
                data: vec![1, 2]
            }
        );
        assert_eq!(parameters("").expect("empty"), Asked::default());
        let longest = format!("data={}", "00".repeat(MAX_DATA));
        assert!(parameters(&longest).is_ok());
        for (query, word) in [
            ("nonce=0", "hexadecimal"),
            ("nonce=zz", "hexadecimal"),
            ("nonce=00&nonce=00", "twice"),
            ("publicKey=00", "unknown"),
            (&format!("{longest}00"), "at most 64"),
            (&format!("nonce={}", "00".repeat(513)), "at most 512"),
        ] {
            let refused = parameters(query).expect_err(query).to_string();
            assert!(refused.contains(word), "{query}: {refused}");
        }
    }

    #[test]
    fn an_allowance_is_spent_and_comes_back() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        assert!((0..BURST).all(|_| allowance.take(start)));
        assert!(!allowance.take(start));
        let later = start + Duration::from_millis(250);
        assert!(allowance.take(later) && allowance.take(later) && !allowance.take(later));
        // The half of a token that was left counts.
        assert!(allowance.take(start + Duration::from_millis(300)));
        let much_later = start + Duration::from_secs(3600);
        assert!((0..BURST).all(|_| allowance.take(much_later)));
        assert!(!allowance.take(much_later));
    }
}
