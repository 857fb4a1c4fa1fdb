//! F31: commands of probes in a machine of its own, where each has a cgroup: one that forks without end is killed whole.

use serde_json::json;
use tests::{Up, guest, pod, wait_for};

use crate::machine;

#[test]
fn lc_138_a_command_that_forks_without_end_is_killed_with_everything_it_started() {
    let product = machine();
    // It watches for what the command leaves, and stays alive meanwhile.
    let mut app = guest("app", &["watch-for", "bomb"]);
    app["readinessProbe"] = json!({"exec": {"command": ["/guest", "hang-and-fork", "1000000", "bomb"]},
                                   "periodSeconds": 3600});
    let neighbour = guest("neighbour", &["sleep"]);
    let spec = json!({"containers": [app, neighbour], "terminationGracePeriodSeconds": 0});
    let up = Up::start(&product, &[pod(spec)], &[]);
    up.wait_event("Unhealthy", "timed out after 1s");
    let counts = wait_for("the end of all that the command has started", || {
        let said = up.stdout();
        let counts: Vec<u32> = said
            .lines()
            .filter_map(|line| line.rsplit_once("seen ")?.1.trim().parse().ok())
            .collect();
        (counts.last() == Some(&0) && counts.len() > 1).then_some(counts)
    });
    assert!(counts.iter().any(|count| *count > 1), "{counts:?}");
    for name in ["app", "neighbour"] {
        assert_eq!(up.wait_running(name).restart_count, 0, "{name}");
    }
}
