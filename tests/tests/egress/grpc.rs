//! gRPC: a client in one enclave calls a server in another, by name. Both are tonic's, as applications have them.

use serde_json::json;
use tests::{Up, pod, product, wait_for};

use crate::{names, policy, world};

#[test]
fn a_grpc_client_reaches_its_server_by_name() {
    let Some(product) = product() else { return };
    let server = json!({
        "name": "server", "image": "grpc", "args": ["serve", "50051"], "ports": [{"containerPort": 50051}],
    });
    let server = Up::start(
        &product,
        &[pod(json!({"containers": [server]}))],
        &["--publish", "0:50051"],
    );
    server.wait_log("serving");
    let port = server.port(50051);
    let target = format!("api.egress.example:{port}");
    let client = json!({"name": "client", "image": "grpc", "args": ["call", target]});
    let spec = json!({"restartPolicy": "Never", "containers": [client]});
    let rules = json!([names(&["api.egress.example"], &[port])]);
    let mut flags: Vec<String> = world::LOCAL.map(str::to_owned).to_vec();
    flags.extend(world::resolve(&["api.egress.example"], port));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut up = Up::start(&product, &[pod(spec), policy(&rules)], &flags);
    up.wait_log("1000 numbers, sum 499500");
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    assert!(up.stdout().contains("turned 1048576"), "{}", up.stdout());
    wait_for("the server to be alone again", || {
        server
            .metrics()
            .lines()
            .any(|line| line.starts_with("cloister_ingress_open_connections{") && line.ends_with(" 0"))
            .then_some(())
    });
}
