//! F35, F36 on the host's side: name servers that are silent, lie or change their mind, and servers that do not answer. A
//! lookup or a connection that hangs costs its own program time and nobody else anything.

use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tests::{Up, guest, pod, product};

use crate::outer::{self, ADDRESS, Question};
use crate::{metric, names, policy, wait_event, world};

const A: u16 = 1;
const CNAME: u16 = 5;
/// Containers whose names nobody answers for.
const SILENT: usize = 40;
/// Containers whose server does not answer.
const HOLES: usize = 30;
/// How often `changing` was asked for.
static CHANGES: AtomicU32 = AtomicU32::new(0);

fn answer(question: &Question, over_tcp: bool) -> Option<Vec<u8>> {
    let address = |text: &str| {
        let address: std::net::Ipv4Addr = text.parse().expect("an address");
        (A, address.octets().to_vec())
    };
    if question.kind != A && !question.name.starts_with("silent") {
        return Some(question.answer(0, false, &[]));
    }
    let host = question.name.split('.').next()?;
    Some(match host {
        "good" => question.answer(0, false, &[address(ADDRESS)]),
        "large" if !over_tcp => question.answer(0, true, &[]),
        // 64 KiB: as many as a message of DNS can have.
        "large" => question.answer(0, false, &vec![address(ADDRESS); 4090]),
        // Its canonical name is itself.
        "loop" => question.answer(0, false, &[(CNAME, vec![0xc0, 12])]),
        "changing" if CHANGES.fetch_add(1, Ordering::Relaxed) == 0 => {
            question.answer(0, false, &[address(ADDRESS)])
        }
        // Where cloud machines find their credentials.
        "changing" => question.answer(0, false, &[address("169.254.169.254")]),
        _ if host.starts_with("silent") => return None,
        _ => question.answer(3, false, &[]),
    })
}

fn rules(port: u16) -> Value {
    json!([names(&["*.egress.example"], &[port])])
}

fn call(name: &str, host: &str, port: u16) -> Value {
    guest(name, &["call", host, &port.to_string(), "question"])
}

#[test]
fn f35_a_silent_or_lying_name_server_harms_only_who_asks_for_its_names() {
    let Some(product) = product() else { return };
    if !outer::enter() {
        return;
    }
    let scratch = tempfile::tempdir().expect("a scratch directory");
    outer::resolver(scratch.path(), answer);
    let port = world::server_at(ADDRESS, b"", true);
    let mut containers: Vec<Value> = (0..SILENT)
        .map(|index| {
            call(
                &format!("silent{index}"),
                &format!("silent{index}.egress.example"),
                port,
            )
        })
        .collect();
    containers.extend(
        ["good", "large", "loop", "missing"].map(|name| call(name, &format!("{name}.egress.example"), port)),
    );
    let mut changing = call("changing", "changing.egress.example", port);
    changing["restartPolicy"] = json!("Always");
    containers.push(changing);
    let spec = json!({"restartPolicy": "Never", "containers": containers});
    let flags = ["--egress-local", "10.20.0.0/16"];
    let up = Up::start(&product, &[pod(spec), policy(&rules(port))], &flags);
    up.wait_log("good.egress.example: answer question");
    up.wait_log("large.egress.example: answer question");
    up.wait_log("changing.egress.example: answer question");
    up.wait_event("EgressFailed", "missing.egress.example");
    up.wait_event("EgressFailed", "no such name");
    wait_event(&up, Some("changing"), "EgressDenied", "changing.egress.example");
    // Events of failures are limited; what the programs saw is not.
    up.wait_event("EgressFailed", "no answer in time");
    tests::wait_for("all who asked a silent server to be told", || {
        (up.stdout().matches("error ConnectionReset").count() >= SILENT + 2).then_some(())
    });
    // Whoever has waited in vain holds nothing any more.
    tests::wait_for("no open connection", || {
        (metric(&up, "cloister_egress_open_connections") == 0).then_some(())
    });
}

#[test]
fn f36_a_server_that_does_not_answer_is_given_up_and_its_slot_is_free() {
    let Some(product) = product() else { return };
    if !outer::enter() {
        return;
    }
    // A queue that is full: the kernel leaves connection requests without an answer (listen(2)).
    let hole = TcpListener::bind((ADDRESS, 0)).expect("a port");
    let black = hole.local_addr().expect("an address").port();
    let _queue = fill(black);
    let refuses = {
        let listener = TcpListener::bind((ADDRESS, 0)).expect("a port");
        listener.local_addr().expect("an address").port()
    };
    let port = world::server_at(ADDRESS, b"", true);
    // Says nothing when spoken to.
    let mute = TcpListener::bind((ADDRESS, 0)).expect("a port");
    let mute_port = mute.local_addr().expect("an address").port();
    let mut containers: Vec<Value> = (0..HOLES)
        .map(|index| call(&format!("hole{index}"), ADDRESS, black))
        .collect();
    containers.push(call("refused", ADDRESS, refuses));
    containers.push(call("mute", ADDRESS, mute_port));
    containers.push(call("good", ADDRESS, port));
    let ports = [black, refuses, mute_port, port].map(|port| json!({"port": port.to_string()}));
    let rules = json!([{"toCIDR": ["10.20.0.0/16"], "toPorts": [{"ports": ports}]}]);
    let spec = json!({"restartPolicy": "Never", "containers": containers});
    let flags = ["--egress-local", "10.20.0.0/16"];
    let up = Up::start(&product, &[pod(spec), policy(&rules)], &flags);
    // While the others hang.
    up.wait_log(&format!("{ADDRESS}: answer question"));
    wait_event(&up, Some("refused"), "EgressFailed", "connection refused");
    up.wait_event("EgressFailed", "no answer in time");
    tests::wait_for("all who waited in vain to be told", || {
        (up.stdout().matches("error ConnectionReset").count() == HOLES + 1).then_some(())
    });
    // One connection is left: the server that is connected and silent.
    tests::wait_for("the slots of the others", || {
        (metric(&up, "cloister_egress_open_connections") == 1).then_some(())
    });
    drop(mute);
}

/// Connections until none is answered any more.
fn fill(port: u16) -> Vec<TcpStream> {
    let place = format!("{ADDRESS}:{port}").parse().expect("an address");
    let patience = std::time::Duration::from_millis(300);
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&place, patience) {
        queue.push(stream);
    }
    queue
}
