//! Limits: what a kubelet would write into cgroups, what happens to a container that wants more (F26; again and again in
//! `bombs`), the machine's own size.

use manifest_sync::config::EnclaveConfig;
use manifest_sync::status::{ContainerState, ContainerStatus};
use serde_json::{Value, json};
use tests::{Up, guest, pod, wait_for};

use crate::image::{configured, scratch};
use crate::{lines_of, machine, measured, says, with};

#[test]
fn cgroups_hold_what_a_kubelet_would_write() {
    let product = measured();
    let resources = |requests: Value, limits: Value| json!({"requests": requests, "limits": limits});
    let app = with(
        guest("app", &["cgroup"]),
        "resources",
        resources(
            json!({"cpu": "250m", "memory": "64Mi"}),
            json!({"cpu": "1500m", "memory": "96Mi"}),
        ),
    );
    let side = with(
        guest("side", &["cgroup"]),
        "resources",
        resources(json!({}), json!({"cpu": "500m", "memory": "64Mi"})),
    );
    let free = guest("free", &["sleep"]);
    let up = Up::start(&product, &[pod(json!({"containers": [app, side]}))], &[]);
    let text = lines_of(&up, "app");
    for line in [
        "cpu.max 150000 100000",
        // K-441 for 250m: 256 shares.
        "cpu.weight 35",
        "memory.max 100663296",
        "memory.oom.group 1",
        "cgroup 0::/",
        "write ReadOnlyFilesystem",
    ] {
        says(&text, line);
    }
    // 0, or a kernel without swap.
    assert!(!text.contains("memory.swap.max max"), "{text}");
    let score = text.lines().find_map(|line| line.strip_prefix("oom_score_adj "));
    let score: i32 = score.expect("a score").parse().expect("a number");
    assert!((3..1000).contains(&score), "burstable: {score}");
    let text = lines_of(&up, "side");
    // A limit is the request, too, when there is none.
    for line in ["cpu.max 50000 100000", "cpu.weight 59", "memory.max 67108864"] {
        says(&text, line);
    }
    let console = up.wait_console("probe: pod pids.max");
    // The sums over both containers: 2 CPUs, 160 MiB, and 750m of requests.
    for line in [
        "probe: pod cpu.max 200000 100000",
        "probe: pod cpu.weight 30",
        "probe: pod memory.max 167772160",
    ] {
        says(&console, line);
    }
    drop(up);
    // One container without a limit: the Pod has none.
    let side = with(
        guest("side", &["sleep"]),
        "resources",
        json!({"limits": {"memory": "64Mi"}}),
    );
    let up = Up::start(&product, &[pod(json!({"containers": [free, side]}))], &[]);
    let console = up.wait_console("probe: pod pids.max");
    for line in ["probe: pod cpu.max max 100000", "probe: pod memory.max max"] {
        says(&console, line);
    }
}

fn killed_for_memory(status: &ContainerStatus) -> bool {
    matches!(&status.last_state, Some(ContainerState::Terminated { reason, exit_code, .. })
        if reason == "OOMKilled" && *exit_code == 137)
        && status.restart_count >= 1
}

/// Runs a container that eats beside one that does not; the first is killed and started again, the other is left alone.
fn one_eats(word: &str) {
    let product = machine();
    let eater = with(
        guest("eater", &[word]),
        "resources",
        json!({"limits": {"memory": "32Mi"}}),
    );
    let containers = [eater, guest("neighbour", &["sleep"])];
    let up = Up::start(&product, &[pod(json!({"containers": containers}))], &[]);
    up.wait_container("eater", "killed for memory and started again", killed_for_memory);
    let neighbour = up.wait_running("neighbour");
    assert_eq!(neighbour.restart_count, 0);
}

#[test]
fn lc_260_a_process_over_its_memory_limit_is_oom_killed() {
    one_eats("eat");
}

