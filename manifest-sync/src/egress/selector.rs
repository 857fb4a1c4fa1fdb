//! Names: how they are written, and patterns over them with Cilium's meaning.

use serde::{Deserialize, Serialize};

/// Longest name (RFC 1035, section 2.3.4), without its final dot.
const MAX_NAME: usize = 253;
/// Longest label.
const MAX_LABEL: usize = 63;

/// One entry of `toFQDNs`; in small letters, without a final dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NameSelector {
    /// `matchName`: this name.
    Name(String),
    /// `matchPattern`: `*` stands for any characters of one label, none included. `**.` at the beginning stands for one or more
    /// labels, and `*` alone for every name.
    Pattern(String),
}

impl NameSelector {
    /// A `matchName`. `None`: it is no name.
    pub fn name(text: &str) -> Option<Self> {
        let name = normalize(text);
        is_name(&name).then_some(Self::Name(name))
    }

    /// A `matchPattern`. `None`: it is no pattern.
    pub fn pattern(text: &str) -> Option<Self> {
        let pattern = normalize(text);
        let rest = pattern.strip_prefix("**.").unwrap_or(&pattern);
        // With every star filled in it has to be a name; and all names are meant only by one who writes just that.
        let valid =
            (pattern != "*" || text == "*") && !rest.contains("**") && is_name(&rest.replace('*', "x"));
        valid.then_some(Self::Pattern(pattern))
    }

    /// Whether it covers a [`normalize`]d name.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Pattern(pattern) if pattern == "*" => true,
            Self::Pattern(pattern) => match pattern.strip_prefix("**.") {
                Some(rest) => name
                    .match_indices('.')
                    .filter(|(at, _)| *at > 0)
                    .filter_map(|(at, _)| name.get(at + 1..))
                    .any(|tail| covers(rest.as_bytes(), tail.as_bytes())),
                None => covers(pattern.as_bytes(), name.as_bytes()),
            },
        }
    }
}

impl std::fmt::Display for NameSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(text) | Self::Pattern(text) => f.write_str(text),
        }
    }
}

/// Small letters, no final dot.
pub fn normalize(text: &str) -> String {
    text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()
}

/// Whether a [`normalize`]d text is a name that can be looked up; an address is none.
pub fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        let inner =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(inner)
    };
    // getaddrinfo(3) takes `127.1` and `0x7f000001` for addresses; no top-level domain begins with a digit.
    let last = text.rsplit('.').next().unwrap_or(text);
    text.len() <= MAX_NAME
        && text.split('.').all(label)
        && !last.as_bytes().first().is_some_and(u8::is_ascii_digit)
}

/// `*` takes any bytes but dots. The last star takes one more byte at each dead end, so the work is at most the product of
/// both lengths.
fn covers(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = name.get(from) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, from));
                at += 1;
            }
            Some(wanted) if *wanted == byte => {
                at += 1;
                from += 1;
            }
            _ => match star {
                Some((after, taken)) if name.get(taken).is_some_and(|byte| *byte != b'.') => {
                    star = Some((after, taken + 1));
                    at = after;
                    from = taken + 1;
                }
                _ => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|byte| *byte == b'*')
}
