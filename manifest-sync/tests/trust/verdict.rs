//! Verdicts: what runs, and which rule stops what a hostile host delivers.

use manifest_sync::base64;
use manifest_sync::digest::BundleDigest;
use manifest_sync::reject::Rejection;
use manifest_sync::trust::envelope::{Envelope, pae};
use manifest_sync::trust::{TrustError, TrustPolicy, Verdict, verify};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Signer, base, bundle, enclave_policy, list, pod, policy, signed, signed_by};

#[track_caller]
fn refusal(delivered: &[u8], policy: &TrustPolicy) -> TrustError {
    match verify(delivered, policy) {
        Err(error) => error,
        Ok(_) => panic!("accepted: {}", String::from_utf8_lossy(delivered)),
    }
}

/// What each signature is worth, when there were too few.
#[track_caller]
fn verdicts(delivered: &[u8], policy: &TrustPolicy) -> Vec<(Option<String>, Verdict)> {
    match refusal(delivered, policy) {
        TrustError::UnderSigned { signatures, .. } => signatures
            .into_iter()
            .map(|one| (one.signer, one.verdict))
            .collect(),
        other => panic!("another rule: {other:?}"),
    }
}

fn some(name: &str) -> Option<String> {
    Some(name.to_owned())
}

#[test]
fn any_takes_bundles_with_and_without_an_envelope() {
    let policy = TrustPolicy::development();
    let bytes = list(&[pod()]);
    let verified = verify(&bytes, &policy).expect("accepted");
    assert_eq!(verified.digest(), BundleDigest::of(&bytes));
    assert_eq!((verified.generation(), verified.application()), (0, None));
    assert!(verified.signatures().is_empty());
    let stranger = signed(&bytes, &[&Signer::ed25519(9)]);
    let again = verify(&stranger.to_json(), &policy).expect("accepted");
    assert_eq!(again.digest(), verified.digest());
    assert_eq!(again.into_plan(), verified.into_plan());
}

#[test]
fn pinned_means_these_bytes() {
    let bytes = bundle("web", 1);
    let digest = BundleDigest::of(&bytes);
    let policy = policy(&base(json!({"pinned": [digest.to_string()]})));
    assert!(verify(&bytes, &policy).is_ok());
    assert!(verify(&Envelope::new(bytes.clone()).to_json(), &policy).is_ok());
    let spaced = [bytes.as_slice(), b" "].concat();
    for other in [bundle("web", 2), spaced] {
        let found = BundleDigest::of(&other);
        assert_eq!(refusal(&other, &policy), TrustError::NotPinned { digest: found });
    }
}

#[test]
fn k_of_n_signers() {
    let (a, b, c) = (Signer::ed25519(1), Signer::p256(), Signer::ed25519(3));
    let bytes = bundle("web", 1);
    let policy = policy(&signed_by(2, &[&a, &b, &c]));
    for signers in [&[&a, &b][..], &[&b, &c], &[&c, &a], &[&a, &b, &c]] {
        let verified = verify(&signed(&bytes, signers).to_json(), &policy).expect("enough");
        assert_eq!(verified.signatures().len(), signers.len());
    }
    assert_eq!(verdicts(&signed(&bytes, &[]).to_json(), &policy), []);
    assert_eq!(
        verdicts(&signed(&bytes, &[&b]).to_json(), &policy),
        [(some("b"), Verdict::Valid)]
    );
    let rejection = Rejection::from(refusal(&signed(&bytes, &[&b]).to_json(), &policy)).to_string();
    assert_eq!(
        rejection,
        "trust policy: signedBy.threshold: 1 of 2 signatures that the policy asks for (by b)"
    );
}

#[test]
fn a_bundle_without_an_envelope_is_unsigned() {
    let policy = policy(&signed_by(1, &[&Signer::ed25519(1)]));
    let error = refusal(&bundle("web", 1), &policy);
    assert_eq!(
        error,
        TrustError::Unsigned {
            application: "web".to_owned()
        }
    );
    // It is refused before it is read as a bundle.
    assert_eq!(refusal(b"{}", &policy), error);
}

