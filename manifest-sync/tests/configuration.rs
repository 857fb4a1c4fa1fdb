//! Environment and volumes: what is accepted, what is refused and where, and what comes out.

use std::collections::BTreeMap;

use manifest_sync::data::{Objects, Released};
use manifest_sync::downward::Capacity;
use manifest_sync::env::{self, Runtime};
use manifest_sync::plan::{Access, Plan, Propagation, SubPath, VolumeSource};
use manifest_sync::volume;
use serde_json::{Value, json};

fn image() -> String {
    format!("app:1@sha256:{}", "a".repeat(64))
}

/// A Pod whose container and spec have these fields too, with these objects.
fn bundle(container: &Value, spec: &Value, objects: &[Value]) -> Vec<u8> {
    let mut own = json!({"name": "app", "image": image()});
    merge(&mut own, container);
    let mut whole = json!({"containers": [own]});
    merge(&mut whole, spec);
    let metadata = json!({"name": "web", "namespace": "shop", "uid": "u-1", "labels": {"app": "web", "tier": "1"},
                          "annotations": {"note": "two\nlines"}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": whole});
    let mut items = vec![pod];
    items.extend_from_slice(objects);
    json!({"apiVersion": "v1", "kind": "List", "items": items})
        .to_string()
        .into_bytes()
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        into[key] = value.clone();
    }
}

#[track_caller]
fn accepted(bytes: &[u8]) -> Plan {
    match Plan::from_bundle_bytes(bytes) {
        Ok((plan, _)) => plan,
        Err(rejection) => panic!("{rejection}"),
    }
}

#[track_caller]
fn refused(bytes: &[u8], path: &str, words: &str) {
    let rejection = Plan::from_bundle_bytes(bytes).expect_err("accepted");
    let mut errors = rejection.errors.iter();
    assert!(
        errors.any(|error| error.object == "Pod/web" && error.path == path && error.message.contains(words)),
        "no {words:?} at {path} in:\n{rejection}"
    );
}

fn runtime() -> Runtime {
    Runtime {
        pod_ip: "127.0.0.1".to_owned(),
        host_ip: "127.0.0.2".to_owned(),
        node_name: "enclave".to_owned(),
        uid: "other".to_owned(),
        capacity: Capacity {
            cpu_milli: 2000,
            memory: 1 << 30,
            ephemeral_storage: 1 << 29,
        },
    }
}

fn variables(plan: &Plan, file: &str) -> Result<BTreeMap<String, String>, String> {
    let released = Released::default();
    let objects = Objects {
        plan,
        released: &released,
    };
    let read = |volume: &str, path: &str| match (volume, path) {
        ("scratch", "vars.env") => Ok(file.as_bytes().to_vec()),
        _ => Err("no such file".to_owned()),
    };
    env::resolve(&objects, &plan.containers[0], &runtime(), &read)
}

fn files(plan: &Plan, index: usize) -> Result<Vec<(String, u32, String)>, String> {
    let released = Released::default();
    let objects = Objects {
        plan,
        released: &released,
    };
    let VolumeSource::Files {
        sources,
        default_mode,
    } = &plan.volumes[index].source
    else {
        panic!("{:?}", plan.volumes[index]);
    };
    let files = volume::payload(&objects, &runtime(), sources, *default_mode)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    Ok(files
        .iter()
        .map(|(path, (content, mode))| (path.clone(), *mode, text(content)))
        .collect())
}

fn config_map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn secret(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})
}

fn field(path: &str) -> Value {
    json!({"name": "V", "valueFrom": {"fieldRef": {"fieldPath": path}}})
}

fn resource(reference: &Value) -> Value {
    json!({"name": "V", "valueFrom": {"resourceFieldRef": reference}})
}

/// The value of `V`, which `var` defines.
#[track_caller]
fn value(var: &Value, container: &Value, spec: &Value) -> String {
    let mut all = json!({"env": [var]});
    merge(&mut all, container);
    let plan = accepted(&bundle(&all, spec, &[]));
    variables(&plan, "").expect("resolved").remove("V").expect("set")
}

