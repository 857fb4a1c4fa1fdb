//! A database client: one enclave reaches the Redis of another by name.

use serde_json::json;
use tests::{Up, pod, product};

use crate::world;
use crate::{names, policy};

#[test]
fn a_database_client_reaches_its_server_by_name() {
    let Some(product) = product() else { return };
    let Some(images) = std::env::var_os("CLOISTER_REDIS") else {
        println!("SKIPPED: there is no Redis image: it needs mmdebstrap and the Debian archive");
        return;
    };
    let images = images.to_str().expect("UTF-8").to_owned();
    let server = json!({"containers": [{
        "name": "redis", "image": "redis", "ports": [{"containerPort": 6379}],
        "args": ["--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""],
    }]});
    let server = Up::start(
        &product,
        &[pod(server)],
        &["--images", &images, "--publish", "0:6379"],
    );
    server.wait_running("redis");
    let port = server.port(6379);
    server.wait_log("Ready to accept connections");
    let client = json!({
        "name": "client", "image": "redis", "command": ["/usr/bin/redis-cli"],
        "args": ["-h", "db.egress.example", "-p", port.to_string(), "SET", "key", "value"],
    });
    let spec = json!({"restartPolicy": "Never", "containers": [client]});
    let rules = json!([names(&["db.egress.example"], &[port])]);
    let mut flags = vec!["--images".to_owned(), images];
    flags.extend(world::LOCAL.map(str::to_owned));
    flags.extend(world::resolve(&["db.egress.example"], port));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut up = Up::start(&product, &[pod(spec), policy(&rules)], &flags);
    up.wait_log("OK");
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    let got = std::process::Command::new("redis-cli")
        .args(["-p", &port.to_string(), "GET", "key"])
        .output();
    if let Ok(got) = got {
        assert_eq!(String::from_utf8_lossy(&got.stdout).trim(), "value");
    }
}
