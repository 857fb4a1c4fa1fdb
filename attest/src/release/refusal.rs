//! Why a broker refuses. Codes are for programs and texts for people; a text never holds a secret, and is safe to log
//! wherever it came from.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Most characters of a text.
pub const MAX_TEXT: usize = 512;

/// Text that can go into a log as it is: printable ASCII, at most [`MAX_TEXT`] characters. What a host sends cannot forge a
/// line or move a terminal's cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct SafeText(String);

impl SafeText {
    /// Everything else becomes `?`; what is too long is cut.
    pub fn new(text: &str) -> Self {
        let safe = |letter: char| if matches!(letter, ' '..='~') { letter } else { '?' };
        Self(text.chars().take(MAX_TEXT).map(safe).collect())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for SafeText {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<SafeText> for String {
    fn from(text: SafeText) -> Self {
        text.0
    }
}

impl fmt::Display for SafeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RefusalCode {
    /// The request cannot be read.
    Malformed,
    /// The nonce is not outstanding: never given out, used, or too old.
    StaleNonce,
    /// The document does not verify.
    InvalidDocument,
    /// The request and its document do not say the same.
    WrongBinding,
    /// A PCR differs from the policy; the message says which.
    WrongMeasurement,
    /// The host can read this enclave's memory and console.
    DebugMode,
    /// No policy for this application.
    UnknownApplication,
    /// The generation is lower than the policy or the highest one seen.
    Rollback,
    /// The policy does not give this secret to this application, or there is none.
    UnknownSecret,
    /// Too many requests.
    RateLimited,
    /// The broker cannot answer now.
    Unavailable,
}

impl RefusalCode {
    /// Every code.
    pub const ALL: [Self; 11] = [
        Self::Malformed,
        Self::StaleNonce,
        Self::InvalidDocument,
        Self::WrongBinding,
        Self::WrongMeasurement,
        Self::DebugMode,
        Self::UnknownApplication,
        Self::Rollback,
        Self::UnknownSecret,
        Self::RateLimited,
        Self::Unavailable,
    ];

    /// Status code of the HTTP answer (RFC 9110 section 15.5, RFC 6585 section 4).
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::StaleNonce => 409,
            Self::UnknownSecret => 404,
            Self::RateLimited => 429,
            Self::Unavailable => 503,
            Self::InvalidDocument
            | Self::WrongBinding
            | Self::WrongMeasurement
            | Self::DebugMode
            | Self::UnknownApplication
            | Self::Rollback => 403,
        }
    }

    /// The same enclave may be answered later, with a new nonce.
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::StaleNonce | Self::RateLimited | Self::Unavailable)
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A refusal as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// What kind.
    pub code: RefusalCode,
    /// For people.
    pub message: SafeText,
}

impl Refusal {
    /// A refusal with a text that is made safe.
    pub fn new(code: RefusalCode, message: &str) -> Self {
        let message = SafeText::new(message);
        Self { code, message }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}