#[test]
fn lc_197_variables_hold_facts_about_the_pod() {
    let spec = json!({"serviceAccountName": "robot"});
    for (path, want) in [
        ("metadata.name", "web"),
        ("metadata.namespace", "shop"),
        ("metadata.uid", "u-1"),
        ("metadata.labels['tier']", "1"),
        ("metadata.annotations['note']", "two\nlines"),
        ("metadata.annotations['absent']", ""),
        ("spec.nodeName", "enclave"),
        ("spec.serviceAccountName", "robot"),
        ("status.hostIP", "127.0.0.2"),
        ("status.hostIPs", "127.0.0.2"),
        ("status.podIP", "127.0.0.1"),
        ("status.podIPs", "127.0.0.1"),
    ] {
        assert_eq!(value(&field(path), &json!({}), &spec), want, "{path}");
    }
    let named = json!({"nodeName": "node-7"});
    assert_eq!(value(&field("spec.nodeName"), &json!({}), &named), "node-7");
    assert_eq!(
        value(&field("spec.serviceAccountName"), &json!({}), &json!({})),
        "default"
    );
    for path in [
        "metadata.labels",
        "metadata.labels['']",
        "status.phase",
        "spec.hostname",
        "metadata.finalizers['a']",
    ] {
        let bytes = bundle(&json!({"env": [field(path)]}), &json!({}), &[]);
        refused(
            &bytes,
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath",
            "is not a field that a variable can hold",
        );
    }
}

#[test]
fn lc_200_variables_hold_numbers_of_resources() {
    let limits = json!({"resources": {"requests": {"cpu": "250m", "memory": "32Mi", "ephemeral-storage": "1Gi"},
                                       "limits": {"cpu": "1250m", "memory": "64Mi"}}});
    let none = json!({});
    for (reference, container, want) in [
        (json!({"resource": "limits.cpu"}), &limits, "2"),
        (
            json!({"resource": "limits.cpu", "divisor": "1m"}),
            &limits,
            "1250",
        ),
        (
            json!({"resource": "limits.cpu", "divisor": "1000m"}),
            &limits,
            "2",
        ),
        (json!({"resource": "limits.cpu", "divisor": "0"}), &limits, "2"),
        (
            json!({"resource": "requests.cpu", "divisor": "1m"}),
            &limits,
            "250",
        ),
        (json!({"resource": "limits.memory"}), &limits, "67108864"),
        (
            json!({"resource": "limits.memory", "divisor": "1Mi"}),
            &limits,
            "64",
        ),
        (
            json!({"resource": "limits.memory", "divisor": "1M"}),
            &limits,
            "68",
        ),
        (
            json!({"resource": "requests.memory", "divisor": "1Gi"}),
            &limits,
            "1",
        ),
        (
            json!({"resource": "requests.ephemeral-storage", "divisor": "1Mi"}),
            &limits,
            "1024",
        ),
        (
            json!({"resource": "requests.memory", "containerName": "app"}),
            &limits,
            "33554432",
        ),
        // Without limits: the machine's.
        (json!({"resource": "limits.cpu"}), &none, "2"),
        (json!({"resource": "limits.memory"}), &none, "1073741824"),
        (
            json!({"resource": "limits.ephemeral-storage"}),
            &none,
            "536870912",
        ),
        (json!({"resource": "requests.memory"}), &none, "0"),
        (json!({"resource": "limits.hugepages-2Mi"}), &none, "0"),
    ] {
        assert_eq!(
            value(&resource(&reference), container, &json!({})),
            want,
            "{reference}"
        );
    }
    let at = "spec.containers[0].env[0].valueFrom.resourceFieldRef";
    for (reference, path, words) in [
        (
            json!({"resource": "limits.gpu"}),
            "resource",
            "no resource of a container",
        ),
        (
            json!({"resource": "cpu"}),
            "resource",
            "no resource of a container",
        ),
        (
            json!({"resource": "limits.cpu", "divisor": "10m"}),
            "divisor",
            "must be one of 1m, 1",
        ),
        (
            json!({"resource": "limits.memory", "divisor": "3"}),
            "divisor",
            "must be one of 1, 1k",
        ),
        (
            json!({"resource": "limits.memory", "divisor": "x"}),
            "divisor",
            "not a quantity",
        ),
        (
            json!({"resource": "limits.cpu", "containerName": "other"}),
            "containerName",
            "no container is named `other`",
        ),
    ] {
        let bytes = bundle(&json!({"env": [resource(&reference)]}), &json!({}), &[]);
        refused(&bytes, &format!("{at}.{path}"), words);
    }
}

