//! `cargo xtask bench`: measures against the budgets, each beside a peer or a raw limit in the same run. It asserts
//! nothing: machines are shared and noisy, and only the ratios travel.

mod boot;
mod lifecycle;
mod logs;
mod page;
mod plot;
mod runtime;
mod trust;

use std::fs;
use std::path::Path;

use ::tests::{Backend, Product};
use anyhow::{Result, bail};

use crate::system::root;
use crate::{build, image};

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
}

impl Group {
    const ALL: [Self; 5] = [
        Self::Runtime,
        Self::Lifecycle,
        Self::Logs,
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
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Runtime => "Size, containers, ingress",
            Self::Trust => "Trust",
            Self::Boot => "Boot of an emulated enclave",
            Self::Logs => "Logs",
            Self::Lifecycle => "Many containers, many restarts",
        }
    }
}

/// Runs every benchmark, or those of the groups that are named, and prints the tables; `--write` keeps them in the
/// documentation.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    let (mut groups, mut write) = (Vec::new(), false);
    for argument in arguments {
        match Group::ALL.into_iter().find(|group| group.name() == argument) {
            Some(group) => groups.push(group),
            None if argument == "--write" => write = true,
            None => bail!(
                "bench takes `runtime`, `lifecycle`, `logs`, `trust`, `boot` and `--write`, not {argument:?}"
            ),
        }
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
    for group in groups {
        let rows = match group {
            Group::Runtime => runtime::rows(&product, &program)?,
            Group::Trust => trust::rows(&product, &built.broker, &program)?,
            Group::Boot => boot::rows(&product, scratch.path())?,
            Group::Logs => logs::rows(&product, write)?,
            Group::Lifecycle => lifecycle::rows(&product, &program)?,
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

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
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
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        let index = sorted.len().saturating_sub(1) * percent / 100;
        show(sorted.get(index).copied().unwrap_or(f64::NAN))
    };
    format!("{} ({} – {})", show(median(sorted.clone())), at(10), at(90))
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
