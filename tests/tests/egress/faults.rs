//! What must not bring egress down: garbage at the resolver, a container with too many connections, a host that dies.

use nix::sys::signal::Signal;
use serde_json::json;
use tests::{Up, guest, pod, product};

use crate::world;
use crate::{names, policy, wait_event};

#[test]
fn the_resolver_survives_garbage() {
    let Some(product) = product() else { return };
    let spec =
        json!({"restartPolicy": "Never", "containers": [guest("hostile", &["dns-corpus", "still.example"])]});
    let rules = json!([names(&["*.example"], &[443])]);
    let mut up = Up::start(&product, &[pod(spec), policy(&rules)], &[]);
    up.wait_log("corpus: still.example is 127.");
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    assert!(!up.console().contains("panic"), "{}", up.console());
}

#[test]
fn a_container_with_too_many_connections_is_bounded_and_the_others_come_back() {
    let Some(product) = product() else { return };
    let port = world::server(b"", false);
    let text = port.to_string();
    let storm = |name: &str| guest(name, &["storm", "echo.example", &text, "700"]);
    let rules = json!([names(&["echo.example"], &[port])]);
    let mut flags: Vec<String> = world::LOCAL.map(str::to_owned).to_vec();
    flags.extend(world::resolve(&["echo.example"], port));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let spec = json!({"restartPolicy": "Never", "containers": [storm("one"), storm("two")]});
    let mut up = Up::start(&product, &[pod(spec), policy(&rules)], &flags);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    let text = up.stdout();
    let works: Vec<usize> = text
        .lines()
        .filter_map(|line| line.split_once("storm: ")?.1.split_once(" work ")?.0.parse().ok())
        .collect();
    assert_eq!(works.len(), 2, "{text}");
    // One may have let go before the other was done.
    assert!(works.iter().all(|works| *works > 100), "{text}");
    assert_eq!(text.matches("works again").count(), 2, "{text}");
}

#[test]
fn a_dead_host_fails_connections_and_a_new_one_makes_them_again() {
    let Some(product) = product() else { return };
    let port = world::server(b"", false);
    let text = port.to_string();
    let rules = json!([names(&["echo.example"], &[port])]);
    let mut flags: Vec<String> = world::LOCAL.map(str::to_owned).to_vec();
    flags.extend(world::resolve(&["echo.example"], port));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let spec = json!({"containers": [guest("watch", &["watch-port", "echo.example", &text])]});
    let mut up = Up::start(&product, &[pod(spec), policy(&rules)], &flags);
    up.wait_log("echo.example works");
    up.signal(Signal::SIGKILL);
    let _ = up.wait();
    up.wait_console("connection to echo.example");
    up.start_again(&flags);
    up.wait_log("echo.example fails");
    tests::wait_for("it to work again", || {
        let text = up.stdout();
        let failed = text.rfind("echo.example fails")?;
        text[failed..].contains("echo.example works").then_some(())
    });
    wait_event(&up, Some("watch"), "EgressFailed", "host-proxy does not answer");
}
