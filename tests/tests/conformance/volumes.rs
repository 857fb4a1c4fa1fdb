//! Volumes (section L of the cases).

use serde_json::{Value, json};

use super::script::{config_map, container, merge, run, run_one, secret, start};

/// Mounts volume `v` at `/v`, with these fields.
fn mounted(fields: &Value) -> Value {
    let mut mount = json!({"name": "v", "mountPath": "/v"});
    merge(&mut mount, fields);
    json!({"volumeMounts": [mount]})
}

/// Volume `v` of this source.
fn volume(source: &Value) -> Value {
    let mut volume = json!({"name": "v"});
    merge(&mut volume, source);
    json!({"volumes": [volume]})
}

fn with_fs_group(mut spec: Value) -> Value {
    spec["securityContext"] = json!({"fsGroup": 123});
    spec
}

fn non_root(mut fields: Value) -> Value {
    fields["securityContext"] = json!({"runAsUser": 1000, "runAsGroup": 1000});
    fields
}

#[test]
fn lc_210_an_empty_dir_is_open_to_everybody() {
    for (source, mode) in [
        (json!({"emptyDir": {}}), "777"),
        (json!({"emptyDir": {"medium": "Memory"}}), "1777"),
    ] {
        let steps = ["stat /v", "mounted /v", "write /v/f x"];
        let Some(ended) = run_one(&steps, &non_root(mounted(&json!({}))), &volume(&source), &[]) else {
            return;
        };
        ended.has(&format!("/v: {mode} 0 0"));
        ended.has("write /v/f x: ok");
        assert!(
            ended.lines.iter().any(|line| line.starts_with("/v is tmpfs ")),
            "{:?}",
            ended.lines
        );
    }
}

#[test]
fn lc_212_containers_share_an_empty_dir() {
    let mount = mounted(&json!({}));
    let containers = json!([
        container("writer", &["write /v/next shared", "link next /v/done"], &mount),
        container("reader", &["wait /v/done", "read /v/next"], &mount),
    ]);
    let mut spec = volume(&json!({"emptyDir": {}}));
    spec["containers"] = containers;
    let Some(ended) = run(&spec, &[]) else { return };
    ended.has("/v/next: \"shared\"");
}

#[test]
fn lc_213_memory_has_the_size_of_its_limit() {
    let source = json!({"emptyDir": {"medium": "Memory", "sizeLimit": "10Mi"}});
    let steps = ["mounted /v", "fill /v/much 11"];
    let Some(ended) = run_one(&steps, &mounted(&json!({})), &volume(&source), &[]) else {
        return;
    };
    assert!(
        ended.lines.iter().any(|line| line.contains("size=10240k")),
        "{:?}",
        ended.lines
    );
    ended.has("fill /v/much 11: StorageFull");
}

#[test]
fn lc_214_files_belong_to_the_group_of_the_pod() {
    let spec = with_fs_group(volume(&json!({"emptyDir": {"medium": "Memory"}})));
    for fields in [mounted(&json!({})), non_root(mounted(&json!({})))] {
        let Some(ended) = run_one(&["create /v/f 0660", "stat /v/f"], &fields, &spec, &[]) else {
            return;
        };
        let stat = ended
            .lines
            .iter()
            .find(|line| line.starts_with("/v/f: "))
            .expect("a file");
        assert!(stat.starts_with("/v/f: 660 ") && stat.ends_with(" 123"), "{stat}");
    }
}

#[test]
fn lc_216_an_empty_dir_belongs_to_the_group_of_the_pod() {
    for (source, mode) in [
        (json!({"emptyDir": {}}), "2777"),
        (json!({"emptyDir": {"medium": "Memory"}}), "3777"),
    ] {
        let steps = [
            "stat /v",
            "create /v/f 0644",
            "stat /v/f",
            "make-directory /v/d",
            "stat /v/d",
        ];
        let Some(ended) = run_one(&steps, &mounted(&json!({})), &with_fs_group(volume(&source)), &[]) else {
            return;
        };
        ended.has(&format!("/v: {mode} 0 123"));
        ended.has("/v/f: 644 0 123");
        assert!(
            ended
                .lines
                .iter()
                .any(|line| line.starts_with("/v/d: 2") && line.ends_with(" 123"))
        );
    }
}

/// A ConfigMap and a Secret with the same keys.
fn objects() -> [Value; 2] {
    let data = json!({"data-1": "value-1", "data-2": "value-2"});
    [config_map("c", &data), secret("s", &data)]
}

