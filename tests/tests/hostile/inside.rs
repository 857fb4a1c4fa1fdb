//! A container that somebody has taken over, on its way to what the host would like to have.

use manifest_sync::link::StreamKind;
use manifest_sync::trust::TrustPolicy;
use serde_json::json;
use tests::{Product, pod, wait_for};

use crate::controller::Controller;
use crate::enclave::Enclave;
use crate::logs::records;
use crate::stage::{bundle, container, refused};

/// Runs the guest with these words beside another container; returns the enclave and its controller when both run or have
/// run.
fn beside_another(product: &Product, words: &[&str]) -> (Enclave, Controller) {
    let enclave = Enclave::start(product, TrustPolicy::DEVELOPMENT);
    let mut host = Controller::connect(&enclave, None);
    let containers = json!([
        container(product, "other", &["sleep"]),
        container(product, "intruder", words)
    ]);
    host.apply(&bundle(&[pod(
        json!({"restartPolicy": "Never", "containers": containers}),
    )]))
    .expect("a good bundle");
    host.until_running(&enclave, &product.guests, &["other", "intruder"]);
    (enclave, host)
}

/// What the intruder has printed, to its last line.
fn said(enclave: &Enclave, host: &Controller, last: &str) -> Vec<String> {
    wait_for("the intruder's words", || {
        let records = records(enclave, &host.key, Some("intruder"));
        let lines = records
            .iter()
            .map(|record| String::from_utf8_lossy(&record.text).into_owned());
        let lines: Vec<_> = lines.collect();
        (lines.last().map(String::as_str) == Some(last)).then_some(lines)
    })
}

/// None of these is there, in whatever way it is looked for.
fn out_of_reach(paths: &[&str]) {
    refused(|product| {
        let words = [&["reach"], paths].concat();
        let (enclave, mut host) = beside_another(product, &words);
        let lines = said(&enclave, &host, "ready");
        for path in paths {
            let line = lines
                .iter()
                .find_map(|line| line.strip_prefix(&format!("{path}: ")));
            let outcomes: Vec<_> = line.expect("its outcome").split(' ').collect();
            let absent = |outcome: &&str| matches!(*outcome, "NotFound" | "NotADirectory");
            assert!(outcomes.iter().all(absent), "{path}: {outcomes:?}");
        }
        host.ping();
        assert!(host.is_running("other"));
    });
}

#[test]
fn the_devices_of_the_enclave() {
    out_of_reach(&[
        "/dev/nsm",
        "/dev/vsock",
        "/dev/mem",
        "/dev/kmsg",
        "/dev/console",
        "/dev/hwrng",
        "/run/cloister/nsm.sock",
    ]);
}

#[test]
fn the_sockets_of_the_link() {
    out_of_reach(&[
        "/run/cloister/link/7000.sock",
        "/run/cloister/link/7001.sock",
        "/proc/1/root/run/cloister/link/7000.sock",
        "/proc/1/cwd/../run/cloister/link/7000.sock",
    ]);
}

#[test]
fn the_files_of_the_enclave() {
    out_of_reach(&[
        "/etc/cloister/policy.json",
        "/etc/cloister/config.json",
        "/run/cloister",
        "/init",
        "/proc/1/root/etc/cloister/policy.json",
        "/../../../../etc/cloister/policy.json",
    ]);
}

#[test]
fn the_memory_of_pid_1_and_of_other_containers() {
    refused(|product| {
        let words = [
            "reach",
            "/proc/2/mem",
            "/proc/2/root",
            "/proc/2/environ",
            "/proc/1/environ",
        ];
        let (enclave, mut host) = beside_another(product, &words);
        let lines = said(&enclave, &host, "ready");
        // Its own namespace is all that it sees: process 1 is itself, and there is no other.
        assert!(lines.contains(&"processes: [1]".to_owned()), "{lines:?}");
        for path in &words[1..4] {
            let line = format!("{path}: NotFound NotFound NotFound NotFound");
            assert!(lines.contains(&line), "{lines:?}");
        }
        host.ping();
        assert!(host.is_running("other"));
    });
}

#[test]
fn a_container_that_kills_everything() {
    refused(|product| {
        let (enclave, mut host) = beside_another(product, &["kill-everything"]);
        said(&enclave, &host, "ready");
        host.ping();
        assert!(
            host.is_running("other") && host.is_running("intruder"),
            "{:?}",
            host.report
        );
        assert_eq!(host.container("other").expect("it runs").restart_count, 0);
        assert!(enclave.runs("sleep") && enclave.is_alive());
    });
}

#[test]
fn a_flood_of_output() {
    refused(|product| {
        let (enclave, mut host) = beside_another(product, &["flood"]);
        let before = host.ping();
        let counters = wait_for("a hundred megabytes", || {
            let counters = host.ping();
            (counters.log_bytes >= before.log_bytes + (100 << 20)).then_some(counters)
        });
        // Nobody reads: the ring keeps one megabyte, and every other byte is counted as lost.
        assert!(
            counters.log_dropped_bytes + (2 << 20) >= counters.log_bytes,
            "{counters:?}"
        );
        assert!(
            counters.resident_bytes <= before.resident_bytes + (4 << 20),
            "{counters:?}"
        );
        assert!(host.is_running("other"));
        let kind = StreamKind::Logs {
            container: Some("other".to_owned()),
            after: 0,
            follow: false,
        };
        let mut wire = enclave.stream(Some(&host.key), kind);
        assert!(
            String::from_utf8_lossy(&wire.rest()).contains("ready"),
            "the other's line is lost"
        );
    });
}
