//! The answer of a secret service, piece by piece as it arrives. A connection that ends before it is complete is the caller's
//! to notice ([`HttpError::Truncated`]).

use httparse::{EMPTY_HEADER, Response as Head, Status};

use super::{Framing, HttpError, MAX_FIELDS, MAX_HEAD, head_error};

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code (RFC 9110 section 15).
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// The connection takes another request.
    pub keep_alive: bool,
}

/// Reads one answer. Memory is bounded by what has been received, not by what the head promises.
#[derive(Debug)]
pub struct ResponseReader {
    received: Vec<u8>,
    head: Option<ResponseHead>,
    most: usize,
}

#[derive(Debug, Clone, Copy)]
struct ResponseHead {
    status: u16,
    keep_alive: bool,
    /// Bytes of the head, and of head and body.
    ends: usize,
    body_ends: usize,
}

impl ResponseReader {
    /// Accepts a body of at most `most` bytes.
    pub fn new(most: usize) -> Self {
        Self {
            received: Vec::new(),
            head: None,
            most,
        }
    }

    /// Takes what was received; returns the answer when it is complete, once.
    ///
    /// # Errors
    ///
    /// [`HttpError`]; the connection is of no more use.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<Response>, HttpError> {
        let most = MAX_HEAD.saturating_add(self.most);
        if self.received.len().saturating_add(bytes.len()) > most {
            return Err(match self.head {
                // More than the longest answer, whatever its head would say.
                None => HttpError::HeadTooLong,
                Some(_) => HttpError::Trailing,
            });
        }
        self.received.extend_from_slice(bytes);
        if self.head.is_none() {
            self.head = parse_head(&self.received, self.most)?;
        }
        let Some(head) = self.head else { return Ok(None) };
        if self.received.len() > head.body_ends {
            return Err(HttpError::Trailing);
        }
        if self.received.len() < head.body_ends {
            return Ok(None);
        }
        self.head = None;
        let mut body = std::mem::take(&mut self.received);
        body.drain(..head.ends.min(body.len()));
        Ok(Some(Response {
            status: head.status,
            body,
            keep_alive: head.keep_alive,
        }))
    }
}

fn parse_head(received: &[u8], most: usize) -> Result<Option<ResponseHead>, HttpError> {
    let bytes = received.get(..MAX_HEAD).unwrap_or(received);
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    let mut head = Head::new(&mut fields);
    let ends = match head.parse(bytes).map_err(head_error)? {
        Status::Complete(ends) => ends,
        Status::Partial if received.len() >= MAX_HEAD => return Err(HttpError::HeadTooLong),
        Status::Partial => return Ok(None),
    };
    let status = head.code.ok_or(HttpError::Malformed)?;
    if status < 200 {
        return Err(HttpError::Interim);
    }
    let framing = Framing::of(head.headers)?;
    let length = framing.length.ok_or(HttpError::Framing)?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= most)
        .ok_or(HttpError::BodyTooLong(most))?;
    Ok(Some(ResponseHead {
        status,
        keep_alive: !framing.close && head.version == Some(1),
        ends,
        body_ends: ends + length,
    }))
}
