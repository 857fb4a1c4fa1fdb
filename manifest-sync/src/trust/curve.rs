//! Which public keys are usable at all. ring finds a bad key only when a signature is checked, and then does not say that
//! it is the key; a policy with a mistyped key has to be refused when it is written.

/// Number below 2^256, least significant word first.
type Number = [u64; 4];

/// The prime of P-256 (SEC 2, section 2.4.2).
const P: Number = [
    0xffff_ffff_ffff_ffff,
    0x0000_0000_ffff_ffff,
    0x0000_0000_0000_0000,
    0xffff_ffff_0000_0001,
];
/// The constant term of its curve, y² = x³ - 3x + B.
const B: Number = [
    0x3bce_3c3e_27d2_604b,
    0x651d_06b0_cc53_b0f6,
    0xb3eb_bd55_7698_86bc,
    0x5ac6_35d8_aa3a_93e7,
];

/// Whether the coordinates x and y, 32 bytes each, most significant first, are a point of P-256. Public data: this takes
/// a different time for different points.
pub(super) fn on_p256(coordinates: &[u8; 64]) -> bool {
    let (x, y) = coordinates.split_at(32);
    let (x, y) = (number(x), number(y));
    if !less(&x, &P) || !less(&y, &P) {
        return false;
    }
    // y² + 3x = x³ + B: no subtraction is needed.
    let left = add(multiply(y, y), add(x, add(x, x)));
    left == add(multiply(multiply(x, x), x), B)
}

fn number(bytes: &[u8]) -> Number {
    let mut number = Number::default();
    let (words, _) = bytes.as_chunks::<8>();
    for (to, word) in number.iter_mut().zip(words.iter().rev()) {
        *to = u64::from_be_bytes(*word);
    }
    number
}

fn less(a: &Number, b: &Number) -> bool {
    a.iter().rev().lt(b.iter().rev())
}

/// Sum modulo [`P`] of two numbers below it.
fn add(a: Number, b: Number) -> Number {
    let mut carry = false;
    let mut sum = Number::default();
    for (to, (a, b)) in sum.iter_mut().zip(a.iter().zip(&b)) {
        let (part, first) = a.overflowing_add(*b);
        let (whole, second) = part.overflowing_add(u64::from(carry));
        *to = whole;
        carry = first || second;
    }
    if !carry && less(&sum, &P) {
        return sum;
    }
    let mut borrow = false;
    for (word, p) in sum.iter_mut().zip(&P) {
        let (part, first) = word.overflowing_sub(*p);
        let (whole, second) = part.overflowing_sub(u64::from(borrow));
        *word = whole;
        borrow = first || second;
    }
    sum
}

/// Product modulo [`P`], by doubling and adding: a policy has at most a few keys.
fn multiply(a: Number, b: Number) -> Number {
    let mut product = Number::default();
    for word in b.iter().rev() {
        for bit in (0..64).rev() {
            product = add(product, product);
            if word >> bit & 1 == 1 {
                product = add(product, a);
            }
        }
    }
    product
}

/// Whether these bytes name a point of Ed25519 in the one canonical way and outside the small subgroup: for a point of
/// small order anybody can make signatures that pass (RFC 8032 leaves the check to the user; ring does not make it).
pub(super) fn usable_ed25519(key: &[u8; 32]) -> bool {
    let mut y = *key;
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    // 2^255 - 19 is ed ff … ff 7f.
    let [first, middle @ .., last] = &y;
    let canonical = *first < 0xed || *last != 0x7f || middle.iter().any(|byte| *byte != 0xff);
    canonical && !SMALL_ORDER.contains(&y)
}

/// y of the points whose order divides 8: 0 (order 4), 1 (order 1), -1 (order 2), and two of order 8.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    {
        let mut minus_one = [0xff; 32];
        minus_one[0] = 0xec;
        minus_one[31] = 0x7f;
        minus_one
    },
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        UnparsedPublicKey,
    };

    use super::*;

    #[test]
    fn real_keys_are_usable_and_changed_ones_are_not() {
        let random = SystemRandom::new();
        for _ in 0..20 {
            let pkcs8 =
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).expect("a key");
            let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random);
            let key = key.expect("the key");
            let mut point: [u8; 64] = key.public_key().as_ref()[1..].try_into().expect("64 bytes");
            assert!(on_p256(&point));
            point[40] ^= 4;
            assert!(!on_p256(&point));

            let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
            let key = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("the key");
            assert!(usable_ed25519(
                key.public_key().as_ref().try_into().expect("32 bytes")
            ));
        }
        assert!(!on_p256(&[0; 64]));
        assert!(!on_p256(&[0xff; 64]));
    }

    #[test]
    fn a_key_of_small_order_would_accept_what_nobody_signed() {
        // The neutral element as key and as R, with S = 0: R = S·B - h·A holds whatever the message is.
        let neutral = SMALL_ORDER[1];
        let forged = [neutral, [0; 32]].concat();
        UnparsedPublicKey::new(&ED25519, neutral)
            .verify(b"anything", &forged)
            .expect("ring takes it, so we must not");
        for mut key in SMALL_ORDER {
            assert!(!usable_ed25519(&key));
            key[31] |= 0x80;
            assert!(!usable_ed25519(&key));
        }
    }

    #[test]
    fn a_second_name_of_a_point_is_refused() {
        for first in 0xed..=0xff {
            let mut key = [0xff; 32];
            key[0] = first;
            assert!(!usable_ed25519(&key), "{first:x}");
            key[31] = 0x7f;
            assert!(!usable_ed25519(&key), "{first:x}");
        }
    }
}
