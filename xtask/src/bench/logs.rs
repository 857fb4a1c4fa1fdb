//! B19: the way of a log line, from a container's standard output to a file on the host. What is measured is the CPU time of
//! PID 1 and of host-proxy; the container's own is not in it. Beside it, in the same run: `cat` of the same lines, which is
//! the least that anybody can do, and rsyslog's imfile, which does about the same work.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ::tests::{Product, Up, guest, pod, sum, values};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::output::Output;
use super::plot::{Bar, Plot, number};
use super::relay::Effort;
use super::verdict::{Limit, verdict};
use super::{Running, spread};
use crate::system::has;

/// Bytes of a line with its end: the mean of the logs that performance figures of others are about.
const LINE: usize = 118;
/// Bytes of log in a round; an eighth of it when it shall be short.
const BYTES: u64 = 118 << 21;
const ROUNDS: usize = 5;
/// So fast are they written, all containers together: below what one CPU can carry, so that the figure is one of work and
/// not of losses.
const PER_SECOND: u64 = 60 << 20;
/// What host-proxy has received, as it counts: of sealed containers in base64.
const RECEIVED: &str = "cloister_log_bytes_total";
/// How long a round may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// MB (10^6 bytes) per CPU second, one a round.
struct Measured {
    label: &'static str,
    is_peer: bool,
    samples: Vec<f64>,
    lost: u64,
    /// Records in all rounds.
    all: u64,
    /// CPU seconds of PID 1 and of host-proxy, in all rounds together.
    init: f64,
    proxy: f64,
}

/// What came of a round.
#[derive(Default)]
struct Sample {
    /// MB (10^6 bytes) per CPU second.
    speed: f64,
    /// Records.
    lost: u64,
    /// CPU seconds of PID 1.
    init: f64,
    /// CPU seconds of host-proxy.
    proxy: f64,
}

impl Sample {
    fn of_peer(speed: f64) -> Self {
        Self {
            speed,
            ..Self::default()
        }
    }
}

/// How it is measured.
struct Round<'a> {
    product: &'a Product,
    bytes: u64,
    /// The same bytes in a file.
    lines: &'a Path,
    scratch: &'a Path,
}

/// Runs everything.
pub(super) fn measure(product: &Product, effort: Effort, output: &mut Output) -> Result<()> {
    let is_full = effort.rounds == Effort::FULL.rounds;
    let (bytes, rounds) = if is_full { (BYTES, ROUNDS) } else { (BYTES / 8, 1) };
    let scratch = tempfile::tempdir()?;
    let lines = scratch.path().join("lines");
    fs::write(&lines, text(bytes))?;
    let round = Round {
        product,
        bytes,
        lines: &lines,
        scratch: scratch.path(),
    };
    let new = |label, is_peer| Measured {
        label,
        is_peer,
        samples: Vec::new(),
        lost: 0,
        all: 0,
        init: 0.0,
        proxy: 0.0,
    };
    let mut all = [
        new("1 container, JSON lines", false),
        new("1 container, CRI", false),
        new("50 containers, JSON lines", false),
        new("1 container, sealed, JSON lines", false),
        new("cat", true),
        new("rsyslog, imfile to omfile", true),
    ];
    for number in 0..rounds {
        for turn in 0..all.len() {
            // Another order each time: what the machine does meanwhile shall not always meet the same.
            let index = (turn + number) % all.len();
            let Some(one) = all.get_mut(index) else { continue };
            let sample = match index {
                0 => round.ours(1, "stdout,format=json", None)?,
                1 => round.ours(1, "stdout,format=cri", None)?,
                2 => round.ours(50, "stdout,format=json", None)?,
                3 => round.ours(1, "stdout,format=json", Some(&key(scratch.path())?))?,
                4 => Sample::of_peer(round.cat()?),
                _ if has("rsyslogd") => Sample::of_peer(round.rsyslog()?),
                _ => continue,
            };
            one.samples.push(sample.speed);
            one.lost += sample.lost;
            one.init += sample.init;
            one.proxy += sample.proxy;
            one.all += bytes / LINE as u64;
        }
    }
    let plot = Plot {
        title: "Logs, from a container to a file",
        unit: "MB (10⁶ bytes) for each CPU second of all that is between",
        bars: all
            .iter()
            .map(|one| Bar {
                label: one.label.to_owned(),
                is_peer: one.is_peer,
                samples: one.samples.clone(),
            })
            .collect(),
        target: Some(300.0),
    };
    let losses: Vec<Value> = all
        .iter()
        .map(|one| {
            json!({"label": one.label, "records": one.all, "lostAndCounted": one.lost,
            "cpuSecondsOfInit": one.init, "cpuSecondsOfHostProxy": one.proxy})
        })
        .collect();
    plot.keep(
        "logs",
        output,
        &json!({"lineBytes": LINE, "bytes": bytes, "bytesPerSecond": PER_SECOND, "records": losses}),
    );
    output.block("logs", told(&all));
    Ok(())
}

