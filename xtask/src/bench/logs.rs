//! B19: the way of a log line, from a container's standard output to a file on the host. What is measured is the CPU time of
//! PID 1 and of host-proxy; the container's own is not in it. Beside it, in the same run: `cat` of the same lines, which is
//! the least that anybody can do, and rsyslog's imfile, which does about the same work.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ::tests::{Product, Up, guest, pod};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::plot::{Bar, Plot};
use super::{Row, median, ratio, spread};
use crate::system::has;

/// Bytes of a line with its end: the mean of the logs that performance figures of others are about.
const LINE: usize = 118;
/// Bytes of log in a round.
const BYTES: u64 = 118 << 20;
const ROUNDS: usize = 5;
/// So fast are they written, all containers together: below what one CPU can carry, so that the figure is one of work and
/// not of losses.
const PER_SECOND: u64 = 60 << 20;
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
}

/// Runs everything.
pub(super) fn rows(product: &Product, in_docs: bool) -> Result<Vec<Row>> {
    let scratch = tempfile::tempdir()?;
    let lines = scratch.path().join("lines");
    fs::write(&lines, text())?;
    let new = |label, is_peer| Measured {
        label,
        is_peer,
        samples: Vec::new(),
        lost: 0,
        all: 0,
    };
    let mut all = [
        new("1 container, JSON lines", false),
        new("1 container, CRI", false),
        new("50 containers, JSON lines", false),
        new("1 container, sealed, JSON lines", false),
        new("cat", true),
        new("rsyslog, imfile to omfile", true),
    ];
    for round in 0..ROUNDS {
        for turn in 0..all.len() {
            // Another order each time: what the machine does meanwhile shall not always meet the same.
            let index = (turn + round) % all.len();
            let Some(one) = all.get_mut(index) else { continue };
            let (sample, lost) = match index {
                0 => ours(product, 1, "stdout,format=json", None)?,
                1 => ours(product, 1, "stdout,format=cri", None)?,
                2 => ours(product, 50, "stdout,format=json", None)?,
                3 => ours(product, 1, "stdout,format=json", Some(&key(scratch.path())?))?,
                4 => (cat(&lines, scratch.path())?, 0),
                _ if has("rsyslogd") => (rsyslog(&lines, scratch.path())?, 0),
                _ => continue,
            };
            one.samples.push(sample);
            one.lost += lost;
            one.all += BYTES / LINE as u64;
        }
    }
    let plot = Plot {
        title: "Logs, from a container to a file",
        unit: "MB per CPU second",
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
        .map(|one| json!({"label": one.label, "records": one.all, "lostAndCounted": one.lost}))
        .collect();
    plot.keep(
        "logs",
        in_docs,
        &json!({"lineBytes": LINE, "bytes": BYTES, "bytesPerSecond": PER_SECOND, "records": losses}),
    )?;
    let peer = all.last().filter(|peer| !peer.samples.is_empty());
    let peer_median = peer.map(|peer| median(peer.samples.clone()));
    let ours = all.iter().filter(|one| !one.is_peer);
    let show = |value: f64| format!("{value:.0} MB per CPU s");
    let row = |one: &Measured| Row {
        what: match one.label {
            "1 container, CRI" => "log lines of 1 container to a file, CRI (peer: rsyslog, imfile to omfile)",
            "50 containers, JSON lines" => "log lines of 50 containers, JSON",
            "1 container, sealed, JSON lines" => "log lines of 1 container, sealed",
            _ => "log lines of 1 container, JSON",
        },
        ours: format!(
            "{}; {} of {} records lost, all counted",
            spread(&one.samples, show),
            one.lost,
            one.all
        ),
        peer: peer_median.map_or_else(|| "–".to_owned(), show),
        ratio: peer_median.map_or_else(|| "–".to_owned(), |peer| ratio(median(one.samples.clone()), peer)),
        budget: "≥ 300 MB per CPU s",
    };
    Ok(ours.map(row).collect())
}

fn text() -> Vec<u8> {
    let mut text = Vec::new();
    for number in 0..BYTES / LINE as u64 {
        let _ = writeln!(text, "{number:010} {}", "x".repeat(LINE - 12));
    }
    text
}

/// One round of ours, and the records that were lost.
fn ours(product: &Product, containers: u64, sink: &str, seal_to: Option<&str>) -> Result<(f64, u64)> {
    let words = [
        BYTES / LINE as u64 / containers,
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
    let up = Up::start(product, &objects, &["--log-sink", sink]);
    let expected = BYTES / LINE as u64 / containers * containers;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metrics = metrics(&up).unwrap_or_default();
        let taken = sum(&metrics, "cloister_init_log_records_total");
        let waiting = sum(&metrics, "cloister_log_sink_lag_records");
        let ring = sum(&metrics, "cloister_init_log_ring_bytes");
        // The ring keeps what was read; that nothing is on its way shows in two looks that are the same.
        if taken == expected && waiting == 0 && ring > 0 && settled(&up, &metrics) {
            let lost = sum(&metrics, "cloister_init_log_dropped_records_total")
                + sum(&metrics, "cloister_log_sink_dropped_records_total");
            let seconds = cpu(up.proxy_pid())? + cpu(up.enclave_pid().context("the enclave runs")?)?;
            let delivered = (expected - lost.min(expected)) * LINE as u64;
            return Ok((delivered as f64 / 1e6 / seconds, lost));
        }
        if Instant::now() > deadline {
            bail!("the lines did not arrive: {taken} of {expected} were taken, {waiting} wait");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn settled(up: &Up, before: &str) -> bool {
    std::thread::sleep(Duration::from_millis(300));
    let now = metrics(up).unwrap_or_default();
    sum(&now, "cloister_log_records_total") == sum(before, "cloister_log_records_total")
}

fn metrics(up: &Up) -> Result<String> {
    let mut stream = UnixStream::connect(up.state().join("proxy.sock"))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn sum(metrics: &str, series: &str) -> u64 {
    let values = metrics.lines().filter(|line| line.starts_with(series));
    values
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum()
}

/// CPU seconds of a process (proc_pid_stat(5)): user and system time in clock ticks of a hundredth.
fn cpu(pid: i32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').context("a process's state")?.1;
    let number = |index: usize| -> Option<f64> { fields.split_whitespace().nth(index)?.parse().ok() };
    Ok((number(11).context("user time")? + number(12).context("system time")?) / 100.0)
}

/// Two of them, since a container's pipe is between.
fn cat(lines: &Path, scratch: &Path) -> Result<f64> {
    let output = Command::new("sh")
        .args(["-c", "cat \"$0\" | cat > \"$1\"; times"])
        .args([lines, &scratch.join("cat.out")])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // The second line of `times` is about the children.
    let times = text.lines().last().context("the times of the shell's children")?;
    let seconds: f64 = times.split_whitespace().filter_map(seconds).sum();
    Ok(BYTES as f64 / 1e6 / seconds.max(0.01))
}

/// `0m1.230s`
fn seconds(text: &str) -> Option<f64> {
    let (minutes, rest) = text.split_once('m')?;
    Some(minutes.parse::<f64>().ok()? * 60.0 + rest.trim_end_matches('s').parse::<f64>().ok()?)
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn rsyslog(lines: &Path, scratch: &Path) -> Result<f64> {
    let directory = tempfile::tempdir_in(scratch)?;
    let out = directory.path().join("out");
    let configuration = directory.path().join("rsyslog.conf");
    fs::write(
        &configuration,
        format!(
            "global(workDirectory=\"{0}\")\nmodule(load=\"imfile\")\n\
             input(type=\"imfile\" file=\"{1}\" tag=\"bench\" freshStartTail=\"off\")\n\
             action(type=\"omfile\" file=\"{2}\" ioBufferSize=\"64k\" asyncWriting=\"off\")\n",
            directory.path().display(),
            lines.display(),
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
        if now > BYTES && now == before {
            return Ok(BYTES as f64 / 1e6 / cpu(pid)?);
        }
        if Instant::now() > deadline {
            bail!("rsyslog has written {now} bytes of more than {BYTES}");
        }
    }
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
