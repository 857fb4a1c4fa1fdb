//! F26, F27: containers that take all they can get, again and again, of what the local back-end can bound: descriptors, the
//! memory of a volume, and its files. Processes and memory are bounded by cgroups, which only a machine of its own has
//! (`tests/tests/machine/bombs.rs`).

use manifest_sync::plan::RestartPolicy;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::history::History;
use tests::{Up, guest, pod, product, wait_for};

/// Ends of each: the second start comes at once, the third after 10 s.
const ENDS: usize = 3;

/// A container that does these steps with a volume of its own.
fn with_volume(name: &str, steps: &[&str]) -> Value {
    let words: Vec<&str> = ["do"].into_iter().chain(steps.iter().copied()).collect();
    let mut container = guest(name, &words);
    container["volumeMounts"] = json!([{"name": name, "mountPath": format!("/{name}")}]);
    container
}

#[test]
fn full_volumes_and_a_descriptor_bomb_harm_nobody_else_however_often_they_come() {
    let Some(product) = product() else { return };
    // Without any limit there is a bound, too.
    let mut free = with_volume("free", &["mounted /free", "mounted /scratch", "wait /never"]);
    let mounts = free["volumeMounts"].as_array_mut().expect("a list");
    mounts.push(json!({"name": "scratch", "mountPath": "/scratch"}));
    let containers = [
        with_volume("full", &["overfill /full/file", "exit 3"]),
        // As many files as it has room for, each of them empty: no byte of the limit is used.
        with_volume("many", &["files /many", "exit 4"]),
        guest("bomb", &["do", "descriptors", "exit 5"]),
        free,
        guest("quiet", &["sleep"]),
    ];
    let volumes = json!([
        {"name": "full", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "many", "emptyDir": {"sizeLimit": "64Mi"}},
        {"name": "free", "emptyDir": {"medium": "Memory"}},
        {"name": "scratch", "emptyDir": {}},
    ]);
    let spec = json!({"containers": containers, "volumes": volumes, "terminationGracePeriodSeconds": 0});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    let mut history = History::default();
    for path in ["/free", "/scratch"] {
        let line = wait_for("the mount options", || {
            let text = up.stdout();
            let mut lines = text.lines();
            lines
                .find(|line| line.contains(&format!("{path} is tmpfs")))
                .map(str::to_owned)
        });
        assert!(line.contains("nr_inodes="), "{line}");
    }
    // PID 1 and everybody else go on.
    kill(Pid::from_raw(up.guest_pid("sleep")), Signal::SIGKILL).expect("alive");
    assert_eq!(history.wait_ended(&up, "quiet", 0).code, 137);
    for (name, code) in [("full", 3), ("many", 4), ("bomb", 5)] {
        history.wait_ended(&up, name, ENDS - 1);
        for ended in history.ends(name) {
            assert_eq!((ended.code, ended.reason.as_str()), (code, "Error"), "{name}");
        }
    }
    history.check(RestartPolicy::Always);
    // What is in a volume outlives its containers: it is full each time.
    for line in [
        "full: No space left on device",
        // Of 16384 inodes the root of the volume has one.
        "no file after 16383: No space left on device",
        "descriptors: No file descriptors available",
    ] {
        wait_for(&format!("{line:?} from each of them"), || {
            (up.stdout().matches(line).count() == ENDS).then_some(())
        });
    }
    assert_eq!(up.wait_running("quiet").restart_count, 1);
    assert_eq!(up.wait_running("free").restart_count, 0);
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}
