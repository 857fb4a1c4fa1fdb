//! Command, environment, configuration (section K of the cases).

use rootfs::image::ImageConfig;
use rootfs::write::{LayerDescriptor, LayoutWriter};
use serde_json::{Value, json};
use tests::{Product, Up, pod, product};

use super::script::{config_map, container, merge, run, run_one, secret, start};

/// A layout with an image whose entrypoint and arguments say who they are.
fn with_defaults(product: &Product) -> tempfile::TempDir {
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
    let writer = LayoutWriter::create(layout.path()).expect("a layout");
    std::fs::copy(
        blob(layer.digest.as_str()),
        layout.path().join("blobs/sha256").join(layer.digest.hex()),
    )
    .expect("a copy");
    let layer = LayerDescriptor {
        descriptor: layer,
        diff_id: serde_json::from_value(config["rootfs"]["diff_ids"][0].clone()).expect("a digest"),
    };
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    let config = ImageConfig {
        entrypoint: words(&["/guest", "do", "say entrypoint"]),
        cmd: words(&["say cmd"]),
        ..ImageConfig::default()
    };
    writer
        .write_image("defaults", config, &[layer])
        .expect("an image");
    layout
}

/// What an image with an entrypoint and arguments of its own says when its container has these fields.
fn said_with(fields: &Value) -> Option<Vec<String>> {
    let product = product()?;
    let layout = with_defaults(&product);
    let mut app = json!({"name": "app", "image": "defaults"});
    merge(&mut app, fields);
    let spec = json!({"restartPolicy": "Never", "containers": [app]});
    let images = ["--images", layout.path().to_str().expect("UTF-8")];
    let mut up = Up::start(&product, &[pod(spec)], &images);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    Some(super::script::lines(&up))
}

#[test]
fn lc_180_without_command_and_args_the_image_decides() {
    let Some(said) = said_with(&json!({})) else { return };
    assert_eq!(said, ["entrypoint", "cmd", "end"]);
    // Empty lists count as absent.
    assert_eq!(said_with(&json!({"command": [], "args": []})), Some(said));
}

#[test]
fn lc_181_args_replace_the_arguments_of_the_image() {
    let Some(said) = said_with(&json!({"args": ["say args"]})) else {
        return;
    };
    assert_eq!(said, ["entrypoint", "args", "end"]);
}

#[test]
fn lc_182_command_replaces_entrypoint_and_arguments() {
    let Some(said) = said_with(&json!({"command": ["/guest", "do", "say command"]})) else {
        return;
    };
    assert_eq!(said, ["command", "end"]);
    let both = json!({"command": ["/guest", "do"], "args": ["say args"]});
    assert_eq!(said_with(&both).expect("a product"), ["args", "end"]);
}

#[test]
fn lc_184_variables_are_composed_of_variables() {
    let env = json!({"env": [
        {"name": "FOO", "value": "foo-value"},
        {"name": "BAR", "value": "bar-value"},
        {"name": "FOOBAR", "value": "$(FOO);;$(BAR)"},
    ]});
    let Some(ended) = run_one(&["env FOO", "env BAR", "env FOOBAR"], &env, &json!({}), &[]) else {
        return;
    };
    ended.has("FOO=foo-value");
    ended.has("BAR=bar-value");
    ended.has("FOOBAR=foo-value;;bar-value");
}

#[test]
fn lc_185_commands_are_expanded() {
    let fields = json!({
        "env": [{"name": "TEST_VAR", "value": "test-value"}],
        "command": ["/guest", "do", "say $(TEST_VAR) $(PATH) $$(TEST_VAR)"],
        "args": [],
    });
    let Some(ended) = run_one(&[], &fields, &json!({}), &[]) else {
        return;
    };
    // K-343: PATH is the runtime's, not the Pod's.
    ended.has("test-value $(PATH) $(TEST_VAR)");
}

