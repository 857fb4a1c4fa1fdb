//! Resizes of a running Pod (LC-264 to LC-268, from Kubernetes' `pod_resize.go`), as the files of its cgroups show them:
//! each container watches its own, and a base service of the image watches the Pod's.

use manifest_sync::status::ContainerStatus;
use serde_json::{Value, json};
use tests::{Up, guest, pod, wait_for};

use crate::{measured, with};

/// What a container or the Pod has: thousandths of a CPU and MiB, as request and as limit; 0 is none.
type Amounts = (u64, u64);

/// `resources` with limits that are the requests, too.
fn exactly((cpu, memory): Amounts) -> Value {
    json!({"limits": {"cpu": format!("{cpu}m"), "memory": format!("{memory}Mi")}})
}

/// A container that says what is in the files of its cgroup, and says it again when it changes.
fn watcher(name: &str, resources: Value) -> Value {
    let files = ["memory.max", "cpu.max", "cpu.weight"].map(|file| format!("/sys/fs/cgroup/{file}"));
    let words: Vec<&str> = ["watch"]
        .into_iter()
        .chain(files.iter().map(String::as_str))
        .collect();
    with(guest(name, &words), "resources", resources)
}

/// What a container has said, line by line.
fn said(up: &Up, container: &str) -> Vec<String> {
    let text = up.stdout();
    let of_it = text.lines().filter_map(|line| {
        let (who, rest) = line.split_once("| ")?;
        (who.split_whitespace().last() == Some(container)).then(|| rest.to_owned())
    });
    of_it.collect()
}

/// The newest content of a file as a container has said it.
fn newest(up: &Up, container: &str, file: &str) -> Option<String> {
    let start = format!("/sys/fs/cgroup/{file}: ");
    let lines = said(up, container);
    lines
        .iter()
        .rev()
        .find_map(|line| line.strip_prefix(&start).map(|value| value.trim().to_owned()))
}

/// Waits until the files of a container hold these limits; the weight is that of a request as large as the limit.
fn wait_files(up: &Up, container: &str, (cpu, memory): Amounts) {
    let quota = format!("{} 100000", cpu * 100);
    for (file, value) in [("memory.max", (memory << 20).to_string()), ("cpu.max", quota)] {
        wait_for(&format!("{file} of {container} to be {value}"), || {
            (newest(up, container, file)? == value).then_some(())
        });
    }
}

/// The same, of the Pod.
fn wait_pod(up: &Up, (cpu, memory): Amounts) {
    for (file, value) in [
        ("memory.max", (memory << 20).to_string()),
        ("cpu.max", format!("{} 100000", cpu * 100)),
    ] {
        let line = format!("probe: pod {file} ");
        wait_for(&format!("{file} of the Pod to be {value}"), || {
            let console = up.console();
            let newest = console
                .lines()
                .filter_map(|text| Some(text.split_once(&line)?.1.trim_end()))
                .next_back()?;
            (newest == value).then_some(())
        });
    }
}

