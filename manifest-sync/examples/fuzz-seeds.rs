//! Makes the seeds of the fuzz targets anew: `cargo run --package manifest-sync --example fuzz-seeds -- manifest-sync/fuzz`.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use manifest_sync::digest::Digest;
use manifest_sync::link::{StreamHeader, StreamKind};
use manifest_sync::log_record::{Dropped, Entry, LogRun, LogStream};
use manifest_sync::protocol::{
    Counters, FromEnclave, GateCondition, RefusedReason, ToEnclave, VERSION, enclave, host,
};
use manifest_sync::reject::Rejection;
use manifest_sync::status::{ConditionStatus, Event, EventType, PodReport};
use manifest_sync::trust::TrustPolicy;
use manifest_sync::trust::envelope::Envelope;
use manifest_sync::trust::key::PublicKey;
use manifest_sync::{frame, pem};
use serde_json::{Value, json};

const GOLDEN: &[u8] = include_bytes!("../tests/trust/golden/envelope.json");
const POLICY: &[u8] = include_bytes!("../tests/trust/golden/policy.json");

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let out = std::env::args_os().nth(1).map(PathBuf::from);
    let out = out
        .ok_or("where to? Give the directory of the fuzz targets")?
        .join("seeds");
    for target in ["frame", "envelope", "bundle", "stream_header"] {
        fs::create_dir_all(out.join(target))?;
    }
    conversations(&out.join("frame"))?;
    deliveries(&out.join("envelope"))?;
    bundles(&out.join("bundle"))?;
    streams(&out.join("stream_header"))
}

/// The first byte says how the target cuts the rest into pieces.
fn cut(byte: u8, bytes: &[u8]) -> Vec<u8> {
    [&[byte], bytes].concat()
}

