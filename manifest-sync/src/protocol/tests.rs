//! Both ends of the conversation against each other and against nonsense.

use proptest::prelude::*;

use super::enclave::Input;
use super::{FromEnclave, GateCondition, RefusedReason, ToEnclave, VERSION, enclave, host};
use crate::digest::Digest;
use crate::frame;
use crate::status::ConditionStatus;

fn hello() -> ToEnclave {
    ToEnclave::Hello {
        version: VERSION,
        session: None,
        events_after: 0,
    }
}

fn welcome() -> FromEnclave {
    FromEnclave::Welcome {
        version: VERSION,
        session: "5e".into(),
        boot_id: "b0".into(),
        bundle: None,
    }
}

fn gate() -> GateCondition {
    GateCondition {
        r#type: "example.com/ready".into(),
        status: ConditionStatus::False,
        reason: Some("Draining".into()),
        message: None,
    }
}

#[test]
fn texts_of_a_condition_are_bounded() {
    let long = |bytes: usize| Some("a".repeat(bytes));
    let mut condition = gate();
    (condition.reason, condition.message) = (long(1024), long(4096));
    assert_eq!(condition.check(), Ok(()));
    condition.message = long(4097);
    assert_eq!(condition.check(), Err("message: at most 4096 bytes".to_owned()));
    (condition.reason, condition.message) = (long(1025), None);
    assert_eq!(condition.check(), Err("reason: at most 1024 bytes".to_owned()));
}

/// Everything a host may say, in order.
fn host_side() -> (Vec<u8>, Vec<Input>) {
    let mut bytes = host::encode(&hello());
    bytes.extend(host::encode_apply(b"{\"kind\":\"List\"}").expect("small"));
    for message in [
        ToEnclave::BlobUnavailable {
            request: 4,
            message: "absent".into(),
        },
        ToEnclave::Ping { nonce: 9 },
        ToEnclave::Stop {
            grace_seconds: Some(3),
        },
        ToEnclave::SetCondition {
            request: 5,
            condition: gate(),
        },
        ToEnclave::FinishedAck {},
    ] {
        bytes.extend(host::encode(&message));
    }
    let inputs = vec![
        Input::Hello {
            session: None,
            events_after: 0,
        },
        Input::Apply {
            bundle: b"{\"kind\":\"List\"}".to_vec(),
        },
        Input::BlobUnavailable {
            request: 4,
            message: "absent".into(),
        },
        Input::Ping { nonce: 9 },
        Input::Stop {
            grace_seconds: Some(3),
        },
        Input::SetCondition {
            request: 5,
            condition: gate(),
        },
        Input::FinishedAck,
    ];
    (bytes, inputs)
}

#[test]
fn a_conversation_is_understood_one_byte_at_a_time_and_at_once() {
    let (bytes, expected) = host_side();
    for chunk in [1, 2, 7, bytes.len()] {
        let mut conversation = enclave::Conversation::new();
        let inputs: Vec<Input> = bytes
            .chunks(chunk)
            .flat_map(|piece| conversation.handle_bytes(piece))
            .collect();
        assert_eq!(inputs, expected, "chunks of {chunk}");
    }
}

#[test]
fn a_truncated_conversation_says_only_what_was_complete() {
    let (bytes, expected) = host_side();
    for cut in 0..bytes.len() {
        let inputs = enclave::Conversation::new().handle_bytes(&bytes[..cut]);
        assert!(inputs.len() < expected.len());
        assert_eq!(inputs, expected[..inputs.len()]);
    }
}

fn only_violation(bytes: &[u8]) -> (RefusedReason, String) {
    let mut conversation = enclave::Conversation::new();
    let mut inputs = conversation.handle_bytes(bytes);
    assert_eq!(
        conversation.handle_bytes(&host::encode(&hello())),
        [],
        "nothing is heard after a violation"
    );
    match inputs.pop() {
        Some(Input::Violation { reason, message }) => (reason, message),
        other => panic!("expected a violation, got {other:?}"),
    }
}

