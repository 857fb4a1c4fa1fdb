//! Many containers, and many restarts: what they cost PID 1, which starts, probes, reaps and stops all of them, and
//! whether anything of an instance stays behind in it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ::tests::together::{all_run, restart_all, restarted_together};
use ::tests::{Product, Up, guest, pod, process, sum, wait_for};
use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::Signal;
use nix::sys::time::TimeValLike as _;
use serde_json::{Value, json};

use super::{Row, mib, ms, ratio, runtime};

/// Containers that are probed, a third of them in each way.
const PROBED: u16 = 100;
/// How long their probes are watched.
const WINDOW: Duration = Duration::from_secs(20);
/// Containers that have series of their own in `/metrics`.
const COUNTED: u64 = 64;
/// Port of the first of those that listen; the Pod has its own loopback.
const FIRST_PORT: u16 = 10_000;
/// Containers that are restarted together (RestartAllContainers), and how often: 1,000 restarts. The back-off of a Pod as
/// a whole is 0, 10, 20, 40 s, so this takes a minute and a half.
const RESTARTED: usize = 250;
const ROUNDS: u32 = 4;

/// Runs everything; `program` is the guest.
pub(super) fn rows(product: &Product, program: &Path) -> Result<Vec<Row>> {
    let mut rows = probed(product, program)?;
    rows.extend(restarted(product)?);
    Ok(rows)
}

/// What PID 1 has.
#[derive(Debug, Clone, Copy)]
struct Holdings {
    /// Bytes.
    resident: u64,
    descriptors: usize,
}

impl Holdings {
    fn of(pid: i32) -> Self {
        Self {
            resident: process::memory(pid, "VmRSS") * 1024,
            descriptors: process::descriptors(pid),
        }
    }
}

/// Every third is probed by a command, by HTTP, by a connection.
fn container(index: u16) -> Value {
    let (name, port) = (format!("c{index}"), FIRST_PORT + index);
    let listens = |word| guest(&name, &[word, &port.to_string()]);
    let (mut container, action) = match index % 3 {
        0 => (
            guest(&name, &["sleep"]),
            json!({"exec": {"command": ["/guest", "exit", "0"]}}),
        ),
        1 => (listens("http"), json!({"httpGet": {"path": "/", "port": port}})),
        _ => (listens("echo"), json!({"tcpSocket": {"port": port}})),
    };
    container["readinessProbe"] = action;
    container["readinessProbe"]["periodSeconds"] = json!(1);
    container
}

