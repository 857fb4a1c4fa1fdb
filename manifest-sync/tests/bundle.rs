//! Bundles that may run and bundles that may not: one case a rule, with what the message must say.

use std::time::{Duration, Instant};

use manifest_sync::data::{Objects, Released};
use manifest_sync::env;
use manifest_sync::lifecycle::Hook;
use manifest_sync::plan::{Plan, RestartPolicy, RuleAction};
use manifest_sync::probe::{PortRef, ProbeHandler};
use proptest::prelude::*;
use serde_json::{Value, json};

fn image() -> String {
    format!("app:1@sha256:{}", "a".repeat(64))
}

fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
           "spec": {"containers": [{"name": "app", "image": image()}]}})
}

fn list(items: &[Value]) -> Vec<u8> {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
        .to_string()
        .into_bytes()
}

/// The Pod with one field set, by JSON pointer.
fn with(pointer: &str, value: Value) -> Vec<u8> {
    let mut pod = pod();
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    pod.pointer_mut(parent).expect("the parent")[name] = value;
    list(&[pod])
}

#[track_caller]
fn refused(bytes: &[u8], words: &[&str]) {
    let rejection = match Plan::from_bundle_bytes(bytes) {
        Err(rejection) => rejection.to_string(),
        Ok(_) => panic!("accepted: {}", String::from_utf8_lossy(bytes)),
    };
    for word in words {
        assert!(rejection.contains(word), "no {word:?} in:\n{rejection}");
    }
}

#[track_caller]
fn accepted(bytes: &[u8]) -> (Plan, String) {
    let (plan, warnings) = Plan::from_bundle_bytes(bytes).unwrap_or_else(|rejection| panic!("{rejection}"));
    (
        plan,
        warnings.iter().map(|warning| format!("{warning}\n")).collect(),
    )
}

#[test]
fn the_smallest_pod_gets_kubernetes_defaults() {
    let (plan, warnings) = accepted(&list(&[pod()]));
    assert_eq!(warnings, "");
    assert_eq!((plan.name.as_str(), plan.namespace.as_str()), ("web", "default"));
    assert_eq!(
        (plan.restart_policy, plan.grace_seconds),
        (RestartPolicy::Always, 30)
    );
    assert_eq!(plan.hostname, "web");
    assert_eq!(
        plan.containers[0].termination_message_path,
        "/dev/termination-log"
    );
}

#[test]
fn what_is_not_a_bundle_is_refused() {
    let whole = list(&[pod()]);
    refused(b"", &[]);
    refused(&[b"\xef\xbb\xbf", whole.as_slice()].concat(), &[]);
    refused(&[whole.as_slice(), b"x"].concat(), &[]);
    refused(&whole[..whole.len() - 1], &[]);
    refused(
        br#"{"apiVersion":"v1","apiVersion":"v1","kind":"List","items":[]}"#,
        &["apiVersion"],
    );
    refused(&list(&[]), &["Pod"]);
    refused(&list(&[pod(), pod()]), &["Pod"]);
    refused(
        &list(&[
            pod(),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}}),
        ]),
        &["Deployment"],
    );
    refused(&vec![b' '; (4 << 20) + 1], &[]);
}

