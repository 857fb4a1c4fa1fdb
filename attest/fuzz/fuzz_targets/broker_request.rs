//! Requests for secrets, from the body to the decision: any bytes are refused with a reason that can be logged, and what is
//! accepted is what the document says. The document itself is the target `document`'s; here it is as if it had verified.
#![no_main]

use std::sync::LazyLock;

use attest::broker::{BrokerPolicy, Ledger};
use attest::document::Root;
use attest::release::{Attested, Binding, Claim, MAX_NAMES, NONCE_BYTES, SecretsRequest};
use libfuzzer_sys::fuzz_target;

const POLICY: &str = r#"{"apiVersion": "cloister.dev/v1", "kind": "BrokerPolicy", "rules": [
    {"application": "web", "secrets": ["password", "tls.key"], "minimumGeneration": 3, "pcrs": {
     "0": "a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0",
     "16": "161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616"}}]}"#;
const NONCE: [u8; NONCE_BYTES] = [7; NONCE_BYTES];
const KEY: [u8; 32] = [9; 32];

static RULES: LazyLock<BrokerPolicy> =
    LazyLock::new(|| BrokerPolicy::parse(POLICY.as_bytes(), &Root::aws()).expect("a policy"));

fuzz_target!(|body: &[u8]| {
    let request = match SecretsRequest::parse(body) {
        Ok(request) => request,
        Err(error) => return printable(&error.to_string()),
    };
    assert_eq!(SecretsRequest::parse(&request.to_json()).as_ref(), Ok(&request));
    assert!((1..=MAX_NAMES).contains(&request.secrets.as_slice().len()));
    // The bytes of the document as `user_data` of its choice …
    judge(&request, &request.document);
    // … and the one that belongs to this request, which random bytes never are.
    let mut bundle = [0; 48];
    for (byte, value) in bundle.iter_mut().zip(&request.document) {
        *byte = *value;
    }
    let binding = Binding {
        bundle,
        generation: request.generation,
        names: request.secrets.digest(),
        application: request.application.clone(),
    };
    assert!(judge(&request, &binding.encode()));
});

/// Whether the request and the document say the same.
fn judge(request: &SecretsRequest, user_data: &[u8]) -> bool {
    let attested = Attested {
        public_key: Some(&KEY),
        nonce: Some(&NONCE),
        user_data: Some(user_data),
    };
    let claim = match Claim::new(request, &attested) {
        Ok(claim) => claim,
        Err(error) => {
            printable(&error.to_string());
            return false;
        }
    };
    let binding = &claim.binding;
    assert_eq!(claim.nonce.as_bytes(), &NONCE);
    assert_eq!(
        (&binding.application, binding.generation),
        (&request.application, request.generation)
    );
    assert_eq!(binding.encode(), user_data);
    let Some(rule) = RULES.rule(&binding.application) else {
        assert_ne!(binding.application.as_str(), "web");
        return true;
    };
    let allowed = claim
        .names
        .as_slice()
        .iter()
        .all(|name| rule.secrets.contains(name));
    assert!(!allowed || claim.names.as_slice().len() <= rule.secrets.len());
    order(binding, rule.minimum_generation);
    true
}

/// Generations only rise.
fn order(binding: &Binding, minimum: Option<u64>) {
    let mut ledger = Ledger::default();
    let seen = match ledger.judge(binding, minimum) {
        Ok(seen) => seen.expect("the first one is new"),
        Err(error) => {
            assert!(minimum.is_some_and(|least| binding.generation < least));
            return printable(&error.to_string());
        }
    };
    ledger.remember(&binding.application, seen);
    assert_eq!(ledger.judge(binding, minimum), Ok(None));
    let change = |change: fn(&mut Binding)| {
        let mut other = binding.clone();
        change(&mut other);
        ledger.judge(&other, None)
    };
    assert!(change(|it| it.generation -= 1).is_err());
    assert!(change(|it| it.bundle[0] ^= 1).is_err());
}

fn printable(message: &str) {
    let safe = message.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    assert!(safe && !message.is_empty() && message.len() < 1024, "{message:?}");
}