#[test]
fn lc_186_args_are_expanded() {
    let env =
        json!({"env": [{"name": "TEST_VAR", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]});
    let Some(ended) = run_one(&["say $(TEST_VAR) $(UNKNOWN)"], &env, &json!({}), &[]) else {
        return;
    };
    ended.has("test $(UNKNOWN)");
}

/// The message of a container whose subPath is made of this variable.
fn sub_path_error(value: &str) -> Option<String> {
    let fields = json!({
        "env": [{"name": "WHERE", "value": value}],
        "volumeMounts": [{"name": "v", "mountPath": "/v", "subPathExpr": "$(WHERE)"}],
    });
    let spec =
        json!({"containers": [container("app", &[], &fields)], "volumes": [{"name": "v", "emptyDir": {}}]});
    let up = start(&spec, &[])?;
    Some(up.wait_waiting("app", "CreateContainerConfigError"))
}

#[test]
fn lc_188_a_sub_path_cannot_be_expanded_to_climb() {
    let Some(message) = sub_path_error("..") else {
        return;
    };
    assert!(message.contains("must not contain '..'"), "{message}");
}

#[test]
fn lc_189_a_sub_path_cannot_be_expanded_to_an_absolute_path() {
    let Some(message) = sub_path_error("/tmp") else {
        return;
    };
    assert!(message.contains("must not be an absolute path"), "{message}");
}

#[test]
fn lc_192_almost_any_printable_name_reaches_the_program() {
    let names = ["!\"#$%&'()", "* +,-./0123456789", ":;<>?@", "[\\]^_`{}|~"];
    let env: Vec<Value> = names
        .iter()
        .map(|name| json!({"name": name, "value": "x"}))
        .collect();
    let steps: Vec<String> = names
        .iter()
        .map(|name| format!("env {}", name.replace('$', "$$")))
        .collect();
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    let Some(ended) = run_one(&steps, &json!({"env": env}), &json!({}), &[]) else {
        return;
    };
    names.iter().for_each(|name| ended.has(&format!("{name}=x")));
}

#[test]
fn lc_193_a_variable_is_a_key_of_a_config_map() {
    let env =
        json!({"env": [{"name": "V", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "data-1"}}}]});
    let map = config_map("c", &json!({"data-1": "value-1"}));
    let Some(ended) = run_one(&["env V"], &env, &json!({}), &[map]) else {
        return;
    };
    ended.has("V=value-1");
}

#[test]
fn lc_194_all_keys_of_a_config_map_are_variables() {
    let from = json!({"envFrom": [{"configMapRef": {"name": "c"}}, {"prefix": "p-", "configMapRef": {"name": "c"}}]});
    let map = config_map("c", &json!({"data-1": "value-1", "data_2": "$(data-1)"}));
    let steps = ["env data-1", "env data_2", "env p-data-1", "env p-data_2"];
    let Some(ended) = run_one(&steps, &from, &json!({}), &[map]) else {
        return;
    };
    for line in [
        "data-1=value-1",
        "data_2=$(data-1)",
        "p-data-1=value-1",
        "p-data_2=$(data-1)",
    ] {
        ended.has(line);
    }
}

#[test]
fn lc_196_secrets_are_variables_one_by_one_or_all() {
    let fields = json!({
        "env": [{"name": "ONE", "valueFrom": {"secretKeyRef": {"name": "s", "key": "data-1"}}}],
        "envFrom": [{"secretRef": {"name": "s"}}, {"prefix": "p_", "secretRef": {"name": "s"}}],
    });
    let object = secret("s", &json!({"data-1": "value-1", "data-2": "value-2"}));
    let steps = ["env ONE", "env data-2", "env p_data-1"];
    let Some(ended) = run_one(&steps, &fields, &json!({}), &[object]) else {
        return;
    };
    ended.has("ONE=value-1");
    ended.has("data-2=value-2");
    ended.has("p_data-1=value-1");
}

