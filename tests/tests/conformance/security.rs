//! Section M: securityContext.

use serde_json::{Value, json};
use tests::{Product, Up, guest, pod, product, wait_for};

/// All bits of the capabilities that this kernel has.
/// Those that this machine gives to root: no container can have others.
fn all_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    u64::from_str_radix(bounding.expect("a set").trim(), 16).expect("hexadecimal")
}

pub(crate) fn with(mut container: Value, key: &str, value: Value) -> Value {
    container[key] = value;
    container
}

fn secured(container: Value, context: &Value) -> Value {
    with(container, "securityContext", context.clone())
}

/// What each container has printed, by its name, when the Pod has ended well.
fn ends(up: &mut Up) -> impl Fn(&str) -> String + use<> {
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    let text = up.stdout();
    move |name| {
        let of_it = |line| {
            let (who, rest) = str::split_once(line, "| ")?;
            (who.split_whitespace().last() == Some(name)).then_some(rest)
        };
        text.lines().filter_map(of_it).collect::<Vec<_>>().join("\n")
    }
}

fn run(product: &Product, mut spec: Value) -> Up {
    if spec["restartPolicy"].is_null() {
        spec["restartPolicy"] = json!("Never");
    }
    Up::start(product, &[pod(spec)], &[])
}

#[track_caller]
fn has(text: &str, line: &str) {
    assert!(
        text.lines().any(|have| have == line),
        "no line {line:?} in:\n{text}"
    );
}

/// Runs `inspect` in containers with these contexts, all in one Pod.
fn inspect(pod_context: &Value, contexts: &[(&str, Value)]) -> Option<impl Fn(&str) -> String + use<>> {
    let product = product()?;
    let containers = contexts
        .iter()
        .map(|(name, context)| secured(guest(name, &["inspect"]), context));
    let containers: Vec<Value> = containers.collect();
    let mut up = run(
        &product,
        json!({"securityContext": pod_context, "containers": containers}),
    );
    Some(ends(&mut up))
}

#[test]
fn lc_240_runs_as_the_user_that_is_asked_for() {
    let contexts = [
        ("nobody", json!({"runAsUser": 65534})),
        ("root", json!({"runAsUser": 0})),
    ];
    let Some(said) = inspect(&json!({}), &contexts) else {
        return;
    };
    has(&said("nobody"), "Uid: 65534 65534 65534 65534");
    has(&said("root"), "Uid: 0 0 0 0");
}

#[test]
fn lc_241_a_user_that_is_not_root_satisfies_run_as_non_root() {
    let contexts = [("app", json!({"runAsNonRoot": true, "runAsUser": 1234}))];
    let Some(said) = inspect(&json!({}), &contexts) else {
        return;
    };
    has(&said("app"), "Uid: 1234 1234 1234 1234");
}

/// Waits for the event, too.
fn cannot_be_created(context: &Value, message: &str) {
    let Some(product) = product() else { return };
    let container = secured(guest("app", &["sleep"]), context);
    let up = Up::start(&product, &[pod(json!({"containers": [container]}))], &[]);
    let said = up.wait_waiting("app", "CreateContainerConfigError");
    assert!(said.starts_with(message), "{said}");
    assert!(
        said.ends_with(", container: app)") && said.contains("(pod: \"test_default("),
        "{said}"
    );
    wait_event(&up, "Failed", &format!("Error: {message}"));
    assert_eq!(format!("{:?}", up.phase()), "Some(Pending)");
}

