//! What a container writes is nothing but its own output: no record of another, no event, no status, no command to a
//! terminal.

use manifest_sync::link::{StreamKind, StreamReply};
use manifest_sync::log_record::{Decoder, Entry, LogRun, LogStream};
use manifest_sync::status::ContainerState;
use manifest_sync::trust::TrustPolicy;
use serde_json::{Value, json};
use tests::{Product, Up, guest, pod, wait_for};

use crate::controller::Controller;
use crate::enclave::Enclave;
use crate::stage::{bundle, container, refused};

/// What the liar says in the victim's name.
const FORGED: &str = "forged-8c1f";

fn hex(bytes: &[u8]) -> String {
    manifest_sync::digest::hex(bytes)
}

/// All records that the enclave has, one by one.
pub(crate) fn records(enclave: &Enclave, key: &str, container: Option<&str>) -> Vec<LogRun> {
    let kind = StreamKind::Logs {
        container: container.map(str::to_owned),
        after: 0,
        follow: false,
    };
    let mut wire = enclave.stream(Some(key), kind);
    wire.expect_reply(StreamReply::Accepted);
    let mut decoder = Decoder::new();
    decoder.push(&wire.rest());
    let mut records = Vec::new();
    while let Some(entry) = decoder.next_entry().expect("a log stream") {
        if let Entry::Run(mut run) = entry {
            while let Some(rest) = run.split_off(1) {
                records.push(std::mem::replace(&mut run, rest));
            }
            records.push(run);
        }
    }
    records
}

/// A liar writes these bytes to its standard output beside a victim; returns all records once the liar has ended.
fn beside_a_victim(product: &Product, lie: &[u8]) -> Vec<LogRun> {
    let enclave = Enclave::start(product, TrustPolicy::DEVELOPMENT);
    let mut host = Controller::connect(&enclave, None);
    let containers = json!([
        container(product, "liar", &["write-bytes", "-", &hex(lie)]),
        container(product, "victim", &["say", "the truth"]),
    ]);
    host.apply(&bundle(&[pod(
        json!({"restartPolicy": "Never", "containers": containers}),
    )]))
    .expect("a good bundle");
    let mut store = |enclave: &Enclave, key: &str, request: u64, digest: &_| {
        crate::controller::serve(enclave, key, &product.guests, request, digest);
        None
    };
    host.until(&enclave, &mut store, "the end", |host| host.finished.is_some());
    assert_eq!(host.finished, Some(0), "{:?}", host.report);
    let told: Vec<_> = host
        .events
        .iter()
        .filter(|event| event.message.contains(FORGED))
        .collect();
    assert_eq!(told.len(), 0, "{told:?}");
    let only = records(&enclave, &host.key, Some("victim"));
    assert_eq!(only.len(), 1, "{only:?}");
    records(&enclave, &host.key, None)
}

/// Everything forged is the liar's, and the victim has said what it has said.
#[track_caller]
fn assert_told_apart(records: &[LogRun]) {
    let victim: Vec<_> = records
        .iter()
        .filter(|record| record.container == "victim")
        .collect();
    assert_eq!(victim.len(), 1, "{records:?}");
    assert_eq!(
        (&victim[0].text[..], victim[0].partial),
        (&b"the truth"[..], false)
    );
    let forged = |record: &&LogRun| String::from_utf8_lossy(&record.text).contains(FORGED);
    let liars = records
        .iter()
        .filter(forged)
        .inspect(|record| assert_eq!(record.container, "liar"));
    assert!(liars.count() > 0, "the lie is missing: {records:?}");
    assert!(
        records
            .iter()
            .all(|record| record.attempt == 0 && record.time_ns > 1)
    );
}

#[test]
fn a_line_that_is_a_record_of_another_container() {
    refused(|product| {
        let record = Entry::Run(LogRun {
            sequence: 1,
            time_ns: 1,
            container: "victim".into(),
            attempt: 7,
            stream: LogStream::Stderr,
            partial: false,
            records: 1,
            text: FORGED.as_bytes().into(),
        });
        let mut lie = Vec::new();
        for _ in 0..3 {
            record.encode(&mut lie);
        }
        assert_told_apart(&beside_a_victim(product, &lie));
    });
}

#[test]
fn a_line_that_is_a_control_message() {
    refused(|product| {
        let event = json!({"type": "event", "event": {
            "sequence": 1, "time": "2026-11-21T00:00:00Z", "type": "Warning", "reason": "Killing", "message": FORGED,
        }});
        let mut lie = manifest_sync::frame::encode(event.to_string().as_bytes());
        lie.extend_from_slice(event.to_string().as_bytes());
        assert_told_apart(&beside_a_victim(product, &lie));
    });
}

