//! POST to one server over HTTP/1.1, one connection, and what its answers mean: taken, later, never.

use std::io;
use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::connect::Connector;
use super::output::Trouble;
use super::spec::Endpoint;

/// What is read of an answer.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// What of it is shown to people.
const MAX_REASON_CHARS: usize = 300;

/// A client of one server.
pub(super) struct Client {
    endpoint: Endpoint,
    connector: Connector,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// For `endpoint`.
    ///
    /// # Errors
    /// Its certificates cannot be read.
    pub(super) fn new(endpoint: &Endpoint) -> io::Result<Self> {
        Ok(Self {
            connector: Connector::new(&endpoint.server)?,
            endpoint: endpoint.clone(),
            sender: None,
        })
    }

    /// Posts JSON; returns the answer's body. `first` is the place of the first item in it.
    pub(super) async fn post(&mut self, json: Vec<u8>, first: u64) -> Result<Bytes, Trouble> {
        let request = self.request(json).map_err(Trouble::later)?;
        let mut sender = match self.sender.take() {
            Some(sender) if sender.is_ready() => sender,
            _ => self.connect().await.map_err(Trouble::later)?,
        };
        // Sent, and no answer: it may have been taken.
        let doubt = |reason: String| Trouble::Retry {
            reason,
            after: None,
            doubt: Some(first),
        };
        let asking = async {
            let answer = match sender.send_request(request).await {
                Ok(answer) => answer,
                Err(error) if error.is_canceled() => return Err(Trouble::later(error.to_string())),
                Err(error) => return Err(doubt(error.to_string())),
            };
            let head = Answer::of(&answer);
            let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
            Ok((head, body.map(|body| body.to_bytes()).unwrap_or_default()))
        };
        let (head, body) = match tokio::time::timeout(self.endpoint.timeout, asking).await {
            Ok(answer) => answer?,
            Err(_) => return Err(doubt("the server does not answer".to_owned())),
        };
        self.sender = Some(sender);
        head.judge(body)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let connection = self
            .connector
            .connect()
            .await
            .map_err(|error| error.to_string())?;
        let handshake = http1::handshake(TokioIo::new(connection)).await;
        let (sender, connection) = handshake.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(&self, json: Vec<u8>) -> Result<Request<Full<Bytes>>, String> {
        let server = &self.endpoint.server;
        let host = if server.host.contains(':') {
            format!("[{}]:{}", server.host, server.port)
        } else {
            format!("{}:{}", server.host, server.port)
        };
        let mut request = Request::post(&self.endpoint.path)
            .header(HOST, host)
            .header(USER_AGENT, concat!("host-proxy/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in &self.endpoint.headers {
            request = request.header(name, value);
        }
        if let Some(file) = &self.endpoint.bearer_file {
            // Read each time: such tokens are renewed in place.
            let token =
                std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.trim()));
        }
        let body = if self.endpoint.gzip {
            request = request.header(CONTENT_ENCODING, "gzip");
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            let written = encoder.write_all(&json).and_then(|()| encoder.finish());
            written.map_err(|error| error.to_string())?
        } else {
            json
        };
        request
            .body(Full::new(body.into()))
            .map_err(|error| error.to_string())
    }
}

/// The head of an answer.
struct Answer {
    status: StatusCode,
    after: Option<Duration>,
}

impl Answer {
    fn of(answer: &Response<Incoming>) -> Self {
        let after = answer.headers().get(RETRY_AFTER);
        let after = after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Self {
            status: answer.status(),
            after: after.map(Duration::from_secs),
        }
    }

    /// What OTLP's specification and Loki's clients say: 429 and 5xx pass, other errors stay.
    fn judge(self, body: Bytes) -> Result<Bytes, Trouble> {
        if self.status.is_success() {
            return Ok(body);
        }
        let text: String = String::from_utf8_lossy(&body)
            .chars()
            .take(MAX_REASON_CHARS)
            .collect();
        let reason = format!("the server answers {}: {}", self.status, text.trim());
        Err(match self.status {
            StatusCode::PAYLOAD_TOO_LARGE => Trouble::TooLarge { reason },
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => self.later(reason),
            status if status.is_server_error() => self.later(reason),
            _ => Trouble::Refused { reason },
        })
    }

    fn later(&self, reason: String) -> Trouble {
        Trouble::Retry {
            reason,
            after: self.after,
            doubt: None,
        }
    }
}
