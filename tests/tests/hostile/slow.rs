//! Saying nothing, or one byte now and then. Others are served meanwhile.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::Duration;

use manifest_sync::config::{CONTROL_PORT, DATA_PORT};
use manifest_sync::link::StreamReply;

use crate::stage::against;
use crate::wire::Wire;

/// Between two bytes: slow enough that nothing is ever complete, fast enough that the other side is never idle.
const PACE: Duration = Duration::from_millis(250);

/// Sends one byte after the other until there is an answer or the other side hangs up; returns all that it answers.
fn dribble(wire: &mut Wire, bytes: &[u8]) -> Vec<u8> {
    let mut socket = wire.socket();
    socket.set_read_timeout(Some(PACE)).expect("a socket");
    for byte in bytes {
        let mut answer = [0];
        match socket.read(&mut answer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(count) => return answer[..count].to_vec(),
            Err(_) => return Vec::new(),
        }
        if socket.write_all(&[*byte]).is_err() {
            break;
        }
    }
    panic!("{} bytes were waited for", bytes.len());
}

/// So long that it is never complete.
fn endless() -> Vec<u8> {
    manifest_sync::frame::encode(&[b' '; 400])
}

#[test]
fn silence_instead_of_a_header() {
    against(|stage| {
        let mut silent = [CONTROL_PORT, DATA_PORT].map(|port| stage.enclave.dial(port));
        stage.assert_unharmed();
        for wire in &mut silent {
            wire.expect_only(StreamReply::Timeout);
        }
    });
}

#[test]
fn a_header_byte_by_byte() {
    against(|stage| {
        std::thread::scope(|scope| {
            for port in [CONTROL_PORT, DATA_PORT] {
                let mut wire = stage.enclave.dial(port);
                scope.spawn(move || assert_eq!(dribble(&mut wire, &endless()), [StreamReply::Timeout as u8]));
            }
            stage.assert_unharmed();
        });
    });
}

#[test]
fn silence_instead_of_hello() {
    against(|stage| {
        let mut silent = stage.enclave.control();
        stage.assert_unharmed();
        silent.expect_closed();
    });
}

#[test]
fn hello_byte_by_byte() {
    against(|stage| {
        std::thread::scope(|scope| {
            let mut wire = stage.enclave.control();
            scope.spawn(move || assert_eq!(dribble(&mut wire, &endless()), b""));
            stage.assert_unharmed();
        });
    });
}
