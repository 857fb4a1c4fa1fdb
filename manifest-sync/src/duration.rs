//! Durations as Go writes them, which Kubernetes' manifests use: `90s`, `1h30m`, `1.5h`.

use std::time::Duration;

/// Units and their nanoseconds. Both letters for micro are Go's.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The duration that `text` says, as Go's `time.ParseDuration` reads it; nothing negative, nothing below a nanosecond.
pub fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    if text.is_empty() {
        return None;
    }
    let mut rest = text;
    let mut total = 0_u128;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let (_, nanoseconds) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scaled(number, nanoseconds)?)?;
        rest = after;
    }
    let seconds = u64::try_from(total / 1_000_000_000).ok()?;
    let nanoseconds = u32::try_from(total % 1_000_000_000).ok()?;
    Some(Duration::new(seconds, nanoseconds))
}

/// `1.5` times `unit`.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    // Longer ones say nothing that a duration can hold.
    if digits.is_empty() || digits.len() > 18 || fraction.contains('.') {
        return None;
    }
    let places = u32::try_from(fraction.len()).ok()?;
    digits
        .parse::<u128>()
        .ok()?
        .checked_mul(unit)
        .map(|all| all / 10_u128.pow(places))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go() {
        let good = [
            ("0", 0),
            ("0s", 0),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("5.s", 5_000),
            ("1500ms", 1_500),
            ("1h2m3.004s", 3_723_004),
        ];
        for (text, milliseconds) in good {
            assert_eq!(parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        assert_eq!(parse("3\u{b5}s"), parse("3\u{3bc}s"));
        let bad = [
            "",
            "1",
            "s",
            "-1s",
            "+1s",
            "1 s",
            "1d",
            "1.2.3s",
            ".s",
            "1s ",
            "s1",
            "9999999999999999999s",
        ];
        for text in bad {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_safe(text in ".{0,40}") { let _ = parse(&text); }
    }
}
