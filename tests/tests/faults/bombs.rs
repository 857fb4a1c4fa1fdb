//! F26, F27: containers that take all they can get, of what the local back-end can bound: descriptors, the memory of a
//! volume, and its files. Processes and memory are bounded by cgroups, which only a machine of its own has.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tests::{Up, guest, pod, product, wait_for};

#[test]
fn a_full_volume_and_a_descriptor_bomb_harm_nobody_else() {
    let Some(product) = product() else { return };
    let mut full = guest("full", &["fill", "/data/file"]);
    full["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    // As many files as it has room for, each of them empty: no byte of the limit is used.
    let mut many = guest("many", &["files", "/files"]);
    many["volumeMounts"] = json!([{"name": "files", "mountPath": "/files"}]);
    // Without any limit there is a bound, too.
    let mut free = guest(
        "free",
        &["do", "mounted /free", "mounted /scratch", "wait /never"],
    );
    free["volumeMounts"] =
        json!([{"name": "free", "mountPath": "/free"}, {"name": "scratch", "mountPath": "/scratch"}]);
    let containers = [
        full,
        many,
        free,
        guest("bomb", &["descriptors"]),
        guest("quiet", &["sleep"]),
    ];
    let volumes = json!([
        {"name": "data", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "files", "emptyDir": {"sizeLimit": "64Mi"}},
        {"name": "free", "emptyDir": {"medium": "Memory"}},
        {"name": "scratch", "emptyDir": {}},
    ]);
    let spec = json!({"containers": containers, "volumes": volumes, "terminationGracePeriodSeconds": 0});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_log("full: No space left on device");
    // Of 16384 inodes the root of the volume has one.
    up.wait_log("no file after 16383: No space left on device");
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
    up.wait_log("descriptors: No file descriptors available");
    // PID 1 and everybody else go on.
    kill(Pid::from_raw(up.guest_pid("sleep")), Signal::SIGKILL).expect("alive");
    up.wait_container("quiet", "running again", |status| status.restart_count == 1);
    for name in ["full", "many", "free", "bomb"] {
        assert_eq!(up.wait_running(name).restart_count, 0);
    }
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}
