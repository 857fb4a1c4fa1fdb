//! What a benchmark is held to, and what came of it.

use super::plot::number;
use super::{median, spread};

/// A limit that a benchmark is held to.
pub(super) enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

/// One line for each target: what is wanted, what is the case, and whether it is met by the median.
pub(super) fn verdict(what: &str, limit: &Limit, samples: &[f64]) -> String {
    let middle = median(samples.to_vec());
    let (sign, bound, is_met) = match *limit {
        Limit::AtLeast(bound) => ("≥", bound, middle >= bound),
        Limit::AtMost(bound) => ("≤", bound, middle <= bound),
    };
    let verdict = if is_met { "met" } else { "**missed**" };
    format!(
        "- {what} {sign} {bound}: {} – {verdict}\n",
        spread(samples, number)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_about_the_median() {
        let samples = [0.8, 0.95, 0.96];
        assert_eq!(
            verdict("of splice", &Limit::AtLeast(0.9), &samples),
            "- of splice ≥ 0.9: 0.95 (0.80 – 0.96) – met\n"
        );
        assert!(verdict("of splice", &Limit::AtMost(0.9), &samples).ends_with("– **missed**\n"));
    }
}
