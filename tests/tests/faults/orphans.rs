//! F4: containers that end while many of their children live. The kernel ends those; each container's end is reported once,
//! as it was, and nothing stays.

use manifest_sync::plan::RestartPolicy;
use nix::sys::signal::Signal;
use serde_json::json;
use tests::history::History;
use tests::{Up, guest, pod, product, stat, wait_for};

const CHILDREN: &str = "200";

#[test]
fn containers_that_leave_many_children_behind_are_started_again_and_leave_no_zombie() {
    let Some(product) = product() else { return };
    for shared in [false, true] {
        let containers = [
            guest("leaves", &["with-children", CHILDREN, "3"]),
            guest("other", &["with-children", CHILDREN, "0"]),
            guest("quiet", &["sleep"]),
        ];
        let spec = json!({"containers": containers, "shareProcessNamespace": shared,
                          "restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 0});
        let mut up = Up::start(&product, &[pod(spec)], &[]);
        let mut history = History::default();
        for attempt in 0..3 {
            assert_eq!(
                history.wait_ended(&up, "leaves", attempt).code,
                3,
                "shared: {shared}"
            );
        }
        assert_eq!(history.wait_ended(&up, "other", 0).code, 0, "shared: {shared}");
        assert_eq!(history.ends("other").len(), 1);
        history.check(RestartPolicy::OnFailure);
        assert_eq!(up.wait_running("quiet").restart_count, 0);
        let init = up.enclave_pid().expect("it runs");
        wait_for("no zombie of PID 1's", || {
            let zombie = |pid: &i32| stat(*pid).is_some_and(|(state, _)| state == 'Z');
            (!Up::children_of(init).iter().any(zombie)).then_some(())
        });
        up.signal(Signal::SIGTERM);
        up.wait();
    }
}