#[test]
fn lc_209_later_sources_win_and_references_look_back() {
    let container = json!({
        "envFrom": [{"configMapRef": {"name": "c"}}, {"prefix": "p-", "configMapRef": {"name": "c"}},
                    {"secretRef": {"name": "absent", "optional": true}}],
        "env": [
            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "absent", "optional": true}}},
            {"name": "B", "value": "$(C)"},
            {"name": "C", "value": "c"},
            {"name": "D", "value": "d1"},
            {"name": "D", "value": "$(D)-d2"},
            {"name": "E", "value": ""},
            {"name": "F", "value": "$(RAW)"},
        ],
    });
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"},
                     "data": {"A": "cm", "RAW": "$(A)", "1-x.y": "odd"}, "binaryData": {"BIN": "AAAA"}});
    let plan = accepted(&bundle(&container, &json!({}), &[map]));
    let variables = variables(&plan, "").expect("resolved");
    for (name, want) in [
        ("A", Some("cm")),
        ("B", Some("$(C)")),
        ("C", Some("c")),
        ("D", Some("d1-d2")),
        ("E", Some("")),
        // Values of objects are not expanded, and neither is what comes of a reference to one.
        ("F", Some("$(A)")),
        ("p-A", Some("cm")),
        ("1-x.y", Some("odd")),
        ("BIN", None),
    ] {
        assert_eq!(variables.get(name).map(String::as_str), want, "{name}");
    }
}

#[test]
fn missing_objects_and_keys_are_told_in_the_kubelets_words() {
    for (source, message) in [
        (
            json!({"configMapKeyRef": {"name": "c", "key": "x"}}),
            "couldn't find key x in ConfigMap shop/c",
        ),
        (
            json!({"secretKeyRef": {"name": "s", "key": "x"}}),
            "couldn't find key x in Secret shop/s",
        ),
        (
            json!({"configMapKeyRef": {"name": "no", "key": "x"}}),
            "configmap \"no\" not found",
        ),
        (
            json!({"secretKeyRef": {"name": "no", "key": "x"}}),
            "secret \"no\" not found",
        ),
    ] {
        let container = json!({"env": [{"name": "V", "valueFrom": source}]});
        let objects = [config_map("c", &json!({})), secret("s", &json!({}))];
        let plan = accepted(&bundle(&container, &json!({}), &objects));
        assert_eq!(variables(&plan, "").expect_err("missing"), message);
    }
}

#[test]
fn lc_205_a_key_of_a_file_may_be_optional_and_a_file_may_not() {
    let spec = json!({"volumes": [{"name": "scratch", "emptyDir": {}}]});
    let with = |path: &str, key: &str, optional: bool| {
        let reference = json!({"volumeName": "scratch", "path": path, "key": key, "optional": optional});
        let container = json!({"env": [{"name": "V", "value": "", "valueFrom": {"fileKeyRef": reference}}]});
        let plan = accepted(&bundle(&container, &spec, &[]));
        variables(&plan, "A='one'\nEMPTY=''\n").map(|mut all| all.remove("V"))
    };
    assert_eq!(with("vars.env", "A", false), Ok(Some("one".to_owned())));
    for key in ["absent", "EMPTY"] {
        assert_eq!(with("vars.env", key, true), Ok(None));
        let message = format!("environment variable key \"{key}\" not found in file \"vars.env\"");
        assert_eq!(with("vars.env", key, false), Err(message));
    }
    for optional in [false, true] {
        assert_eq!(
            with("absent.env", "A", optional),
            Err("couldn't parse env file".to_owned())
        );
    }
}

#[test]
fn references_to_files_are_validated() {
    let spec = json!({"volumes": [{"name": "scratch", "emptyDir": {}}, {"name": "map", "configMap": {"name": "c"}}]});
    let at = "spec.containers[0].env[0].valueFrom.fileKeyRef";
    for (reference, path, words) in [
        (json!({"path": "f", "key": "k"}), "volumeName", "is required"),
        (
            json!({"volumeName": "scratch", "key": "k"}),
            "path",
            "is required",
        ),
        (
            json!({"volumeName": "scratch", "path": "f"}),
            "key",
            "is required",
        ),
        (
            json!({"volumeName": "no", "path": "f", "key": "k"}),
            "volumeName",
            "no volume is named `no`",
        ),
        (
            json!({"volumeName": "map", "path": "f", "key": "k"}),
            "volumeName",
            "must be an emptyDir",
        ),
        (
            json!({"volumeName": "scratch", "path": "/f", "key": "k"}),
            "path",
            "must be a relative path",
        ),
        (
            json!({"volumeName": "scratch", "path": "a/../f", "key": "k"}),
            "path",
            "must be a relative path",
        ),
        (
            json!({"volumeName": "scratch", "path": "f", "key": "a=b"}),
            "key",
            "without `=`",
        ),
    ] {
        let container = json!({"env": [{"name": "V", "valueFrom": {"fileKeyRef": reference}}]});
        refused(&bundle(&container, &spec, &[]), &format!("{at}.{path}"), words);
    }
}

