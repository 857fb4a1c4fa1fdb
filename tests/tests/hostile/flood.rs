//! More than anybody needs. What it costs the enclave is bounded, and the honest host still gets in.

use std::io::IoSlice;
use std::os::fd::AsRawFd as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use manifest_sync::config::{CONTROL_PORT, DATA_PORT};
use manifest_sync::link::StreamReply;
use manifest_sync::protocol::FromEnclave;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::json;

use crate::controller::Controller;
use crate::stage::{Stage, against_a_fresh_one, echoes};
use crate::wire::Wire;

/// Connections held open at once; fewer where this machine does not let one process have so many.
const CONNECTIONS: u64 = 10_000;
/// Descriptors that PID 1 may have on top while strangers hold connections: a handshake or a conversation has one.
const DESCRIPTORS: usize = 150;
/// Memory that PID 1 may take on top, bytes.
const MEMORY: u64 = 4 << 20;

/// One test at a time holds so many: the limit is this process's.
static HOLDING: Mutex<()> = Mutex::new(());

/// How many connections this process can hold (getrlimit(2)), as long as the guard lives.
fn as_many_as_possible() -> (u64, MutexGuard<'static, ()>) {
    let guard = HOLDING.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the hard limit");
    let many = CONNECTIONS.min(hard.saturating_sub(500));
    println!("{many} connections at once");
    (many, guard)
}

/// With all of these held, the honest host loses its connection, comes back, and reaches the Pod.
fn the_honest_host_gets_in(stage: &Stage, held: Vec<Wire>, descriptors: usize) {
    let honest = Controller::connect(&stage.enclave, Some(stage.key()));
    stage.replace(honest);
    stage.assert_unharmed();
    let now = stage.enclave.descriptors();
    assert!(
        now <= descriptors + DESCRIPTORS,
        "{now} descriptors, before {descriptors}"
    );
    drop(held);
}

#[test]
fn ten_thousand_control_connections_without_a_header() {
    against_a_fresh_one(|stage| {
        let descriptors = stage.enclave.descriptors();
        let (many, _guard) = as_many_as_possible();
        let held = (0..many).map(|_| stage.enclave.dial(CONTROL_PORT));
        the_honest_host_gets_in(stage, held.collect(), descriptors);
    });
}

#[test]
fn ten_thousand_controllers_without_a_hello() {
    against_a_fresh_one(|stage| {
        let descriptors = stage.enclave.descriptors();
        let before = stage.honest().ping().resident_bytes;
        let (many, _guard) = as_many_as_possible();
        let held = (0..many).map(|_| {
            let mut wire = stage.enclave.control();
            wire.send(b"\0\0\x10\0{");
            wire
        });
        the_honest_host_gets_in(stage, held.collect(), descriptors);
        let after = stage.honest().ping().resident_bytes;
        assert!(after <= before + MEMORY, "{after} bytes, before {before}");
    });
}

#[test]
fn ten_thousand_streams_without_a_header() {
    against_a_fresh_one(|stage| {
        let descriptors = stage.enclave.descriptors();
        let (many, _guard) = as_many_as_possible();
        let held = (0..many).map(|_| stage.enclave.dial(DATA_PORT));
        let held: Vec<_> = held.collect();
        assert_eq!(echoes(&stage.enclave, stage.key()), Ok(()));
        the_honest_host_gets_in(stage, held, descriptors);
    });
}

#[test]
fn ten_thousand_streams_to_a_port_that_is_not_there() {
    against_a_fresh_one(|stage| {
        for _ in 0..CONNECTIONS {
            let mut wire = stage.enclave.ingress(Some(stage.key()), 8);
            wire.expect_only(StreamReply::NoPod);
        }
    });
}

#[test]
fn pings_whose_answers_nobody_reads() {
    against_a_fresh_one(|stage| {
        let before = stage.honest().ping().resident_bytes;
        let ping = manifest_sync::frame::encode(json!({"type": "ping", "nonce": 1}).to_string().as_bytes());
        let many = ping.repeat(1000);
        stage.with_the_key(|_, mut wire| {
            // Answers are dropped, and who does not take one for half a minute is given up.
            let _given_up = !(0..50).all(|_| wire.send(&many));
        });
        let after = stage.honest().ping().resident_bytes;
        assert!(after <= before + MEMORY, "{after} bytes, before {before}");
    });
}

#[test]
fn a_thousand_take_overs() {
    against_a_fresh_one(|stage| {
        let descriptors = stage.enclave.descriptors();
        let held = (0..1000).map(|_| Controller::connect(&stage.enclave, Some(stage.key())).wire);
        the_honest_host_gets_in(stage, held.collect(), descriptors);
    });
}

/// SCM_RIGHTS: on a Unix socket anybody can push descriptors into whoever reads.
#[test]
fn descriptors_that_come_with_the_bytes() {
    against_a_fresh_one(|stage| {
        let before = stage.enclave.descriptors();
        let file = std::fs::File::open("/dev/null").expect("a file");
        let fds = vec![file.as_raw_fd(); 200];
        let rights = [ControlMessage::ScmRights(&fds)];
        stage.with_the_key(|_, mut wire| {
            let ping = manifest_sync::frame::encode(br#"{"type":"ping","nonce":1}"#);
            for _ in 0..20 {
                let slice = [IoSlice::new(&ping)];
                let socket = wire.socket().as_raw_fd();
                sendmsg::<()>(socket, &slice, &rights, MsgFlags::empty(), None).expect("sent");
                while !matches!(wire.hear(), Some(FromEnclave::Pong { nonce: 1, .. })) {}
            }
            let now = stage.enclave.descriptors();
            assert!(now <= before + 10, "{now} descriptors, before {before}");
        });
    });
}
