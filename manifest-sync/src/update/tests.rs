use serde_json::{Value, json};

use super::*;
use crate::digest::BundleDigest;
use crate::trust::verify;

const DIGESTS: [&str; 2] = [
    "sha256:1111111111111111111111111111111111111111111111111111111111111111",
    "sha256:2222222222222222222222222222222222222222222222222222222222222222",
];

fn image(number: usize) -> String {
    format!("app@{}", DIGESTS[number])
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "labels": {"tier": "front"}},
        "spec": {
            "initContainers": [{"name": "setup", "image": image(0)}],
            "containers": [
                {"name": "app", "image": image(0), "args": ["serve"], "env": [{"name": "A", "value": "1"}]},
                {"name": "side", "image": image(0)},
            ],
            "activeDeadlineSeconds": 600,
            "tolerations": [{"key": "a"}],
            "nodeSelector": {"zone": "x"},
        },
    })
}

fn bundle(objects: &[Value]) -> Vec<u8> {
    json!({"apiVersion": "v1", "kind": "List", "items": objects})
        .to_string()
        .into_bytes()
}

fn generation(number: u64) -> Value {
    json!({"apiVersion": "cloister.dev/v1", "kind": "EnclavePolicy", "metadata": {"name": "web"},
           "spec": {"generation": number, "application": "web"}})
}

/// What comes of `new` while `old` runs.
fn judged(old: &[u8], new: &[u8], policy: &TrustPolicy) -> Result<Relation, Rejection> {
    let old = verify(old, policy).expect("the old one may run");
    let new = verify(new, policy).expect("the new one may run");
    let mut plan = old.plan().clone();
    plan.uid.get_or_insert("made-here".to_owned());
    judge(&old.running(), &plan, &new, policy)
}

/// The findings of a change to the Pod, under the development policy: path and message.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<(String, String)> {
    let mut new = pod();
    change(&mut new);
    match judged(&bundle(&[pod()]), &bundle(&[new]), &TrustPolicy::development()) {
        Ok(_) => Vec::new(),
        Err(rejection) => rejection
            .errors
            .into_iter()
            .map(|finding| (finding.path, finding.message))
            .collect(),
    }
}

fn refused_at(change: impl FnOnce(&mut Value)) -> Vec<String> {
    changed(change)
        .into_iter()
        .map(|(path, message)| {
            assert!(
                message
                    .starts_with("pod updates may not change fields other than `spec.containers[*].image`,"),
                "{message}"
            );
            path
        })
        .collect()
}

#[test]
fn what_may_change_changes() {
    let none: Vec<(String, String)> = Vec::new();
    assert_eq!(
        changed(|pod| pod["spec"]["containers"][1]["image"] = json!(image(1))),
        none
    );
    assert_eq!(
        changed(|pod| pod["spec"]["initContainers"][0]["image"] = json!(image(1))),
        none
    );
    assert_eq!(
        changed(|pod| pod["metadata"]["labels"] = json!({"tier": "back", "a": "b"})),
        none
    );
    assert_eq!(
        changed(|pod| pod["metadata"]["annotations"] = json!({"a.b/c": "d"})),
        none
    );
    assert_eq!(
        changed(|pod| pod["spec"]["activeDeadlineSeconds"] = json!(60)),
        none
    );
    let more = json!([{"key": "b"}, {"key": "a"}]);
    assert_eq!(changed(|pod| pod["spec"]["tolerations"] = more), none);
    // Defaults that are written out, or not any more.
    assert_eq!(
        changed(|pod| pod["spec"]["restartPolicy"] = json!("Always")),
        none
    );
    assert_eq!(
        changed(|pod| pod["spec"]["terminationGracePeriodSeconds"] = json!(30)),
        none
    );
    assert_eq!(
        changed(|pod| pod["spec"]["containers"][0]["livenessProbe"] = Value::Null),
        none
    );
    assert_eq!(changed(|pod| pod["status"] = json!({"phase": "Running"})), none);
}

