//! What runs without an emulated machine: sizes, how long containers take to start and to come back, ingress.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ::tests::{Product, Up, guest, pod, wait_for};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{Row, Running, free_port, median, mib, ms, ratio};
use crate::system::need;

/// Starts, each with one restart, for the latencies.
const SAMPLES: usize = 10;
/// Bytes sent, and received again, for throughput.
const BULK: usize = 128 << 20;
/// Connections for the connection rate.
const CONNECTIONS: u32 = 500;
const PORT: u16 = 7;

/// Runs everything; `program` is the guest.
pub(super) fn rows(product: &Product, program: &Path) -> Result<Vec<Row>> {
    let mut rows = vec![
        size(&product.init)?,
        resident(product, 1)?,
        resident(product, 10)?,
    ];
    rows.extend(latencies(product, program)?);
    rows.extend(ingress(product, program)?);
    Ok(rows)
}

fn size(init: &Path) -> Result<Row> {
    Ok(Row {
        what: "`cloister-init`, static binary",
        ours: mib(fs::metadata(init)?.len()),
        peer: "–".to_owned(),
        ratio: "–".to_owned(),
        budget: "≤ 4 MiB",
    })
}

fn resident(product: &Product, containers: usize) -> Result<Row> {
    let list: Vec<Value> = (0..containers)
        .map(|index| guest(&format!("c{index}"), &["sleep"]))
        .collect();
    let up = Up::start(
        product,
        &[pod(
            json!({"containers": list, "terminationGracePeriodSeconds": 0}),
        )],
        &[],
    );
    for index in 0..containers {
        up.wait_running(&format!("c{index}"));
    }
    let pid = up.enclave_pid().context("the enclave runs")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    let kib: u64 = kib.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(Row {
        what: if containers == 1 {
            "PID 1 resident, 1 container"
        } else {
            "PID 1 resident, 10 containers"
        },
        ours: mib(kib * 1024),
        peer: "–".to_owned(),
        ratio: "–".to_owned(),
        budget: "≤ 4 MiB",
    })
}

/// Spawn to exec, and exit to the replacement's `main`: one container at a time, as a Pod that runs has it.
fn latencies(product: &Product, program: &Path) -> Result<Vec<Row>> {
    let (mut spawned, mut replaced) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let spec = json!({"containers": [guest("app", &["stamp"])], "terminationGracePeriodSeconds": 0});
        let up = Up::start(product, &[pod(spec)], &[]);
        up.wait_waiting("app", "CrashLoopBackOff");
        wait_for("both stamps", || {
            (up.stdout().matches("| end ").count() >= 2).then_some(())
        });
        replaced.extend(replacement(&up.stdout(), "app"));
        let console = fs::read_to_string(up.state().join("console.log"))?;
        let times = console.lines().filter_map(|line| {
            line.split("app: executing ")
                .nth(1)?
                .split(' ')
                .next()?
                .parse()
                .ok()
        });
        spawned.extend(times.collect::<Vec<f64>>());
    }
    let (ours_spawn, ours_replace) = (median(spawned), median(replaced));
    let bare = median(
        (0..SAMPLES)
            .map(|_| timed(Command::new(program).args(["exit", "0"])))
            .collect::<Result<_>>()?,
    );
    let crun = crun(program);
    Ok(vec![
        Row {
            what: "container start, spawn to exec (peer: `crun run` of the same root, whole)",
            ours: ms(ours_spawn),
            peer: crun
                .as_ref()
                .map_or_else(|error| format!("not measured: {error}"), |peer| ms(*peer)),
            ratio: crun.map_or_else(|_| "–".to_owned(), |peer| ratio(ours_spawn, peer)),
            budget: "≤ crun",
        },
        Row {
            what: "exit to the replacement's `main` (peer: bare vfork, exec, exit, wait)",
            ours: ms(ours_replace),
            peer: ms(bare),
            ratio: ratio(ours_replace, bare),
            budget: "≤ 5 ms median",
        },
    ])
}

/// From the end of a container's first instance to the start of its second, in milliseconds.
fn replacement(log: &str, name: &str) -> Option<f64> {
    let stamps = |word: &str| -> Vec<f64> {
        log.lines()
            .filter(|line| line.split('|').next().is_some_and(|prefix| prefix.trim() == name))
            .filter_map(|line| line.split(word).nth(1)?.trim().parse().ok())
            .collect()
    };
    let (starts, ends) = (stamps("| start "), stamps("| end "));
    Some((starts.get(1)? - ends.first()?) / 1000.0)
}

