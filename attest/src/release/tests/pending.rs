//! One exchange, both ends, and everything that can be wrong between them.

use super::*;
use crate::seal::{self, SealError};
use crate::secret::Secret;

fn begin(nonce: u8) -> Pending {
    let nonce = Nonce::from([nonce; NONCE_BYTES]);
    Pending::begin(
        nonce,
        [7; 48],
        9,
        application("web"),
        names(&["tls.key", "password"]),
    )
    .expect("a key")
}

/// What a verified document of this exchange holds.
struct Document {
    public_key: Vec<u8>,
    nonce: Vec<u8>,
    user_data: Vec<u8>,
}

impl Document {
    fn of(exchange: &Pending, nonce: u8) -> Self {
        Self {
            public_key: exchange.public_key().to_vec(),
            nonce: vec![nonce; NONCE_BYTES],
            user_data: exchange.binding().encode(),
        }
    }

    fn claim(&self, request: &SecretsRequest) -> Result<Claim, BindingError> {
        let attested = Attested {
            public_key: Some(&self.public_key),
            nonce: Some(&self.nonce),
            user_data: Some(&self.user_data),
        };
        Claim::new(request, &attested)
    }
}

fn secrets() -> Vec<(SecretName, Secret)> {
    let secret = |text: &[u8]| Secret::new(text.to_vec());
    vec![
        (name("tls.key"), secret(b"\0key")),
        (name("password"), secret(b"")),
    ]
}

fn answer(key: &BrokerKey, claim: &Claim) -> Vec<u8> {
    SecretsAnswer::Sealed(claim.seal(key, &secrets()).expect("sealed")).to_json()
}

fn failure(result: Result<Vec<(SecretName, Secret)>, ReleaseError>) -> String {
    result.map(|_| ()).expect_err("no secrets").to_string()
}

#[test]
fn secrets_arrive_as_they_were_sent() {
    let exchange = begin(1);
    let request = SecretsRequest::parse(&exchange.request_with(vec![1, 2, 3]).to_json()).expect("a request");
    assert_eq!(request.document, [1, 2, 3]);
    let claim = Document::of(&exchange, 1).claim(&request).expect("a claim");
    assert_eq!((claim.binding.generation, claim.binding.bundle), (9, [7; 48]));
    let key = broker();
    let received = exchange
        .finish(&key.public(), &answer(&key, &claim))
        .expect("secrets");
    let shown: Vec<_> = received
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose()))
        .collect();
    assert_eq!(shown, [("tls.key", &b"\0key"[..]), ("password", b"")]);
}

#[test]
fn an_answer_opens_for_its_request_only() {
    let (exchange, other) = (begin(1), begin(1));
    let claim = Document::of(&exchange, 1)
        .claim(&exchange.request_with(vec![]))
        .expect("a claim");
    let key = broker();
    let other_key = answer(&key, &claim);
    assert!(failure(other.finish(&key.public(), &other_key)).contains("another key or request"));
    // The same key, as if the document said something else than the enclave asked for.
    let forged = |change: fn(&mut Claim)| {
        let (exchange, key) = (begin(1), broker());
        let mut claim = Document::of(&exchange, 1)
            .claim(&exchange.request_with(vec![]))
            .expect("a claim");
        change(&mut claim);
        failure(exchange.finish(&key.public(), &answer(&key, &claim)))
    };
    for change in [
        (|claim: &mut Claim| claim.nonce = Nonce::from([2; NONCE_BYTES])) as fn(&mut Claim),
        |claim| claim.binding.generation = 8,
        |claim| claim.binding.bundle = [8; 48],
        |claim| claim.binding.application = application("other"),
        |claim| claim.binding.names = [0; 48],
    ] {
        // The signature says the same as the seal, and is looked at first.
        assert!(forged(change).contains("not signed by the broker"));
    }
}

#[test]
fn a_broker_that_seals_something_else_is_refused() {
    let exchange = begin(1);
    let claim = Document::of(&exchange, 1)
        .claim(&exchange.request_with(vec![]))
        .expect("a claim");
    let mut swapped = secrets();
    swapped.reverse();
    let key = broker();
    let sealed = claim.seal(&key, &swapped).expect("sealed");
    let body = SecretsAnswer::Sealed(sealed).to_json();
    assert!(failure(exchange.finish(&key.public(), &body)).contains("other secrets than were asked for"));
    let too_much = [(name("tls.key"), Secret::new(vec![0; seal::MAX_PLAINTEXT]))];
    assert_eq!(
        claim.seal(&key, &too_much),
        Err(SealError::TooLong("the set of secrets", seal::MAX_PLAINTEXT))
    );
}

#[test]
fn a_host_with_a_broker_of_its_own_is_refused() {
    let attempt = |change: fn(&mut SealedSet), theirs: bool| {
        let (exchange, ours, other) = (begin(1), broker(), broker());
        let claim = Document::of(&exchange, 1)
            .claim(&exchange.request_with(vec![]))
            .expect("a claim");
        let mut sealed = claim
            .seal(if theirs { &other } else { &ours }, &secrets())
            .expect("sealed");
        change(&mut sealed);
        failure(exchange.finish(&ours.public(), &SecretsAnswer::Sealed(sealed).to_json()))
    };
    for (change, theirs) in [
        ((|_| {}) as fn(&mut SealedSet), true),
        (|it| it.signature[0] ^= 1, false),
        (|it| it.signature = [0; SIGNATURE_BYTES], false),
        (|it| it.value[0] ^= 1, false),
        (|it| it.value.clear(), false),
    ] {
        assert!(attempt(change, theirs).contains("not signed by the broker"));
    }
}

#[test]
fn a_request_that_differs_from_its_document_is_refused() {
    let exchange = begin(1);
    let document = Document::of(&exchange, 1);
    let request = |change: fn(&mut SecretsRequest)| {
        let mut request = exchange.request_with(vec![]);
        change(&mut request);
        document.claim(&request).map(|_| ())
    };
    assert_eq!(request(|_| {}), Ok(()));
    assert_eq!(
        request(|it| it.application = application("other")),
        Err(BindingError::Differs("application"))
    );
    assert_eq!(
        request(|it| it.generation = 10),
        Err(BindingError::Differs("generation"))
    );
    for list in [
        &["tls.key"][..],
        &["password", "tls.key"],
        &["tls.key", "password", "more"],
    ] {
        let mut changed = exchange.request_with(vec![]);
        changed.secrets = names(list);
        let expected = BindingError::Differs("names of the secrets");
        assert_eq!(document.claim(&changed), Err(expected), "{list:?}");
    }
}

#[test]
fn a_document_for_another_purpose_is_refused() {
    let exchange = begin(1);
    let request = exchange.request_with(vec![]);
    let with = |change: fn(&mut Document)| {
        let mut document = Document::of(&exchange, 1);
        change(&mut document);
        document.claim(&request).map(|_| ())
    };
    assert_eq!(with(|it| it.user_data[0] ^= 1), Err(BindingError::Label));
    assert_eq!(with(|it| it.user_data.clear()), Err(BindingError::Label));
    assert_eq!(with(|it| it.user_data.push(0)), Err(BindingError::Malformed));
    assert_eq!(with(|it| it.nonce.push(0)), Err(BindingError::Missing("nonce")));
    assert_eq!(
        with(|it| it.public_key.clear()),
        Err(BindingError::Missing("public_key"))
    );
    let none = Attested {
        public_key: None,
        nonce: None,
        user_data: None,
    };
    assert_eq!(
        Claim::new(&request, &none),
        Err(BindingError::Missing("user_data"))
    );
}
