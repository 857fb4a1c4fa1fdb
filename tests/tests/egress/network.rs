//! `toCIDR`: a network of the other side is reached by address, and every byte arrives.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use manifest_sync::digest::Digest;
use serde_json::json;
use tests::{Up, guest, pod, product};

use crate::outer::{self, ADDRESS};
use crate::{metric, policy};

#[test]
fn a_network_is_reached_by_address_and_carries_every_byte() {
    let Some(product) = product() else { return };
    if !outer::enter() {
        return;
    }
    let listener = TcpListener::bind((ADDRESS, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    // It answers with the digest of what it was told.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all);
            let _ = stream.write_all(Digest::sha256(&all).hex().as_bytes());
        }
    });
    // Below what one argument of a program may have (execve(2)).
    let text: String = (0..20_000_u32)
        .map(|number| format!("{:05}", number.wrapping_mul(48_271) % 100_000))
        .collect();
    let digest = Digest::sha256(text.as_bytes()).hex().to_owned();
    let call = guest("calls", &["call", ADDRESS, &port.to_string(), &text]);
    // The same network, at a port that is not allowed.
    let wrong = guest("wrong", &["call", ADDRESS, "1", "x"]);
    let rules = json!([{"toCIDR": ["10.20.0.0/16"],
                        "toPorts": [{"ports": [{"port": port.to_string(), "protocol": "TCP"}]}]}]);
    let spec = json!({"restartPolicy": "Never", "containers": [call, wrong, guest("stays", &["sleep"])]});
    let flags = ["--egress-local", "10.20.0.0/16"];
    let up = Up::start(&product, &[pod(spec), policy(&rules)], &flags);
    up.wait_log(&format!("{ADDRESS}: answer {digest}"));
    up.wait_log(&format!("{ADDRESS}: error ConnectionRefused"));
    let carried = |direction: &str| {
        metric(
            &up,
            &format!("cloister_egress_bytes_total{{direction=\"{direction}\"}}"),
        )
    };
    tests::wait_for("the bytes to be counted", || {
        let counts = (carried("out"), carried("in"));
        (counts == (text.len() as u64, digest.len() as u64)).then_some(())
    });
    assert_eq!(metric(&up, "cloister_egress_connections_total"), 1);
}