#[test]
fn lc_288_changed_environment_and_command_are_refused() {
    let paths = refused_at(|pod| {
        pod["spec"]["containers"][0]["args"] = json!(["serve", "more"]);
        pod["spec"]["containers"][0]["env"][0]["value"] = json!("2");
        pod["spec"]["containers"][1]["command"] = json!(["/other"]);
    });
    assert_eq!(
        paths,
        [
            "spec.containers[0].args",
            "spec.containers[0].env[0].value",
            "spec.containers[1].command"
        ]
    );
}

#[test]
fn everything_else_is_refused_with_its_path() {
    for (path, value) in [
        ("/spec/nodeSelector/zone", json!("y")),
        ("/spec/nodeSelector", Value::Null),
        ("/spec/tolerations", json!([{"key": "b"}])),
        ("/spec/containers/0/name", json!("other")),
    ] {
        let paths = refused_at(|pod| *pod.pointer_mut(path).expect("there") = value);
        assert_eq!(paths.len(), 1, "{path}: {paths:?}");
    }
    for (field, value) in [
        ("restartPolicy", json!("Never")),
        ("terminationGracePeriodSeconds", json!(5)),
        ("volumes", json!([{"name": "x", "emptyDir": {}}])),
        ("hostname", json!("other")),
        ("serviceAccountName", json!("other")),
    ] {
        assert_eq!(
            refused_at(|pod| pod["spec"][field] = value),
            [format!("spec.{field}")]
        );
    }
    for (field, value) in [
        (
            "resizePolicy",
            json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]),
        ),
        ("ports", json!([{"containerPort": 80}])),
        ("readinessProbe", json!({"tcpSocket": {"port": 80}})),
        ("securityContext", json!({"runAsUser": 1000})),
    ] {
        let path = format!("spec.containers[1].{field}");
        assert!(
            refused_at(|pod| pod["spec"]["containers"][1][field] = value)[0].starts_with(&path),
            "{path}"
        );
    }
}

#[test]
fn containers_do_not_come_and_go() {
    let one =
        json!([{"name": "app", "image": image(0), "args": ["serve"], "env": [{"name": "A", "value": "1"}]}]);
    let findings = changed(|pod| pod["spec"]["containers"] = one);
    let expected = (
        "spec.containers".to_owned(),
        "pod updates may not add or remove containers".to_owned(),
    );
    assert_eq!(findings, [expected]);
}

#[test]
fn a_deadline_comes_closer_only() {
    let at = |value: Value| changed(|pod| pod["spec"]["activeDeadlineSeconds"] = value);
    assert_eq!(at(json!(600)), []);
    assert!(at(json!(601))[0].1.contains("less than or equal to previous"));
    assert!(at(Value::Null)[0].1.contains("to nil"));
}

/// K-320 lets an update say 0, but the API server validates the whole Pod as well, and there it is 1 or more.
#[test]
fn a_deadline_of_zero_is_refused_in_an_update_too() {
    let mut new = pod();
    new["spec"]["activeDeadlineSeconds"] = json!(0);
    let text = verify(&bundle(&[new]), &TrustPolicy::development())
        .expect_err("accepted")
        .to_string();
    assert!(text.contains("spec.activeDeadlineSeconds"), "{text}");
    assert!(text.contains("expected 1 to 2147483647"), "{text}");
}

#[test]
fn another_pod_is_refused() {
    let policy = TrustPolicy::development();
    for (field, value) in [("name", "api"), ("namespace", "prod"), ("uid", "elsewhere")] {
        let findings = changed(|pod| pod["metadata"][field] = json!(value));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].0, format!("metadata.{field}"));
    }
    // Without a uid it is the one that runs.
    let mut with_uid = pod();
    with_uid["metadata"]["uid"] = json!("made-here");
    with_uid["metadata"]["labels"]["x"] = json!("y");
    let verdict = judged(&bundle(&[pod()]), &bundle(&[with_uid]), &policy);
    assert_eq!(verdict, Ok(Relation::Successor));
}

fn message(verdict: Result<Relation, Rejection>) -> String {
    verdict.expect_err("refused").to_string()
}

