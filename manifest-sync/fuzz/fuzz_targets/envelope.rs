//! What is delivered: any bytes are a verdict, and only what the policy's signers have signed is accepted.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use manifest_sync::digest::BundleDigest;
use manifest_sync::protocol::{FromEnclave, enclave, host};
use manifest_sync::reject::Rejection;
use manifest_sync::trust::envelope::{Delivery, Envelope, pae};
use manifest_sync::trust::key::PublicKey;
use manifest_sync::trust::policy::{Authority, SignedBy, Signer};
use manifest_sync::trust::{TrustError, TrustPolicy, VerifiedBundle, verify};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

/// Signed by OpenSSL; whoever held those private keys has lost them.
const GOLDEN: &[u8] = include_bytes!("../../tests/trust/golden/envelope.json");
const POLICY: &[u8] = include_bytes!("../../tests/trust/golden/policy.json");

/// A policy, the digest of the only bundle that it can take, and two signers with a policy of their own.
struct World {
    golden: TrustPolicy,
    digest: BundleDigest,
    keys: [Ed25519KeyPair; 2],
    ours: TrustPolicy,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let keys = [1, 2].map(|seed| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key"));
    let signers = keys.each_ref().map(|key| {
        let bytes = key.public_key().as_ref().try_into().expect("32 bytes");
        let key = PublicKey::ed25519(bytes).expect("a point");
        let key_id = key.key_id();
        let name = key_id.clone();
        Signer { name, key, key_id }
    });
    let mut ours = TrustPolicy::development();
    ours.authority = Authority::SignedBy(SignedBy {
        application: "web".to_owned(),
        threshold: 2,
        signers: signers.to_vec(),
    });
    World {
        golden: TrustPolicy::parse(POLICY).expect("a policy"),
        digest: Delivery::read(GOLDEN).expect("an envelope").digest(),
        keys,
        ours,
    }
});

fuzz_target!(|bytes: &[u8]| {
    let world = &*WORLD;
    if let Some(verified) = judge(bytes, &world.golden) {
        assert_eq!(verified.digest(), world.digest, "a forgery");
    }
    let anything = judge(bytes, &TrustPolicy::development());
    let Ok(delivery) = Delivery::read(bytes) else {
        assert!(anything.is_none());
        return;
    };
    if let Delivery::Envelope(envelope) = &delivery {
        // Written anew, it is as good as before.
        let again = Envelope::parse(&envelope.to_json()).expect("our own words");
        assert_eq!(&again, envelope);
        assert_eq!(judge(&envelope.to_json(), &TrustPolicy::development()), anything);
        assert!(
            judge(bytes, &world.ours).is_none(),
            "these keys have not signed it"
        );
    }
    signed(world, delivery.unverified_bundle(), anything.as_ref());
});

/// Whether it may run. A refusal can be told to the host.
fn judge(bytes: &[u8], policy: &TrustPolicy) -> Option<VerifiedBundle> {
    match verify(bytes, policy) {
        Ok(verified) => Some(verified),
        Err(error) => {
            let rejection = Rejection::from(error);
            assert!(!rejection.errors.is_empty());
            let answer = FromEnclave::Rejected { rejection };
            let mut other = host::Conversation::new();
            other.push(&enclave::encode(&FromEnclave::Welcome {
                version: manifest_sync::protocol::VERSION,
                session: String::new(),
                boot_id: String::new(),
                bundle: None,
            }));
            other.push(&enclave::encode(&answer));
            other.next_message().expect("greeted");
            assert_eq!(other.next_message().expect("an answer"), Some(answer));
            None
        }
    }
}

/// The same bundle with two signatures, with one, and with two over other bytes.
fn signed(world: &World, bundle: &[u8], anything: Option<&VerifiedBundle>) {
    let sign = |payload: &[u8], over: &[u8], keys: &[Ed25519KeyPair]| {
        let mut envelope = Envelope::new(payload.to_vec());
        for (index, key) in keys.iter().enumerate() {
            envelope.add(index.to_string(), key.sign(&pae(over)).as_ref().to_vec());
        }
        envelope.to_json()
    };
    match verify(&sign(bundle, bundle, &world.keys), &world.ours) {
        Ok(verified) => {
            assert_eq!(verified.application(), Some("web"));
            let unsigned = anything.expect("good for everybody else");
            assert_eq!(
                (verified.plan(), verified.digest()),
                (unsigned.plan(), unsigned.digest())
            );
        }
        Err(TrustError::Bundle(_)) => assert!(anything.is_none()),
        Err(TrustError::Application { .. }) => {}
        Err(other) => panic!("{other}"),
    }
    let refused = |bytes: &[u8]| matches!(verify(bytes, &world.ours), Err(TrustError::UnderSigned { .. }));
    assert!(refused(&sign(bundle, bundle, &world.keys[..1])));
    let mut other = bundle.to_vec();
    other.push(b' ');
    assert!(refused(&sign(&other, bundle, &world.keys)));
}
