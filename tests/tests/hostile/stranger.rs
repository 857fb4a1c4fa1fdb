//! Without the session key: any process of the host's node that reaches the link.

use manifest_sync::config::{CONTROL_PORT, DATA_PORT};
use manifest_sync::link::{StreamKind, StreamReply};
use manifest_sync::protocol::RefusedReason;
use serde_json::json;

use crate::controller::hello;
use crate::stage::{PORT, against, assert_no_key};

/// A header as text, on both ports, is answered so.
fn header_is_answered(header: &[u8], reply: StreamReply) {
    headers_are_answered(&[header], reply);
}

fn headers_are_answered(headers: &[&[u8]], reply: StreamReply) {
    against(|stage| {
        for header in headers {
            for port in [CONTROL_PORT, DATA_PORT] {
                let mut wire = stage.enclave.dial(port);
                wire.frame(header);
                wire.expect_only(reply);
            }
        }
    });
}

#[test]
fn a_header_of_version_0() {
    header_is_answered(
        br#"{"version":0,"stream":{"kind":"control"}}"#,
        StreamReply::Version,
    );
}

#[test]
fn a_header_of_the_next_version_with_fields_of_its_own() {
    header_is_answered(br#"{"version":2,"fast":true}"#, StreamReply::Version);
}

#[test]
fn a_header_of_the_largest_version() {
    header_is_answered(
        br#"{"version":4294967295,"stream":{"kind":"control"}}"#,
        StreamReply::Version,
    );
}

#[test]
fn a_header_with_a_stream_that_does_not_exist() {
    header_is_answered(
        br#"{"version":1,"stream":{"kind":"shell"}}"#,
        StreamReply::Malformed,
    );
}

#[test]
fn a_header_with_an_unknown_field() {
    header_is_answered(
        br#"{"version":1,"stream":{"kind":"control"},"uid":0}"#,
        StreamReply::Malformed,
    );
}

#[test]
fn a_header_that_says_its_stream_twice() {
    header_is_answered(
        br#"{"version":1,"stream":{"kind":"control"},"stream":{"kind":"logs","after":0,"follow":true}}"#,
        StreamReply::Malformed,
    );
}

#[test]
fn a_header_that_is_a_list() {
    let lists: [&[u8]; 2] = [
        br#"[1,null,["control"]]"#,
        br#"{"version":1,"stream":["control"]}"#,
    ];
    headers_are_answered(&lists, StreamReply::Malformed);
}

#[test]
fn a_header_that_is_empty() {
    header_is_answered(b"", StreamReply::Malformed);
}

#[test]
fn a_header_that_is_no_json() {
    header_is_answered(&[0x80; 4096], StreamReply::Malformed);
}

#[test]
fn a_header_that_is_too_large() {
    against(|stage| {
        for (port, announced) in [
            (CONTROL_PORT, 4097_u32),
            (CONTROL_PORT, u32::MAX),
            (DATA_PORT, 4097),
            (DATA_PORT, u32::MAX),
        ] {
            let mut wire = stage.enclave.dial(port);
            wire.send(&announced.to_be_bytes());
            // Refused by its length: nothing of it needs to come.
            wire.expect_only(StreamReply::Malformed);
        }
    });
}

#[test]
fn a_header_that_ends_in_the_middle() {
    against(|stage| {
        for port in [CONTROL_PORT, DATA_PORT] {
            let mut wire = stage.enclave.dial(port);
            wire.send(b"\0\0\0\x40{\"version\":1,");
            wire.socket()
                .shutdown(std::net::Shutdown::Write)
                .expect("connected");
            wire.expect_only(StreamReply::Malformed);
        }
    });
}

#[test]
fn a_second_controller() {
    against(|stage| {
        let _connected = stage.honest();
        let mut wire = stage.enclave.control();
        wire.say(&hello(None));
        wire.expect_refused(RefusedReason::NotYourSession, "another controller");
    });
}

#[test]
fn a_forged_session_key() {
    against(|stage| {
        let key = stage.key();
        let zeros = "0".repeat(key.len());
        for forged in [
            "",
            &key[1..],
            &key[..key.len() - 1],
            &format!("{key}0"),
            &format!("{key}\0"),
            &format!(" {key}"),
            &key.to_uppercase(),
            &zeros,
            &"f".repeat(1 << 10),
        ] {
            assert_ne!(forged, key, "a key of digits only: look again");
            assert_no_key(&stage.enclave, forged);
            for kind in [
                StreamKind::Exec {},
                StreamKind::Blob { request: 1, size: 1 },
                StreamKind::Ingress {
                    port: PORT,
                    client: None,
                },
            ] {
                let mut wire = stage.enclave.stream(Some(forged), kind);
                wire.expect_only(StreamReply::NotYourSession);
            }
            let mut wire = stage.enclave.ingress(Some(forged), PORT);
            wire.expect_only(StreamReply::NotYourSession);
        }
    });
}

#[test]
fn logs_without_the_session_key() {
    against(|stage| {
        let kind = StreamKind::Logs {
            container: None,
            after: 0,
            follow: false,
        };
        let mut wire = stage.enclave.stream(None, kind);
        wire.expect_only(StreamReply::NotYourSession);
    });
}

#[test]
fn a_blob_without_the_session_key() {
    against(|stage| {
        let mut wire = stage
            .enclave
            .stream(None, StreamKind::Blob { request: 1, size: 1 });
        wire.expect_only(StreamReply::NotYourSession);
    });
}

#[test]
fn ingress_without_the_session_key() {
    against(|stage| {
        let mut wire = stage.enclave.ingress(None, PORT);
        wire.expect_only(StreamReply::NotYourSession);
    });
}

#[test]
fn a_message_before_hello() {
    against(|stage| {
        for message in [
            json!({"type": "apply", "size": 10}),
            json!({"type": "stop", "graceSeconds": 0}),
            json!({"type": "ping", "nonce": 1}),
            json!({"type": "finishedAck"}),
            json!({"type": "blobUnavailable", "request": 1, "message": "no"}),
        ] {
            let mut wire = stage.enclave.control();
            wire.say(&message);
            wire.expect_refused(RefusedReason::Malformed, "the first message must be Hello");
        }
    });
}

#[test]
fn hello_of_another_version() {
    against(|stage| {
        for version in [0_u32, 2, u32::MAX] {
            let mut wire = stage.enclave.control();
            wire.say(&json!({"type": "hello", "version": version}));
            wire.expect_refused(
                RefusedReason::Version,
                &format!("version {version} is not spoken here: use version 1"),
            );
        }
    });
}

#[test]
fn hello_of_another_version_with_the_session_key() {
    against(|stage| {
        let mut wire = stage.enclave.control();
        wire.say(&json!({"type": "hello", "version": 2, "session": stage.key(), "resume": true}));
        wire.expect_refused(RefusedReason::Version, "version 2 is not spoken here");
    });
}

#[test]
fn hello_with_a_version_that_is_no_number_of_ours() {
    against(|stage| {
        for version in [
            json!(-1),
            json!(1.0),
            json!("1"),
            json!(4_294_967_296_u64),
            json!(null),
            json!([1]),
        ] {
            let mut wire = stage.enclave.control();
            wire.say(&json!({"type": "hello", "version": version, "session": stage.key()}));
            wire.expect_refused(RefusedReason::Malformed, "unreadable message");
        }
    });
}

#[test]
fn a_first_frame_larger_than_any_hello() {
    against(|stage| {
        for announced in [4097_u32, (1 << 20) + 1, u32::MAX] {
            let mut wire = stage.enclave.control();
            wire.send(&announced.to_be_bytes());
            wire.expect_refused(RefusedReason::Malformed, "is larger than the 4096");
        }
    });
}
