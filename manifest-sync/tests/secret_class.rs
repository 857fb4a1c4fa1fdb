//! Bundles that ask for released secrets: what they become, and one case for each mistake.

use manifest_sync::data::{Content, Objects, Released};
use manifest_sync::plan::{ObjectRef, Plan, Projection, VolumeSource};
use manifest_sync::secret_class::SecretObjectPlan;
use manifest_sync::trust::key::PublicKey;
use manifest_sync::{env, pem, volume};
use proptest::prelude::*;
use serde_json::{Value, json};

const CLASS: &str = "SecretProviderClass/app-secrets: ";

/// A point of the curve: the base point (RFC 8032, section 5.1).
fn broker_key() -> [u8; 32] {
    let mut key = [0x66; 32];
    key[0] = 0x58;
    key
}

fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {
            "containers": [{
                "name": "app",
                "image": format!("app:1@sha256:{}", "a".repeat(64)),
                "env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}],
                "volumeMounts": [{"name": "secrets", "mountPath": "/run/secrets"},
                                 {"name": "attestation", "mountPath": "/run/attestation"}]}],
            "volumes": [
                {"name": "secrets", "csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": true,
                    "volumeAttributes": {"secretProviderClass": "app-secrets"}}},
                {"name": "attestation", "csi": {"driver": "attestation.cloister.dev"}}]}})
}

fn objects() -> Value {
    json!([{"objectName": "db-password", "objectAlias": "db/password", "filePermission": "0400"},
           {"objectName": "tls.key"}])
}

fn class() -> Value {
    let spki = PublicKey::Ed25519(broker_key()).to_spki();
    json!({"apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass",
        "metadata": {"name": "app-secrets"},
        "spec": {
            "provider": "broker",
            "parameters": {
                "brokerKey": pem::encode("PUBLIC KEY", &spki),
                "objects": objects().to_string(),
                "rotationPollInterval": "2m"},
            "secretObjects": [{"secretName": "db", "type": "Opaque", "labels": {"a": "b"},
                "data": [{"objectName": "db/password", "key": "password"}]}]}})
}

fn list(items: &[Value]) -> Vec<u8> {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
        .to_string()
        .into_bytes()
}

/// `value` with one field set, by JSON pointer; null removes it.
fn set(mut value: Value, pointer: &str, to: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    value.pointer_mut(parent).expect("the parent")[name] = to;
    value
}

fn class_with(pointer: &str, to: Value) -> Vec<u8> {
    list(&[pod(), set(class(), pointer, to)])
}

fn with_objects(objects: &Value) -> Vec<u8> {
    class_with("/spec/parameters/objects", objects.to_string().into())
}

fn pod_with(pointer: &str, to: Value) -> Vec<u8> {
    list(&[set(pod(), pointer, to), class()])
}

#[track_caller]
fn refused(bytes: &[u8], words: &[&str]) {
    let rejection = match Plan::from_bundle_bytes(bytes) {
        Err(rejection) => rejection.to_string(),
        Ok(_) => panic!("accepted: {}", String::from_utf8_lossy(bytes)),
    };
    for word in words {
        assert!(rejection.contains(word), "no {word:?} in:\n{rejection}");
    }
}

#[track_caller]
fn accepted(bytes: &[u8]) -> (Plan, String) {
    let (plan, warnings) = Plan::from_bundle_bytes(bytes).unwrap_or_else(|rejection| panic!("{rejection}"));
    let warnings = warnings.iter().map(|warning| format!("{warning}\n"));
    (plan, warnings.collect())
}

