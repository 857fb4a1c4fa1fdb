//! Resources (section N of the cases) as far as a machine shows them that limits nothing; what cgroups do is tested in the
//! emulated machine.

use serde_json::{Value, json};
use tests::{Backend, Up, guest, pod, product, wait_for};

/// Messages of all events with this reason, and how often each has happened.
fn events(up: &Up, reason: &str) -> Vec<(String, u64)> {
    let output = up.client(&["status", "-o", "json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let events = answer["events"].as_array().cloned().unwrap_or_default();
    let of_it = events.iter().filter(|event| event["reason"] == reason);
    of_it
        .map(|event| {
            let message = event["message"].as_str().unwrap_or_default().to_owned();
            (message, event["count"].as_u64().unwrap_or_default())
        })
        .collect()
}

#[test]
fn lc_202_variables_have_default_limits_from_the_pods_resources() {
    let Some(product) = product() else { return };
    let steps = ["env CPU", "env MEMORY", "env OWN_CPU", "sleep"];
    let variable = |name: &str, resource: &str| json!({"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource}}});
    let mut app = guest("app", &[&["do"], &steps[..]].concat());
    app["env"] = json!([variable("CPU", "limits.cpu"), variable("MEMORY", "limits.memory")]);
    let mut limited = guest("limited", &[&["do"], &steps[..]].concat());
    limited["env"] = json!([variable("OWN_CPU", "limits.cpu")]);
    limited["resources"] = json!({"limits": {"cpu": "1"}});
    let resources = json!({"limits": {"cpu": "3", "memory": "200Mi"}});
    let spec =
        json!({"containers": [app, limited], "resources": resources, "terminationGracePeriodSeconds": 0});
    let up = Up::start(&product, &[pod(spec)], &[]);
    for line in ["CPU=3", "MEMORY=209715200", "OWN_CPU=1"] {
        up.wait_log(line);
    }
    let status = up.report().expect("a Pod").status;
    // The one container's request is less than the Pod's limit.
    assert_eq!(status.qos_class, "Burstable");
    let requested = |name: &str| status.allocated_resources.get(name).map(String::as_str);
    assert_eq!(
        (requested("cpu"), requested("memory")),
        (Some("1"), Some("200Mi"))
    );
}

/// Section 18: where nothing is limited, one event says so, and no status looks as if it were.
#[test]
fn limits_that_nothing_enforces_are_one_event_and_no_status() {
    let Some(product) = product() else { return };
    if product.backend != Backend::Local {
        return;
    }
    let with = |resources: Value| {
        let mut app = guest("app", &["sleep"]);
        app["resources"] = resources;
        [pod(
            json!({"containers": [app, guest("other", &["exit", "1"])], "terminationGracePeriodSeconds": 0}),
        )]
    };
    let objects = |memory: &str| with(json!({"limits": {"cpu": "1", "memory": memory}}));
    let up = Up::start(&product, &objects("64Mi"), &[]);
    let app = up.wait_running("app");
    // Neither a restart of a container nor an update says it again.
    up.wait_container("other", "started again", |status| status.restart_count > 1);
    let output = up.update(&objects("32Mi"), &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    wait_for("the infeasible resize", || {
        (!events(&up, "ResizeInfeasible").is_empty()).then_some(())
    });
    let told = events(&up, "ResourcesNotEnforced");
    let message = "resources of the Pod are not enforced: this enclave is no machine of its own; its containers can take all \
                   that there is";
    assert_eq!(told, [(message.to_owned(), 1)]);
    assert!(app.resources.is_empty(), "{app:?}");
    assert_eq!(
        app.allocated_resources.get("memory").map(String::as_str),
        Some("64Mi")
    );
    drop(up);
    // Whoever asks for nothing is told nothing.
    let up = Up::start(&product, &with(json!({})), &[]);
    up.wait_running("app");
    assert_eq!(events(&up, "ResourcesNotEnforced"), []);
}
