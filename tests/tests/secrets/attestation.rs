//! The socket that a container asks for.

use attest::document::{Exchange, Field, Identity, Policy, verify};
use attest::hex::{Hex, from_hex};
use attest::release::{Binding, BindingError};
use attest::statement::Statement;
use manifest_sync::measurement::{self, Measurement};
use manifest_sync::trust::TrustPolicy;
use serde_json::{Value, json};
use tests::{Up, guest, images, pod, product, wait_for};

use crate::{image, lines, now, proof, said};

const NONCE: [u8; 32] = [0x5a; 32];

fn asks(name: &str, target: &str) -> Value {
    let mut container = guest(name, &["attest", "/attest/attest.sock", target]);
    container["volumeMounts"] = json!([{"name": "attestation", "mountPath": "/attest", "readOnly": true}]);
    container
}

fn volume() -> Value {
    json!({"name": "attestation", "csi": {"driver": "attestation.cloister.dev", "readOnly": true}})
}

#[test]
fn a_container_gets_documents_that_say_who_asked_and_nothing_else_can_be_said() {
    let Some(product) = product() else { return };
    let hostile = Hex(b"cloister.dev/secret-release/v1\0\0").to_string();
    let target = format!("/v1/attestation?nonce={}&data={}", Hex(&NONCE), Hex(b"report"));
    let up = Up::start(
        &product,
        &[pod(json!({
            "volumes": [volume()],
            "containers": [
                asks("app", &target),
                asks("liar", &format!("/v1/attestation?data={hostile}")),
                asks("greedy", "/v1/attestation?publicKey=00"),
                asks("lost", "/v2/attestation"),
                guest("other", &["cat", "/attest/attest.sock"]),
            ],
        }))],
        &[],
    );
    assert!(said(&up, "app", "status").contains("200"));
    let document = from_hex(&said(&up, "app", "body")).expect("a document");
    let proof_of_app = proof(&up, &document, &NONCE);
    let statement =
        Statement::parse(proof_of_app.user_data.as_deref().expect("user data")).expect("a statement");
    assert_eq!(
        (statement.subject.as_str(), statement.data.as_slice()),
        ("app", &b"report"[..])
    );
    assert_eq!(statement.application.as_str(), "test");
    assert_eq!(proof_of_app.public_key, None);

    // Everything is locked, and PCR16 and 17 are what anybody can compute from the policy and the bundle.
    assert_eq!(proof_of_app.pcrs.len(), 32);
    let [pcr0, pcr1, pcr2] = image(&up);
    assert_eq!(
        [
            &proof_of_app.pcrs[&0],
            &proof_of_app.pcrs[&1],
            &proof_of_app.pcrs[&2]
        ],
        [&pcr0, &pcr1, &pcr2]
    );
    let policy = TrustPolicy::parse(TrustPolicy::DEVELOPMENT.as_bytes()).expect("a policy");
    assert_eq!(proof_of_app.pcrs[&16], measurement::authority(&policy).value());
    let data = statement.bundle;
    assert_eq!(proof_of_app.pcrs[&17], Measurement { index: 17, data }.value());

    // Whatever a container adds, its document is no request for secrets, and names it.
    let document = from_hex(&said(&up, "liar", "body")).expect("a document");
    let policy = Policy::new(Identity::Image(pcr0)).roots(crate::roots(&up));
    let any = Exchange {
        nonce: Field::Any,
        user_data: Field::Any,
        public_key: Field::Any,
    };
    let told = verify(&document, &policy, &any, now())
        .expect("a document")
        .user_data
        .expect("user data");
    assert_eq!(Binding::parse(&told), Err(BindingError::Label));
    assert_eq!(Statement::parse(&told).expect("a statement").subject, "liar");
    // A verifier that was not given this root believes nothing.
    let stranger = Policy::new(Identity::Image(pcr0));
    assert!(verify(&document, &stranger, &any, now()).is_err());

    assert!(said(&up, "greedy", "status").contains("400"));
    assert!(said(&up, "lost", "status").contains("404"));
    said(&up, "other", "No such file");
}