#[test]
fn one_signer_counts_once() {
    let (a, b) = (Signer::ed25519(1), Signer::p256());
    let bytes = bundle("web", 1);
    let policy = policy(&signed_by(2, &[&a, &b]));
    let repeat = |signer: &Signer, key_ids: [Value; 2]| {
        let sigs = key_ids.map(|key_id| {
            let sig = base64::encode(&signer.raw(&pae(&bytes)));
            json!({"keyid": key_id, "sig": sig})
        });
        let mut envelope: Value = serde_json::from_slice(&signed(&bytes, &[]).to_json()).expect("JSON");
        envelope["signatures"] = json!(sigs);
        envelope.to_string().into_bytes()
    };
    let twice = |name: &str| vec![(some(name), Verdict::Valid), (some(name), Verdict::Repeated)];
    let id = |signer: &Signer| json!(signer.public().key_id());
    assert_eq!(verdicts(&repeat(&a, [id(&a), id(&a)]), &policy), twice("a"));
    // Another keyid does not make another signer, nor does a fresh signature of the same key.
    assert_eq!(
        verdicts(&repeat(&a, [id(&a), json!("mine")]), &policy),
        twice("a")
    );
    assert_eq!(
        verdicts(&repeat(&b, [json!(""), json!(null)]), &policy),
        twice("b")
    );
    assert_eq!(
        verdicts(&repeat(&a, [id(&a), id(&b)]), &policy),
        [(some("a"), Verdict::Valid), (some("b"), Verdict::Mismatch)]
    );
}

#[test]
fn a_keyid_is_a_hint_only() {
    let a = Signer::ed25519(1);
    let bytes = bundle("web", 1);
    let policy = policy(&signed_by(1, &[&Signer::p256(), &a]));
    for key_id in [json!("something else"), json!("a"), json!(null), json!("")] {
        let mut envelope: Value = serde_json::from_slice(&signed(&bytes, &[&a]).to_json()).expect("JSON");
        envelope["signatures"][0]["keyid"] = json!(key_id.as_str().map(|text| text.replace(' ', "-")));
        let verified = verify(envelope.to_string().as_bytes(), &policy).expect("signed by b");
        assert_eq!(verified.signatures()[0].signer.as_deref(), Some("b"));
    }
}

#[test]
fn signatures_of_something_else_do_not_count() {
    let (a, stranger) = (Signer::ed25519(1), Signer::ed25519(9));
    let (bytes, other) = (bundle("web", 1), bundle("web", 2));
    let policy = policy(&signed_by(1, &[&a]));
    let with = |key_id: String, signature: Vec<u8>| {
        let mut envelope = Envelope::new(bytes.clone());
        envelope.add(key_id, signature);
        envelope.to_json()
    };
    let id = a.public().key_id();
    let mismatch = [(some("a"), Verdict::Mismatch)];
    let unknown = [(None, Verdict::UnknownKey)];
    // Swapped: a good signature over another bundle.
    assert_eq!(
        verdicts(&with(id.clone(), a.raw(&pae(&other))), &policy),
        mismatch
    );
    // Without the encoding of DSSE, or over the digest.
    assert_eq!(verdicts(&with(id.clone(), a.raw(&bytes)), &policy), mismatch);
    assert_eq!(
        verdicts(
            &with(id.clone(), a.raw(BundleDigest::of(&bytes).as_bytes())),
            &policy
        ),
        mismatch
    );
    // For another type of payload.
    let in_toto = format!("DSSEv1 28 application/vnd.in-toto+json {} ", bytes.len());
    let in_toto = [in_toto.as_bytes(), &bytes].concat();
    assert_eq!(verdicts(&with(id.clone(), a.raw(&in_toto)), &policy), mismatch);
    // Wrongly signed: by somebody else, under both names.
    assert_eq!(
        verdicts(&with(id.clone(), stranger.raw(&pae(&bytes))), &policy),
        mismatch
    );
    assert_eq!(
        verdicts(
            &with(stranger.public().key_id(), stranger.raw(&pae(&bytes))),
            &policy
        ),
        unknown
    );
    // Cut, long, empty.
    let good = a.raw(&pae(&bytes));
    for bad in [
        good[..63].to_vec(),
        [good.as_slice(), &[0]].concat(),
        Vec::new(),
        vec![0; 64],
        vec![0xff; 64],
    ] {
        assert_eq!(verdicts(&with(id.clone(), bad), &policy), mismatch);
    }
    let error = refusal(&with("k".to_owned(), stranger.raw(&pae(&bytes))), &policy);
    let text = Rejection::from(error).to_string();
    assert!(
        text.contains("envelope: signatures[0]: not made over this bundle by any key of the policy (k)"),
        "{text}"
    );
}

