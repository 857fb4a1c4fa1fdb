//! Real servers under their ordinary load generators, through the ingress: Redis under `redis-benchmark`, nginx under
//! `wrk`, all from the Debian archive. Whatever the clients and the servers have counted, host-proxy must have counted,
//! to the connection and to the byte: a lost request, or one too many, shows.

use std::fmt;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{Product, Up, pod, wait_for};

/// Connections of each generator.
const CONNECTIONS: u64 = 32;
/// Requests of one run of `redis-benchmark`, which takes a number and no time.
const BATCH: u64 = 20_000;
/// Port of nginx in its Pod; below 1024 it would have to be root.
const WEB: u16 = 8080;
const REDIS: u16 = 6379;
/// Body of every answer of nginx, bytes.
const BODY: usize = 1024;

/// What one server was asked, and by whom it was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Server and generator.
    pub what: &'static str,
    /// Requests that the generator has made and had answered.
    pub requests: u64,
    /// What had to be equal: the thing, host-proxy's count, the other's count and who that is.
    pub counts: Vec<(&'static str, u64, u64, &'static str)>,
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, requests, .. } = self;
        writeln!(
            formatter,
            "{what}: {requests} requests in {:?}, all answered",
            self.took
        )?;
        for (thing, ours, theirs, who) in &self.counts {
            writeln!(formatter, "  {thing}: host-proxy {ours}, {who} {theirs}")?;
        }
        Ok(())
    }
}

impl Tally {
    fn check(self) -> Result<Self> {
        let differ = self.counts.iter().any(|(_, ours, theirs, _)| ours != theirs);
        ensure!(!differ, "host-proxy has counted differently: {self}");
        Ok(self)
    }
}

/// What the ingress has counted for the one port of a Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ingress {
    connections: u64,
    refused: u64,
    open: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Ingress {
    fn of(up: &Up) -> Self {
        let metrics = up.metrics();
        let value = |series: &str, label: &str| {
            let line = metrics
                .lines()
                .find(|line| line.starts_with(series) && line.contains(label));
            line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok())
                .unwrap_or(0)
        };
        Self {
            connections: value("cloister_ingress_connections_total{", ""),
            refused: value("cloister_ingress_refused_connections_total{", ""),
            open: value("cloister_ingress_open_connections{", ""),
            bytes_in: value("cloister_ingress_bytes_total{", "direction=\"in\""),
            bytes_out: value("cloister_ingress_bytes_total{", "direction=\"out\""),
        }
    }

    /// Once all connections have ended.
    fn settled(up: &Up) -> Self {
        wait_for("all connections to end", || {
            Some(Self::of(up)).filter(|ingress| ingress.open == 0 && ingress.connections > 0)
        })
    }
}

/// nginx under `wrk` for this long; `images` is the layout with `nginx:latest`.
///
/// # Errors
/// A request failed, or somebody has counted something else than host-proxy.
pub fn web(product: &Product, images: &Path, duration: Duration) -> Result<Tally> {
    let body = "x".repeat(BODY);
    let configuration = format!(
        "worker_processes 1;\npid /tmp/pid;\nerror_log stderr;\nevents {{ worker_connections 1024; }}\nhttp {{\n  \
         access_log off;\n  keepalive_requests 1000000000;\n  client_body_temp_path /tmp/body;\n  \
         proxy_temp_path /tmp/proxy;\n  fastcgi_temp_path /tmp/fastcgi;\n  uwsgi_temp_path /tmp/uwsgi;\n  \
         scgi_temp_path /tmp/scgi;\n  server {{\n    listen {WEB};\n    location / {{ return 200 {body}; }}\n    \
         location = /status {{ stub_status; }}\n  }}\n}}\n"
    );
    let files = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"},
                       "data": {"nginx.conf": configuration}});
    let container = json!({
        "name": "nginx", "image": "nginx", "command": ["/usr/sbin/nginx"],
        "args": ["-e", "stderr", "-c", "/configuration/nginx.conf", "-g", "daemon off;"],
        "ports": [{"containerPort": WEB}], "securityContext": {"runAsUser": 33},
        "volumeMounts": [{"name": "configuration", "mountPath": "/configuration"},
                         {"name": "scratch", "mountPath": "/tmp"}],
    });
    let spec = json!({"containers": [container], "terminationGracePeriodSeconds": 10, "volumes": [
        {"name": "configuration", "configMap": {"name": "web"}}, {"name": "scratch", "emptyDir": {}}]});
    let mut up = start(product, images, &[files, pod(spec)], WEB)?;
    let port = up.port(WEB);
    wait_for("nginx", || accepted(port));
    let before = Ingress::settled(&up);
    // That of the question itself is among them.
    let accepted_before = accepted(port).context("nginx's status")?;
    let asked = Ingress::settled(&up);
    let began = Instant::now();
    let said = wrk(up.scratch(), port, duration)?;
    let took = began.elapsed();
    let after = Ingress::settled(&up);
    let accepted_after = accepted(port).context("nginx's status")?;
    let asking = asked.connections - before.connections;
    let request = u64::try_from(format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").len())?;
    let tally = Tally {
        what: "nginx under wrk",
        requests: said.requests,
        counts: vec![
            // It tries each address once before it begins.
            (
                "connections",
                after.connections - asked.connections,
                CONNECTIONS + 1,
                "wrk",
            ),
            (
                "connections",
                after.connections - asked.connections,
                accepted_after - accepted_before - asking,
                "nginx",
            ),
            (
                "bytes of answers",
                after.bytes_out - asked.bytes_out,
                said.bytes,
                "wrk",
            ),
            (
                "bytes of requests",
                after.bytes_in - asked.bytes_in,
                said.requests * request,
                "wrk",
            ),
            (
                "refused",
                after.refused - asked.refused,
                0,
                "wrk, errors of all kinds",
            ),
        ],
        took,
    };
    stop(&mut up)?;
    tally.check()
}

