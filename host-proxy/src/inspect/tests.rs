//! Reports about the files that OpenSSL signed (the golden ones of `manifest-sync`), and about damaged ones.

use manifest_sync::trust::envelope::Envelope;
use serde_json::Value;

use super::report::{Form, SignatureVerdict};
use super::*;

const ENVELOPE: &[u8] = include_bytes!("../../../manifest-sync/tests/trust/golden/envelope.json");
const POLICY: &[u8] = include_bytes!("../../../manifest-sync/tests/trust/golden/policy.json");

fn report(bytes: &[u8], policy: Option<&TrustPolicy>) -> Report {
    Report::of(&Subject {
        bytes,
        delivery: &Delivery::read(bytes).expect("a bundle"),
        policy,
        keys: &[],
    })
}

fn policy() -> TrustPolicy {
    TrustPolicy::parse(POLICY).expect("a policy")
}

fn words(report: &Report) -> String {
    text::text(report)
}

#[test]
fn with_a_policy_everything_is_known() {
    let report = report(ENVELOPE, Some(&policy()));
    assert_eq!((report.form, report.accepted), (Form::Envelope, Some(true)));
    assert_eq!(
        (report.application.as_deref(), report.generation),
        (Some("web"), Some(7))
    );
    let signers: Vec<_> = report
        .signatures
        .iter()
        .map(|one| (one.signer.as_deref(), one.verdict))
        .collect();
    let valid = SignatureVerdict::Valid;
    assert_eq!(signers, [(Some("alice"), valid), (Some("bob"), valid)]);
    assert!(
        report
            .pcrs
            .pcr16
            .as_deref()
            .is_some_and(|pcr| pcr.starts_with("b8fc56b1"))
    );
    assert!(report.pcrs.pcr17.starts_with("5bf07d9f"));
    assert_eq!((report.errors.len(), report.warnings.len()), (0, 0), "{report:?}");
    let json: Value = serde_json::to_value(&report).expect("JSON");
    assert_eq!(json["pcrs"]["PCR17"], Value::from(report.pcrs.pcr17.clone()));
    assert_eq!(json["signatures"][1]["verdict"], "valid");
}

