//! All cases, one after another, round by round; and the ratios of what came out in the same round.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::super::plot::{Bar, number};
use super::super::spread;
use super::Effort;
use super::setup::{Case, Setup};

/// What the client said of each case, round by round.
pub(super) struct Runs<'a> {
    pub(super) cases: Vec<&'a Case>,
    answers: Vec<Vec<Value>>,
}

impl<'a> Runs<'a> {
    /// Asks the client the same of every case that `holds` wants, in another order each round: what the machine does
    /// meanwhile shall not always meet the same.
    pub(super) fn take(
        setup: &'a Setup,
        effort: Effort,
        holds: impl Fn(&Case) -> bool,
        words: impl Fn(&Case) -> Vec<String>,
    ) -> Result<Self> {
        let cases: Vec<&Case> = setup.cases.iter().filter(|case| holds(case)).collect();
        let mut answers = vec![Vec::new(); cases.len()];
        for round in 0..effort.rounds {
            for turn in 0..cases.len() {
                let index = (turn + round) % cases.len();
                if let (Some(case), Some(answers)) = (cases.get(index), answers.get_mut(index)) {
                    answers.push(setup.ask(&words(case)).with_context(|| case.label())?);
                }
            }
        }
        Ok(Self { cases, answers })
    }

    /// One number of every round, for each case.
    pub(super) fn samples(&self, key: &str) -> Samples<'a> {
        let number = |answer: &Value| answer.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let samples = self.answers.iter().map(|one| one.iter().map(number).collect());
        Samples(self.cases.iter().copied().zip(samples).collect())
    }
}

/// Numbers of cases, one for each round.
pub(super) struct Samples<'a>(pub(super) Vec<(&'a Case, Vec<f64>)>);

impl Samples<'_> {
    fn find(&self, hops: usize, name: &str) -> Option<&[f64]> {
        let found = self
            .0
            .iter()
            .find(|(case, _)| case.hops == hops && case.name == name);
        found.map(|(_, samples)| samples.as_slice())
    }

    /// Of ours.
    pub(super) fn ours(&self, hops: usize) -> &[f64] {
        let found = self.0.iter().find(|(case, _)| case.hops == hops && case.is_ours);
        found.map_or(&[], |(_, samples)| samples)
    }

    /// Ours divided by a peer of as many hops, round by round.
    pub(super) fn against(&self, hops: usize, name: &str) -> Vec<f64> {
        paired(
            self.ours(hops),
            self.find(hops, name).unwrap_or_default(),
            |ours, peer| ours / peer,
        )
    }

    /// What ours takes more than nothing at all for each of its hops, round by round.
    pub(super) fn added(&self, hops: usize) -> Vec<f64> {
        let direct = self.find(0, "no relay").unwrap_or_default();
        paired(self.ours(hops), direct, |ours, direct| {
            (ours - direct) / hops as f64
        })
    }

    pub(super) fn bars(&self, suffix: &str) -> Vec<Bar> {
        let bar = |(case, samples): &(&Case, Vec<f64>)| Bar {
            label: format!("{}{suffix}", case.label()),
            is_peer: !case.is_ours,
            samples: samples.clone(),
        };
        self.0.iter().map(bar).collect()
    }

    /// `| case | median (spread) | ours divided by it |` for each case.
    pub(super) fn table(&self, unit: &str) -> String {
        let mut text = format!("| between client and server | {unit} | ours ÷ it |\n|---|---:|---:|\n");
        for (case, samples) in &self.0 {
            let ratio = match (case.is_ours, case.hops) {
                (true, _) | (_, 0) => "–".to_owned(),
                (false, hops) => spread(&self.against(hops, case.name), number),
            };
            let _ = writeln!(
                text,
                "| {} | {} | {ratio} |",
                case.label(),
                spread(samples, number)
            );
        }
        text
    }
}

fn paired(ours: &[f64], peer: &[f64], of: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    ours.iter()
        .zip(peer)
        .map(|(ours, peer)| of(*ours, *peer))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &'static str, hops: usize, is_ours: bool) -> Case {
        Case {
            name,
            hops,
            is_ours,
            port: 0,
            processes: Vec::new(),
        }
    }

    #[test]
    fn ratios_are_of_the_same_round_and_as_many_hops() {
        let (no, ours, peer, far) = (
            case("no relay", 0, false),
            case("ours", 1, true),
            case("socat", 1, false),
            case("socat", 2, false),
        );
        let samples = Samples(vec![
            (&no, vec![1.0, 1.0]),
            (&ours, vec![2.0, 9.0]),
            (&peer, vec![1.0, 3.0]),
            (&far, vec![0.1, 0.1]),
        ]);
        assert_eq!(samples.against(1, "socat"), [2.0, 3.0]);
        assert_eq!(samples.added(1), [1.0, 8.0]);
        assert!(samples.against(2, "socat").is_empty());
        assert!(
            samples
                .table("GB/s")
                .contains("| one relay: socat | 3.00 (1.00 – 3.00) | 3.00 (2.00 – 3.00) |")
        );
    }
}
