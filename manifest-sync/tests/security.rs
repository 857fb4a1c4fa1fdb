//! securityContext, names and resolver of a Pod: what is taken, what is refused and with which words.

use manifest_sync::plan::{Plan, SeccompProfile};
use manifest_sync::reject::Finding;
use serde_json::{Value, json};

const IMAGE: &str = "app:1@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn parse(spec: &Value, container: &Value) -> Result<(Plan, Vec<Finding>), String> {
    let mut own = json!({"name": "app", "image": IMAGE});
    merge(&mut own, container);
    let mut whole = json!({"containers": [own]});
    merge(&mut whole, spec);
    let bundle = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"}, "spec": whole}]});
    Plan::from_bundle_bytes(bundle.to_string().as_bytes()).map_err(|rejection| rejection.to_string())
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        into[key] = value.clone();
    }
}

#[track_caller]
fn spec(spec: &Value) -> Plan {
    parse(spec, &json!({})).expect("accepted").0
}

#[track_caller]
fn context(context: &Value) -> Result<Plan, String> {
    parse(&json!({}), &json!({"securityContext": context})).map(|(plan, _)| plan)
}

#[track_caller]
fn refused(result: Result<impl std::fmt::Debug, String>, words: &str) {
    let error = result.expect_err("refused");
    assert!(error.contains(words), "no {words:?} in {error}");
}

#[test]
fn the_profile_is_the_containers_then_the_pods_then_the_default() {
    let profile = |pod: Value, own: Value, privileged: bool| {
        let own = json!({"securityContext": {"seccompProfile": own, "privileged": privileged}});
        let pod = json!({"securityContext": {"seccompProfile": pod}});
        parse(&pod, &own).expect("accepted").0.containers[0]
            .security
            .seccomp
    };
    let (default, open) = (json!({"type": "RuntimeDefault"}), json!({"type": "Unconfined"}));
    let none = || Value::Null;
    assert_eq!(profile(none(), none(), false), SeccompProfile::RuntimeDefault);
    assert_eq!(profile(open.clone(), none(), false), SeccompProfile::Unconfined);
    assert_eq!(
        profile(open, default.clone(), false),
        SeccompProfile::RuntimeDefault
    );
    assert_eq!(profile(none(), default, true), SeccompProfile::Unconfined);
    refused(
        context(&json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "a.json"}})),
        "seccompProfile.type: Localhost is not supported",
    );
    refused(
        context(&json!({"seccompProfile": {"type": "RuntimeDefault", "localhostProfile": "a.json"}})),
        "can only be set when seccomp type is Localhost",
    );
}

#[test]
fn lc_256_proc_is_not_unmasked_without_a_user_namespace() {
    refused(
        context(&json!({"procMount": "Unmasked"})),
        "procMount: Unmasked needs `hostUsers: false`",
    );
    assert!(context(&json!({"procMount": "Default"})).is_ok());
    refused(
        parse(&json!({"hostUsers": false}), &json!({})),
        "hostUsers: false is not supported",
    );
    assert!(parse(&json!({"hostUsers": true}), &json!({})).is_ok());
}

#[test]
fn lc_257_safe_sysctls_are_taken_and_others_forbidden() {
    let sysctls = |name: &str| {
        parse(
            &json!({"securityContext": {"sysctls": [{"name": name, "value": "1"}]}}),
            &json!({}),
        )
    };
    for name in ["kernel.shm_rmid_forced", "kernel/shm_rmid_forced"] {
        let (plan, _) = sysctls(name).expect("accepted");
        assert_eq!(
            plan.sysctls,
            [("kernel.shm_rmid_forced".to_owned(), "1".to_owned())]
        );
    }
    for name in ["foo-", "kernel.shmmax-", "safe-and-unsafe ", "bar..", "Net.x"] {
        refused(sysctls(name), "sysctls[0].name: must be lower-case words");
    }
    refused(
        sysctls("kernel.msgmax"),
        "SysctlForbidden: forbidden sysctl: \"kernel.msgmax\" not allowlisted",
    );
    refused(sysctls("vm/swappiness"), "forbidden sysctl: \"vm.swappiness\"");
    let twice = json!({"securityContext": {"sysctls": [
        {"name": "kernel.shm_rmid_forced", "value": "1"}, {"name": "kernel/shm_rmid_forced", "value": "0"}]}});
    refused(parse(&twice, &json!({})), "Duplicate value");
}

