//! `spec.resources` of a Pod: what is accepted, what is refused and where, what follows for variables.

use manifest_sync::data::{Objects, Released};
use manifest_sync::downward::Capacity;
use manifest_sync::env::{self, Runtime};
use manifest_sync::plan::Plan;
use manifest_sync::reject::Rejection;
use manifest_sync::resources::QosClass;
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

fn container(name: &str, resources: &Value) -> Value {
    let image = format!("app:1@sha256:{}", "a".repeat(64));
    json!({"name": name, "image": image, "resources": resources})
}

fn plan(resources: &Value, spec: &Value) -> Result<Plan, Rejection> {
    let mut spec = spec.clone();
    spec["resources"] = resources.clone();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [pod]});
    Plan::from_bundle_bytes(list.to_string().as_bytes()).map(|(plan, _)| plan)
}

/// A Pod with these resources whose only container has those.
fn with(resources: &Value, own: &Value) -> Result<Plan, Rejection> {
    plan(resources, &json!({"containers": [container("app", own)]}))
}

#[track_caller]
fn refused(result: Result<Plan, Rejection>, path: &str, words: &str) {
    let rejection = result.expect_err("accepted");
    let mut errors = rejection.errors.iter();
    assert!(
        errors.any(|error| error.path == path && error.message.contains(words)),
        "no {words:?} at {path} in:\n{rejection}"
    );
}

#[test]
fn lc_202_only_cpu_and_memory_in_valid_amounts() {
    let limits = |name: &str, amount: &str| json!({"limits": {name: amount}});
    for (name, words) in [
        ("ephemeral-storage", "give ephemeral-storage to its containers"),
        ("hugepages-2Mi", "remove it"),
        ("example.com/gpu", "remove it"),
    ] {
        let path = format!("spec.resources.limits['{name}']");
        refused(with(&limits(name, "1"), &json!({})), &path, words);
    }
    refused(
        with(&limits("cpu", "-1"), &json!({})),
        "spec.resources.limits['cpu']",
        "must not be negative",
    );
    refused(
        with(&limits("memory", "1 Mi"), &json!({})),
        "spec.resources.limits['memory']",
        "",
    );
    refused(
        with(&json!({"claims": []}), &json!({})),
        "spec.resources.claims",
        "",
    );
    refused(
        with(&json!({"limit": {}}), &json!({})),
        "spec.resources.limit",
        "",
    );
    refused(
        with(
            &json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            &json!({}),
        ),
        "spec.resources.requests['cpu']",
        "must be less than or equal to the cpu limit of 1000m",
    );
}

#[test]
fn lc_202_the_pod_requests_what_its_containers_do_and_limits_each_of_them() {
    let requests = |cpu: &str, memory: &str| json!({"requests": {"cpu": cpu, "memory": memory}});
    let init = container("first", &requests("3", "1Mi"));
    let mut sidecar = container("sidecar", &requests("500m", "8Mi"));
    sidecar["restartPolicy"] = json!("Always");
    let spec = json!({"initContainers": [sidecar, init],
                      "containers": [container("app", &requests("1", "64Mi")), container("log", &requests("1", "64Mi"))]});
    // An init container runs beside the sidecar; then all the others do.
    let fits = plan(&requests("3500m", "136Mi"), &spec).expect("as much as the containers");
    assert_eq!(fits.resources.cpu_request, Some(3500));
    refused(
        plan(&requests("3499m", "136Mi"), &spec),
        "spec.resources.requests['cpu']",
        "must be greater than or equal to aggregate container requests of 3500m",
    );
    refused(
        plan(&requests("4", "135Mi"), &spec),
        "spec.resources.requests['memory']",
        "must be greater than or equal to aggregate container requests of 142606336",
    );
    let limit = |memory: &str| json!({"limits": {"memory": memory}});
    let spec = json!({"containers": [container("a", &limit("64Mi")), container("b", &limit("65Mi"))]});
    refused(
        plan(
            &json!({"limits": {"memory": "64Mi"}, "requests": {"memory": "64Mi"}}),
            &spec,
        ),
        "spec.containers[1].resources.limits['memory']",
        "must be less than or equal to pod limits of 67108864",
    );
    // Limits of containers may add up to more than the Pod's, requests not: they default to the limits.
    let half = |name: &str| {
        container(
            name,
            &json!({"limits": {"memory": "64Mi"}, "requests": {"memory": "32Mi"}}),
        )
    };
    let fits = plan(&limit("64Mi"), &json!({"containers": [half("a"), half("b")]}));
    assert_eq!(
        fits.expect("overcommitted").resources.memory_request,
        Some(64 * MIB)
    );
    refused(
        plan(
            &limit("100Mi"),
            &json!({"containers": [container("a", &limit("64Mi")), container("b", &limit("64Mi"))]}),
        ),
        "spec.resources.requests['memory']",
        "must be less than or equal to the memory limit of 104857600",
    );
}