/// `crun run` of a root with the same program, in milliseconds.
pub(super) fn crun(program: &Path) -> Result<f64> {
    need("crun", "crun")?;
    let bundle = tempfile::tempdir()?;
    fs::create_dir(bundle.path().join("rootfs"))?;
    fs::copy(program, bundle.path().join("rootfs/guest"))?;
    let spec = Command::new("crun")
        .arg("spec")
        .current_dir(bundle.path())
        .status()?;
    if !spec.success() {
        bail!("crun spec: {spec}");
    }
    let path = bundle.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path)?)?;
    config["process"]["args"] = json!(["/guest", "exit", "0"]);
    config["process"]["terminal"] = json!(false);
    // The machine may have no cgroup v2 to give; ours makes no cgroup here either.
    if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "cgroup");
    }
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.retain(|mount| mount["type"] != "cgroup");
    }
    fs::write(&path, config.to_string())?;
    // crun refuses a hybrid hierarchy, though it is told to make no cgroup: it gets none to see.
    let script = format!(
        "mount -t tmpfs none /sys/fs/cgroup && for n in $(seq {SAMPLES}); do \
         crun --cgroup-manager=disabled run --bundle {} cloister-bench-$n || exit 1; done",
        bundle.path().display()
    );
    let whole = timed(Command::new("unshare").args(["-m", "sh", "-c", &script]))?;
    Ok(whole / SAMPLES as f64)
}

fn timed(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let took = start.elapsed();
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(took.as_secs_f64() * 1000.0)
}

/// Through `host-proxy` and `net`, beside socat between the same two programs.
fn ingress(product: &Product, program: &Path) -> Result<Vec<Row>> {
    let mut container = guest("echo", &["echo", "7"]);
    container["ports"] = json!([{"containerPort": PORT}]);
    let up = Up::start(
        product,
        &[pod(json!({"containers": [container]}))],
        &["--publish", "0:7"],
    );
    up.wait_log("ready");
    let ours = traffic(up.port(PORT))?;
    drop(up);
    need("socat", "socat")?;
    let (echo_port, socat_port) = (free_port()?, free_port()?);
    let _echo = Running(
        Command::new(program)
            .args(["echo", &echo_port.to_string()])
            .stdout(Stdio::null())
            .spawn()?,
    );
    let listen = format!("TCP-LISTEN:{socat_port},fork,reuseaddr,bind=127.0.0.1");
    let _socat = Running(
        Command::new("socat")
            .args([listen, format!("TCP:127.0.0.1:{echo_port}")])
            .spawn()?,
    );
    wait_for("socat", || exchange_byte(socat_port).ok());
    let peer = traffic(socat_port)?;
    let raw = traffic(echo_port)?;
    let beside = |unit: &str, peer: f64, raw: f64| format!("{peer:.0} {unit} (no relay: {raw:.0})");
    Ok(vec![
        Row {
            what: "ingress throughput, one stream, echoed (peer: socat)",
            ours: format!("{:.0} MiB/s", ours.0),
            peer: beside("MiB/s", peer.0, raw.0),
            ratio: format!("{:.2}", ours.0 / peer.0),
            budget: "≥ socat",
        },
        Row {
            what: "ingress connections, one after another (peer: socat)",
            ours: format!("{:.0} /s", ours.1),
            peer: beside("/s", peer.1, raw.1),
            ratio: format!("{:.2}", ours.1 / peer.1),
            budget: "≥ socat",
        },
    ])
}

/// MiB/s one way of an echo, and connections with one byte each per second.
fn traffic(port: u16) -> Result<(f64, f64)> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    let mut sender = stream.try_clone()?;
    let start = Instant::now();
    let writer = std::thread::spawn(move || -> std::io::Result<()> {
        let chunk = vec![7; 256 * 1024];
        for _ in 0..BULK / chunk.len() {
            sender.write_all(&chunk)?;
        }
        sender.shutdown(std::net::Shutdown::Write)
    });
    let received = std::io::copy(&mut &stream, &mut std::io::sink())?;
    let bulk = start.elapsed();
    if writer.join().is_err() || received != BULK as u64 {
        bail!("{received} of {BULK} bytes came back");
    }
    let start = Instant::now();
    for _ in 0..CONNECTIONS {
        exchange_byte(port)?;
    }
    let rate = f64::from(CONNECTIONS) / start.elapsed().as_secs_f64();
    Ok((BULK as f64 / f64::from(1 << 20) / bulk.as_secs_f64(), rate))
}

fn exchange_byte(port: u16) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(b"x")?;
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    Ok(())
}
