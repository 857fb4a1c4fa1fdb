//! PEM (RFC 7468): labelled base64 between lines. For files of people, not for bytes of the host.

use std::fmt;

use crate::base64;

/// One block.
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    /// `PUBLIC KEY` and so on.
    pub label: String,
    /// What was encoded.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Block {
    /// The label only: the bytes may be a private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// Why a text is not PEM. Lines are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PemError {
    /// There is no `-----BEGIN …-----`.
    None,
    /// A block without an end, or with the end of another.
    Unfinished {
        /// Line of its beginning.
        line: usize,
    },
    /// A line with a colon: an encrypted key in the form of old releases of OpenSSL.
    Header {
        /// Where.
        line: usize,
    },
    /// The content is not base64.
    Base64 {
        /// Line of the block's beginning.
        line: usize,
    },
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("not PEM: there is no line `-----BEGIN …-----`"),
            Self::Unfinished { line } => write!(f, "the block that begins in line {line} does not end"),
            Self::Header { line } => {
                write!(
                    f,
                    "line {line}: a header: encrypted keys are not read, decrypt it with `openssl pkey`"
                )
            }
            Self::Base64 { line } => write!(f, "the block that begins in line {line} is not base64"),
        }
    }
}

impl std::error::Error for PemError {}

/// All blocks of `text`, at least one. What stands between blocks is no part of them.
///
/// # Errors
/// The first thing that is wrong.
pub fn blocks(text: &str) -> Result<Vec<Block>, PemError> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, &str, String)> = None;
    for (index, line) in text.lines().map(str::trim_end).enumerate() {
        let begin = line
            .strip_prefix("-----BEGIN ")
            .and_then(|rest| rest.strip_suffix("-----"));
        let end = line
            .strip_prefix("-----END ")
            .and_then(|rest| rest.strip_suffix("-----"));
        open = match (open, begin, end) {
            (None, Some(label), _) => Some((index + 1, label, String::new())),
            (None, None, _) => None,
            (Some((line, label, body)), None, Some(ended)) if ended == label => {
                let bytes = base64::decode(&body).ok_or(PemError::Base64 { line })?;
                blocks.push(Block {
                    label: label.to_owned(),
                    bytes,
                });
                None
            }
            (Some((line, ..)), Some(_), _) | (Some((line, ..)), _, Some(_)) => {
                return Err(PemError::Unfinished { line });
            }
            (Some(_), None, None) if line.contains(':') => return Err(PemError::Header { line: index + 1 }),
            (Some((begin, label, mut body)), None, None) => {
                body.push_str(line);
                Some((begin, label, body))
            }
        };
    }
    match open {
        Some((line, ..)) => Err(PemError::Unfinished { line }),
        None if blocks.is_empty() => Err(PemError::None),
        None => Ok(blocks),
    }
}

/// One block around `bytes`, as OpenSSL writes it.
pub fn encode(label: &str, bytes: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for (index, letter) in base64::encode(bytes).chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text + &format!("\n-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_among_other_text() {
        let text = format!(
            "words\n{}\r\nmore\n{}",
            encode("A", &[7; 100]),
            encode("B C", b"")
        );
        let found = blocks(&text).expect("two blocks");
        let found: Vec<_> = found
            .iter()
            .map(|block| (block.label.as_str(), block.bytes.len()))
            .collect();
        assert_eq!(found, [("A", 100), ("B C", 0)]);
        assert!(!format!("{:?}", blocks(&text)).contains('7'));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let cases = [
            ("", PemError::None),
            ("MCow\n", PemError::None),
            ("x\n-----BEGIN A-----\nAAAA\n", PemError::Unfinished { line: 2 }),
            (
                "-----BEGIN A-----\n-----END B-----\n",
                PemError::Unfinished { line: 1 },
            ),
            (
                "-----BEGIN A-----\n-----BEGIN A-----\n",
                PemError::Unfinished { line: 1 },
            ),
            (
                "-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\n-----END A-----\n",
                PemError::Header { line: 2 },
            ),
            (
                "-----BEGIN A-----\nAA\n-----END A-----\n",
                PemError::Base64 { line: 1 },
            ),
        ];
        for (text, error) in cases {
            assert_eq!(blocks(text), Err(error), "{text:?}");
        }
    }
}