/// The kernel kills the child; the container is killed whole (`memory.oom.group`, K-442).
#[test]
fn lc_261_a_child_over_the_memory_limit_takes_its_container_along() {
    one_eats("eat-in-a-child");
}

#[test]
fn lc_262_a_child_over_the_memory_limit_dies_alone_where_the_configuration_says_so() {
    let scratch = scratch();
    let config = EnclaveConfig {
        single_process_oom_kill: true,
        ..EnclaveConfig::machine()
    };
    let product = configured(&config, scratch.path());
    let eater = with(
        guest("eater", &["eat-in-a-child"]),
        "resources",
        json!({"limits": {"memory": "32Mi"}}),
    );
    let shown = guest("shown", &["cgroup"]);
    let up = Up::start(
        &product,
        &[pod(
            json!({"containers": [eater, shown], "restartPolicy": "Never"}),
        )],
        &[],
    );
    // SIGKILL is 9.
    up.wait_log("the child: signal: 9");
    up.wait_log("ready");
    let eater = up.wait_running("eater");
    assert_eq!((eater.restart_count, eater.last_state), (0, None));
    says(&lines_of(&up, "shown"), "memory.oom.group 0");
}

/// K-446, K-448.
#[test]
fn lc_202_the_pods_resources_limit_its_cgroup_and_containers_without_limits() {
    let product = measured();
    let limited = with(
        guest("limited", &["cgroup"]),
        "resources",
        json!({"limits": {"cpu": "500m", "memory": "48Mi"}}),
    );
    let free = guest("free", &["cgroup"]);
    let resources =
        json!({"limits": {"cpu": "1500m", "memory": "96Mi"}, "requests": {"cpu": "1", "memory": "64Mi"}});
    let spec = json!({"containers": [limited, free], "resources": resources});
    let up = Up::start(&product, &[pod(spec)], &[]);
    for (name, lines) in [
        ("limited", ["cpu.max 50000 100000", "memory.max 50331648"]),
        ("free", ["cpu.max 150000 100000", "memory.max 100663296"]),
    ] {
        let text = lines_of(&up, name);
        for line in lines {
            says(&text, line);
        }
    }
    for line in [
        "probe: pod cpu.max 150000 100000",
        "probe: pod cpu.weight 39",
        "probe: pod memory.max 100663296",
    ] {
        up.wait_console(line);
    }
    let status = up.report().expect("a Pod").status;
    let limit = |name: &str| status.resources.limits.get(name).map(String::as_str);
    assert_eq!((limit("cpu"), limit("memory")), (Some("1500m"), Some("96Mi")));
}

#[test]
fn lc_044_an_init_container_over_its_memory_limit_has_failed() {
    let product = machine();
    let init = with(
        guest("init", &["eat"]),
        "resources",
        json!({"limits": {"memory": "32Mi"}}),
    );
    let spec = json!({"restartPolicy": "OnFailure", "initContainers": [init], "containers": [guest("app", &["sleep"])]});
    let up = Up::start(&product, &[pod(spec)], &[]);
    wait_for(
        "an init container that was killed for memory and started again",
        || {
            let status = up.report()?.status;
            status
                .init_container_statuses
                .iter()
                .any(killed_for_memory)
                .then_some(())
        },
    );
    assert_eq!(up.wait_waiting("app", "PodInitializing"), "");
}

#[test]
fn the_machine_is_as_large_as_it_was_asked_to_be() {
    let product = machine();
    let spec = json!({"containers": [guest("app", &["cat", "/proc/meminfo"])]});
    let up = Up::start(&product, &[pod(spec)], &["--memory", "512", "--cpus", "1"]);
    up.wait_log("MemTotal:");
    let text = up.stdout();
    let total = text
        .lines()
        .find_map(|line| line.split_once("MemTotal:"))
        .expect("MemTotal")
        .1;
    let kib: u64 = total.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!((400 << 10..512 << 10).contains(&kib), "{kib} KiB");
}