#[test]
fn lc_192_names_are_almost_any_printable_characters() {
    let names = ["!\"#$%&'()", "* +,-./0123456789", ":;<>?@", "[\\]^_`{}|~"];
    let env: Vec<Value> = names
        .iter()
        .map(|name| json!({"name": name, "value": "x"}))
        .collect();
    let plan = accepted(&bundle(&json!({"env": env}), &json!({}), &[]));
    let variables = variables(&plan, "").expect("resolved");
    assert!(
        names.iter().all(|name| variables.contains_key(*name)),
        "{variables:?}"
    );
    for name in ["", "a=b", "tab\t", "é"] {
        let bytes = bundle(&json!({"env": [{"name": name, "value": "x"}]}), &json!({}), &[]);
        refused(&bytes, "spec.containers[0].env[0].name", "printable ASCII");
    }
}

#[test]
fn lc_229_one_volume_holds_files_of_all_sources() {
    let sources = json!([
        {"secret": {"name": "s"}},
        {"configMap": {"name": "c", "items": [{"key": "k", "path": "conf//k", "mode": 0o400}]}},
        {"configMap": {"name": "absent", "optional": true}},
        {"downwardAPI": {"items": [
            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}, "mode": 0o440},
            {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
            {"path": "cpu", "resourceFieldRef": {"containerName": "app", "resource": "limits.cpu", "divisor": "1m"}},
        ]}},
        // Without items, a later source replaces the files of an earlier one.
        {"configMap": {"name": "later"}},
    ]);
    let spec = json!({"volumes": [{"name": "v", "projected": {"defaultMode": 0o600, "sources": sources}}]});
    let objects = [
        secret("s", &json!({"password": "hunter2", "name": "from the secret"})),
        config_map("c", &json!({"k": "kay", "other": "not listed"})),
        config_map("later", &json!({"password": "later"})),
    ];
    let plan = accepted(&bundle(&json!({}), &spec, &objects));
    let wanted = [
        ("annotations", 0o440, "note=\"two\\nlines\""),
        ("conf/k", 0o400, "kay"),
        ("cpu", 0o600, "2000"),
        ("labels", 0o600, "app=\"web\"\ntier=\"1\""),
        ("name", 0o600, "web"),
        ("password", 0o600, "later"),
    ];
    let wanted: Vec<_> = wanted
        .map(|(path, mode, text)| (path.to_owned(), mode, text.to_owned()))
        .into();
    assert_eq!(files(&plan, 0), Ok(wanted));
}

#[test]
fn lc_226_what_a_volume_lacks_is_told_in_the_kubelets_words() {
    let items = json!([{"key": "no", "path": "p"}]);
    for (volume, message) in [
        (json!({"configMap": {"name": "no"}}), "configmap \"no\" not found"),
        (json!({"secret": {"secretName": "no"}}), "secret \"no\" not found"),
        (
            json!({"configMap": {"name": "c", "items": items}}),
            "configmap references non-existent config key: no",
        ),
        (
            json!({"secret": {"secretName": "s", "items": items}}),
            "references non-existent secret key: no",
        ),
        (
            json!({"projected": {"sources": [{"configMap": {"name": "no"}}]}}),
            "configmap \"no\" not found",
        ),
    ] {
        let mut volume = volume;
        volume["name"] = json!("v");
        let objects = [config_map("c", &json!({"k": "v"})), secret("s", &json!({}))];
        let plan = accepted(&bundle(
            &json!({}),
            &json!({"volumes": [volume.clone()]}),
            &objects,
        ));
        assert_eq!(files(&plan, 0), Err(message.to_owned()));
        for pointer in ["/configMap", "/secret", "/projected/sources/0/configMap"] {
            if let Some(source) = volume.pointer_mut(pointer) {
                source["optional"] = json!(true);
            }
        }
        let plan = accepted(&bundle(&json!({}), &json!({"volumes": [volume]}), &objects));
        assert_eq!(files(&plan, 0), Ok(Vec::new()));
    }
}

