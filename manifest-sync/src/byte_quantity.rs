//! Amounts of bytes that are shown again as Kubernetes shows them: in its canonical form (K-433).

use std::fmt;

use crate::quantity::Quantity;

/// A number of bytes with the family of suffixes that it was written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteQuantity {
    /// Bytes.
    pub bytes: u64,
    style: Style,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `Ki`, `Mi`, …
    Binary,
    /// `k`, `M`, …
    Decimal,
    /// `e3`, `e6`, …
    Exponent,
}

const DECIMAL: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
const EXPONENT: [&str; 7] = ["", "e3", "e6", "e9", "e12", "e15", "e18"];
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

impl ByteQuantity {
    /// An amount of whole bytes, rounded up (K-432); `None` for what is not a quantity, or negative.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = u64::try_from(text.parse::<Quantity>().ok()?.value()).ok()?;
        let style = if text.ends_with('i') {
            Style::Binary
        } else if text.trim_end_matches('E').contains(['e', 'E']) {
            Style::Exponent
        } else {
            Style::Decimal
        };
        Some(Self { bytes, style })
    }

    /// The sum, in the style of `self`.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            ..self
        }
    }
}

impl fmt::Display for ByteQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (base, suffixes) = match self.style {
            Style::Binary if self.bytes >= 1024 => (1024, BINARY),
            Style::Binary | Style::Decimal => (1000, DECIMAL),
            Style::Exponent => (1000, EXPONENT),
        };
        let mut number = self.bytes;
        let mut power = 0;
        while number != 0 && number.is_multiple_of(base) && power + 1 < suffixes.len() {
            number /= base;
            power += 1;
        }
        write!(f, "{number}{}", suffixes.get(power).unwrap_or(&""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_suffix_without_a_fraction_is_shown() {
        for (text, shown) in [
            ("1Gi", "1Gi"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1000Ki", "1000Ki"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("10M", "10M"),
            ("0.1M", "100k"),
            ("1E", "1E"),
            ("1e3", "1e3"),
            ("2500e3", "2500e3"),
            ("0", "0"),
            (".5Ki", "512"),
        ] {
            assert_eq!(
                ByteQuantity::parse(text).map(|one| one.to_string()).as_deref(),
                Some(shown),
                "{text}"
            );
        }
        assert_eq!(ByteQuantity::parse("-1"), None);
        assert_eq!(ByteQuantity::parse("1Gib"), None);
    }
}