/// A policy that knows both bundles.
fn pinned(bundles: &[&[u8]], updates: Updates) -> TrustPolicy {
    TrustPolicy {
        authority: Authority::Pinned(bundles.iter().map(|bytes| BundleDigest::of(bytes)).collect()),
        updates,
        ..TrustPolicy::development()
    }
}

#[test]
fn a_generation_only_grows() {
    for (old, new, accepted) in [(3, 4, true), (3, 3, false), (3, 2, false), (0, 1, true)] {
        let mut after = pod();
        after["metadata"]["labels"]["release"] = json!(new.to_string());
        let (old, new) = (
            bundle(&[pod(), generation(old)]),
            bundle(&[after, generation(new)]),
        );
        for policy in [
            pinned(&[&old, &new], Updates::InPlace),
            TrustPolicy::development(),
        ] {
            let verdict = judged(&old, &new, &policy);
            match accepted {
                true => assert_eq!(verdict, Ok(Relation::Successor)),
                false => assert!(message(verdict).contains("generation: the bundle has generation")),
            }
        }
    }
}

#[test]
fn bundles_without_a_generation_follow_each_other_where_anybody_may_say_what_runs() {
    let mut after = pod();
    after["metadata"]["labels"]["release"] = json!("2");
    let (old, new) = (bundle(&[pod()]), bundle(&[after]));
    assert_eq!(
        judged(&old, &new, &TrustPolicy::development()),
        Ok(Relation::Successor)
    );
    let policy = pinned(&[&old, &new], Updates::InPlace);
    assert!(message(judged(&old, &new, &policy)).contains("needs a higher one"));
}

#[test]
fn an_immutable_pod_takes_its_own_bundle_only() {
    let (old, new) = (bundle(&[pod(), generation(1)]), bundle(&[pod(), generation(2)]));
    let policy = pinned(&[&old, &new], Updates::Immutable);
    assert_eq!(judged(&old, &old, &policy), Ok(Relation::Same));
    assert!(message(judged(&old, &new, &policy)).contains("`Immutable`"));
}

#[test]
fn another_application_is_refused() {
    let mut other = generation(2);
    other["spec"]["application"] = json!("shop");
    let (old, new) = (bundle(&[pod(), generation(1)]), bundle(&[pod(), other]));
    let verdict = judged(&old, &new, &TrustPolicy::development());
    assert!(message(verdict).contains("the bundle is of `shop`, and the Pod that runs is of `web`"));
}

#[test]
fn immutable_objects_keep_their_content() {
    let policy = TrustPolicy::development();
    let object = |kind: &str, value: &str, immutable: bool| {
        let value = if kind == "Secret" { "c2VjcmV0" } else { value };
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "one"}, "data": {"key": value},
               "immutable": immutable})
    };
    let judge = |old: Value, new: Option<Value>| {
        let new: Vec<Value> = [pod()].into_iter().chain(new).collect();
        judged(&bundle(&[pod(), old]), &bundle(&new), &policy)
    };
    let map = |value, immutable| object("ConfigMap", value, immutable);
    assert_eq!(
        judge(map("1", false), Some(map("2", true))),
        Ok(Relation::Successor)
    );
    let changed = message(judge(map("1", true), Some(map("2", true))));
    assert_eq!(
        changed,
        "ConfigMap/one: data: field is immutable when `immutable` is set"
    );
    let unset = message(judge(
        object("Secret", "", true),
        Some(object("Secret", "", false)),
    ));
    assert_eq!(
        unset,
        "Secret/one: immutable: field is immutable when `immutable` is set"
    );
    assert_eq!(judge(map("1", true), None), Ok(Relation::Successor));
}

