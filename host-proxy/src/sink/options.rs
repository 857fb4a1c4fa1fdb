//! The options of a sink, `NAME=VALUE` between commas: each is taken by whoever knows it, and what is left is a mistake.

use std::time::Duration;

use super::spec::Format;

/// Options that nobody has taken yet.
pub(super) struct Options {
    left: Vec<(String, String)>,
    asked: Vec<String>,
}

impl Options {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut left: Vec<(String, String)> = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let pair = part.split_once('=').filter(|(_, value)| !value.is_empty());
            let (name, value) = pair.ok_or_else(|| format!("`{part}` is not OPTION=VALUE"))?;
            if left.iter().any(|(other, _)| other == name) {
                return Err(format!("{name} is given twice"));
            }
            left.push((name.to_owned(), value.to_owned()));
        }
        Ok(Self {
            left,
            asked: Vec::new(),
        })
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.asked.push(name.to_owned());
        let found = self.left.iter().position(|(other, _)| other == name)?;
        Some(self.left.remove(found).1)
    }

    /// All options `PREFIXname=value`.
    pub(super) fn prefixed(&mut self, prefix: &str) -> Vec<(String, String)> {
        self.asked.push(format!("{prefix}NAME"));
        let (found, left) = std::mem::take(&mut self.left)
            .into_iter()
            .partition(|(name, _)| name.len() > prefix.len() && name.starts_with(prefix));
        self.left = left;
        let found: Vec<(String, String)> = found;
        found
            .into_iter()
            .map(|(name, value)| (name.trim_start_matches(prefix).to_owned(), value))
            .collect()
    }

    pub(super) fn name(&mut self) -> Result<Option<String>, String> {
        let Some(name) = self.take("name") else {
            return Ok(None);
        };
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.len() <= 63 && name.bytes().all(good) {
            Ok(Some(name))
        } else {
            Err(format!("name: `{name}` is not a name: use a-z, 0-9 and -"))
        }
    }

    pub(super) fn format(&mut self) -> Result<Format, String> {
        match self.take("format").as_deref() {
            Some("text") => Ok(Format::Text),
            Some("json") | None => Ok(Format::Json),
            Some("cri") => Ok(Format::Cri),
            Some(other) => Err(format!("format: `{other}` is not one of: text, json, cri")),
        }
    }

    pub(super) fn flag(&mut self, name: &str, default: bool) -> Result<bool, String> {
        match self.take(name).as_deref() {
            None => Ok(default),
            Some("yes") => Ok(true),
            Some("no") => Ok(false),
            Some(other) => Err(format!("{name}: `{other}` is neither yes nor no")),
        }
    }

    pub(super) fn number(&mut self, name: &str, default: u64, bounds: (u64, u64)) -> Result<u64, String> {
        let Some(text) = self.take(name) else {
            return Ok(default);
        };
        let number = text.parse().ok();
        number
            .filter(|number| (bounds.0..=bounds.1).contains(number))
            .ok_or_else(|| {
                format!(
                    "{name}: `{text}` is not a number from {} to {}",
                    bounds.0, bounds.1
                )
            })
    }

    pub(super) fn bytes(&mut self, name: &str, default: u64, bounds: (u64, u64)) -> Result<u64, String> {
        match self.take(name) {
            None => Ok(default),
            Some(text) => bytes(&text, bounds).map_err(|mistake| format!("{name}: {mistake}")),
        }
    }

    pub(super) fn duration(&mut self, name: &str, default: Duration) -> Result<Duration, String> {
        let Some(text) = self.take(name) else {
            return Ok(default);
        };
        let wrong = || format!("{name}: `{text}` is not a time, for instance 500ms or 5s, at most 10m");
        let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        let unit = match text.strip_prefix(digits) {
            Some("ms") => 1,
            Some("s") => 1000,
            Some("m") => 60_000,
            _ => return Err(wrong()),
        };
        match number.checked_mul(unit) {
            Some(milliseconds @ 0..=600_000) => Ok(Duration::from_millis(milliseconds)),
            _ => Err(wrong()),
        }
    }

    /// Nothing may be left.
    pub(super) fn finish(self, kind: &str) -> Result<(), String> {
        match self.left.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!(
                "`{name}` is not an option of {kind}; it has: {}",
                self.asked.join(", ")
            )),
        }
    }
}

/// `10Mi`, as quantities are written in Kubernetes, within bounds.
///
/// # Errors
/// What is wrong with it.
pub fn bytes(text: &str, bounds: (u64, u64)) -> Result<u64, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits) {
        Some("") => Some(1),
        Some("k") => Some(1000),
        Some("M") => Some(1_000_000),
        Some("G") => Some(1_000_000_000),
        Some("Ki") => Some(1 << 10),
        Some("Mi") => Some(1 << 20),
        Some("Gi") => Some(1 << 30),
        _ => None,
    };
    let value = unit.and_then(|unit: u64| digits.parse::<u64>().ok()?.checked_mul(unit));
    value
        .filter(|value| (bounds.0..=bounds.1).contains(value))
        .ok_or_else(|| {
            format!(
                "`{text}` is not a number of bytes from {} to {}, for instance 64Mi",
                bounds.0, bounds.1
            )
        })
}