/// `NAME` from a field.
fn field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
}

#[test]
fn lc_197_name_namespace_and_address_of_the_pod_are_variables() {
    let env = json!({"env": [
        field("NAME", "metadata.name"),
        field("NAMESPACE", "metadata.namespace"),
        field("IP", "status.podIP"),
        field("NOTE", "metadata.annotations['note']"),
        field("APP", "metadata.labels['app']"),
        field("NONE", "metadata.labels['none']"),
        field("NODE", "spec.nodeName"),
        field("ACCOUNT", "spec.serviceAccountName"),
    ]});
    let steps = [
        "env NAME",
        "env NAMESPACE",
        "env IP",
        "env NOTE",
        "env APP",
        "env NONE",
        "env NODE",
        "env ACCOUNT",
    ];
    let Some(ended) = run_one(&steps, &env, &json!({}), &[]) else {
        return;
    };
    for line in [
        "NAME=test",
        "NAMESPACE=default",
        "IP=127.0.0.1",
        "NOTE=a note",
        "APP=test",
        "NONE=",
        "NODE=enclave",
        "ACCOUNT=default",
    ] {
        ended.has(line);
    }
}

#[test]
fn lc_198_the_address_of_the_host_is_a_variable() {
    let env = json!({"env": [field("ONE", "status.hostIP"), field("ALL", "status.hostIPs")]});
    let Some(ended) = run_one(&["env ONE", "env ALL"], &env, &json!({}), &[]) else {
        return;
    };
    // There is nothing around the enclave that it may name: it is its own host.
    ended.has("ONE=127.0.0.1");
    ended.has("ALL=127.0.0.1");
}

/// The number that `NAME=` is followed by.
#[track_caller]
fn number(lines: &[String], name: &str) -> u64 {
    let value = lines
        .iter()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no number {name} in {lines:?}"))
}

fn resource(name: &str, what: &str) -> Value {
    json!({"name": name, "valueFrom": {"resourceFieldRef": {"resource": what}}})
}

#[test]
fn lc_200_without_limits_the_machine_is_the_limit() {
    let env = json!({"env": [resource("CPU", "limits.cpu"), resource("MEMORY", "limits.memory")]});
    let steps = ["env CPU", "env MEMORY", "read /proc/meminfo"];
    let Some(ended) = run_one(&steps, &env, &json!({}), &[]) else {
        return;
    };
    assert!(number(&ended.lines, "CPU") >= 1);
    let kib = number(&ended.lines, "MEMORY") / 1024;
    let total = "/proc/meminfo: \"MemTotal:";
    let line = ended
        .lines
        .iter()
        .find(|line| line.starts_with(total))
        .expect("meminfo");
    assert!(
        line.contains(&format!(" {kib} kB\\n")),
        "{kib} in {}",
        &line[..60]
    );
}

#[test]
fn lc_201_the_uid_of_the_pod_is_a_variable() {
    let env = json!({"env": [field("UID", "metadata.uid")]});
    let Some(ended) = run_one(&["env UID"], &env, &json!({}), &[]) else {
        return;
    };
    let uid = ended
        .lines
        .iter()
        .find_map(|line| line.strip_prefix("UID="))
        .expect("a uid");
    assert_eq!(uid.len(), 36, "{uid}");
}

/// A variable from a key of `/data/vars.env`.
fn from_file(name: &str, key: &str, path: &str, optional: bool) -> Value {
    let reference = json!({"volumeName": "data", "path": path, "key": key, "optional": optional});
    json!({"name": name, "valueFrom": {"fileKeyRef": reference}})
}

/// A Pod whose init container writes a file of variables, and whose other containers are these.
fn with_file(containers: &Value) -> Value {
    let mount = json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}]});
    let writer = container(
        "writer",
        &["write /data/vars.env # of the writer\nA='one'\nB='two\nlines' # more\n"],
        &mount,
    );
    json!({"initContainers": [writer], "containers": containers, "volumes": [{"name": "data", "emptyDir": {}}]})
}

