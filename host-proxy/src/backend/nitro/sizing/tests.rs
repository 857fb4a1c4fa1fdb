//! The rules of the size, each by its name.

use serde_json::{Value, json};

use super::*;

/// Image size at which no rule about the image is felt.
const SMALL: u64 = MIB;

fn container(name: &str, limits: &Value, requests: &Value) -> Value {
    json!({ "name": name, "resources": { "limits": limits, "requests": requests } })
}

fn limits(cpu: &str, memory: &str) -> Value {
    container("c", &json!({ "cpu": cpu, "memory": memory }), &json!({}))
}

fn bundle(containers: &[Value], inits: &[Value]) -> Vec<u8> {
    let pod = json!({ "kind": "Pod", "spec": { "containers": containers, "initContainers": inits } });
    let list = json!({ "kind": "List", "items": [{ "kind": "Secret" }, pod] });
    serde_json::to_vec(&list).expect("JSON")
}

fn cpus(containers: &[Value], inits: &[Value]) -> u32 {
    let size = size(&bundle(containers, inits), None, SMALL, None, Some(4096));
    size.expect("a size").cpus
}

fn memory(containers: &[Value], inits: &[Value], eif: u64) -> u64 {
    let size = size(&bundle(containers, inits), None, eif, None, None);
    size.expect("a size").memory_mib
}

/// What the enclave needs beyond `limits_mib` of containers.
fn with_overhead(limits_mib: u64) -> u64 {
    let used = limits_mib + 128 + 2;
    (used + used.div_ceil(63)).div_ceil(2) * 2
}

fn message(result: Result<Size, Failure>, exit: Exit) -> String {
    let failure = result.expect_err("no size");
    assert_eq!(failure.exit, exit, "{failure}");
    failure.message
}

#[test]
fn vcpus_are_whole_even_and_at_least_two() {
    for (cpu, expected) in [
        ("1m", 2),
        ("1", 2),
        ("2", 2),
        ("2001m", 4),
        ("3", 4),
        ("4", 4),
        ("4.1", 6),
        ("1e30", u32::MAX - 1),
    ] {
        assert_eq!(cpus(&[limits(cpu, "1Mi")], &[]), expected, "{cpu}");
    }
    assert_eq!(cpus(&[json!({ "name": "none" })], &[]), 2);
    assert_eq!(cpus(&[limits("1500m", "1Mi"), limits("1500m", "1Mi")], &[]), 4);
}

#[test]
fn a_cpu_request_counts_when_it_is_larger_or_alone() {
    let request = |cpu: &str| json!({ "cpu": cpu });
    assert_eq!(cpus(&[container("a", &json!({}), &request("3"))], &[]), 4);
    assert_eq!(cpus(&[container("a", &request("5"), &request("3"))], &[]), 6);
    assert_eq!(
        cpus(&[container("a", &json!({ "cpu": 0 }), &request("3"))], &[]),
        4
    );
}

#[test]
fn init_containers_count_by_the_highest_and_sidecars_with_everybody() {
    let sidecar = |cpu: &str| {
        let mut one = limits(cpu, "1Mi");
        one["restartPolicy"] = json!("Always");
        one
    };
    let web = [limits("2", "1Mi")];
    assert_eq!(
        cpus(&web, &[limits("2", "1Mi"), limits("2", "1Mi")]),
        2,
        "one after another"
    );
    assert_eq!(cpus(&web, &[limits("6", "1Mi")]), 6, "higher than the rest");
    assert_eq!(cpus(&web, &[sidecar("2")]), 4, "beside the containers");
    assert_eq!(
        cpus(&web, &[sidecar("2"), limits("4", "1Mi")]),
        6,
        "beside a later init container"
    );
    assert_eq!(
        cpus(&web, &[limits("4", "1Mi"), sidecar("2")]),
        4,
        "not beside an earlier one"
    );
}

#[test]
fn memory_is_the_limits_and_the_enclaves_own() {
    assert_eq!(memory(&[limits("1", "100Mi")], &[], SMALL), with_overhead(100));
    assert_eq!(
        memory(&[limits("1", "100Mi"), limits("1", "1Gi")], &[], SMALL),
        with_overhead(1124)
    );
    let inits = [limits("1", "512Mi")];
    assert_eq!(memory(&[limits("1", "100Mi")], &inits, SMALL), with_overhead(512));
    let odd = memory(&[limits("1", "1")], &[], SMALL);
    assert!(odd >= 130 && odd.is_multiple_of(2), "{odd}");
    assert!(
        memory(&[limits("1", "1e30")], &[], u64::MAX) > 1 << 40,
        "saturates"
    );
}

#[test]
fn lc_202_limits_of_the_pod_count_instead_of_its_containers() {
    let of = |resources: Value, containers: &[Value], cpus: Option<u32>, memory: Option<u64>| {
        let pod = json!({ "kind": "Pod", "spec": { "resources": resources, "containers": containers } });
        size(pod.to_string().as_bytes(), None, SMALL, cpus, memory)
    };
    let free = || json!({ "name": "free" });
    let both = json!({ "limits": { "cpu": "3", "memory": "100Mi" } });
    let alone = of(both.clone(), &[free()], None, None).expect("a size");
    assert_eq!((alone.cpus, alone.memory_mib), (4, with_overhead(100)));
    // Together they may not use more, whatever their own limits add up to.
    let over = of(
        both.clone(),
        &[limits("3", "100Mi"), limits("3", "100Mi")],
        None,
        None,
    )
    .expect("a size");
    assert_eq!((over.cpus, over.memory_mib), (4, with_overhead(100)));
    let text = message(of(both, &[free()], None, Some(64)), Exit::Usage);
    assert!(text.contains("100 MiB together"), "{text}");
    let cpu_only = json!({ "limits": { "cpu": "3" } });
    let text = message(of(cpu_only, &[free()], None, None), Exit::Rejected);
    assert!(
        text.contains("spec.resources.limits.memory for the Pod as a whole"),
        "{text}"
    );
}

