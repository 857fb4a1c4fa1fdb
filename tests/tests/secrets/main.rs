//! What only attestation gives: documents for applications, and secrets. On the local back-end, whose security module is
//! software and signs real documents under a root of its own.

mod attestation;
mod broker;
mod release;
mod taint;

use std::time::{SystemTime, UNIX_EPOCH};

use attest::UnixTime;
use attest::document::{Exchange, Field, Identity, Policy, Proof, Root, verify};
use attest::hex::from_hex;
use attest::nsm::PcrValue;
use serde_json::Value;
use tests::{Up, wait_for};

/// What the platform measured, as the back-end wrote it.
fn image(up: &Up) -> [PcrValue; 3] {
    let text = std::fs::read(up.state().join("measurements.json")).expect("measurements");
    let measured: Value = serde_json::from_slice(&text).expect("JSON");
    ["PCR0", "PCR1", "PCR2"].map(|name| {
        let value = measured["Measurements"][name].as_str().expect("a register");
        from_hex(value)
            .and_then(|bytes| bytes.try_into().ok())
            .expect("48 bytes")
    })
}

/// The root of this enclave's module.
fn roots(up: &Up) -> Vec<Root> {
    let pem = std::fs::read(up.state().join("nsm-root.pem")).expect("a root");
    Root::from_pem(&pem).expect("certificates")
}

/// What a relying party does that was given the root of this enclave's module.
fn proof(up: &Up, document: &[u8], nonce: &[u8]) -> Proof {
    let policy = Policy::new(Identity::Image(image(up)[0])).roots(roots(up));
    let exchange = Exchange {
        nonce: Field::Is(nonce),
        user_data: Field::Any,
        public_key: Field::Any,
    };
    verify(document, &policy, &exchange, now()).expect("a document that proves something")
}

fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    UnixTime::from_seconds(since.as_secs())
}

/// The first line of a container's that begins like this; the rest of it.
fn said(up: &Up, container: &str, begin: &str) -> String {
    wait_for(&format!("{begin:?} of {container} in the log"), || {
        let lines = lines(up, container);
        lines
            .iter()
            .find_map(|line| Some(line.strip_prefix(begin)?.trim().to_owned()))
    })
}

/// What a container has written.
fn lines(up: &Up, container: &str) -> Vec<String> {
    let text = up.stdout();
    let of_container = text.lines().filter_map(|line| line.split_once(" | "));
    of_container
        .filter(|(name, _)| name.trim() == container)
        .map(|(_, line)| line.to_owned())
        .collect()
}