/// The table, and what came of the target.
fn told(all: &[Measured]) -> String {
    let [.., cat, rsyslog] = all else {
        return String::new();
    };
    let (mut table, mut verdicts) = (
        "| | MB for each CPU second | ÷ rsyslog | ÷ cat | of it PID 1 | records lost, all counted |\n|---|---:|---:|---:|---:|---:|\n".to_owned(),
        String::new(),
    );
    for one in all {
        let beside = |peer: &Measured| -> String {
            let ratios: Vec<f64> = one
                .samples
                .iter()
                .zip(&peer.samples)
                .map(|(one, peer)| one / peer)
                .collect();
            if one.is_peer || ratios.is_empty() {
                return "–".to_owned();
            }
            spread(&ratios, number)
        };
        let (init, lost) = if one.is_peer {
            ("–".to_owned(), "–".to_owned())
        } else {
            (
                format!("{:.0} %", 100.0 * one.init / (one.init + one.proxy)),
                format!("{} of {}", one.lost, one.all),
            )
        };
        let _ = writeln!(
            table,
            "| {} | {} | {} | {} | {init} | {lost} |",
            one.label,
            spread(&one.samples, number),
            beside(rsyslog),
            beside(cat)
        );
        if !one.is_peer {
            let what = format!("{}, MB for each CPU second", one.label);
            verdicts += &verdict(&what, &Limit::AtLeast(300.0), &one.samples);
        }
    }
    format!("{table}\n{verdicts}")
}

fn text(bytes: u64) -> Vec<u8> {
    let mut text = Vec::new();
    for number in 0..bytes / LINE as u64 {
        let _ = writeln!(text, "{number:010} {}", "x".repeat(LINE - 12));
    }
    text
}

