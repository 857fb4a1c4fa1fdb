//! Frames, both ends of the control conversation, and both of an exec stream: any bytes are messages or one clear refusal,
//! however they are cut into pieces, and what was understood is the same when it is said again. The first byte says how the
//! rest is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use manifest_sync::exec;
use manifest_sync::frame::{self, FrameDecoder, MAX_FRAME_BYTES};
use manifest_sync::protocol::enclave::Input;
use manifest_sync::protocol::{FromEnclave, ToEnclave, VERSION, enclave, host};
use manifest_sync::reject::MAX_TEXT_BYTES;

fuzz_target!(|bytes: &[u8]| {
    let Some((seed, bytes)) = bytes.split_first() else {
        return;
    };
    let pieces = pieces(*seed, bytes);
    frames(bytes, &pieces);
    enclave_end(bytes, &pieces);
    host_end(bytes, &pieces);
    exec_ends(bytes, &pieces);
});

/// Both ends of an exec stream, too.
fn exec_ends(bytes: &[u8], pieces: &[&[u8]]) {
    let (mut whole, mut cut) = (exec::EnclaveEnd::default(), exec::EnclaveEnd::default());
    let heard: Result<Vec<_>, _> = pieces.iter().map(|piece| cut.handle_bytes(piece)).collect();
    assert_eq!(whole.handle_bytes(bytes), heard.map(|messages| messages.concat()));
    let (mut whole, mut cut) = (exec::HostEnd::default(), exec::HostEnd::default());
    let heard: Result<Vec<_>, _> = pieces.iter().map(|piece| cut.handle_bytes(piece)).collect();
    assert_eq!(whole.handle_bytes(bytes), heard.map(|messages| messages.concat()));
}

/// Pieces of 0 to 255 bytes, in an order that only `seed` decides.
fn pieces(seed: u8, mut bytes: &[u8]) -> Vec<&[u8]> {
    let (mut pieces, mut state) = (Vec::new(), seed);
    while !bytes.is_empty() {
        state = state.wrapping_mul(29).wrapping_add(17);
        let length = usize::from(state).min(bytes.len());
        let (piece, rest) = bytes.split_at(length);
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

fn frames(bytes: &[u8], pieces: &[&[u8]]) {
    let decode = |pieces: &[&[u8]]| {
        let (mut decoder, mut frames) = (FrameDecoder::new(), Vec::new());
        for piece in pieces {
            decoder.push(piece);
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => return (frames, Err(error)),
                }
            }
        }
        (frames, Ok(decoder.pending()))
    };
    let (frames, rest) = decode(pieces);
    assert_eq!((&frames, &rest), (&decode(&[bytes]).0, &decode(&[bytes]).1));
    let written: Vec<u8> = frames.iter().flat_map(|frame| frame::encode(frame)).collect();
    assert!(bytes.starts_with(&written));
    if let Ok(pending) = rest {
        assert_eq!(written.len() + pending, bytes.len());
    }
}

fn enclave_end(bytes: &[u8], pieces: &[&[u8]]) {
    let inputs = enclave::Conversation::new().handle_bytes(bytes);
    let mut conversation = enclave::Conversation::new();
    let cut: Vec<Input> = pieces
        .iter()
        .flat_map(|piece| conversation.handle_bytes(piece))
        .collect();
    assert_eq!(cut, inputs);
    let (mut again, mut good) = (Vec::new(), 0);
    for (index, input) in inputs.iter().enumerate() {
        match input {
            Input::Hello { .. } => assert_eq!(index, 0),
            Input::Violation { .. } => {}
            _ => assert_ne!(index, 0, "heard before Hello"),
        }
        match input {
            Input::Violation { reason, message } => {
                assert_eq!(index + 1, inputs.len(), "something was heard after a violation");
                assert!(!message.is_empty() && message.len() <= MAX_TEXT_BYTES);
                let (reason, message) = (*reason, message.clone());
                let answer = FromEnclave::Refused { reason, message };
                let mut other = host::Conversation::new();
                other.push(&enclave::encode(&answer));
                assert_eq!(other.next_message().expect("an answer"), Some(answer));
                assert!(conversation.handle_bytes(b"\0\0\0\x02{}").is_empty());
            }
            heard => {
                again.extend(say(heard));
                good += 1;
            }
        }
    }
    // Our words for the same Hello name every field, so they may be too long for one.
    let hello = inputs.first().filter(|_| good > 0).map(say);
    if hello.is_none_or(|hello| hello.len() <= enclave::MAX_HELLO_BYTES) {
        assert_eq!(enclave::Conversation::new().handle_bytes(&again), inputs[..good]);
    }
}

/// What a host says to be heard like this.
fn say(input: &Input) -> Vec<u8> {
    let message = match input.clone() {
        Input::Hello {
            session,
            events_after,
        } => ToEnclave::Hello {
            version: VERSION,
            session,
            events_after,
        },
        Input::Apply { bundle } => return host::encode_apply(&bundle).expect("it was taken"),
        Input::BlobUnavailable { request, message } => ToEnclave::BlobUnavailable { request, message },
        Input::BrokerUnavailable { request, message } => ToEnclave::BrokerUnavailable { request, message },
        Input::Stop { grace_seconds } => ToEnclave::Stop { grace_seconds },
        Input::SetCondition { request, condition } => ToEnclave::SetCondition { request, condition },
        Input::FinishedAck => ToEnclave::FinishedAck {},
        Input::Ping { nonce } => ToEnclave::Ping { nonce },
        Input::Violation { .. } => unreachable!("nobody says a violation"),
    };
    host::encode(&message)
}

fn host_end(bytes: &[u8], pieces: &[&[u8]]) {
    let listen = |pieces: &[&[u8]]| {
        let (mut conversation, mut messages) = (host::Conversation::new(), Vec::new());
        for piece in pieces {
            conversation.push(piece);
            loop {
                match conversation.next_message() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(error) => return (messages, Some(error.to_string())),
                }
            }
        }
        (messages, None)
    };
    let (messages, error) = listen(pieces);
    assert_eq!((&messages, &error), (&listen(&[bytes]).0, &listen(&[bytes]).1));
    let again: Vec<u8> = messages.iter().flat_map(enclave::encode).collect();
    if again.len() < MAX_FRAME_BYTES {
        assert_eq!(listen(&[&again]), (messages, None));
    }
}