/// The same volume as `configMap`, `secret`, and both projected.
fn sources(fields: &Value) -> [Value; 4] {
    let with = |name: &str, value: &str, fields: &Value| {
        let mut source = json!({name: value});
        merge(&mut source, fields);
        source
    };
    // `defaultMode` is the projected volume's, not its sources'.
    let mut inner = fields.clone();
    let mode = inner
        .as_object_mut()
        .and_then(|fields| fields.remove("defaultMode"));
    let projected = |source: Value| match &mode {
        Some(mode) => json!({"projected": {"sources": [source], "defaultMode": mode}}),
        None => json!({"projected": {"sources": [source]}}),
    };
    [
        json!({"configMap": with("name", "c", fields)}),
        json!({"secret": with("secretName", "s", fields)}),
        projected(json!({"configMap": with("name", "c", &inner)})),
        projected(json!({"secret": with("name", "s", &inner)})),
    ]
}

/// Does these steps on each of the four kinds; each must write these lines.
fn on_all_kinds(source: &Value, steps: &[&str], fields: &Value, spec: &Value, lines: &[&str]) {
    let volumes: Vec<Value> = sources(source)
        .into_iter()
        .enumerate()
        .map(|(number, mut source)| {
            source["name"] = json!(format!("v{number}"));
            source
        })
        .collect();
    let containers: Vec<Value> = (0..volumes.len())
        .map(|number| {
            let mut own = json!({"volumeMounts": [{"name": format!("v{number}"), "mountPath": "/v"}]});
            merge(&mut own, fields);
            container(&format!("kind-{number}"), steps, &own)
        })
        .collect();
    let count = containers.len();
    let mut whole = json!({"containers": containers, "volumes": volumes});
    merge(&mut whole, spec);
    let Some(ended) = run(&whole, &objects()) else {
        return;
    };
    for line in lines {
        let times = ended.lines.iter().filter(|have| have == line).count();
        assert_eq!(times, count, "{line:?} in {:#?}", ended.lines);
    }
}

#[test]
fn lc_217_keys_are_files() {
    on_all_kinds(
        &json!({}),
        &[
            "list /v",
            "read /v/data-1",
            "stat /v/data-1",
            "link-of /v/data-1",
            "read /v/..data/data-2",
        ],
        &json!({}),
        &json!({}),
        &[
            "/v: ..0000_00_00_00_00_00.0 ..data data-1 data-2",
            "/v/data-1: \"value-1\"",
            "/v/data-1: 644 0 0",
            "/v/data-1 -> ..data/data-1",
            "/v/..data/data-2: \"value-2\"",
        ],
    );
}

#[test]
fn lc_218_default_mode_is_the_mode_of_files() {
    let mode = json!({"defaultMode": 0o400});
    on_all_kinds(
        &mode,
        &["stat /v/data-1"],
        &json!({}),
        &json!({}),
        &["/v/data-1: 400 0 0"],
    );
}

#[test]
fn lc_220_other_users_and_their_group_can_read() {
    let fields = non_root(json!({}));
    let steps = ["read /v/data-1", "stat /v/data-1"];
    on_all_kinds(
        &json!({}),
        &steps,
        &fields,
        &json!({}),
        &["/v/data-1: \"value-1\"", "/v/data-1: 644 0 0"],
    );
    let mode = json!({"defaultMode": 0o400});
    // K-394.
    let lines = ["/v/data-1: \"value-1\"", "/v/data-1: 440 0 123"];
    on_all_kinds(&mode, &steps, &fields, &with_fs_group(json!({})), &lines);
    on_all_kinds(
        &mode,
        &steps,
        &fields,
        &json!({}),
        &["/v/data-1: PermissionDenied", "/v/data-1: 400 0 0"],
    );
}

#[test]
fn lc_221_items_choose_keys_paths_and_modes() {
    let items = json!({"defaultMode": 0o600, "items": [{"key": "data-2", "path": "path/to/data-2", "mode": 0o400},
                                                        {"key": "data-1", "path": "one"}]});
    let steps = [
        "list /v/path/to",
        "read /v/path/to/data-2",
        "stat /v/path/to/data-2",
        "stat /v/one",
        "stat /v/data-1",
    ];
    let lines = [
        "/v/path/to: data-2",
        "/v/path/to/data-2: \"value-2\"",
        "/v/path/to/data-2: 400 0 0",
        "/v/one: 600 0 0",
        "/v/data-1: NotFound",
    ];
    on_all_kinds(&items, &steps, &json!({}), &json!({}), &lines);
}