/// The chain of docs/updates.md, computed from what the documents themselves say of their bundles.
#[test]
fn a_document_after_an_update_says_what_ran_before() {
    let Some(product) = product() else { return };
    let layout = images::versions(&product.guests, &["1", "2"]);
    let layout = layout.path().to_str().expect("UTF-8");
    let target = format!("/v1/attestation?nonce={}", Hex(&NONCE));
    let release = |image: &str| {
        let mut app = asks("app", &target);
        app["image"] = json!(image);
        [pod(
            json!({"volumes": [volume()], "containers": [app], "terminationGracePeriodSeconds": 0}),
        )]
    };
    let up = Up::start(&product, &release("guest:1"), &["--images", layout]);
    let statements = |count: usize| {
        let bodies = wait_for(&format!("{count} documents"), || {
            let bodies: Vec<String> = lines(&up, "app")
                .iter()
                .filter_map(|line| line.strip_prefix("body ").map(str::to_owned))
                .collect();
            (bodies.len() == count).then_some(bodies)
        });
        let read = |body: &String| {
            let document = from_hex(body.trim()).expect("a document");
            let told = proof(&up, &document, &NONCE).user_data.expect("user data");
            Statement::parse(&told).expect("a statement")
        };
        bodies.iter().map(read).collect::<Vec<_>>()
    };
    statements(1);
    let updated = up.update(&release("guest:2"), &["--images", layout]);
    assert!(updated.status.success(), "{updated:?}");
    let statements = statements(2);
    assert_ne!(statements[0].bundle, statements[1].bundle);
    let mut head = [0; 32];
    for statement in statements {
        let mut label = [0; 32];
        label[..23].copy_from_slice(b"cloister.dev/history/v1");
        let generation = statement.generation.to_be_bytes();
        let bytes = [&label[..], &head, &generation, &statement.bundle].concat();
        head.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref());
        assert_eq!(statement.history, head);
    }
}

/// The host cannot hide a command: the one that asks is in the history that the document says.
#[test]
fn a_document_says_what_the_host_has_executed() {
    let Some(product) = product() else { return };
    let target = format!("/v1/attestation?nonce={}", Hex(&NONCE));
    let up = Up::start(
        &product,
        &[pod(
            json!({"volumes": [volume()], "containers": [asks("app", &target)]}),
        )],
        &[],
    );
    let read = |body: &str| {
        let document = from_hex(body.trim()).expect("a document");
        let told = proof(&up, &document, &NONCE).user_data.expect("user data");
        Statement::parse(&told).expect("a statement")
    };
    let mut head = read(&said(&up, "app", "body")).history;
    for _ in 0..2 {
        let command = ["/guest", "attest-once", "/attest/attest.sock", &target];
        let done = up.exec(&[&["-c", "app", "--"], &command[..]].concat());
        assert!(done.status.success(), "{done:?}");
        let mut label = [0; 32];
        label[..26].copy_from_slice(b"cloister.dev/debug-exec/v1");
        let digest = |bytes: &[u8]| ring::digest::digest(&ring::digest::SHA256, bytes);
        let text = digest(json!(["app", command]).to_string().as_bytes());
        let next = digest(&[&label[..], &head, text.as_ref()].concat());
        head.copy_from_slice(next.as_ref());
        assert_eq!(read(&String::from_utf8_lossy(&done.stdout)).history, head);
    }
}

#[test]
fn a_container_that_asks_too_often_is_told_so_and_others_are_served() {
    let Some(product) = product() else { return };
    let up = Up::start(
        &product,
        &[pod(json!({
            "volumes": [volume()],
            "containers": [
                {"name": "flood", "image": "guest", "args": ["attest-flood", "/attest/attest.sock", "200"],
                 "volumeMounts": [{"name": "attestation", "mountPath": "/attest"}]},
                asks("app", "/v1/attestation"),
            ],
        }))],
        &[],
    );
    let counts = said(&up, "flood", "answers");
    let counts: Vec<u32> = counts
        .split_whitespace()
        .map(|count| count.parse().expect("a number"))
        .collect();
    let [ok, too_many] = counts.as_slice() else {
        panic!("{counts:?}")
    };
    assert!(*ok >= 20 && *too_many > 0 && ok + too_many == 200, "{counts:?}");
    assert!(said(&up, "app", "status").contains("200"));
}

#[test]
fn an_attest_service_that_dies_takes_the_module_along_and_the_pod_goes_on() {
    let Some(product) = product() else { return };
    let up = Up::start(
        &product,
        &[pod(json!({
            "volumes": [volume()],
            "containers": [asks("app", "/v1/attestation"), guest("other", &["sleep"])],
        }))],
        &[],
    );
    assert!(said(&up, "app", "status").contains("200"));
    up.wait_running("other");
    let init = up.enclave_pid().expect("an enclave");
    let attest = Up::children_of(init).into_iter().find(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("\0attest\0"))
    });
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(attest.expect("the service")),
        nix::sys::signal::Signal::SIGKILL,
    )
    .expect("killed");
    up.wait_console("base service attest is ready");
    wait_for("the event", || {
        let status = up.client(&["status"]);
        String::from_utf8_lossy(&status.stdout)
            .contains("AttestationLost")
            .then_some(())
    });
    // The container that asks again is told what has happened.
    let guest = up.guest_pid("attest");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(guest),
        nix::sys::signal::Signal::SIGKILL,
    )
    .expect("killed");
    said(&up, "app", "status HTTP/1.1 503");
    assert_eq!(up.wait_running("other").restart_count, 0);
}
