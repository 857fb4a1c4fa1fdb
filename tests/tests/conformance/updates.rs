//! Section P of the cases: changes of a running Pod.

use std::collections::BTreeSet;

use manifest_sync::status::{ContainerState, ContainerStatus};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::{Up, guest, images, pod, product, wait_for};

/// What a client command had to say on standard error, and its exit code.
fn said(output: &std::process::Output) -> (Option<i32>, String) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), text)
}

fn accepted(output: &std::process::Output) {
    let (code, text) = said(output);
    assert_eq!(code, Some(0), "{text}");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.starts_with("updated sha384:"), "{printed}");
}

/// Code, findings.
fn refused(output: &std::process::Output, findings: &[&str]) {
    let (code, text) = said(output);
    assert_eq!(code, Some(65), "{text}");
    for finding in findings {
        assert!(text.contains(finding), "no {finding:?} in {text}");
    }
}

fn is_running(status: &ContainerStatus) -> bool {
    matches!(status.state, ContainerState::Running { .. })
}

fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": value}})
}

fn of_image(mut container: Value, image: &str) -> Value {
    container["image"] = json!(image);
    container
}

#[test]
fn lc_280_another_image_replaces_its_container_and_no_other() {
    let Some(product) = product() else { return };
    let layout = images::versions(&product.guests, &["1", "2"]);
    let layout = layout.path().to_str().expect("UTF-8");
    // Under Never, too (K-464).
    let objects = |image: &str| {
        let first = of_image(guest("first", &["env", "VERSION"]), image);
        [pod(
            json!({"containers": [first, guest("second", &["sleep"])], "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": 0}),
        )]
    };
    let up = Up::start(&product, &objects("guest:1"), &["--images", layout]);
    up.wait_log("VERSION=1");
    let second = up.wait_running("second");
    let before = up.report().expect("it runs").bundle_digest;
    accepted(&up.update(&objects("guest:2"), &["--images", layout]));
    let first = up.wait_container("first", "replaced", |status| {
        status.restart_count == 1 && is_running(status)
    });
    assert!(first.image.starts_with("guest:2@sha256:"), "{first:?}");
    up.wait_log("VERSION=2");
    let killed = "Container first definition changed, will be restarted";
    let events = up.client(&["status"]);
    assert!(String::from_utf8_lossy(&events.stdout).contains(killed));
    assert_eq!(up.wait_running("second"), second, "it was touched");
    assert_ne!(up.report().expect("it runs").bundle_digest, before);
}

/// Names of the layers that the enclave holds, seen from this machine.
fn layers(up: &Up) -> Option<BTreeSet<String>> {
    let store = format!("/proc/{}/root/run/cloister/store", up.enclave_pid()?);
    let entries = std::fs::read_dir(store).ok()?;
    Some(
        entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect(),
    )
}

#[test]
fn images_that_an_update_has_replaced_are_freed() {
    let Some(product) = product() else { return };
    if product.backend != tests::Backend::Local {
        return;
    }
    let layout = images::versions(&product.guests, &["1", "2", "3"]);
    let layout = layout.path().to_str().expect("UTF-8");
    let objects = |image: &str| {
        let first = of_image(guest("first", &["cat-and-sleep", "/version"]), image);
        let second = of_image(guest("second", &["sleep"]), "guest:2");
        [pod(
            json!({"containers": [first, second], "terminationGracePeriodSeconds": 0}),
        )]
    };
    let up = Up::start(&product, &objects("guest:1"), &["--images", layout]);
    up.wait_log("| 1");
    up.wait_running("second");
    let before = layers(&up).expect("a store");
    assert_eq!(before.len(), 3, "what both share, and one of each: {before:?}");
    accepted(&up.update(&objects("guest:3"), &["--images", layout]));
    up.wait_log("| 3");
    let after = wait_for("the layer of guest:1 to go", || {
        layers(&up).filter(|now| now.len() == 3 && *now != before)
    });
    assert_eq!(after.intersection(&before).count(), 2, "{before:?} {after:?}");
    // It is had again when it is wanted again.
    accepted(&up.update(&objects("guest:1"), &["--images", layout]));
    up.wait_container("first", "the first image again", |status| {
        status.restart_count == 2 && is_running(status)
    });
    wait_for("the layer of guest:3 to go", || {
        layers(&up).filter(|now| *now == before)
    });
    assert_eq!(up.wait_running("second").restart_count, 0);
}

