//! What a container sees of its world.

use serde_json::{Value, json};
use tests::{Up, guest, pod, product};

/// Runs `inspect` with these additions to its container and Pod; returns what it printed.
fn inspect(container: &Value, spec: &Value, objects: &[Value]) -> Option<String> {
    let product = product()?;
    let mut inspector = guest("inspect", &["inspect"]);
    merge(&mut inspector, container);
    let mut whole = json!({"restartPolicy": "Never", "containers": [inspector]});
    merge(&mut whole, spec);
    let mut all = vec![pod(whole)];
    all.extend_from_slice(objects);
    let mut up = Up::start(&product, &all, &[]);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    let text = up.stdout();
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.split_once("| ").map_or(line, |(_, rest)| rest))
        .collect();
    assert!(lines.contains(&"end"), "{text}");
    Some(lines.join("\n"))
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        into[key] = value.clone();
    }
}

#[track_caller]
fn has(text: &str, line: &str) {
    assert!(
        text.lines().any(|have| have.starts_with(line)),
        "no line {line:?} in:\n{text}"
    );
}

#[test]
fn defaults_are_those_of_a_container_runtime() {
    let Some(text) = inspect(&json!({}), &json!({}), &[]) else {
        return;
    };
    has(&text, "pid: 1");
    has(&text, "cwd: /");
    has(&text, "fds: [0, 1, 2]");
    has(&text, "Uid: 0 0 0 0");
    has(&text, "NoNewPrivs: 0");
    // K-417.
    has(&text, "CapEff: 00000000a80425fb");
    has(&text, "CapBnd: 00000000a80425fb");
    has(&text, "env HOSTNAME: test");
    has(&text, "env HOME: /");
    has(
        &text,
        "env PATH: /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    for mount in [
        "/: overlay",
        "/proc: proc",
        "/dev: tmpfs",
        "/dev/pts: devpts",
        "/dev/shm: tmpfs",
        "/sys: sysfs ro",
    ] {
        has(&text, &format!("mount {mount}"));
    }
    has(&text, "file /etc/hostname: \"test\\n\"");
    has(
        &text,
        "file /etc/hosts: \"# Kubernetes-managed hosts file.\\n127.0.0.1\\tlocalhost\\n",
    );
    has(&text, "write /: ok");
    has(&text, "write /proc/sys/kernel/hostname: ReadOnlyFilesystem");
    has(&text, "dev nsm: false");
}

#[test]
fn a_security_context_is_applied_whole() {
    let security = json!({"securityContext": {
        "runAsUser": 1000, "runAsGroup": 2000, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]}}});
    let spec = json!({"securityContext": {"supplementalGroups": [3000]}});
    let Some(text) = inspect(&security, &spec, &[]) else {
        return;
    };
    has(&text, "Uid: 1000 1000 1000 1000");
    has(&text, "Gid: 2000 2000 2000 2000");
    // The primary group is one of them (containerd, CVE-2022-36109).
    has(&text, "Groups: 2000 3000");
    has(&text, "CapEff: 0000000000000000");
    has(&text, "CapBnd: 0000000000000000");
    has(&text, "NoNewPrivs: 1");
    has(&text, "write /: ReadOnlyFilesystem");
}

#[test]
fn environment_comes_from_everywhere_in_kubernetes_order() {
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"},
                        "data": {"A": "from-map", "B": "b"}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"TOKEN": "dDBrZW4="}});
    let container = json!({
        "envFrom": [{"configMapRef": {"name": "c"}}, {"prefix": "S_", "secretRef": {"name": "s"}},
                    {"configMapRef": {"name": "absent", "optional": true}}],
        "env": [
            {"name": "A", "value": "own"},
            {"name": "C", "value": "$(A)-$(B)-$(UNDEFINED)-$$(A)"},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "TOKEN"}}},
        ],
    });
    let Some(text) = inspect(&container, &json!({}), &[config, secret]) else {
        return;
    };
    has(&text, "env A: own");
    has(&text, "env B: b");
    has(&text, "env S_TOKEN: t0ken");
    has(&text, "env C: own-b-$(UNDEFINED)-$(A)");
    has(&text, "env POD: test");
    has(&text, "env KEY: t0ken");
}

#[test]
fn config_map_files_are_where_they_belong() {
    let Some(product) = product() else { return };
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "content of k"}});
    let mut container = guest("app", &["cat", "/etc/app/sub/file"]);
    container["volumeMounts"] = json!([{"name": "v", "mountPath": "/etc/app"}]);
    let volume =
        json!({"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "sub/file"}]}});
    let spec = json!({"restartPolicy": "Never", "containers": [container], "volumes": [volume]});
    let mut up = Up::start(&product, &[pod(spec), config], &[]);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    assert!(up.stdout().contains("content of k"), "{}", up.stdout());
}

#[test]
fn an_image_of_a_hundred_layers_runs() {
    let Some(product) = product() else { return };
    let layout = tempfile::Builder::new()
        .prefix("cly")
        .tempdir()
        .expect("a scratch directory");
    let blob = |digest: &str| {
        product
            .guests
            .join("blobs/sha256")
            .join(digest.trim_start_matches("sha256:"))
    };
    let read = |path: &std::path::Path| -> Value {
        serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
    };
    let index = read(&product.guests.join("index.json"));
    let manifest = read(&blob(index["manifests"][0]["digest"].as_str().expect("a digest")));
    let config = read(&blob(manifest["config"]["digest"].as_str().expect("a digest")));
    let layer: rootfs::image::Descriptor =
        serde_json::from_value(manifest["layers"][0].clone()).expect("a descriptor");
    let writer = rootfs::write::LayoutWriter::create(layout.path()).expect("a layout");
    let copy = layout.path().join("blobs/sha256").join(layer.digest.hex());
    std::fs::copy(blob(layer.digest.as_str()), copy).expect("a copy");
    let diff_id = serde_json::from_value(config["rootfs"]["diff_ids"][0].clone()).expect("a digest");
    let mut layers = vec![rootfs::write::LayerDescriptor {
        descriptor: layer,
        diff_id,
    }];
    for number in 1..100 {
        let tree = tempfile::tempdir().expect("a tree");
        std::fs::write(tree.path().join("number"), number.to_string()).expect("a file");
        layers.push(writer.add_layer(tree.path(), true).expect("a layer"));
    }
    writer
        .write_image("many", rootfs::image::ImageConfig::default(), &layers)
        .expect("an image");
    let container = json!({"name": "app", "image": "many", "command": ["/guest", "cat", "/number"]});
    let spec = json!({"restartPolicy": "Never", "containers": [container]});
    let mut up = Up::start(
        &product,
        &[pod(spec)],
        &["--images", layout.path().to_str().expect("UTF-8")],
    );
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    assert!(
        up.stdout().contains("| 99"),
        "the top layer does not win: {}",
        up.stdout()
    );
}
