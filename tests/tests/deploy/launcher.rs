//! The manifests against `host-proxy` itself: its command line, its bundle reader, its health endpoints.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};

use host_proxy::cli::{self, Command, Serving, Verb};
use host_proxy::egress::{Egress, EgressOptions};
use host_proxy::enclave::Enclave;
use host_proxy::http::{Site, serve_tcp};
use host_proxy::ingress::{Ingress, When};
use host_proxy::logs::Ring;
use host_proxy::room::Room;
use host_proxy::view::{Publisher, Snapshot};
use manifest_sync::config::EnclaveConfig;
use serde_json::{Value, json};

use crate::files::{self, containers, objects, pod_spec, string};

/// Files with commands for `host-proxy`.
const MANIFESTS: [&str; 2] = ["deployment.yaml", "sidecar.yaml"];

/// Every argument list for `host-proxy` in the manifests and the unit, and where it stands.
fn commands() -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for name in MANIFESTS {
        objects("", &files::document(name), &mut |at, object| {
            let words = |field: &str| -> Vec<String> {
                let items = object.get(field).and_then(Value::as_array).into_iter().flatten();
                items
                    .map(|item| item.as_str().expect("a word").to_owned())
                    .collect()
            };
            let line: Vec<_> = [words("command"), words("args")].concat();
            if line.first().is_some_and(|program| program == "host-proxy") {
                found.push((format!("deploy/{name}{at}"), line[1..].to_vec()));
            }
        });
    }
    let unit = files::text("cloister@.service");
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/usr/bin/host-proxy "));
    let line = line
        .expect("the unit starts host-proxy")
        .replace("%i", "web")
        .replace("$OPTIONS", "");
    found.push((
        "deploy/cloister@.service".to_owned(),
        line.split_whitespace().map(str::to_owned).collect(),
    ));
    found
}

fn parse(words: &[String]) -> Result<Command, cli::UsageError> {
    cli::parse(words.iter().map(OsString::from))
}

/// `--name=value` of an argument list.
fn flag<'a>(words: &'a [String], name: &str) -> Option<&'a str> {
    words
        .iter()
        .find_map(|word| word.strip_prefix(&format!("--{name}=")))
}

#[test]
fn host_proxy_understands_its_commands() {
    let commands = commands();
    let verbs: Vec<_> = commands.iter().map(|(_, words)| words[0].as_str()).collect();
    assert_eq!(verbs, ["up", "stop", "serve", "up"]);
    let nitro = cli::help_text(Some(Verb::Up)).contains("--eif");
    if !nitro {
        println!(
            "SKIPPED: this host-proxy has no nitro back-end yet, so the arguments of `up` are not parsed"
        );
    }
    for (at, words) in commands.iter().filter(|(_, words)| nitro || words[0] != "up") {
        parse(words).unwrap_or_else(|error| panic!("{at}: {error}"));
    }
}

/// What `serve` does by default and `up` is told: listen on all addresses, health on one known port.
#[test]
fn probes_ask_for_what_host_proxy_serves() {
    let serving = match parse(&["serve", "--enclave=vsock:16"].map(str::to_owned)).expect("parses") {
        Command::Serve(serve) => serve.serving,
        other => panic!("{other:?}"),
    };
    let Serving {
        http_address,
        ingress_address,
        ..
    } = serving;
    let health = http_address.expect("on by default");
    assert!(health.ip().is_unspecified() && ingress_address.is_unspecified());

    let (up, words) = commands().remove(0);
    assert_eq!(
        flag(&words, "http-address"),
        Some(health.to_string().as_str()),
        "{up}"
    );
    assert_eq!(flag(&words, "ingress-address"), Some("0.0.0.0"), "{up}");

    let served = Health::start();
    for name in MANIFESTS {
        let mut paths = Vec::new();
        let object = files::document(name);
        for container in containers(pod_spec(&object)) {
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                let Some(get) = container.pointer(&format!("/{probe}/httpGet")) else {
                    continue;
                };
                let path = string(get, "path");
                assert_ne!(served.get(path), 404, "deploy/{name}: {probe} asks for {path}");
                let mut ports = container["ports"].as_array().expect("ports").iter();
                let port = ports
                    .find(|port| port["name"] == get["port"])
                    .expect("the port is named");
                assert_eq!(
                    port["containerPort"],
                    json!(health.port()),
                    "deploy/{name}: {probe}"
                );
                paths.push((probe, path.to_owned()));
            }
        }
        let wanted = [
            ("startupProbe", "/livez"),
            ("livenessProbe", "/livez"),
            ("readinessProbe", "/readyz"),
        ];
        assert_eq!(
            paths,
            wanted.map(|(probe, path)| (probe, path.to_owned())),
            "deploy/{name}"
        );
    }
    // Without an enclave: alive, not ready. The probes can tell the two apart.
    assert_eq!(
        (served.get("/livez"), served.get("/readyz"), served.get("/health")),
        (200, 503, 404)
    );
}

/// host-proxy's own HTTP server, without an enclave, in this process.
struct Health {
    port: u16,
    _publisher: Publisher,
}

