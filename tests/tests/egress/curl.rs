//! Debian's curl, unmodified and without settings.

use serde_json::{Value, json};
use tests::{Up, pod, product};

use crate::world::{self, Https};
use crate::{code_of, metric, names, policy, wait_event};

/// Exit codes of curl(1).
const NO_SUCH_HOST: i32 = 6;
const NO_TLS: i32 = 35;
const RECEIVE: i32 = 56;

#[test]
fn curl_reaches_what_the_policy_allows_and_nothing_else() {
    let (Some(product), Some(images)) = (product(), world::curl()) else {
        return;
    };
    let all = ["api.egress.example", "*.pattern.example", "other.egress.example"];
    let Some(server) = Https::start(&all) else { return };
    let port = server.port;
    let curl = |name: &str, words: &[&str], url: &str| {
        let words = words.iter().map(|word| json!(word));
        let common = [
            "-sS",
            "--max-time",
            "60",
            "--cacert",
            "/ca/cert.pem",
            "-o",
            "/dev/null",
        ];
        let args = common.iter().map(|word| json!(word));
        let url = format!("https://{url}:{port}/");
        let args: Vec<Value> = args
            .chain([json!("-w"), json!("status %{http_code}\n")])
            .chain(words)
            .chain([json!(url)])
            .collect();
        json!({
            "name": name, "image": "curl", "args": args,
            "volumeMounts": [{"name": "ca", "mountPath": "/ca"}],
        })
    };
    let proxy = ["--proxy", "http://127.0.0.53:3128"];
    // Connects to one allowed name and asks it for another.
    let other = format!("other.egress.example:{port}:api.egress.example:{port}");
    let containers = [
        curl("allowed", &[], "api.egress.example"),
        curl("pattern", &[], "x.pattern.example"),
        curl("denied", &[], "evil.example"),
        curl("deeper", &[], "x.y.pattern.example"),
        curl("fronting", &["--connect-to", &other], "other.egress.example"),
        curl("proxied", &proxy, "api.egress.example"),
        curl("unproxied", &proxy, "evil.example"),
    ];
    let spec = json!({
        "restartPolicy": "Never", "containers": containers,
        "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    });
    let ca = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"},
        "data": {"cert.pem": server.certificate()},
    });
    // Keeps the Pod, and with it host-proxy, until everything has been looked at. The HTTPS server serves one connection after
    // another, so this one has a server of its own.
    let idle = world::server(b"", false);
    let mut spec = spec;
    let stay = json!({
        "name": "stay", "image": "curl",
        "args": ["-sS", format!("telnet://stay.egress.example:{idle}")],
    });
    spec["containers"].as_array_mut().expect("a list").push(stay);
    let rules = json!([
        names(
            &["api.egress.example", "*.pattern.example", "other.egress.example"],
            &[port]
        ),
        names(&["stay.egress.example"], &[idle]),
    ]);
    let images = images.to_str().expect("UTF-8").to_owned();
    let mut flags = vec!["--images".to_owned(), images];
    flags.extend(world::LOCAL.map(str::to_owned));
    flags.extend(world::resolve(
        &["api.egress.example", "x.pattern.example", "other.egress.example"],
        port,
    ));
    flags.extend(world::resolve(&["stay.egress.example"], idle));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let up = Up::start(&product, &[pod(spec), ca, policy(&rules)], &flags);
    let code = |name: &str, codes: &[i32]| {
        let code = code_of(&up, name);
        assert!(
            codes.contains(&code),
            "{name}: curl ends with {code}:\n{}",
            up.stdout()
        );
    };
    for name in ["allowed", "pattern", "proxied"] {
        code(name, &[0]);
    }
    assert_eq!(up.stdout().matches("status 200").count(), 3, "{}", up.stdout());
    code("denied", &[NO_SUCH_HOST]);
    code("deeper", &[NO_SUCH_HOST]);
    code("fronting", &[NO_TLS, RECEIVE]);
    code("unproxied", &[RECEIVE]);
    wait_event(
        &up,
        Some("denied"),
        "EgressDenied",
        "lookup of evil.example: spec.egress",
    );
    wait_event(
        &up,
        Some("deeper"),
        "EgressDenied",
        "lookup of x.y.pattern.example",
    );
    let words = format!(
        "connection to api.egress.example:{port}: its TLS client asks for the server other.egress.example"
    );
    wait_event(&up, Some("fronting"), "EgressDenied", &words);
    wait_event(
        &up,
        Some("unproxied"),
        "EgressDenied",
        &format!("connection to evil.example:{port}"),
    );
    tests::wait_for("the counters", || {
        (metric(&up, "cloister_egress_denied_attempts_total{container=\"denied\"}") == 1).then_some(())
    });
    // The three, the one that asked for another server, and the one that stays.
    assert_eq!(metric(&up, "cloister_egress_connections_total"), 5);
    assert_eq!(
        metric(
            &up,
            "cloister_egress_refused_connections_total{reason=\"Forbidden\"}"
        ),
        0
    );
    assert!(metric(&up, "cloister_egress_bytes_total{direction=\"in\"}") > 1000);
}