#[test]
fn lc_285_another_label_restarts_nothing() {
    let Some(product) = product() else { return };
    let spec = json!({"containers": [guest("app", &["sleep"])]});
    let up = Up::start(&product, &[pod(spec.clone())], &[]);
    let app = up.wait_running("app");
    let mut other = pod(spec);
    other["metadata"]["labels"] = json!({"release": "2"});
    accepted(&up.update(std::slice::from_ref(&other), &[]));
    // The same once more changes nothing.
    accepted(&up.update(&[other], &[]));
    assert_eq!(up.wait_running("app"), app);
}

#[test]
fn lc_288_a_changed_command_is_refused_and_restarts_nothing() {
    let Some(product) = product() else { return };
    let with = |words: &[&str]| {
        let mut app = guest("app", words);
        app["env"] = json!([{"name": "A", "value": words[0]}]);
        [pod(json!({"containers": [app]}))]
    };
    let up = Up::start(&product, &with(&["sleep"]), &[]);
    let app = up.wait_running("app");
    let output = up.update(&with(&["ignore-term"]), &[]);
    let words = "pod updates may not change fields other than";
    refused(
        &output,
        &[
            &format!("Pod/test: spec.containers[0].args[0]: {words}"),
            &format!("Pod/test: spec.containers[0].env[0].value: {words}"),
        ],
    );
    assert_eq!(up.wait_running("app"), app);
}

