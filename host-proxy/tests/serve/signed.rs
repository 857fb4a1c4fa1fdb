//! From a key to a signed bundle in the enclave: `sign`, `inspect`, `serve --bundle`, as a user types them.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use manifest_sync::trust::envelope::Envelope;
use manifest_sync::trust::key::PublicKey;
use manifest_sync::{base64, pem};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::fake::{Manner, Seen};
use super::{POD, Stage};

fn run(directory: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_host-proxy"))
        .args(line.split_whitespace())
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("host-proxy runs")
}

#[track_caller]
fn succeeds(directory: &Path, line: &str) -> (String, String) {
    let output = run(directory, line);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{line}: {}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn fails(directory: &Path, line: &str, code: i32, words: &[&str]) {
    let output = run(directory, line);
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(code), "{line}: {text}");
    for word in words {
        assert!(text.contains(word), "{line}: no {word:?} in {text}");
    }
}

/// Two keys, a policy that wants both, and a manifest with a tag that `images` resolves.
fn prepare(directory: &Path) {
    let random = SystemRandom::new();
    let alice = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
    let kind = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let bob = EcdsaKeyPair::generate_pkcs8(kind, &random).expect("a key");
    let public = [
        Ed25519KeyPair::from_pkcs8(alice.as_ref())
            .map(|pair| PublicKey::ed25519(pair.public_key().as_ref().try_into().expect("32 bytes"))),
        EcdsaKeyPair::from_pkcs8(kind, bob.as_ref(), &random)
            .map(|pair| PublicKey::p256(pair.public_key().as_ref().try_into().expect("65 bytes"))),
    ];
    let mut signers = Vec::new();
    for ((name, pkcs8), public) in [("alice", alice.as_ref()), ("bob", bob.as_ref())]
        .into_iter()
        .zip(public)
    {
        let spki = public.expect("the key").expect("usable").to_spki();
        signers.push(json!({"name": name, "key": base64::encode(&spki)}));
        std::fs::write(
            directory.join(format!("{name}.pub")),
            pem::encode("PUBLIC KEY", &spki),
        )
        .expect("written");
        std::fs::write(
            directory.join(format!("{name}.pem")),
            pem::encode("PRIVATE KEY", pkcs8),
        )
        .expect("written");
    }
    let mut policy = json!({"apiVersion": "cloister.dev/v1", "kind": "TrustPolicy", "minGeneration": 7,
        "signedBy": {"application": "web", "threshold": 2, "signers": signers}});
    std::fs::write(directory.join("policy.json"), policy.to_string()).expect("written");
    policy["minGeneration"] = json!(8);
    std::fs::write(directory.join("later.json"), policy.to_string()).expect("written");
    policy["minGenertion"] = json!(8);
    std::fs::write(directory.join("typo.json"), policy.to_string()).expect("written");

    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let tagged = POD.replace(&format!("app@{digest}"), "app:1");
    assert_ne!(tagged, POD);
    std::fs::write(directory.join("tagged.yaml"), tagged).expect("written");
    let index = json!({"manifests": [{"digest": digest,
        "annotations": {"org.opencontainers.image.ref.name": "app:1"}}]});
    std::fs::write(directory.join("images/index.json"), index.to_string()).expect("written");
}