#[test]
fn lc_204_variables_come_from_a_file_that_an_init_container_wrote() {
    let env =
        json!({"env": [from_file("V", "A", "vars.env", false), from_file("W", "B", "vars.env", false)]});
    let containers = json!([
        container("one", &["env V", "env W"], &env),
        container("two", &["env V"], &env)
    ]);
    let mut spec = with_file(&containers);
    let reader = container("reader", &["env V", "env W", "say reader"], &env);
    spec["initContainers"]
        .as_array_mut()
        .expect("a list")
        .push(reader);
    let Some(ended) = run(&spec, &[]) else { return };
    assert_eq!(ended.code, 0);
    assert_eq!(
        ended.lines.iter().filter(|line| *line == "V=one").count(),
        3,
        "{:?}",
        ended.lines
    );
    assert_eq!(
        ended.lines.iter().filter(|line| *line == "W=two\\nlines").count(),
        2,
        "{:?}",
        ended.lines
    );
}

#[test]
fn lc_205_a_missing_key_may_be_optional() {
    let env = json!({"env": [from_file("V", "ABSENT", "vars.env", true)]});
    let Some(ended) = run(&with_file(&json!([container("app", &["env V"], &env)])), &[]) else {
        return;
    };
    ended.has("V is not set");
}

#[test]
fn lc_206_a_missing_file_or_key_stops_the_container() {
    for (key, path, message) in [
        (
            "ABSENT",
            "vars.env",
            "environment variable key \"ABSENT\" not found in file \"vars.env\"",
        ),
        ("A", "absent.env", "couldn't parse env file"),
    ] {
        let env = json!({"env": [from_file("V", key, path, false)]});
        let Some(up) = start(&with_file(&json!([container("app", &[], &env)])), &[]) else {
            return;
        };
        assert_eq!(up.wait_waiting("app", "CreateContainerConfigError"), message);
    }
}

#[test]
fn lc_208_hooks_see_the_variables_of_files() {
    let hook = |path: &str| json!({"exec": {"command": ["/guest", "do", format!("write-env {path} V")]}});
    let fields = json!({
        "env": [from_file("V", "A", "vars.env", false)],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "lifecycle": {"postStart": hook("/data/post"), "preStop": hook("/data/pre")},
    });
    let watcher =
        json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}], "restartPolicy": "Always"});
    let steps = [
        "wait /data/post",
        "read /data/post",
        "wait /data/pre",
        "read /data/pre",
        "sleep",
    ];
    let mut spec = with_file(&json!([container("app", &["sleep"], &fields)]));
    spec["initContainers"]
        .as_array_mut()
        .expect("a list")
        .push(container("watcher", &steps, &watcher));
    spec["terminationGracePeriodSeconds"] = json!(2);
    let Some(up) = start(&spec, &[]) else { return };
    up.wait_log("/data/post: \"one\"");
    up.wait_running("app");
    up.signal(nix::sys::signal::Signal::SIGTERM);
    up.wait_log("/data/pre: \"one\"");
}

#[test]
fn lc_209_the_order_of_construction_is_the_kubelets() {
    let fields = json!({
        "envFrom": [{"configMapRef": {"name": "c"}}],
        "env": [
            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "absent", "optional": true}}},
            {"name": "B", "value": "$(C)"},
            {"name": "C", "value": "c"},
            {"name": "D", "value": "d1"},
            {"name": "D", "value": "$(D)-d2"},
        ],
    });
    let map = config_map("c", &json!({"A": "cm"}));
    let Some(ended) = run_one(&["env A", "env B", "env C", "env D"], &fields, &json!({}), &[map]) else {
        return;
    };
    for line in ["A=cm", "B=$(C)", "C=c", "D=d1-d2"] {
        ended.has(line);
    }
}