#[test]
fn lc_222_a_mounted_config_map_follows_the_bundle() {
    let Some(product) = product() else { return };
    let objects = |value: &str| {
        let mut app = guest("app", &["watch", "/config/key"]);
        app["volumeMounts"] = json!([{"name": "config", "mountPath": "/config"}]);
        app["env"] =
            json!([{"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "one", "key": "key"}}}]);
        let volumes = json!([{"name": "config", "configMap": {"name": "one"}}]);
        [
            pod(json!({"containers": [app], "volumes": volumes})),
            config_map("one", value),
        ]
    };
    let up = Up::start(&product, &objects("old"), &[]);
    up.wait_log("/config/key: old");
    accepted(&up.update(&objects("new"), &[]));
    up.wait_log("/config/key: new");
    assert_eq!(up.wait_running("app").restart_count, 0);
    // And on SIGHUP, from the file that `up` was started with.
    let text: Vec<String> = objects("newest").iter().map(Value::to_string).collect();
    std::fs::write(up.scratch().join("pod.yaml"), text.join("\n---\n")).expect("a manifest");
    up.signal(Signal::SIGHUP);
    up.wait_log("/config/key: newest");
    wait_for("the answer", || {
        up.stderr().contains("updated sha384:").then_some(())
    });
}

#[test]
fn lc_234_a_sub_path_changes_with_the_next_instance() {
    let Some(product) = product() else { return };
    let layout = images::versions(&product.guests, &["1", "2"]);
    let layout = layout.path().to_str().expect("UTF-8");
    let objects = |image: &str, value: &str| {
        let mut app = of_image(guest("app", &["watch", "/config", "/whole/key"]), image);
        app["volumeMounts"] = json!([
            {"name": "config", "mountPath": "/config", "subPath": "key"},
            {"name": "config", "mountPath": "/whole"},
        ]);
        let volumes = json!([{"name": "config", "configMap": {"name": "one"}}]);
        [
            pod(json!({"containers": [app], "volumes": volumes, "terminationGracePeriodSeconds": 0})),
            config_map("one", value),
        ]
    };
    let up = Up::start(&product, &objects("guest:1", "old"), &["--images", layout]);
    up.wait_log("/config: old");
    accepted(&up.update(&objects("guest:1", "new"), &["--images", layout]));
    // The mount of the whole has changed, so that the other one could have.
    up.wait_log("/whole/key: new");
    assert!(!up.stdout().contains("/config: new"), "{}", up.stdout());
    accepted(&up.update(&objects("guest:2", "new"), &["--images", layout]));
    up.wait_log("/config: new");
    assert_eq!(up.wait_running("app").restart_count, 1);
}

#[test]
fn an_immutable_pod_is_not_changed() {
    let Some(product) = product() else { return };
    let scratch = tempfile::tempdir().expect("a directory");
    let policy = scratch.path().join("policy.json");
    let content =
        json!({"apiVersion": "cloister.dev/v1", "kind": "TrustPolicy", "any": true, "allowClearLogs": true});
    std::fs::write(&policy, content.to_string()).expect("a policy");
    let spec = json!({"containers": [guest("app", &["sleep"])]});
    let flags = ["--policy", policy.to_str().expect("UTF-8")];
    let up = Up::start(&product, &[pod(spec.clone())], &flags);
    let app = up.wait_running("app");
    let mut other = pod(spec);
    other["metadata"]["labels"] = json!({"release": "2"});
    refused(
        &up.update(&[other], &[]),
        &["trust policy: updates:", "`Immutable`"],
    );
    assert_eq!(up.wait_running("app"), app);
}

#[test]
fn lc_286_an_ephemeral_container_is_started_beside_the_others() {
    let Some(product) = product() else { return };
    let objects = |added: &[Value]| {
        let mut pod = pod(json!({"containers": [guest("app", &["sleep"])]}));
        if !added.is_empty() {
            pod["spec"]["ephemeralContainers"] = json!(added);
        }
        [pod]
    };
    let up = Up::start(&product, &objects(&[]), &[]);
    let app = up.wait_running("app");
    let debug = guest("debug", &["say", "here I am"]);
    accepted(&up.update(&objects(std::slice::from_ref(&debug)), &[]));
    up.wait_log("here I am");
    let ended = wait_for("its end", || {
        let statuses = up.report()?.status.ephemeral_container_statuses;
        let ended = |status: &ContainerStatus| matches!(status.state, ContainerState::Terminated { .. });
        statuses.into_iter().find(ended)
    });
    assert_eq!((ended.name.as_str(), ended.restart_count), ("debug", 0));
    accepted(&up.update(&objects(&[debug, guest("more", &["say", "me too"])]), &[]));
    up.wait_log("me too");
    refused(
        &up.update(&objects(&[guest("debug", &["say", "something else"])]), &[]),
        &[
            "spec.ephemeralContainers[0]: existing ephemeral containers \"debug\" may not be changed",
            "spec.ephemeralContainers[1]: existing ephemeral containers \"more\" may not be removed",
        ],
    );
    assert_eq!(up.wait_running("app"), app);
}

#[test]
fn a_resize_without_limits_is_infeasible() {
    let Some(product) = product() else { return };
    if product.backend != tests::Backend::Local {
        return;
    }
    let objects = |memory: &str| {
        let mut app = guest("app", &["sleep"]);
        app["resources"] = json!({"limits": {"cpu": "1", "memory": memory}});
        [pod(json!({"containers": [app]}))]
    };
    let up = Up::start(&product, &objects("64Mi"), &[]);
    up.wait_running("app");
    accepted(&up.update(&objects("32Mi"), &[]));
    let condition = wait_for("the condition", || {
        let conditions = up.report()?.status.conditions;
        conditions
            .into_iter()
            .find(|one| one.r#type == "PodResizePending")
    });
    assert_eq!(condition.reason.as_deref(), Some("Infeasible"));
    assert_eq!(up.wait_running("app").restart_count, 0);
}

#[test]
fn lc_224_optional_config_maps_come_change_and_go() {
    let Some(product) = product() else { return };
    let names = ["gone", "changed", "late"];
    let spec = || {
        let paths: Vec<String> = names.iter().map(|name| format!("/{name}/key")).collect();
        let words: Vec<&str> = ["watch"]
            .into_iter()
            .chain(paths.iter().map(String::as_str))
            .collect();
        let mut app = guest("app", &words);
        let mounts = names.map(|name| json!({"name": name, "mountPath": format!("/{name}")}));
        app["volumeMounts"] = json!(mounts);
        let volumes = names.map(|name| json!({"name": name, "configMap": {"name": name, "optional": true}}));
        pod(json!({"containers": [app], "volumes": volumes}))
    };
    let first = [spec(), config_map("gone", "here"), config_map("changed", "old")];
    let up = Up::start(&product, &first, &[]);
    for line in ["/gone/key: here", "/changed/key: old", "/late/key: absent"] {
        up.wait_log(line);
    }
    let second = [spec(), config_map("changed", "new"), config_map("late", "born")];
    accepted(&up.update(&second, &[]));
    for line in ["/gone/key: absent", "/changed/key: new", "/late/key: born"] {
        up.wait_log(line);
    }
    assert_eq!(up.wait_running("app").restart_count, 0);
}

#[test]
fn lc_190_an_annotation_mends_a_sub_path() {
    let Some(product) = product() else { return };
    let objects = |annotation: Option<&str>| {
        let mut app = guest("app", &["sleep"]);
        app["env"] = json!([
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "ANNOTATION", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['mysubpath']"}}},
        ]);
        app["volumeMounts"] =
            json!([{"name": "work", "mountPath": "/work", "subPathExpr": "$(ANNOTATION)/$(POD_NAME)"}]);
        let mut pod = pod(json!({"containers": [app], "volumes": [{"name": "work", "emptyDir": {}}]}));
        if let Some(annotation) = annotation {
            pod["metadata"]["annotations"] = json!({"mysubpath": annotation});
        }
        [pod]
    };
    let up = Up::start(&product, &objects(None), &[]);
    up.wait_waiting("app", "CreateContainerConfigError");
    accepted(&up.update(&objects(Some("mine")), &[]));
    up.wait_running("app");
}
