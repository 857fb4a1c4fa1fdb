//! Files made without us: keys and signatures by OpenSSL 3, encodings and PCRs by a dozen lines of Python. The policy has
//! PEM as `openssl pkey -pubout` and `cosign generate-key-pair` write it.

use manifest_sync::digest::hex;
use manifest_sync::measurement;
use manifest_sync::trust::{TrustPolicy, Verdict, verify};

const ENVELOPE: &[u8] = include_bytes!("golden/envelope.json");
const POLICY: &[u8] = include_bytes!("golden/policy.json");
const DIGEST: &str =
    "sha384:a9afec8d4ae343db50056f2abdc748279a792fe361f618711423dd385715f2b02285943fbbfebb9721a07b0943b84597";
const PCR16: &str =
    "b8fc56b11f449029ad9cc0b5b0564d8c1b2f40708a4a4f56ee8dc4b51453061d1ec63a7575e6a23d15b3c5cea9717c02";
const PCR17: &str =
    "5bf07d9f70c8d32a2f6d4b1a8470c2deb0fe13032cdaf3ef2ba65e88bad6571bcb6a496f0c92df0aea2b6243e18c1851";
const PCR16_OF_ANY: &str =
    "d882ea2f4418820d06605837b114c9158fab96ef3c4f9f87ca1a81e5310161e61d351611b4f9ca9094c61e5057aa7aef";

#[test]
fn what_openssl_signed_is_accepted_and_measured_as_documented() {
    let policy = TrustPolicy::parse(POLICY).unwrap_or_else(|rejection| panic!("{rejection}"));
    let verified = verify(ENVELOPE, &policy).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(verified.digest().to_string(), DIGEST);
    assert_eq!((verified.generation(), verified.application()), (7, Some("web")));
    let by: Vec<_> = verified
        .signatures()
        .iter()
        .map(|one| (one.signer.as_deref(), one.verdict))
        .collect();
    assert_eq!(
        by,
        [(Some("alice"), Verdict::Valid), (Some("bob"), Verdict::Valid)]
    );
    let pcrs = verified
        .measurements()
        .map(|measurement| (measurement.index, hex(&measurement.value())));
    assert_eq!(pcrs, [(16, PCR16.to_owned()), (17, PCR17.to_owned())]);
    assert_eq!(hex(&measurement::authority(&policy).value()), PCR16);
}

#[test]
fn the_development_policy_is_what_it_says_and_shows_in_pcr16() {
    let policy = TrustPolicy::parse(TrustPolicy::DEVELOPMENT.as_bytes()).expect("valid");
    assert_eq!(policy, TrustPolicy::development());
    assert_eq!(hex(&measurement::authority(&policy).value()), PCR16_OF_ANY);
}

#[test]
fn pcr16_depends_on_the_authority_alone() {
    let text = String::from_utf8(POLICY.to_vec()).expect("text");
    let pcr16 = |text: &str| {
        let policy = TrustPolicy::parse(text.as_bytes()).unwrap_or_else(|rejection| panic!("{rejection}"));
        hex(&measurement::authority(&policy).value())
    };
    let same = [
        ("\"minGeneration\": 7", "\"minGeneration\": 8"),
        ("\"InPlace\"", "\"Immutable\""),
        ("\"allowClearLogs\": true", "\"allowClearLogs\": false"),
        ("\"alice\"", "\"carol\""),
    ];
    for (from, to) in same {
        assert!(text.contains(from), "{from}");
        assert_eq!(pcr16(&text.replace(from, to)), PCR16, "{to}");
    }
    let mut tree: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let signers = tree["signedBy"]["signers"].as_array_mut().expect("signers");
    signers.reverse();
    assert_eq!(pcr16(&tree.to_string()), PCR16, "the order of the signers");
    tree["signedBy"]["signers"].as_array_mut().expect("signers").pop();
    tree["signedBy"]["threshold"] = 1.into();
    let one = pcr16(&tree.to_string());
    let others = [
        one,
        pcr16(&text.replace("\"application\": \"web\"", "\"application\": \"web2\"")),
        pcr16(&text.replace("\"threshold\": 2", "\"threshold\": 1")),
    ];
    for other in others {
        assert_ne!(other, PCR16);
    }
}
