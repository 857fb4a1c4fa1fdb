//! Requests: the bytes of a POST for the secret service, and the head of a GET at the attestation socket.

use httparse::{EMPTY_HEADER, Request, Status};

use super::{Framing, HttpError, MAX_FIELDS, MAX_HEAD, head_error};

/// The bytes of a POST of JSON, on a connection that stays open. `host` is the `Host` field and `path` starts with `/`; both
/// come from the measured bundle, not from a peer. `None`: one of them has characters that would end its line or its word.
pub fn post(host: &str, path: &str, body: &[u8]) -> Option<Vec<u8>> {
    let graphic = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !graphic(host) || !graphic(path) || !path.starts_with('/') {
        return None;
    }
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: keep-alive\r\n\r\n"
    );
    Some([head.as_bytes(), body].concat())
}

/// The head of a GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// In front of the `?`; starts with `/`, and is not decoded.
    pub path: String,
    /// Behind the `?`; not decoded, and empty when there is none.
    pub query: String,
    /// The client closes the connection after the answer.
    pub close: bool,
    /// Bytes of the head. What follows them is the next request's.
    pub length: usize,
}

/// Reads the head of a GET from everything that was received so far; `None` when the rest of it is still missing.
///
/// # Errors
///
/// [`HttpError`]; the connection is of no more use.
pub fn parse_get(received: &[u8]) -> Result<Option<RequestHead>, HttpError> {
    let head = received.get(..MAX_HEAD).unwrap_or(received);
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    let mut request = Request::new(&mut fields);
    let length = match request.parse(head).map_err(head_error)? {
        Status::Complete(length) => length,
        Status::Partial if received.len() >= MAX_HEAD => return Err(HttpError::HeadTooLong),
        Status::Partial => return Ok(None),
    };
    let target = request
        .path
        .filter(|target| target.starts_with('/') && target.is_ascii())
        .ok_or(HttpError::Malformed)?;
    let framing = Framing::of(request.headers)?;
    if request.method != Some("GET") || framing.length.is_some_and(|length| length > 0) {
        return Err(HttpError::Method);
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ok(Some(RequestHead {
        path: path.to_owned(),
        query: query.to_owned(),
        // HTTP/1.0 closes unless it says otherwise, and nobody has to.
        close: framing.close || request.version == Some(0),
        length,
    }))
}