#[test]
fn lc_225_an_object_may_be_in_several_volumes() {
    let spec = json!({
        "containers": [container("app", &["read /a/data-1", "read /b/data-1"], &json!({"volumeMounts": [
            {"name": "a", "mountPath": "/a"}, {"name": "b", "mountPath": "/b"}]}))],
        "volumes": [{"name": "a", "configMap": {"name": "c"}}, {"name": "b", "configMap": {"name": "c"}}],
    });
    let Some(ended) = run(&spec, &objects()) else {
        return;
    };
    ended.has("/a/data-1: \"value-1\"");
    ended.has("/b/data-1: \"value-1\"");
}

#[test]
fn lc_226_a_volume_waits_for_its_object_and_its_keys() {
    let item = json!([{"key": "absent", "path": "p"}]);
    for (source, message) in [
        (
            json!({"configMap": {"name": "absent"}}),
            "configmap \"absent\" not found",
        ),
        (
            json!({"configMap": {"name": "c", "items": item}}),
            "configmap references non-existent config key: absent",
        ),
        (
            json!({"secret": {"secretName": "absent"}}),
            "secret \"absent\" not found",
        ),
    ] {
        let mut spec = volume(&source);
        spec["containers"] = json!([container("app", &[], &mounted(&json!({})))]);
        let Some(up) = start(&spec, &objects()) else {
            return;
        };
        up.wait_waiting("app", "ContainerCreating");
        let wanted = format!("MountVolume.SetUp failed for volume \"v\" : {message}");
        tests::wait_for(&wanted, || {
            let status = up.client(&["status"]).stdout;
            String::from_utf8_lossy(&status).contains(&wanted).then_some(())
        });
        assert_eq!(up.phase(), Some(manifest_sync::status::Phase::Pending));
    }
}

#[test]
fn lc_228_projected_objects_may_be_optional() {
    let sources = json!([{"configMap": {"name": "absent", "optional": true}},
                         {"secret": {"name": "s", "optional": true, "items": [{"key": "absent", "path": "p"}]}},
                         {"secret": {"name": "s", "items": [{"key": "data-1", "path": "q"}]}}]);
    let spec = volume(&json!({"projected": {"sources": sources}}));
    let Some(ended) = run_one(&["list /v", "read /v/q"], &mounted(&json!({})), &spec, &objects()) else {
        return;
    };
    ended.has("/v/q: \"value-1\"");
    assert!(
        ended.lines.iter().any(|line| line.ends_with("..data q")),
        "{:?}",
        ended.lines
    );
}

