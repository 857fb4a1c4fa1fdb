//! The tables of the kubelet's own tests: `cm/helpers_linux_test.go` and `qos/policy_test.go`.

use manifest_sync::plan::Plan;
use manifest_sync::resources::QosClass;
use serde_json::{Value, json};

use super::{CgroupFile, container_files, cpu_max, oom_score_adj, pod_files, pod_weight, shares};

/// A Pod whose containers have these `resources`.
fn plan(resources: &[Value]) -> Plan {
    let containers: Vec<Value> = resources
        .iter()
        .enumerate()
        .map(|(index, resources)| container(&format!("c{index}"), resources))
        .collect();
    parse(&json!({ "containers": containers }))
}

fn container(name: &str, resources: &Value) -> Value {
    let image = format!("example.com/{name}@sha256:{}", "0".repeat(64));
    json!({"name": name, "image": image, "resources": resources})
}

fn parse(spec: &Value) -> Plan {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [pod]});
    let (plan, _) = Plan::from_bundle_bytes(list.to_string().as_bytes()).expect("a valid Pod");
    plan
}

fn value(files: &[CgroupFile], name: &str) -> String {
    let (_, value) = files.iter().find(|(file, _)| *file == name).expect("a file");
    value.clone()
}

#[test]
fn lc_300_quotas_are_the_kubelets() {
    for (milli, expected) in [
        (0, "max 100000"),
        (5, "1000 100000"),
        (9, "1000 100000"),
        (10, "1000 100000"),
        (200, "20000 100000"),
        (500, "50000 100000"),
        (1000, "100000 100000"),
        (1500, "150000 100000"),
    ] {
        assert_eq!(cpu_max(Some(milli)), expected, "{milli}m");
    }
    for (milli, expected) in [
        (0, 2),
        (1, 2),
        (2, 2),
        (3, 3),
        (100, 102),
        (200, 204),
        (1000, 1024),
        (400_000, 262_144),
    ] {
        assert_eq!(shares(Some(milli)), expected, "{milli}m");
    }
}

#[test]
fn lc_300_the_pods_cgroup_is_the_kubelets() {
    let amounts = |cpu: &str, memory: &str| json!({"cpu": cpu, "memory": memory});
    let small = || json!({"requests": amounts("100m", "100Mi")});
    let limited = || json!({"requests": amounts("100m", "100Mi"), "limits": amounts("200m", "200Mi")});
    let guaranteed = json!({"requests": amounts("100m", "100Mi"), "limits": amounts("100m", "100Mi")});
    let none = ("max 100000", "max");
    // Resources, quality of service, shares, cpu.max and memory.max.
    let table = [
        ("best effort", vec![json!({})], QosClass::BestEffort, 2, none),
        (
            "burstable without limits",
            vec![small()],
            QosClass::Burstable,
            102,
            none,
        ),
        (
            "burstable with limits",
            vec![limited()],
            QosClass::Burstable,
            102,
            ("20000 100000", "209715200"),
        ),
        (
            "burstable with some limits",
            vec![limited(), small()],
            QosClass::Burstable,
            204,
            none,
        ),
        (
            "guaranteed",
            vec![guaranteed],
            QosClass::Guaranteed,
            102,
            ("10000 100000", "104857600"),
        ),
    ];
    for (name, resources, class, expected_shares, (cpu, memory)) in table {
        let plan = plan(&resources);
        assert_eq!(plan.qos_class(), class, "{name}");
        let files = pod_files(&plan);
        assert_eq!(
            value(&files, "cpu.weight"),
            pod_weight(expected_shares).to_string(),
            "{name}"
        );
        assert_eq!(value(&files, "cpu.max"), cpu, "{name}");
        assert_eq!(value(&files, "memory.max"), memory, "{name}");
    }
}

/// K-447.
#[test]
fn lc_300_init_containers_count_with_their_maximum_and_sidecars_with_their_sum() {
    let resources = |cpu: &str, memory: &str| json!({"limits": {"cpu": cpu, "memory": memory}});
    let mut sidecar = container("sidecar", &resources("1", "64Mi"));
    sidecar["restartPolicy"] = json!("Always");
    let files = pod_files(&parse(&json!({
        "initContainers": [container("first", &resources("1500m", "16Mi")), sidecar,
                           container("second", &resources("2", "32Mi"))],
        "containers": [container("app", &resources("500m", "128Mi"))],
    })));
    // The second init container runs beside the sidecar: 3 CPUs. The regular container does, too: 192 MiB.
    assert_eq!(value(&files, "cpu.max"), "300000 100000");
    assert_eq!(value(&files, "memory.max"), (192 << 20).to_string());
}