fn probed(product: &Product, program: &Path) -> Result<Vec<Row>> {
    let containers: Vec<Value> = (0..PROBED).map(container).collect();
    let spec = json!({"containers": containers, "terminationGracePeriodSeconds": 1});
    let began = Instant::now();
    let mut up = Up::start(product, &[pod(spec)], &[]);
    wait_for("all containers", || all_run(&up, 0));
    let started = began.elapsed();
    wait_for("all ready", || {
        let status = up.report()?.status;
        status
            .container_statuses
            .iter()
            .all(|one| one.ready)
            .then_some(())
    });
    let init = up.enclave_pid().context("the enclave runs")?;
    let net = up.guest_pid("net");
    let before = (cpu(init)?, cpu(net)?, up.metrics());
    std::thread::sleep(WINDOW);
    let after = (cpu(init)?, cpu(net)?, up.metrics());
    let holdings = Holdings::of(init);
    let probes = sum(&after.2, PROBES) - sum(&before.2, PROBES);
    // The counts are fetched every few seconds.
    if probes < COUNTED * WINDOW.as_secs() / 2 {
        bail!(
            "only {probes} probes of {COUNTED} containers in {WINDOW:?}: what was measured is something else"
        );
    }
    let stopping = Instant::now();
    up.signal(Signal::SIGTERM);
    let code = up.exit_code();
    let stopped = stopping.elapsed();
    if code != 0 {
        bail!("the Pod ended with {code}: {}", up.stderr());
    }
    let commands = u64::from(PROBED.div_ceil(3)) * WINDOW.as_secs();
    let bare = bare(program, commands)?;
    let crun = runtime::crun(program).map(|each| each * f64::from(PROBED));
    let share = |seconds: f64| format!("{:.2} % of a core", seconds / WINDOW.as_secs_f64() * 100.0);
    let alone = |what, ours, budget| Row {
        what,
        ours,
        peer: "–".to_owned(),
        ratio: "–".to_owned(),
        budget,
    };
    let (ours, ours_net) = (after.0 - before.0, after.1 - before.1);
    let started = started.as_secs_f64() * 1000.0;
    Ok(vec![
        Row {
            what: "100 containers, from `host-proxy up` to all of them running (peer: `crun run` of the same root, \
                   100 times)",
            ours: ms(started),
            peer: crun
                .as_ref()
                .map_or_else(|error| format!("not measured: {error}"), |peer| ms(*peer)),
            ratio: crun.map_or_else(|_| "–".to_owned(), |peer| ratio(started, peer)),
            budget: "–",
        },
        Row {
            what: "PID 1's CPU, 100 containers probed every second: 34 by a command, 33 by HTTP, 33 by a connection \
                   (peer: bare vfork, exec, wait of as many commands, their parent's CPU)",
            ours: share(ours),
            peer: share(bare),
            ratio: ratio(ours, bare),
            budget: "–",
        },
        alone(
            "`net`'s CPU meanwhile, which asks by HTTP and connection",
            share(ours_net),
            "–",
        ),
        alone(
            "PID 1 resident, 100 containers",
            mib(holdings.resident),
            "≤ 4 MiB",
        ),
        alone(
            "PID 1's descriptors, 100 containers, of which 2 are each one's output",
            holdings.descriptors.to_string(),
            "–",
        ),
        alone(
            "100 containers stopped, `host-proxy` ended; 66 ignore SIGTERM and have 1 s of grace",
            ms(stopped.as_secs_f64() * 1000.0),
            "–",
        ),
    ])
}

const PROBES: &str = "cloister_probes_total";

/// A Pod whose containers are all restarted when one of them is killed.
fn restarted(product: &Product) -> Result<Vec<Row>> {
    let up = Up::start(product, &[restarted_together(RESTARTED)], &[]);
    wait_for("all containers", || all_run(&up, 0));
    let init = up.enclave_pid().context("the enclave runs")?;
    let first = Holdings::of(init);
    for round in 1..=ROUNDS {
        restart_all(&up);
        wait_for("all containers again", || all_run(&up, round));
    }
    let last = Holdings::of(init);
    Ok(vec![
        Row {
            what: "PID 1 resident after 1,000 restarts, of each of 250 containers 4 (peer: itself before the first)",
            ours: mib(last.resident),
            peer: mib(first.resident),
            ratio: ratio(last.resident as f64, first.resident as f64),
            budget: "≤ 1.05",
        },
        Row {
            what: "PID 1's descriptors after them (peer: before)",
            ours: last.descriptors.to_string(),
            peer: first.descriptors.to_string(),
            ratio: ratio(last.descriptors as f64, first.descriptors as f64),
            budget: "≤ 1.00",
        },
    ])
}

/// CPU seconds of the first thread of a process, to the nanosecond; PID 1 and `net` have no other
/// (Documentation/scheduler/sched-stats.rst: time spent on the CPU).
fn cpu(pid: i32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let nanoseconds: u64 = text
        .split_whitespace()
        .next()
        .and_then(|first| first.parse().ok())
        .with_context(|| format!("schedstat of process {pid}"))?;
    Ok(nanoseconds as f64 / 1e9)
}

/// CPU seconds of this thread for starting and awaiting so many commands, as little as can be done for each.
fn bare(program: &Path, commands: u64) -> Result<f64> {
    let before = own_cpu()?;
    for _ in 0..commands {
        let status = Command::new(program)
            .args(["exit", "0"])
            .stdin(Stdio::null())
            .status()?;
        if !status.success() {
            bail!("{}: {status}", program.display());
        }
    }
    Ok(own_cpu()? - before)
}

fn own_cpu() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(microseconds as f64 / 1e6)
}
