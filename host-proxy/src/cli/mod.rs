//! The command line: arguments → [`Command`], with every mistake reported at once.
//! Nothing here opens a file or a socket.

mod finish;
mod help;
mod known;
mod logs;
mod machine;
mod parse;
mod spelling;
mod values;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use manifest_sync::exec::Request;
use manifest_sync::plan::Protocol;
use manifest_sync::protocol::GateCondition;

use crate::backend::{nitro, qemu};
use crate::broker::BrokerAddress;
use crate::egress::EgressOptions;
use crate::ingress::When;
use crate::sink::LogOptions;

pub use help::text as help_text;
pub use parse::{UsageError, parse};

/// What the user asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Start an enclave (or pick up a running one), apply the bundle, serve until the Pod ends.
    Up(Up),
    /// Serve a running enclave.
    Serve(Serve),
    /// Hand a bundle to the running proxy.
    Apply {
        /// Which proxy.
        target: Target,
        /// What to apply.
        source: Source,
        /// Where image tags are looked up.
        images: Option<PathBuf>,
    },
    /// Change the running Pod.
    Update {
        /// Which proxy.
        target: Target,
        /// The bundle that takes the place of the one that runs.
        source: Source,
        /// Where image tags are looked up.
        images: Option<PathBuf>,
    },
    /// Show the Pod.
    Status {
        /// Which proxy.
        target: Target,
        /// How to print it.
        output: Output,
        /// Print again on every change until the proxy ends.
        watch: bool,
    },
    /// Show logs.
    Logs {
        /// Which proxy.
        target: Target,
        /// Only this container.
        container: Option<String>,
        /// Go on until the proxy ends.
        follow: bool,
    },
    /// Execute a command in a container.
    Exec {
        /// Which proxy.
        target: Target,
        /// What, and where.
        request: Request,
    },
    /// Stop the Pod.
    Stop {
        /// Which proxy.
        target: Target,
        /// Overrides `terminationGracePeriodSeconds`.
        grace: Option<u32>,
    },
    /// Set a condition that the Pod has a readiness gate for.
    Condition {
        /// Which proxy.
        target: Target,
        /// The condition.
        condition: GateCondition,
    },
    /// Sign a bundle, or add a signature.
    Sign(Sign),
    /// Show what a bundle is, who signed it, and what it will measure.
    Inspect(Inspect),
    /// Open sealed logs.
    Unseal(Unseal),
    /// Print the version.
    Version,
    /// Print the help of a command, or of the whole program (`None`).
    Help(Option<Verb>),
}

/// The commands by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `up`
    Up,
    /// `serve`
    Serve,
    /// `apply`
    Apply,
    /// `update`
    Update,
    /// `status`
    Status,
    /// `logs`
    Logs,
    /// `exec`
    Exec,
    /// `stop`
    Stop,
    /// `condition`
    Condition,
    /// `sign`
    Sign,
    /// `inspect`
    Inspect,
    /// `unseal`
    Unseal,
}

impl Verb {
    /// All of them, in the order of the help.
    pub const ALL: [Self; 12] = [
        Self::Up,
        Self::Serve,
        Self::Apply,
        Self::Update,
        Self::Status,
        Self::Logs,
        Self::Exec,
        Self::Stop,
        Self::Condition,
        Self::Sign,
        Self::Inspect,
        Self::Unseal,
    ];

    /// As typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Serve => "serve",
            Self::Apply => "apply",
            Self::Update => "update",
            Self::Status => "status",
            Self::Logs => "logs",
            Self::Exec => "exec",
            Self::Stop => "stop",
            Self::Condition => "condition",
            Self::Sign => "sign",
            Self::Inspect => "inspect",
            Self::Unseal => "unseal",
        }
    }
}

/// Where a bundle comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Manifest files, at least one: they become a bundle.
    Manifests(Vec<PathBuf>),
    /// A bundle that is ready, in a signed envelope or as such: it travels as it is.
    Bundle(PathBuf),
}

