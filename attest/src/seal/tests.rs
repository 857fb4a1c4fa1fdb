use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _};
use proptest::prelude::*;

use super::*;

type OraclePublic = <X25519HkdfSha256 as Kem>::PublicKey;
type OracleEncapsulated = <X25519HkdfSha256 as Kem>::EncappedKey;

fn hex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

/// RFC 9180 A.2.1: this suite in base mode, and its message with sequence number 0.
mod rfc {
    pub(super) const INFO: &str = "4f6465206f6e2061204772656369616e2055726e";
    pub(super) const SENDER: &str = "f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600";
    pub(super) const ENCAPSULATED: &str = "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a";
    pub(super) const RECEIVER: &str = "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb";
    pub(super) const RECEIVER_PUBLIC: &str =
        "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a";
    pub(super) const SHARED: &str = "0bbe78490412b4bbea4812666f7916932b828bba79942424abb65244930d69a7";
    pub(super) const KEY: &str = "ad2744de8e17f4ebba575b3f5f5a8fa1f69c2a07f6e7500bc60ca6e3e3ec1c91";
    pub(super) const NONCE: &str = "5c4d98150661b848853b547f";
    pub(super) const AAD: &[u8] = b"Count-0";
    pub(super) const MESSAGE: &[u8] = b"Beauty is truth, truth beauty";
    pub(super) const CIPHERTEXT: &str =
        "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28";
}

/// Randomness that is known, so that a private key is. ring has nothing else for it.
#[expect(deprecated, reason = "ring calls what it has for tests internal")]
fn known(bytes: &[u8]) -> ring::test::rand::FixedSliceRandom<'_> {
    ring::test::rand::FixedSliceRandom { bytes }
}

fn rfc_receiver() -> ReceiverKey {
    ReceiverKey::generate_from(&known(&hex(rfc::RECEIVER))).expect("a key")
}

fn refusal(result: Result<Secret, SealError>) -> SealError {
    result.map(|_| ()).expect_err("a refusal")
}

#[test]
fn the_key_schedule_is_the_one_of_rfc_9180_a_2_1() {
    let receiver = rfc_receiver();
    assert_eq!(receiver.public(), hex(rfc::RECEIVER_PUBLIC).as_slice());
    let encapsulated = hex(rfc::ENCAPSULATED);
    let shared = agree(receiver.private, &encapsulated, &encapsulated, &receiver.public).expect("a secret");
    assert_eq!(*shared, hex(rfc::SHARED).as_slice());
    let schedule = Schedule::base(&shared, &hex(rfc::INFO));
    assert_eq!(*schedule.key, hex(rfc::KEY).as_slice());
    assert_eq!(*schedule.nonce, hex(rfc::NONCE).as_slice());
}

#[test]
fn the_sender_makes_the_bytes_of_rfc_9180_a_2_1() {
    let (sender, receiver, info) = (hex(rfc::SENDER), hex(rfc::RECEIVER_PUBLIC), hex(rfc::INFO));
    let sealed = seal_from(&known(&sender), &receiver, &info, rfc::AAD, rfc::MESSAGE);
    let expected = [hex(rfc::ENCAPSULATED), hex(rfc::CIPHERTEXT)].concat();
    assert_eq!(sealed, Ok(expected));
}

#[test]
fn the_receiver_opens_the_message_of_rfc_9180_a_2_1() {
    let sealed = [hex(rfc::ENCAPSULATED), hex(rfc::CIPHERTEXT)].concat();
    let opened = rfc_receiver().open(&hex(rfc::INFO), rfc::AAD, &sealed);
    assert_eq!(opened.expect("it opens").expose(), rfc::MESSAGE);
}

#[test]
fn every_changed_byte_is_noticed() {
    let sealed = [hex(rfc::ENCAPSULATED), hex(rfc::CIPHERTEXT)].concat();
    for (byte, bit) in (0..sealed.len()).flat_map(|byte| [(byte, 0), (byte, 7)]) {
        let mut changed = sealed.clone();
        changed[byte] ^= 1 << bit;
        // X25519 ignores the highest bit of a coordinate (RFC 7748 section 5), but the schedule hashes what was sent.
        let opened = rfc_receiver().open(&hex(rfc::INFO), rfc::AAD, &changed);
        assert_eq!(refusal(opened), SealError::Forged, "bit {bit} of byte {byte}");
    }
}