#[test]
fn lc_301_paths_of_files_stay_in_their_volume() {
    let with = |path: &str| {
        let items = json!([{"key": "k", "path": path}]);
        let spec = json!({"volumes": [{"name": "v", "configMap": {"name": "c", "items": items}}]});
        bundle(&json!({}), &spec, &[config_map("c", &json!({"k": "v"}))])
    };
    for (path, clean) in [
        ("i/am/well/behaved.txt", "i/am/well/behaved.txt"),
        (".hidden", ".hidden"),
        ("a//b/./c", "a/b/c"),
        ("a/..b", "a/..b"),
        (&"a".repeat(255), &"a".repeat(255)),
    ] {
        let files = files(&accepted(&with(path)), 0).expect("files");
        assert_eq!(files[0].0, clean);
    }
    for path in [
        "",
        ".",
        "/dev/null",
        "..sneaky.txt",
        "..",
        "hello/there/../../../../../../etc/passwd",
        "hello/../etc/somethingbad",
        &"a".repeat(256),
        &"a/".repeat(2049),
    ] {
        refused(
            &with(path),
            "spec.volumes[0].configMap.items[0].path",
            "must be a relative path without `..`",
        );
    }
}

#[test]
fn volumes_are_validated() {
    let at = |rest: &str| format!("spec.volumes[0]{rest}");
    for (volume, path, words) in [
        (json!({}), at(""), "expected exactly one of emptyDir, configMap"),
        (
            json!({"emptyDir": {}, "secret": {"secretName": "s"}}),
            at(""),
            "expected exactly one of",
        ),
        (
            json!({"emptyDir": {"medium": "HugePages-2Mi"}}),
            at(".emptyDir.medium"),
            "no pool of huge pages",
        ),
        (
            json!({"emptyDir": {"medium": "Disk"}}),
            at(".emptyDir.medium"),
            "must be empty or Memory",
        ),
        (
            json!({"emptyDir": {"sizeLimit": "-1"}}),
            at(".emptyDir.sizeLimit"),
            "must not be negative",
        ),
        (
            json!({"emptyDir": {"sizeLimit": "1Gib"}}),
            at(".emptyDir.sizeLimit"),
            "not a quantity",
        ),
        (
            json!({"configMap": {"name": "c", "defaultMode": 512}}),
            at(".configMap.defaultMode"),
            "between 0 and 0777",
        ),
        (
            json!({"configMap": {"name": "c", "items": [{"key": "k", "path": "p", "mode": 0o1777}]}}),
            at(".configMap.items[0].mode"),
            "between 0 and 0777",
        ),
        (json!({"configMap": {}}), at(".configMap.name"), "is required"),
        (
            json!({"secret": {"name": "s"}}),
            at(".secret.name"),
            "unknown field",
        ),
        (
            json!({"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "status.podIP"}}]}}),
            at(".downwardAPI.items[0].fieldRef.fieldPath"),
            "is not a field that a file can hold",
        ),
        (
            json!({"downwardAPI": {"items": [{"path": "p", "resourceFieldRef": {"resource": "limits.cpu"}}]}}),
            at(".downwardAPI.items[0].resourceFieldRef.containerName"),
            "is required",
        ),
        (
            json!({"downwardAPI": {"items": [{"path": "p"}]}}),
            at(".downwardAPI.items[0]"),
            "exactly one of fieldRef and resourceFieldRef",
        ),
        (
            json!({"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}),
            at(".projected.sources[0].serviceAccountToken"),
            "there is no API server",
        ),
        (
            json!({"projected": {"sources": [{"clusterTrustBundle": {"path": "ca"}}]}}),
            at(".projected.sources[0].clusterTrustBundle"),
            "there is no API server",
        ),
        (
            json!({"projected": {"sources": [{"configMap": {"name": "c", "items": [{"key": "a", "path": "p"}]}},
                                             {"secret": {"name": "s", "items": [{"key": "b", "path": "p"}]}}]}}),
            at(".projected.sources[1]"),
            "conflicting duplicate paths",
        ),
        (
            json!({"hostPath": {"path": "/"}}),
            at(".hostPath"),
            "no file system of its host",
        ),
        (
            json!({"persistentVolumeClaim": {"claimName": "c"}}),
            at(".persistentVolumeClaim"),
            "no disk",
        ),
        (json!({"nfs": {}}), at(".nfs"), "no network file system"),
        (
            json!({"image": {"reference": "x"}}),
            at(".image"),
            "put the files into the container's image",
        ),
    ] {
        let mut volume = volume;
        volume["name"] = json!("v");
        refused(
            &bundle(&json!({}), &json!({"volumes": [volume]}), &[]),
            &path,
            words,
        );
    }
}

#[test]
fn lc_236_mounts_are_validated() {
    let spec = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
    let at = |rest: &str| format!("spec.containers[0].volumeMounts[0]{rest}");
    let with = |mount: &Value| {
        let mut whole = json!({"name": "v", "mountPath": "/v"});
        merge(&mut whole, mount);
        bundle(&json!({"volumeMounts": [whole]}), &spec, &[])
    };
    for (mount, path, words) in [
        (json!({"name": "w"}), at(".name"), "no volume is named `w`"),
        (json!({"mountPath": "/a:b"}), at(".mountPath"), "must not contain"),
        (json!({"mountPath": ""}), at(".mountPath"), "must not be empty"),
        (
            json!({"subPath": "/a"}),
            at(".subPath"),
            "must be a relative path",
        ),
        (
            json!({"subPath": "a/../b"}),
            at(".subPath"),
            "must be a relative path",
        ),
        (
            json!({"subPathExpr": "../$(A)"}),
            at(".subPathExpr"),
            "must be a relative path",
        ),
        (
            json!({"subPath": "a", "subPathExpr": "b"}),
            at(".subPathExpr"),
            "mutually exclusive",
        ),
        (
            json!({"recursiveReadOnly": "Enabled"}),
            at(".recursiveReadOnly"),
            "readOnly is true",
        ),
        (
            json!({"recursiveReadOnly": "IfPossible"}),
            at(".recursiveReadOnly"),
            "readOnly is true",
        ),
        (
            json!({"readOnly": true, "recursiveReadOnly": "Yes"}),
            at(".recursiveReadOnly"),
            "must be Disabled",
        ),
        (
            json!({"readOnly": true, "recursiveReadOnly": "Enabled", "mountPropagation": "HostToContainer"}),
            at(".recursiveReadOnly"),
            "mountPropagation is None",
        ),
        (
            json!({"mountPropagation": "Bidirectional"}),
            at(".mountPropagation"),
            "only to privileged containers",
        ),
        (
            json!({"mountPropagation": "Both"}),
            at(".mountPropagation"),
            "must be None",
        ),
    ] {
        refused(&with(&mount), &path, words);
    }
    for (mount, access) in [
        (json!({}), Access::ReadWrite),
        (json!({"recursiveReadOnly": "Disabled"}), Access::ReadWrite),
        (json!({"readOnly": true}), Access::ReadOnly),
        (
            json!({"readOnly": true, "recursiveReadOnly": "Disabled"}),
            Access::ReadOnly,
        ),
        (
            json!({"readOnly": true, "recursiveReadOnly": "IfPossible"}),
            Access::RecursiveReadOnly,
        ),
        (
            json!({"readOnly": true, "recursiveReadOnly": "Enabled", "mountPropagation": "None"}),
            Access::RecursiveReadOnly,
        ),
    ] {
        assert_eq!(
            accepted(&with(&mount)).containers[0].mounts[0].access,
            access,
            "{mount}"
        );
    }
    let relative = accepted(&with(
        &json!({"mountPath": "data", "mountPropagation": "HostToContainer", "subPath": "..a"}),
    ));
    let mount = &relative.containers[0].mounts[0];
    assert_eq!(
        (mount.path.as_str(), mount.propagation),
        ("/data", Propagation::HostToContainer)
    );
    assert_eq!(mount.sub_path, Some(SubPath::Literal("..a".to_owned())));
}

#[test]
fn lc_188_an_expanded_sub_path_cannot_climb() {
    let variables = BTreeMap::from(
        [("UP", ".."), ("ROOT", "/tmp"), ("EMPTY", ""), ("POD", "web")]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    for (expression, want) in [
        ("$(POD)/log", Ok("web/log")),
        ("plain", Ok("plain")),
        ("$$(POD)", Ok("$(POD)")),
        ("$(UP)", Err("must not contain '..'")),
        ("a/$(UP)/b", Err("must not contain '..'")),
        ("$(ROOT)", Err("must not be an absolute path")),
        ("$(EMPTY)/$(POD)", Err("missing value for EMPTY")),
        ("$(NO)/$(EMPTY)", Err("missing value for EMPTY, NO")),
    ] {
        match (env::sub_path(expression, &variables), want) {
            (Ok(path), Ok(want)) => assert_eq!(path, want),
            (Err(error), Err(want)) => assert!(error.contains(want), "{error}"),
            (got, want) => panic!("{expression}: {got:?}, not {want:?}"),
        }
    }
}
