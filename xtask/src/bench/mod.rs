//! `cargo xtask bench`: measures against the budgets, each beside a peer or a raw limit in the same run. It asserts
//! nothing: machines are shared and noisy, and only the ratios travel.

mod boot;
mod lifecycle;
mod logs;
mod output;
mod page;
mod plot;
mod relay;
mod runtime;
mod trust;
mod verdict;

use std::fs;
use std::path::Path;
use std::process::Child;

use ::tests::{Backend, Product};
use anyhow::{Result, bail};

use self::output::Output;
use self::relay::Effort;
use crate::system::root;
use crate::{build, image};

/// Blocks of `docs/performance.md`, those of `logs` last.
const BLOCKS: [&str; 8] = [
    "memory",
    "bulk-in",
    "bulk-out",
    "relay-cpu",
    "connections",
    "latency",
    "fairness",
    "logs",
];

/// One row of the table.
struct Row {
    what: &'static str,
    ours: String,
    peer: String,
    ratio: String,
    budget: &'static str,
}

/// Rows that are measured together, and have a section of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Runtime,
    Trust,
    Boot,
    Logs,
    Lifecycle,
    Relay,
}

impl Group {
    const ALL: [Self; 6] = [
        Self::Relay,
        Self::Logs,
        Self::Runtime,
        Self::Lifecycle,
        Self::Boot,
        Self::Trust,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Trust => "trust",
            Self::Boot => "boot",
            Self::Logs => "logs",
            Self::Lifecycle => "lifecycle",
            Self::Relay => "relay",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Runtime => "Size, containers, ingress",
            Self::Trust => "Trust",
            Self::Boot => "Boot of an emulated enclave",
            Self::Logs => "Logs",
            Self::Lifecycle => "Many containers, many restarts",
            Self::Relay => "Relay",
        }
    }
}

/// Runs every benchmark, or those of the groups that are named, and prints the tables; `--write` keeps them in the
/// documentation, `--short` measures `relay` and `logs` just long enough to see that they work.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    let (mut groups, mut write, mut short) = (Vec::new(), false, false);
    for argument in arguments {
        match Group::ALL.into_iter().find(|group| group.name() == argument) {
            Some(group) => groups.push(group),
            None if argument == "--write" => write = true,
            None if argument == "--short" => short = true,
            None => bail!(
                "bench takes `relay`, `logs`, `runtime`, `lifecycle`, `trust`, `boot`, `--short` and `--write`, not {argument:?}"
            ),
        }
    }
    if write && short {
        bail!("--short measures too little to be kept: leave out --write or --short");
    }
    if write {
        output::check(&BLOCKS)?;
    }
    if groups.is_empty() {
        groups.extend(Group::ALL);
    }
    let built = build::product()?;
    let guests = root().join("target/images/guest");
    let source = root().join("tests/guests/guest.rs");
    image::from_program(&guests, "guest:latest", &source)?;
    let scratch = tempfile::tempdir()?;
    let program = scratch.path().join("guest");
    build::program(&source, &program)?;
    let product = Product {
        init: built.init,
        proxy: built.proxy,
        guests,
        backend: Backend::Local,
        environment: Vec::new(),
    };
    let effort = if short { Effort::SHORT } else { Effort::FULL };
    for group in groups {
        let mut output = Output::default();
        let rows = match group {
            Group::Runtime => runtime::rows(&product, &program)?,
            Group::Trust => trust::rows(&product, &built.broker, &program)?,
            Group::Boot => boot::rows(&product, scratch.path())?,
            Group::Lifecycle => lifecycle::rows(&product, &program)?,
            Group::Logs => {
                logs::measure(&product, effort, &mut output)?;
                output.write(write)?;
                continue;
            }
            Group::Relay => {
                relay::measure(&product, &program, effort, &mut output)?;
                output.write(write)?;
                continue;
            }
        };
        let table = page::table(&rows);
        println!("{}\n\n{table}", group.title());
        if write {
            keep(group, &table)?;
        }
    }
    Ok(())
}

/// Replaces the group's section of the page.
fn keep(group: Group, table: &str) -> Result<()> {
    let path: &Path = &root().join("docs/benchmarks.md");
    let page = fs::read_to_string(path).unwrap_or_default();
    fs::write(path, page::with_section(&page, group.title(), table))?;
    println!("written to {}", path.display());
    Ok(())
}

/// A process that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .port())
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The sample below which so many percent of all are: the nearest one.
fn percentile(samples: &[f64], percent: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len().saturating_sub(1) * percent + 50) / 100;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

fn mib(bytes: u64) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}

fn ms(milliseconds: f64) -> String {
    format!("{milliseconds:.1} ms")
}

fn ratio(ours: f64, peer: f64) -> String {
    format!("{:.2}", ours / peer)
}

/// A median with its spread: 10th and 90th percentile.
fn spread(samples: &[f64], show: impl Fn(f64) -> String) -> String {
    let [low, high] = [10, 90].map(|percent| show(percentile(samples, percent)));
    format!("{} ({low} – {high})", show(median(samples.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_and_two_percentiles() {
        let samples: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(
            spread(&samples, |value| format!("{value:.0} ms")),
            "50 ms (10 ms – 90 ms)"
        );
    }
}
