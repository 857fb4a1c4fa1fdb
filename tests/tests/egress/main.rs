//! Egress: unmodified programs reach what the signed bundle allows, by name, and nothing else.

mod curl;
mod faults;
mod grpc;
mod half_open;
mod hostile_names;
mod names;
mod network;
mod outer;
mod redis;
mod world;

use manifest_sync::status::ContainerState;
use serde_json::{Value, json};
use tests::{Up, wait_for};

/// An EnclavePolicy with these rules.
pub(crate) fn policy(egress: &Value) -> Value {
    json!({
        "apiVersion": "cloister.dev/v1", "kind": "EnclavePolicy", "metadata": {"name": "egress"},
        "spec": {"egress": egress},
    })
}

/// A rule for names: those with a star are patterns.
pub(crate) fn names(names: &[&str], ports: &[u16]) -> Value {
    let selector = |name: &&str| {
        let field = if name.contains('*') {
            "matchPattern"
        } else {
            "matchName"
        };
        json!({field: name})
    };
    json!({
        "toFQDNs": names.iter().map(selector).collect::<Vec<_>>(),
        "toPorts": [{"ports": ports.iter().map(|port| json!({"port": port.to_string()})).collect::<Vec<_>>()}],
    })
}

/// Waits for a container's end; its exit code.
pub(crate) fn code_of(up: &Up, name: &str) -> i32 {
    let status = up.wait_container(name, "ended", |status| {
        matches!(status.state, ContainerState::Terminated { .. })
    });
    match status.state {
        ContainerState::Terminated { exit_code, .. } => exit_code,
        _ => unreachable!("it has ended"),
    }
}

/// Waits for an event of this container (`None`: of the Pod) whose message has these words.
pub(crate) fn wait_event(up: &Up, container: Option<&str>, reason: &str, words: &str) {
    let field = container.map(|name| format!("spec.containers{{{name}}}"));
    wait_for(&format!("an event {reason} {words} of {container:?}"), || {
        let output = up.client(&["status", "-o", "json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
        let events = answer.get("events")?.as_array()?.clone();
        events.into_iter().find(|event| {
            event["reason"] == reason
                && event["message"].as_str().is_some_and(|text| text.contains(words))
                && event.get("fieldPath").and_then(Value::as_str) == field.as_deref()
        })
    });
}

/// The value of a series of `/metrics`, by the beginning of its line; 0 when there is none.
pub(crate) fn metric(up: &Up, series: &str) -> u64 {
    let answer = up.metrics();
    let line = answer.lines().find(|line| line.starts_with(series));
    line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok())
        .unwrap_or(0)
}
