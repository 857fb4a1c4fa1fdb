//! Probes of a container: what is asked, how often, and what the answers mean (section 8 of the kubelet semantics).

use crate::decode::Node;
use crate::pod::label;

/// Most `httpHeaders` of one probe.
const MAX_HEADERS: usize = 64;

/// The probes of one container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Probes {
    /// `startupProbe`: until it has succeeded, the others do not run.
    pub startup: Option<ProbePlan>,
    /// `livenessProbe`: its failure restarts the container.
    pub liveness: Option<ProbePlan>,
    /// `readinessProbe`: whether the container serves.
    pub readiness: Option<ProbePlan>,
}

/// One probe, with Kubernetes' defaults (K-230).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbePlan {
    /// What is asked.
    pub handler: ProbeHandler,
    /// Seconds from the container's start to the first probe, default 0.
    pub initial_delay_seconds: u32,
    /// Seconds that an answer may take, default 1.
    pub timeout_seconds: u32,
    /// Seconds between probes, default 10.
    pub period_seconds: u32,
    /// Successes in a row that make a success, default 1.
    pub success_threshold: u32,
    /// Failures in a row that make a failure, default 3.
    pub failure_threshold: u32,
    /// `terminationGracePeriodSeconds` of a container that this probe kills (K-132).
    pub grace_seconds: Option<u32>,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeHandler {
    /// A command in the container: its exit code.
    Exec {
        /// Program and arguments, unexpanded (K-257).
        command: Vec<String>,
    },
    /// An HTTP request: a status from 200 to 399.
    HttpGet(HttpGet),
    /// Whether a TCP port accepts.
    TcpSocket {
        /// The port.
        port: PortRef,
    },
    /// What the gRPC health service says (K-265).
    Grpc {
        /// The port.
        port: u16,
        /// Of which service, default `""`: of the server.
        service: String,
    },
}

/// One HTTP request to the Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGet {
    /// The scheme, default `HTTP`.
    pub scheme: Scheme,
    /// The port.
    pub port: PortRef,
    /// Path and query as written, default `/` (K-262).
    pub path: String,
    /// `httpHeaders`, in order.
    pub headers: Vec<(String, String)>,
}

/// `scheme` of an HTTP request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In clear.
    Http,
    /// Through TLS; the certificate is not verified.
    Https,
}

/// A port as a probe names it (K-263).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortRef {
    /// By its number.
    Number(u16),
    /// By the name of one of the container's ports.
    Name(String),
}

/// Reads the probes of a container.
pub(crate) fn probes(container: &Node<'_>) -> Probes {
    let read = |field, kind| container.get(field).and_then(|node| probe(&node, kind));
    Probes {
        startup: read("startupProbe", Kind::Verdict),
        liveness: read("livenessProbe", Kind::Verdict),
        readiness: read("readinessProbe", Kind::Readiness),
    }
}

/// What differs between the probes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Startup, liveness: one success is enough, and a failure kills.
    Verdict,
    Readiness,
}

fn probe(node: &Node<'_>, kind: Kind) -> Option<ProbePlan> {
    node.fields(
        &[
            "exec",
            "httpGet",
            "tcpSocket",
            "grpc",
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
            "terminationGracePeriodSeconds",
        ],
        &[],
        &[],
    );
    // An explicit 0 is the same as nothing (K-230).
    let number = |field: &str, default: u32| {
        node.get(field)
            .and_then(|n| n.unsigned(0, i32::MAX as u32))
            .filter(|n| *n > 0)
            .unwrap_or(default)
    };
    let success_threshold = number("successThreshold", 1);
    if kind == Kind::Verdict && success_threshold != 1 {
        node.error_at("successThreshold", "must be 1");
    }
    let grace = "terminationGracePeriodSeconds";
    if kind == Kind::Readiness && node.get(grace).is_some() {
        node.error_at(grace, "must not be set for readinessProbes");
    }
    Some(ProbePlan {
        handler: handler(node)?,
        initial_delay_seconds: number("initialDelaySeconds", 0),
        timeout_seconds: number("timeoutSeconds", 1),
        period_seconds: number("periodSeconds", 10),
        success_threshold,
        failure_threshold: number("failureThreshold", 3),
        grace_seconds: node.get(grace).and_then(|n| n.unsigned(1, i32::MAX as u32)),
    })
}

