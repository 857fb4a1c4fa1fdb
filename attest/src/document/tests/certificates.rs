//! Chains with a certificate that was not to be issued, each for one reason.

use std::time::Duration;

use super::bundle::{LEAF, only_chain, position};
use super::{ANYTHING, AUTHORITY, MODULE, NOW, judge, our_policy, pcrs};
use crate::document::issue::forms::{Role, Template, basic_constraints, element, extension, key_usage, name};
use crate::document::issue::{Authority, Draft, Signer};
use crate::document::{ChainError, Position, Proof, Root, verify};

const SECOND: Duration = Duration::from_secs(1);
/// 1.2.3.4, which nobody knows.
const UNKNOWN: &[u8] = &[0x2a, 0x03, 0x04];
/// 2.5.29.37, extended key usage, and its serverAuth.
const EXTENDED: &[u8] = &[0x55, 0x1d, 0x25];
const SERVER: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];

/// A chain with one certificate changed, and what a verifier says to its document.
fn changed(place: usize, change: impl Fn(&mut Template)) -> Result<Proof, ChainError> {
    let signer = AUTHORITY.signer_with(MODULE, NOW, |at, template| {
        if at == place {
            change(template);
        }
    });
    chain(&signer.expect("a signer"))
}

fn draft_of(signer: &Signer) -> Vec<u8> {
    let draft = Draft {
        time: NOW,
        pcrs: &pcrs(),
        public_key: None,
        user_data: None,
        nonce: None,
    };
    signer.document(&draft).expect("a document")
}

fn chain(signer: &Signer) -> Result<Proof, ChainError> {
    only_chain(judge(&draft_of(signer)))
}

#[test]
fn an_authority_is_one_and_has_as_many_below_it_as_it_allows() {
    for (place, allowed) in [(1, 0), (1, 1), (2, 0)] {
        let judged = changed(place, |template| {
            template.extensions[0] = basic_constraints(Role::Issuer(allowed));
        });
        assert_eq!(judged, Err(ChainError::PathLength), "{place} {allowed}");
    }
    for (place, allowed) in [(1, 3), (2, 2), (3, 1), (3, 0)] {
        let judged = changed(place, |template| {
            template.extensions[0] = basic_constraints(Role::Issuer(allowed));
        });
        assert!(judged.is_ok(), "{place} {allowed}: {judged:?}");
    }
    for place in 1..LEAF {
        let none = changed(place, |template| {
            template.extensions[0] = basic_constraints(Role::Signer);
        });
        assert_eq!(none, Err(ChainError::NotAnAuthority), "{place}");
        let silent = changed(place, |template| drop(template.extensions.remove(0)));
        assert_eq!(silent, Err(ChainError::NotAnAuthority), "{place}");
        let odd = changed(place, |template| {
            template.extensions[0] = extension(&[0x55, 0x1d, 0x13], true, &[0x30, 0x03, 0x01, 0x01]);
        });
        assert!(odd.is_err(), "{place}");
    }
    for role in [Role::Root, Role::Issuer(0)] {
        let judged = changed(LEAF, |template| {
            template.extensions[0] = basic_constraints(role);
        });
        assert_eq!(judged, Err(ChainError::LeafIsAuthority));
    }
}

#[test]
fn keys_sign_what_they_are_for() {
    for place in 1..=LEAF {
        let error = ChainError::KeyUsage(position(place));
        let wrong: &[u8] = if place == LEAF {
            &[0x04, 0x06, 0x40, 0x20]
        } else {
            &[0x80, 0xc0, 0x02, 0xfb]
        };
        for bits in wrong {
            let judged = changed(place, |template| template.extensions[1] = key_usage(*bits));
            assert_eq!(judged.as_ref(), Err(&error), "{place} {bits:02x}");
        }
        let silent = changed(place, |template| drop(template.extensions.remove(1)));
        assert_eq!(silent, Err(error), "{place}");
        for content in [
            &[0x03, 0x01, 0x00][..],
            &[0x03, 0x00],
            &[0x03, 0x02, 0x08, 0x84],
            &[0x04, 0x02, 0, 0x84],
        ] {
            let odd = changed(place, |template| {
                template.extensions[1] = extension(&[0x55, 0x1d, 0x0f], true, content);
            });
            assert_eq!(odd, Err(ChainError::Unreadable(position(place))), "{place}");
        }
    }
    let web = extension(EXTENDED, false, &element(0x30, &[&element(6, &[SERVER])]));
    let judged = changed(LEAF, |template| template.extensions.push(web.clone()));
    assert!(matches!(judged, Err(ChainError::Path(_))), "{judged:?}");
}