#[test]
fn contradictions_of_privilege_are_refused() {
    refused(
        context(&json!({"privileged": true, "allowPrivilegeEscalation": false})),
        "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
    );
    let adds = |name: &str| json!({"allowPrivilegeEscalation": false, "capabilities": {"add": [name]}});
    refused(
        context(&adds("CAP_SYS_ADMIN")),
        "`capabilities.Add` CAP_SYS_ADMIN",
    );
    // K-415: upstream does not catch the usual spelling.
    assert!(context(&adds("SYS_ADMIN")).is_ok());
    refused(
        context(&json!({"capabilities": {"drop": ["NET_RAW", "EVERYTHING"]}})),
        "capabilities.drop[1]: unknown capability `EVERYTHING`",
    );
    let plan = context(&json!({"capabilities": {"add": ["net_admin", "CAP_KILL"], "drop": ["all"]}}))
        .expect("taken");
    let security = &plan.containers[0].security;
    assert_eq!(
        (security.add.join(" "), security.drop.join(" ")),
        ("NET_ADMIN KILL".into(), "ALL".into())
    );
}

#[test]
fn security_modules_that_the_kernel_does_not_have() {
    let selinux = json!({"securityContext": {"seLinuxOptions": {"level": "s0:c1,c2"}}});
    let (_, warnings) = parse(&json!({}), &selinux).expect("accepted");
    assert!(
        warnings.iter().any(|one| one.path.ends_with("seLinuxOptions")),
        "{warnings:?}"
    );
    assert!(context(&json!({"appArmorProfile": {"type": "Unconfined"}})).is_ok());
    for kind in ["RuntimeDefault", "Localhost"] {
        refused(
            context(&json!({"appArmorProfile": {"type": kind}})),
            "Cannot enforce AppArmor",
        );
    }
    refused(context(&json!({"windowsOptions": {}})), "windowsOptions");
}

#[test]
fn a_mistake_of_the_pods_context_is_reported_once() {
    let two = json!({"securityContext": {"windowsOptions": {}, "supplementalGroupsPolicy": "Some"},
        "containers": [{"name": "a", "image": IMAGE}, {"name": "b", "image": IMAGE}]});
    let error = parse(&two, &json!({})).expect_err("refused");
    assert_eq!(error.matches("windowsOptions").count(), 1, "{error}");
    assert!(
        error.contains("supplementalGroupsPolicy: must be Merge or Strict"),
        "{error}"
    );
}

#[test]
fn namespaces_of_the_host_are_not_to_be_had() {
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        refused(
            parse(&json!({field: true}), &json!({})),
            &format!("{field}: true is not supported: "),
        );
        assert!(parse(&json!({field: false}), &json!({})).is_ok());
    }
    refused(
        parse(
            &json!({"hostPID": true, "shareProcessNamespace": true}),
            &json!({}),
        ),
        "cannot both be enabled",
    );
    assert!(spec(&json!({"shareProcessNamespace": true})).share_process_namespace);
}

#[test]
fn names_come_from_hostname_and_subdomain() {
    let plan = spec(&json!({"hostname": "front", "subdomain": "tier"}));
    assert_eq!(plan.hostname, "front");
    assert_eq!(plan.domain.as_deref(), Some("tier.shop.svc.cluster.local"));
    assert_eq!(plan.kernel_hostname.as_deref(), Ok("front"));
    let plan = spec(&json!({"hostname": "front", "subdomain": "tier", "setHostnameAsFQDN": true}));
    assert_eq!(
        plan.kernel_hostname.as_deref(),
        Ok("front.tier.shop.svc.cluster.local")
    );
    // Without a subdomain it has no effect (K-486).
    let plan = spec(&json!({"setHostnameAsFQDN": true}));
    assert_eq!(
        (plan.hostname.as_str(), plan.kernel_hostname.as_deref()),
        ("web", Ok("web"))
    );
    let long = "a".repeat(63);
    let plan = spec(&json!({"hostname": long, "subdomain": "tier", "setHostnameAsFQDN": true}));
    assert!(
        plan.kernel_hostname
            .is_err_and(|error| error.contains("is too long (64 characters is the max"))
    );
}