fn conversations(out: &Path) -> Outcome {
    let hello = |version, session: Option<&str>| ToEnclave::Hello {
        version,
        session: session.map(str::to_owned),
        events_after: 7,
    };
    let mut host_side = host::encode(&hello(VERSION, None));
    host_side.extend(host::encode_apply(br#"{"apiVersion":"v1","kind":"List","items":[]}"#).ok_or("small")?);
    let absent = || "absent".to_owned();
    for message in [
        ToEnclave::BlobUnavailable {
            request: 4,
            message: absent(),
        },
        ToEnclave::BrokerUnavailable {
            request: 5,
            message: absent(),
        },
        ToEnclave::Ping { nonce: 9 },
        ToEnclave::Stop {
            grace_seconds: Some(3),
        },
        ToEnclave::SetCondition {
            request: 3,
            condition: GateCondition {
                r#type: "example.com/ready".to_owned(),
                status: ConditionStatus::False,
                reason: Some("Draining".to_owned()),
                message: None,
            },
        },
        ToEnclave::FinishedAck {},
    ] {
        host_side.extend(host::encode(&message));
    }
    let later = host::encode(&hello(VERSION + 1, Some("5e")));
    let twice = host::encode(&hello(VERSION, Some("5e"))).repeat(2);
    let short = [
        host::encode(&hello(VERSION, None)),
        host::encode(&ToEnclave::Apply { size: 100 }),
        frame::encode(b"{}"),
    ]
    .concat();
    for (name, bytes) in [
        ("host", host_side),
        ("later-version", later),
        ("hello-twice", twice),
        ("short-bundle", short),
        ("large", vec![0xff; 5]),
        ("enclave", enclave_side()?),
        ("refused", refused()),
    ] {
        fs::write(out.join(name), cut(3, &bytes))?;
    }
    Ok(())
}

fn refused() -> Vec<u8> {
    enclave::encode(&FromEnclave::Refused {
        reason: RefusedReason::NotYourSession,
        message: "another controller".to_owned(),
    })
}

fn enclave_side() -> Result<Vec<u8>, Box<dyn Error>> {
    let digest: Digest = format!("sha256:{}", "a".repeat(64)).parse()?;
    let report = PodReport {
        name: "web".to_owned(),
        namespace: "default".to_owned(),
        ..PodReport::default()
    };
    let event = Event {
        sequence: 1,
        time: "2026-01-01T00:00:00Z".to_owned(),
        r#type: EventType::Normal,
        reason: "Started".to_owned(),
        message: "Started container app".to_owned(),
        field_path: Some("spec.containers{app}".to_owned()),
        ..Event::default()
    };
    let messages = [
        FromEnclave::Welcome {
            version: VERSION,
            session: "5e".to_owned(),
            boot_id: "b0".to_owned(),
            bundle: None,
        },
        FromEnclave::Rejected {
            rejection: Rejection::of("bundle", "nothing in it"),
        },
        FromEnclave::Applied {
            digest: "sha384:0".to_owned(),
            warnings: Rejection::of("Pod/web", "ignored").errors,
        },
        FromEnclave::NeedBlob { request: 4, digest },
        FromEnclave::NeedBroker { request: 5 },
        FromEnclave::Status {
            report: Box::new(report.clone()),
        },
        FromEnclave::Event { event },
        FromEnclave::Pong {
            nonce: 9,
            counters: Counters::default(),
        },
        FromEnclave::Finished {
            exit_code: 3,
            report: Box::new(report),
        },
    ];
    Ok(messages.iter().flat_map(enclave::encode).collect())
}

fn deliveries(out: &Path) -> Outcome {
    let golden = Envelope::parse(GOLDEN)?;
    let mut one = Envelope::new(golden.unverified_payload().to_vec());
    let first = golden.signatures().first().ok_or("no signature")?;
    one.add("sha256:other".to_owned(), first.bytes.clone());
    let list = list(&[pod(), enclave_policy()])?;
    for (name, bytes) in [
        ("golden", GOLDEN.to_vec()),
        ("bare", golden.unverified_payload().to_vec()),
        ("one-signature", one.to_json()),
        ("unsigned", Envelope::new(list.clone()).to_json()),
        ("web", list),
    ] {
        fs::write(out.join(name), bytes)?;
    }
    Ok(())
}

fn streams(out: &Path) -> Outcome {
    let header = |stream| -> Result<Vec<u8>, Box<dyn Error>> {
        let header = StreamHeader::new(Some("5e".repeat(32)), stream);
        Ok(frame::encode(&serde_json::to_vec(&header)?))
    };
    let container = Some("app".to_owned());
    let (after, follow) = (7, true);
    let mut records = Vec::new();
    for partial in [true, false] {
        let record = LogRun {
            sequence: 1,
            time_ns: 1_780_315_200_000_000_000,
            container: "app".into(),
            attempt: 2,
            stream: LogStream::Stderr,
            partial,
            records: 1,
            text: b"a line"[..].into(),
        };
        Entry::Run(record).encode(&mut records);
    }
    Entry::Dropped(Dropped {
        first: 3,
        records: 4,
        container: None,
    })
    .encode(&mut records);
    for (name, bytes) in [
        ("control", header(StreamKind::Control {})?),
        (
            "logs",
            header(StreamKind::Logs {
                container,
                after,
                follow,
            })?,
        ),
        (
            "blob",
            header(StreamKind::Blob {
                request: 1,
                size: 1 << 40,
            })?,
        ),
        ("broker", header(StreamKind::Broker { request: 5 })?),
        (
            "ingress",
            [
                header(StreamKind::Ingress {
                    port: 8080,
                    client: None,
                })?,
                b"GET / HTTP/1.1\r\n".to_vec(),
            ]
            .concat(),
        ),
        ("later-version", frame::encode(br#"{"version":2,"anything":[]}"#)),
        ("records", records),
    ] {
        fs::write(out.join(name), cut(20, &bytes))?;
    }
    Ok(())
}

fn bundles(out: &Path) -> Outcome {
    for (name, items) in [
        ("smallest", vec![pod()]),
        (
            "objects",
            vec![pod_with_objects(), map(), secret(), enclave_policy()],
        ),
        ("classes", vec![enclave_policy(), class(), pod_with_class()]),
        ("settings", vec![pod_with_settings()]),
        (
            "mistakes",
            vec![
                json!({"apiVersion": "v1", "kind": "Pod", "spec": {"hostPID": true, "contaners": []}}),
                secret(),
                secret(),
            ],
        ),
    ] {
        fs::write(out.join(name), list(&items)?)?;
    }
    let digest = format!("sha384:{}", "a".repeat(96));
    let pinned = json!({"apiVersion": "cloister.dev/v1", "kind": "TrustPolicy", "pinned": [digest], "minGeneration": 3});
    fs::write(out.join("policy-pinned"), serde_json::to_vec_pretty(&pinned)?)?;
    fs::write(out.join("policy-signed"), POLICY)?;
    fs::write(out.join("policy-any"), TrustPolicy::DEVELOPMENT)?;
    Ok(())
}

fn list(items: &[Value]) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec_pretty(&json!({"apiVersion": "v1", "kind": "List", "items": items}))
}

fn image() -> String {
    format!("app:1@sha256:{}", "a".repeat(64))
}

fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {"containers": [{"name": "app", "image": image()}]}})
}

