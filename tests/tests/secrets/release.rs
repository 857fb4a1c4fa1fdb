//! Secrets from a broker, in the Pod.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use tests::{Up, guest, pod, product, wait_for};

use crate::broker::{Broker, Kept, Manner, man_in_the_middle, public_key};
use crate::{lines, said};

/// A class with these objects, a Secret `db` made of the first, and more parameters.
pub(crate) fn class(objects: &Value, more: &[(&str, &str)]) -> Value {
    let mut parameters = json!({"brokerKey": public_key(), "objects": objects.to_string()});
    for (name, value) in more {
        parameters[*name] = json!(value);
    }
    let first = objects[0]["objectAlias"]
        .as_str()
        .or(objects[0]["objectName"].as_str());
    json!({
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {"name": "class"},
        "spec": {
            "provider": "broker",
            "parameters": parameters,
            "secretObjects": [
                {"secretName": "db", "type": "Opaque", "data": [{"objectName": first, "key": "password"}]},
            ],
        },
    })
}

/// A Pod with a volume of that class.
pub(crate) fn with_secrets(containers: &[Value]) -> Value {
    let volume = json!({"name": "secrets", "csi": {
        "driver": "secrets-store.csi.k8s.io",
        "readOnly": true,
        "volumeAttributes": {"secretProviderClass": "class"},
    }});
    pod(json!({"volumes": [volume], "containers": containers}))
}

/// A container that mounts the secrets.
pub(crate) fn mounts(mut container: Value) -> Value {
    container["volumeMounts"] = json!([{"name": "secrets", "mountPath": "/secrets", "readOnly": true}]);
    container
}

/// A container with the first secret in its environment.
pub(crate) fn knows(mut container: Value) -> Value {
    container["env"] = json!([
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
    ]);
    container
}

/// Starts it, with the broker at this address.
pub(crate) fn start(objects: &[Value], broker: SocketAddr) -> Option<Up> {
    Some(Up::start(
        &product()?,
        objects,
        &["--broker", &broker.to_string()],
    ))
}

/// What `guest show` says of a value.
fn sum(value: &str) -> String {
    let hash = value.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("is {} bytes, sum {hash:016x}", value.len())
}

