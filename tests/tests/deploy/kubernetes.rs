//! The manifests against Kubernetes' OpenAPI schema, by way of the types that k8s-openapi generates from it.
//!
//! A manifest is read into its type and written again. Those types drop what they do not know and write what is required,
//! so a field that went is misspelt or misplaced, and one that came was forgotten; wrong types do not even read. The
//! published JSON schema is laxer: it allows unknown fields. What it leaves open (the words of an enumeration, that
//! names refer to something) is checked after that.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use manifest_sync::quantity::Quantity;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::files::{self, containers, documents, objects, pod_spec, string};

/// Fields that hold one of a few words, by the end of their path.
const WORDS: &[(&str, &[&str])] = &[
    ("restartPolicy", &["Always", "OnFailure", "Never"]),
    (
        "medium",
        &["Memory", "HugePages", "HugePages-2Mi", "HugePages-1Gi"],
    ),
    ("seccompProfile.type", &["Localhost", "RuntimeDefault"]),
    ("strategy.type", &["Recreate", "RollingUpdate"]),
    ("hostPath.type", &["Directory", "DirectoryOrCreate", "File"]),
    ("effect", &["NoSchedule", "NoExecute", "PreferNoSchedule"]),
    ("operator", &["Equal", "Exists", "In", "NotIn"]),
    ("protocol", &["TCP", "UDP", "SCTP"]),
    ("terminationMessagePolicy", &["File", "FallbackToLogsOnError"]),
    ("imagePullPolicy", &["Always", "IfNotPresent", "Never"]),
];

/// What the schema says against `object`; nothing when it is valid.
fn findings(object: &Value) -> Vec<String> {
    match (string(object, "apiVersion"), string(object, "kind")) {
        ("apps/v1", "Deployment") => round_trip::<Deployment>(object),
        ("apps/v1", "DaemonSet") => round_trip::<DaemonSet>(object),
        ("v1", "ConfigMap") => round_trip::<ConfigMap>(object),
        ("v1", "Service") => round_trip::<Service>(object),
        ("networking.k8s.io/v1", "NetworkPolicy") => round_trip::<NetworkPolicy>(object),
        (version, kind) => vec![format!("{version} {kind} is not known here")],
    }
}

fn round_trip<T: DeserializeOwned + Serialize>(object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    match serde_json::from_value::<T>(object.clone()).and_then(serde_json::to_value) {
        Ok(read) => differences("", object, &read, &mut found),
        Err(error) => found.push(error.to_string()),
    }
    objects("", object, &mut |at, object| words(at, object, &mut found));
    found
}

fn differences(at: &str, written: &Value, read: &Value, found: &mut Vec<String>) {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            for (name, value) in written {
                match read.get(name) {
                    Some(read) => differences(&format!("{at}.{name}"), value, read, found),
                    None => found.push(format!("{at}.{name} is no field of this object")),
                }
            }
            for name in read.keys().filter(|name| !written.contains_key(*name)) {
                found.push(format!("{at}.{name} is required"));
            }
        }
        (Value::Array(written), Value::Array(read)) if written.len() == read.len() => {
            for (index, (written, read)) in written.iter().zip(read).enumerate() {
                differences(&format!("{at}[{index}]"), written, read, found);
            }
        }
        _ if written == read => {}
        _ => found.push(format!("{at} is {written} and means {read}")),
    }
}

fn words(at: &str, object: &Value, found: &mut Vec<String>) {
    for (name, value) in object.as_object().into_iter().flatten() {
        let path = format!("{at}.{name}");
        let known = WORDS.iter().find(|(end, _)| path.ends_with(&format!(".{end}")));
        if let (Some((_, words)), Some(word)) = (known, value.as_str())
            && !words.contains(&word)
        {
            found.push(format!("{path} is {word:?}, not one of {words:?}"));
        }
    }
}

/// Every object of `deploy/` but kustomize's own, with its file.
fn manifests() -> Vec<(String, Value)> {
    let names = files::yaml().into_iter();
    let names = names.filter(|name| !name.ends_with("kustomization.yaml"));
    names
        .flat_map(|name| {
            documents(&name)
                .into_iter()
                .map(move |object| (name.clone(), object))
        })
        .collect()
}

/// The workloads among them.
fn workloads() -> Vec<(String, Value)> {
    let mut found = manifests();
    found.retain(|(_, object)| object.pointer("/spec/template").is_some());
    assert!(found.len() >= 3, "deployment, sidecar, installer");
    found
}

#[test]
fn every_manifest_is_valid() {
    for (name, object) in manifests() {
        let findings = findings(&object);
        assert!(findings.is_empty(), "deploy/{name}: {findings:#?}");
    }
}

#[test]
fn mistakes_are_found() {
    let good = files::document("deployment.yaml");
    let container = "/spec/template/spec/containers/0";
    let broken: [(&str, Value, &str); 8] = [
        ("/spec/replicas", json!("1"), "invalid type"),
        (
            "/spec/template/spec/tolerations/0/effekt",
            json!("NoSchedule"),
            ".effekt is no field",
        ),
        (
            "/spec/template/spec/livenessProbe",
            json!({}),
            ".livenessProbe is no field",
        ),
        (
            &format!("{container}/ports/0/containerPort"),
            json!("8080"),
            "invalid type",
        ),
        (
            &format!("{container}/resources/limits/memory"),
            json!(128),
            "and means",
        ),
        (
            &format!("{container}/securityContext/readOnlyRootFileSystem"),
            json!(true),
            "FileSystem is no",
        ),
        (
            "/spec/template/spec/securityContext/seccompProfile/type",
            json!("LocalHost"),
            "not one of",
        ),
        (
            "/spec/template/spec/volumes/1/emptyDir/medium",
            json!("Hugepages"),
            "not one of",
        ),
    ];
    for (pointer, value, wanted) in broken {
        let mut object = good.clone();
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        object.pointer_mut(parent).expect("the parent is there")[name] = value;
        let findings = findings(&object);
        assert_eq!(findings.len(), 1, "{pointer}: {findings:?}");
        assert!(findings[0].contains(wanted), "{pointer}: {findings:?}");
    }
    let mut object = good;
    object["spec"].as_object_mut().expect("a spec").remove("selector");
    assert_eq!(findings(&object), [".spec.selector is required"]);
}

