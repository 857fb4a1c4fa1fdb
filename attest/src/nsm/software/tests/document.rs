//! Documents, seen by the verifier.

use super::*;
use crate::document::{DebugMode, Exchange, Field, Identity, Policy, PolicyError, Refusal, Root, verify};

/// What was asked for, nothing else.
fn exchange() -> Exchange<'static> {
    Exchange {
        nonce: Field::Is(&[7; 32]),
        user_data: Field::Is(b"user data"),
        public_key: Field::Is(b"key"),
    }
}

fn document(nsm: &Nsm) -> Vec<u8> {
    let document = nsm.attest(Some(b"user data"), Some(&[7; 32]), Some(b"key"));
    document.expect("a document")
}

fn roots(module: &SoftwareModule) -> Vec<Root> {
    Root::from_pem(module.root_pem().as_bytes()).expect("a root")
}

#[test]
fn documents_verify_under_the_exported_root_and_show_locked_pcrs_only() {
    let (module, nsm) = booted();
    let policy = Policy::new(Identity::Image(IMAGE[0])).roots(roots(&module));
    let shown = |nsm: &Nsm| {
        let proof = verify(&document(nsm), &policy, &exchange(), at_time()).expect("a proof");
        assert_eq!(
            (proof.module_id.as_str(), proof.debug),
            (module.module_id(), false)
        );
        assert_eq!((proof.time, proof.chain.len()), (at_time(), 5));
        let (first, last) = proof.window();
        assert_eq!((first.seconds(), last.seconds()), (TIME - 3, TIME + 3 * 3600));
        proof.pcrs
    };
    assert_eq!(
        shown(&nsm).into_keys().collect::<Vec<_>>(),
        (0..16).collect::<Vec<_>>()
    );
    let value = nsm.extend_pcr(16, b"measured").expect("it is open");
    assert_eq!(shown(&nsm).get(&16), None);
    nsm.lock_pcr(16).expect("it is open");
    nsm.lock_pcr(20).expect("it is open");
    let pcrs = shown(&nsm);
    assert_eq!(
        (pcrs.get(&16), pcrs.get(&20), pcrs.len()),
        (Some(&value), Some(&ZERO), 18)
    );
    nsm.lock_pcrs(32).expect("all");
    assert_eq!(shown(&nsm).len(), 32);
}

#[test]
fn documents_have_the_bytes_of_real_ones() {
    let (_, nsm) = booted();
    let document = document(&nsm);
    // An untagged array of four, ES384, nothing unprotected, a payload of two bytes' length.
    assert_eq!(
        document[..9],
        [0x84, 0x44, 0xa1, 0x01, 0x38, 0x22, 0xa0, 0x59, document[8]]
    );
    // A map of indefinite length, which begins with the module's id.
    assert_eq!(&document[10..21], b"\xbf\x69module_id");
    // A signature of 96 bytes.
    assert_eq!(document[document.len() - 98..document.len() - 96], [0x58, 0x60]);
    assert!((3000..6000).contains(&document.len()), "{}", document.len());
    let absent = nsm.attest(None, None, None).expect("a document");
    let nulls = b"\x6apublic_key\xf6\x69user_data\xf6\x65nonce\xf6\xff\x58\x60";
    assert!(absent.windows(nulls.len()).any(|window| window == nulls));
}

#[test]
fn a_document_is_refused_by_whoever_was_not_given_the_root() {
    let (module, nsm) = booted();
    let (other, _) = booted();
    let document = document(&nsm);
    let with = |roots| {
        let policy = Policy::new(Identity::Image(IMAGE[0])).roots(roots);
        verify(&document, &policy, &exchange(), at_time()).map(|_| ())
    };
    for foreign in [Root::aws(), roots(&other), vec![]] {
        assert!(matches!(with(foreign), Err(Refusal::Chain(_))));
    }
    with(roots(&module)).expect("its own");
    let aws = Policy::new(Identity::Image(IMAGE[0]));
    assert!(verify(&document, &aws, &exchange(), at_time()).is_err());
}