#[test]
fn brackets_without_end_are_refused_at_once() {
    let start = Instant::now();
    refused(&vec![b'['; 4 << 20], &[]);
    // A parser that goes down to the end would overflow its stack or take minutes.
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn every_mistake_is_reported_at_once_with_its_path() {
    let mut bad = pod();
    bad["spec"]["containers"][0]["imagePulPolicy"] = json!("Always");
    bad["spec"]["containers"][0]["ports"] = json!([{"containerPort": "80"}]);
    bad["spec"]["initContainers"] = json!([{"name": "i", "image": "i", "livenessProbe": {"exec": {}}}]);
    let words = [
        "spec.containers[0].imagePulPolicy",
        "spec.containers[0].ports[0].containerPort",
        "spec.initContainers[0].image",
    ];
    refused(&list(&[bad]), &words);
}

#[test]
fn a_refusal_is_small_however_long_what_it_quotes() {
    let long = "x".repeat(1 << 20);
    let mut bad = pod();
    bad["metadata"]["name"] = long.clone().into();
    bad["spec"][&long] = json!(1);
    bad["spec"]["containers"][0]["env"] =
        json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": long}}}]);
    let rejection = Plan::from_bundle_bytes(&list(&[bad])).expect_err("refused");
    assert_eq!(rejection.errors.len(), 3, "{rejection}");
    assert!(rejection.to_string().len() < 5000);
}

#[test]
fn rules_of_kubernetes_hold() {
    refused(&with("/metadata/name", json!("Web")), &["name"]);
    refused(&with("/spec/containers", json!([])), &["containers"]);
    refused(
        &with("/spec/containers/0/image", json!("app:1")),
        &["spec.containers[0].image: ", "digest"],
    );
    refused(&with("/spec/containers/0/name", json!("a_b")), &["name"]);
    refused(
        &with("/spec/restartPolicy", json!("Sometimes")),
        &["restartPolicy"],
    );
    refused(&with("/spec/hostNetwork", json!(true)), &["spec.hostNetwork: "]);
    refused(
        &with(
            "/spec/containers/0/securityContext",
            json!({"privileged": true, "allowPrivilegeEscalation": false}),
        ),
        &["privileged"],
    );
    refused(
        &with(
            "/spec/containers/0/ports",
            json!([{"containerPort": 53, "protocol": "SCTP"}]),
        ),
        &["must be TCP or UDP"],
    );
    refused(
        &with("/spec/containers/0/ports", json!([{"containerPort": 0}])),
        &["containerPort"],
    );
    refused(
        &with(
            "/spec/containers/0/volumeMounts",
            json!([{"name": "v", "mountPath": "/a"}]),
        ),
        &["volumeMounts"],
    );
    refused(
        &with("/spec/volumes", json!([{"name": "v", "hostPath": {"path": "/"}}])),
        &["hostPath"],
    );
    refused(
        &with("/spec/containers/0/env", json!([{"name": "A=B", "value": ""}])),
        &["env"],
    );
    let twice = json!([{"name": "a", "image": image()}, {"name": "a", "image": image()}]);
    refused(&with("/spec/containers", twice), &["containers"]);
    refused(
        &with(
            "/spec/containers/0/resources",
            json!({"limits": {"memory": "1Gib"}}),
        ),
        &["memory"],
    );
}

#[test]
fn lc_014_restart_rules_are_validated_as_the_kubelet_does() {
    let rules = |policy: Value, rules: Value| {
        let mut pod = pod();
        if !policy.is_null() {
            pod["spec"]["containers"][0]["restartPolicy"] = policy;
        }
        pod["spec"]["containers"][0]["restartPolicyRules"] = rules;
        list(&[pod])
    };
    let rule =
        |operator: &str| json!({"action": "Restart", "exitCodes": {"operator": operator, "values": [42]}});
    // K-031, K-032, LC-014.
    refused(&rules(Value::Null, json!([rule("In")])), &["restartPolicy"]);
    refused(
        &rules(json!("Never"), json!(vec![rule("In"); 21])),
        &["restartPolicyRules"],
    );
    refused(
        &rules(json!("Never"), json!([{"action": "Restart"}])),
        &["exitCodes"],
    );
    refused(&rules(json!("Never"), json!([rule("Equals")])), &["operator"]);
    let mut unknown = rule("In");
    unknown["action"] = json!("Reboot");
    refused(&rules(json!("Never"), json!([unknown])), &["action"]);
    let mut many = rule("In");
    many["exitCodes"]["values"] = json!(vec![1; 256]);
    refused(&rules(json!("Never"), json!([many])), &["values"]);
    let mut all = rule("In");
    all["action"] = json!("RestartAllContainers");
    let (plan, _) = accepted(&rules(json!("Never"), json!([rule("NotIn"), all])));
    let actions: Vec<RuleAction> = plan.containers[0]
        .restart_rules
        .iter()
        .map(|rule| rule.action)
        .collect();
    assert_eq!(actions, [RuleAction::Restart, RuleAction::RestartAllContainers]);
}

#[test]
fn readiness_gates_have_qualified_names_that_are_not_the_enclaves() {
    let gates = |kinds: &[&str]| {
        let gates: Vec<Value> = kinds.iter().map(|kind| json!({"conditionType": kind})).collect();
        with("/spec/readinessGates", json!(gates))
    };
    let (plan, _) = accepted(&gates(&["example.com/Ready_1", "two"]));
    assert_eq!(plan.readiness_gates, ["example.com/Ready_1", "two"]);
    for bad in [
        "",
        "-a",
        "a b",
        "Example.com/a",
        "a/b/c",
        "Ready",
        "ContainersReady",
        &"a".repeat(64),
    ] {
        refused(&gates(&[bad]), &["conditionType"]);
    }
}

#[test]
fn what_is_harmless_is_warned_about() {
    let (_, warnings) = accepted(&with("/spec/nodeSelector", json!({"disk": "ssd"})));
    assert!(warnings.contains("spec.nodeSelector"), "{warnings}");
}

#[test]
fn a_missing_object_is_accepted_with_a_warning_and_fails_like_a_kubelet() {
    let variable = json!([{"name": "K", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
    let (plan, warnings) = accepted(&with("/spec/containers/0/env", variable));
    assert!(warnings.contains("env"), "{warnings}");
    let objects = Objects {
        plan: &plan,
        released: &Released::default(),
    };
    let no_file = |_: &str, _: &str| Err("absent".to_owned());
    let error = env::resolve(&objects, &plan.containers[0], &env::Runtime::default(), &no_file);
    let error = error.expect_err("missing");
    assert_eq!(error, "secret \"s\" not found");
}

proptest! {
    #[test]
    fn a_changed_byte_never_panics(position in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = list(&[pod(), json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "AA=="}})]);
        let position = position.index(bytes.len());
        bytes[position] = byte;
        let _ = Plan::from_bundle_bytes(&bytes);
    }

    #[test]
    fn arbitrary_text_never_panics(text in "[\\[\\]{}:,\"a-z0-9 ]{0,200}") {
        let _ = Plan::from_bundle_bytes(text.as_bytes());
    }
}

#[test]
fn init_containers_are_read_in_their_order() {
    let init = |name: &str| json!({"name": name, "image": image()});
    let mut sidecar = init("proxy");
    sidecar["restartPolicy"] = json!("Always");
    let (plan, _) = accepted(&with("/spec/initContainers", json!([init("first"), sidecar])));
    let names = |containers: &mut dyn Iterator<Item = &manifest_sync::plan::ContainerPlan>| -> Vec<String> {
        containers.map(|container| container.name.clone()).collect()
    };
    assert_eq!(names(&mut plan.all_containers()), ["first", "proxy", "app"]);
    assert_eq!(names(&mut plan.lasting_containers()), ["proxy", "app"]);
    let twice = with("/spec/initContainers", json!([init("app")]));
    refused(&twice, &["container name", "app"]);
    let missing = json!([{"name": "i", "image": image(), "envFrom": [{"configMapRef": {"name": "absent"}}]}]);
    let (_, warnings) = accepted(&with("/spec/initContainers", missing));
    assert!(
        warnings.contains("spec.initContainers[0].envFrom[0]"),
        "{warnings}"
    );
}

#[test]
fn an_init_container_that_ends_has_neither_probes_nor_hooks() {
    for (field, value) in [
        ("livenessProbe", json!({"exec": {"command": ["true"]}})),
        ("lifecycle", json!({"preStop": {"exec": {"command": ["true"]}}})),
    ] {
        let mut init = json!({"name": "i", "image": image()});
        init[field] = value;
        let path = format!("spec.initContainers[0].{field}");
        refused(
            &with("/spec/initContainers", json!([init])),
            &[&path, "without restartPolicy Always"],
        );
    }
}

#[test]
fn lc_284_a_deadline_is_at_least_a_second() {
    let (plan, _) = accepted(&with("/spec/activeDeadlineSeconds", json!(5)));
    assert_eq!(plan.active_deadline_seconds, Some(5));
    for wrong in [json!(0), json!(-1), json!(1_u64 << 31), json!("5")] {
        refused(
            &with("/spec/activeDeadlineSeconds", wrong),
            &["spec.activeDeadlineSeconds"],
        );
    }
}

#[test]
fn probes_get_kubernetes_defaults() {
    let (plan, _) = accepted(&with(
        "/spec/containers/0/livenessProbe",
        json!({"httpGet": {"port": "web"}, "timeoutSeconds": 0, "periodSeconds": 0}),
    ));
    let probe = plan.containers[0].probes.liveness.as_ref().expect("a probe");
    assert_eq!(
        (
            probe.initial_delay_seconds,
            probe.timeout_seconds,
            probe.period_seconds
        ),
        (0, 1, 10)
    );
    assert_eq!((probe.success_threshold, probe.failure_threshold), (1, 3));
    let ProbeHandler::HttpGet(get) = &probe.handler else {
        panic!("{probe:?}");
    };
    assert_eq!(
        (get.path.as_str(), &get.port),
        ("/", &PortRef::Name("web".to_owned()))
    );
}

#[test]
fn probes_are_validated_as_kubernetes_does() {
    let exec = json!({"command": ["true"]});
    for (field, probe, words) in [
        ("livenessProbe", json!({}), "exactly one"),
        (
            "livenessProbe",
            json!({"exec": exec, "tcpSocket": {"port": 1}}),
            "exactly one",
        ),
        (
            "livenessProbe",
            json!({"exec": exec, "successThreshold": 2}),
            "livenessProbe.successThreshold",
        ),
        (
            "startupProbe",
            json!({"exec": exec, "periodSeconds": -1}),
            "startupProbe.periodSeconds",
        ),
        (
            "startupProbe",
            json!({"exec": {"command": []}}),
            "startupProbe.exec.command",
        ),
        (
            "readinessProbe",
            json!({"exec": exec, "terminationGracePeriodSeconds": 1}),
            "readinessProbes",
        ),
        (
            "livenessProbe",
            json!({"exec": exec, "terminationGracePeriodSeconds": 0}),
            "out of range",
        ),
        (
            "readinessProbe",
            json!({"tcpSocket": {"port": 0}}),
            "tcpSocket.port",
        ),
        (
            "readinessProbe",
            json!({"tcpSocket": {"port": 1, "host": "example.org"}}),
            "tcpSocket.host",
        ),
        (
            "readinessProbe",
            json!({"httpGet": {"port": 1, "scheme": "FTP"}}),
            "must be HTTP or HTTPS",
        ),
        (
            "readinessProbe",
            json!({"httpGet": {"port": 1, "httpHeaders": [{"name": "a", "value": "b\r\nc: d"}]}}),
            "control characters",
        ),
    ] {
        refused(&with(&format!("/spec/containers/0/{field}"), probe), &[words]);
    }
}

#[test]
fn hooks_are_validated_as_kubernetes_does() {
    let exec = json!({"command": ["true"]});
    let sleep = |seconds: u32| json!({"preStop": {"sleep": {"seconds": seconds}}});
    let (plan, _) = accepted(&with("/spec/containers/0/lifecycle", sleep(30)));
    let pre_stop = plan.containers[0].hooks.pre_stop.as_ref();
    assert_eq!(pre_stop, Some(&Hook::Sleep { seconds: 30 }));
    for (lifecycle, words) in [
        (json!({"postStart": {}}), "exactly one"),
        (
            json!({"postStart": {"exec": exec, "sleep": {"seconds": 1}}}),
            "exactly one",
        ),
        (
            json!({"preStop": {"tcpSocket": {"port": 80}}}),
            "preStop.tcpSocket: cannot be run",
        ),
        (json!({"preStop": {"sleep": {}}}), "preStop.sleep.seconds"),
        (json!({"preStop": {"exec": {}}}), "preStop.exec.command"),
        (
            json!({"stopSignal": "SIGUSR1"}),
            "lifecycle.stopSignal: needs spec.os.name",
        ),
        (json!({"stopSignal": "USR1"}), "lifecycle.stopSignal: must be"),
        (sleep(31), "longer than terminationGracePeriodSeconds"),
    ] {
        refused(&with("/spec/containers/0/lifecycle", lifecycle), &[words]);
    }
}

#[test]
fn lc_094_a_stop_signal_needs_the_name_of_the_system() {
    let signal = json!({"stopSignal": "SIGTERM"});
    let mut named = pod();
    named["spec"]["os"] = json!({"name": "linux"});
    named["spec"]["containers"][0]["lifecycle"] = signal.clone();
    let (plan, _) = accepted(&list(&[named]));
    let stop_signal = plan.containers[0].hooks.stop_signal.as_deref();
    assert_eq!(stop_signal, Some("SIGTERM"));
    refused(
        &with("/spec/containers/0/lifecycle", signal),
        &["spec.containers[0].lifecycle.stopSignal: needs spec.os.name"],
    );
    refused(&with("/spec/os", json!({"name": "windows"})), &["spec.os.name"]);
}

#[test]
fn lc_085_a_negative_grace_period_is_one_second() {
    let grace = |seconds: i64| {
        let (plan, _) = accepted(&with("/spec/terminationGracePeriodSeconds", json!(seconds)));
        plan.grace_seconds
    };
    assert_eq!([-1, i64::MIN, 0, 7].map(grace), [1, 1, 0, 7]);
}

#[test]
fn grpc_probes_are_validated_as_kubernetes_does() {
    let (plan, _) = accepted(&with(
        "/spec/containers/0/livenessProbe",
        json!({"grpc": {"port": 5000}}),
    ));
    let handler = plan.containers[0]
        .probes
        .liveness
        .as_ref()
        .map(|probe| &probe.handler);
    let expected = ProbeHandler::Grpc {
        port: 5000,
        service: String::new(),
    };
    assert_eq!(handler, Some(&expected));
    for (probe, words) in [
        (json!({"grpc": {}}), "grpc.port: is required"),
        (json!({"grpc": {"port": "web"}}), "grpc.port: expected an integer"),
        (
            json!({"grpc": {"port": 1}, "exec": {"command": ["true"]}}),
            "exactly one",
        ),
    ] {
        refused(&with("/spec/containers/0/livenessProbe", probe), &[words]);
    }
    // K-226.
    refused(
        &with(
            "/spec/containers/0/lifecycle",
            json!({"preStop": {"grpc": {"port": 1}}}),
        ),
        &["unknown field"],
    );
}
