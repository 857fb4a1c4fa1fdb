//! A broker's directories, an enclave with a software module, and the program itself.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use attest::hex::Hex;
use attest::http::{Response, ResponseReader, post};
use attest::nsm::{Nsm, PcrValue, Platform, SoftwareModule};
use attest::release::{
    Application, BrokerPublicKey, MAX_ANSWER, NONCE_PATH, Names, Nonce, NonceAnswer, NonceRequest, Pending,
    ReleaseError, SECRETS_PATH, SecretName,
};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const IMAGE: [PcrValue; 3] = [[0xa0; 48], [0xa1; 48], [0xa2; 48]];
/// In every secret, and nowhere else.
pub(crate) const MARKER: &str = "m4rk3r-of-a-secret";
/// RFC 8032 section 7.1, TEST 1, as `openssl pkey` writes it, and its public half.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
                   -----END PRIVATE KEY-----\n";
pub(crate) const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
                                 MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
                                 -----END PUBLIC KEY-----\n";
const PUBLIC_BYTES: [u8; 32] = [
    0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a, 0x0e,
    0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
];

pub(crate) struct Scene {
    directory: TempDir,
    module: Arc<SoftwareModule>,
    nsm: Nsm,
    authority: PcrValue,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let module = Arc::new(SoftwareModule::boot(&Platform::of_image(IMAGE)).expect("a module"));
        let nsm = Nsm::new(module.clone());
        let authority = nsm.measure(16, b"who may say what runs").expect("measured");
        let directory = tempfile::tempdir().expect("a directory");
        let scene = Self {
            directory,
            module,
            nsm,
            authority,
        };
        for name in ["secrets", "state"] {
            fs::create_dir(scene.at(name)).expect("made");
        }
        scene.write("secrets/password", MARKER);
        scene.write("key.pem", KEY);
        scene.write("root.pem", &scene.module.root_pem());
        scene.write("policy.json", &scene.policy().to_string());
        scene
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).expect("written");
    }

    /// Which trusts AWS only: the root of the module comes by `--root`.
    pub(crate) fn policy(&self) -> Value {
        json!({
            "apiVersion": "cloister.dev/v1", "kind": "BrokerPolicy",
            "rules": [{
                "application": "web", "secrets": ["password"],
                "pcrs": {"0": Hex(&IMAGE[0]).to_string(), "16": Hex(&self.authority).to_string()},
            }],
        })
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloister-broker"));
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().expect("it runs")
    }

    pub(crate) fn serve(&self) -> Command {
        let mut command = self.command();
        command.args(["serve", "--policy", "policy.json", "--secrets", "secrets"]);
        command.args(["--state", "state", "--key", "key.pem"]);
        command.args(["--listen", "127.0.0.1:0", "--http-address", "127.0.0.1:0"]);
        command.args(["--root", "root.pem", "--rate", "100000"]);
        command
    }

    pub(crate) fn start(&self) -> Running {
        let mut child = self.serve().stdout(Stdio::piped()).spawn().expect("it runs");
        let mut log = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        log.read_line(&mut line).expect("a line");
        let started: Value = serde_json::from_str(&line).expect("JSON");
        let address = |name: &str| started[name].as_str().and_then(|text| text.parse().ok());
        Running {
            address: address("listen").expect("an address"),
            health: address("httpAddress").expect("an address"),
            started,
            log,
            child,
        }
    }

    /// A whole exchange of an enclave that runs a bundle of this generation.
    pub(crate) fn get(&self, address: SocketAddr, generation: u64) -> Result<Vec<u8>, Failure> {
        let nonce = ask(address, NONCE_PATH, &NonceRequest {}.to_json()).ok_or(Failure::NoAnswer)?;
        let Ok(NonceAnswer::Nonce { value, .. }) = NonceAnswer::parse(&nonce.body) else {
            panic!("no nonce");
        };
        let pending = self.pending(value, generation);
        let request = pending.request(&self.nsm).expect("a document").to_json();
        let answer = ask(address, SECRETS_PATH, &request).ok_or(Failure::NoAnswer)?;
        let secrets = pending.finish(&BrokerPublicKey::from(PUBLIC_BYTES), &answer.body);
        secrets
            .map(|secrets| secrets[0].1.expose().to_vec())
            .map_err(Failure::Release)
    }

    fn pending(&self, nonce: Nonce, generation: u64) -> Pending {
        let mut bundle = [0xb0; 48];
        bundle[..8].copy_from_slice(&generation.to_be_bytes());
        let web = Application::try_from("web".to_owned()).expect("a name");
        let name = SecretName::try_from("password".to_owned()).expect("a name");
        let names = Names::try_from(vec![name]).expect("names");
        Pending::begin(nonce, bundle, generation, web, names).expect("a key")
    }
}

/// Why an enclave has no secrets.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The broker is gone.
    NoAnswer,
    Release(ReleaseError),
}

/// A broker that runs; it is killed when the test ends.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) health: SocketAddr,
    pub(crate) started: Value,
    pub(crate) log: BufReader<ChildStdout>,
    pub(crate) child: Child,
}

impl Running {
    pub(crate) fn kill(mut self) {
        // SIGKILL.
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    /// SIGTERM; the exit code and the rest of the log.
    pub(crate) fn terminate(mut self) -> (Option<i32>, String) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM)
            .expect("signalled");
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).expect("text");
        (self.child.wait().expect("ended").code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn ask(address: SocketAddr, path: &str, body: &[u8]) -> Option<Response> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let request = post(&address.to_string(), path, body).expect("a request");
    stream.write_all(&request).ok()?;
    let mut reader = ResponseReader::new(MAX_ANSWER);
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
        if let Some(answer) = reader.read(&buffer[..length]).expect("an answer") {
            return Some(answer);
        }
    }
}

pub(crate) fn health(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer
}

/// Standard output and error of a program that ended with this code.
#[track_caller]
pub(crate) fn ends(output: &Output, code: i32) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{error}");
    out + &error
}