#[test]
fn a_bad_signature_beside_enough_good_ones_harms_nobody_and_is_shown() {
    let (a, b) = (Signer::ed25519(1), Signer::ed25519(2));
    let policy = policy(&signed_by(1, &[&a, &b]));
    let mut envelope = signed(&bundle("web", 1), &[&a]);
    envelope.add(b.public().key_id(), vec![1; 64]);
    let verified = verify(&envelope.to_json(), &policy).expect("signed by a");
    let verdicts: Vec<_> = verified.signatures().iter().map(|one| one.verdict).collect();
    assert_eq!(verdicts, [Verdict::Valid, Verdict::Mismatch]);
}

#[test]
fn re_encoding_an_envelope_changes_nothing_and_re_encoding_a_bundle_everything() {
    let a = Signer::ed25519(1);
    let policy = policy(&signed_by(1, &[&a]));
    let bytes = bundle("web", 1);
    let envelope = signed(&bytes, &[&a]);
    let tree: Value = serde_json::from_slice(&envelope.to_json()).expect("JSON");
    let pretty = serde_json::to_vec_pretty(&tree).expect("JSON");
    assert_ne!(pretty, envelope.to_json());
    assert_eq!(
        verify(&pretty, &policy).expect("accepted").digest(),
        BundleDigest::of(&bytes)
    );
    let tree: Value = serde_json::from_slice(&bytes).expect("JSON");
    let mut swapped = tree.clone();
    swapped["items"].as_array_mut().expect("a list").reverse();
    for other in [
        serde_json::to_vec_pretty(&tree).expect("JSON"),
        swapped.to_string().into_bytes(),
    ] {
        let mut re_encoded = Envelope::new(other);
        for signature in envelope.signatures() {
            re_encoded.add(
                signature.key_id.clone().expect("a keyid"),
                signature.bytes.clone(),
            );
        }
        assert_eq!(
            verdicts(&re_encoded.to_json(), &policy),
            [(some("a"), Verdict::Mismatch)]
        );
    }
}

/// (r, s) and (r, n - s) are both signatures: documented in `trust::envelope`.
#[test]
fn the_twin_of_an_ecdsa_signature_is_the_same_signer() {
    let b = Signer::p256();
    let bytes = bundle("web", 1);
    let signature = b.raw(&pae(&bytes));
    let r_length = usize::from(signature[3]);
    let (head, s) = signature.split_at(4 + r_length);
    let twin = twin(
        s.strip_prefix(&[2, u8::try_from(s.len() - 2).expect("short")])
            .expect("an integer"),
    );
    let mut other = [head, &[2, u8::try_from(twin.len()).expect("short")], &twin].concat();
    other[1] = u8::try_from(other.len() - 2).expect("short");
    assert_ne!(other, signature);
    assert!(b.public().has_signed(&pae(&bytes), &other));
    let mut envelope = signed(&bytes, &[&b]);
    envelope.add("twin".to_owned(), other);
    let policy = policy(&signed_by(2, &[&b, &Signer::ed25519(1)]));
    let expected = [(some("a"), Verdict::Valid), (some("a"), Verdict::Repeated)];
    assert_eq!(verdicts(&envelope.to_json(), &policy), expected);
}

