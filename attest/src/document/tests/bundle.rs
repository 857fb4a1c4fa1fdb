//! Bundles that are put together wrongly, and certificates that are damaged.

use super::{AUTHORITY, MODULE, NOW, SIGNER, judge, map_of};
use crate::document::issue::forms::element;
use crate::document::issue::{Authority, encoded};
use crate::document::{ChainError, Position, Proof, Refusal};

/// Places in a chain: 0 is the root.
pub(super) const LEAF: usize = 4;

pub(super) fn position(place: usize) -> Position {
    match place {
        0 => Position::Root,
        LEAF => Position::Leaf,
        place => Position::Issuer(place),
    }
}

pub(super) fn only_chain(judged: Result<Proof, Refusal>) -> Result<Proof, ChainError> {
    judged.map_err(|refusal| match refusal {
        Refusal::Chain(error) => error,
        other => panic!("{other:?}"),
    })
}

/// A document with these certificates, signed by `SIGNER` whoever it names.
fn presenting(bundle: &[Vec<u8>], certificate: &[u8]) -> Result<Proof, Refusal> {
    let mut fields = super::fields();
    for (name, value) in &mut fields {
        match *name {
            "cabundle" => {
                *value = encoded(|writer| {
                    let writer = writer.array(bundle.len());
                    bundle.iter().fold(writer, |writer, der| writer.bytes(der))
                });
            }
            "certificate" => *value = encoded(|writer| writer.bytes(certificate)),
            _ => {}
        }
    }
    judge(&SIGNER.key().document(&map_of(&fields)).expect("a document"))
}

#[test]
fn the_bundle_goes_from_the_root_to_the_issuer() {
    let (bundle, leaf) = (&SIGNER.bundle, &SIGNER.certificate);
    assert!(presenting(bundle, leaf).is_ok());
    let of = |places: &[usize]| {
        let some: Vec<_> = places.iter().map(|place| bundle[*place].clone()).collect();
        only_chain(presenting(&some, leaf))
    };
    for (places, place) in [
        (&[0, 1, 3, 2][..], 2),
        (&[0, 2, 1, 3], 1),
        (&[0, 2, 3, 1], 1),
        (&[0, 3, 1, 2], 1),
        (&[0, 3, 2, 1], 1),
        (&[0, 2, 3], 1),
        (&[0, 1, 3], 2),
        (&[0, 3], 1),
        (&[0, 0, 1, 2, 3], 0),
        (&[0, 1, 1, 2, 3], 2),
        (&[0, 1, 2, 2, 3], 3),
    ] {
        let judged = of(places);
        if place == 0 {
            // The root issued itself, so only the path shows that it is there twice.
            assert!(judged.is_err(), "{places:?}: {judged:?}");
        } else {
            assert_eq!(
                judged,
                Err(ChainError::Order(Position::Issuer(place))),
                "{places:?}"
            );
        }
    }
    for places in [&[0][..], &[0, 1], &[0, 1, 2], &[0, 1, 2, 3, 0], &[0, 1, 2, 3, 3]] {
        let judged = of(places);
        assert!(
            matches!(judged, Err(ChainError::Order(_))),
            "{places:?}: {judged:?}"
        );
    }
    for places in [&[3, 2, 1, 0][..], &[1, 2, 3], &[1, 0, 2, 3], &[3]] {
        let judged = of(places);
        assert!(matches!(judged, Err(ChainError::UntrustedRoot(_))), "{places:?}");
    }
}

