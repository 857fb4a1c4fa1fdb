//! Why a bundle was refused, in words the host may see: every error at once, each with its object and path.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One finding about one field of one object of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The object as people name it: `Pod/web`, `ConfigMap/settings`, `document 2`.
    pub object: String,
    /// Path of the field: `spec.containers[1].image`; empty when it is about the whole object.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// Most bytes of each text of a finding. [`Rejection::MAX_FINDINGS`] of them fit in a frame, even when JSON writes six bytes
/// for each of theirs.
pub const MAX_TEXT_BYTES: usize = 512;

impl Finding {
    /// A finding whose texts are cut to [`MAX_TEXT_BYTES`]: keys and values of a hostile bundle are as long as it is.
    pub fn new(object: impl Into<String>, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            object: clip(object.into()),
            path: clip(path.into()),
            message: clip(message.into()),
        }
    }
}

/// `text`, cut to [`MAX_TEXT_BYTES`] with `…` at its end.
pub(crate) fn clip(mut text: String) -> String {
    const MARK: char = '\u{2026}';
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES - MARK.len_utf8()));
        text.push(MARK);
    }
    text
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}: {}", self.object, self.message)
        } else {
            write!(f, "{}: {}: {}", self.object, self.path, self.message)
        }
    }
}

/// A bundle that may not run: all that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// At least one finding, in document order, at most [`Rejection::MAX_FINDINGS`].
    pub errors: Vec<Finding>,
}

impl Rejection {
    /// A hostile bundle must not turn into an answer larger than a frame.
    pub const MAX_FINDINGS: usize = 100;

    /// One finding about the whole of `object`.
    pub fn of(object: &str, message: impl Into<String>) -> Self {
        Self {
            errors: vec![Finding::new(object, "", message)],
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejection {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::MAX_FRAME_BYTES;
    use crate::protocol::{FromEnclave, enclave};

    #[test]
    fn the_largest_rejection_fits_in_a_frame() {
        let control = "\u{1}".repeat(5000);
        let finding = Finding::new(control.clone(), control.clone(), control);
        assert_eq!(finding.message.len(), MAX_TEXT_BYTES);
        assert!(finding.message.ends_with('\u{2026}'));
        let rejection = Rejection {
            errors: vec![finding; Rejection::MAX_FINDINGS],
        };
        let frame = enclave::encode(&FromEnclave::Rejected { rejection });
        assert!(frame.len() < MAX_FRAME_BYTES, "{}", frame.len());
    }

    #[test]
    fn texts_are_cut_between_characters() {
        for length in 500..520 {
            let text = format!("{}{}", "a".repeat(length), "\u{1f980}".repeat(9));
            assert!(clip(text).len() <= MAX_TEXT_BYTES);
        }
        assert_eq!(clip("a".repeat(MAX_TEXT_BYTES)).len(), MAX_TEXT_BYTES);
        assert_eq!(clip(String::new()), "");
    }
}
