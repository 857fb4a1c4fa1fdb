//! F36 in numbers: ten thousand connections to a server that never answers, and TLS that takes its time. What hangs has a
//! deadline, its slot is free afterwards, and whoever wants to go somewhere else is served meanwhile.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::json;
use tests::{Up, guest, pod, product, wait_for};

use crate::{metric, names, policy, wait_event, world};

/// More than there are slots for, by far.
const CONNECTIONS: &str = "10000";

/// A port where the kernel leaves requests without an answer: its queue is full (listen(2)).
fn black_hole() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let place = listener.local_addr().expect("an address");
    let patience = Duration::from_millis(300);
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&place, patience) {
        queue.push(stream);
    }
    (listener, queue)
}

/// A TLS server that is connected and answers at this pace, or never. Its threads end with the test binary.
fn slow_server(pace: Option<Duration>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                while let Some(pace) = pace {
                    if stream.write_all(&[0x16]).is_err() {
                        return;
                    }
                    std::thread::sleep(pace);
                }
                // Until the other side ends.
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    port
}

/// What is open, of both sides' counts.
fn nothing_is_open(up: &Up) {
    wait_for("no open connection", || {
        let refused: u64 = up
            .metrics()
            .lines()
            .filter(|line| line.starts_with("cloister_egress_refused_connections_total{"))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
            .sum();
        println!(
            "{} wanted, {refused} refused",
            metric(up, "cloister_egress_connections_total")
        );
        (metric(up, "cloister_egress_open_connections") == 0).then_some(())
    });
}

#[test]
fn f36_ten_thousand_half_open_connections_leave_room_for_others_and_end() {
    let Some(product) = product() else { return };
    let (hole, _queue) = black_hole();
    let black = hole.local_addr().expect("an address").port();
    let good = world::server(b"", false);
    let (black_text, good_text) = (black.to_string(), good.to_string());
    let mut flags: Vec<String> = world::LOCAL.map(str::to_owned).to_vec();
    flags.extend(world::resolve(&["hole.example"], black));
    flags.extend(world::resolve(&["good.example"], good));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let rules = json!([
        names(&["hole.example"], &[black]),
        names(&["good.example"], &[good])
    ]);
    let spec = json!({"containers": [
        guest("watch", &["watch-port", "good.example", &good_text]),
        guest("many", &["half-open", "hole.example", &black_text, CONNECTIONS]),
    ], "restartPolicy": "Never", "terminationGracePeriodSeconds": 0});
    let up = Up::start(&product, &[pod(spec), policy(&rules)], &flags);
    up.wait_log("good.example works");
    up.wait_log(&format!("half-open: {CONNECTIONS} begun"));
    wait_event(
        &up,
        Some("many"),
        "EgressFailed",
        "too many connections to it wait for its answer",
    );
    up.wait_log("half-open: 0 are left");
    let late = metric(
        &up,
        "cloister_egress_refused_connections_total{reason=\"Timeout\"}",
    );
    println!("{late} were given up by host-proxy");
    assert!((100..=1024).contains(&late), "{late}");
    // It called all the time, and never in vain.
    assert!(!up.stdout().contains("good.example fails"), "{}", up.stdout());
    up.wait_log("half-open: room again true");
    drop(hole);
}

#[test]
fn f36_slow_tls_holds_no_slot_for_ever() {
    let Some(product) = product() else { return };
    let (mute, slow) = (slow_server(None), slow_server(Some(Duration::from_secs(1))));
    let good = world::server(b"", true);
    let [mute_text, slow_text, good_text] = [mute, slow, good].map(|port| port.to_string());
    let mut flags: Vec<String> = world::LOCAL.map(str::to_owned).to_vec();
    flags.extend(world::resolve(&["mute.example", "drips.example"], mute));
    flags.extend(world::resolve(&["slow.example"], slow));
    flags.extend(world::resolve(&["good.example"], good));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let rules = json!([
        names(&["mute.example", "drips.example"], &[mute]),
        names(&["slow.example"], &[slow]),
        names(&["good.example"], &[good]),
    ]);
    let spec = json!({"restartPolicy": "Never", "containers": [
        // Its server's name is awaited: that has an end.
        guest("drips", &["hello", "drips.example", &mute_text, "slow"]),
        // A server's silence is its client's affair, and ends with it.
        guest("mute", &["hello", "mute.example", &mute_text, "whole"]),
        guest("slow", &["hello", "slow.example", &slow_text, "whole"]),
        guest("good", &["call", "good.example", &good_text, "question"]),
        guest("stays", &["sleep"]),
    ]});
    let up = Up::start(&product, &[pod(spec), policy(&rules)], &flags);
    up.wait_log("good.example: answer question");
    up.wait_log("hello mute.example: said, and gives up after 0 bytes");
    up.wait_log("hello slow.example: said, and gives up after 1 bytes");
    up.wait_log("hello drips.example: cut off");
    assert_eq!(metric(&up, "cloister_egress_connections_total"), 4);
    nothing_is_open(&up);
}