#[test]
fn a_message_for_another_request_or_key_does_not_open() {
    let own = || ReceiverKey::generate().expect("a key");
    let key = own();
    let sealed = seal(key.public(), b"info", b"aad", b"message").expect("sealed");
    assert_eq!(refusal(own().open(b"info", b"aad", &sealed)), SealError::Forged);
    for (info, aad) in [
        (&b"other"[..], &b"aad"[..]),
        (b"info", b"other"),
        (b"", b"infoaad"),
    ] {
        let key = own();
        let sealed = seal(key.public(), b"info", b"aad", b"message").expect("sealed");
        assert_eq!(refusal(key.open(info, aad, &sealed)), SealError::Forged);
    }
}

#[test]
fn points_of_small_order_and_wrong_lengths_are_no_keys() {
    // RFC 7748 section 6.1: with these, every agreement is zero.
    let mut one = [0; 32];
    one[0] = 1;
    for bytes in [&[0; 32][..], &one, &[9; 31], &[9; 33], &[]] {
        assert_eq!(seal(bytes, b"", b"", b""), Err(SealError::PublicKey), "{bytes:?}");
    }
    let key = ReceiverKey::generate().expect("a key");
    assert_eq!(refusal(key.open(b"", b"", &[0; OVERHEAD])), SealError::PublicKey);
}

#[test]
fn sizes_are_bounded() {
    let key = || ReceiverKey::generate().expect("a key");
    let public = *key().public();
    let long = vec![0; MAX_PLAINTEXT + OVERHEAD + 1];
    let context = &long[..=MAX_CONTEXT];
    let too_long = |what, most| Err(SealError::TooLong(what, most));
    assert_eq!(seal(&public, context, b"", b""), too_long("info", MAX_CONTEXT));
    assert_eq!(seal(&public, b"", context, b""), too_long("aad", MAX_CONTEXT));
    assert_eq!(
        seal(&public, b"", b"", &long[..=MAX_PLAINTEXT]),
        too_long("the message", MAX_PLAINTEXT)
    );
    assert!(matches!(
        refusal(key().open(b"", b"", &long)),
        SealError::TooLong(..)
    ));
    assert_eq!(
        refusal(key().open(b"", b"", &long[..OVERHEAD - 1])),
        SealError::Truncated
    );
    let receiver = key();
    let sealed = seal(receiver.public(), b"", b"", &long[..MAX_PLAINTEXT]).expect("the largest");
    let opened = receiver.open(b"", b"", &sealed).expect("it opens");
    assert_eq!(opened.expose().len(), MAX_PLAINTEXT);
}

proptest! {
    // Curves without optimisation are slow.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_we_seal_the_hpke_crate_opens(info: Vec<u8>, aad: Vec<u8>, message: Vec<u8>, ikm: [u8; 32]) {
        let (private, public) = X25519HkdfSha256::derive_keypair(&ikm);
        let sealed = seal(&public.to_bytes(), &info, &aad, &message).expect("sealed");
        let (encapsulated, ciphertext) = sealed.split_at(PUBLIC_KEY_BYTES);
        let encapsulated = OracleEncapsulated::from_bytes(encapsulated).expect("a key");
        let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base, &private, &encapsulated, &info, ciphertext, &aad,
        );
        prop_assert_eq!(opened.expect("it opens"), message);
    }

    #[test]
    fn what_the_hpke_crate_seals_we_open(info: Vec<u8>, aad: Vec<u8>, message: Vec<u8>) {
        let receiver = ReceiverKey::generate().expect("a key");
        let public = OraclePublic::from_bytes(receiver.public()).expect("a key");
        let (encapsulated, ciphertext) =
            hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
                &OpModeS::Base, &public, &info, &message, &aad,
            ).expect("sealed");
        let sealed = [encapsulated.to_bytes().as_slice(), &ciphertext].concat();
        let opened = receiver.open(&info, &aad, &sealed).expect("it opens");
        prop_assert_eq!(opened.expose(), message);
    }

    #[test]
    fn any_bytes_are_refused_without_harm(sealed: Vec<u8>, info: Vec<u8>, aad: Vec<u8>) {
        let receiver = ReceiverKey::generate().expect("a key");
        prop_assert!(receiver.open(&info, &aad, &sealed).is_err());
    }
}
