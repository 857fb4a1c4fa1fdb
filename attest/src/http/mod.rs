//! The little HTTP/1.1 (RFC 9112) that the enclave speaks, over httparse and without a socket: the client of a secret
//! service, and the server of the attestation socket. Both ends of a connection are hostile: heads and bodies are bounded,
//! a body has a `Content-Length`, and whatever two readers might understand differently is refused (section 11.2).

mod request;
mod response;

use std::fmt;

pub use request::{RequestHead, parse_get, post};
pub use response::{Response, ResponseReader};

/// Most bytes of a head: the first line and all fields.
pub const MAX_HEAD: usize = 8 * 1024;
/// Most fields of a head.
const MAX_FIELDS: usize = 64;

/// Why bytes are not a message that we accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpError {
    /// Not HTTP/1.1.
    Malformed,
    /// The head is longer than [`MAX_HEAD`] or has too many fields.
    HeadTooLong,
    /// The body is longer than this many bytes.
    BodyTooLong(usize),
    /// A body in another form than with one `Content-Length`.
    Framing,
    /// Another method than GET, or a GET with a body.
    Method,
    /// An answer that is not final (RFC 9110 section 15.2); nobody asked for one.
    Interim,
    /// The connection ended inside a message.
    Truncated,
    /// Bytes behind the message.
    Trailing,
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("not a message of HTTP/1.1"),
            Self::HeadTooLong => write!(
                f,
                "the head has more than {MAX_HEAD} bytes or {MAX_FIELDS} fields"
            ),
            Self::BodyTooLong(most) => write!(f, "the body has more than {most} bytes"),
            Self::Framing => {
                f.write_str("the body needs exactly one Content-Length; Transfer-Encoding is not accepted")
            }
            Self::Method => f.write_str("only GET without a body is answered here"),
            Self::Interim => f.write_str("an interim answer (1xx), which nobody asked for"),
            Self::Truncated => f.write_str("the connection ended inside a message"),
            Self::Trailing => f.write_str("bytes follow the message, which nobody asked for"),
        }
    }
}

impl std::error::Error for HttpError {}

/// What the fields of a head say about its body and its connection.
#[derive(Debug, Default, PartialEq, Eq)]
struct Framing {
    /// Bytes of the body.
    length: Option<u64>,
    /// The sender closes the connection after this message.
    close: bool,
}

impl Framing {
    fn of(fields: &[httparse::Header<'_>]) -> Result<Self, HttpError> {
        let mut framing = Self::default();
        for field in fields {
            if field.name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(HttpError::Framing);
            }
            if field.name.eq_ignore_ascii_case("content-length") {
                let length = decimal(field.value).ok_or(HttpError::Framing)?;
                if framing.length.replace(length).is_some() {
                    return Err(HttpError::Framing);
                }
            }
            if field.name.eq_ignore_ascii_case("connection") {
                let options = field.value.split(|byte| *byte == b',');
                framing.close |= options
                    .map(<[u8]>::trim_ascii)
                    .any(|it| it.eq_ignore_ascii_case(b"close"));
            }
        }
        Ok(framing)
    }
}

/// Digits only: `parse` alone would take a sign.
fn decimal(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn head_error(error: httparse::Error) -> HttpError {
    match error {
        httparse::Error::TooManyHeaders => HttpError::HeadTooLong,
        _ => HttpError::Malformed,
    }
}

#[cfg(test)]
mod tests;