impl Health {
    fn start() -> Self {
        let publisher = Publisher::new(Snapshot::new());
        let (control, _) = tokio::sync::mpsc::channel(1);
        let site = Site {
            enclave: Enclave::new("unix:/nowhere".parse().expect("an address")),
            view: publisher.subscribe(),
            ingress: Ingress::new(
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                Vec::new(),
                When::Ready,
                Room::default(),
            ),
            egress: Egress::new(EgressOptions::default(), Room::default()),
            logs: Ring::new(),
            control,
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        // It serves until the test binary ends.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                serve_tcp(listener, site).await;
            });
        });
        Self {
            port,
            _publisher: publisher,
        }
    }

    /// Status of the answer.
    fn get(&self, path: &str) -> u16 {
        http_status(self.port, path)
    }
}

/// Status of the answer of an HTTP server on this machine.
pub(crate) fn http_status(port: u16, path: &str) -> u16 {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: health\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn the_bundle_is_the_example_and_is_accepted() {
    let map = files::document("configmap.yaml");
    let bundle = map
        .pointer("/data/pod.yaml")
        .and_then(Value::as_str)
        .expect("a bundle");
    let example = std::fs::read_to_string(files::repository("examples/web/pod.yaml")).expect("the example");
    assert!(
        bundle == example,
        "copy examples/web/pod.yaml into deploy/configmap.yaml, indented by four"
    );

    let scratch = tempfile::tempdir().expect("a scratch directory");
    let names = ["web-http:latest", "web-ticker:latest"].map(|name| {
        json!({"digest": format!("sha256:{}", "0".repeat(64)),
               "annotations": {"org.opencontainers.image.ref.name": name}})
    });
    std::fs::write(
        scratch.path().join("index.json"),
        json!({"manifests": names}).to_string(),
    )
    .expect("a layout");
    let file = scratch.path().join("pod.yaml");
    std::fs::write(&file, bundle).expect("a manifest");
    let loaded = host_proxy::bundle::load(&cli::Source::Manifests(vec![file]), Some(scratch.path()))
        .expect("host-proxy accepts the bundle");

    for name in MANIFESTS {
        let object = files::document(name);
        let pod = pod_spec(&object);
        let declared: Vec<_> = containers(pod)
            .filter_map(|container| container["ports"].as_array())
            .flatten()
            .filter(|port| port["name"] == "http")
            .map(|port| port["containerPort"].clone())
            .collect();
        let outside: Vec<_> = loaded.ports.iter().map(|port| json!(port.host)).collect();
        assert_eq!(
            declared, outside,
            "deploy/{name}: the launcher's ports are those of the Pod"
        );
        let grace = pod["terminationGracePeriodSeconds"]
            .as_u64()
            .expect("a grace period");
        let inner: Value = serde_norway::Deserializer::from_str(bundle)
            .next()
            .map(|pod| serde::Deserialize::deserialize(pod).expect("YAML"))
            .expect("a Pod");
        let inner = inner["spec"]["terminationGracePeriodSeconds"]
            .as_u64()
            .expect("a grace period");
        assert!(
            grace >= inner + 20,
            "deploy/{name}: the enclave needs time to end after its Pod"
        );
    }
}

#[test]
fn the_documented_configuration_is_the_default_of_an_image() {
    let page = std::fs::read_to_string(files::repository("docs/build-pipeline.md")).expect("the page");
    let mut blocks = page
        .split("```json\n")
        .filter_map(|rest| rest.split("```").next());
    let block = blocks
        .find(|block| block.contains("\"listen\""))
        .expect("a configuration");
    let documented: Value = serde_json::from_str(block).expect("JSON");
    let default = serde_json::to_value(EnclaveConfig::machine()).expect("JSON");
    assert_eq!(documented, default);
}

#[test]
fn files_flags_and_resources_agree() {
    let map = files::document("configmap.yaml");
    let docker = files::text("Dockerfile");
    for (at, words) in commands()
        .iter()
        .filter(|(at, words)| !at.contains("service") && words[0] != "stop")
    {
        let file = flag(words, "file").and_then(|file| file.strip_prefix("/etc/cloister/"));
        let key = file.unwrap_or_else(|| panic!("{at}: no bundle"));
        assert!(
            map["data"].get(key).is_some(),
            "{at}: {key} is not in the ConfigMap"
        );
        for copied in ["eif", "images"].iter().filter_map(|name| flag(words, name)) {
            assert!(
                docker.contains(&format!(" {copied}\n")),
                "{at}: {copied} is not in the image"
            );
        }
    }
    for name in MANIFESTS {
        let object = files::document(name);
        let pod = pod_spec(&object);
        let volumes = pod["volumes"].as_array().expect("volumes");
        assert!(
            volumes
                .iter()
                .any(|volume| volume["configMap"]["name"] == map["metadata"]["name"])
        );
        assert!(
            volumes
                .iter()
                .any(|volume| volume["emptyDir"]["medium"] == "HugePages")
        );
        let mut starts = containers(pod).filter(|container| container.to_string().contains("/cloister.eif"));
        let starts = starts.next().expect("somebody starts the enclave");
        let limits = &starts["resources"]["limits"];
        assert_eq!(limits["aws.ec2.nitro/nitro_enclaves"], "1", "deploy/{name}");
        // nitro-cli counts in MiB.
        let memory = limits["hugepages-2Mi"]
            .as_str()
            .and_then(|amount| amount.strip_suffix("Mi"));
        let memory = memory.expect("hugepages in MiB");
        let words = starts.to_string();
        let told = ["--memory=", "--memory "].map(|flag| format!("{flag}{memory}"));
        assert!(
            told.iter().any(|flag| words.contains(flag)),
            "deploy/{name}: enclave memory and hugepages"
        );
    }
}
