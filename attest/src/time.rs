//! Points in time, as documents and certificates name them. No clock: who verifies says what time it is.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const DAY: u64 = 86_400;
/// Days from 1 March of the year 0 to 1970.
const EPOCH: u64 = 719_468;

/// A point in time since 1970 (UTC, without leap seconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(Duration);

impl UnixTime {
    /// From seconds since 1970.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// From milliseconds since 1970, the unit of documents.
    pub const fn from_milliseconds(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// Whole seconds since 1970, the unit of certificates.
    pub const fn seconds(self) -> u64 {
        self.0.as_secs()
    }

    /// Milliseconds since 1970; the largest number for what is later than that.
    pub fn milliseconds(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// How much later than `other` it is; nothing when it is earlier.
    pub fn since(self, other: Self) -> Duration {
        self.0.saturating_sub(other.0)
    }

    /// So much later; the last point in time when there is none so late.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// So much earlier; 1970 when that is too early.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration))
    }

    /// From a civil date and time of day (UTC). `None`: there is none such, or it is before 1970.
    pub(crate) fn from_civil(date: [u64; 3], clock: [u64; 3]) -> Option<Self> {
        let [year, month, day] = date;
        let [hour, minute, second] = clock;
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = match month {
            2 => 28 + u64::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        let plausible = (1970..=9999).contains(&year) && (1..=length).contains(&day);
        if !plausible || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        // Years begin in March, so that the leap day is the last one.
        let (year, month) = if month > 2 {
            (year, month - 3)
        } else {
            (year - 1, month + 9)
        };
        let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
        let seconds = (days - EPOCH) * DAY + hour * 3600 + minute * 60 + second;
        Some(Self::from_seconds(seconds))
    }

    /// Year, month and day, and hour, minute and second.
    pub(crate) fn civil(self) -> ([u64; 3], [u64; 3]) {
        let (days, rest) = (self.seconds() / DAY, self.seconds() % DAY);
        let days = days.saturating_add(EPOCH);
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year + era * 400 + u64::from(month <= 2);
        ([year, month, day], [rest / 3600, rest / 60 % 60, rest % 60])
    }
}

impl fmt::Display for UnixTime {
    /// RFC 3339, whole seconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([year, month, day], [hour, minute, second]) = self.civil();
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

/// A text that is neither seconds since 1970 nor RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotATime;

impl fmt::Display for NotATime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a time: write 2026-01-31T12:00:00Z, or seconds since 1970")
    }
}

impl std::error::Error for NotATime {}

impl FromStr for UnixTime {
    type Err = NotATime;

    /// Seconds since 1970, or RFC 3339 in UTC; fractions of a second are dropped.
    fn from_str(text: &str) -> Result<Self, NotATime> {
        if let Some(seconds) = number(text) {
            return Ok(Self::from_seconds(seconds));
        }
        let (date, clock) = text
            .strip_suffix('Z')
            .and_then(|text| text.split_once('T'))
            .ok_or(NotATime)?;
        let clock = clock.split_once('.').map_or(clock, |(whole, _fraction)| whole);
        let date = triple(date, '-', [4, 2, 2]).ok_or(NotATime)?;
        let clock = triple(clock, ':', [2, 2, 2]).ok_or(NotATime)?;
        Self::from_civil(date, clock).ok_or(NotATime)
    }
}

/// Digits only: `parse` alone would take a sign.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn triple(text: &str, separator: char, lengths: [usize; 3]) -> Option<[u64; 3]> {
    let mut numbers = [0; 3];
    let mut parts = text.split(separator);
    for (value, length) in numbers.iter_mut().zip(lengths) {
        *value = number(parts.next().filter(|part| part.len() == length)?)?;
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2049-10-28T14:28:05Z", 2_519_044_085),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(text.parse(), Ok(UnixTime::from_seconds(seconds)));
            assert_eq!(seconds.to_string().parse(), Ok(UnixTime::from_seconds(seconds)));
            assert_eq!(UnixTime::from_seconds(seconds).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "+5",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00+01:00",
            "2026-01-01 00:00:00Z",
            "1969-12-31T23:59:59Z",
            "99999999999999999999",
        ] {
            assert_eq!(text.parse::<UnixTime>(), Err(NotATime), "{text}");
        }
    }

    #[test]
    fn the_ends_of_time_do_no_harm() {
        let last = UnixTime::from_milliseconds(u64::MAX);
        assert_eq!(last.milliseconds(), u64::MAX);
        assert!(!last.to_string().is_empty());
        let later = UnixTime::from_seconds(u64::MAX).plus(Duration::MAX);
        assert!(!later.to_string().is_empty());
        assert_eq!(later.milliseconds(), u64::MAX);
        assert_eq!(UnixTime::from_seconds(0).since(later), Duration::ZERO);
    }
}