fn map() -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"},
        "data": {"mode": "fast"}, "binaryData": {"blob": "AAEC"}})
}

fn secret() -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "type": "Opaque",
        "data": {"password": "aHVudGVyMg=="}, "stringData": {"user": "web"}})
}

fn enclave_policy() -> Value {
    json!({"apiVersion": "cloister.dev/v1", "kind": "EnclavePolicy", "metadata": {"name": "web"},
        "spec": {"application": "web", "generation": 7}})
}

fn pod_with_objects() -> Value {
    let mut pod = pod();
    pod["spec"]["containers"][0]["env"] = json!([
        {"name": "A", "value": "$(B) $$(C)"},
        {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "mode", "optional": true}}},
        {"name": "C", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
        {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}}]);
    pod["spec"]["containers"][0]["envFrom"] = json!([{"prefix": "P_", "secretRef": {"name": "db"}}]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([
        {"name": "settings", "mountPath": "/etc/app", "readOnly": true},
        {"name": "db", "mountPath": "/run/db", "subPath": "password"},
        {"name": "scratch", "mountPath": "/tmp"}]);
    pod["spec"]["volumes"] = json!([
        {"name": "settings", "configMap": {"name": "settings", "items": [{"key": "mode", "path": "a/mode", "mode": 256}]}},
        {"name": "db", "secret": {"secretName": "db", "defaultMode": 384, "optional": true}},
        {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}]);
    pod
}

fn class() -> Value {
    // The base point of the curve: a key that nobody has.
    let mut key = [0x66; 32];
    key[0] = 0x58;
    let objects = json!([{"objectName": "db-password", "objectAlias": "db/password", "filePermission": "0400"},
        {"objectName": "tls.key"}]);
    json!({"apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass", "metadata": {"name": "secrets"},
        "spec": {"provider": "broker",
            "parameters": {
                "brokerKey": pem::encode("PUBLIC KEY", &PublicKey::Ed25519(key).to_spki()),
                "objects": objects.to_string(),
                "rotationPollInterval": "1h30m"},
            "secretObjects": [{"secretName": "db", "type": "Opaque", "labels": {"a": "b"},
                "data": [{"objectName": "db/password", "key": "password"}]}]}})
}

fn pod_with_class() -> Value {
    let mut pod = pod();
    pod["spec"]["containers"][0]["env"] =
        json!([{"name": "C", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([
        {"name": "secrets", "mountPath": "/run/secrets"}, {"name": "attestation", "mountPath": "/run/attestation"}]);
    pod["spec"]["volumes"] = json!([
        {"name": "secrets", "csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": true,
            "volumeAttributes": {"secretProviderClass": "secrets"}}},
        {"name": "attestation", "csi": {"driver": "attestation.cloister.dev"}}]);
    pod
}

fn pod_with_settings() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u", "labels": {"app": "web"}, "annotations": {"a": "b"}},
        "spec": {
            "restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 5, "hostname": "w", "subdomain": "s",
            "nodeSelector": {"disk": "ssd"}, "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["10.0.0.1"], "searches": ["a.b"], "options": [{"name": "ndots", "value": "2"}]},
            "hostAliases": [{"ip": "::1", "hostnames": ["x.y"]}],
            "securityContext": {"fsGroup": 7, "runAsUser": 1, "supplementalGroups": [8]},
            "activeDeadlineSeconds": 600,
            "initContainers": [{"name": "sidecar", "image": image(), "restartPolicy": "Always"},
                {"name": "first", "image": image(), "env": [{"name": "A", "value": "b"}]}],
            "containers": [{
                "name": "app", "image": image(), "command": ["/app", "$(A)"], "args": ["-v"], "workingDir": "/",
                "ports": [{"name": "http", "containerPort": 80, "hostPort": 8080}],
                "resources": {"limits": {"cpu": "500m", "memory": "1.5Gi"}, "requests": {"memory": "64M"}},
                "restartPolicy": "Never",
                "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [42]}}],
                "terminationMessagePath": "/log", "terminationMessagePolicy": "FallbackToLogsOnError",
                "securityContext": {"runAsNonRoot": true, "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true, "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}}}]}})
}
