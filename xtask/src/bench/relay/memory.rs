//! B9: what a connection costs that says nothing, in the relays and in the kernel.

use std::fs;
use std::time::{Duration, Instant};

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
/// How long relays may take to close them.
const PATIENCE: Duration = Duration::from_secs(10);
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
        settle(case, before.descriptors);
        let each = |before: f64, after: f64, count: usize| (after - before) / count as f64;
        self.relays.push(each(before.user, after.user, count));
        self.kernel.push(each(before.kernel, after.kernel, count));
        self.descriptors
            .push(each(before.descriptors, after.descriptors, count));
        // A quick run says nothing of many; bare splice would need 24,000 descriptors and 8,000 threads.
        if case.hops > 0 && !has_processes && case.name != "bare splice" && effort.idle == Effort::FULL.idle {
            match setup.idle(MANY, case.port) {
                Ok(running) => {
                    let many = State::of(case)?;
                    drop(running);
                    settle(case, before.descriptors);
                    self.many.push(each(before.user, many.user, MANY));
                }
                // Limits of the machine, not of the relay.
                Err(error) => eprintln!("xtask: {}: {error:#}: left out", case.label()),
            }
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

/// Waits until the relays have closed what they had, some more or less.
fn settle(case: &Case, descriptors: f64) {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end && State::of(case).is_ok_and(|now| now.descriptors > descriptors + 10.0) {
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// All processes of a case's relays.
fn pids(case: &Case) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    for process in &case.processes {
        pids.push(process.trim_start_matches('+').parse()?);
        if process.starts_with('+') {
            pids.extend(Up::children_of(pids.last().copied().unwrap_or_default()));
        }
    }
    Ok(pids)
}

impl State {
    fn of(case: &Case) -> Result<Self> {
        let (mut user, mut descriptors) = (0.0, 0.0);
        for pid in pids(case)? {
            // Pss: pages that forks share count once. One of many may have ended meanwhile.
            let Ok(rollup) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
                continue;
            };
            user += kib(&rollup, "Pss:");
            descriptors += fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count) as f64;
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