#[test]
fn without_a_policy_it_says_what_is_not_known() {
    let report = report(ENVELOPE, None);
    assert_eq!((report.accepted, report.pcrs.pcr16.as_deref()), (None, None));
    assert_eq!(report.signatures[0].verdict, SignatureVerdict::NotChecked);
    let text = words(&report);
    for part in [
        "PCR16       needs --policy",
        "signatures[0]: not checked: give --policy or --key",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_key_file_is_enough_to_check_a_signature() {
    let policy = policy();
    let manifest_sync::trust::policy::Authority::SignedBy(by) = &policy.authority else {
        panic!("not signed")
    };
    let mut key = by.signers[1].clone();
    key.name = "cosign.pub".to_owned();
    let report = Report::of(&Subject {
        bytes: ENVELOPE,
        delivery: &Delivery::read(ENVELOPE).expect("an envelope"),
        policy: None,
        keys: &[key],
    });
    let verdicts: Vec<_> = report.signatures.iter().map(|one| one.verdict).collect();
    assert_eq!(verdicts, [SignatureVerdict::UnknownKey, SignatureVerdict::Valid]);
    assert_eq!(report.signatures[1].signer.as_deref(), Some("cosign.pub"));
}

#[test]
fn what_a_policy_refuses_is_a_report_with_the_rule() {
    let envelope = Envelope::parse(ENVELOPE).expect("an envelope");
    let payload = String::from_utf8(envelope.unverified_payload().to_vec()).expect("text");
    let mut changed = Envelope::new(
        payload
            .replace("\"generation\": 7", "\"generation\": 8")
            .into_bytes(),
    );
    for signature in envelope.signatures() {
        changed.add(
            signature.key_id.clone().expect("a keyid"),
            signature.bytes.clone(),
        );
    }
    let report = report(&changed.to_json(), Some(&policy()));
    assert_eq!((report.accepted, report.generation), (Some(false), Some(8)));
    let text = words(&report);
    for part in [
        "Policy      REFUSES this bundle",
        "WRONG alice",
        "signedBy.threshold: 0 of 2 signatures",
        "signatures[1]: names the key of bob and is not theirs over this bundle",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
}

#[test]
fn dangers_are_named() {
    let secret = br#"{"apiVersion":"v1","kind":"List","items":[
        {"apiVersion":"v1","kind":"Secret","metadata":{"name":"db"},"stringData":{"password":"hunter2"}},
        {"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":{"containers":[{"name":"app",
         "image":"a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]}}]}"#;
    let report = report(secret, Some(&TrustPolicy::development()));
    let text = words(&report);
    for part in [
        "Form        not signed",
        "Secret/db: readable for everybody",
        "policy: any: whoever reaches the enclave",
        "policy: allowDebugExec:",
        "policy: allowPrivileged:",
        "EnclavePolicy: spec.application: is not set",
        "EnclavePolicy: spec.generation: is not set",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    assert!(!text.contains("hunter2") && !format!("{report:?}").contains("hunter2"));
}

#[test]
fn a_bundle_that_cannot_run_is_reported_once() {
    let bytes = br#"{"apiVersion":"v1","kind":"List","items":[]}"#;
    let report = report(bytes, Some(&TrustPolicy::development()));
    assert_eq!(
        (report.accepted, report.errors.len()),
        (Some(false), 1),
        "{report:?}"
    );
}

#[test]
fn released_secrets_are_listed_with_who_gets_them() {
    let manifest =
        std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/secret-class.yaml"));
    let bytes = source::load(&[manifest], None).expect("a bundle").json;
    let report = report(&bytes, None);
    assert_eq!(report.errors, []);
    let text = words(&report);
    let start = text.find("Secrets     ").expect("secrets");
    let end = text.find("PCR16").expect("the next row");
    let key = &report.secrets[0].broker_key_id;
    let wanted = format!(
        "\
Secrets     web-secrets: released every 120 s, broker {key}
              db-password as db/password (0400)
              tls.key (0644)
              Secret db: password=db-password
              migrate $PASSWORD <- db-password
              app /run/secrets <- db-password, tls.key
              app $DB_PASSWORD <- db-password
              prover /run/db <- db-password
              prover $DB_* <- db-password
Attestation prover /run/attestation/attest.sock
"
    );
    assert_eq!(&text[start..end], wanted);
    let json: Value = serde_json::to_value(&report).expect("JSON");
    assert_eq!(json["secrets"][0]["containers"][1]["at"], "/run/secrets");
    assert_eq!(json["secrets"][0]["objects"][0]["mode"], "0400");
}

#[test]
fn a_sub_path_and_items_give_a_container_less() {
    let manifest = include_str!("../../testdata/secret-class.yaml")
        .replace(
            "mountPath: /run/secrets",
            "mountPath: /run/db.txt\n          subPath: db",
        )
        .replace(
            "        secretName: db\n",
            "        secretName: db\n        items: [{key: other, path: other}]\n        optional: true\n",
        );
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), manifest).expect("writes");
    let bytes = source::load(&[file.path().to_owned()], None)
        .expect("a bundle")
        .json;
    let report = report(&bytes, None);
    assert_eq!(report.errors, []);
    let ways = report.secrets[0].containers.iter();
    let ways: Vec<_> = ways
        .map(|way| format!("{} {} {}", way.container, way.at, way.objects.join(",")))
        .collect();
    assert_eq!(
        ways,
        [
            "migrate $PASSWORD db-password",
            "app /run/db.txt db-password",
            "app $DB_PASSWORD db-password",
            "prover $DB_* db-password",
        ]
    );
}