#[test]
fn what_is_critical_is_known_and_nothing_is_twice() {
    for place in 1..=LEAF {
        let judged = changed(place, |template| {
            template.extensions.push(extension(UNKNOWN, true, &[5, 0]));
        });
        assert_eq!(judged, Err(ChainError::CriticalExtension), "{place}");
        let harmless = changed(place, |template| {
            template.extensions.push(extension(UNKNOWN, false, &[5, 0]));
        });
        assert!(harmless.is_ok(), "{place}");
        for which in [0, 1] {
            let twice = changed(place, |template| {
                let again = template.extensions[which].clone();
                template.extensions.push(again);
            });
            assert!(twice.is_err(), "{place} {which}");
        }
    }
}

#[test]
fn every_certificate_is_valid_now() {
    for place in 1..=LEAF {
        let early = changed(place, |template| template.not_before = NOW.plus(SECOND));
        let error = ChainError::NotYetValid {
            position: position(place),
            not_before: NOW.plus(SECOND),
            now: NOW,
        };
        assert_eq!(early, Err(error), "{place}");
        let late = changed(place, |template| template.not_after = NOW.minus(SECOND));
        let error = ChainError::Expired {
            position: position(place),
            not_after: NOW.minus(SECOND),
            now: NOW,
        };
        assert_eq!(late, Err(error), "{place}");
        let just = changed(place, |template| {
            (template.not_before, template.not_after) = (NOW, NOW);
        });
        assert!(just.is_ok(), "{place}: {just:?}");
    }
    // The root, too, whose dates webpki does not look at.
    let year = 365 * 86_400 * SECOND;
    for (then, early) in [(NOW.minus(31 * year), false), (NOW.plus(2 * year), true)] {
        let authority = Authority::new(then).expect("a root");
        let signer = authority.signer(MODULE, NOW).expect("a signer");
        let root = Root::from_der(authority.root()).expect("a root");
        let policy = our_policy().roots(vec![root]);
        let judged = only_chain(verify(&draft_of(&signer), &policy, &ANYTHING, NOW));
        match judged {
            Err(ChainError::NotYetValid {
                position: Position::Root,
                ..
            }) if early => {}
            Err(ChainError::Expired {
                position: Position::Root,
                ..
            }) if !early => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn signatures_are_ecdsa_with_sha384() {
    for place in 1..=LEAF {
        // With SHA-256, SHA-512 and SHA-1; RSA; Ed25519.
        for algorithm in [
            &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2][..],
            &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4],
            &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1],
            &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12],
            &[0x2b, 0x65, 0x70],
        ] {
            let judged = changed(place, |template| template.algorithm = algorithm.to_vec());
            assert_eq!(judged, Err(ChainError::Algorithm), "{place} {algorithm:02x?}");
        }
    }
}

#[test]
fn the_signer_is_the_module_that_the_document_names() {
    for subject in [
        String::new(),
        MODULE.to_owned(),
        format!("{MODULE}0.local"),
        format!(" {MODULE}.local"),
        format!("x.{MODULE}.local"),
        "i-0123456789abcdef0.local".to_owned(),
        MODULE.to_uppercase(),
    ] {
        let judged = changed(LEAF, |template| template.subject = name(&subject));
        assert_eq!(judged, Err(ChainError::LeafName), "{subject}");
    }
}