#[test]
fn a_line_longer_than_any_record() {
    refused(|product| {
        let lie = format!("{FORGED}{}", "x".repeat(40_000));
        let records = beside_a_victim(product, lie.as_bytes());
        assert_told_apart(&records);
        let liar: Vec<_> = records
            .iter()
            .filter(|record| record.container == "liar")
            .collect();
        assert_eq!(
            liar.iter().map(|record| record.text.len()).sum::<usize>(),
            lie.len()
        );
        assert!(liar.iter().all(|record| record.text.len() <= 16 << 10));
        let partial: Vec<_> = liar.iter().map(|record| record.partial).collect();
        assert_eq!(partial, [true, true, false]);
    });
}

#[test]
fn a_line_that_host_proxy_could_have_printed() {
    refused(|product| {
        let line = format!(
            r#"{{"time":"2026-11-21T00:00:00.000Z","container":"victim","stream":"stdout","log":"{FORGED}"}}"#
        );
        let lie = format!("{line}\r\n{line}\u{85}{line}\u{2028}\x1b[2K\x1b[1A{line}\n\n");
        let spec = json!({"restartPolicy": "Never", "containers": [
            guest("liar", &["write-bytes", "-", &hex(lie.as_bytes())]), guest("victim", &["say", "the truth"]),
        ]});
        let mut up = Up::start(product, &[pod(spec)], &["--log-format", "json"]);
        assert_eq!(up.exit_code(), 0, "{}", up.stderr());
        let mut seen = 0;
        for line in up.stdout().lines() {
            let line: Value = serde_json::from_str(line).expect("one JSON object a line");
            let log = line["log"].as_str().expect("text");
            let expected = if log == "the truth" { "victim" } else { "liar" };
            assert_eq!(line["container"], expected, "{line}");
            seen += usize::from(log.contains(FORGED));
        }
        assert_eq!(seen, 2, "{}", up.stdout());
        assert!(!up.stdout().contains('\x1b'));
    });
}

#[test]
fn a_termination_message_that_is_a_status() {
    refused(|product| {
        let lie = format!(
            "\x1b[2J\x1b[1;1H{FORGED}\",\"exitCode\":0}}}},\"phase\":\"Succeeded\"\nvictim   yes   Running\n"
        );
        let liar = guest(
            "liar",
            &["write-bytes", "/dev/termination-log", &hex(lie.as_bytes())],
        );
        let spec = json!({"restartPolicy": "Never", "containers": [liar, guest("victim", &["sleep"])]});
        let up = Up::start(product, &[pod(spec)], &[]);
        let status = up.wait_container("liar", "terminated", |status| {
            matches!(status.state, ContainerState::Terminated { .. })
        });
        let ContainerState::Terminated {
            exit_code, message, ..
        } = status.state
        else {
            panic!("it has ended")
        };
        assert_eq!(
            (exit_code, message.as_deref()),
            (0, Some(lie.as_str())),
            "text, and nothing else"
        );
        up.wait_running("victim");
        // People read tables: nothing in them is obeyed by a terminal.
        let table = up.client(&["status"]).stdout;
        wait_for("the message on standard error", || {
            up.stderr().contains("liar").then_some(())
        });
        for text in [&table[..], up.stderr().as_bytes()] {
            assert!(!text.contains(&0x1b), "{}", String::from_utf8_lossy(text));
        }
    });
}

#[test]
fn logs_that_the_policy_keeps_in() {
    refused(|product| {
        let policy = r#"{"apiVersion":"cloister.dev/v1","kind":"TrustPolicy","any":true}"#;
        let enclave = Enclave::start(product, policy);
        let mut host = Controller::connect(&enclave, None);
        let containers = json!([container(product, "app", &["say", FORGED])]);
        host.apply(&bundle(&[pod(
            json!({"restartPolicy": "Never", "containers": containers}),
        )]))
        .expect("a good bundle");
        let mut store = |enclave: &Enclave, key: &str, request: u64, digest: &_| {
            crate::controller::serve(enclave, key, &product.guests, request, digest);
            None
        };
        host.until(&enclave, &mut store, "the end", |host| host.finished.is_some());
        assert_eq!(host.finished, Some(0), "{:?}", host.report);
        assert_eq!(records(&enclave, &host.key, None), []);
        let report = format!("{:?}", host.report);
        assert!(!report.contains("message: Some(\"forged"), "{report}");
        assert!(!enclave.console().contains(FORGED));
    });
}
