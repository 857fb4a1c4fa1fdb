//! Names of applications and secrets: checked once, then a type.

use std::fmt;

use ring::digest::{Context, SHA384};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Most bytes of a name, which fits the one byte of length in a binding.
pub const MAX_NAME: usize = 253;
/// Most secrets of one request.
pub const MAX_NAMES: usize = 64;

/// A text that is not a name, or a list that is not one of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidName {
    /// Not the name of an application.
    Application,
    /// Not the name of a secret.
    Secret,
    /// None at all.
    None,
    /// More than [`MAX_NAMES`].
    TooMany,
    /// The same twice.
    Twice,
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Application => f.write_str(
                "not the name of an application: expected a-z, 0-9, `-` and `.`, with a letter or digit at both \
                 ends, at most 253",
            ),
            Self::Secret => f.write_str(
                "not the name of a secret: expected letters, digits, `-`, `_` and `.`, not a `.` in front, at most 253",
            ),
            Self::None => f.write_str("no secret is asked for"),
            Self::TooMany => write!(f, "more than {MAX_NAMES} secrets are asked for"),
            Self::Twice => f.write_str("a secret is asked for twice"),
        }
    }
}

impl std::error::Error for InvalidName {}

/// Name of an application, as in the trust policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Application(String);

impl Application {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Application {
    type Error = InvalidName;

    fn try_from(name: String) -> Result<Self, InvalidName> {
        let inner =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = name.as_bytes();
        let valid = bytes.len() <= MAX_NAME
            && bytes.iter().copied().all(inner)
            && edge(bytes.first())
            && edge(bytes.last());
        if valid {
            Ok(Self(name))
        } else {
            Err(InvalidName::Application)
        }
    }
}

impl From<Application> for String {
    fn from(name: Application) -> Self {
        name.0
    }
}

/// Name of a secret: one file in the broker's directory, so never a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

impl SecretName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SecretName {
    type Error = InvalidName;

    fn try_from(name: String) -> Result<Self, InvalidName> {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let valid = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(inner) && !name.starts_with('.');
        if valid {
            Ok(Self(name))
        } else {
            Err(InvalidName::Secret)
        }
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.0
    }
}

/// The secrets of a request: 1 to [`MAX_NAMES`], none twice, in the order in which they are answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Names(Vec<SecretName>);

impl Names {
    /// The names, in order.
    pub fn as_slice(&self) -> &[SecretName] {
        &self.0
    }

    /// SHA-384 of the names, each after one byte of its length.
    pub fn digest(&self) -> [u8; 48] {
        let mut hash = Context::new(&SHA384);
        for SecretName(name) in &self.0 {
            hash.update(&[u8::try_from(name.len()).expect("a name has at most 253 bytes")]);
            hash.update(name.as_bytes());
        }
        let mut digest = [0; 48];
        digest.copy_from_slice(hash.finish().as_ref());
        digest
    }
}

impl TryFrom<Vec<SecretName>> for Names {
    type Error = InvalidName;

    fn try_from(names: Vec<SecretName>) -> Result<Self, InvalidName> {
        if names.is_empty() {
            return Err(InvalidName::None);
        }
        if names.len() > MAX_NAMES {
            return Err(InvalidName::TooMany);
        }
        let mut sorted: Vec<_> = names.iter().collect();
        sorted.sort();
        if sorted.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(InvalidName::Twice);
        }
        Ok(Self(names))
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names of secrets")
    }

    /// Stops at the first name too many, before it is kept.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = list.next_element()? {
            if names.len() == MAX_NAMES {
                return Err(A::Error::custom(InvalidName::TooMany));
            }
            names.push(name);
        }
        Names::try_from(names).map_err(A::Error::custom)
    }
}
