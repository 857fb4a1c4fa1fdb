//! B8: 30 streams of bytes, 100 connections that ping and a slow reader, with and without one more client that has stopped
//! to read.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::super::output::Output;
use super::super::plot::{Bar, Plot, number};
use super::super::spread;
use super::super::verdict::{Limit, verdict};
use super::Effort;
use super::setup::{Case, Setup};

/// How many times as many pairs as others have rounds: 131 connections share two processors, and 5 % is asked for.
const PAIRS: usize = 3;

/// What came of a case, pair by pair.
struct Measured<'a> {
    case: &'a Case,
    /// All streams together, GB/s, without the one that has stopped.
    speed: Vec<f64>,
    /// The same with it, of the same without it.
    kept: Vec<f64>,
    /// The slowest stream of the mean one, with it.
    slowest: Vec<f64>,
    /// Median of the pings with it, of the same without it.
    pings: Vec<f64>,
}

pub(super) fn measure(setup: &Setup, effort: Effort, output: &mut Output) -> Result<()> {
    // socat is left out: its connections are processes, so that the scheduler would be measured.
    let cases = setup
        .cases
        .iter()
        .filter(|case| case.hops > 0 && case.name != "socat");
    let all: Vec<Measured<'_>> = cases
        .map(|case| {
            let words = [
                "fair".to_owned(),
                case.port.to_string(),
                effort.window.to_string(),
                (effort.rounds * PAIRS).to_string(),
            ];
            let phases = setup.ask(&words).with_context(|| case.label())?;
            Ok(pairs(case, phases.as_array().map_or(&[], Vec::as_slice)))
        })
        .collect::<Result<_>>()?;
    let mut text = "| between clients and server | 30 streams, GB/s | with a stalled reader ÷ without | slowest stream ÷ mean | \
                    ping p50 with ÷ without |\n|---|---:|---:|---:|---:|\n"
        .to_owned();
    let mut verdicts = String::new();
    for one in &all {
        let cells = [&one.speed, &one.kept, &one.slowest, &one.pings].map(|samples| spread(samples, number));
        text += &format!("| {} | {} |\n", one.case.label(), cells.join(" | "));
        if one.case.is_ours {
            let name = one.case.label();
            let what = format!("{name}: the others' speed beside a stalled reader, of it without,");
            verdicts += &verdict(&what, &Limit::AtLeast(0.95), &one.kept);
            let what = format!("{name}: the slowest stream of the mean one");
            verdicts += &verdict(&what, &Limit::AtLeast(0.5), &one.slowest);
        }
    }
    let plot = Plot {
        title: "30 streams beside a reader that has stopped",
        unit: "speed of all others with it ÷ without it",
        bars: all
            .iter()
            .map(|one| Bar {
                label: one.case.label(),
                is_peer: !one.case.is_ours,
                samples: one.kept.clone(),
            })
            .collect(),
        target: Some(0.95),
    };
    let facts = all.iter().map(|one| {
        json!({"label": one.case.label(), "gigabytesPerSecond": one.speed, "slowestOverMean": one.slowest,
            "pingRatio": one.pings})
    });
    plot.keep("fairness", output, &facts.collect::<Value>());
    output.block("fairness", format!("{text}\n{verdicts}"));
    Ok(())
}

/// Two phases that follow each other are one without and one with it, in either order.
fn pairs<'a>(case: &'a Case, phases: &[Value]) -> Measured<'a> {
    let number = |phase: &Value, key: &str| phase.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let mut measured = Measured {
        case,
        speed: Vec::new(),
        kept: Vec::new(),
        slowest: Vec::new(),
        pings: Vec::new(),
    };
    for pair in phases.chunks_exact(2) {
        let is_stalled = |phase: &&Value| phase.get("stalled") == Some(&Value::Bool(true));
        let (Some(with), Some(without)) = (
            pair.iter().find(is_stalled),
            pair.iter().find(|one| !is_stalled(one)),
        ) else {
            continue;
        };
        let ratio = |key: &str| number(with, key) / number(without, key);
        measured.speed.push(number(without, "gigabytesPerSecond"));
        measured.kept.push(ratio("gigabytesPerSecond"));
        measured.slowest.push(number(with, "slowestOverMean"));
        measured.pings.push(ratio("p50"));
    }
    measured
}