#[test]
fn a_mounted_class_is_in_the_plan() {
    let (plan, warnings) = accepted(&list(&[pod(), class()]));
    assert_eq!(warnings, "");
    let class = &plan.secret_classes["app-secrets"];
    assert_eq!(class.broker_key, broker_key());
    assert_eq!(class.rotation_seconds, Some(120));
    let object = |name: &str, file: &str, mode| SecretObjectPlan {
        name: name.to_owned(),
        file: file.to_owned(),
        mode,
    };
    let wanted = [
        object("db-password", "db/password", 0o400),
        object("tls.key", "tls.key", 0o644),
    ];
    assert_eq!(class.objects, wanted);
    assert_eq!(class.secrets[0].name, "db");
    assert_eq!(class.secrets[0].data, [("password".to_owned(), 0)]);
    let provider = VolumeSource::SecretProvider {
        class: "app-secrets".to_owned(),
    };
    assert_eq!(
        plan.volumes
            .iter()
            .map(|volume| &volume.source)
            .collect::<Vec<_>>(),
        [&provider, &VolumeSource::Attestation]
    );
    assert!(plan.secrets.is_empty());
}

#[test]
fn what_is_left_out_has_the_drivers_defaults() {
    let short = set(class(), "/spec/parameters/rotationPollInterval", Value::Null);
    let short = set(short, "/spec/secretObjects", Value::Null);
    let (plan, warnings) = accepted(&list(&[pod(), short]));
    let class = &plan.secret_classes["app-secrets"];
    assert_eq!((class.rotation_seconds, class.secrets.len()), (None, 0));
    assert!(
        warnings.contains("Secret `db` is not in the bundle"),
        "{warnings}"
    );
}

#[test]
fn released_secrets_are_found_like_those_of_the_bundle() {
    let (plan, _) = accepted(&list(&[pod(), class()]));
    let mut released = Released::default();
    let resolve = |released: &Released| {
        let objects = Objects {
            plan: &plan,
            released,
        };
        let reference = Projection::Object {
            source: ObjectRef::Secret("db".to_owned()),
            items: Vec::new(),
            optional: false,
        };
        let runtime = env::Runtime::default();
        let files = volume::payload(&objects, &runtime, &[reference], 0o600);
        let no_file = |_: &str, _: &str| Err("absent".to_owned());
        let variables = env::resolve(&objects, &plan.containers[0], &runtime, &no_file);
        (variables, files)
    };
    let (variables, files) = resolve(&released);
    assert_eq!(variables.expect_err("early"), "secret \"db\" not found");
    assert_eq!(files.expect_err("early"), "secret \"db\" not found");
    let values = ["hunter2", "key"].map(|text| Content::new(text.as_bytes().to_vec()));
    released.put(&plan.secret_classes["app-secrets"], &values);
    let (variables, files) = resolve(&released);
    assert_eq!(variables.expect("variables")["PASSWORD"], "hunter2");
    let files = files.expect("files");
    assert_eq!(
        (&*files["password"].0, files["password"].1),
        (&b"hunter2"[..], 0o600)
    );
    assert!(!format!("{files:?} {released:?}").contains("hunter2"));
}

#[test]
fn missing_keys_of_a_class_are_warned_about() {
    let path = "/spec/containers/0/env/0/valueFrom/secretKeyRef/key";
    let (_, warnings) = accepted(&pod_with(path, "user".into()));
    assert!(warnings.contains("Secret `db` has no key `user`"), "{warnings}");
}

#[test]
fn a_class_that_nobody_mounts_makes_no_secrets() {
    let mut alone = pod();
    alone["spec"]["volumes"]
        .as_array_mut()
        .expect("volumes")
        .remove(0);
    alone["spec"]["containers"][0]["volumeMounts"]
        .as_array_mut()
        .expect("mounts")
        .remove(0);
    let (plan, warnings) = accepted(&list(&[alone, class()]));
    assert!(plan.secret_classes.is_empty());
    for words in [
        "SecretProviderClass/app-secrets: no volume of the Pod mounts it",
        "Secret `db` is not in the bundle",
    ] {
        assert!(warnings.contains(words), "{warnings}");
    }
}

#[test]
fn certificates_are_not_taken_apart_and_that_is_said() {
    let (_, warnings) = accepted(&class_with(
        "/spec/secretObjects/0/type",
        "kubernetes.io/tls".into(),
    ));
    assert!(warnings.contains("spec.secretObjects[0].type: "), "{warnings}");
}