impl Round<'_> {
    /// One round of ours.
    fn ours(&self, containers: u64, sink: &str, seal_to: Option<&str>) -> Result<Sample> {
        let words = [
            self.bytes / LINE as u64 / containers,
            LINE as u64,
            PER_SECOND / containers,
        ];
        let words = words.map(|number| number.to_string());
        let list: Vec<Value> = (0..containers)
            .map(|index| guest(&format!("c{index}"), &["lines", &words[0], &words[1], &words[2]]))
            .collect();
        let mut objects = vec![pod(
            json!({"containers": list, "terminationGracePeriodSeconds": 0}),
        )];
        if let Some(key) = seal_to {
            objects.push(
                json!({"apiVersion": "cloister.dev/v1", "kind": "EnclavePolicy", "metadata": {"name": "logs"},
                "spec": {"logs": {"default": "Sealed", "sealTo": key}}}),
            );
        }
        let up = Up::start(self.product, &objects, &["--log-sink", sink]);
        let expected = self.bytes / LINE as u64 / containers * containers;
        let deadline = Instant::now() + PATIENCE;
        let cpu_now = || -> Result<(f64, f64)> {
            let init = up.enclave_pid().context("the enclave runs")?;
            Ok((cpu(init)?, cpu(up.proxy_pid())?))
        };
        // From when all containers write: what it costs to start them is measured elsewhere.
        let mut start = None;
        loop {
            let metrics = up.metrics();
            let taken = sum(&metrics, "cloister_init_log_records_total");
            let received = sum(&metrics, RECEIVED);
            if start.is_none() && values(&metrics, RECEIVED).count() as u64 == containers {
                start = Some((received, cpu_now()?));
            }
            let waiting = sum(&metrics, "cloister_log_sink_lag_records");
            let ring = sum(&metrics, "cloister_init_log_ring_bytes");
            // The ring keeps what was read; that nothing is on its way shows in two looks that are the same.
            // A line that its writer cut is two records.
            if taken >= expected && waiting == 0 && ring > 0 && settled(&up, &metrics) {
                let lost = sum(&metrics, "cloister_init_log_dropped_records_total")
                    + sum(&metrics, "cloister_log_sink_dropped_records_total");
                let (first, before) = start.context("somebody writes")?;
                let now = cpu_now()?;
                let (init, proxy) = (now.0 - before.0, now.1 - before.1);
                let kept = 1.0 - lost.min(taken) as f64 / taken as f64;
                let since = 1.0 - first as f64 / received as f64;
                return Ok(Sample {
                    speed: kept * since * self.bytes as f64 / 1e6 / (init + proxy),
                    lost,
                    init,
                    proxy,
                });
            }
            if Instant::now() > deadline {
                bail!("the lines did not arrive: {taken} of {expected} were taken, {waiting} wait");
            }
            std::thread::sleep(Duration::from_millis(if start.is_none() { 20 } else { 200 }));
        }
    }

    /// Two of them, since a container's pipe is between.
    fn cat(&self) -> Result<f64> {
        let output = Command::new("sh")
            .args(["-c", "cat \"$0\" | cat > \"$1\"; times"])
            .args([self.lines, &self.scratch.join("cat.out")])
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        // The second line of `times` is about the children.
        let times = text.lines().last().context("the times of the shell's children")?;
        let seconds: f64 = times.split_whitespace().filter_map(seconds).sum();
        Ok(self.bytes as f64 / 1e6 / seconds.max(0.01))
    }

    fn rsyslog(&self) -> Result<f64> {
        let directory = tempfile::tempdir_in(self.scratch)?;
        let out = directory.path().join("out");
        let configuration = directory.path().join("rsyslog.conf");
        fs::write(
            &configuration,
            format!(
                "global(workDirectory=\"{0}\")\nmodule(load=\"imfile\")\n\
                 input(type=\"imfile\" file=\"{1}\" tag=\"bench\" freshStartTail=\"off\")\n\
                 action(type=\"omfile\" file=\"{2}\" ioBufferSize=\"64k\" asyncWriting=\"off\")\n",
                directory.path().display(),
                self.lines.display(),
                out.display()
            ),
        )?;
        let child = Command::new("rsyslogd")
            .args(["-n", "-iNONE", "-f"])
            .arg(&configuration)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let running = Running(child);
        let pid = i32::try_from(running.0.id())?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Each line gets a time and a tag in front.
            let before = fs::metadata(&out).map_or(0, |metadata| metadata.len());
            std::thread::sleep(Duration::from_millis(500));
            let now = fs::metadata(&out).map_or(0, |metadata| metadata.len());
            if now > self.bytes && now == before {
                return Ok(self.bytes as f64 / 1e6 / cpu(pid)?);
            }
            if Instant::now() > deadline {
                bail!("rsyslog has written {now} bytes of more than {}", self.bytes);
            }
        }
    }
}

fn settled(up: &Up, before: &str) -> bool {
    std::thread::sleep(Duration::from_millis(300));
    let now = up.metrics();
    sum(&now, "cloister_log_records_total") == sum(before, "cloister_log_records_total")
}

/// CPU seconds of a process (proc_pid_stat(5)): user and system time in clock ticks of a hundredth.
fn cpu(pid: i32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').context("a process's state")?.1;
    let number = |index: usize| -> Option<f64> { fields.split_whitespace().nth(index)?.parse().ok() };
    Ok((number(11).context("user time")? + number(12).context("system time")?) / 100.0)
}

/// `0m1.230s`
fn seconds(text: &str) -> Option<f64> {
    let (minutes, rest) = text.split_once('m')?;
    Some(minutes.parse::<f64>().ok()? * 60.0 + rest.trim_end_matches('s').parse::<f64>().ok()?)
}

/// The public half of a key that nobody keeps.
fn key(scratch: &Path) -> Result<String> {
    let path = scratch.join("logs.key");
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "X25519", "-out"])
        .arg(&path)
        .output()?;
    let public = Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(&path)
        .output()?;
    if !made.status.success() || !public.status.success() {
        bail!("openssl makes no X25519 key");
    }
    Ok(String::from_utf8(public.stdout)?)
}