fn handler(node: &Node<'_>) -> Option<ProbeHandler> {
    let get = |field| node.get(field);
    match (get("exec"), get("httpGet"), get("tcpSocket"), get("grpc")) {
        (Some(exec), None, None, None) => {
            let command = command(&exec)?;
            Some(ProbeHandler::Exec { command })
        }
        (None, Some(get), None, None) => http_get(&get).map(ProbeHandler::HttpGet),
        (None, None, Some(socket), None) => {
            socket.fields(&["port", "host"], &[], &[]);
            host(&socket);
            let port = port(&socket)?;
            Some(ProbeHandler::TcpSocket { port })
        }
        (None, None, None, Some(grpc)) => {
            grpc.fields(&["port", "service"], &[], &[]);
            let Some(port) = grpc.get("port") else {
                grpc.error_at("port", "is required");
                return None;
            };
            Some(ProbeHandler::Grpc {
                port: u16::try_from(port.int(1, 65535)?).ok()?,
                service: grpc.text_of("service").unwrap_or_default(),
            })
        }
        _ => {
            node.error("expected exactly one of exec, httpGet, tcpSocket and grpc");
            None
        }
    }
}

/// `exec`.
pub(crate) fn command(exec: &Node<'_>) -> Option<Vec<String>> {
    exec.fields(&["command"], &[], &[]);
    let command = exec.get("command").map(|n| n.texts(4096)).unwrap_or_default();
    if command.is_empty() {
        exec.error_at("command", "is required");
        return None;
    }
    Some(command)
}

/// `httpGet`.
pub(crate) fn http_get(node: &Node<'_>) -> Option<HttpGet> {
    node.fields(&["path", "port", "host", "scheme", "httpHeaders"], &[], &[]);
    host(node);
    let scheme = match node.text_of("scheme").as_deref() {
        None | Some("" | "HTTP") => Scheme::Http,
        Some("HTTPS") => Scheme::Https,
        Some(_) => {
            node.error_at("scheme", "must be HTTP or HTTPS");
            Scheme::Http
        }
    };
    let path = node.text_of("path").filter(|path| !path.is_empty());
    let headers = node
        .list_of("httpHeaders", MAX_HEADERS)
        .iter()
        .filter_map(header)
        .collect();
    Some(HttpGet {
        scheme,
        port: port(node)?,
        path: path.unwrap_or_else(|| "/".to_owned()),
        headers,
    })
}

/// A line break in a header would start another one.
fn header(node: &Node<'_>) -> Option<(String, String)> {
    node.fields(&["name", "value"], &[], &[]);
    let (name, value) = (node.required("name")?, node.text_of("value").unwrap_or_default());
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_token) {
        node.error_at("name", "must be the name of an HTTP header");
    }
    if value.chars().any(char::is_control) {
        node.error_at("value", "must not contain control characters");
    }
    Some((name, value))
}

/// There is nothing in an enclave but the Pod: whatever is probed is at its own address.
fn host(node: &Node<'_>) {
    let host = node.text_of("host").filter(|host| !host.is_empty());
    if host.is_some_and(|host| !["127.0.0.1", "::1", "localhost"].contains(&host.as_str())) {
        node.error_at("host", "must be the Pod itself: leave it out, or say 127.0.0.1");
    }
}

fn port(node: &Node<'_>) -> Option<PortRef> {
    let Some(port) = node.get("port") else {
        node.error_at("port", "is required");
        return None;
    };
    if !port.value.is_string() {
        let number = port.int(1, 65535)?;
        return u16::try_from(number).ok().map(PortRef::Number);
    }
    let name = port.text()?;
    if let Ok(number) = name.parse::<u16>()
        && number > 0
    {
        return Some(PortRef::Number(number));
    }
    if name.len() > 15 || !label(&name) {
        port.error("must be a number from 1 to 65535 or the name of a port");
    }
    Some(PortRef::Name(name))
}
