//! With the session key: the host's own position in the control conversation.

use manifest_sync::link::{StreamKind, StreamReply};
use manifest_sync::protocol::{FromEnclave, RefusedReason};
use serde_json::json;
use tests::wait_for;

use crate::controller::{Controller, hello};
use crate::enclave::Enclave;
use crate::stage::{PORT, against, against_with_the_key, bundle, container, refused};
use crate::wire::Wire;

/// Bytes after Hello end the conversation so; the container is not even disturbed.
fn bytes_are_refused(bytes: &[u8], words: &str) {
    against_with_the_key(|_, mut wire| {
        wire.send(bytes);
        wire.expect_refused(RefusedReason::Malformed, words);
    });
}

fn message_is_refused(message: impl AsRef<[u8]>, words: &str) {
    bytes_are_refused(&manifest_sync::frame::encode(message.as_ref()), words);
}

#[test]
fn a_frame_of_one_byte_too_many() {
    bytes_are_refused(&((1_u32 << 20) + 1).to_be_bytes(), "a frame of 1048577 bytes");
}

#[test]
fn a_frame_of_four_gigabytes() {
    bytes_are_refused(&u32::MAX.to_be_bytes(), "a frame of 4294967295 bytes");
}

#[test]
fn a_frame_of_nothing() {
    bytes_are_refused(&[0; 4], "unreadable message: not valid JSON: EOF");
}