#[tokio::test]
async fn what_was_signed_reaches_the_enclave_unchanged() {
    let mut stage = Stage::new(Manner::Honest);
    let directory = stage.path().to_owned();
    prepare(&directory);
    let line = "sign -f tagged.yaml --images images --key alice.pem --application web --generation 7 --out web.bundle";
    let (out, said) = succeeds(&directory, line);
    assert_eq!(out, "");
    for part in [
        "app:1 is app:1@sha256:e3b0",
        "is generation 7 of web: Pod default/web",
        "signed with alice.pem",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    let refused = [
        "REFUSES this bundle",
        "1 of 2 signatures that the policy asks for (by alice)",
    ];
    fails(
        &directory,
        "inspect web.bundle --policy policy.json",
        65,
        &refused,
    );

    // A second person adds a name to the same bytes.
    succeeds(
        &directory,
        "sign --bundle web.bundle --key bob.pem --out web.bundle",
    );
    let (report, _) = succeeds(&directory, "inspect web.bundle --policy policy.json -o json");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(
        (&report["accepted"], &report["generation"]),
        (&json!(true), &json!(7))
    );
    let (by_key, _) = succeeds(&directory, "inspect web.bundle --key bob.pub");
    assert!(by_key.contains("valid bob.pub"), "{by_key}");
    let old = "generation 7; the policy takes 8 and later";
    fails(&directory, "inspect web.bundle --policy later.json", 65, &[old]);

    let bytes = std::fs::read(directory.join("web.bundle")).expect("the bundle");
    let envelope = Envelope::parse(&bytes).expect("an envelope");
    assert_eq!(envelope.signatures().len(), 2);
    let arguments = ["--bundle", directory.join("web.bundle").to_str().expect("a path")].map(str::to_owned);
    let arguments = arguments.each_ref().map(String::as_str);
    let mut proxy = stage.serve(&arguments);
    let Seen::Applied(delivered) = stage.saw(|seen| matches!(seen, Seen::Applied(_))).await else {
        panic!("not applied")
    };
    assert_eq!(delivered, bytes);

    // The enclave calls it by the digest of what is in the envelope; the next proxy knows it by that.
    proxy.child.kill().expect("killed");
    proxy.child.wait().expect("waited");
    let mut proxy = stage.serve(&arguments);
    stage
        .saw(|seen| matches!(seen, Seen::Hello { with_key: true }))
        .await;
    proxy.port(80).await;
    let status = stage.client(&["status"]).await;
    assert!(status.status.success(), "{status:?}");
    proxy.child.kill().expect("killed");
    proxy.child.wait().expect("waited");
}

#[test]
fn mistakes_name_the_file_and_what_to_do() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    std::fs::create_dir(directory.join("images")).expect("made");
    std::fs::write(directory.join("pod.yaml"), POD).expect("written");
    prepare(directory);
    let sign = |rest: &str| format!("sign -f pod.yaml {rest}");
    fails(
        directory,
        &sign("--key alice.pem"),
        65,
        &["names no application", "--application NAME"],
    );
    fails(
        directory,
        &sign("--key alice.pub --application web"),
        66,
        &["alice.pub: `PUBLIC KEY` is no private key"],
    );
    fails(
        directory,
        &sign("--key none.pem --application web"),
        66,
        &["cannot read none.pem"],
    );
    fails(
        directory,
        &sign("--key pod.yaml --application web"),
        66,
        &["pod.yaml: not PEM"],
    );
    fails(
        directory,
        &sign("--key alice.pem --application Web"),
        65,
        &["spec.application: must be"],
    );
    fails(
        directory,
        &sign("--key alice.pem --application web --out no/such/file"),
        71,
        &["cannot write no/such/file"],
    );
    fails(
        directory,
        "sign -f tagged.yaml --key alice.pem --application web",
        66,
        &["image app:1 has no digest"],
    );
    fails(
        directory,
        "sign --bundle pod.yaml --key alice.pem",
        65,
        &["pod.yaml is no bundle", "`host-proxy sign`"],
    );
    fails(
        directory,
        "inspect -f pod.yaml --policy typo.json",
        66,
        &["typo.json is no trust policy", "did you mean `minGeneration`"],
    );
    fails(
        directory,
        "inspect -f pod.yaml --key alice.pem",
        66,
        &["alice.pem: a private key: give the public one"],
    );
    fails(directory, "inspect none.bundle", 66, &["cannot read none.bundle"]);
    fails(directory, "up --bundle pod.yaml", 65, &["pod.yaml is no bundle"]);
    // A bundle in an envelope is printed where nothing says where it goes, and it is one line of JSON.
    let (printed, _) = succeeds(directory, &sign("--key alice.pem --application web"));
    assert!(Envelope::parse(printed.as_bytes()).is_ok() && printed.lines().count() == 1);
    let (digest, _) = succeeds(directory, "inspect -f pod.yaml");
    assert!(
        digest.contains("sha384:") && digest.contains("not signed"),
        "{digest}"
    );
}