#[test]
fn lc_202_requests_default_to_those_of_the_containers_then_to_the_limits() {
    let limits = json!({"limits": {"cpu": "1", "memory": "128Mi"}});
    let none = with(&limits, &json!({})).expect("a plan").resources;
    assert_eq!(
        (none.cpu_request, none.memory_request),
        (Some(1000), Some(128 * MIB))
    );
    let some = with(&limits, &json!({"requests": {"cpu": "250m"}}))
        .expect("a plan")
        .resources;
    assert_eq!(
        (some.cpu_request, some.memory_request),
        (Some(250), Some(128 * MIB))
    );
    // Without limits nothing is filled in.
    let requests = with(
        &json!({"requests": {"cpu": "1"}}),
        &json!({"requests": {"memory": "1Mi"}}),
    );
    let requests = requests.expect("a plan").resources;
    assert_eq!(
        (requests.cpu_request, requests.memory_request),
        (Some(1000), None)
    );
}

/// K-437.
#[test]
fn lc_202_quality_of_service_is_that_of_the_pod_as_a_whole() {
    let both = json!({"limits": {"cpu": "1", "memory": "128Mi"}});
    let class = |resources: &Value, own: &Value| with(resources, own).expect("a plan").qos_class();
    assert_eq!(class(&both, &json!({})), QosClass::Guaranteed);
    // The requests are the container's then, and less than the limits.
    assert_eq!(
        class(&both, &json!({"requests": {"cpu": "250m"}})),
        QosClass::Burstable
    );
    assert_eq!(
        class(&json!({"limits": {"memory": "1Mi"}}), &json!({})),
        QosClass::Burstable
    );
    let guaranteed = json!({"limits": {"cpu": "500m", "memory": "64Mi"}});
    assert_eq!(
        class(&json!({"requests": {"cpu": "1"}}), &guaranteed),
        QosClass::Burstable
    );
    assert_eq!(class(&json!({}), &guaranteed), QosClass::Guaranteed);
    assert_eq!(class(&json!({"limits": {}}), &json!({})), QosClass::BestEffort);
}

/// "should provide default limits.cpu/memory from pod level resources" (K-376).
#[test]
fn lc_202_variables_hold_limits_of_the_pod_where_the_container_has_none() {
    let variable = |name: &str, resource: &str| json!({"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource}}});
    let of = |own: Value| {
        let mut app = container("app", &own);
        app["env"] = json!([
            variable("CPU", "limits.cpu"),
            variable("MEMORY", "limits.memory"),
            variable("STORAGE", "limits.ephemeral-storage"),
            variable("REQUEST", "requests.memory"),
        ]);
        let resources = json!({"limits": {"cpu": "3", "memory": "128Mi"}});
        let plan = plan(&resources, &json!({"containers": [app]})).expect("a plan");
        let runtime = Runtime {
            pod_ip: String::new(),
            host_ip: String::new(),
            node_name: String::new(),
            uid: String::new(),
            capacity: Capacity {
                cpu_milli: 8000,
                memory: 1 << 30,
                ephemeral_storage: 1 << 29,
            },
        };
        let released = Released::default();
        let objects = Objects {
            plan: &plan,
            released: &released,
        };
        let none = |_: &str, _: &str| Err("no such file".to_owned());
        let variables = env::resolve(&objects, &plan.containers[0], &runtime, &none).expect("variables");
        ["CPU", "MEMORY", "STORAGE", "REQUEST"].map(|name| variables[name].clone())
    };
    assert_eq!(of(json!({})), ["3", "134217728", "536870912", "0"]);
    assert_eq!(
        of(json!({"limits": {"cpu": "2", "memory": "64Mi"}})),
        ["2", "67108864", "536870912", "67108864"]
    );
}