#[test]
fn quantities_are_quantities_and_devices_are_not_overcommitted() {
    for (name, object) in workloads() {
        for container in containers(pod_spec(&object)) {
            let at = format!("deploy/{name}, container {}", string(container, "name"));
            let amounts = |which: &str| {
                container["resources"][which]
                    .as_object()
                    .expect("resources")
                    .clone()
            };
            let (requests, limits) = (amounts("requests"), amounts("limits"));
            for (resource, amount) in requests.iter().chain(&limits) {
                let amount = amount.as_str().expect("a quantity is text here");
                amount
                    .parse::<Quantity>()
                    .unwrap_or_else(|error| panic!("{at}: {resource}: {error:?}"));
            }
            for (resource, limit) in &limits {
                // The API server refuses extended resources and hugepages that are requested otherwise than limited.
                if resource.contains('/') || resource.starts_with("hugepages-") {
                    assert_eq!(requests.get(resource), Some(limit), "{at}: {resource}");
                }
            }
            let huge = limits.keys().any(|resource| resource.starts_with("hugepages-"));
            assert!(
                !huge || requests.contains_key("memory"),
                "{at}: hugepages need a request for cpu or memory"
            );
        }
    }
}

#[test]
fn names_refer_to_something() {
    for (name, object) in workloads() {
        let labels = &object["spec"]["template"]["metadata"]["labels"];
        assert_eq!(
            &object["spec"]["selector"]["matchLabels"], labels,
            "deploy/{name}"
        );
        let pod = pod_spec(&object);
        let names = |list: &Value| -> Vec<String> {
            let items = list.as_array().into_iter().flatten();
            items.map(|item| string(item, "name").to_owned()).collect()
        };
        let mut unused = names(&pod["volumes"]);
        for container in containers(pod) {
            for mount in names(&container["volumeMounts"]) {
                assert!(
                    names(&pod["volumes"]).contains(&mount),
                    "deploy/{name}: no volume {mount}"
                );
                unused.retain(|volume| *volume != mount);
            }
            objects("", container, &mut |at, object| {
                let port = object.get("port").and_then(Value::as_str);
                let known = port.is_none_or(|port| names(&container["ports"]).contains(&port.to_owned()));
                assert!(known, "deploy/{name}: {at}.port is no port of its container");
            });
        }
        assert!(unused.is_empty(), "deploy/{name}: nobody mounts {unused:?}");
    }
    let service = files::document("service.yaml");
    let deployment = files::document("deployment.yaml");
    assert_eq!(
        service["spec"]["selector"],
        deployment["spec"]["selector"]["matchLabels"]
    );
}

#[test]
fn containers_have_the_least_privileges() {
    for (name, object) in workloads() {
        let pod = pod_spec(&object);
        assert_eq!(pod["automountServiceAccountToken"], json!(false), "deploy/{name}");
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(pod.get(field).is_none(), "deploy/{name}: {field}");
        }
        for container in containers(pod) {
            let at = format!("deploy/{name}, container {}", string(container, "name"));
            let own = &container["securityContext"];
            assert_eq!(own["allowPrivilegeEscalation"], json!(false), "{at}");
            assert_eq!(own["readOnlyRootFilesystem"], json!(true), "{at}");
            assert_eq!(own["capabilities"], json!({"drop": ["ALL"]}), "{at}");
            let of = |field: &str| own.get(field).or_else(|| pod["securityContext"].get(field));
            assert!(of("seccompProfile").is_some(), "{at}");
            // Only the installer of the seccomp profile writes to a directory of the node.
            let root = name == "seccomp/install.yaml" && string(container, "name") == "install";
            assert!(root || of("runAsNonRoot") == Some(&json!(true)), "{at}");
        }
    }
}

#[test]
fn kustomizations_name_files_that_exist_and_build() {
    let mut known = vec!["sidecar.yaml".to_owned()];
    for name in files::yaml()
        .into_iter()
        .filter(|name| name.ends_with("kustomization.yaml"))
    {
        let prefix = name.trim_end_matches("kustomization.yaml");
        let object = files::document(&name);
        assert_eq!(string(&object, "kind"), "Kustomization");
        for field in object.as_object().expect("an object").keys() {
            let fields = [
                "apiVersion",
                "kind",
                "namespace",
                "resources",
                "images",
                "configMapGenerator",
            ];
            assert!(fields.contains(&field.as_str()), "deploy/{name}: {field}");
        }
        for resource in object["resources"].as_array().expect("resources") {
            known.push(format!("{prefix}{}", resource.as_str().expect("a file")));
        }
        known.push(name.clone());
        let built = std::process::Command::new("kubectl")
            .arg("kustomize")
            .arg(files::path(prefix))
            .output();
        match built {
            Ok(output) => assert!(
                output.status.success(),
                "{name}: {}",
                String::from_utf8_lossy(&output.stderr)
            ),
            Err(error) => println!("SKIPPED: building deploy/{name} needs kubectl: {error}"),
        }
    }
    let (mut files, mut known) = (files::yaml(), known);
    files.sort();
    known.sort();
    assert_eq!(
        files, known,
        "every file is used, every file that is named exists"
    );
}
