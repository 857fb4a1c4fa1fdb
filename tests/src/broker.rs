//! `cloister-broker` for an enclave of the local back-end: a policy that names the enclave, secrets, keys that everybody knows.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use manifest_sync::digest::hex;
use manifest_sync::measurement;
use manifest_sync::trust::TrustPolicy;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Up, wait_for};

/// RFC 8032 section 7.1: the key of TEST 1 and its public half, and the key of TEST 2.
const KEY: &str = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";
const PUBLIC_KEY: &str = "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const OTHER_KEY: &str = "MC4CAQAwBQYDK2VwBCIEIEzNCJsoqyg5N/a7rYvPyrDQPFwf4AcB3AEh7jqajG37";

/// A broker with its secrets, on an address of its own. It is started when the enclave that it is for is there.
pub struct Broker {
    program: PathBuf,
    scratch: TempDir,
    /// Where it listens.
    pub address: SocketAddr,
    child: Option<Child>,
}

impl Broker {
    /// One with these secrets: the program that `cargo xtask test` names.
    pub fn new(secrets: &[(&str, &str)]) -> Self {
        let program = std::env::var_os("CLOISTER_BROKER").unwrap_or_default();
        Self::of(Path::new(&program), secrets)
    }

    /// As [`Broker::new`], of another program.
    pub fn of(program: &Path, secrets: &[(&str, &str)]) -> Self {
        let broker = Self {
            program: program.to_owned(),
            scratch: tempfile::tempdir().expect("a scratch directory"),
            address: free_address(),
            child: None,
        };
        for directory in ["secrets", "state"] {
            fs::create_dir(broker.path(directory)).expect("a directory");
        }
        for (name, value) in secrets {
            broker.put(name, value);
        }
        broker
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Sets a secret, as an administrator does.
    pub fn put(&self, name: &str, value: &str) {
        let next = self.path("next");
        fs::write(&next, value).expect("written");
        fs::rename(next, self.path("secrets").join(name)).expect("in place");
    }

    /// Starts it with a rule for the enclave of `up`; `change` makes the rule another one.
    pub fn start(&mut self, up: &Up, change: impl FnOnce(&mut Value)) {
        self.run(&up.state(), change, KEY);
    }

    /// Starts it for the enclave of this state directory, which the caller leads.
    pub fn start_for(&mut self, state: &Path) {
        self.run(state, |_| {}, KEY);
    }

    /// Starts one that is not who it says.
    pub fn start_with_another_key(&mut self, up: &Up) {
        self.run(&up.state(), |_| {}, OTHER_KEY);
    }

    fn run(&mut self, state: &Path, change: impl FnOnce(&mut Value), key: &str) {
        let root = state.join("nsm-root.pem");
        let measured = state.join("measurements.json");
        let image = wait_for("the enclave's root and measurements", || {
            let measured: Value = serde_json::from_slice(&fs::read(&measured).ok()?).ok()?;
            let image = measured.pointer("/Measurements/PCR0").cloned();
            image.filter(|_| root.exists())
        });
        let names: Vec<String> = fs::read_dir(self.path("secrets"))
            .expect("listed")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        let policy = TrustPolicy::parse(TrustPolicy::DEVELOPMENT.as_bytes()).expect("a policy");
        let authority = measurement::authority(&policy).value();
        let mut rule = json!({
            "application": "test",
            "secrets": names,
            "pcrs": {"0": image, "16": hex(&authority)},
        });
        change(&mut rule);
        let policy = json!({"apiVersion": "cloister.dev/v1", "kind": "BrokerPolicy", "rules": [rule]});
        fs::write(self.path("policy.json"), policy.to_string()).expect("a policy");
        let key = format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n");
        fs::write(self.path("key.pem"), key).expect("a key");
        let append = |name: &str| {
            let file = fs::File::options()
                .create(true)
                .append(true)
                .open(self.path(name));
            file.expect("a log")
        };
        let child = Command::new(&self.program)
            .args(["serve", "--http-address", "none", "--rate", "1000"])
            .args(["--listen", &self.address.to_string()])
            .args([Path::new("--policy"), &self.path("policy.json")])
            .args([Path::new("--key"), &self.path("key.pem")])
            .args([Path::new("--secrets"), &self.path("secrets")])
            .args([Path::new("--state"), &self.path("state")])
            .args([Path::new("--root"), &root])
            .stdin(Stdio::null())
            .stdout(append("audit"))
            .stderr(append("stderr"))
            .spawn();
        self.child = Some(child.expect("cargo xtask test names the broker"));
        wait_for("the broker", || TcpStream::connect(self.address).ok());
    }

    /// Ends it at once.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The audit log so far.
    pub fn audit(&self) -> String {
        fs::read_to_string(self.path("audit")).unwrap_or_default()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
        if thread::panicking() {
            let said = fs::read_to_string(self.path("stderr")).unwrap_or_default();
            eprintln!("--- broker said:\n{said}\n--- audit log:\n{}", self.audit());
        }
    }
}

/// The public key of every honest broker of these tests, in PEM.
pub fn public_key() -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{PUBLIC_KEY}\n-----END PUBLIC KEY-----\n")
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("bound")
}