/// Waits for an event whose message contains `text`.
fn event(up: &Up, reason: &str, text: &str) {
    wait_for(&format!("the event {reason}: {text:?}"), || {
        let output = up.client(&["status", "-o", "json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
        let is = |event: &Value| {
            event["reason"] == reason
                && event["message"]
                    .as_str()
                    .is_some_and(|message| message.contains(text))
        };
        answer["events"].as_array()?.iter().any(is).then_some(())
    });
}

#[test]
fn secrets_reach_the_containers_that_name_them_as_files_and_variables_and_are_rotated() {
    let mut broker = Broker::new(&[("db-password", "correct horse"), ("tls.key", "battery staple")]);
    let objects = json!([
        {"objectName": "db-password", "objectAlias": "db/password", "filePermission": "0400"},
        {"objectName": "tls.key"},
    ]);
    let containers = [
        mounts(guest("file", &["show", "/secrets/db/password"])),
        mounts(guest("key", &["show", "/secrets/tls.key"])),
        knows(guest("variable", &["show", "PASSWORD"])),
        guest("other", &["show", "/secrets/db/password"]),
    ];
    let class = class(&objects, &[("rotationPollInterval", "10s")]);
    let Some(up) = start(&[class, with_secrets(&containers)], broker.address) else {
        return;
    };
    // A broker that is down is said, and tried again; until then nothing runs.
    event(&up, "FailedMount", "cannot connect to");
    let report = up.report().expect("a report");
    assert!(
        report
            .status
            .container_statuses
            .iter()
            .all(|status| !status.ready)
    );
    broker.start(&up, |_| {});
    assert_eq!(said(&up, "file", "/secrets/db/password"), sum("correct horse"));
    assert_eq!(said(&up, "key", "/secrets/tls.key"), sum("battery staple"));
    assert_eq!(said(&up, "variable", "PASSWORD"), sum("correct horse"));
    assert_eq!(said(&up, "other", "/secrets/db/password"), sum(""));

    broker.put("db-password", "another horse");
    let line = format!("/secrets/db/password {}", sum("another horse"));
    wait_for("the new value", || {
        lines(&up, "file").contains(&line).then_some(())
    });
    event(&up, "MountRotationComplete", "class");
    // Variables are those of the start.
    assert_eq!(lines(&up, "variable").len(), 1);
    // A broker that is gone takes nothing away.
    broker.stop();
    event(&up, "MountRotationFailed", "cannot connect to");
    assert_eq!(lines(&up, "file").last(), Some(&line));
    let audit = broker.audit();
    assert!(
        audit.contains("db-password") && !audit.contains("horse"),
        "{audit}"
    );
}

#[test]
fn a_broker_that_expects_another_image_refuses_and_says_which_register_differs() {
    let mut broker = Broker::new(&[("db-password", "correct horse")]);
    let objects = json!([{"objectName": "db-password"}]);
    let pod = with_secrets(&[mounts(guest("app", &["sleep"]))]);
    let Some(up) = start(&[class(&objects, &[]), pod], broker.address) else {
        return;
    };
    broker.start(&up, |rule| rule["pcrs"]["0"] = json!("ab".repeat(48)));
    event(&up, "FailedMount", "PCR0");
    broker.stop();
    broker.start(&up, |rule| rule["secrets"] = json!(["another"]));
    event(&up, "FailedMount", "db-password");
    broker.stop();
    broker.start(&up, |_| {});
    up.wait_running("app");
}

#[test]
fn a_broker_of_the_hosts_own_feeds_the_enclave_nothing() {
    let mut broker = Broker::new(&[("db-password", "chosen by the host")]);
    let objects = json!([{"objectName": "db-password"}]);
    let pod = with_secrets(&[knows(guest("app", &["show", "PASSWORD"]))]);
    let Some(up) = start(&[class(&objects, &[]), pod], broker.address) else {
        return;
    };
    broker.start_with_another_key(&up);
    event(&up, "FailedMount", "not signed by the broker");
    broker.stop();
    broker.put("db-password", "correct horse");
    broker.start(&up, |_| {});
    assert_eq!(said(&up, "app", "PASSWORD"), sum("correct horse"));
}

#[test]
fn a_broker_that_says_nothing_is_given_up_and_asked_again() {
    let mut broker = Broker::new(&[("db-password", "correct horse")]);
    let host = man_in_the_middle(broker.address, vec![Manner::Says(Vec::new()), Manner::Honest]);
    let objects = json!([{"objectName": "db-password"}]);
    let pod = with_secrets(&[knows(guest("app", &["show", "PASSWORD"]))]);
    let Some(up) = start(&[class(&objects, &[]), pod], host) else {
        return;
    };
    broker.start(&up, |_| {});
    event(&up, "FailedMount", "the broker did not answer within");
    assert_eq!(said(&up, "app", "PASSWORD"), sum("correct horse"));
}

/// Changes a digit of what is sealed; it stays base64.
fn flip(number: usize, answer: &str) -> String {
    let Some(start) = answer.find("\"value\":\"").filter(|_| number == 1) else {
        return answer.to_owned();
    };
    let (before, after) = answer.split_at(start + 60);
    let digit = if after.starts_with('A') { 'B' } else { 'A' };
    format!("{before}{digit}{}", &after[1..])
}

fn without_signature(_number: usize, answer: &str) -> String {
    answer.replace("\"signature\"", "\"signaturf\"")
}

fn as_another_application(question: &str) -> String {
    question.replace("\"application\":\"test\"", "\"application\":\"prod\"")
}

#[test]
fn whatever_the_host_does_to_the_conversation_is_noticed_and_a_later_try_works() {
    let mut broker = Broker::new(&[("db-password", "correct horse")]);
    let head = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n").into_bytes();
    let kept = Kept::default();
    let host = man_in_the_middle(
        broker.address,
        vec![
            Manner::HangsUp,
            Manner::Says(b"\x16\x03\x01 no HTTP at all\r\n\r\n".to_vec()),
            Manner::Says(head("Content-Length: 99999999999")),
            Manner::Says(head("Transfer-Encoding: chunked")),
            Manner::Changes(flip),
            Manner::Changes(without_signature),
            Manner::Asks(as_another_application),
            Manner::Replays(Arc::clone(&kept)),
            Manner::Honest,
        ],
    );
    let objects = json!([{"objectName": "db-password"}]);
    let pod = with_secrets(&[knows(guest("app", &["show", "PASSWORD"]))]);
    let Some(up) = start(&[class(&objects, &[]), pod.clone()], host) else {
        return;
    };
    broker.start(&up, |_| {});
    for refusal in [
        "closed the connection",
        "not a message of HTTP",
        "more than",
        "Transfer-Encoding",
        "not signed by the broker",
        "malformed",
        "application",
    ] {
        event(&up, "FailedMount", refusal);
    }
    // In the next conversation the host only listened: that one works.
    assert_eq!(said(&up, "app", "PASSWORD"), sum("correct horse"));

    // Another enclave is given the answers to the first one's questions.
    let replay = man_in_the_middle(broker.address, vec![Manner::Replays(kept), Manner::Honest]);
    let Some(second) = start(&[class(&objects, &[]), pod], replay) else {
        return;
    };
    broker.stop();
    broker.start(&second, |_| {});
    event(&second, "FailedMount", "");
    assert_eq!(said(&second, "app", "PASSWORD"), sum("correct horse"));
}