#[test]
fn every_mistake_of_a_class_has_its_path() {
    let cases: [(&str, Value, &[&str]); 22] = [
        (
            "/apiVersion",
            "secrets-store.csi.x-k8s.io/v1alpha1".into(),
            &["v1alpha1/SecretProviderClass is not supported"],
        ),
        ("/metadata/name", "App".into(), &["metadata.name: "]),
        ("/spec", Value::Null, &["spec: is required"]),
        (
            "/spec/provider",
            "vault".into(),
            &["spec.provider: only `broker` is supported"],
        ),
        ("/spec/provider", Value::Null, &["spec.provider: is required"]),
        (
            "/spec/providers",
            "broker".into(),
            &["spec.providers: unknown field; did you mean `provider`?"],
        ),
        ("/spec/parameters", Value::Null, &["spec.parameters: is required"]),
        (
            "/spec/parameters/keyvaultName",
            "x".into(),
            &["spec.parameters.keyvaultName: unknown field"],
        ),
        (
            "/spec/parameters/brokerKey",
            Value::Null,
            &["spec.parameters.brokerKey: is required"],
        ),
        (
            "/spec/parameters/brokerKey",
            "x".into(),
            &["spec.parameters.brokerKey: not a public key"],
        ),
        (
            "/spec/parameters/brokerKey",
            json!(1),
            &["spec.parameters.brokerKey: expected a string"],
        ),
        (
            "/spec/parameters/rotationPollInterval",
            "5s".into(),
            &["spec.parameters.rotationPollInterval: ", "from 10s"],
        ),
        (
            "/spec/parameters/rotationPollInterval",
            "10.5s".into(),
            &["whole seconds"],
        ),
        (
            "/spec/parameters/rotationPollInterval",
            "9000h".into(),
            &["8760h"],
        ),
        (
            "/spec/parameters/rotationPollInterval",
            "soon".into(),
            &["such as 2m"],
        ),
        (
            "/spec/secretObjects/0/secretName",
            "DB".into(),
            &["spec.secretObjects[0].secretName: "],
        ),
        (
            "/spec/secretObjects/0/data",
            json!([]),
            &["spec.secretObjects[0].data: needs at least one"],
        ),
        (
            "/spec/secretObjects/0/data/0/key",
            "../x".into(),
            &["spec.secretObjects[0].data[0].key: "],
        ),
        (
            "/spec/secretObjects/0/data/0/objectName",
            "nothing".into(),
            &["data[0].objectName: `nothing` is none of"],
        ),
        (
            "/spec/secretObjects/0/data/0/objectName",
            "db-password".into(),
            &["mounted as `db/password`: write that"],
        ),
        (
            "/spec/secretObjects/0/data/0/objectVersion",
            "1".into(),
            &["data[0].objectVersion: unknown field"],
        ),
        (
            "/spec/secretObjects/0/labels",
            json!({"a": 1}),
            &["spec.secretObjects[0].labels['a']: expected a string"],
        ),
    ];
    for (pointer, value, words) in cases {
        refused(&class_with(pointer, value), words);
    }
    let p256 = include_str!("trust/golden/policy.json");
    let p256: Value = serde_json::from_str(p256).expect("JSON");
    let keys = p256["signedBy"]["signers"].as_array().expect("signers");
    let keys: Vec<_> = keys.iter().filter_map(|one| one["key"].as_str()).collect();
    let ecdsa = |text: &&&str| matches!(PublicKey::from_text(text), Ok(PublicKey::EcdsaP256(_)));
    let key = *keys.iter().find(ecdsa).expect("a P-256 key");
    refused(
        &class_with("/spec/parameters/brokerKey", key.into()),
        &[CLASS, "must be an Ed25519 key, not P-256"],
    );
}

