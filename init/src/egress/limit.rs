//! How often denied attempts are told: a container that tries in a loop must not fill the journal, nor cost PID 1 more than a
//! few looks into /proc a minute.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::supervisor::time::Time;

/// Attempts told at once.
const BURST: u32 = 10;
/// One more may be told after so many milliseconds.
const EVERY_MS: u64 = 6000;
/// The same destination is told once in so long.
const QUIET: Duration = Duration::from_secs(60);
/// Destinations remembered.
const MOST: usize = 256;

/// What has been told.
#[derive(Debug, Default)]
pub struct Limit {
    told: BTreeMap<String, Time>,
    spent: u32,
    since: Option<Time>,
    suppressed: u64,
}

impl Limit {
    /// An attempt on `destination`. `Some`: tell it, and that so many have not been told since the last one.
    pub fn admit(&mut self, destination: &str, now: Time) -> Option<u64> {
        self.told.retain(|_, at| now < *at + QUIET);
        let since = *self.since.get_or_insert(now);
        let earned = now.as_millis().saturating_sub(since.as_millis()) / EVERY_MS;
        if earned > 0 {
            self.spent = self
                .spent
                .saturating_sub(u32::try_from(earned).unwrap_or(u32::MAX));
            self.since = Some(now);
        }
        if self.told.contains_key(destination) || self.spent >= BURST || self.told.len() >= MOST {
            self.suppressed += 1;
            return None;
        }
        self.spent += 1;
        self.told.insert(destination.to_owned(), now);
        Some(self.take_untold())
    }

    /// How many have not been told since this was last asked, or told of.
    pub fn take_untold(&mut self) -> u64 {
        std::mem::take(&mut self.suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn the_same_destination_is_told_once_a_minute() {
        let mut limit = Limit::default();
        assert_eq!(limit.admit("a", at(0)), Some(0));
        for second in 1..60 {
            assert_eq!(limit.admit("a", at(second)), None);
        }
        assert_eq!(limit.admit("b", at(59)), Some(59));
        assert_eq!(limit.admit("a", at(60)), Some(0));
    }

    #[test]
    fn a_flood_of_destinations_is_told_in_part_and_counted() {
        let mut limit = Limit::default();
        let told = (0..1000).filter(|number| limit.admit(&format!("n{number}"), at(0)).is_some());
        assert_eq!(told.count(), 10);
        assert_eq!(limit.admit("later", at(6)), Some(990));
        assert_eq!(limit.admit("at once", at(6)), None);
    }
}