#[test]
fn a_frame_with_more_behind_its_message() {
    message_is_refused(br#"{"type":"ping","nonce":1}{}"#, "more bytes follow the message");
}

#[test]
fn a_message_of_an_unknown_type() {
    message_is_refused(
        br#"{"type":"exec","command":["/bin/sh"]}"#,
        "unknown variant `exec`",
    );
}

#[test]
fn a_message_with_an_unknown_field() {
    message_is_refused(
        br#"{"type":"stop","graceSeconds":0,"force":true}"#,
        "unknown field `force`",
    );
}

#[test]
fn a_message_with_a_field_twice() {
    message_is_refused(
        br#"{"type":"ping","nonce":1,"nonce":2}"#,
        "the key `nonce` appears twice",
    );
}

#[test]
fn a_message_with_two_types() {
    message_is_refused(
        br#"{"type":"ping","type":"stop","nonce":2}"#,
        "the key `type` appears twice",
    );
}

#[test]
fn a_message_that_is_a_list() {
    message_is_refused(br#"["stop",0]"#, "it is no JSON object");
}

#[test]
fn a_message_of_a_hundred_thousand_brackets() {
    let nested = format!(r#"{{"type":"ping","nonce":{}"#, "[".repeat(100_000));
    message_is_refused(nested, "the message is nested deeper than 64 levels");
}

#[test]
fn a_message_that_is_not_utf_8() {
    message_is_refused(
        b"{\"type\":\"blobUnavailable\",\"request\":1,\"message\":\"\xff\xfe\"}",
        "the message is not UTF-8",
    );
}

#[test]
fn hello_twice() {
    against(|stage| {
        stage.with_the_key(|_, mut wire| {
            wire.say(&hello(Some(stage.key())));
            wire.expect_refused(RefusedReason::Malformed, "Hello may be said only once");
        });
    });
}

#[test]
fn a_grace_period_that_is_none() {
    against(|stage| {
        for grace in ["-1", "0.5", "4294967296", "1e9", "\"0\""] {
            stage.with_the_key(|_, mut wire| {
                wire.frame(format!(r#"{{"type":"stop","graceSeconds":{grace}}}"#));
                wire.expect_refused(RefusedReason::Malformed, "unreadable message");
            });
        }
    });
}

#[test]
fn a_frame_that_stops_in_the_middle() {
    against_with_the_key(|enclave, mut wire| {
        let stop = json!({"type": "stop", "graceSeconds": 0}).to_string();
        let frame = manifest_sync::frame::encode(stop.as_bytes());
        wire.send(&frame[..frame.len() - 1]);
        hang_up(enclave, wire);
    });
}

#[test]
fn a_bundle_that_stops_in_the_middle() {
    against_with_the_key(|enclave, mut wire| {
        wire.say(&json!({"type": "apply", "size": 1000}));
        wire.send(&1000_u32.to_be_bytes());
        wire.send(&[b' '; 999]);
        hang_up(enclave, wire);
    });
}

/// The connection is gone, and PID 1 has let go of it.
fn hang_up(enclave: &Enclave, wire: Wire) {
    let open = enclave.descriptors();
    drop(wire);
    wait_for("PID 1 to close the connection", || {
        (enclave.descriptors() < open).then_some(())
    });
}

#[test]
fn less_than_apply_has_announced() {
    against_with_the_key(|_, mut wire| {
        wire.say(&json!({"type": "apply", "size": 100}));
        wire.frame([b' '; 50]);
        wire.expect_refused(RefusedReason::Malformed, "Apply announced 100 bytes and 50 came");
    });
}

#[test]
fn more_than_apply_has_announced() {
    against_with_the_key(|_, mut wire| {
        wire.say(&json!({"type": "apply", "size": 100}));
        wire.frame([b' '; 101]);
        wire.expect_refused(
            RefusedReason::Malformed,
            "a frame of 101 bytes is larger than the 100",
        );
    });
}

#[test]
fn bytes_behind_the_bundle() {
    against_with_the_key(|_, mut wire| {
        wire.say(&json!({"type": "apply", "size": 2}));
        wire.frame("{}");
        wire.send(b"\0\0\0\x02{}");
        assert!(matches!(next_answer(&mut wire), FromEnclave::Rejected { .. }));
        wire.expect_refused(RefusedReason::Malformed, "missing field `type`");
    });
}

/// The next message that is no news of the Pod.
fn next_answer(wire: &mut Wire) -> FromEnclave {
    loop {
        match wire.hear().expect("an answer") {
            FromEnclave::Status { .. } | FromEnclave::Event { .. } => {}
            answer => return answer,
        }
    }
}

#[test]
fn apply_of_more_than_any_bundle() {
    against_with_the_key(|_, mut wire| {
        wire.say(&json!({"type": "apply", "size": u32::MAX}));
        wire.expect_refused(RefusedReason::Malformed, "a bundle of 4294967295 bytes is larger");
    });
}

#[test]
fn a_bundle_of_one_byte_too_many() {
    against_with_the_key(|_, mut wire| {
        let size = manifest_sync::bundle::MAX_BYTES + 1;
        wire.say(&json!({"type": "apply", "size": size}));
        wire.frame(format!("{{}}{}", " ".repeat(size - 2)));
        let FromEnclave::Rejected { rejection } = next_answer(&mut wire) else {
            panic!("not rejected")
        };
        assert_eq!(
            rejection.errors[0].message,
            "has 4194305 bytes; at most 4194304 are accepted"
        );
    });
}

#[test]
fn the_end_acknowledged_before_it_has_come() {
    against_with_the_key(|enclave, mut wire| {
        for _ in 0..100 {
            wire.say(&json!({"type": "finishedAck"}));
        }
        wire.say(&json!({"type": "ping", "nonce": 1}));
        assert!(matches!(
            next_answer(&mut wire),
            FromEnclave::Pong { nonce: 1, .. }
        ));
        assert!(enclave.is_alive());
    });
}

#[test]
fn blobs_that_nobody_asked_for_are_not_to_be_had() {
    against_with_the_key(|_, mut wire| {
        for request in [0, 1, 2, u64::MAX] {
            wire.say(
                &json!({"type": "blobUnavailable", "request": request, "message": "\u{1b}[2J".repeat(1000)}),
            );
        }
        wire.say(&json!({"type": "ping", "nonce": 1}));
        assert!(matches!(
            next_answer(&mut wire),
            FromEnclave::Pong { nonce: 1, .. }
        ));
    });
}

#[test]
fn a_message_of_a_controller_that_was_superseded() {
    against(|stage| {
        stage.with_the_key(|enclave, mut old| {
            let _new = Controller::connect(enclave, Some(stage.key()));
            // What is said afterwards is heard by nobody, so the Pod is not stopped.
            old.say(&json!({"type": "stop", "graceSeconds": 0}));
            old.expect_refused(RefusedReason::Superseded, "has taken over");
        });
    });
}

#[test]
fn ingress_over_the_control_port() {
    against(|stage| {
        let kind = StreamKind::Ingress {
            port: PORT,
            client: None,
        };
        let mut wire = stage.enclave.stream(Some(stage.key()), kind);
        wire.expect_only(StreamReply::Malformed);
    });
}

#[test]
fn control_over_the_data_port() {
    against(|stage| {
        for kind in [
            StreamKind::Control {},
            StreamKind::Blob { request: 1, size: 1 },
            StreamKind::Logs {
                container: None,
                after: 0,
                follow: true,
            },
        ] {
            let mut wire = stage.enclave.dial(manifest_sync::config::DATA_PORT);
            wire.header(Some(stage.key()), kind);
            wire.expect_only(StreamReply::Malformed);
        }
    });
}

#[test]
fn another_bundle_while_one_runs() {
    against(|stage| {
        let other = container(&stage.product, "intruder", &["sleep"]);
        let other = bundle(&[tests::pod(json!({"containers": [other]}))]);
        stage.with_the_key(|enclave, wire| {
            drop(wire);
            let mut host = Controller::connect(enclave, Some(stage.key()));
            let rejection = host.apply(&other).expect_err("another bundle");
            assert!(
                rejection.errors[0]
                    .message
                    .starts_with("pod updates may not change fields other than"),
                "{rejection}"
            );
            assert!(host.container("intruder").is_none() && !enclave.runs("sleep"));
        });
    });
}

#[test]
fn stop_again_and_again_with_absurd_grace_periods() {
    refused(|product| {
        let stage = crate::stage::Stage::start(product);
        let mut honest = stage.honest();
        for _ in 0..10_000 {
            honest
                .wire
                .say(&json!({"type": "stop", "graceSeconds": u32::MAX}));
        }
        honest.wire.say(&json!({"type": "stop", "graceSeconds": 0}));
        let enclave = &stage.enclave;
        honest.until(enclave, &mut |_, _, _, _| None, "the end", |host| {
            host.finished.is_some()
        });
        assert_eq!(honest.finished, Some(0), "{:?}", honest.report);
        honest.wire.say(&json!({"type": "finishedAck"}));
        wait_for("the enclave to end", || (!enclave.is_alive()).then_some(()));
        assert!(!enclave.console().contains("panic"), "{}", enclave.console());
    });
}
