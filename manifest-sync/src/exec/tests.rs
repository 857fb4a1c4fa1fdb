//! Both ends of an exec stream: in any pieces, in the order that is allowed, within the window, and nothing else.

use proptest::prelude::*;

use super::*;

fn request(stdin: bool) -> Request {
    Request {
        container: Some("web".to_owned()),
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), "echo $HOME".to_owned()],
        stdin,
    }
}

fn to_enclave() -> Vec<ToEnclave> {
    vec![
        ToEnclave::Request(request(true)),
        ToEnclave::Stdin(b"hello".to_vec()),
        ToEnclave::Stdin(vec![0; CHUNK_BYTES]),
        ToEnclave::StdinEnd,
    ]
}

fn from_enclave() -> Vec<FromEnclave> {
    vec![
        FromEnclave::Started(Started {
            container: "web".to_owned(),
            of: vec!["web".to_owned(), "db".to_owned()],
        }),
        FromEnclave::Stdout(vec![7; CHUNK_BYTES]),
        FromEnclave::Stderr(Vec::new()),
        FromEnclave::Taken(5),
        FromEnclave::Exited { code: 3 },
    ]
}

fn bytes_to(messages: &[ToEnclave]) -> Vec<u8> {
    messages.iter().flat_map(ToEnclave::encode).collect()
}

fn bytes_from(messages: &[FromEnclave]) -> Vec<u8> {
    messages.iter().flat_map(FromEnclave::encode).collect()
}

proptest! {
    #[test]
    fn messages_survive_any_chunking(chunk in 1usize..9000) {
        let mut enclave = EnclaveEnd::default();
        let mut heard = Vec::new();
        for piece in bytes_to(&to_enclave()).chunks(chunk) {
            heard.extend(enclave.handle_bytes(piece).expect("all is well"));
        }
        prop_assert_eq!(heard, to_enclave());
        let mut host = HostEnd::default();
        host.sending(5);
        let mut heard = Vec::new();
        for piece in bytes_from(&from_enclave()).chunks(chunk) {
            heard.extend(host.handle_bytes(piece).expect("all is well"));
        }
        prop_assert_eq!(heard, from_enclave());
    }

    #[test]
    fn any_bytes_are_messages_or_one_refusal(bytes in prop::collection::vec(any::<u8>(), 0..600), kind in 0u8..8) {
        let _ = EnclaveEnd::default().handle_bytes(&bytes);
        let _ = HostEnd::default().handle_bytes(&bytes);
        // Most of those are no frame; these are.
        let framed = message(kind, &bytes);
        if let Ok(messages) = EnclaveEnd::default().handle_bytes(&framed) {
            prop_assert_eq!(bytes_to(&messages).len(), framed.len());
        }
        let _ = HostEnd::default().handle_bytes(&framed);
    }
}

#[test]
fn what_does_not_come_now_is_refused() {
    let first = |message: &ToEnclave| EnclaveEnd::default().handle_bytes(&message.encode());
    assert_eq!(first(&ToEnclave::Stdin(vec![1])), Err(Violation::OutOfOrder));
    assert_eq!(first(&ToEnclave::StdinEnd), Err(Violation::OutOfOrder));
    let (without, with) = (
        ToEnclave::Request(request(false)),
        ToEnclave::Request(request(true)),
    );
    for messages in [
        vec![without.clone(), ToEnclave::Stdin(vec![1])],
        vec![without.clone(), ToEnclave::StdinEnd],
        vec![without.clone(), without],
        vec![with.clone(), ToEnclave::StdinEnd, ToEnclave::Stdin(vec![1])],
        vec![with.clone(), ToEnclave::StdinEnd, ToEnclave::StdinEnd],
        vec![with.clone(), with],
    ] {
        let heard = EnclaveEnd::default().handle_bytes(&bytes_to(&messages));
        assert_eq!(heard, Err(Violation::OutOfOrder), "{messages:?}");
    }
    let started = from_enclave().remove(0);
    let exited = FromEnclave::Exited { code: 0 };
    let failed = FromEnclave::Failed(Failed {
        reason: FailedReason::NotRunning,
        message: "it has ended".to_owned(),
    });
    assert!(HostEnd::default().handle_bytes(&failed.encode()).is_ok());
    for messages in [
        vec![exited.clone()],
        vec![FromEnclave::Stdout(vec![1])],
        vec![started.clone(), started.clone()],
        vec![started.clone(), failed.clone()],
        vec![started.clone(), exited.clone(), exited],
        vec![failed, started],
    ] {
        let heard = HostEnd::default().handle_bytes(&bytes_from(&messages));
        assert_eq!(heard, Err(Violation::OutOfOrder), "{messages:?}");
    }
}