#[track_caller]
fn update(up: &Up, objects: &[Value]) {
    let output = up.update(objects, &[]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn limits(status: &ContainerStatus) -> Option<(&str, &str)> {
    let of = |name: &str| status.resources.limits.get(name).map(String::as_str);
    of("cpu").zip(of("memory"))
}

/// No resize is under way, and none has failed.
fn wait_done(up: &Up) {
    wait_for("the end of the resize", || {
        let conditions = up.report()?.status.conditions;
        conditions
            .iter()
            .all(|one| !one.r#type.starts_with("PodResize"))
            .then_some(())
    });
}

#[test]
fn lc_264_three_containers_grow_and_shrink_and_the_pod_follows() {
    let product = measured();
    let objects = |amounts: [Amounts; 3]| {
        let containers: Vec<Value> = ["c1", "c2", "c3"]
            .iter()
            .zip(amounts)
            .map(|(name, amounts)| watcher(name, exactly(amounts)))
            .collect();
        [pod(
            json!({"containers": containers, "terminationGracePeriodSeconds": 0}),
        )]
    };
    let first = [(100, 32), (100, 32), (200, 64)];
    let up = Up::start(&product, &objects(first), &[]);
    // A net increase, a net decrease, and one of each.
    for amounts in [
        first,
        [(300, 64), (300, 64), (100, 48)],
        [(200, 48), (100, 32), (150, 56)],
        [(150, 64), (200, 24), (100, 24)],
    ] {
        if amounts != first {
            update(&up, &objects(amounts));
        }
        for (name, amounts) in ["c1", "c2", "c3"].iter().zip(amounts) {
            wait_files(&up, name, amounts);
        }
        let sum = |pick: fn(&Amounts) -> u64| amounts.iter().map(pick).sum();
        wait_pod(&up, (sum(|one| one.0), sum(|one| one.1)));
        wait_done(&up);
        let status = up.report().expect("a Pod").status;
        for (one, (cpu, memory)) in status.container_statuses.iter().zip(amounts) {
            assert_eq!(one.restart_count, 0, "{one:?}");
            let (cpu, memory) = (format!("{cpu}m"), format!("{memory}Mi"));
            assert_eq!(limits(one), Some((cpu.as_str(), memory.as_str())), "{one:?}");
            assert_eq!(one.allocated_resources.get("memory"), Some(&memory), "{one:?}");
        }
    }
    up.wait_event("ResizeCompleted", "Pod resize completed");
}

#[test]
fn lc_265_six_containers_limits_and_requests_come_and_equivalents_change_nothing() {
    let product = measured();
    let requests = |cpu: &str, memory: &str| json!({"requests": {"cpu": cpu, "memory": memory}});
    let both = |requests: Value, limits: Value| json!({"requests": requests, "limits": limits});
    let amounts = |cpu: &str, memory: &str| json!({"cpu": cpu, "memory": memory});
    let objects = |resources: [Value; 6]| {
        let containers: Vec<Value> = resources
            .into_iter()
            .enumerate()
            .map(|(index, resources)| watcher(&format!("c{}", index + 1), resources))
            .collect();
        [pod(
            json!({"containers": containers, "terminationGracePeriodSeconds": 0}),
        )]
    };
    let up = Up::start(
        &product,
        &objects([
            json!({}),
            requests("100m", "16Mi"),
            both(amounts("100m", "16Mi"), amounts("200m", "32Mi")),
            both(amounts("100m", "16Mi"), amounts("200m", "32Mi")),
            exactly((100, 24)),
            requests("250m", "16Mi"),
        ]),
        &[],
    );
    let shows = |name: &str, file: &str, value: &str| {
        wait_for(&format!("{file} of {name} to be {value}"), || {
            (newest(&up, name, file)? == value).then_some(())
        });
    };
    shows("c1", "memory.max", "max");
    shows("c2", "cpu.max", "max 100000");
    shows("c3", "memory.max", "33554432");
    shows("c6", "cpu.weight", "35");
    wait_for("the Pod without a limit", || {
        up.console().contains("probe: pod memory.max max").then_some(())
    });
    update(
        &up,
        &objects([
            // Requests and limits are added to nothing, limits to requests.
            exactly((200, 32)),
            both(amounts("100m", "16Mi"), amounts("200m", "32Mi")),
            // More, less.
            both(amounts("200m", "32Mi"), amounts("300m", "48Mi")),
            both(amounts("50m", "8Mi"), amounts("100m", "24Mi")),
            // The same, written otherwise.
            json!({"limits": {"cpu": "0.1", "memory": "24576Ki"}}),
            // A request is added to, and a limit of one resource only.
            both(amounts("1", "16Mi"), json!({"cpu": "1"})),
        ]),
    );
    wait_files(&up, "c1", (200, 32));
    wait_files(&up, "c2", (200, 32));
    wait_files(&up, "c3", (300, 48));
    wait_files(&up, "c4", (100, 24));
    wait_files(&up, "c5", (100, 24));
    shows("c6", "cpu.max", "100000 100000");
    shows("c6", "memory.max", "max");
    // 1024 shares.
    shows("c6", "cpu.weight", "100");
    // Every container has a limit of CPU now: 200 + 200 + 300 + 100 + 100 + 1000.
    wait_for("the Pod's limit of CPU", || {
        up.console()
            .contains("probe: pod cpu.max 190000 100000")
            .then_some(())
    });
    wait_done(&up);
    let status = up.report().expect("a Pod").status;
    assert!(
        status.container_statuses.iter().all(|one| one.restart_count == 0),
        "{status:?}"
    );
    // Equivalents alone are no resize.
    let lines = said(&up, "c5");
    let files = lines.iter().filter(|line| line.starts_with("/sys/"));
    assert_eq!(files.count(), 3, "c5 has seen a change: {lines:?}");
}

#[test]
fn lc_266_only_whom_the_policy_names_starts_again() {
    let product = measured();
    let objects = |amounts: [Amounts; 3]| {
        let policy = |cpu: &str, memory: &str| json!([{"resourceName": "cpu", "restartPolicy": cpu}, {"resourceName": "memory", "restartPolicy": memory}]);
        let [both, memory, neither] = amounts.map(exactly);
        let containers = [
            with(
                watcher("both", both),
                "resizePolicy",
                policy("RestartContainer", "RestartContainer"),
            ),
            with(
                watcher("memory", memory),
                "resizePolicy",
                policy("NotRequired", "RestartContainer"),
            ),
            with(
                watcher("neither", neither),
                "resizePolicy",
                policy("NotRequired", "NotRequired"),
            ),
        ];
        [pod(
            json!({"containers": containers, "terminationGracePeriodSeconds": 0}),
        )]
    };
    let up = Up::start(&product, &objects([(100, 32); 3]), &[]);
    for name in ["both", "memory", "neither"] {
        wait_files(&up, name, (100, 32));
    }
    let mut restarts = [0; 3];
    // CPU alone, memory alone, both at once, nothing.
    for (amounts, again) in [
        ((150, 32), [1, 0, 0]),
        ((150, 48), [1, 1, 0]),
        ((100, 24), [1, 1, 0]),
        ((100, 24), [0, 0, 0]),
    ] {
        update(&up, &objects([amounts; 3]));
        for (count, more) in restarts.iter_mut().zip(again) {
            *count += more;
        }
        for (name, restarts) in ["both", "memory", "neither"].iter().zip(restarts) {
            up.wait_container(name, "with the new amounts", |status| {
                let (cpu, memory) = (format!("{}m", amounts.0), format!("{}Mi", amounts.1));
                status.restart_count == restarts && limits(status) == Some((cpu.as_str(), memory.as_str()))
            });
            wait_files(&up, name, amounts);
        }
        wait_pod(&up, (3 * amounts.0, 3 * amounts.1));
        wait_done(&up);
    }
    up.wait_event("Killing", "Container both resize requires restart");
}

#[test]
fn lc_268_an_init_container_that_runs_is_resized() {
    let product = measured();
    let objects = |amounts: Amounts| {
        let init = watcher("init", exactly(amounts));
        let app = with(guest("app", &["sleep"]), "resources", exactly((100, 32)));
        [pod(
            json!({"initContainers": [init], "containers": [app], "terminationGracePeriodSeconds": 0}),
        )]
    };
    let up = Up::start(&product, &objects((100, 32)), &[]);
    wait_files(&up, "init", (100, 32));
    wait_pod(&up, (100, 32));
    update(&up, &objects((200, 64)));
    wait_files(&up, "init", (200, 64));
    wait_pod(&up, (200, 64));
    let init = up.wait_init("init", "resized", |status| {
        limits(status) == Some(("200m", "64Mi"))
    });
    assert_eq!(init.restart_count, 0);
    up.wait_waiting("app", "PodInitializing");
}

/// `spec.resources` is resized as well; a container without limits of its own follows (K-448).
#[test]
fn lc_264_the_pods_own_resources_are_resized() {
    let product = measured();
    let objects = |amounts: Amounts| {
        let spec = json!({"containers": [watcher("free", json!({}))], "resources": exactly(amounts),
                          "terminationGracePeriodSeconds": 0});
        [pod(spec)]
    };
    let up = Up::start(&product, &objects((200, 64)), &[]);
    for amounts in [(200, 64), (400, 96), (100, 48)] {
        if amounts != (200, 64) {
            update(&up, &objects(amounts));
        }
        wait_files(&up, "free", amounts);
        wait_pod(&up, amounts);
        wait_done(&up);
    }
    assert_eq!(up.wait_running("free").restart_count, 0);
    let status = up.report().expect("a Pod").status;
    assert_eq!(
        status.resources.limits.get("memory").map(String::as_str),
        Some("48Mi")
    );
}
