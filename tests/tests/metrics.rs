//! `/metrics` as Prometheus' own tools see it: linted by promtool, scraped by the real server, with the alerts of `deploy/`.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::{Up, guest, pod, product, wait_for};

const LINES: u64 = 1000;

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/prometheus")
        .join(name)
}

/// Whether Prometheus is installed; says so when it is not.
fn is_there() -> bool {
    let there = ["prometheus", "promtool"]
        .iter()
        .all(|program| Command::new(program).arg("--version").output().is_ok());
    if !there {
        println!("SKIPPED: there is no prometheus or promtool: install the package prometheus");
    }
    there
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.contains(" 200 ").then(|| body.to_owned())
}

fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("a reader");
    drop(stdin);
    child.wait_with_output().expect("promtool ends")
}

#[track_caller]
fn content(output: &Output) {
    let said = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

struct Prometheus(Child, u16);

impl Prometheus {
    fn start(scratch: &Path, target: u16) -> Self {
        let port = free_port();
        let configuration = scratch.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{}]\nscrape_configs:\n  - job_name: \
             cloister\n    static_configs: [{{targets: ['127.0.0.1:{target}']}}]\n",
            deploy("alerts.yml").display()
        );
        std::fs::write(&configuration, text).expect("a configuration");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", scratch.join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--log.level=error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("prometheus runs");
        Self(child, port)
    }

    /// The value of a query that has one.
    fn query(&self, query: &str) -> Option<f64> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = get(self.1, &format!("/api/v1/query?query={encoded}"))?;
        let answer: Value = serde_json::from_str(&answer).ok()?;
        answer.pointer("/data/result/0/value/1")?.as_str()?.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn promtool_has_no_complaint_and_prometheus_scrapes_what_happened() {
    let Some(product) = product() else { return };
    if !is_there() {
        return;
    }
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let port = free_port();
    let mut app = guest("app", &["count", &LINES.to_string(), "100", "1"]);
    app["livenessProbe"] = json!({"exec": {"command": ["/guest", "exit", "0"]}, "periodSeconds": 1});
    let spec = json!({"containers": [app], "terminationGracePeriodSeconds": 0});
    let mut up = Up::start(
        &product,
        &[pod(spec)],
        &["--http-address", &format!("127.0.0.1:{port}")],
    );
    up.wait_running("app");
    let text = wait_for("all lines in the metrics", || {
        let text = get(port, "/metrics")?;
        let lines = format!("cloister_init_log_records_total{{container=\"app\"}} {LINES}\n");
        (text.contains(&lines) && text.contains("cloister_probes_total{")).then_some(text)
    });
    let linted = promtool(&["check", "metrics"], &text);
    content(&linted);
    assert!(linted.stdout.is_empty() && linted.stderr.is_empty(), "{linted:?}");

    let prometheus = Prometheus::start(scratch.path(), port);
    for (query, value) in [
        ("up{job=\"cloister\"}", 1.0),
        ("cloister_enclave_up", 1.0),
        ("cloister_pod_ready", 1.0),
        ("cloister_pod_phase{phase=\"Running\"}", 1.0),
        ("sum(cloister_log_records_total{container=\"app\"})", 1000.0),
        ("sum(cloister_log_sink_lag_records)", 0.0),
        (
            "clamp_max(cloister_probes_total{container=\"app\",probe=\"Liveness\",result=\"successful\"}, 1)",
            1.0,
        ),
        ("count(ALERTS) or vector(0)", 0.0),
    ] {
        wait_for(query, || (prometheus.query(query)? == value).then_some(()));
    }
    let rules = wait_for("the alerts", || get(prometheus.1, "/api/v1/rules"));
    assert!(
        rules.contains("CloisterEnclaveDown") && !rules.contains("\"health\":\"err\""),
        "{rules}"
    );
    up.signal(Signal::SIGTERM);
    up.wait();
}

#[test]
fn the_alerts_fire_when_they_should_and_only_then() {
    if !is_there() {
        return;
    }
    content(&promtool(
        &["check", "rules", &deploy("alerts.yml").display().to_string()],
        "",
    ));
    content(&promtool(
        &["test", "rules", &deploy("alerts_test.yml").display().to_string()],
        "",
    ));
}
