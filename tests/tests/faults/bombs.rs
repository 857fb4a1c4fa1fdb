//! F26, F27: containers that take all they can get, of what the local back-end can bound: descriptors, and the memory of
//! a volume. Processes and memory are bounded by cgroups, which only a machine of its own has.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tests::{Up, guest, pod, product};

#[test]
fn a_full_volume_and_a_descriptor_bomb_harm_nobody_else() {
    let Some(product) = product() else { return };
    let mut full = guest("full", &["fill", "/data/file"]);
    full["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let containers = [full, guest("bomb", &["descriptors"]), guest("quiet", &["sleep"])];
    let volumes = json!([{"name": "data", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]);
    let spec = json!({"containers": containers, "volumes": volumes, "terminationGracePeriodSeconds": 0});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_log("full: No space left on device");
    up.wait_log("descriptors: No file descriptors available");
    // PID 1 and everybody else go on.
    kill(Pid::from_raw(up.guest_pid("sleep")), Signal::SIGKILL).expect("alive");
    up.wait_container("quiet", "running again", |status| status.restart_count == 1);
    for name in ["full", "bomb"] {
        assert_eq!(up.wait_running(name).restart_count, 0);
    }
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}