#[test]
fn debug_mode_is_seen() {
    let platform = Platform {
        clock: at_time,
        ..Platform::debug()
    };
    let module = Arc::new(SoftwareModule::boot(&platform).expect("a module"));
    let nsm = Nsm::new(module.clone());
    let policy = Policy::new(Identity::Image(IMAGE[0])).roots(roots(&module));
    let document = document(&nsm);
    let refused = verify(&document, &policy, &exchange(), at_time()).map(|_| ());
    assert!(
        matches!(refused, Err(Refusal::Policy(PolicyError::Debug))),
        "{refused:?}"
    );
    let policy = policy.debug_mode(DebugMode::Allow);
    assert!(
        verify(&document, &policy, &exchange(), at_time())
            .expect("allowed")
            .debug
    );
}

#[test]
fn a_signer_is_replaced_before_its_certificate_ends() {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NOW: AtomicU64 = AtomicU64::new(TIME);
    fn clock() -> UnixTime {
        UnixTime::from_seconds(NOW.load(Ordering::Relaxed))
    }
    let platform = Platform { clock, ..platform() };
    let module = Arc::new(SoftwareModule::boot(&platform).expect("a module"));
    let nsm = Nsm::new(module.clone());
    let policy = Policy::new(Identity::Image(IMAGE[0])).roots(roots(&module));
    let mut ends = Vec::new();
    for minutes in [0, 100, 119, 121, 100 * 60] {
        NOW.store(TIME + minutes * 60, Ordering::Relaxed);
        let proof = verify(&document(&nsm), &policy, &exchange(), clock()).expect("a proof");
        ends.push((proof.window().1.seconds() - TIME) / 60);
    }
    assert_eq!(ends, [180, 180, 180, 301, 6180]);
}

#[test]
fn fields_are_as_long_as_the_module_takes() {
    let (module, nsm) = booted();
    let attest = |length: usize| {
        let field = vec![0; length];
        let request = Request::Attestation {
            user_data: Some(&field),
            nonce: Some(&field),
            public_key: Some(&field),
        };
        Response::decode(&module.exchange(&request.encode()).expect("an answer"))
    };
    assert!(matches!(attest(1024), Ok(Response::Attestation(_))));
    assert_eq!(refusal(attest(1025)), ErrorCode::InputTooLarge);
    assert!(matches!(
        nsm.attest(Some(&[0; 513]), None, None),
        Err(NsmError::TooLong("user_data", 512))
    ));
    assert!(matches!(
        nsm.extend_pcr(16, &[0; 4096]),
        Err(NsmError::TooLong("the request", 4096))
    ));
}

/// The whole way: nonce, document, verification, seal.
#[test]
fn secrets_are_released_to_a_verified_module() {
    use crate::release::{
        Application, Attested, BrokerKey, Claim, Names, Nonce, Pending, SecretName, SecretsAnswer,
    };
    use crate::secret::Secret;
    let (module, nsm) = booted();
    let name = SecretName::try_from("password".to_owned()).expect("a name");
    let names = Names::try_from(vec![name.clone()]).expect("names");
    let application = Application::try_from("web".to_owned()).expect("a name");
    let nonce = Nonce::random().expect("a nonce");
    let pending = Pending::begin(nonce, [5; 48], 3, application, names).expect("a key");
    let request = pending.request(&nsm).expect("a document");
    let policy = Policy::new(Identity::Image(IMAGE[0])).roots(roots(&module));
    let bound = Exchange {
        nonce: Field::Is(nonce.as_bytes()),
        user_data: Field::Any,
        public_key: Field::Any,
    };
    let proof = verify(&request.document, &policy, &bound, at_time()).expect("a proof");
    let attested = Attested {
        public_key: proof.public_key.as_deref(),
        nonce: proof.nonce.as_deref(),
        user_data: proof.user_data.as_deref(),
    };
    let claim = Claim::new(&request, &attested).expect("a claim");
    let broker = BrokerKey::generate().expect("a key");
    let sealed = claim
        .seal(&broker, &[(name, Secret::new(b"swordfish".to_vec()))])
        .expect("sealed");
    let secrets = pending
        .finish(&broker.public(), &SecretsAnswer::Sealed(sealed).to_json())
        .expect("secrets");
    assert_eq!(secrets.first().expect("one").1.expose(), b"swordfish");
}
