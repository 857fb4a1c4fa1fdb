//! What an application can have attested: the `user_data` of a document that was asked for by one container of the Pod.
//! The platform's service fills in everything but [`Statement::data`], so a container can claim to be nobody else, and the
//! label keeps such a document from being taken for a request for secrets ([`crate::release::LABEL`]).
//!
//! `user_data`, version 2; integers are big-endian, and nothing follows:
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 32 | [`LABEL`]: `cloister.dev/application/v2`, then zeros |
//! | 32 | 48 | SHA-384 of the current bundle |
//! | 80 | 8 | generation of that bundle; 0 when it has none |
//! | 88 | 32 | head of the history of bundles (`docs/updates.md`) |
//! | 120 | 1 + n | length of the application's name, 1 to 253, and the name |
//! | | 1 + n | length of the subject's name, 1 to 63, and the name: who asked |
//! | | 1 + n | length of the subject's data, 0 to 64, and the data |
//!
//! At most 503 bytes, of the 512 that verifiers accept. There is one encoding of each value.

use std::fmt;

use crate::release::{Application, BUNDLE_DIGEST_BYTES};

/// What the `user_data` of an application's document begins with.
pub const LABEL: &[u8; 32] = b"cloister.dev/application/v2\0\0\0\0\0";
/// Most bytes of a subject's name: a DNS label (RFC 1123).
pub const MAX_SUBJECT: usize = 63;
/// Most bytes of the data that the subject adds: a SHA-512, for what is longer.
pub const MAX_DATA: usize = 64;

/// Bytes of the head of a history (SHA-256).
pub const HISTORY_BYTES: usize = 32;

/// The content of `user_data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// SHA-384 of the bundle that runs now.
    pub bundle: [u8; BUNDLE_DIGEST_BYTES],
    /// Its generation; 0 when it has none.
    pub generation: u64,
    /// Head of the history of this bundle and all that ran before it since the boot.
    pub history: [u8; HISTORY_BYTES],
    /// Which application the bundle is.
    pub application: Application,
    /// Who asked, within the application.
    pub subject: String,
    /// What the subject wants to have attested. Only the subject vouches for it.
    pub data: Vec<u8>,
}

/// Why there is no statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementError {
    /// The document was made for another purpose, or by something else.
    Label,
    /// Too short, too long, or a name that is none.
    Malformed,
    /// A field is longer than it may be: which, and the most bytes.
    TooLong(&'static str, usize),
}

impl fmt::Display for StatementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label => f.write_str("the document was not made for an application"),
            Self::Malformed => f.write_str("the document's user_data is malformed"),
            Self::TooLong(what, most) => write!(f, "{what} is longer than {most} bytes"),
        }
    }
}

impl std::error::Error for StatementError {}

impl Statement {
    /// The bytes of `user_data`.
    ///
    /// # Errors
    ///
    /// [`StatementError::TooLong`].
    pub fn encode(&self) -> Result<Vec<u8>, StatementError> {
        let generation = self.generation.to_be_bytes();
        let mut bytes = [&LABEL[..], &self.bundle, &generation, &self.history].concat();
        let application = self.application.as_str().as_bytes();
        put(&mut bytes, "application", application, crate::release::MAX_NAME)?;
        put(&mut bytes, "subject", self.subject.as_bytes(), MAX_SUBJECT)?;
        put(&mut bytes, "data", &self.data, MAX_DATA)?;
        Ok(bytes)
    }

    /// Reads `user_data`, which has to be exactly as [`Statement::encode`] writes it.
    ///
    /// # Errors
    ///
    /// [`StatementError::Label`] or [`StatementError::Malformed`].
    pub fn parse(user_data: &[u8]) -> Result<Self, StatementError> {
        let rest = user_data.strip_prefix(LABEL).ok_or(StatementError::Label)?;
        Self::fields(rest).ok_or(StatementError::Malformed)
    }

    fn fields(rest: &[u8]) -> Option<Self> {
        let (bundle, rest) = rest.split_first_chunk()?;
        let (generation, rest) = rest.split_first_chunk()?;
        let (history, rest) = rest.split_first_chunk()?;
        let (application, rest) = take(rest, crate::release::MAX_NAME)?;
        let (subject, rest) = take(rest, MAX_SUBJECT)?;
        let (data, rest) = take(rest, MAX_DATA)?;
        let is_label = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        if !rest.is_empty() || subject.is_empty() || !subject.iter().all(is_label) {
            return None;
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        Some(Self {
            bundle: *bundle,
            generation: u64::from_be_bytes(*generation),
            history: *history,
            application: Application::try_from(text(application)?).ok()?,
            subject: text(subject)?,
            data: data.to_vec(),
        })
    }
}

fn put(bytes: &mut Vec<u8>, what: &'static str, field: &[u8], most: usize) -> Result<(), StatementError> {
    let length = u8::try_from(field.len()).ok().filter(|_| field.len() <= most);
    bytes.push(length.ok_or(StatementError::TooLong(what, most))?);
    bytes.extend_from_slice(field);
    Ok(())
}

fn take(bytes: &[u8], most: usize) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let length = usize::from(*length);
    (length <= most).then(|| rest.split_at_checked(length))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::{Binding, BindingError};

    fn statement() -> Statement {
        Statement {
            bundle: [7; BUNDLE_DIGEST_BYTES],
            generation: 3,
            history: [9; HISTORY_BYTES],
            application: Application::try_from("shop.example".to_owned()).expect("a name"),
            subject: "web".to_owned(),
            data: b"report".to_vec(),
        }
    }

    #[test]
    fn a_statement_has_one_encoding() {
        let bytes = statement().encode().expect("encoded");
        assert_eq!(Statement::parse(&bytes), Ok(statement()));
        for cut in 32..bytes.len() {
            assert_eq!(
                Statement::parse(&bytes[..cut]),
                Err(StatementError::Malformed),
                "{cut}"
            );
        }
        let longer = [&bytes[..], b"x"].concat();
        assert_eq!(Statement::parse(&longer), Err(StatementError::Malformed));
    }

    #[test]
    fn the_longest_statement_fits_a_document() {
        let mut longest = statement();
        longest.application = Application::try_from("a".repeat(253)).expect("a name");
        longest.subject = "s".repeat(MAX_SUBJECT);
        longest.data = vec![1; MAX_DATA];
        let bytes = longest.encode().expect("encoded");
        assert_eq!(bytes.len(), 503);
        assert!(bytes.len() <= crate::nsm::MAX_USER_DATA);
        longest.data.push(1);
        assert_eq!(longest.encode(), Err(StatementError::TooLong("data", MAX_DATA)));
    }

    #[test]
    fn no_statement_is_a_request_for_secrets_whatever_the_subject_adds() {
        let mut hostile = statement();
        hostile.data = crate::release::LABEL.to_vec();
        let bytes = hostile.encode().expect("encoded");
        assert_eq!(Binding::parse(&bytes), Err(BindingError::Label));
        let binding = Binding {
            bundle: [0; BUNDLE_DIGEST_BYTES],
            generation: 0,
            names: [0; 48],
            application: statement().application,
        };
        assert_eq!(Statement::parse(&binding.encode()), Err(StatementError::Label));
    }

    #[test]
    fn a_name_that_could_be_mistaken_is_refused() {
        for subject in ["", "web pod", "WEB", "a\0b"] {
            let mut other = statement();
            subject.clone_into(&mut other.subject);
            let bytes = other.encode().expect("encoded");
            assert_eq!(
                Statement::parse(&bytes),
                Err(StatementError::Malformed),
                "{subject:?}"
            );
        }
    }
}