/// Waits for an event with this reason whose message begins so.
pub(crate) fn wait_event(up: &Up, reason: &str, start: &str) -> String {
    wait_for(&format!("an event {reason} with {start:?}"), || {
        let output = up.client(&["status", "-o", "json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
        let events = answer.get("events")?.as_array()?.clone();
        events.into_iter().find_map(|event| {
            let message = event.get("message")?.as_str()?.to_owned();
            (event.get("reason")? == reason && message.starts_with(start)).then_some(message)
        })
    })
}

#[test]
fn lc_242_root_by_number_breaks_run_as_non_root() {
    cannot_be_created(
        &json!({"runAsNonRoot": true, "runAsUser": 0}),
        "container's runAsUser breaks non-root policy (pod: ",
    );
}

#[test]
fn lc_244_an_image_without_a_user_is_root() {
    cannot_be_created(
        &json!({"runAsNonRoot": true}),
        "container has runAsNonRoot and image will run as root (pod: ",
    );
}

#[test]
fn lc_245_the_root_file_system_is_read_only_if_asked_for() {
    let contexts = [
        ("closed", json!({"readOnlyRootFilesystem": true})),
        ("open", json!({"readOnlyRootFilesystem": false})),
    ];
    let Some(said) = inspect(&json!({}), &contexts) else {
        return;
    };
    has(&said("closed"), "write /: ReadOnlyFilesystem");
    has(&said("open"), "write /: ok");
}

#[test]
fn lc_246_only_the_root_file_system_is_closed() {
    let Some(product) = product() else { return };
    // K-419.
    let script = [
        "/data/file",
        "/dev/shm/file",
        "/etc/hosts",
        "/dev/termination-log",
        "/file",
    ];
    let closed = json!({"readOnlyRootFilesystem": true});
    let containers = script.iter().enumerate().map(|(number, path)| {
        let container = secured(guest(&format!("c{number}"), &["try-write", path]), &closed);
        with(
            container,
            "volumeMounts",
            json!([{"name": "data", "mountPath": "/data"}]),
        )
    });
    let containers: Vec<Value> = containers.collect();
    let volumes = json!([{"name": "data", "emptyDir": {}}]);
    let mut up = run(&product, json!({"containers": containers, "volumes": volumes}));
    let said = ends(&mut up);
    for (number, path) in script.iter().enumerate() {
        let expected = if *path == "/file" {
            "ReadOnlyFilesystem"
        } else {
            "ok"
        };
        has(&said(&format!("c{number}")), &format!("write {path}: {expected}"));
    }
}

#[test]
fn lc_248_only_a_privileged_container_has_privileges() {
    let Some(product) = product() else { return };
    let containers = [
        secured(guest("privileged", &["calls"]), &json!({"privileged": true})),
        guest("plain", &["calls"]),
        secured(guest("inside", &["inspect"]), &json!({"privileged": true})),
    ];
    let mut up = run(&product, json!({"containers": containers}));
    let said = ends(&mut up);
    has(&said("privileged"), "call mount: ok");
    has(&said("privileged"), "call sethostname: ok");
    has(&said("plain"), "call mount: errno 1");
    has(&said("plain"), "call sethostname: errno 1");
    has(&said("inside"), &format!("CapEff: {:016x}", all_capabilities()));
    // K-418: nothing is masked or read-only.
    has(&said("inside"), "write /proc/sys/kernel/hostname: ok");
    // And what guards the enclave stays.
    for call in ["io_uring_setup: errno 38", "bpf: errno 1", "kexec_load: errno 1"] {
        has(&said("privileged"), &format!("call {call}"));
    }
    has(&said("privileged"), "call of the security module: errno 1");
}

#[test]
fn lc_249_privileges_can_be_gained_unless_that_is_forbidden() {
    let Some(product) = product() else { return };
    let mount = json!([{"name": "data", "mountPath": "/data"}]);
    let copy = with(
        guest("copy", &["copy-setuid", "/data/guest"]),
        "volumeMounts",
        mount.clone(),
    );
    let user = |name: &str, allowed: Value| {
        let mut own = json!({"name": name, "image": "guest", "command": ["/data/guest", "inspect"], "volumeMounts": mount});
        own["securityContext"] = json!({"runAsUser": 1000, "allowPrivilegeEscalation": allowed});
        own
    };
    let containers = [
        user("unset", Value::Null),
        user("forbidden", json!(false)),
        user("allowed", json!(true)),
    ];
    let volumes = json!([{"name": "data", "emptyDir": {}}]);
    let spec = json!({"initContainers": [copy], "containers": containers, "volumes": volumes});
    let mut up = run(&product, spec);
    let said = ends(&mut up);
    // Real, effective, saved, file system.
    has(&said("unset"), "Uid: 1000 0 0 0");
    has(&said("forbidden"), "Uid: 1000 1000 1000 1000");
    has(&said("forbidden"), "NoNewPrivs: 1");
    has(&said("allowed"), "Uid: 1000 0 0 0");
    has(&said("allowed"), "NoNewPrivs: 0");
}

/// An OCI layout with `guest` and a user in its files: fsgroup tests of upstream use such an image.
fn image_with_groups(product: &Product) -> tempfile::TempDir {
    let layout = tempfile::Builder::new()
        .prefix("clg")
        .tempdir()
        .expect("a scratch directory");
    let tree = tempfile::tempdir().expect("a tree");
    std::fs::create_dir(tree.path().join("etc")).expect("a directory");
    std::fs::write(
        tree.path().join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\nuser-defined:x:1000:1000::/home/user:/bin/sh\n",
    )
    .expect("a file");
    std::fs::write(
        tree.path().join("etc/group"),
        "root:x:0:\nuser-defined:x:1000:\ngroup-defined-in-image:x:50000:user-defined\n",
    )
    .expect("a file");
    let blob = |digest: &Value| {
        let digest = digest
            .as_str()
            .expect("a digest")
            .trim_start_matches("sha256:")
            .to_owned();
        product.guests.join("blobs/sha256").join(digest)
    };
    let read = |path: &std::path::Path| -> Value {
        serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
    };
    let index = read(&product.guests.join("index.json"));
    let manifest = read(&blob(&index["manifests"][0]["digest"]));
    let config = read(&blob(&manifest["config"]["digest"]));
    let descriptor: rootfs::image::Descriptor =
        serde_json::from_value(manifest["layers"][0].clone()).expect("a descriptor");
    let writer = rootfs::write::LayoutWriter::create(layout.path()).expect("a layout");
    let copy = layout.path().join("blobs/sha256").join(descriptor.digest.hex());
    std::fs::copy(blob(&manifest["layers"][0]["digest"]), copy).expect("a copy");
    let diff_id = serde_json::from_value(config["rootfs"]["diff_ids"][0].clone()).expect("a digest");
    let layers = [
        rootfs::write::LayerDescriptor { descriptor, diff_id },
        writer.add_layer(tree.path(), true).expect("a layer"),
    ];
    writer
        .write_image("groups", rootfs::image::ImageConfig::default(), &layers)
        .expect("an image");
    layout
}

#[test]
fn lc_250_supplementary_groups_are_merged_unless_strict() {
    let Some(product) = product() else { return };
    let layout = image_with_groups(&product);
    for (policy, expected) in [
        (Value::Null, "Groups: 1000 50000 60000"),
        (json!("Merge"), "Groups: 1000 50000 60000"),
        (json!("Strict"), "Groups: 1000 60000"),
    ] {
        let context =
            json!({"runAsUser": 1000, "supplementalGroups": [60000], "supplementalGroupsPolicy": policy});
        let container = json!({"name": "app", "image": "groups", "command": ["/guest", "inspect"]});
        let spec = json!({"restartPolicy": "Never", "containers": [container], "securityContext": context});
        let images = ["--images", layout.path().to_str().expect("UTF-8")];
        let mut up = Up::start(&product, &[pod(spec)], &images);
        let said = ends(&mut up);
        has(&said("app"), expected);
        has(&said("app"), "Gid: 1000 1000 1000 1000");
    }
}

#[test]
fn lc_252_users_and_groups_of_the_container_override_the_pods() {
    let pod_context = json!({"runAsUser": 1001, "runAsGroup": 2001});
    let contexts = [
        ("pods", json!({})),
        ("own-user", json!({"runAsUser": 1002})),
        ("own-both", json!({"runAsUser": 1002, "runAsGroup": 2002})),
    ];
    let Some(said) = inspect(&pod_context, &contexts) else {
        return;
    };
    let ids = |name: &str, user: u32, group: u32| {
        has(&said(name), &format!("Uid: {user} {user} {user} {user}"));
        has(&said(name), &format!("Gid: {group} {group} {group} {group}"));
    };
    ids("pods", 1001, 2001);
    ids("own-user", 1002, 2001);
    ids("own-both", 1002, 2002);
}

/// Unconfined containers are filtered, too: vsock and the security module stay out of reach, so `Seccomp:` is 2 as well.
/// What tells the profiles apart is what they let through.
fn profile(said: &str, confined: bool) {
    let errno = |call: &str| {
        let start = format!("call {call}: ");
        let line = said.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("no {call} in:\n{said}")).to_owned()
    };
    if confined {
        assert_eq!(errno("personality of 32 bits"), "errno 1");
        assert_eq!(errno("clone3"), "errno 38");
        assert_eq!(errno("socket of ALG"), "errno 97");
        assert_eq!(errno("unshare"), "errno 1");
        assert_eq!(errno("keyctl"), "errno 1");
    } else {
        assert_eq!(errno("personality of 32 bits"), "ok");
        // The kernel looks at its arguments.
        assert_eq!(errno("clone3"), "errno 22");
        assert_ne!(errno("keyctl"), "errno 1");
    }
    assert_eq!(errno("personality"), "ok");
    assert_eq!(errno("socket of UNIX"), "ok");
    assert_eq!(errno("that no kernel knows"), "errno 38");
    assert_eq!(errno("io_uring_setup"), "errno 38");
    assert_eq!(errno("bpf"), "errno 1");
    assert_eq!(errno("of the security module"), "errno 1");
}

#[test]
fn lc_253_profiles_of_the_container_and_of_the_pod() {
    let Some(product) = product() else { return };
    let calls = |name: &str, context: &Value| secured(guest(name, &["calls"]), context);
    let unconfined = json!({"seccompProfile": {"type": "Unconfined"}});
    let default = json!({"seccompProfile": {"type": "RuntimeDefault"}});
    let containers = [calls("open", &unconfined), calls("closed", &default)];
    let mut up = run(&product, json!({"containers": containers}));
    let said = ends(&mut up);
    profile(&said("open"), false);
    profile(&said("closed"), true);
    let containers = [calls("pods", &json!({})), calls("own", &default)];
    let mut up = run(
        &product,
        json!({"containers": containers, "securityContext": unconfined}),
    );
    let said = ends(&mut up);
    profile(&said("pods"), false);
    profile(&said("own"), true);
}

#[test]
fn lc_254_the_default_profile_is_used_when_none_is_named() {
    let Some(product) = product() else { return };
    let containers = [
        guest("unset", &["calls"]),
        secured(
            guest("open", &["calls"]),
            &json!({"seccompProfile": {"type": "Unconfined"}}),
        ),
        guest("status", &["inspect"]),
    ];
    let mut up = run(&product, json!({"containers": containers}));
    let said = ends(&mut up);
    profile(&said("unset"), true);
    profile(&said("open"), false);
    has(&said("status"), "Seccomp: 2");
}

#[test]
fn commands_of_probes_are_filtered_like_their_container() {
    let Some(product) = product() else { return };
    let path = "/data/filtered";
    let command = json!(["/guest", "inspect-to", path]);
    let container = with(
        guest("app", &["show", path]),
        "readinessProbe",
        json!({"exec": {"command": command}, "periodSeconds": 1}),
    );
    let mount = json!([{"name": "data", "mountPath": "/data"}]);
    let reader = guest("reader", &["wait-and-cat", path]);
    let containers = [
        with(
            secured(container, &json!({"runAsUser": 1000})),
            "volumeMounts",
            mount.clone(),
        ),
        with(reader, "volumeMounts", mount),
    ];
    let volumes = json!([{"name": "data", "emptyDir": {}}]);
    let up = Up::start(
        &product,
        &[pod(json!({"containers": containers, "volumes": volumes}))],
        &[],
    );
    up.wait_log("end of the status");
    let text = up.stdout();
    for line in [
        "Seccomp:\t2",
        "Uid:\t1000\t1000\t1000\t1000",
        "CapEff:\t0000000000000000",
    ] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
}

#[test]
fn lc_257_safe_sysctls_are_set_in_the_pod_and_unsafe_ones_refused() {
    let Some(product) = product() else { return };
    let sysctl = |name: &str| {
        let containers = [guest("app", &["cat", "/proc/sys/kernel/shm_rmid_forced"])];
        let context = json!({"sysctls": [{"name": name, "value": "1"}]});
        run(
            &product,
            json!({"containers": containers, "securityContext": context}),
        )
    };
    for name in ["kernel.shm_rmid_forced", "kernel/shm_rmid_forced"] {
        let mut up = sysctl(name);
        assert_eq!(ends(&mut up)("app"), "1");
    }
    for (name, words) in [
        (
            "kernel.msgmax",
            "SysctlForbidden: forbidden sysctl: \"kernel.msgmax\" not allowlisted",
        ),
        ("foo-", "sysctls[0].name: must be"),
    ] {
        let mut up = sysctl(name);
        assert_ne!(up.exit_code(), 0);
        assert!(up.stderr().contains(words), "{}", up.stderr());
        assert!(up.stdout().is_empty(), "{}", up.stdout());
    }
}

#[test]
fn lc_258_capabilities_are_added_and_dropped_in_order() {
    let contexts = [
        (
            "one",
            json!({"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}),
        ),
        (
            "most",
            json!({"capabilities": {"drop": ["CHOWN"], "add": ["ALL"]}}),
        ),
        ("default", json!({})),
        ("user", json!({"runAsUser": 1000})),
    ];
    let Some(said) = inspect(&json!({}), &contexts) else {
        return;
    };
    let sets = |name: &str, bounding: u64, effective: u64| {
        let said = said(name);
        has(&said, &format!("CapBnd: {bounding:016x}"));
        has(&said, &format!("CapEff: {effective:016x}"));
        has(&said, "CapAmb: 0000000000000000");
        has(&said, "CapInh: 0000000000000000");
    };
    sets("one", 1 << 12, 1 << 12);
    let most = all_capabilities() & !1;
    sets("most", most, most);
    // K-417.
    sets("default", 0xa804_25fb, 0xa804_25fb);
    sets("user", 0xa804_25fb, 0);
}
