//! gRPC: Debian's own client in one enclave calls Debian's own server in another, by name.

use serde_json::{Value, json};
use tests::{Up, pod, product, wait_for};

use crate::{names, policy, world};

/// A method that turns its message around, and one that streams.
const SERVER: &str = r#"
import grpc, concurrent.futures
def turn(request, context): return request[::-1]
def count(request, context):
    for number in range(int(request)): yield b"%d" % number
handlers = grpc.method_handlers_generic_handler("test.Echo", {
    "Turn": grpc.unary_unary_rpc_method_handler(turn),
    "Count": grpc.unary_stream_rpc_method_handler(count)})
server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((handlers,))
assert server.add_insecure_port("127.0.0.1:50051")
server.start()
print("serving", flush=True)
server.wait_for_termination()
"#;
const CLIENT: &str = r#"
import grpc, sys
with grpc.insecure_channel(sys.argv[1]) as channel:
    text = bytes(range(256)) * 4096
    turned = channel.unary_unary("/test.Echo/Turn")(text, timeout=120, wait_for_ready=True)
    assert turned == text[::-1]
    numbers = channel.unary_stream("/test.Echo/Count")(b"1000", timeout=120)
    print("sum", sum(int(number) for number in numbers), flush=True)
"#;

/// A Pod that runs this program, and the program.
fn python(text: &str, arguments: &[&str], ports: &Value) -> [Value; 2] {
    let program = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "program"},
                         "data": {"main.py": text}});
    let mut words = vec!["/program/main.py"];
    words.extend(arguments);
    let container = json!({
        "name": "python", "image": "grpc", "command": ["/usr/bin/python3"], "args": words, "ports": ports,
        "volumeMounts": [{"name": "program", "mountPath": "/program"}],
    });
    let volumes = json!([{"name": "program", "configMap": {"name": "program"}}]);
    let spec = json!({"restartPolicy": "Never", "containers": [container], "volumes": volumes});
    [program, pod(spec)]
}

#[test]
fn a_grpc_client_reaches_its_server_by_name() {
    let Some(product) = product() else { return };
    let Some(images) = std::env::var_os("CLOISTER_GRPC") else {
        println!("SKIPPED: there is no image with gRPC: it needs mmdebstrap and the Debian archive");
        return;
    };
    let images = images.to_str().expect("UTF-8").to_owned();
    let ports = json!([{"containerPort": 50051}]);
    let flags = ["--images", &images, "--publish", "0:50051"];
    let server = Up::start(&product, &python(SERVER, &[], &ports), &flags);
    server.wait_log("serving");
    let port = server.port(50051);
    let target = format!("api.egress.example:{port}");
    let [program, client] = python(CLIENT, &[&target], &json!([]));
    let rules = json!([names(&["api.egress.example"], &[port])]);
    let mut flags = vec!["--images".to_owned(), images.clone()];
    flags.extend(world::LOCAL.map(str::to_owned));
    flags.extend(world::resolve(&["api.egress.example"], port));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut up = Up::start(&product, &[program, client, policy(&rules)], &flags);
    up.wait_log("sum 499500");
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    wait_for("the server to be alone again", || {
        server
            .metrics()
            .lines()
            .any(|line| line.starts_with("cloister_ingress_open_connections{") && line.ends_with(" 0"))
            .then_some(())
    });
}