/// Redis under `redis-benchmark` for about this long; `images` is the layout with `redis:latest`.
///
/// # Errors
/// A request failed, or somebody has counted something else than host-proxy.
pub fn redis(product: &Product, images: &Path, duration: Duration) -> Result<Tally> {
    let container = json!({
        "name": "redis", "image": "redis", "ports": [{"containerPort": REDIS}],
        "args": ["--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""],
    });
    let spec = json!({"containers": [container], "terminationGracePeriodSeconds": 10});
    let mut up = start(product, images, &[pod(spec)], REDIS)?;
    up.wait_log("Ready to accept connections");
    let port = up.port(REDIS);
    let (before, served_before) = (Ingress::of(&up), Served::ask(port)?);
    let asked = Ingress::settled(&up);
    // What a question costs.
    let asking = asked.connections - before.connections;
    let began = Instant::now();
    let mut requests = 0;
    while requests == 0 || began.elapsed() < duration {
        requests += redis_benchmark(port)?;
    }
    let took = began.elapsed();
    let after = Ingress::settled(&up);
    let served = Served::ask(port)?;
    let tally = Tally {
        what: "Redis under redis-benchmark",
        requests,
        counts: vec![
            (
                "connections",
                after.connections - asked.connections,
                served.connections - served_before.connections - asking,
                "Redis",
            ),
            (
                "bytes of requests",
                after.bytes_in - before.bytes_in,
                served.bytes_in - served_before.bytes_in,
                "Redis",
            ),
            (
                "bytes of answers",
                after.bytes_out - asked.bytes_out,
                served.bytes_out - served_before.bytes_out - served_before.answer,
                "Redis",
            ),
            (
                "requests, against what Redis has executed",
                requests,
                served.commands - served_before.commands,
                "Redis",
            ),
            (
                "refused",
                after.refused,
                0,
                "redis-benchmark, errors of all kinds",
            ),
        ],
        took,
    };
    stop(&mut up)?;
    tally.check()
}

fn start(product: &Product, images: &Path, objects: &[Value], port: u16) -> Result<Up> {
    let images = images.to_str().context("a path in UTF-8")?;
    let publish = format!("0:{port}");
    Ok(Up::start(
        product,
        objects,
        &["--images", images, "--publish", &publish],
    ))
}

fn stop(up: &mut Up) -> Result<()> {
    up.signal(Signal::SIGTERM);
    let code = up.exit_code();
    ensure!(code == 0, "the Pod ended with {code}: {}", up.stderr());
    Ok(())
}

/// What `wrk` reports at its end.
struct Said {
    requests: u64,
    /// Of answers, heads and bodies.
    bytes: u64,
}

/// Each thread has one connection, and stops after an answer: nothing is on its way when it counts.
const SCRIPT: &str = r#"
local stops = {}
function setup(thread) thread:set("seconds", SECONDS) end
function init(args) ends = os.time() + seconds end
function response() if os.time() >= ends then wrk.thread:stop() end end
function done(summary)
  local e = summary.errors
  print(string.format("counted requests %d bytes %d errors %d", summary.requests, summary.bytes,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"#;

fn wrk(scratch: &Path, port: u16, duration: Duration) -> Result<Said> {
    let seconds = duration.as_secs().max(1);
    let script = scratch.join("load.lua");
    std::fs::write(&script, SCRIPT.replace("SECONDS", &seconds.to_string()))?;
    let output = Command::new("wrk")
        .arg(format!("--threads={CONNECTIONS}"))
        .arg(format!("--connections={CONNECTIONS}"))
        // By then every thread has stopped by itself.
        .arg(format!("--duration={}", seconds + 2))
        .args(["--timeout=30", "--script"])
        .arg(&script)
        .arg(format!("http://127.0.0.1:{port}/"))
        .output()
        .context("cannot run wrk: install the package wrk")?;
    let text = said(&output)?;
    let numbers: Vec<u64> = text
        .lines()
        .find(|line| line.starts_with("counted "))
        .map(|line| line.split(' ').filter_map(|word| word.parse().ok()).collect())
        .unwrap_or_default();
    let [requests, bytes, errors] = numbers[..] else {
        bail!("wrk says {text:?}");
    };
    ensure!(errors == 0 && requests > 0, "wrk lost requests: {text}");
    Ok(Said { requests, bytes })
}

/// Connections that nginx has accepted, the one that asks among them.
fn accepted(port: u16) -> Option<u64> {
    let answer = crate::exchange(port, b"GET /status HTTP/1.0\r\n\r\n").ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let numbers = answer
        .lines()
        .skip_while(|line| !line.starts_with("server accepts"))
        .nth(1)?;
    numbers.split_whitespace().next()?.parse().ok()
}

/// One batch of SET and one of GET, and one with a new connection for each request. The number of requests.
fn redis_benchmark(port: u16) -> Result<u64> {
    let mut requests = 0;
    for (keep_alive, tests, count) in [("1", "set,get", BATCH), ("0", "get", BATCH / 20)] {
        let output = Command::new("redis-benchmark")
            .args(["-p", &port.to_string(), "-c", &CONNECTIONS.to_string()])
            .args([
                "-n",
                &count.to_string(),
                "-d",
                "1000",
                "-k",
                keep_alive,
                "-t",
                tests,
            ])
            .arg("--csv")
            .output()
            .context("cannot run redis-benchmark: install the package redis-tools")?;
        let text = said(&output)?;
        let done = text
            .lines()
            .filter(|line| line.starts_with("\"SET\"") || line.starts_with("\"GET\""));
        let done = u64::try_from(done.count())?;
        let wanted = u64::try_from(tests.split(',').count())?;
        let complaints = String::from_utf8_lossy(&output.stderr);
        // Of a connection for each request, it says that this wants more ports.
        let mut serious = complaints
            .lines()
            .filter(|line| !line.starts_with("WARNING: Keepalive") && !line.is_empty());
        ensure!(
            done == wanted && serious.next().is_none(),
            "redis-benchmark says {text}{complaints}"
        );
        requests += done * count;
    }
    Ok(requests)
}

/// What Redis says of itself (`INFO stats`, `INFO commandstats`).
struct Served {
    /// The one that asks among them.
    connections: u64,
    /// Of its question, too.
    bytes_in: u64,
    /// Without its answer.
    bytes_out: u64,
    /// SET and GET.
    commands: u64,
    /// Bytes of its answer.
    answer: u64,
}

impl Served {
    fn ask(port: u16) -> Result<Self> {
        let mut question = b"INFO everything\r\n".to_vec();
        question.extend(b"QUIT\r\n");
        let answer = crate::exchange(port, &question)?;
        let text = String::from_utf8(answer)?;
        let field = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').trim().parse().ok()
        };
        let calls = |name: &str| -> u64 {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(":calls="));
            line.and_then(|line| line.split(',').next()?.parse().ok())
                .unwrap_or(0)
        };
        let known = |name: &str| field(name).with_context(|| format!("{name} of Redis's INFO: {text}"));
        Ok(Self {
            connections: known("total_connections_received")?,
            bytes_in: known("total_net_input_bytes")?,
            bytes_out: known("total_net_output_bytes")?,
            commands: calls("cmdstat_set") + calls("cmdstat_get"),
            answer: u64::try_from(text.len())?,
        })
    }
}

/// What a program has said, if it has succeeded.
fn said(output: &Output) -> Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{}: {text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

/// [`web`] and [`redis`], at once when both have a layout, each in an enclave of its own.
///
/// # Errors
/// As of these.
pub fn servers(
    product: &Product,
    nginx: Option<&Path>,
    redis: Option<&Path>,
    duration: Duration,
) -> Result<Vec<Tally>> {
    thread::scope(|scope| {
        let web = nginx.map(|images| scope.spawn(|| web(product, images, duration)));
        let data = redis.map(|images| self::redis(product, images, duration));
        let web = match web.map(thread::ScopedJoinHandle::join) {
            Some(Err(_panicked)) => bail!("nginx did not start, or did not end"),
            Some(Ok(tally)) => Some(tally),
            None => None,
        };
        web.into_iter().chain(data).collect()
    })
}
