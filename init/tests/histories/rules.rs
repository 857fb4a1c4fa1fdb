//! The two rules that everything turns on, without anything around them: whether a container is started again, and when.
//! Tests of the whole product check what they have recorded against them, too.

/// Ticks of a second.
pub(crate) const SECOND: u64 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Always,
    OnFailure,
    Never,
}

/// One entry of `restartPolicyRules`.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// `In`, otherwise `NotIn`.
    pub(crate) is_in: bool,
    pub(crate) codes: Vec<i32>,
}

/// Whether a container that ended with `code` is started again (K-021, K-033).
pub(crate) fn restarts(policy: Policy, rules: &[Rule], code: i32) -> bool {
    for rule in rules {
        if rule.codes.contains(&code) == rule.is_in {
            return true;
        }
    }
    match policy {
        Policy::Always => true,
        Policy::OnFailure => code != 0,
        Policy::Never => false,
    }
}

/// One instance of a container; ticks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past {
    pub(crate) started: u64,
    pub(crate) ended: Option<u64>,
    /// It follows one that was killed for a probe, and was started in the same sync (K-029, K-193).
    pub(crate) at_once: bool,
}

/// K-192: the sweep comes every two seconds, and forgets what was not updated for ten minutes.
const SWEPT: u64 = 602 * SECOND;

/// K-185 to K-193: until when a container with this past must not be started, if at `now` it must not. `finished`: end of
/// the instance that is looked at, which is not the newest one when that was killed to be replaced.
pub(crate) fn back_off(past: &[Past], finished: u64, now: u64) -> Option<u64> {
    // Delay in seconds and last update, from all starts so far.
    let mut entry: Option<(u64, u64)> = None;
    for (number, run) in past.iter().enumerate() {
        let seen = number.checked_sub(if run.at_once { 2 } else { 1 });
        let Some(end) = seen.and_then(|seen| past[seen].ended) else {
            continue;
        };
        let delay = match entry {
            Some((delay, updated)) if !is_forgotten(updated, end, run.started) => (delay * 2).min(300),
            _ => 10,
        };
        entry = Some((delay, run.started));
    }
    let (delay, updated) = entry?;
    let until = (finished + delay * SECOND).min(updated + SWEPT);
    (!is_forgotten(updated, finished, now) && now < until).then_some(until)
}

/// K-187, K-192: an entry is forgotten when the exit came more than ten minutes after its last update, and by the sweep.
fn is_forgotten(updated: u64, finished: u64, now: u64) -> bool {
    finished > updated + 600 * SECOND || now >= updated + SWEPT
}
