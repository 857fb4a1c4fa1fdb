//! OTLP and Loki against servers that check what the published schemas say, and TLS.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tests::logs::{counting, flags, free_port};
use tests::{product, wait_for};

use crate::server::{Post, Server};
use crate::{metric, stop, up};

/// A process that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A string that is a 64-bit number, as JSON of protocol buffers and Loki's API have it.
fn number(value: &Value) -> u64 {
    value.as_str().expect("a string").parse().expect("a number")
}

/// `ExportLogsServiceRequest`: nothing but the fields that it has, as the mapping to JSON writes them. Numbers of lines.
fn check_otlp(post: &Post) -> Vec<u64> {
    assert_eq!(post.path, "/v1/logs");
    assert_eq!(post.header("content-type"), Some("application/json"));
    let only = |value: &Value, names: &[&str]| {
        for name in value.as_object().expect("an object").keys() {
            assert!(names.contains(&name.as_str()), "{name} is no field");
        }
    };
    let attribute = |list: &Value, key: &str| -> Option<Value> {
        for one in list.as_array().expect("attributes") {
            only(one, &["key", "value"]);
            only(&one["value"], &["stringValue", "intValue", "boolValue"]);
            if one["key"] == key {
                return Some(one["value"].clone());
            }
        }
        None
    };
    let mut numbers = Vec::new();
    only(&post.body, &["resourceLogs"]);
    for resource in post.body["resourceLogs"].as_array().expect("a list") {
        only(resource, &["resource", "scopeLogs"]);
        let attributes = &resource["resource"]["attributes"];
        assert_eq!(
            attribute(attributes, "k8s.pod.name").expect("a Pod")["stringValue"],
            "test"
        );
        assert_eq!(
            attribute(attributes, "k8s.namespace.name").expect("a namespace")["stringValue"],
            "default"
        );
        assert!(attribute(attributes, "k8s.container.name").is_some());
        number(&attribute(attributes, "k8s.container.restart_count").expect("a count")["intValue"]);
        for scope in resource["scopeLogs"].as_array().expect("a list") {
            only(scope, &["scope", "logRecords"]);
            for record in scope["logRecords"].as_array().expect("a list") {
                only(
                    record,
                    &[
                        "timeUnixNano",
                        "observedTimeUnixNano",
                        "severityNumber",
                        "severityText",
                        "body",
                        "attributes",
                    ],
                );
                assert!(number(&record["timeUnixNano"]) > 1_600_000_000_000_000_000);
                number(&record["observedTimeUnixNano"]);
                assert!((1..=24).contains(&record["severityNumber"].as_u64().expect("a number")));
                assert_eq!(
                    attribute(&record["attributes"], "log.iostream").expect("a stream")["stringValue"],
                    "stdout"
                );
                let text = record["body"]["stringValue"].as_str().expect("a text");
                numbers.push(
                    text.strip_prefix("line ")
                        .expect("a line")
                        .parse()
                        .expect("a number"),
                );
            }
        }
    }
    numbers
}

/// Loki's push request: streams with labels, and values of time and line.
fn check_loki(post: &Post) -> Vec<u64> {
    assert_eq!(post.path, "/loki/api/v1/push");
    assert_eq!(post.header("x-scope-orgid"), Some("shop"));
    let mut numbers = Vec::new();
    for stream in post.body["streams"].as_array().expect("a list") {
        let labels = stream["stream"].as_object().expect("labels");
        assert!(labels.values().all(Value::is_string));
        for (label, value) in [
            ("namespace", "default"),
            ("pod", "test"),
            ("stream", "stdout"),
            ("cluster", "one"),
        ] {
            assert_eq!(labels[label], value);
        }
        let mut last = 0;
        for value in stream["values"].as_array().expect("a list") {
            let value = value.as_array().expect("a list");
            assert_eq!(value.len(), 2);
            let time = number(&value[0]);
            assert!(time > last, "lines of one stream differ in time");
            last = time;
            let text = value[1].as_str().expect("a text");
            numbers.push(
                text.strip_prefix("line ")
                    .expect("a line")
                    .parse()
                    .expect("a number"),
            );
        }
    }
    numbers
}

