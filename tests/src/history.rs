//! A recorded history: every ended instance of every container that the status ever showed, and what must be true of it.

use std::collections::BTreeMap;

use manifest_sync::plan::RestartPolicy;
use manifest_sync::status::{ContainerState, ContainerStatus, PodStatus};

use crate::rules::{self, Past, Policy, SECOND};
use crate::{Up, wait_for};

/// One ended instance, as the status showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Exit code.
    pub code: i32,
    /// `Error`, `OOMKilled`, …
    pub reason: String,
    /// Seconds since 1970.
    started: u64,
    finished: u64,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct History {
    /// By container and attempt.
    ended: BTreeMap<String, BTreeMap<usize, Ended>>,
    restarts: BTreeMap<String, u32>,
}

impl History {
    /// Looks at the status now; `None` when there is none.
    ///
    /// # Panics
    /// When it says something else of an instance than it did, or counts fewer restarts.
    pub fn look(&mut self, up: &Up) -> Option<PodStatus> {
        let status = up.report()?.status;
        for container in status.all_containers() {
            self.note(container);
        }
        Some(status)
    }

    fn note(&mut self, status: &ContainerStatus) {
        let before = self.restarts.insert(status.name.clone(), status.restart_count);
        assert!(
            before.is_none_or(|before| before <= status.restart_count),
            "{status:?}"
        );
        for state in status.last_state.iter().chain([&status.state]) {
            let ContainerState::Terminated {
                exit_code,
                reason,
                started_at,
                finished_at,
                container_id,
                ..
            } = state
            else {
                continue;
            };
            let attempt = container_id
                .rsplit('/')
                .next()
                .and_then(|attempt| attempt.parse().ok());
            let ended = Ended {
                code: *exit_code,
                reason: reason.clone(),
                started: unix_seconds(started_at),
                finished: unix_seconds(finished_at),
            };
            let all = self.ended.entry(status.name.clone()).or_default();
            let before = all.insert(attempt.expect("an attempt"), ended.clone());
            assert!(before.is_none_or(|before| before == ended), "{status:?}");
        }
    }

    /// Waits until an instance has ended and was shown. One that is followed by the next end at once may never be.
    ///
    /// # Panics
    /// When it was not within a generous deadline.
    pub fn wait_ended(&mut self, up: &Up, container: &str, attempt: usize) -> Ended {
        let what = format!("the end of {container}, attempt {attempt}");
        wait_for(&what, || {
            self.look(up)?;
            self.ended.get(container)?.get(&attempt).cloned()
        })
    }

    /// Checks what was recorded: no exit too many, none followed by a start against the policy or too early. An end that
    /// was over between two looks was not seen.
    ///
    /// # Panics
    /// When something of it is not so.
    pub fn check(&self, policy: RestartPolicy) {
        let policy = match policy {
            RestartPolicy::Always => Policy::Always,
            RestartPolicy::OnFailure => Policy::OnFailure,
            RestartPolicy::Never => Policy::Never,
        };
        for (name, ended) in &self.ended {
            let count = self.restarts[name] as usize;
            let runs = ended.keys().next_back().map_or(0, |last| last + 1);
            assert!(
                runs == count || runs == count + 1,
                "{name}: {count} restarts, and the ends of {ended:?}"
            );
            let mut past: Vec<Past> = Vec::new();
            for attempt in 0..runs {
                let (run, before) = (
                    ended.get(&attempt),
                    attempt.checked_sub(1).and_then(|one| ended.get(&one)),
                );
                if let (Some(run), Some(before)) = (run, before) {
                    assert!(
                        rules::restarts(policy, &[], before.code),
                        "{name} was started again after {before:?}"
                    );
                    let end = before.finished * SECOND;
                    let until = rules::back_off(&past, end, end).unwrap_or(end);
                    // Timestamps are cut to whole seconds.
                    assert!(
                        run.started + 1 >= until / SECOND,
                        "{name}: {run:?} started too early after {before:?}, attempt {attempt}"
                    );
                }
                let later = ended
                    .range(attempt..)
                    .next()
                    .map(|(_, run)| run)
                    .expect("the last was seen");
                past.push(Past {
                    started: later.started * SECOND,
                    ended: Some(run.map_or(later.started, |run| run.finished) * SECOND),
                    at_once: false,
                });
            }
        }
    }

    /// Ends of a container that were shown so far, in their order.
    pub fn ends(&self, container: &str) -> impl ExactSizeIterator<Item = &Ended> {
        static NONE: BTreeMap<usize, Ended> = BTreeMap::new();
        self.ended.get(container).unwrap_or(&NONE).values()
    }
}

/// RFC 3339 in whole seconds and UTC, as the status writes it.
fn unix_seconds(text: &str) -> u64 {
    let number = |range: std::ops::Range<usize>| text[range].parse::<u64>().expect("a timestamp");
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    // Days from a civil date by Howard Hinnant's algorithm.
    let shifted = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + day_of_year - 719_468;
    days * 86_400 + number(11..13) * 3600 + number(14..16) * 60 + number(17..19)
}

#[test]
fn timestamps_are_read_as_they_are_written() {
    for (text, seconds) in [
        ("1970-01-01T00:00:00Z", 0),
        ("2000-02-29T00:00:00Z", 951_782_400),
        ("2025-12-31T23:59:59Z", 1_767_225_599),
    ] {
        assert_eq!(unix_seconds(text), seconds);
    }
}