/// Options of `sign`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// What to sign; an envelope gets further signatures.
    pub source: Source,
    /// OCI image layout directory, where image tags are looked up.
    pub images: Option<PathBuf>,
    /// Private keys, PEM; at least one.
    pub keys: Vec<PathBuf>,
    /// Sets the application of the bundle.
    pub application: Option<String>,
    /// Sets the generation of the bundle.
    pub generation: Option<u64>,
    /// Sets the broker's key, a public one in PEM, of classes that have none.
    pub broker_key: Option<PathBuf>,
    /// Where the envelope goes; `None`: standard output.
    pub out: Option<PathBuf>,
}

/// Options of `inspect`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspect {
    /// What to look at.
    pub source: Source,
    /// OCI image layout directory, where image tags are looked up.
    pub images: Option<PathBuf>,
    /// The trust policy to judge it by.
    pub policy: Option<PathBuf>,
    /// Public keys to check signatures with, beside those of the policy.
    pub keys: Vec<PathBuf>,
    /// What to print.
    pub print: Print,
}

/// Options of `unseal`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseal {
    /// The log back-end's private key, PEM.
    pub key: PathBuf,
    /// What a sink has written; none, or `-`: standard input.
    pub files: Vec<PathBuf>,
    /// How lines are printed.
    pub format: LogFormat,
}

/// What `inspect` prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Print {
    /// What it found out.
    Report(Output),
    /// A policy for a secret service that gives this bundle's secrets to enclaves of this image, under this policy.
    BrokerPolicy(Image),
}

/// What an enclave is started from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// Measurements as `cargo xtask eif` and `nitro-cli build-enclave` print them.
    Measured(PathBuf),
    /// The `cloister-init` of the local back-end.
    Local(PathBuf),
}

/// Options of `up`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Up {
    /// What to run.
    pub source: Source,
    /// OCI image layout directory.
    pub images: Option<PathBuf>,
    /// Which enclave; the default name is the Pod's.
    pub target: Target,
    /// How the enclave comes to be.
    pub backend: Backend,
    /// What both `up` and `serve` know.
    pub serving: Serving,
}

/// `--backend` and the options that belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// Namespaces on this machine.
    Local {
        /// Path of the `cloister-init` binary; default: beside `host-proxy`.
        init: Option<PathBuf>,
        /// Trust policy of the enclave; default: every bundle may run.
        policy: Option<PathBuf>,
    },
    /// QEMU's `nitro-enclave` machine.
    Qemu(qemu::Options),
    /// An enclave on EC2.
    Nitro {
        /// Image, debug mode, CID.
        options: nitro::Options,
        /// vCPUs; default: from the Pod's limits.
        cpus: Option<u32>,
        /// Memory, MiB; default: from the Pod's limits.
        memory_mib: Option<u64>,
    },
}

/// Options of `serve`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serve {
    /// Address of the enclave, as text of the link.
    pub enclave: String,
    /// What to apply when the enclave has nothing; none: wait for `apply`.
    pub source: Option<Source>,
    /// OCI image layout directory.
    pub images: Option<PathBuf>,
    /// Where the session key and the socket live.
    pub target: Target,
    /// What both `up` and `serve` know.
    pub serving: Serving,
}

/// What `up` and `serve` have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    /// Ports published beside or instead of those that the Pod declares.
    pub publish: Vec<Publish>,
    /// Address to listen on for ingress.
    pub ingress_address: IpAddr,
    /// When clients are let in.
    pub ingress_when: When,
    /// Secret service that the enclave is connected with when it asks for one.
    pub broker: Option<BrokerAddress>,
    /// What the Pod's connections may reach, as far as this side has a say.
    pub egress: EgressOptions,
    /// Address of the read-only HTTP server; `None`: off.
    pub http_address: Option<SocketAddr>,
    /// How logs are printed.
    pub log_format: LogFormat,
    /// Where logs go.
    pub logs: LogOptions,
}

/// `--publish HOST:CONTAINER[/udp]`, or what the Pod declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Publish {
    /// Port to listen on outside; 0: any free one.
    pub host: u16,
    /// Port of the Pod.
    pub container: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// Which enclave of this machine a command means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// `--name`.
    pub name: Option<String>,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
}

/// How `status` and `inspect` print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For both.
    Yaml,
}

/// How logs are printed on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `NAME | line`.
    Text,
    /// One JSON object for each line.
    Json,
}