fn all(posts: &[Post], check: fn(&Post) -> Vec<u64>) -> Option<Vec<u64>> {
    let numbers: Vec<u64> = posts.iter().flat_map(check).collect();
    (numbers.len() >= 3000).then_some(numbers)
}

#[test]
fn otlp_and_loki_get_every_line_once_after_errors_that_pass() {
    let Some(product) = product() else { return };
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let first = [
        "503 Service Unavailable",
        "429 Too Many Requests\r\nretry-after: 1",
    ];
    let (otlp, loki) = (
        Server::start(&first, "200 OK"),
        Server::start(&first, "204 No Content"),
    );
    let sinks = [
        format!("otlp+http://127.0.0.1:{},gzip=yes,batch-wait=100ms", otlp.port),
        format!(
            "loki+http://127.0.0.1:{},tenant=shop,label.cluster=one,batch-wait=100ms",
            loki.port
        ),
    ];
    let up = up(
        &product,
        counting(1, 3000, 100, 5),
        &flags(&scratch.path().join("spool"), "16Mi", &sinks),
    );
    let wanted: Vec<u64> = (0..3000).collect();
    assert_eq!(wait_for("OTLP", || all(&otlp.taken(), check_otlp)), wanted);
    assert_eq!(wait_for("Loki", || all(&loki.taken(), check_loki)), wanted);
    assert_eq!((otlp.refused().len(), loki.refused().len()), (2, 2));
    for sink in ["otlp", "loki"] {
        let count = |what: &str| metric(&up, &format!("cloister_log_sink_{what}_total{{sink=\"{sink}\"}}"));
        wait_for("the counters", || (count("sent_records") == 3000).then_some(()));
        assert_eq!((count("retries"), count("errors")), (2, 0));
    }
    stop(up);
}

#[test]
fn what_is_refused_for_good_is_counted_and_said_once() {
    let Some(product) = product() else { return };
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let server = Server::start(&[], "400 Bad Request");
    let sinks = [format!("otlp+http://127.0.0.1:{},batch-wait=0s", server.port)];
    let up = up(
        &product,
        counting(1, 1000, 100, 5),
        &flags(&scratch.path().join("spool"), "16Mi", &sinks),
    );
    wait_for("refusals", || {
        (metric(&up, "cloister_log_sink_refused_records_total") == 1000).then_some(())
    });
    assert_eq!(
        up.stderr().matches("records are refused").count(),
        1,
        "{}",
        up.stderr()
    );
    let numbers: BTreeSet<u64> = server.refused().iter().flat_map(check_otlp).collect();
    assert_eq!(numbers.len(), 1000);
    stop(up);
}

#[test]
fn syslog_over_tls_reaches_the_server_that_has_the_right_certificate_only() {
    let Some(product) = product() else { return };
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let path = |name: &str| scratch.path().join(name).display().to_string();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "30",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &path("key.pem"), "-out", &path("cert.pem")])
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        println!("SKIPPED: there is no openssl: install the package openssl");
        return;
    }
    let serve = |name: &str| {
        let port = free_port();
        let received = std::fs::File::create(path(name)).expect("a file");
        let child = Command::new("openssl")
            .args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}")])
            .args(["-key", &path("key.pem"), "-cert", &path("cert.pem")])
            .stdin(Stdio::piped())
            .stdout(received)
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl runs");
        (Running(child), port)
    };
    let (good, other) = (serve("received"), serve("nothing"));
    let sink =
        |port: u16, more: &str| format!("syslog+tls://127.0.0.1:{port},ca={},{more}", path("cert.pem"));
    let sinks = [
        sink(good.1, "server-name=localhost"),
        sink(other.1, "name=other,server-name=other.example"),
    ];
    let up = up(
        &product,
        counting(1, 200, 100, 5),
        &flags(&scratch.path().join("spool"), "16Mi", &sinks),
    );
    wait_for("every line", || {
        let text = std::fs::read(path("received")).unwrap_or_default();
        (0..200)
            .all(|line| String::from_utf8_lossy(&text).contains(&format!("line {line:07}")))
            .then_some(())
    });
    wait_for("the refusal", || {
        up.stderr().contains("not valid for name").then_some(())
    });
    assert_eq!(
        metric(&up, "cloister_log_sink_sent_records_total{sink=\"other\"}"),
        0
    );
    stop(up);
}
