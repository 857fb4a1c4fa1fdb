//! Names, networks and protocols, with a program that needs nothing but the kernel.

use serde_json::json;
use tests::{Up, guest, pod, product};

use crate::world;
use crate::{names, policy, wait_event};

#[test]
fn names_networks_and_servers_that_speak_first() {
    let Some(product) = product() else { return };
    let (answers, greets) = (world::server(b"", true), world::server(b"hello", false));
    let (answers_text, greets_text) = (answers.to_string(), greets.to_string());
    let containers = [
        guest(
            "calls",
            &["call", "Service.Egress.Example", &answers_text, "question"],
        ),
        guest("hears", &["hear", "greets.egress.example", &greets_text]),
        guest("elsewhere", &["call", "elsewhere.example", &answers_text, "x"]),
        // Allowed names at a port that is not, and a name that the host does not know.
        guest(
            "wrong-port",
            &["call", "greets.egress.example", &answers_text, "x"],
        ),
        guest("unknown", &["call", "unknown.egress.example", &greets_text, "x"]),
        // A network that the bundle allows, and host-proxy does not.
        guest("network", &["call", "192.0.2.7", "5432", "x"]),
        guest("outside", &["call", "192.0.3.7", "5432", "x"]),
        guest("local", &["call", "localhost", "9", "x"]),
        guest("whispers", &["whisper"]),
        guest("stays", &["sleep"]),
    ];
    let rules = json!([
        names(&["service.egress.example"], &[answers]),
        names(&["greets.*.example", "unknown.egress.example"], &[greets]),
        {"toCIDR": ["192.0.2.0/24"], "toPorts": [{"ports": [{"port": "5432", "protocol": "TCP"}]}]},
    ]);
    let mut flags: Vec<String> = world::LOCAL.map(str::to_owned).to_vec();
    flags.extend(world::resolve(&["service.egress.example"], answers));
    flags.extend(world::resolve(&["greets.egress.example"], greets));
    flags.extend(["--egress-allow", "*.egress.example"].map(str::to_owned));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let spec = json!({"restartPolicy": "Never", "containers": containers});
    let up = Up::start(&product, &[pod(spec), policy(&rules)], &flags);
    up.wait_log("Service.Egress.Example: answer question");
    up.wait_log("heard hello");
    up.wait_log("echoed thanks");
    up.wait_log("elsewhere.example: error Uncategorized at once true");
    // Nobody listens there, and nothing leaves.
    up.wait_log("greets.egress.example: error ConnectionRefused at once true");
    up.wait_log("unknown.egress.example: error ConnectionReset");
    up.wait_log("192.0.2.7: error ConnectionReset");
    up.wait_log("192.0.3.7: error NetworkUnreachable at once true");
    up.wait_log("localhost: error ConnectionRefused at once true");
    up.wait_log("whisper: code 3");
    wait_event(
        &up,
        Some("elsewhere"),
        "EgressDenied",
        "lookup of elsewhere.example",
    );
    wait_event(&up, Some("unknown"), "EgressFailed", "no such name");
    wait_event(
        &up,
        Some("network"),
        "EgressDenied",
        "connection to 192.0.2.7:5432: host-proxy does not allow it",
    );
    wait_event(
        &up,
        Some("whispers"),
        "EgressDenied",
        "lookup of s3cr3t\\027\\0912.evil.example",
    );
}

#[test]
fn a_port_cannot_be_the_pods_and_the_other_sides() {
    let Some(product) = product() else { return };
    let mut server = guest("web", &["sleep"]);
    server["ports"] = json!([{"containerPort": 443}]);
    let rules = json!([names(&["api.example.com"], &[443])]);
    let mut up = Up::start(
        &product,
        &[pod(json!({"containers": [server]})), policy(&rules)],
        &[],
    );
    assert_eq!(up.exit_code(), 65, "{}", up.stderr());
    assert!(
        up.stderr().contains("containerPort 443 of container web"),
        "{}",
        up.stderr()
    );
}

#[test]
fn a_pod_without_rules_has_neither_resolver_nor_streams() {
    let Some(product) = product() else { return };
    let spec = json!({"restartPolicy": "Never", "containers": [
        guest("resolv", &["cat", "/etc/resolv.conf"]),
        guest("calls", &["call", "api.example.com", "443", "x"]),
    ]});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    let text = up.stdout();
    assert!(
        text.contains("api.example.com: error") && !text.contains("nameserver"),
        "{text}"
    );
}