#[test]
fn the_window_is_kept_on_both_sides() {
    let mut enclave = EnclaveEnd::default();
    let send = |enclave: &mut EnclaveEnd, bytes: usize| {
        enclave
            .handle_bytes(&ToEnclave::Stdin(vec![0; bytes]).encode())
            .map(drop)
    };
    let request = ToEnclave::Request(request(true)).encode();
    assert!(enclave.handle_bytes(&request).is_ok());
    assert_eq!(send(&mut enclave, STDIN_WINDOW - 5), Ok(()));
    assert_eq!(send(&mut enclave, 5), Ok(()));
    enclave.taken(7);
    assert_eq!(send(&mut enclave, 7), Ok(()));
    assert_eq!(send(&mut enclave, 1), Err(Violation::Window));

    let mut host = HostEnd::default();
    assert!(host.handle_bytes(&from_enclave()[0].encode()).is_ok());
    host.sending(STDIN_WINDOW);
    assert_eq!(host.room(), 0);
    assert!(host.handle_bytes(&FromEnclave::Taken(9).encode()).is_ok());
    assert_eq!(host.room(), 9);
    let more = u32::try_from(STDIN_WINDOW).expect("small");
    assert_eq!(
        host.handle_bytes(&FromEnclave::Taken(more).encode()),
        Err(Violation::Window)
    );
}

#[test]
fn nonsense_is_refused_before_it_is_kept() {
    let announced = u32::try_from(MAX_MESSAGE_BYTES + 1).expect("small").to_be_bytes();
    assert!(matches!(
        EnclaveEnd::default().handle_bytes(&announced),
        Err(Violation::TooLarge(_))
    ));
    for (kind, content) in [
        (REQUEST, r#"{"command":[]}"#),
        (REQUEST, r#"{"command":[""]}"#),
        (REQUEST, r#"{"command":["a\u0000b"]}"#),
        (REQUEST, r#"{"command":["a"],"user":0}"#),
        (REQUEST, r#"{"command":["a"],"command":["b"]}"#),
        (REQUEST, r#"{"command":"a"}"#),
        (REQUEST, r#"["web",["a"],false]"#),
        (REQUEST, "{}"),
        (REQUEST, "null"),
        (REQUEST, ""),
        (STDIN, ""),
        (STDIN_END, "x"),
        (3, ""),
        (255, "{}"),
    ] {
        let heard = EnclaveEnd::default().handle_bytes(&message(kind, content.as_bytes()));
        assert!(
            matches!(heard, Err(Violation::Malformed(_))),
            "{kind} {content}: {heard:?}"
        );
    }
    assert!(matches!(
        EnclaveEnd::default().handle_bytes(&frame::encode(b"")),
        Err(Violation::Malformed(_))
    ));
    for (kind, content) in [
        (TAKEN, "x"),
        (EXITED, ""),
        (EXITED, "xx"),
        (STARTED, "[]"),
        (9, ""),
    ] {
        let heard = HostEnd::default().handle_bytes(&message(kind, content.as_bytes()));
        assert!(
            matches!(heard, Err(Violation::Malformed(_))),
            "{kind} {content}: {heard:?}"
        );
    }
}

#[test]
fn a_command_that_no_message_takes_is_refused_before_it_is_sent() {
    let mut long = request(false);
    long.command.push("x".repeat(MAX_MESSAGE_BYTES));
    assert!(long.check().expect_err("too long").contains("longer than"));
}