#[test]
fn every_mistake_in_objects_has_its_path() {
    let text = |text: &str| class_with("/spec/parameters/objects", text.into());
    refused(
        &text("- objectName: a\n"),
        &[CLASS, "spec.parameters.objects: ", "host-proxy makes it of YAML"],
    );
    refused(&text("[] []"), &["more bytes follow the list"]);
    refused(&text(&"[".repeat(70_000)), &["at most 65536"]);
    refused(
        &text(r#"[{"objectName": "a", "objectName": "b"}]"#),
        &["appears twice"],
    );
    let cases: [(Value, &[&str]); 20] = [
        (json!([]), &["spec.parameters.objects: must name 1 to 64"]),
        (
            json!({"array": []}),
            &["spec.parameters.objects: expected a list, found an object"],
        ),
        (json!(["a"]), &["spec.parameters.objects[0]: expected an object"]),
        (
            json!([{"objectAlias": "a"}]),
            &["spec.parameters.objects[0].objectName: is required"],
        ),
        (
            json!([{"objectName": ".a"}]),
            &["spec.parameters.objects[0].objectName: must be letters"],
        ),
        (json!([{"objectName": "a/b"}]), &["objectName: must be letters"]),
        (json!([{"objectName": ""}]), &["objectName: must be letters"]),
        (
            json!([{"objectName": "a".repeat(254)}]),
            &["objectName: must be letters"],
        ),
        (
            json!([{"objectName": "a", "objectVersion": "1"}]),
            &["objects[0].objectVersion: unknown field"],
        ),
        (
            json!([{"objectName": "a", "objectAlias": "/a"}]),
            &["objects[0].objectAlias: must be a relative path"],
        ),
        (
            json!([{"objectName": "a", "objectAlias": "a/../b"}]),
            &["objectAlias: must be a relative path"],
        ),
        (
            json!([{"objectName": "a", "objectAlias": "..data"}]),
            &["objectAlias: must be a relative path"],
        ),
        (
            json!([{"objectName": "a", "objectAlias": "a//b"}]),
            &["objectAlias: must be a relative path"],
        ),
        (
            json!([{"objectName": "a", "objectAlias": "a\nb"}]),
            &["objectAlias: must be a relative path"],
        ),
        (
            json!([{"objectName": "a"}, {"objectName": "a", "objectAlias": "b"}]),
            &["objects[1].objectName: `a` is there twice"],
        ),
        (
            json!([{"objectName": "a"}, {"objectName": "b", "objectAlias": "a"}]),
            &["objects[1]: file `a` collides"],
        ),
        (
            json!([{"objectName": "a"}, {"objectName": "b", "objectAlias": "a/b"}]),
            &["file `a/b` collides with file `a`"],
        ),
        (
            json!([{"objectName": "a", "filePermission": 420}]),
            &["objects[0].filePermission: must be a text"],
        ),
        (
            json!([{"objectName": "a", "filePermission": "1777"}]),
            &["filePermission: must be a text"],
        ),
        (
            json!([{"objectName": "a", "filePermission": "rw"}]),
            &["filePermission: must be a text"],
        ),
    ];
    for (objects, words) in cases {
        refused(&with_objects(&objects), words);
    }
    let many = |count: usize| -> Value { (0..count).map(|n| json!({"objectName": n.to_string()})).collect() };
    refused(
        &with_objects(&many(65)),
        &["spec.parameters.objects: has 65 entries"],
    );
    let few = set(class(), "/spec/secretObjects", Value::Null);
    let few = set(few, "/spec/parameters/objects", many(64).to_string().into());
    assert_eq!(
        accepted(&list(&[pod(), few])).0.secret_classes["app-secrets"]
            .objects
            .len(),
        64
    );
}

#[test]
fn mistakes_are_reported_together() {
    let bad = set(class(), "/spec/provider", "vault".into());
    let bad = set(bad, "/spec/parameters/objects", r#"[{"objectName": "/"}]"#.into());
    let bad = set(bad, "/spec/secretObjects/0/data/0/key", "/".into());
    refused(
        &list(&[set(pod(), "/spec/hostPID", true.into()), bad]),
        &[
            "spec.provider: ",
            "objects[0].objectName: ",
            "data[0].key: ",
            "spec.hostPID: ",
        ],
    );
}

#[test]
fn every_mistake_of_a_volume_has_its_path() {
    let cases: [(&str, Value, &[&str]); 10] = [
        (
            "0/csi/driver",
            "ebs.csi.aws.com".into(),
            &[
                "spec.volumes[0].csi.driver: ",
                "expected secrets-store.csi.k8s.io or attestation.cloister.dev",
            ],
        ),
        (
            "0/csi/driver",
            Value::Null,
            &["spec.volumes[0].csi.driver: is required"],
        ),
        (
            "0/csi/readOnly",
            Value::Null,
            &["spec.volumes[0].csi.readOnly: must be true"],
        ),
        (
            "0/csi/volumeAttributes",
            Value::Null,
            &["volumeAttributes.secretProviderClass: is required"],
        ),
        (
            "0/csi/volumeAttributes",
            json!({}),
            &["volumeAttributes.secretProviderClass: is required"],
        ),
        (
            "0/csi/volumeAttributes/secretProviderClass",
            "other".into(),
            &[
                "spec.volumes[0].csi.volumeAttributes.secretProviderClass: no SecretProviderClass of the bundle is named `other`",
            ],
        ),
        (
            "0/csi/nodePublishSecretRef",
            json!({"name": "x"}),
            &["spec.volumes[0].csi.nodePublishSecretRef: not supported"],
        ),
        (
            "0/emptyDir",
            json!({}),
            &[
                "spec.volumes[0]: expected exactly one of emptyDir, configMap, secret, downwardAPI, projected, csi",
            ],
        ),
        (
            "1/csi/volumeAttributes",
            json!({"a": "b"}),
            &["spec.volumes[1].csi.volumeAttributes.a: unknown field"],
        ),
        (
            "1/csi/readOnly",
            "yes".into(),
            &["spec.volumes[1].csi.readOnly: expected a boolean"],
        ),
    ];
    for (place, value, words) in cases {
        refused(&pod_with(&format!("/spec/volumes/{place}"), value), words);
    }
    refused(
        &pod_with("/spec/containers/0/volumeMounts/1/subPath", "attest.sock".into()),
        &["spec.containers[0].volumeMounts[1]: an attestation volume is mounted as a whole"],
    );
}

#[test]
fn no_secret_has_two_origins() {
    let plain = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}});
    refused(
        &list(&[pod(), class(), plain]),
        &[
            CLASS,
            "spec.secretObjects[0].secretName: the bundle holds a Secret `db`",
        ],
    );
    let other = set(class(), "/metadata/name", "other".into());
    refused(
        &list(&[pod(), class(), other]),
        &["SecretProviderClass `app-secrets` makes a Secret `db` too"],
    );
    let twice = json!(vec![class()["spec"]["secretObjects"][0].clone(); 2]);
    refused(
        &class_with("/spec/secretObjects", twice),
        &["secretObjects[1].secretName: `db` is made twice"],
    );
    let twice = json!(vec![class()["spec"]["secretObjects"][0]["data"][0].clone(); 2]);
    refused(
        &class_with("/spec/secretObjects/0/data", twice),
        &["data[1].key: `password` is there twice"],
    );
    refused(
        &list(&[pod(), class(), class()]),
        &[CLASS, "appears twice in the bundle"],
    );
}

proptest! {
    #[test]
    fn a_changed_byte_never_panics(position in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = list(&[pod(), class()]);
        let position = position.index(bytes.len());
        bytes[position] = byte;
        let _ = Plan::from_bundle_bytes(&bytes);
    }

    #[test]
    fn paths_of_files_stay_inside_the_volume(alias in "[a./]{1,8}") {
        let bytes = with_objects(&json!([{"objectName": "x", "objectAlias": alias}]));
        // The reference to db/password is wrong then, so the class stands without it.
        let mut tree: Value = serde_json::from_slice(&bytes).expect("JSON");
        tree["items"][1]["spec"]["secretObjects"] = Value::Null;
        if let Ok((plan, _)) = Plan::from_bundle_bytes(tree.to_string().as_bytes()) {
            let file = &plan.secret_classes["app-secrets"].objects[0].file;
            prop_assert!(!file.starts_with('/') && !file.split('/').any(|part| matches!(part, "" | "." | "..")));
        }
    }
}
