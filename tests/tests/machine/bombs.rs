//! F26, F27: containers that take all that the machine has, processes or memory, again and again. The right one dies, whole,
//! the status says why, and PID 1, the base services and everybody else go on. What was recorded is checked against the
//! rules of the model, as on the local back-end (`tests/tests/faults`).

use manifest_sync::plan::RestartPolicy;
use nix::sys::signal::Signal;
use rootfs::initramfs::Compression;
use serde_json::{Value, json};
use tests::history::History;
use tests::{Up, exchange, guest, pod, wait_for};

use crate::image::{image_with, ramdisks, scratch};
use crate::{machine, product_in, with};

/// Ports of the neighbour that answers, of the one that ends when it is asked, of the bomb.
const ANSWERS: u16 = 7;
const ENDS: u16 = 8;
const BOMB: u16 = 9;

/// Processes and threads of the machine: so few that they and not the memory come to an end.
const THREADS: u32 = 500;
/// What PID 1 keeps back for itself and the base services.
const RESERVED: u32 = 256;

fn listening(container: Value, port: u16) -> Value {
    with(container, "ports", json!([{"containerPort": port}]))
}

/// Connects to a container that ends then: whether an answer comes does not matter.
fn end(up: &Up, port: u16) {
    let _ = exchange(up.port(port), b"x");
}

/// Through the ingress, so through the base service `net`.
fn answers(up: &Up) {
    wait_for("an answer", || {
        let answer = exchange(up.port(ANSWERS), b"GET / HTTP/1.1\r\n\r\n").ok()?;
        answer.starts_with(b"HTTP/1.1 200 OK").then_some(())
    });
}

/// How many processes the bomb had made, each time that there was room for no other one.
fn bombs(up: &Up) -> Vec<u32> {
    let text = up.stdout();
    let counts = text.lines().filter_map(|line| {
        let (count, error) = line.split_once("no process after ")?.1.split_once(':')?;
        assert!(error.contains("Resource temporarily unavailable"), "{line}");
        count.parse().ok()
    });
    counts.collect()
}

#[test]
fn f27_a_fork_bomb_leaves_room_for_the_others_and_is_ended_whole() {
    let scratch = scratch();
    let parts = ramdisks(&machine().init, scratch.path(), None, Compression::None);
    let words = format!("sysctl.kernel.threads-max={THREADS}");
    let product = product_in(image_with(scratch.path(), parts, &words));
    let [answers_at, ends_at, bomb_at] = [ANSWERS, ENDS, BOMB].map(|port| port.to_string());
    let containers = [
        listening(guest("bomb", &["fork-bomb", &bomb_at]), BOMB),
        listening(guest("neighbour", &["http", &answers_at]), ANSWERS),
        listening(guest("ends", &["die-at", &ends_at]), ENDS),
    ];
    let spec = json!({"containers": containers, "terminationGracePeriodSeconds": 0});
    let flags = ["--publish", "0:7", "--publish", "0:8", "--publish", "0:9"];
    let mut up = Up::start(&product, &[pod(spec)], &flags);
    up.wait_running("ends");
    let counts = wait_for("a bomb", || Some(bombs(&up)).filter(|counts| !counts.is_empty()));
    println!("{counts:?} processes");
    // All that the Pod may have but its two other processes, if none was just about to begin.
    let most = THREADS - RESERVED;
    assert!((most - 50..most).contains(&counts[0]), "{counts:?}");
    let mut history = History::default();
    history.look(&up);
    answers(&up);
    // What ends is started again: starting is PID 1's, which has kept room for itself.
    end(&up, ENDS);
    assert_eq!(history.wait_ended(&up, "ends", 0).code, 9);
    up.wait_container("ends", "running again", |status| {
        status.restart_count == 1 && status.ready
    });
    assert_eq!(history.ends("bomb").len(), 0);
    // The first process ends, and thousands with it.
    end(&up, BOMB);
    let ended = history.wait_ended(&up, "bomb", 0);
    assert_eq!((ended.code, ended.reason.as_str()), (9, "Error"));
    wait_for("another bomb", || (bombs(&up).len() == 2).then_some(()));
    answers(&up);
    history.look(&up);
    history.check(RestartPolicy::Always);
    assert_eq!(up.wait_running("neighbour").restart_count, 0);
    // A bomb does not keep its Pod from ending, either.
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}

#[test]
fn f26_containers_over_their_limit_are_killed_for_it_as_often_as_they_are() {
    let product = machine();
    let limited = |name: &str, words: &[&str]| {
        with(
            guest(name, words),
            "resources",
            json!({"limits": {"memory": "32Mi"}}),
        )
    };
    let mut hoards = limited("hoards", &["do", "overfill /data/file"]);
    hoards["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let containers = [
        limited("eats", &["eat"]),
        limited("parent", &["eat-in-a-child"]),
        // A volume in memory counts, too, and outlives the container.
        hoards,
        guest("neighbour", &["sleep"]),
    ];
    let volumes = json!([{"name": "data", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}]);
    let spec = json!({"containers": containers, "volumes": volumes, "terminationGracePeriodSeconds": 0});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    let mut history = History::default();
    for name in ["eats", "parent", "hoards"] {
        // The second start comes at once, the third after 10 s.
        history.wait_ended(&up, name, 2);
        for ended in history.ends(name) {
            assert_eq!((ended.code, ended.reason.as_str()), (137, "OOMKilled"), "{name}");
        }
    }
    history.check(RestartPolicy::Always);
    assert_eq!(up.wait_running("neighbour").restart_count, 0);
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}

#[test]
fn f26_a_machine_without_memory_loses_who_takes_more_than_was_requested() {
    let product = machine();
    let go = |container: Value| {
        with(
            container,
            "volumeMounts",
            json!([{"name": "go", "mountPath": "/go"}]),
        )
    };
    // It has more than the other when there is none left, and has said so beforehand.
    let large = guest("large", &["do", "hold 125", "write /go/on x", "sleep"]);
    let large = with(large, "resources", json!({"requests": {"memory": "150Mi"}}));
    let containers = [
        go(large),
        go(guest("eats", &["do", "wait /go/on", "eat"])),
        listening(guest("neighbour", &["http", &ANSWERS.to_string()]), ANSWERS),
    ];
    let volumes = json!([{"name": "go", "emptyDir": {}}]);
    let spec = json!({"containers": containers, "volumes": volumes, "terminationGracePeriodSeconds": 0});
    let flags = ["--memory", "256", "--publish", "0:7"];
    let mut up = Up::start(&product, &[pod(spec)], &flags);
    let mut history = History::default();
    history.wait_ended(&up, "eats", 0);
    // The Pod is ready until the second end: then the ingress waits for the end of the back-off.
    answers(&up);
    history.wait_ended(&up, "eats", 1);
    for ended in history.ends("eats") {
        assert_eq!((ended.code, ended.reason.as_str()), (137, "OOMKilled"));
    }
    history.check(RestartPolicy::Always);
    for name in ["large", "neighbour"] {
        assert_eq!(history.ends(name).len(), 0, "{name}");
        assert_eq!(up.wait_running(name).restart_count, 0, "{name}");
    }
    let console = up.console();
    for service in ["net", "attest"] {
        let started = console.matches(&format!("{service}: executing")).count();
        assert_eq!(started, 1, "{service}: {console}");
    }
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}