#[test]
fn memory_is_four_times_the_image_at_least() {
    let eif = 300 * MIB + 1;
    assert_eq!(memory(&[limits("1", "16Mi")], &[], eif), 4 * 301);
    let large = memory(&[limits("1", "2Gi")], &[], eif);
    assert!(large >= 2048 + 2 * 300 + 128, "{large}");
}

#[test]
fn memory_includes_the_images_of_the_layout() {
    let layout = tempfile::tempdir().expect("temporary directory");
    let manifest =
        json!({ "layers": [{ "digest": "a", "mediaType": "tar", "size": 500 * MIB }] }).to_string();
    let digest = manifest_sync::digest::Digest::sha256(manifest.as_bytes());
    std::fs::create_dir_all(layout.path().join("blobs/sha256")).expect("a directory");
    std::fs::write(layout.path().join("blobs/sha256").join(digest.hex()), manifest).expect("writes");
    let mut one = limits("1", "100Mi");
    one["image"] = json!(format!("a@{digest}"));
    let size = size(&bundle(&[one], &[]), Some(layout.path()), SMALL, None, None);
    assert_eq!(size.expect("a size").memory_mib, with_overhead(600));
}

#[test]
fn a_container_without_a_memory_limit_is_named_with_its_field() {
    let web = limits("1", "64Mi");
    let free = container("ticker", &json!({ "cpu": "1" }), &json!({ "memory": "64Mi" }));
    let text = message(
        size(
            &bundle(&[web.clone(), free.clone()], &[]),
            None,
            SMALL,
            None,
            None,
        ),
        Exit::Rejected,
    );
    assert!(text.contains("container ticker "), "{text}");
    assert!(
        text.contains("spec.containers[1].resources.limits.memory"),
        "{text}"
    );
    assert!(text.contains("--memory"), "{text}");
    let zero = container("zero", &json!({ "memory": 0 }), &json!({}));
    let text = message(
        size(&bundle(&[web], &[zero]), None, SMALL, None, None),
        Exit::Rejected,
    );
    assert!(
        text.contains("spec.initContainers[0].resources.limits.memory"),
        "{text}"
    );
    let given = size(&bundle(&[free], &[]), None, SMALL, None, Some(256)).expect("a size");
    assert_eq!(given.memory_mib, 256);
}

#[test]
fn chosen_vcpus_that_cannot_be_are_answered_with_ones_that_can() {
    let web = bundle(&[limits("3", "64Mi")], &[]);
    for (chosen, better) in [(0, 4), (1, 4), (2, 4), (3, 4), (5, 6)] {
        let text = message(size(&web, None, SMALL, Some(chosen), None), Exit::Usage);
        assert!(
            text.ends_with(&format!("use --cpus {better}")),
            "{chosen}: {text}"
        );
    }
    let fine = size(&web, None, SMALL, Some(8), None).expect("a size");
    assert_eq!(fine.cpus, 8);
    let burst = container(
        "c",
        &json!({ "cpu": "8", "memory": "1Mi" }),
        &json!({ "cpu": "1" }),
    );
    let fewer = size(&bundle(&[burst], &[]), None, SMALL, Some(2), None).expect("limits may be out of reach");
    assert_eq!(fewer.cpus, 2);
}

#[test]
fn chosen_memory_that_cannot_be_is_answered_with_one_that_can() {
    let web = bundle(&[limits("1", "512Mi")], &[]);
    let text = message(size(&web, None, SMALL, None, Some(511)), Exit::Usage);
    assert!(text.contains("512 MiB together"), "{text}");
    assert!(
        text.ends_with(&format!("use --memory {} or more", with_overhead(512))),
        "{text}"
    );
    assert_eq!(
        size(&web, None, SMALL, None, Some(513))
            .expect("a size")
            .memory_mib,
        513
    );
    let free = bundle(&[json!({ "name": "a" })], &[]);
    let text = message(size(&free, None, SMALL, None, Some(63)), Exit::Usage);
    assert!(text.contains("than any enclave may have"), "{text}");
    let text = message(size(&free, None, 100 * MIB, None, Some(399)), Exit::Usage);
    assert!(text.contains("4 times the enclave image"), "{text}");
    assert!(text.ends_with("use --memory 400 or more"), "{text}");
}

proptest::proptest! {
    #[test]
    fn whatever_it_says_would_do_does(
        cpu in 0u64..100_000, memory in 1u64..1 << 42, request in 0u64..1 << 42, eif in 1u64..1 << 36,
    ) {
        let one = container("a", &json!({ "cpu": format!("{cpu}m"), "memory": memory }),
            &json!({ "memory": request }));
        let web = bundle(&[one], &[]);
        let computed = size(&web, None, eif, None, None).expect("a size");
        proptest::prop_assert!(computed.cpus >= 2 && computed.cpus.is_multiple_of(2));
        proptest::prop_assert!(u64::from(computed.cpus) * 1000 >= cpu);
        proptest::prop_assert!(computed.memory_mib * MIB >= memory.max(4 * eif));
        let chosen = size(&web, None, eif, Some(computed.cpus), Some(computed.memory_mib));
        proptest::prop_assert_eq!(chosen, Ok(computed));
        if let Err(failure) = size(&web, None, eif, None, Some(request / MIB / 2)) {
            let better = failure.message.rsplit(' ').nth(2).and_then(|word| word.parse().ok());
            proptest::prop_assert!(size(&web, None, eif, None, better).is_ok(), "{}", failure);
        }
    }
}