#[test]
fn lc_305_oom_scores_are_the_kubelets() {
    const STANDARD: u64 = 8_000_000_000;
    let requests = |bytes: u64| json!({"memory": bytes.to_string(), "cpu": "5m"});
    let table = [
        (json!({"limits": {"cpu": "10"}}), 4_000_000_000, 999..=999),
        (
            json!({"requests": {"cpu": "0"}, "limits": {"memory": "10G"}}),
            STANDARD,
            // The limit is the request, too: more than the machine has.
            3..=3,
        ),
        (json!({"limits": {"memory": "0"}}), 7_230_457_451, 1000..=1000),
        (json!({}), 4_000_000_000, 1000..=1000),
        (
            json!({"requests": {"memory": "10G", "cpu": "5m"}, "limits": {"memory": "10G", "cpu": "5m"}}),
            123_456_789,
            -997..=-997,
        ),
        (
            json!({"requests": requests(STANDARD / 2), "limits": {"memory": "10G"}}),
            STANDARD,
            495..=505,
        ),
        (json!({"requests": requests(STANDARD - 1)}), STANDARD, 3..=3),
    ];
    for (resources, capacity, expected) in table {
        let plan = plan(std::slice::from_ref(&resources));
        let container = &plan.containers[0];
        let score = oom_score_adj(&plan, container, capacity);
        assert!(expected.contains(&score), "{resources}: {score}");
    }
}

/// K-452.
#[test]
fn lc_305_a_sidecar_does_not_die_before_whom_it_serves() {
    let request = |memory: &str| json!({"requests": {"memory": memory}});
    let mut sidecar = container("sidecar", &request("16Mi"));
    sidecar["restartPolicy"] = json!("Always");
    let plan = parse(&json!({
        "initContainers": [sidecar],
        "containers": [container("large", &request("512Mi")), container("small", &request("256Mi"))],
    }));
    let score = |container| oom_score_adj(&plan, container, 1 << 30);
    assert_eq!(score(&plan.init_containers[0]), 750);
    assert_eq!(score(&plan.containers[1]), 750);
    assert_eq!(score(&plan.containers[0]), 500);
}

/// K-446, K-448.
#[test]
fn lc_202_the_pods_own_resources_are_its_cgroups_and_those_of_containers_without() {
    let own =
        json!({"limits": {"cpu": "200m", "memory": "200Mi"}, "requests": {"cpu": "100m", "memory": "100Mi"}});
    let limited = container("limited", &json!({"limits": {"cpu": "50m", "memory": "64Mi"}}));
    let free = container("free", &json!({}));
    let plan = parse(&json!({"resources": own, "containers": [limited, free]}));
    assert_eq!(plan.qos_class(), QosClass::Burstable);
    let pod = pod_files(&plan);
    // Although not every container has a limit.
    assert_eq!(value(&pod, "cpu.max"), "20000 100000");
    assert_eq!(value(&pod, "memory.max"), (200 << 20).to_string());
    assert_eq!(value(&pod, "cpu.weight"), pod_weight(102).to_string());
    let files = |index: usize| container_files(&plan.containers[index].resources.within(&plan.resources));
    assert_eq!(value(&files(0), "cpu.max"), "5000 100000");
    assert_eq!(value(&files(0), "memory.max"), (64 << 20).to_string());
    assert_eq!(value(&files(1), "cpu.max"), "20000 100000");
    assert_eq!(value(&files(1), "memory.max"), (200 << 20).to_string());
    // Without a request the limit counts as one.
    assert_eq!(
        value(&files(1), "cpu.weight"),
        super::container_weight(204).to_string()
    );
    // Limits of one resource only say nothing of the other.
    let plan = parse(&json!({"resources": {"limits": {"memory": "1Gi"}},
                             "containers": [container("free", &json!({}))]}));
    let pod = pod_files(&plan);
    assert_eq!(
        (
            value(&pod, "cpu.max").as_str(),
            value(&pod, "memory.max").as_str()
        ),
        ("max 100000", "1073741824")
    );
}

/// KEP-2837: what the Pod requests beyond its containers is shared equally among them.
#[test]
fn lc_305_requests_of_the_pod_count_for_its_containers() {
    let request = |memory: &str| json!({"requests": {"memory": memory}});
    let mut sidecar = container("sidecar", &request("16Mi"));
    sidecar["restartPolicy"] = json!("Always");
    let plan = parse(&json!({
        "resources": request("720Mi"),
        "initContainers": [sidecar],
        "containers": [container("large", &request("256Mi")), container("small", &request("64Mi"))],
    }));
    let score = |container| oom_score_adj(&plan, container, 1 << 30);
    // 720 - 336 MiB for three: 128 MiB each.
    assert_eq!(score(&plan.containers[0]), 1000 - 375);
    assert_eq!(score(&plan.containers[1]), 1000 - 187);
    assert_eq!(
        score(&plan.init_containers[0]),
        score(&plan.containers[1]),
        "K-452"
    );
    let both = json!({"limits": {"cpu": "1", "memory": "64Mi"}});
    let plan = parse(&json!({"resources": both, "containers": [container("free", &json!({}))]}));
    assert_eq!(plan.qos_class(), QosClass::Guaranteed);
    assert_eq!(oom_score_adj(&plan, &plan.containers[0], 1 << 30), -997);
}