/// The findings of another `resources` of the only container, which has these first.
fn resized(old: Value, new: Value) -> Vec<String> {
    let with = |resources: Value| {
        let app = json!({"name": "app", "image": image(0), "resources": resources});
        bundle(&[
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
                        "spec": {"containers": [app]}}),
        ])
    };
    match judged(&with(old), &with(new), &TrustPolicy::development()) {
        Ok(_) => Vec::new(),
        Err(rejection) => rejection.errors.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn lc_265_resources_are_resized_within_the_quality_of_service() {
    let none: Vec<String> = Vec::new();
    let both = |cpu: &str, memory: &str| json!({"limits": {"cpu": cpu, "memory": memory}});
    assert_eq!(resized(both("1", "64Mi"), both("500m", "128Mi")), none);
    // Equivalents.
    assert_eq!(resized(both("1", "64Mi"), both("1000m", "65536Ki")), none);
    let requests = |cpu: &str| json!({"requests": {"cpu": cpu}});
    assert_eq!(
        resized(
            requests("1"),
            json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}})
        ),
        none
    );
    let class = "Pod/web: spec.containers[*].resources: Pod QOS Class may not change as a result of resizing";
    assert_eq!(resized(json!({}), requests("1")), [class]);
    assert_eq!(
        resized(json!({"requests": {"cpu": "1", "memory": "1Mi"}}), requests("1")),
        ["Pod/web: spec.containers[0].resources.requests.memory: resource requests cannot be removed"]
    );
}

/// `spec.resources` is resized as those of containers are.
#[test]
fn lc_265_resources_of_the_pod_are_resized_too() {
    let resized = |old: Value, new: Value| {
        let with = |resources: Value| {
            let app = json!({"name": "app", "image": image(0)});
            let mut spec = json!({"containers": [app]});
            if !resources.is_null() {
                spec["resources"] = resources;
            }
            bundle(&[json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec})])
        };
        match judged(&with(old), &with(new), &TrustPolicy::development()) {
            Ok(_) => Vec::new(),
            Err(rejection) => rejection.errors.iter().map(ToString::to_string).collect(),
        }
    };
    let none: Vec<String> = Vec::new();
    let both = |cpu: &str, memory: &str| json!({"limits": {"cpu": cpu, "memory": memory}});
    assert_eq!(resized(both("1", "64Mi"), both("2", "128Mi")), none);
    assert_eq!(
        resized(
            both("1", "64Mi"),
            json!({"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "1"}})
        ),
        none,
        "the default, written out"
    );
    let requests = |cpu: &str, memory: &str| json!({"requests": {"cpu": cpu, "memory": memory}});
    assert_eq!(
        resized(requests("1", "1Mi"), json!({"requests": {"cpu": "1"}})),
        ["Pod/web: spec.resources.requests.memory: pod-level resource requests cannot be removed"]
    );
    let gone = resized(requests("1", "1Mi"), Value::Null);
    assert!(
        gone.iter()
            .any(|text| text.ends_with("spec.resources: pod-level resources cannot be removed")),
        "{gone:?}"
    );
    let class = resized(
        both("1", "64Mi"),
        json!({"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "500m"}}),
    );
    assert!(
        class[0].ends_with("Pod QOS Class may not change as a result of resizing"),
        "{class:?}"
    );
}

#[test]
fn ephemeral_containers_are_added_only() {
    let one = |name: &str, word: &str| json!({"name": name, "image": image(0), "args": [word]});
    let with = |list: &[Value]| {
        let mut pod = pod();
        pod["spec"]["ephemeralContainers"] = json!(list);
        bundle(&[pod])
    };
    let judge = |old: &[Value], new: &[Value]| judged(&with(old), &with(new), &TrustPolicy::development());
    assert_eq!(judge(&[], &[one("a", "x")]), Ok(Relation::Successor));
    assert_eq!(
        judge(&[one("a", "x")], &[one("a", "x"), one("b", "x")]),
        Ok(Relation::Successor)
    );
    let changed = message(judge(&[one("a", "x")], &[one("a", "y")]));
    assert!(
        changed.contains("existing ephemeral containers \"a\" may not be changed"),
        "{changed}"
    );
    let removed = message(judge(&[one("a", "x")], &[]));
    assert!(
        removed.contains("existing ephemeral containers \"a\" may not be removed"),
        "{removed}"
    );
    let policy = TrustPolicy::development();
    let early = verify(&with(&[one("a", "x")]), &policy).expect("it may run");
    assert!(first(&early).is_err());
    let ports = json!({"name": "a", "image": image(0), "ports": [{"containerPort": 1}]});
    assert!(verify(&with(&[ports]), &policy).is_err());
}
