use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::seal::{self, SealError};
use crate::secret::Secret;

fn application(name: &str) -> Application {
    Application::try_from(name.to_owned()).expect("a name")
}

fn name(name: &str) -> SecretName {
    SecretName::try_from(name.to_owned()).expect("a name")
}

fn names(list: &[&str]) -> Names {
    Names::try_from(list.iter().map(|text| name(text)).collect::<Vec<_>>()).expect("names")
}

fn begin(nonce: u8) -> Exchange {
    let nonce = Nonce::from([nonce; NONCE_BYTES]);
    Exchange::begin(
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
    fn of(exchange: &Exchange, nonce: u8) -> Self {
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

fn answer(claim: &Claim) -> Vec<u8> {
    SecretsAnswer::Sealed(claim.seal(&secrets()).expect("sealed")).to_json()
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
    let received = exchange.finish(&answer(&claim)).expect("secrets");
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
    let other_key = answer(&claim);
    assert!(failure(other.finish(&other_key)).contains("another key or request"));
    // The same key, as if the document said something else than the enclave asked for.
    let forged = |change: fn(&mut Claim)| {
        let exchange = begin(1);
        let mut claim = Document::of(&exchange, 1)
            .claim(&exchange.request_with(vec![]))
            .expect("a claim");
        change(&mut claim);
        failure(exchange.finish(&answer(&claim)))
    };
    for change in [
        (|claim: &mut Claim| claim.nonce = Nonce::from([2; NONCE_BYTES])) as fn(&mut Claim),
        |claim| claim.binding.generation = 8,
        |claim| claim.binding.bundle = [8; 48],
        |claim| claim.binding.application = application("other"),
        |claim| claim.binding.names = [0; 48],
    ] {
        assert!(forged(change).contains("another key or request"));
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
    let sealed = claim.seal(&swapped).expect("sealed");
    let body = SecretsAnswer::Sealed(sealed).to_json();
    assert!(failure(exchange.finish(&body)).contains("other secrets than were asked for"));
    let too_much = [(name("tls.key"), Secret::new(vec![0; seal::MAX_PLAINTEXT]))];
    assert_eq!(
        claim.seal(&too_much),
        Err(SealError::TooLong("the set of secrets", seal::MAX_PLAINTEXT))
    );
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

#[test]
fn user_data_is_encoded_as_documented() {
    let binding = Binding {
        bundle: [1; 48],
        generation: 0x0102,
        names: [2; 48],
        application: application("web"),
    };
    let bytes = binding.encode();
    assert_eq!(&bytes[..32], b"cloister.dev/secret-release/v1\0\0");
    assert_eq!(bytes[32..80], [1; 48]);
    assert_eq!(bytes[80..88], [0, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!(bytes[88..136], [2; 48]);
    assert_eq!(&bytes[136..], b"\x03web");
    let longest = Binding {
        application: application(&"a".repeat(MAX_NAME)),
        ..binding
    };
    assert_eq!(longest.encode().len(), 390);
    assert!(longest.encode().len() <= crate::nsm::MAX_USER_DATA);
    // The digest of the names is that of `\x01a\x02bc`.
    let expected = ring::digest::digest(&ring::digest::SHA384, b"\x01a\x02bc");
    assert_eq!(names(&["a", "bc"]).digest(), expected.as_ref());
}

#[test]
fn messages_are_the_json_of_the_documentation() {
    let nonce = NonceAnswer::Nonce {
        value: Nonce::from([0; NONCE_BYTES]),
        lifetime_seconds: 60,
    };
    let text = String::from_utf8(nonce.to_json()).expect("text");
    let zeros = "A".repeat(43);
    assert_eq!(
        text,
        format!(r#"{{"nonce":{{"value":"{zeros}=","lifetimeSeconds":60}}}}"#)
    );
    let refused = SecretsAnswer::Refused(Refusal::new(RefusalCode::WrongMeasurement, "PCR0\u{1b}[2J\nfake"));
    assert_eq!(
        String::from_utf8(refused.to_json()).expect("text"),
        r#"{"refused":{"code":"WrongMeasurement","message":"PCR0?[2J?fake"}}"#
    );
    assert_eq!(SecretsAnswer::parse(&refused.to_json()), Ok(refused));
    assert_eq!(NonceRequest {}.to_json(), b"{}");
}

#[test]
fn messages_of_another_form_are_refused() {
    let good = json!({"document": "AQID", "application": "web", "generation": 1, "secrets": ["a"]});
    let parse = |value: &serde_json::Value| SecretsRequest::parse(value.to_string().as_bytes());
    assert!(parse(&good).is_ok());
    for (field, value) in [
        ("document", json!("AQI")),
        ("document", json!("A".repeat(MAX_DOCUMENT / 3 * 4 + 4))),
        ("document", json!([1, 2])),
        ("application", json!("")),
        ("application", json!("Web")),
        ("application", json!("-web")),
        ("application", json!("a".repeat(254))),
        ("generation", json!(-1)),
        ("generation", json!(1.5)),
        ("generation", json!("1")),
        ("secrets", json!([])),
        ("secrets", json!(["a", "b", "a"])),
        ("secrets", json!(["../a"])),
        ("secrets", json!([".a"])),
        ("secrets", json!([""])),
        ("secrets", json!(["a/b"])),
        (
            "secrets",
            json!((0..65).map(|n| n.to_string()).collect::<Vec<_>>()),
        ),
        ("more", json!(1)),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        assert!(parse(&bad).is_err(), "{bad}");
    }
    for field in ["document", "application", "generation", "secrets"] {
        let mut bad = good.clone();
        bad.as_object_mut().expect("an object").remove(field);
        assert!(parse(&bad).is_err(), "{bad}");
    }
    for text in [&b"{} {}"[..], b"", b"[]", b"{\"a\":1}", b"\xff", b"null"] {
        assert!(NonceRequest::parse(text).is_err(), "{text:?}");
    }
    assert!(SecretsRequest::parse(br#"["AQID","web",1,["a"]]"#).is_err());
    for text in [
        r#"{"sealed":"AA==","refused":{"code":"Rollback","message":""}}"#,
        r#"{"sealed":"AA==","sealed":"AA=="}"#,
        r#"{"refused":{"code":"Whatever","message":""}}"#,
        r#"{"refused":{"code":"Rollback"}}"#,
        r#""sealed""#,
    ] {
        assert!(SecretsAnswer::parse(text.as_bytes()).is_err(), "{text}");
    }
    let twice = br#"{"document":"","application":"a","generation":1,"generation":2,"secrets":["a"]}"#;
    assert!(SecretsRequest::parse(twice).is_err());
}

#[test]
fn bodies_are_bounded_before_they_are_read() {
    let long = vec![b' '; MAX_ANSWER + 1];
    assert_eq!(
        SecretsAnswer::parse(&long),
        Err(MessageError::TooLong(MAX_ANSWER))
    );
    assert_eq!(
        SecretsRequest::parse(&long[..=MAX_REQUEST]),
        Err(MessageError::TooLong(MAX_REQUEST))
    );
    // The largest of each fits.
    let largest = SecretsAnswer::Sealed(vec![0; seal::MAX_PLAINTEXT + seal::OVERHEAD]).to_json();
    assert!(SecretsAnswer::parse(&largest).is_ok());
    let list: Vec<_> = (10..74)
        .map(|n| name(&format!("{n}{}", "a".repeat(MAX_NAME - 2))))
        .collect();
    let request = SecretsRequest {
        document: vec![0; MAX_DOCUMENT],
        application: application(&"a".repeat(MAX_NAME)),
        generation: u64::MAX,
        secrets: Names::try_from(list).expect("names"),
    };
    assert_eq!(SecretsRequest::parse(&request.to_json()), Ok(request));
}

#[test]
fn what_a_host_sends_is_safe_to_log() {
    let body = b"{\"\\u001b[2J\\nforged line\":1}";
    let error = NonceRequest::parse(body).expect_err("a refusal").to_string();
    assert!(error.contains("forged line"), "{error}");
    assert!(error.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{error}");
    assert_eq!(SafeText::new(&"a".repeat(1000)).as_str().len(), MAX_TEXT);
    for code in RefusalCode::ALL {
        assert!((400..600).contains(&code.status()), "{code}");
    }
}

fn any_names() -> impl Strategy<Value = Names> {
    prop::collection::btree_set("[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}", 1..=MAX_NAMES).prop_map(|set| {
        Names::try_from(set.iter().map(|text| name(text)).collect::<Vec<_>>()).expect("names")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_binding_survives_its_encoding(
        halves: ([u8; 32], [u8; 16]),
        generation: u64,
        list in any_names(),
        text in "[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?",
    ) {
        let mut bundle = [0; 48];
        bundle[..32].copy_from_slice(&halves.0);
        bundle[32..].copy_from_slice(&halves.1);
        let application = application(&text);
        let binding = Binding { bundle, generation, names: list.digest(), application };
        let bytes = binding.encode();
        prop_assert!(bytes.len() <= crate::nsm::MAX_USER_DATA);
        prop_assert_eq!(Binding::parse(&bytes), Ok(binding));
        for end in 0..bytes.len() {
            prop_assert!(Binding::parse(&bytes[..end]).is_err());
        }
    }

    #[test]
    fn any_user_data_is_read_without_harm(tail in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Binding::parse(&tail);
        let bytes = [&LABEL[..], &tail].concat();
        if let Ok(binding) = Binding::parse(&bytes) {
            prop_assert_eq!(binding.encode(), bytes);
        }
    }

    #[test]
    fn a_set_survives_its_encoding(list in any_names(), value: Vec<u8>) {
        let secrets: Vec<_> =
            list.as_slice().iter().map(|name| (name.clone(), Secret::new(value.clone()))).collect();
        let set = encode_set(&secrets).expect("a set");
        let read = decode_set(&set, &list).expect("the same");
        prop_assert!(read == secrets);
        let longer = Secret::new([set.expose(), &[0]].concat());
        prop_assert!(decode_set(&longer, &list).is_err());
        for end in 0..set.expose().len().min(200) {
            let cut = Secret::new(set.expose()[..end].to_vec());
            prop_assert!(decode_set(&cut, &list).is_err());
        }
    }

    #[test]
    fn any_set_is_read_without_harm(tail: Vec<u8>) {
        let head = [0, 1, 1, b'a'];
        for bytes in [tail.clone(), [&head, tail.as_slice()].concat()] {
            let _ = decode_set(&Secret::new(bytes), &names(&["a"]));
        }
    }

    #[test]
    fn any_body_is_read_without_harm(body: Vec<u8>, text in "[\\[\\]{}\":,a-z0-9=]{0,80}") {
        for body in [body.as_slice(), text.as_bytes()] {
            let _ = NonceRequest::parse(body);
            let _ = NonceAnswer::parse(body);
            let _ = SecretsRequest::parse(body);
            let _ = SecretsAnswer::parse(body);
        }
    }

    #[test]
    fn requests_and_answers_survive_their_json(
        document: Vec<u8>, generation: u64, list in any_names(), message: String, code in 0..RefusalCode::ALL.len(),
    ) {
        let request = SecretsRequest { document, application: application("web"), generation, secrets: list };
        prop_assert_eq!(SecretsRequest::parse(&request.to_json()), Ok(request.clone()));
        let sealed = SecretsAnswer::Sealed(request.document);
        prop_assert_eq!(SecretsAnswer::parse(&sealed.to_json()), Ok(sealed));
        let refused = NonceAnswer::Refused(Refusal::new(RefusalCode::ALL[code], &message));
        prop_assert_eq!(NonceAnswer::parse(&refused.to_json()), Ok(refused));
    }
}
