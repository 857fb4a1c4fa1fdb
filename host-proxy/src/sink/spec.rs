//! `--log-sink SPEC`: text → what a sink is. Nothing here opens a file or a socket.

use std::path::PathBuf;
use std::time::Duration;

use super::options::Options;

/// One sink as the user wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// In metrics, messages, and the file with its place.
    pub name: String,
    /// Where records go.
    pub target: Target,
    /// Bytes that make a batch full.
    pub batch_bytes: usize,
    /// How long a batch that is not full may wait.
    pub batch_wait: Duration,
}

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output of this process.
    Stdout(Format),
    /// Files in the kubelet's layout.
    Files(Files),
    /// A syslog server.
    Syslog(Syslog),
    /// An OpenTelemetry collector.
    Otlp(Endpoint),
    /// Loki.
    Loki(Loki),
}

/// How standard output looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `NAME | line`, for people.
    Text,
    /// One JSON object for each line.
    Json,
    /// As container runtimes write log files.
    Cri,
}

/// `file:DIR`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// What is /var/log/pods on a node.
    pub directory: PathBuf,
    /// A file that would get larger is rotated first.
    pub max_bytes: u64,
    /// Files kept of one instance, the current one among them.
    pub max_files: usize,
}

/// `syslog+tcp://` and `syslog+tls://`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syslog {
    /// Host and port.
    pub server: Server,
    /// RFC 5424, section 6.2.1.
    pub facility: u8,
    /// Longest message; longer records become several.
    pub max_message: usize,
}

/// `loki+http(s)://`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loki {
    /// The server.
    pub endpoint: Endpoint,
    /// Labels beside those of the Pod.
    pub labels: Vec<(String, String)>,
    /// Whether structured metadata is sent, which Loki knows since version 3.
    pub metadata: bool,
}

/// Something that speaks HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host and port.
    pub server: Server,
    /// Path of the requests.
    pub path: String,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// Headers of every request.
    pub headers: Vec<(String, String)>,
    /// File with a token for `Authorization: Bearer`.
    pub bearer_file: Option<PathBuf>,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// A server to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS, and how its certificate is verified.
    pub tls: Option<Tls>,
}

/// TLS of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// File with the certificates to trust (PEM); none: those of the web.
    pub ca: Option<PathBuf>,
    /// Name in the certificate, when it is not that of the host.
    pub server_name: Option<String>,
}

/// Bounds of a batch: one that cannot hold a record, or that fills the memory, is a mistake.
const BATCH_BYTES: (u64, u64) = (1 << 10, 16 << 20);

impl Spec {
    /// The sink that prints for people or programs, without a word from the user.
    pub fn stdout(format: Format) -> Self {
        Self {
            name: "stdout".to_owned(),
            target: Target::Stdout(format),
            batch_bytes: 64 << 10,
            batch_wait: Duration::ZERO,
        }
    }

    /// Reads `KIND[:WHERE][,OPTION=VALUE]…`.
    ///
    /// # Errors
    /// What is wrong, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (target, options) = text.split_once(',').unwrap_or((text, ""));
        let mut options = Options::parse(options)?;
        let (kind, place) = target.split_once(':').unwrap_or((target, ""));
        let (name, batch_bytes, batch_wait) = match kind {
            "stdout" => ("stdout", 64 << 10, Duration::ZERO),
            "file" => ("file", 256 << 10, Duration::ZERO),
            "syslog+tcp" | "syslog+tls" => ("syslog", 64 << 10, Duration::ZERO),
            "otlp+http" | "otlp+https" => ("otlp", 512 << 10, Duration::from_secs(1)),
            "loki+http" | "loki+https" => ("loki", 512 << 10, Duration::from_secs(1)),
            other => {
                return Err(format!(
                    "`{other}` is not a kind of sink; there are stdout, file:DIR, syslog+tcp://HOST:PORT, \
                     syslog+tls://HOST:PORT, otlp+http[s]://HOST[:PORT] and loki+http[s]://HOST[:PORT]"
                ));
            }
        };
        let spec = Self {
            name: options.name()?.unwrap_or_else(|| name.to_owned()),
            target: match kind {
                "stdout" if place.is_empty() => Target::Stdout(options.format()?),
                "stdout" => return Err(format!("stdout has no `{place}`; write stdout,format=json")),
                "file" => Target::Files(files(place, &mut options)?),
                "syslog+tcp" | "syslog+tls" => Target::Syslog(syslog(kind, place, &mut options)?),
                "otlp+http" | "otlp+https" => Target::Otlp(endpoint(kind, place, "/v1/logs", &mut options)?),
                _ => Target::Loki(Loki {
                    endpoint: endpoint(kind, place, "/loki/api/v1/push", &mut options)?,
                    labels: options.prefixed("label."),
                    metadata: options.flag("metadata", false)?,
                }),
            },
            batch_bytes: usize::try_from(options.bytes("batch-bytes", batch_bytes, BATCH_BYTES)?)
                .unwrap_or(usize::MAX),
            batch_wait: options.duration("batch-wait", batch_wait)?,
        };
        options.finish(kind)?;
        Ok(spec)
    }
}