#[test]
fn lc_229_one_volume_holds_all_kinds() {
    let sources = json!([
        {"secret": {"name": "s", "items": [{"key": "data-1", "path": "secret/one"}]}},
        {"configMap": {"name": "c", "items": [{"key": "data-2", "path": "map/two"}]}},
        {"downwardAPI": {"items": [{"path": "podname", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    ]);
    let spec = volume(&json!({"projected": {"sources": sources}}));
    let steps = [
        "read /v/secret/one",
        "read /v/map/two",
        "read /v/podname",
        "write /v/podname x",
    ];
    let Some(ended) = run_one(&steps, &mounted(&json!({})), &spec, &objects()) else {
        return;
    };
    ended.has("/v/secret/one: \"value-1\"");
    ended.has("/v/map/two: \"value-2\"");
    ended.has("/v/podname: \"test\"");
    ended.has("write /v/podname x: ReadOnlyFilesystem");
}

/// `downwardAPI` with these fields and two files.
fn facts(fields: &Value) -> Value {
    let mut source = json!({"items": [
        {"path": "podname", "fieldRef": {"fieldPath": "metadata.name"}},
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}, "mode": 0o440},
    ]});
    merge(&mut source, fields);
    json!({"downwardAPI": source})
}

#[test]
fn lc_230_facts_about_the_pod_are_files() {
    let steps = [
        "read /v/podname",
        "stat /v/podname",
        "read /v/labels",
        "stat /v/labels",
    ];
    let Some(ended) = run_one(&steps, &mounted(&json!({})), &volume(&facts(&json!({}))), &[]) else {
        return;
    };
    ended.has("/v/podname: \"test\"");
    ended.has("/v/podname: 644 0 0");
    ended.has("/v/labels: \"app=\\\"test\\\"\\ntier=\\\"1\\\"\"");
    ended.has("/v/labels: 440 0 0");
    let spec = with_fs_group(volume(&facts(&json!({"defaultMode": 0o400}))));
    let ended = run_one(&steps, &non_root(mounted(&json!({}))), &spec, &[]).expect("a product");
    ended.has("/v/podname: \"test\"");
    ended.has("/v/podname: 440 0 123");
}

#[test]
fn lc_232_resources_of_containers_are_files() {
    let item = |path: &str, resource: &str, divisor: &str| {
        let reference = json!({"containerName": "app", "resource": resource, "divisor": divisor});
        json!({"path": path, "resourceFieldRef": reference})
    };
    let items = json!([
        item("cpu-limit", "limits.cpu", "1m"),
        item("cpu-request", "requests.cpu", "1m"),
        item("memory-limit", "limits.memory", "1Mi"),
        item("memory-request", "requests.memory", "1Mi"),
        item("storage-limit", "limits.ephemeral-storage", "1"),
    ]);
    let spec = volume(&json!({"downwardAPI": {"items": items}}));
    let mut fields = mounted(&json!({}));
    fields["resources"] =
        json!({"requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"cpu": "1250m", "memory": "64Mi"}});
    let steps = [
        "read /v/cpu-limit",
        "read /v/cpu-request",
        "read /v/memory-limit",
        "read /v/memory-request",
        "read /v/storage-limit",
    ];
    let Some(ended) = run_one(&steps, &fields, &spec, &[]) else {
        return;
    };
    ended.has("/v/cpu-limit: \"1250\"");
    ended.has("/v/cpu-request: \"250\"");
    ended.has("/v/memory-limit: \"64\"");
    ended.has("/v/memory-request: \"32\"");
    // What the machine has.
    ended
        .lines
        .iter()
        .for_each(|line| assert_ne!(line, "/v/storage-limit: \"0\""));
}

#[test]
fn lc_233_a_sub_path_is_one_file_of_a_volume() {
    let mount =
        |volume: &str, path: &str, sub: &str| json!({"name": volume, "mountPath": path, "subPath": sub});
    let fields = json!({"volumeMounts": [
        mount("map", "/etc/one", "data-1"),
        mount("secret", "/deep/er/two", "data-2"),
        mount("facts", "/name", "podname"),
        mount("projected", "/p", "dir"),
        // An existing file is covered.
        mount("map", "/guest-data", "data-2"),
        mount("map", "/etc/hostname", "data-2"),
    ]});
    let projected = json!([{"configMap": {"name": "c", "items": [{"key": "data-1", "path": "dir/in"}]}}]);
    let mut facts = facts(&json!({}));
    facts["name"] = json!("facts");
    let spec = json!({"volumes": [
        {"name": "map", "configMap": {"name": "c"}},
        {"name": "secret", "secret": {"secretName": "s"}},
        facts,
        {"name": "projected", "projected": {"sources": projected}},
    ]});
    let steps = [
        "read /etc/one",
        "read /deep/er/two",
        "read /name",
        "read /p/in",
        "read /etc/hostname",
        "write /etc/one x",
    ];
    let Some(ended) = run_one(&steps, &fields, &spec, &objects()) else {
        return;
    };
    ended.has("/etc/one: \"value-1\"");
    ended.has("/deep/er/two: \"value-2\"");
    ended.has("/name: \"test\"");
    ended.has("/p/in: \"value-1\"");
    ended.has("/etc/hostname: \"value-2\"");
    ended.has("write /etc/one x: ReadOnlyFilesystem");
}

#[test]
fn a_sub_path_is_made_and_cannot_be_led_out_of_its_volume() {
    let whole = mounted(&json!({}));
    let sub = |path: &str| mounted(&json!({"subPath": path}));
    let expression = json!({
        "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "volumeMounts": [{"name": "v", "mountPath": "/v", "subPathExpr": "logs/$(POD)"}],
    });
    let mut spec = with_fs_group(volume(&json!({"emptyDir": {}})));
    spec["initContainers"] = json!([
        container(
            "links",
            &[
                "make-directory /v/real",
                "link real /v/good",
                "link /etc /v/out",
                "link ../.. /v/up"
            ],
            &whole
        ),
        container("made", &["stat /v", "write /v/f x"], &sub("a/b")),
        container("expanded", &["write /v/f x"], &expression),
        container("linked", &["write /v/f x"], &sub("good")),
        container(
            "seen",
            &["read /v/a/b/f", "read /v/logs/test/f", "read /v/real/f"],
            &whole
        ),
    ]);
    spec["containers"] = json!([
        container("out", &[], &sub("out")),
        container("up", &[], &sub("up/etc"))
    ]);
    let Some(up) = start(&spec, &[]) else { return };
    for name in ["out", "up"] {
        let message = up.wait_waiting(name, "CreateContainerConfigError");
        let wanted = format!("failed to prepare subPath for volumeMount \"v\" of container \"{name}\"");
        assert_eq!(message, wanted);
    }
    let lines = super::script::lines(&up);
    for line in [
        "/v: 2777 0 123",
        "/v/a/b/f: \"x\"",
        "/v/logs/test/f: \"x\"",
        "/v/real/f: \"x\"",
    ] {
        assert!(lines.iter().any(|have| have == line), "{line:?} in {lines:#?}");
    }
}

#[test]
fn lc_238_files_of_objects_cannot_be_written() {
    let fields = mounted(&json!({"readOnly": false}));
    let spec = volume(&json!({"configMap": {"name": "c"}}));
    let Some(ended) = run_one(
        &["write /v/data-1 x", "write /v/new x"],
        &fields,
        &spec,
        &objects(),
    ) else {
        return;
    };
    ended.has("write /v/data-1 x: ReadOnlyFilesystem");
    ended.has("write /v/new x: ReadOnlyFilesystem");
}

#[test]
fn lc_236_a_read_only_mount_cannot_be_written() {
    let mount = |path: &str, fields: &Value| {
        let mut mount = json!({"name": "v", "mountPath": path});
        merge(&mut mount, fields);
        mount
    };
    let fields = json!({"volumeMounts": [
        mount("/rw", &json!({})),
        mount("/ro", &json!({"readOnly": true})),
        mount("/disabled", &json!({"readOnly": true, "recursiveReadOnly": "Disabled"})),
        mount("/possible", &json!({"readOnly": true, "recursiveReadOnly": "IfPossible"})),
        mount("/enabled", &json!({"readOnly": true, "recursiveReadOnly": "Enabled"})),
    ]});
    let steps = [
        "write /rw/f x",
        "write /ro/f x",
        "write /disabled/f x",
        "write /possible/f x",
        "write /enabled/f x",
    ];
    let Some(ended) = run_one(&steps, &fields, &volume(&json!({"emptyDir": {}})), &[]) else {
        return;
    };
    ended.has("write /rw/f x: ok");
    for path in ["ro", "disabled", "possible", "enabled"] {
        ended.has(&format!("write /{path}/f x: ReadOnlyFilesystem"));
    }
}

#[test]
fn lc_162_a_pod_without_its_volumes_is_scheduled_and_initialized() {
    let mut spec = volume(&json!({"secret": {"secretName": "absent"}}));
    spec["containers"] = json!([container("app", &[], &mounted(&json!({})))]);
    let Some(up) = start(&spec, &[]) else { return };
    up.wait_waiting("app", "ContainerCreating");
    let conditions = up.report().expect("a report").status.conditions;
    let of = |kind: &str| {
        conditions
            .iter()
            .find(|one| one.r#type == kind)
            .map(|one| one.status.as_str())
    };
    for (kind, status) in [
        ("PodScheduled", "True"),
        ("Initialized", "True"),
        ("PodReadyToStartContainers", "False"),
        ("ContainersReady", "False"),
        ("Ready", "False"),
    ] {
        assert_eq!(of(kind), Some(status), "{kind}: {conditions:?}");
    }
}

/// The message with which a Pod is evicted whose container does these steps.
fn evicted(steps: &[&str], fields: &Value, spec: &Value) -> Option<String> {
    let mut whole = json!({"restartPolicy": "Always", "containers": [container("app", steps, fields)]});
    merge(&mut whole, spec);
    let mut up = start(&whole, &[])?;
    assert_ne!(up.exit_code(), 0, "{}", up.stderr());
    let said = up.stderr();
    let line = said.lines().find(|line| line.contains("Evicted"));
    Some(line.unwrap_or_else(|| panic!("no eviction in {said}")).to_owned())
}

#[test]
fn a_volume_that_exceeds_its_limit_evicts_its_pod() {
    let spec = volume(&json!({"emptyDir": {"sizeLimit": "1Mi"}}));
    let Some(line) = evicted(&["fill /v/much 2", "sleep"], &mounted(&json!({})), &spec) else {
        return;
    };
    assert!(
        line.contains("Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\"."),
        "{line}"
    );
}

#[test]
fn a_container_that_exceeds_its_storage_evicts_its_pod() {
    let limits = json!({"resources": {"limits": {"ephemeral-storage": "1Mi"}}});
    let Some(line) = evicted(&["fill /much 2", "sleep"], &limits, &json!({})) else {
        return;
    };
    assert!(
        line.contains("Pod ephemeral local storage usage exceeds the total limit of containers 1Mi."),
        "{line}"
    );
}

/// An init container that mounts a file system inside of volume `v`, for all to see.
fn mounter() -> Value {
    let mut fields = mounted(&json!({"mountPropagation": "Bidirectional"}));
    fields["securityContext"] = json!({"privileged": true});
    container(
        "mounter",
        &[
            "make-directory /v/sub",
            "mount-tmpfs /v/sub",
            "write /v/sub/inside x",
        ],
        &fields,
    )
}

#[test]
fn lc_236_what_is_mounted_beneath_is_read_only_if_that_is_asked_for() {
    let mount = |path: &str, fields: &Value| {
        let mut mount = json!({"name": "v", "mountPath": path});
        merge(&mut mount, fields);
        mount
    };
    let fields = json!({"volumeMounts": [
        mount("/rw", &json!({})),
        mount("/ro", &json!({"readOnly": true})),
        mount("/disabled", &json!({"readOnly": true, "recursiveReadOnly": "Disabled"})),
        mount("/possible", &json!({"readOnly": true, "recursiveReadOnly": "IfPossible"})),
        mount("/enabled", &json!({"readOnly": true, "recursiveReadOnly": "Enabled"})),
    ]});
    let paths = ["rw", "ro", "disabled", "possible", "enabled"];
    let steps = paths.map(|path| format!("write /{path}/sub/{path} x"));
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    let mut spec = volume(&json!({"emptyDir": {}}));
    spec["initContainers"] = json!([mounter()]);
    spec["containers"] = json!([
        container("app", &steps, &fields),
        tests::guest("keep", &["sleep"])
    ]);
    let Some(up) = start(&spec, &[]) else { return };
    let status = up.wait_container("app", "ended", super::script::has_ended);
    up.wait_log("end");
    let lines = super::script::lines(&up);
    for (path, outcome) in paths
        .iter()
        .zip(["ok", "ok", "ok", "ReadOnlyFilesystem", "ReadOnlyFilesystem"])
    {
        let line = format!("write /{path}/sub/{path} x: {outcome}");
        assert!(lines.contains(&line), "no {line:?} in {lines:#?}");
    }
    let recursive = status
        .volume_mounts
        .iter()
        .map(|mount| mount.recursive_read_only.as_deref());
    let disabled = Some("Disabled");
    let enabled = Some("Enabled");
    assert_eq!(
        recursive.collect::<Vec<_>>(),
        [None, disabled, disabled, enabled, enabled]
    );
}

#[test]
fn mounts_are_seen_where_they_are_asked_for_only() {
    let seeing = |name: &str, propagation: &str| {
        let mount = mounted(&json!({"mountPropagation": propagation}));
        let mut container = container(
            name,
            &["say started", "wait /v/done", "list /v/sub", "sleep"],
            &mount,
        );
        container["restartPolicy"] = json!("Always");
        container
    };
    let mut last = mounter();
    last["args"]
        .as_array_mut()
        .expect("steps")
        .push(json!("write /v/done x"));
    let mut spec = volume(&json!({"emptyDir": {}}));
    // Both are there before the mount is made.
    spec["initContainers"] = json!([seeing("seeing", "HostToContainer"), seeing("blind", "None"), last]);
    spec["containers"] = json!([tests::guest("keep", &["sleep"])]);
    let Some(up) = start(&spec, &[]) else { return };
    up.wait_log("/v/sub: inside");
    tests::wait_for("both lists", || {
        let lines = super::script::lines(&up);
        (lines.iter().filter(|line| line.starts_with("/v/sub:")).count() == 2).then_some(())
    });
    let lines = super::script::lines(&up);
    assert!(lines.contains(&"/v/sub: ".to_owned()), "{lines:#?}");
}
