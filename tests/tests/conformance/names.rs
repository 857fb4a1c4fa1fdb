//! Section O: namespaces, names, hosts.

use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::{Up, guest, pod, product, wait_for};

use crate::security::{wait_event, with};

/// The lines of a container.
fn lines(up: &Up, name: &str) -> Vec<String> {
    let of_it = |line: &str| {
        let (who, rest) = line.split_once("| ")?;
        (who.split_whitespace().last() == Some(name)).then(|| rest.to_owned())
    };
    up.stdout().lines().filter_map(of_it).collect()
}

/// What containers print that run to their end.
fn printed(mut spec: Value, objects: &[Value], name: &str) -> Option<Vec<String>> {
    let product = product()?;
    if spec["restartPolicy"].is_null() {
        spec["restartPolicy"] = json!("Never");
    }
    let mut all = vec![pod(spec)];
    all.extend_from_slice(objects);
    let mut up = Up::start(&product, &all, &[]);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    Some(lines(&up, name))
}

#[test]
fn lc_270_each_container_has_pid_1() {
    let containers = [guest("a", &["inspect"]), guest("b", &["inspect"])];
    for name in ["a", "b"] {
        let spec = json!({"containers": containers});
        let Some(said) = printed(spec, &[], name) else {
            return;
        };
        assert!(said.contains(&"pid: 1".to_owned()), "{said:?}");
    }
}

/// The newest list of processes that a container has printed.
fn processes(up: &Up, name: &str, holds: impl Fn(&str) -> bool) -> String {
    wait_for("the processes", || {
        let line = lines(up, name)
            .into_iter()
            .rfind(|line| line.starts_with("own "))?;
        holds(&line).then_some(line)
    })
}

#[test]
fn containers_of_a_pod_can_share_their_processes() {
    let Some(product) = product() else { return };
    let containers = [
        guest("looks", &["processes"]),
        guest("stays", &["hang-with-child", "witness"]),
        guest("dies", &["leave-child", "stray"]),
    ];
    let spec = json!({"shareProcessNamespace": true, "containers": containers, "restartPolicy": "OnFailure"});
    let up = Up::start(&product, &[pod(spec)], &[]);
    // K-480: the first process is the Pod's; no other of the enclave's is there, but for a container that is starting.
    let line = processes(&up, "looks", |line| {
        line.contains("child-of witness") && !line.contains("cloister-init child")
    });
    assert!(line.contains("[1 cloister-init pause "), "{line}");
    assert!(!line.starts_with("own 1 "), "{line}");
    assert!(!line.contains("cloister-init net"), "{line}");
    // What a container leaves behind goes with it, though the namespace stays.
    up.wait_container("dies", "ended", |status| {
        matches!(
            status.state,
            manifest_sync::status::ContainerState::Terminated { exit_code: 0, .. }
        )
    });
    up.wait_log("left stray");
    let line = processes(&up, "looks", |line| !line.contains("stray"));
    assert!(line.contains("child-of witness"), "{line}");
    assert_eq!(
        up.report()
            .expect("a report")
            .status
            .container_statuses
            .iter()
            .filter(|c| c.name == "stays")
            .count(),
        1
    );
    // Signals reach the container's own process: SIGKILL to the child's parent ends it, and it is started again.
    let stays = up.wait_running("stays");
    let init = up.enclave_pid().expect("an enclave");
    let child = Up::children_of(init).into_iter().find(|pid| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains("hang-with-child\0witness")
    });
    nix::sys::signal::kill(
        Pid::from_raw(child.expect("its process")),
        nix::sys::signal::Signal::SIGKILL,
    )
    .expect("our own");
    let again = up.wait_container("stays", "restarted", |status| {
        status.restart_count > stays.restart_count
    });
    let Some(manifest_sync::status::ContainerState::Terminated { exit_code, .. }) = again.last_state else {
        panic!("{again:?}");
    };
    assert_eq!(exit_code, 137);
}