#[test]
fn a_certificate_of_the_same_name_is_not_the_same() {
    let twin = AUTHORITY.signer(MODULE, NOW).expect("a signer");
    let other = Authority::new(NOW).expect("a root");
    let foreign = other.signer(MODULE, NOW).expect("a signer");
    for (stranger, name) in [(&twin, "twin"), (&foreign, "foreign")] {
        for place in 1..LEAF {
            let mut bundle = SIGNER.bundle.clone();
            bundle[place].clone_from(&stranger.bundle[place]);
            let judged = only_chain(presenting(&bundle, &SIGNER.certificate));
            assert_eq!(judged, Err(ChainError::Signature), "{name} {place}");
        }
        let judged = only_chain(presenting(&SIGNER.bundle, &stranger.certificate));
        assert_eq!(judged, Err(ChainError::Signature), "{name}");
    }
    // All of another chain beneath our root: the document is not signed by its key.
    let judged = presenting(&twin.bundle, &twin.certificate);
    assert_eq!(judged, Err(Refusal::Signature));
    // Our root in front of it proves nothing.
    let mut bundle = foreign.bundle.clone();
    bundle[0].clone_from(&SIGNER.bundle[0]);
    let judged = only_chain(presenting(&bundle, &foreign.certificate));
    assert_eq!(judged, Err(ChainError::Signature));
    // A document that the signer's issuer signs, presenting itself as the signer.
    let judged = only_chain(presenting(&SIGNER.bundle[..3], &SIGNER.bundle[3]));
    assert_eq!(judged, Err(ChainError::KeyUsage(Position::Leaf)));
}

#[test]
fn certificates_are_der_and_nothing_else() {
    let certificates = [&SIGNER.bundle[..], std::slice::from_ref(&SIGNER.certificate)].concat();
    for (place, der) in certificates.iter().enumerate().skip(1) {
        let inner = &der[4..];
        let odd = [
            [&der[..], &[0]].concat(),
            der[..der.len() - 1].to_vec(),
            // Lengths: of three bytes, indefinite, of one byte too few and too many.
            [&[0x30, 0x83, 0, der[2], der[3]], inner].concat(),
            [&[0x30, 0x80], inner, &[0, 0]].concat(),
            [&[0x30, 0x82, der[2], der[3].wrapping_sub(1)], inner].concat(),
            [&[0x30, 0x82, der[2], der[3].wrapping_add(1)], inner].concat(),
            // Tags: a set, an octet string, one of several bytes.
            [&[0x31], &der[1..]].concat(),
            [&[0x04], &der[1..]].concat(),
            [&[0x3f, 0x10], &der[1..]].concat(),
            // Its content alone, wrapped once more, twice, nothing much.
            inner.to_vec(),
            element(0x30, &[der]),
            vec![0x30, 0x00],
            vec![0x30, 0x82, 0xff, 0xff],
            vec![0x30],
            vec![0],
        ];
        for (number, changed) in odd.into_iter().enumerate() {
            let mut all = certificates.clone();
            all[place] = changed;
            let leaf = all.pop().expect("a signer");
            let judged = only_chain(presenting(&all, &leaf));
            assert_eq!(
                judged,
                Err(ChainError::Unreadable(position(place))),
                "{place} {number}"
            );
        }
    }
}

#[test]
fn the_signers_key_is_an_uncompressed_point_of_p384() {
    let der = &SIGNER.certificate;
    let prefix = &crate::document::certificate::P384_PREFIX;
    let at = der
        .windows(prefix.len())
        .position(|window| window == prefix)
        .expect("a key");
    // Another type of key, another curve, unused bits, a compressed point, no point.
    for (offset, value) in [(12, 0x02), (19, 0x23), (22, 1), (23, 2), (23, 3), (23, 0)] {
        let mut changed = der.clone();
        changed[at + offset] = value;
        let judged = only_chain(presenting(&SIGNER.bundle, &changed));
        assert_eq!(judged, Err(ChainError::LeafKey), "{offset}");
    }
}

#[test]
fn a_certificate_with_one_bit_changed_is_refused() {
    let certificates = [&SIGNER.bundle[..], std::slice::from_ref(&SIGNER.certificate)].concat();
    for place in 0..=LEAF {
        for index in (0..certificates[place].len()).step_by(5) {
            let mut all = certificates.clone();
            all[place][index] ^= 1 << (index % 8);
            let leaf = all.pop().expect("a signer");
            let judged = presenting(&all, &leaf);
            assert!(
                matches!(judged, Err(Refusal::Chain(_))),
                "{place} {index}: {judged:?}"
            );
        }
    }
}
