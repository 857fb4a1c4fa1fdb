//! B9: what a connection costs that says nothing, in the relays and in the kernel.

use std::fs;

use ::tests::Up;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::super::output::Output;
use super::super::plot::{Bar, Plot, number};
use super::super::spread;
use super::super::verdict::{Limit, verdict};
use super::Effort;
use super::setup::{Case, Programs, Setup};

/// Processes take the whole machine: so many less of them.
const OF_PROCESSES: usize = 5;
/// The most that `net` relays at once.
const MANY: usize = 4000;
/// A fresh start each: memory that was used once is not given back.
const ROUNDS: usize = 3;

/// One way to a server, and what it took for each idle connection.
struct Measured {
    label: String,
    hops: usize,
    is_ours: bool,
    /// KiB in the relays' processes.
    relays: Vec<f64>,
    /// The same, of [`MANY`] connections.
    many: Vec<f64>,
    /// KiB in the kernel, of everything on the path: sockets of client and server, too.
    kernel: Vec<f64>,
    /// Descriptors in the relays' processes.
    descriptors: Vec<f64>,
}

pub(super) fn measure(programs: &Programs<'_>, effort: Effort, output: &mut Output) -> Result<()> {
    let mut all: Vec<Measured> = Vec::new();
    for _ in 0..ROUNDS.min(effort.rounds) {
        let setup = Setup::start(programs)?;
        for (index, case) in setup.cases.iter().enumerate() {
            if all.len() <= index {
                all.push(Measured::new(case));
            }
            if let Some(one) = all.get_mut(index) {
                one.add(&setup, case, effort).with_context(|| case.label())?;
            }
        }
    }
    let unit = "KiB for each idle connection";
    let mut text = format!(
        "| between clients and server | {unit}, {} connections | {MANY} connections | descriptors | kernel, KiB, client and server \
         too |\n|---|---:|---:|---:|---:|\n",
        effort.idle
    );
    let mut verdicts = String::new();
    for one in &all {
        let show = |samples: &[f64]| match samples {
            [] => "–".to_owned(),
            samples => spread(samples, number),
        };
        let cells = [&one.relays, &one.many, &one.descriptors, &one.kernel].map(|samples| show(samples));
        text += &format!("| {} | {} |\n", one.label, cells.join(" | "));
        if one.is_ours && one.hops == 2 {
            let what = "the whole path, both relays, KiB for each idle connection";
            verdicts += &verdict(what, &Limit::AtMost(8.0), &one.relays);
            verdicts += &verdict(
                "the same, descriptors for each relay",
                &Limit::AtMost(2.2),
                &one.descriptors
                    .iter()
                    .map(|count| count / 2.0)
                    .collect::<Vec<_>>(),
            );
        }
    }
    let plot = Plot {
        title: "Memory of the relays for an idle connection",
        unit: "KiB for each connection, all relays of the path together",
        bars: all
            .iter()
            .filter(|one| one.hops > 0)
            .map(|one| Bar {
                label: one.label.clone(),
                is_peer: !one.is_ours,
                samples: one.relays.clone(),
            })
            .collect(),
        target: Some(8.0),
    };
    let facts = all.iter().map(|one| {
        json!({"label": one.label, "manyKib": one.many, "kernelKib": one.kernel, "descriptors": one.descriptors})
    });
    plot.keep("memory", output, &facts.collect::<Value>());
    output.block("memory", format!("{text}\n{verdicts}"));
    Ok(())
}

impl Measured {
    fn new(case: &Case) -> Self {
        Self {
            label: case.label(),
            hops: case.hops,
            is_ours: case.is_ours,
            relays: Vec::new(),
            many: Vec::new(),
            kernel: Vec::new(),
            descriptors: Vec::new(),
        }
    }

    fn add(&mut self, setup: &Setup, case: &Case, effort: Effort) -> Result<()> {
        let has_processes = case.name == "socat";
        let count = if has_processes {
            effort.idle / OF_PROCESSES
        } else {
            effort.idle
        };
        let before = State::of(case)?;
        let running = setup.idle(count, case.port)?;
        let after = State::of(case)?;
        drop(running);
        let each = |before: f64, after: f64, count: usize| (after - before) / count as f64;
        self.relays.push(each(before.user, after.user, count));
        self.kernel.push(each(before.kernel, after.kernel, count));
        self.descriptors
            .push(each(before.descriptors, after.descriptors, count));
        // A quick run says nothing of many.
        if case.hops > 0 && !has_processes && effort.idle == Effort::FULL.idle {
            let running = setup.idle(MANY, case.port)?;
            let many = State::of(case)?;
            drop(running);
            self.many.push(each(before.user, many.user, MANY));
        }
        Ok(())
    }
}

/// What there is at one moment; memory in KiB.
struct State {
    user: f64,
    kernel: f64,
    descriptors: f64,
}

impl State {
    fn of(case: &Case) -> Result<Self> {
        let mut pids = Vec::new();
        for process in &case.processes {
            pids.push(process.trim_start_matches('+').parse()?);
            if process.starts_with('+') {
                pids.extend(Up::children_of(pids.last().copied().unwrap_or_default()));
            }
        }
        let (mut user, mut descriptors) = (0.0, 0.0);
        for pid in pids {
            // Pss: pages that forks share count once.
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            user += kib(&rollup, "Pss:");
            descriptors += fs::read_dir(format!("/proc/{pid}/fd"))?.count() as f64;
        }
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        let kernel = ["Slab:", "KernelStack:", "PageTables:"];
        Ok(Self {
            user,
            kernel: kernel.iter().map(|name| kib(&meminfo, name)).sum(),
            descriptors,
        })
    }
}

/// `Name:   12 kB`
fn kib(text: &str, name: &str) -> f64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let value = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    value.unwrap_or(f64::NAN)
}