#[test]
fn lc_277_an_overriding_host_name_wins_or_is_refused() {
    let taken = |extra: Value, expected: &str| {
        let mut all = json!({"hostnameOverride": "override-host"});
        merge(&mut all, &extra);
        let plan = spec(&all);
        assert_eq!(
            (plan.hostname.as_str(), plan.domain.as_deref()),
            (expected, None),
            "{extra}"
        );
        assert_eq!(plan.kernel_hostname.as_deref(), Ok(expected));
    };
    taken(json!({}), "override-host");
    taken(json!({"hostname": "custom-host"}), "override-host");
    taken(json!({"subdomain": "t"}), "override-host");
    taken(
        json!({"hostname": "custom-host", "subdomain": "t"}),
        "override-host",
    );
    taken(json!({"hostnameOverride": "a.dotted.name"}), "a.dotted.name");
    // 64 characters are valid, and the node keeps 63.
    taken(json!({"hostnameOverride": "a".repeat(64)}), &"a".repeat(63));
    let fqdn = json!({"hostnameOverride": "h", "setHostnameAsFQDN": true});
    refused(
        parse(&fqdn, &json!({})),
        "may not be specified when `setHostnameAsFQDN` is true",
    );
    let network = json!({"hostnameOverride": "h", "hostNetwork": true});
    refused(
        parse(&network, &json!({})),
        "may not be specified when `hostNetwork` is true",
    );
    for bad in ["Not_A_Name", "-a", "a..b", &"a".repeat(65)] {
        refused(
            parse(&json!({"hostnameOverride": bad}), &json!({})),
            "hostnameOverride: must be a DNS subdomain",
        );
    }
}

#[test]
fn lc_278_the_resolver_is_what_the_pod_says() {
    let dns = |policy: Value, config: Value| {
        parse(&json!({"dnsPolicy": policy, "dnsConfig": config}), &json!({})).map(|(plan, _)| plan.dns)
    };
    let plan = dns(
        json!("None"),
        json!({"nameservers": ["1.2.3.4", "1.2.3.4", "5.6.7.8"], "searches": ["ns1.svc.cluster.local", "my.dns.search"],
               "options": [{"name": "ndots", "value": "1"}, {"name": "edns0"}, {"name": "ndots", "value": "2"}]}),
    )
    .expect("accepted");
    assert_eq!(plan.nameservers, ["1.2.3.4", "5.6.7.8"]);
    assert_eq!(plan.searches, ["ns1.svc.cluster.local", "my.dns.search"]);
    assert_eq!(plan.options, ["ndots:2", "edns0"]);
    assert!(!plan.search_line_cut && plan.missing_cluster_dns.is_none());
    for nameservers in [json!(null), json!([])] {
        let config = json!({"nameservers": nameservers});
        refused(
            dns(json!("None"), config),
            "must provide at least one DNS nameserver when `dnsPolicy` is None",
        );
    }
    refused(
        dns(
            json!("None"),
            json!({"nameservers": ["1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"]}),
        ),
        "at most 3",
    );
    let searches: Vec<String> = (0..33).map(|number| format!("s{number}.example")).collect();
    refused(dns(json!("Default"), json!({"searches": searches})), "at most 32");
    for bad in ["", "a b", "a..b", "-a", &"a.".repeat(130)] {
        refused(
            dns(json!("Default"), json!({"searches": [bad]})),
            "searches: must be DNS names",
        );
    }
    for good in [".", "a.b.", "_sip._tcp.example"] {
        assert!(
            dns(json!("Default"), json!({"searches": [good]})).is_ok(),
            "{good}"
        );
    }
    // K-497.
    let label = "a".repeat(60);
    let long: Vec<String> = (10..30)
        .map(|number| format!("{number}.{label}.{label}.{label}"))
        .collect();
    let plan = dns(json!("Default"), json!({"searches": long})).expect("accepted");
    assert!(
        plan.search_line_cut && plan.searches.len() == 11,
        "{}",
        plan.searches.len()
    );
    // K-498: only who asks is told.
    let missing = |policy: Value| dns(policy, json!({})).expect("accepted").missing_cluster_dns;
    assert_eq!(missing(json!("ClusterFirst")).as_deref(), Some("ClusterFirst"));
    assert_eq!((missing(json!("Default")), missing(Value::Null)), (None, None));
    refused(dns(json!("Cluster"), json!({})), "dnsPolicy: must be");
}
