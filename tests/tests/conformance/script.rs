//! Pods whose containers do one step after another (`guest do`), and what came of it.

use manifest_sync::status::{ContainerState, ContainerStatus};
use serde_json::{Value, json};
use tests::{Up, guest, pod, product};

/// A container that does these steps, with these fields besides.
pub(crate) fn container(name: &str, steps: &[&str], fields: &Value) -> Value {
    let words: Vec<&str> = [&["do"], steps].concat();
    let mut container = guest(name, &words);
    merge(&mut container, fields);
    container
}

pub(crate) fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        into[key] = value.clone();
    }
}

/// A ConfigMap.
pub(crate) fn config_map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// A Secret.
pub(crate) fn secret(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})
}

/// How a Pod ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    /// What its containers have written, without prefixes.
    pub(crate) lines: Vec<String>,
}

impl Ended {
    /// Whether a line was written.
    #[track_caller]
    pub(crate) fn has(&self, line: &str) {
        let mut lines = self.lines.iter();
        assert!(
            lines.any(|have| have == line),
            "no line {line:?} in {:#?}",
            self.lines
        );
    }
}

/// How a container ends that does these steps, while another keeps its Pod alive: exit code and termination message.
pub(crate) fn end_of(steps: &[&str], fields: &Value) -> Option<(i32, Option<String>)> {
    let containers = [container("app", steps, fields), guest("keep", &["sleep"])];
    let up = start(&json!({"containers": containers}), &[])?;
    let status = up.wait_container("app", "ended", has_ended);
    match status.state {
        ContainerState::Terminated {
            exit_code, message, ..
        } => Some((exit_code, message)),
        other => panic!("app is {other:?}"),
    }
}

/// Whether a container has ended for good.
pub(crate) fn has_ended(status: &ContainerStatus) -> bool {
    matches!(status.state, ContainerState::Terminated { .. })
}

/// Runs a Pod (restartPolicy Never unless the spec says something else) with these objects until it has ended.
pub(crate) fn run(spec: &Value, objects: &[Value]) -> Option<Ended> {
    let mut up = start(spec, objects)?;
    let code = up.exit_code();
    Some(Ended {
        code,
        lines: lines(&up),
    })
}

/// The same, with one container, `app`, and these fields in it and in the spec. It has to do all its steps.
pub(crate) fn run_one(steps: &[&str], fields: &Value, spec: &Value, objects: &[Value]) -> Option<Ended> {
    let mut whole = json!({"containers": [container("app", steps, fields)]});
    merge(&mut whole, spec);
    let ended = run(&whole, objects)?;
    ended.has("end");
    Some(ended)
}

/// Starts a Pod whose restartPolicy is Never unless the spec says something else.
pub(crate) fn start(spec: &Value, objects: &[Value]) -> Option<Up> {
    let product = product()?;
    let mut whole = json!({"restartPolicy": "Never"});
    merge(&mut whole, spec);
    let mut pod = pod(whole);
    pod["metadata"]["labels"] = json!({"app": "test", "tier": "1"});
    pod["metadata"]["annotations"] = json!({"note": "a note"});
    let mut all = vec![pod];
    all.extend_from_slice(objects);
    Some(Up::start(&product, &all, &[]))
}

/// What containers have written, without prefixes.
pub(crate) fn lines(up: &Up) -> Vec<String> {
    let text = up.stdout();
    text.lines()
        .map(|line| line.split_once("| ").map_or(line, |(_, rest)| rest).to_owned())
        .collect()
}