#[test]
fn a_pod_with_shared_processes_is_stopped_probed_and_hooked_like_any_other() {
    let Some(product) = product() else { return };
    let mount = json!([{"name": "data", "mountPath": "/data"}]);
    let mut app = with(guest("app", &["sleep"]), "volumeMounts", mount);
    app["readinessProbe"] = json!({"exec": {"command": ["/guest", "exists", "/guest"]}, "periodSeconds": 1});
    app["lifecycle"] =
        json!({"postStart": {"exec": {"command": ["/guest", "append", "/data/log", "started"]}}});
    let bad = json!({"name": "bad", "image": "guest", "command": ["/no-such-program"]});
    let volumes = json!([{"name": "data", "emptyDir": {}}]);
    let spec = json!({"shareProcessNamespace": true, "containers": [app, bad], "volumes": volumes,
        "terminationGracePeriodSeconds": 30});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_container("app", "ready", |status| status.ready);
    // A program that is not there is reported as it is elsewhere.
    let bad = up.wait_container("bad", "failed", |status| status.restart_count > 0 || status.last_state.is_some()
        || matches!(&status.state, manifest_sync::status::ContainerState::Waiting { message: Some(message), .. } if message.contains("no-such-program")));
    assert!(format!("{bad:?}").contains("no-such-program"), "{bad:?}");
    // It is no PID 1, so SIGTERM ends it at once, long before the grace period does.
    up.signal(nix::sys::signal::Signal::SIGTERM);
    let start = std::time::Instant::now();
    up.wait();
    assert!(
        start.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn lc_272_host_aliases_are_in_etc_hosts() {
    let spec = json!({"containers": [guest("app", &["cat", "/etc/hosts"])],
        "hostAliases": [{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}]});
    let Some(said) = printed(spec, &[], "app") else {
        return;
    };
    assert_eq!(
        said.first().map(String::as_str),
        Some("# Kubernetes-managed hosts file.")
    );
    let end = ["", "# Entries added by HostAliases.", "123.45.67.89\tfoo\tbar"];
    assert!(said.ends_with(&end.map(str::to_owned)), "{said:?}");
}

#[test]
fn lc_273_etc_hosts_is_managed_unless_the_container_brings_its_own() {
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"hosts": "# my own\n"}});
    let own = with(
        guest("own", &["cat", "/etc/hosts"]),
        "volumeMounts",
        json!([{"name": "hosts", "mountPath": "/etc/hosts", "subPath": "hosts"}]),
    );
    let containers = json!([
        guest("first", &["cat", "/etc/hosts"]),
        guest("second", &["cat", "/etc/hosts"]),
        own
    ]);
    let spec = json!({"containers": containers, "volumes": [{"name": "hosts", "configMap": {"name": "c"}}],
        "hostname": "front", "subdomain": "tier"});
    for name in ["first", "second"] {
        let Some(said) = printed(spec.clone(), std::slice::from_ref(&config), name) else {
            return;
        };
        assert_eq!(
            said.first().map(String::as_str),
            Some("# Kubernetes-managed hosts file.")
        );
        let own = "127.0.0.1\tfront.tier.default.svc.cluster.local\tfront";
        assert!(said.contains(&own.to_owned()), "{said:?}");
    }
    let Some(said) = printed(spec, &[config], "own") else {
        return;
    };
    assert_eq!(said, ["# my own"]);
}

#[test]
fn lc_276_a_name_that_is_too_long_keeps_the_pod_pending() {
    let Some(product) = product() else { return };
    let spec = json!({"containers": [guest("app", &["sleep"])], "setHostnameAsFQDN": true,
        "hostname": "a".repeat(63), "subdomain": "t"});
    let up = Up::start(&product, &[pod(spec)], &[]);
    let message = wait_event(
        &up,
        "FailedCreatePodSandBox",
        "Failed to create pod sandbox: failed to construct FQDN",
    );
    assert!(
        message.contains("is too long (64 characters is the max, "),
        "{message}"
    );
    let waiting = up.wait_waiting("app", "ContainerCreating");
    assert_eq!(waiting, "");
    assert_eq!(format!("{:?}", up.phase()), "Some(Pending)");
}

#[test]
fn lc_277_the_kernels_host_name_is_the_pods() {
    let name = |fields: Value| {
        let mut spec = json!({"containers": [guest("app", &["cat", "/proc/sys/kernel/hostname"]), guest("file", &["cat", "/etc/hostname"])]});
        for (key, value) in fields.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        let kernel = printed(spec.clone(), &[], "app")?;
        Some((kernel.join(""), printed(spec, &[], "file")?.join("")))
    };
    let taken = |fields: Value, kernel: &str, file: &str| {
        if let Some(names) = name(fields) {
            assert_eq!(names, (kernel.to_owned(), file.to_owned()));
        }
    };
    taken(
        json!({"hostnameOverride": "over", "hostname": "own", "subdomain": "t"}),
        "over",
        "over",
    );
    taken(
        json!({"hostname": "own", "subdomain": "t", "setHostnameAsFQDN": true}),
        "own.t.default.svc.cluster.local",
        "own.t.default.svc.cluster.local",
    );
}

#[test]
fn lc_278_resolv_conf_is_what_dns_config_says() {
    let spec = json!({"containers": [guest("app", &["cat", "/etc/resolv.conf"])], "dnsPolicy": "None", "dnsConfig": {
        "nameservers": ["1.1.1.1"], "searches": ["resolv.conf.local", "example.org"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}});
    let Some(said) = printed(spec, &[], "app") else {
        return;
    };
    assert_eq!(
        said,
        [
            "search resolv.conf.local example.org",
            "nameserver 1.1.1.1",
            "options ndots:2 edns0"
        ]
    );
}

#[test]
fn a_dns_policy_that_cannot_be_had_is_told() {
    let Some(product) = product() else { return };
    let up = Up::start(
        &product,
        &[pod(
            json!({"containers": [guest("app", &["sleep"])], "dnsPolicy": "ClusterFirst"}),
        )],
        &[],
    );
    wait_event(&up, "MissingClusterDNS", "pod: \"test_default(");
    up.wait_running("app");
}