/// n - s as a DER integer.
fn twin(s: &[u8]) -> Vec<u8> {
    let order: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let mut padded = [0; 33];
    padded[33 - s.len()..].copy_from_slice(s);
    let (mut out, mut borrow) = ([0u8; 33], 0i16);
    for place in (0..32).rev() {
        let difference = i16::from(order[place]) - i16::from(padded[place + 1]) - borrow;
        borrow = i16::from(difference < 0);
        out[place + 1] = u8::try_from(difference.rem_euclid(256)).expect("a byte");
    }
    let zeros = out.iter().take_while(|byte| **byte == 0).count();
    // One zero byte stays where the number would be negative without it.
    let start = if out[zeros] & 0x80 != 0 { zeros - 1 } else { zeros };
    out[start..].to_vec()
}

#[test]
fn another_application_of_the_same_signer_is_not_for_this_image() {
    let a = Signer::ed25519(1);
    let policy = policy(&signed_by(1, &[&a]));
    let application = |found: Option<&str>| TrustError::Application {
        expected: "web".to_owned(),
        found: found.map(str::to_owned),
    };
    let sign = |bytes: &[u8]| signed(bytes, &[&a]).to_json();
    assert_eq!(
        refusal(&sign(&bundle("shop", 1)), &policy),
        application(Some("shop"))
    );
    assert_eq!(refusal(&sign(&list(&[pod()])), &policy), application(None));
    let unnamed = list(&[pod(), enclave_policy(json!({"generation": 1}))]);
    assert_eq!(refusal(&sign(&unnamed), &policy), application(None));
}

#[test]
fn an_expired_generation_is_refused_whoever_says_what_runs() {
    let a = Signer::ed25519(1);
    let old = bundle("web", 6);
    let none = list(&[pod(), enclave_policy(json!({"application": "web"}))]);
    let digests = [
        BundleDigest::of(&old).to_string(),
        BundleDigest::of(&none).to_string(),
    ];
    let mut policies = [
        signed_by(1, &[&a]),
        base(json!({"pinned": digests})),
        base(json!({"any": true})),
    ];
    for value in &mut policies {
        value["minGeneration"] = json!(7);
        let policy = policy(value);
        let generation = |found| TrustError::Generation { minimum: 7, found };
        assert_eq!(
            refusal(&signed(&old, &[&a]).to_json(), &policy),
            generation(Some(6))
        );
        assert_eq!(
            refusal(&signed(&none, &[&a]).to_json(), &policy),
            generation(None)
        );
    }
    let policy = policy(&policies[0]);
    for generation in [7, 8, i64::MAX as u64] {
        let verified = verify(&signed(&bundle("web", generation), &[&a]).to_json(), &policy);
        assert_eq!(verified.expect("accepted").generation(), generation);
    }
}

#[test]
fn plain_secrets_need_leave() {
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "data": {"k": "AA=="}});
    let bytes = list(&[pod(), secret]);
    let mut value = base(json!({"any": true}));
    let error = refusal(&bytes, &policy(&value));
    assert_eq!(
        error,
        TrustError::PlainSecrets {
            names: vec!["db".to_owned()]
        }
    );
    assert!(!error.to_string().contains("AA=="));
    value["allowPlainSecrets"] = json!(true);
    assert!(verify(&bytes, &policy(&value)).is_ok());
}

