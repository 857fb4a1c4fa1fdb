//! Documents that are genuine, and policies that refuse them.

use std::time::Duration;

use super::{ANYTHING, IMAGE, NONCE, NOW, document, fields, judge, our_policy, with};
use crate::document::issue::encoded;
use crate::document::{
    ChainError, DebugMode, Exchange, Field, Identity, Policy, PolicyError, Refusal, Root, verify,
};

fn refusal(policy: &Policy, exchange: &Exchange<'_>) -> Option<PolicyError> {
    match verify(&document(&fields()), policy, exchange, NOW) {
        Ok(_) => None,
        Err(Refusal::Policy(error)) => Some(error),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_document_of_our_root_is_refused_where_the_root_was_not_given() {
    let aws = Policy::new(Identity::Image(IMAGE));
    let judged = verify(&document(&fields()), &aws, &ANYTHING, NOW);
    let Err(Refusal::Chain(ChainError::UntrustedRoot(found))) = judged else {
        panic!("{judged:?}");
    };
    let ours = Root::from_der(super::AUTHORITY.root()).expect("a root");
    assert_eq!(found, ours.fingerprint());
    // Beside AWS's it is one of several.
    let both = aws.roots([Root::aws(), vec![ours]].concat());
    assert!(verify(&document(&fields()), &both, &ANYTHING, NOW).is_ok());
}

#[test]
fn registers_have_one_of_the_values_that_were_given() {
    let root = || vec![Root::from_der(super::AUTHORITY.root()).expect("a root")];
    assert_eq!(refusal(&our_policy(), &ANYTHING), None);
    assert_eq!(
        refusal(&our_policy().pcr(4, [0xa4; 48]).pcr(15, [0; 48]), &ANYTHING),
        None
    );
    // Releases beside each other.
    let several = Policy::new(Identity::Image([1; 48]))
        .pcr(0, IMAGE)
        .pcr(0, [2; 48]);
    assert_eq!(refusal(&several.roots(root()), &ANYTHING), None);
    let other = Policy::new(Identity::Image([1; 48]))
        .pcr(0, [2; 48])
        .roots(root());
    let error = PolicyError::Pcr {
        index: 0,
        found: IMAGE,
        allowed: vec![[1; 48], [2; 48]],
    };
    let message = error.to_string();
    assert!(
        message.contains(&"a0".repeat(48)) && message.contains(&"02".repeat(48)),
        "{message}"
    );
    assert_eq!(refusal(&other, &ANYTHING), Some(error));
    // Signed by nobody; a register that is not locked; one that there is not.
    let signer = Policy::new(Identity::Signer([8; 48])).roots(root());
    assert!(matches!(
        refusal(&signer, &ANYTHING),
        Some(PolicyError::Pcr { index: 8, .. })
    ));
    for index in [16, 31, 32, 255] {
        let missing = our_policy().pcr(index, [0; 48]);
        assert_eq!(refusal(&missing, &ANYTHING), Some(PolicyError::PcrMissing(index)));
    }
}

#[test]
fn debug_mode_is_pcr0_and_allowed_only_in_so_many_words() {
    let zeroed = |indices: &[u8]| {
        let mut pcrs = super::pcrs();
        for index in indices {
            pcrs.insert(*index, [0; 48]);
        }
        let value = encoded(|writer| {
            let writer = writer.map(pcrs.len());
            pcrs.iter().fold(writer, |writer, (index, value)| {
                writer.unsigned((*index).into()).bytes(value)
            })
        });
        document(&with("pcrs", value))
    };
    let judge_with = |document: &[u8], policy: Policy| verify(document, &policy, &ANYTHING, NOW);
    let debug = zeroed(&[0, 1, 2, 8]);
    assert_eq!(judge(&debug), Err(Refusal::Policy(PolicyError::Debug)));
    let expecting = our_policy().pcr(0, [0; 48]);
    assert_eq!(
        judge_with(&debug, expecting),
        Err(Refusal::Policy(PolicyError::Debug))
    );
    let allowed = judge_with(&debug, our_policy().debug_mode(DebugMode::Allow));
    assert!(allowed.is_ok_and(|proof| proof.debug));
    // What the platform does not zero still counts.
    let bound = our_policy().debug_mode(DebugMode::Allow).pcr(16, [6; 48]);
    assert_eq!(
        judge_with(&debug, bound),
        Err(Refusal::Policy(PolicyError::PcrMissing(16)))
    );
    // Allowing it changes nothing for the others.
    let strict = Policy::new(Identity::Image([1; 48])).debug_mode(DebugMode::Allow);
    assert!(matches!(
        refusal(&strict.roots(our_policy().roots), &ANYTHING),
        Some(PolicyError::Pcr { index: 0, .. })
    ));
    // A zero elsewhere is no debug mode.
    assert!(judge(&zeroed(&[1, 2, 8])).is_ok_and(|proof| !proof.debug));
}

#[test]
fn an_exchange_binds_nonce_user_data_and_key() {
    let right = Exchange {
        nonce: Field::Is(NONCE),
        user_data: Field::Is(b"data"),
        public_key: Field::Is(&[1; 97]),
    };
    assert_eq!(refusal(&our_policy(), &right), None);
    for (exchange, error) in [
        (
            Exchange {
                nonce: Field::Is(&[8; 32]),
                ..right
            },
            PolicyError::Nonce,
        ),
        (
            Exchange {
                nonce: Field::Is(&[7; 31]),
                ..right
            },
            PolicyError::Nonce,
        ),
        (
            Exchange {
                nonce: Field::Is(&[7; 33]),
                ..right
            },
            PolicyError::Nonce,
        ),
        (
            Exchange {
                nonce: Field::Is(&[7; 15]),
                ..right
            },
            PolicyError::NonceTooShort(15),
        ),
        (
            Exchange {
                nonce: Field::Is(&[]),
                ..right
            },
            PolicyError::NonceTooShort(0),
        ),
        (
            Exchange {
                user_data: Field::Is(b"dat"),
                ..right
            },
            PolicyError::UserData,
        ),
        (
            Exchange {
                user_data: Field::Is(b""),
                ..right
            },
            PolicyError::UserData,
        ),
        (
            Exchange {
                public_key: Field::Is(&[1; 96]),
                ..right
            },
            PolicyError::PublicKey,
        ),
        (
            Exchange {
                public_key: Field::Is(&[]),
                ..right
            },
            PolicyError::PublicKey,
        ),
    ] {
        assert_eq!(refusal(&our_policy(), &exchange), Some(error), "{exchange:?}");
    }
    // What is not there is not empty.
    for (name, error) in [
        ("nonce", PolicyError::Nonce),
        ("user_data", PolicyError::UserData),
        ("public_key", PolicyError::PublicKey),
    ] {
        let document = document(&with(name, vec![0xf6]));
        assert_eq!(
            verify(&document, &our_policy(), &right, NOW),
            Err(Refusal::Policy(error))
        );
    }
}

#[test]
fn a_document_that_was_kept_is_verified_at_the_time_of_its_receipt() {
    let kept = document(&fields());
    let policy = our_policy().age(Duration::from_secs(3 * 3600), Duration::ZERO);
    let at = |seconds: i64| {
        let now = crate::time::UnixTime::from_seconds(NOW.seconds().saturating_add_signed(seconds));
        verify(&kept, &policy, &ANYTHING, now)
    };
    assert!(at(0).is_ok());
    assert!(at(3 * 3600).is_ok());
    assert!(matches!(at(-1), Err(Refusal::Policy(PolicyError::Ahead { .. }))));
    assert!(matches!(
        at(-4),
        Err(Refusal::Chain(ChainError::NotYetValid { .. }))
    ));
    assert!(matches!(
        at(3 * 3600 + 1),
        Err(Refusal::Chain(ChainError::Expired { .. }))
    ));
}

/// Messages are read by whoever has to repair it.
#[test]
fn every_refusal_by_policy_says_what_is_wrong() {
    for error in [
        PolicyError::Stale {
            time: NOW,
            now: NOW,
            most: Duration::from_secs(300),
        },
        PolicyError::Ahead {
            time: NOW,
            now: NOW,
            most: Duration::from_secs(60),
        },
        PolicyError::Debug,
        PolicyError::PcrMissing(16),
        PolicyError::Nonce,
        PolicyError::NonceTooShort(3),
        PolicyError::UserData,
        PolicyError::PublicKey,
    ] {
        let message = error.to_string();
        assert!(message.len() > 40 && !message.ends_with('.'), "{message}");
    }
}
