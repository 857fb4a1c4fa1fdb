//! How many connections may be on their way to one target. One that does not answer must leave room for the others.

use std::cell::RefCell;
use std::collections::HashMap;

use manifest_sync::link::EgressTarget;

/// Connections to one target that wait for its answer: three quarters of all that there may be.
const MOST: usize = super::MAX_CONNECTIONS / 4 * 3;

/// Connections that are being made, by their targets.
#[derive(Default)]
pub(super) struct Openings {
    counts: RefCell<HashMap<EgressTarget, usize>>,
}

impl Openings {
    /// Counts one more until it is dropped. `None`: there are too many.
    pub(super) fn begin<'a>(&'a self, target: &'a EgressTarget) -> Option<Opening<'a>> {
        let mut counts = self.counts.borrow_mut();
        let count = counts.entry(target.clone()).or_default();
        if *count >= MOST {
            return None;
        }
        *count += 1;
        Some(Opening { all: self, target })
    }
}

/// A connection that is being made.
pub(super) struct Opening<'a> {
    all: &'a Openings,
    target: &'a EgressTarget,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let mut counts = self.all.counts.borrow_mut();
        if let Some(count) = counts.get_mut(self.target) {
            *count -= 1;
            if *count == 0 {
                counts.remove(self.target);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use manifest_sync::link::EgressHost;

    use super::*;

    #[test]
    fn a_target_that_does_not_answer_leaves_room_for_others() {
        let target = |name: &str| EgressTarget {
            host: EgressHost::Name(name.to_owned()),
            port: 443,
        };
        let (hole, good) = (target("hole.example"), target("good.example"));
        let all = Openings::default();
        let mut begun: Vec<_> = (0..MOST).map_while(|_| all.begin(&hole)).collect();
        assert_eq!(begun.len(), MOST);
        assert!(all.begin(&hole).is_none() && all.begin(&good).is_some());
        begun.pop();
        assert!(all.begin(&hole).is_some());
        begun.clear();
        assert!(all.counts.borrow().is_empty());
    }
}
