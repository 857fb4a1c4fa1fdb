//! Whether a container that ended is started again (K-020 to K-038), and whether all are (K-045). One function, so that
//! a table can test it.

use manifest_sync::plan::{RestartPolicy, RestartRule, RuleAction, RuleOperator};

/// The policies that apply to one container.
#[derive(Debug, Clone)]
pub(super) struct Policies {
    pub(super) pod: RestartPolicy,
    pub(super) container: Option<RestartPolicy>,
    pub(super) rules: Vec<RestartRule>,
}

impl Policies {
    /// K-021: the first matching rule, then the container's policy, then the Pod's.
    pub(super) fn restarts(&self, exit_code: i32) -> bool {
        if self.action(exit_code).is_some() {
            return true;
        }
        match self.container.unwrap_or(self.pod) {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => exit_code != 0,
            RestartPolicy::Never => false,
        }
    }

    /// K-045: whether the whole Pod starts over, whatever the policies.
    pub(super) fn restarts_all(&self, exit_code: i32) -> bool {
        self.action(exit_code) == Some(RuleAction::RestartAllContainers)
    }

    /// K-033: the first matching rule decides.
    fn action(&self, exit_code: i32) -> Option<RuleAction> {
        let rule = self.rules.iter().find(|rule| matches(rule, exit_code))?;
        Some(rule.action)
    }
}

impl Policies {
    /// K-029: whether a container that is killed for its probe is started again; there is no exit code yet.
    pub(super) fn replaces(&self) -> bool {
        self.container.unwrap_or(self.pod) != RestartPolicy::Never
    }
}

/// K-033, K-034.
fn matches(rule: &RestartRule, exit_code: i32) -> bool {
    let listed = rule.values.contains(&exit_code);
    match rule.operator {
        RuleOperator::In => listed,
        RuleOperator::NotIn => !listed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_decide_by_exit_code() {
        use RestartPolicy::{Always, Never, OnFailure};
        // pod, container, exit 0, exit 1, SIGTERM (143), SIGKILL or OOM (137)
        let table = [
            (Always, None, [true, true, true, true]),
            (OnFailure, None, [false, true, true, true]),
            (Never, None, [false, false, false, false]),
            (Always, Some(Never), [false, false, false, false]),
            (Never, Some(Always), [true, true, true, true]),
            (Never, Some(OnFailure), [false, true, true, true]),
        ];
        for (pod, container, expected) in table {
            let policies = Policies {
                pod,
                container,
                rules: Vec::new(),
            };
            let got = [0, 1, 143, 137].map(|code| policies.restarts(code));
            assert_eq!(got, expected, "{pod:?} {container:?}");
        }
    }

    #[test]
    fn a_matching_rule_restarts_whatever_the_policy() {
        let policies = |operator, values: &[i32]| Policies {
            pod: RestartPolicy::Always,
            container: Some(RestartPolicy::Never),
            rules: vec![RestartRule {
                action: RuleAction::Restart,
                operator,
                values: values.to_vec(),
            }],
        };
        let on_42 = policies(RuleOperator::In, &[42]);
        assert!(on_42.restarts(42));
        assert!(!on_42.restarts(1));
        assert!(policies(RuleOperator::In, &[0]).restarts(0));
        let failure = policies(RuleOperator::NotIn, &[0, 3]);
        assert!(failure.restarts(5));
        assert!(!failure.restarts(3));
        assert!(policies(RuleOperator::NotIn, &[]).restarts(0));
    }
    #[test]
    fn the_first_rule_that_matches_decides() {
        let rule = |action, values: &[i32]| RestartRule {
            action,
            operator: RuleOperator::In,
            values: values.to_vec(),
        };
        let policies = Policies {
            pod: RestartPolicy::Never,
            container: Some(RestartPolicy::Never),
            rules: vec![
                rule(RuleAction::Restart, &[1, 2]),
                rule(RuleAction::RestartAllContainers, &[2, 0]),
            ],
        };
        let all = [0, 1, 2, 3].map(|code| policies.restarts_all(code));
        assert_eq!(all, [true, false, false, false]);
        let one = [0, 1, 2, 3].map(|code| policies.restarts(code));
        assert_eq!(one, [true, true, true, false]);
    }
}