#[test]
fn privileged_containers_need_leave() {
    let mut pod = pod();
    pod["spec"]["containers"][0]["securityContext"] = json!({"privileged": true});
    let bytes = list(&[pod]);
    let mut value = base(json!({"any": true}));
    let error = refusal(&bytes, &policy(&value));
    assert!(matches!(&error, TrustError::Privileged { containers } if containers.len() == 1));
    assert!(error.to_string().contains("name the capabilities"), "{error}");
    value["allowPrivileged"] = json!(true);
    let verified = verify(&bytes, &policy(&value)).expect("accepted");
    assert!(verified.plan().containers[0].security.privileged);
}

#[test]
fn released_secrets_need_no_leave() {
    let key = base64::encode(&Signer::ed25519(1).public().to_spki());
    let class = json!({"apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass",
        "metadata": {"name": "c"},
        "spec": {"provider": "broker",
            "parameters": {"brokerKey": key, "objects": "[{\"objectName\": \"a\"}]"},
            "secretObjects": [{"secretName": "db", "data": [{"objectName": "a", "key": "k"}]}]}});
    let mut pod = pod();
    pod["spec"]["volumes"] = json!([{"name": "v", "csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": true,
        "volumeAttributes": {"secretProviderClass": "c"}}}]);
    let (development, mut strict) = (TrustPolicy::development(), TrustPolicy::development());
    strict.allow_plain_secrets = false;
    let bytes = list(&[pod, class]);
    for policy in [development, strict] {
        let verified = verify(&bytes, &policy).expect("accepted");
        assert_eq!(verified.plan().secret_classes.len(), 1);
        assert_eq!((verified.application(), verified.generation()), (None, 0));
    }
}

#[test]
fn a_signed_bundle_still_has_to_be_one() {
    let a = Signer::ed25519(1);
    let policy = policy(&signed_by(1, &[&a]));
    for bad in [
        b"".as_slice(),
        b"{}",
        b"[]",
        b"\xff",
        b"{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[]}",
    ] {
        assert!(matches!(
            refusal(&signed(bad, &[&a]).to_json(), &policy),
            TrustError::Bundle(_)
        ));
    }
    // An envelope in an envelope is no bundle.
    let inner = signed(&bundle("web", 1), &[&a]).to_json();
    assert!(matches!(
        refusal(&signed(&inner, &[&a]).to_json(), &policy),
        TrustError::Bundle(_)
    ));
    for bad in [b"".as_slice(), b"nothing", b"{\"payload\":1}"] {
        assert!(matches!(refusal(bad, &policy), TrustError::Malformed(_)));
    }
    let mistyped = list(&[pod(), enclave_policy(json!({"aplication": "web"}))]);
    let text = Rejection::from(refusal(&signed(&mistyped, &[&a]).to_json(), &policy)).to_string();
    assert!(
        text.contains("EnclavePolicy/web: spec.aplication: unknown field; did you mean `application`?"),
        "{text}"
    );
}

proptest! {
    /// Every byte of the payload and of a signature matters.
    #[test]
    fn a_changed_envelope_is_refused_or_the_same(position in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (a, b) = (Signer::ed25519(1), Signer::ed25519(2));
        let policy = policy(&signed_by(2, &[&a, &b]));
        let bytes = bundle("web", 1);
        let mut delivered = signed(&bytes, &[&a, &b]).to_json();
        let position = position.index(delivered.len());
        delivered[position] = byte;
        if let Ok(verified) = verify(&delivered, &policy) {
            prop_assert_eq!(verified.digest(), BundleDigest::of(&bytes));
        }
    }

    #[test]
    fn no_input_panics_or_passes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let policy = policy(&signed_by(1, &[&Signer::ed25519(1)]));
        prop_assert!(verify(&bytes, &policy).is_err());
        prop_assert!(verify(&Envelope::new(bytes.clone()).to_json(), &policy).is_err());
        let _ = verify(&bytes, &TrustPolicy::development());
        let _ = verify(&Envelope::new(bytes).to_json(), &TrustPolicy::development());
    }
}