#[test]
fn nonsense_ends_the_conversation_with_one_reason() {
    let after_hello = |bytes: Vec<u8>| [host::encode(&hello()), bytes].concat();
    let cases = [
        (
            host::encode(&ToEnclave::FinishedAck {}),
            RefusedReason::Malformed,
            "first message must be Hello",
        ),
        (
            after_hello(host::encode(&hello())),
            RefusedReason::Malformed,
            "only once",
        ),
        (
            frame::encode(b"{\"type\":\"hello\",\"version\":2,\"new\":1}"),
            RefusedReason::Version,
            "version 2",
        ),
        (frame::encode(b"\xff"), RefusedReason::Malformed, "unreadable"),
        (
            frame::encode(b"{\"type\":\"hello\",\"version\":1} x"),
            RefusedReason::Malformed,
            "unreadable",
        ),
        (vec![0xff; 4], RefusedReason::Malformed, "larger"),
        (
            after_hello(host::encode(&ToEnclave::Apply { size: u32::MAX })),
            RefusedReason::Malformed,
            "larger",
        ),
        (
            after_hello([host::encode(&ToEnclave::Apply { size: 3 }), frame::encode(b"ab")].concat()),
            RefusedReason::Malformed,
            "announced 3 bytes",
        ),
        (
            after_hello([host::encode(&ToEnclave::Apply { size: 1 }), frame::encode(b"ab")].concat()),
            RefusedReason::Malformed,
            "larger",
        ),
    ];
    for (bytes, reason, words) in cases {
        let (got, message) = only_violation(&bytes);
        assert_eq!(got, reason, "{message}");
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn the_host_insists_on_welcome_first_and_on_its_version() {
    let status = FromEnclave::Pong {
        nonce: 1,
        counters: super::Counters::default(),
    };
    let other = FromEnclave::Welcome {
        version: 7,
        session: String::new(),
        boot_id: String::new(),
        bundle: None,
    };
    let hear = |messages: &[&FromEnclave]| {
        let mut conversation = host::Conversation::new();
        for message in messages {
            conversation.push(&enclave::encode(message));
        }
        let mut heard = 0;
        loop {
            match conversation.next_message() {
                Ok(Some(_)) => heard += 1,
                Ok(None) => return Ok(heard),
                Err(error) => return Err(error.to_string()),
            }
        }
    };
    assert_eq!(hear(&[&welcome(), &status]), Ok(2));
    assert!(hear(&[&status]).is_err_and(|error| error.contains("out of order")));
    assert!(hear(&[&welcome(), &welcome()]).is_err_and(|error| error.contains("out of order")));
    assert!(hear(&[&other]).is_err_and(|error| error.contains("version 7")));
}

#[test]
fn messages_look_the_same_in_every_release() {
    let digest = Digest::sha256(b"");
    let golden = [
        (
            super::json(&hello()),
            r#"{"type":"hello","version":1,"eventsAfter":0}"#.to_owned(),
        ),
        (
            super::json(&ToEnclave::Stop {
                grace_seconds: Some(5),
            }),
            r#"{"type":"stop","graceSeconds":5}"#.to_owned(),
        ),
        (
            super::json(&ToEnclave::FinishedAck {}),
            r#"{"type":"finishedAck"}"#.to_owned(),
        ),
        (
            super::json(&welcome()),
            r#"{"type":"welcome","version":1,"session":"5e","bootId":"b0"}"#.to_owned(),
        ),
        (
            super::json(&FromEnclave::NeedBlob {
                request: 2,
                digest: digest.clone(),
            }),
            format!(r#"{{"type":"needBlob","request":2,"digest":"{digest}"}}"#),
        ),
        (
            super::json(&FromEnclave::Refused {
                reason: RefusedReason::NotYourSession,
                message: "m".into(),
            }),
            r#"{"type":"refused","reason":"notYourSession","message":"m"}"#.to_owned(),
        ),
    ];
    for (bytes, text) in golden {
        assert_eq!(String::from_utf8_lossy(&bytes), text);
    }
}

proptest! {
    #[test]
    fn garbage_never_panics_either_end(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..20)) {
        let mut enclave = enclave::Conversation::new();
        let mut host = host::Conversation::new();
        for piece in &pieces {
            enclave.handle_bytes(piece);
            host.push(piece);
        }
        while let Ok(Some(_)) = host.next_message() {}
    }
}