fn files(place: &str, options: &mut Options) -> Result<Files, String> {
    if place.is_empty() {
        return Err("the directory is missing, for instance file:/var/log/pods".to_owned());
    }
    Ok(Files {
        directory: place.into(),
        // The kubelet's containerLogMaxSize and containerLogMaxFiles, and their defaults.
        max_bytes: options.bytes("max-size", 10 << 20, (64 << 10, 1 << 40))?,
        max_files: usize::try_from(options.number("max-files", 5, (2, 1000))?).unwrap_or(5),
    })
}

fn syslog(kind: &str, place: &str, options: &mut Options) -> Result<Syslog, String> {
    let (server, path) = server(kind, place, options)?;
    if !path.is_empty() {
        return Err(format!("a syslog server has no path `{path}`"));
    }
    Ok(Syslog {
        server,
        // local0, because what a container writes is nobody else's.
        facility: u8::try_from(options.number("facility", 16, (0, 23))?).unwrap_or(16),
        // What rsyslog takes unless it is told otherwise. RFC 5424 asks receivers for 2048 only.
        max_message: usize::try_from(options.bytes("max-message", 8 << 10, (480, 64 << 10))?)
            .unwrap_or(8 << 10),
    })
}

fn endpoint(kind: &str, place: &str, default: &str, options: &mut Options) -> Result<Endpoint, String> {
    let (server, path) = server(kind, place, options)?;
    let path = if path.is_empty() || path == "/" {
        default
    } else {
        path
    };
    let mut headers = options.prefixed("header.");
    if let Some(tenant) = options.take("tenant") {
        headers.push(("X-Scope-OrgID".to_owned(), tenant));
    }
    for (name, value) in &headers {
        let good = hyper::header::HeaderName::try_from(name).is_ok()
            && hyper::header::HeaderValue::try_from(value).is_ok();
        if !good {
            return Err(format!("`{name}` is no header, or its value is none"));
        }
    }
    Ok(Endpoint {
        server,
        path: path.to_owned(),
        gzip: options.flag("gzip", false)?,
        headers,
        bearer_file: options.take("bearer-file").map(PathBuf::from),
        timeout: options.duration("timeout", Duration::from_secs(10))?,
    })
}

/// `//HOST[:PORT][/PATH]` → the server and the path.
fn server<'a>(kind: &str, place: &'a str, options: &mut Options) -> Result<(Server, &'a str), String> {
    let wrong = || format!("`{kind}:{place}` is not {kind}://HOST:PORT");
    let rest = place.strip_prefix("//").ok_or_else(wrong)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        // A colon within brackets belongs to an IPv6 address.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse::<u16>().map_err(|_| wrong())?)),
        _ => (authority, None),
    };
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let plain = |character: char| character.is_ascii_alphanumeric() || "-._:%".contains(character);
    if host.is_empty() || !host.chars().all(plain) {
        return Err(wrong());
    }
    let default = match kind {
        "syslog+tcp" => 601,
        "syslog+tls" => 6514,
        "otlp+http" | "otlp+https" => 4318,
        "loki+https" => 443,
        _ => 3100,
    };
    let tls = (kind.ends_with("tls") || kind.ends_with("https"))
        .then(|| -> Result<Tls, String> {
            let tls = Tls {
                ca: options.take("ca").map(PathBuf::from),
                server_name: options.take("server-name"),
            };
            let name = tls.server_name.as_deref().unwrap_or(host);
            match rustls_pki_types::ServerName::try_from(name) {
                Ok(_) => Ok(tls),
                Err(_) => Err(format!("`{name}` is no name that a certificate can have")),
            }
        })
        .transpose()?;
    let server = Server {
        host: host.to_owned(),
        port: port.unwrap_or(default),
        tls,
    };
    Ok((server, path))
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
