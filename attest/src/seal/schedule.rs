//! HPKE's key schedule (RFC 9180 sections 4 and 5.1) for the one suite and mode of this crate. Pure; ring's HMAC and HKDF
//! underneath. Extract is written with HMAC (RFC 5869 section 2.2), since ring's HKDF does not give out what it extracted.

use ring::hkdf::{HKDF_SHA256, KeyType, Prk};
use ring::hmac::{Context, HMAC_SHA256, Key};
use zeroize::Zeroizing;

/// Bytes of SHA-256, of what is extracted and of the shared secret (`Nh` and `Nsecret`).
pub(super) const HASH_BYTES: usize = 32;
/// Bytes of a key and of a nonce of ChaCha20Poly1305 (`Nk` and `Nn`, RFC 9180 section 7.3).
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

const VERSION: &[u8] = b"HPKE-v1";
/// `suite_id` of the KEM: DHKEM(X25519, HKDF-SHA256) is 0x0020 (RFC 9180 section 4.1).
const KEM_SUITE: &[u8] = b"KEM\x00\x20";
/// `suite_id` of everything else: KEM 0x0020, KDF 0x0001, AEAD 0x0003 (RFC 9180 section 5.1).
const SUITE: &[u8] = b"HPKE\x00\x20\x00\x01\x00\x03";
/// `mode_base` (RFC 9180 section 5).
const MODE_BASE: u8 = 0;

type Hash = Zeroizing<[u8; HASH_BYTES]>;

/// What a message is encrypted with.
pub(super) struct Schedule {
    pub(super) key: Zeroizing<[u8; KEY_BYTES]>,
    pub(super) nonce: Zeroizing<[u8; NONCE_BYTES]>,
}

impl Schedule {
    /// `KeySchedule` with an empty PSK (RFC 9180 section 5.1).
    pub(super) fn base(shared: &Hash, info: &[u8]) -> Self {
        let psk_id_hash = extract(SUITE, b"", b"psk_id_hash", b"");
        let info_hash = extract(SUITE, b"", b"info_hash", info);
        let mut context = [MODE_BASE; 1 + 2 * HASH_BYTES];
        let (_, hashes) = context.split_at_mut(1);
        let (first, second) = hashes.split_at_mut(HASH_BYTES);
        first.copy_from_slice(&*psk_id_hash);
        second.copy_from_slice(&*info_hash);
        let secret = extract(SUITE, &**shared, b"secret", b"");
        Self {
            key: expand(SUITE, &secret, b"key", &[&context]),
            nonce: expand(SUITE, &secret, b"base_nonce", &[&context]),
        }
    }
}

/// `ExtractAndExpand` (RFC 9180 section 4.1); `kem_context` is both public keys.
pub(super) fn shared_secret(dh: &[u8], encapsulated: &[u8], receiver: &[u8]) -> Hash {
    let extracted = extract(KEM_SUITE, b"", b"eae_prk", dh);
    expand(KEM_SUITE, &extracted, b"shared_secret", &[encapsulated, receiver])
}

/// `LabeledExtract` (RFC 9180 section 4).
fn extract(suite: &[u8], salt: &[u8], label: &[u8], input: &[u8]) -> Hash {
    let mut mac = Context::with_key(&Key::new(HMAC_SHA256, salt));
    for part in [VERSION, suite, label, input] {
        mac.update(part);
    }
    let mut out = Zeroizing::new([0; HASH_BYTES]);
    out.copy_from_slice(mac.sign().as_ref());
    out
}

/// `LabeledExpand` (RFC 9180 section 4).
fn expand<const N: usize>(
    suite: &[u8],
    extracted: &Hash,
    label: &[u8],
    info: &[&[u8]],
) -> Zeroizing<[u8; N]> {
    let length = u16::try_from(N).expect("keys and nonces are short").to_be_bytes();
    let parts: Vec<&[u8]> = [&length, VERSION, suite, label]
        .into_iter()
        .chain(info.iter().copied())
        .collect();
    let mut out = Zeroizing::new([0; N]);
    Prk::new_less_safe(HKDF_SHA256, &**extracted)
        .expand(&parts, Length(N))
        .and_then(|expanded| expanded.fill(&mut *out))
        .expect("HKDF-SHA256 gives up to 8160 bytes");
    out
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}
