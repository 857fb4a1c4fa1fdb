//! Whatever is written is read, and whatever is read does no harm.

use proptest::prelude::*;

use super::*;
use crate::secret::Secret;

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
        let sealed = SecretsAnswer::Sealed(sealed(request.document));
        prop_assert_eq!(SecretsAnswer::parse(&sealed.to_json()), Ok(sealed));
        let refused = NonceAnswer::Refused(Refusal::new(RefusalCode::ALL[code], &message));
        prop_assert_eq!(NonceAnswer::parse(&refused.to_json()), Ok(refused));
    }
}
