//! `cloister-broker` and what stands between it and the enclave.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use attest::hex::Hex;
use attest::release::BrokerKey;
use manifest_sync::measurement;
use manifest_sync::trust::TrustPolicy;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Up, wait_for};

use crate::image;

/// RFC 8032 section 7.1, TEST 1 and TEST 2.
const KEY: &str = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";
const OTHER_KEY: &str = "MC4CAQAwBQYDK2VwBCIEIEzNCJsoqyg5N/a7rYvPyrDQPFwf4AcB3AEh7jqajG37";

/// A broker with its secrets, on an address of its own. It is started when the enclave that it is for is there.
pub(crate) struct Broker {
    scratch: TempDir,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    child: Option<Child>,
}

impl Broker {
    /// One with these secrets.
    pub(crate) fn new(secrets: &[(&str, &str)]) -> Self {
        let broker = Self {
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
    pub(crate) fn put(&self, name: &str, value: &str) {
        let next = self.path("next");
        fs::write(&next, value).expect("written");
        fs::rename(next, self.path("secrets").join(name)).expect("in place");
    }

    /// Starts it with a rule for the enclave of `up`; `change` makes the rule another one.
    pub(crate) fn start(&mut self, up: &Up, change: impl FnOnce(&mut Value)) {
        self.run(up, change, KEY);
    }

    /// Starts one that is not who it says.
    pub(crate) fn start_with_another_key(&mut self, up: &Up) {
        self.run(up, |_| {}, OTHER_KEY);
    }

    fn run(&mut self, up: &Up, change: impl FnOnce(&mut Value), key: &str) {
        let root = up.state().join("nsm-root.pem");
        let measured = up.state().join("measurements.json");
        wait_for("the enclave's root and measurements", || {
            let measured = fs::read(&measured).ok()?;
            (root.exists() && serde_json::from_slice::<Value>(&measured).is_ok()).then_some(())
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
            "pcrs": {"0": Hex(&image(up)[0]).to_string(), "16": Hex(&authority).to_string()},
        });
        change(&mut rule);
        let policy = json!({"apiVersion": "cloister.dev/v1", "kind": "BrokerPolicy", "rules": [rule]});
        fs::write(self.path("policy.json"), policy.to_string()).expect("a policy");
        let key = format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n");
        fs::write(self.path("key.pem"), key).expect("a key");
        let program = std::env::var_os("CLOISTER_BROKER").expect("cargo xtask test names the broker");
        let append = |name: &str| {
            let file = fs::File::options()
                .create(true)
                .append(true)
                .open(self.path(name));
            file.expect("a log")
        };
        let child = Command::new(program)
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
        self.child = Some(child.expect("cloister-broker runs"));
        wait_for("the broker", || TcpStream::connect(self.address).ok());
    }

    /// Ends it at once.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The audit log so far.
    pub(crate) fn audit(&self) -> String {
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
pub(crate) fn public_key() -> String {
    let der = attest::base64::decode(KEY).expect("base64");
    BrokerKey::from_pkcs8(&der).expect("a key").public().to_pem()
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("bound")
}

/// Answers of a broker that were kept, in their order.
pub(crate) type Kept = Arc<Mutex<Vec<Vec<u8>>>>;

/// What a host does to one conversation.
#[derive(Clone)]
pub(crate) enum Manner {
    /// Carries it.
    Honest,
    /// Closes the connection.
    HangsUp,
    /// Says this, whatever is asked.
    Says(Vec<u8>),
    /// Changes what the broker answers, by its number.
    Changes(fn(usize, &str) -> String),
    /// Changes what the enclave asks.
    Asks(fn(&str) -> String),
    /// Keeps the answers of the first such conversation, and gives them again in all later ones.
    Replays(Kept),
}

/// A host between an enclave and a broker that keeps all that passes.
pub(crate) fn man_in_the_middle_that_listens(broker: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let heard = Arc::<Mutex<Vec<u8>>>::default();
    let all = Arc::clone(&heard);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(broker) else {
                continue;
            };
            let ends = [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))];
            for (from, to) in ends {
                let (Ok(mut from), Ok(mut to), all) = (from, to, Arc::clone(&all)) else {
                    continue;
                };
                thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    while let Ok(count @ 1..) = from.read(&mut buffer) {
                        all.lock().expect("a lock").extend_from_slice(&buffer[..count]);
                        if to.write_all(&buffer[..count]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    (address, heard)
}

/// A host between an enclave and a broker that meddles: its manner in each conversation, in their order; the last one stays.
pub(crate) fn man_in_the_middle(broker: SocketAddr, manners: Vec<Manner>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let count = AtomicUsize::new(0);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let index = count.fetch_add(1, Ordering::Relaxed).min(manners.len() - 1);
            let manner = manners[index].clone();
            thread::spawn(move || drop(meddle(client, broker, &manner)));
        }
    });
    address
}

fn meddle(mut client: TcpStream, broker: SocketAddr, manner: &Manner) -> io::Result<()> {
    match manner {
        Manner::HangsUp => return client.shutdown(Shutdown::Both),
        Manner::Says(bytes) => {
            client.write_all(bytes)?;
            // Until the enclave has had enough.
            let mut buffer = [0; 4096];
            while client.read(&mut buffer)? > 0 {}
            return Ok(());
        }
        _ => {}
    }
    let mut server = TcpStream::connect(broker)?;
    let mut number = 0;
    while let Some((head, body)) = message(&mut client)? {
        let body = match manner {
            Manner::Asks(change) => change(&body),
            _ => body,
        };
        send(&mut server, &head, &body)?;
        let Some((head, body)) = message(&mut server)? else {
            return Ok(());
        };
        let body = match manner {
            Manner::Changes(change) => change(number, &body),
            Manner::Replays(kept) => {
                let mut kept = kept.lock().expect("a lock");
                if kept.len() <= number {
                    kept.push(body.into_bytes());
                }
                String::from_utf8(kept[number].clone()).expect("text")
            }
            _ => body,
        };
        send(&mut client, &head, &body)?;
        number += 1;
    }
    Ok(())
}

/// Head and body of one message of HTTP.
fn message(stream: &mut TcpStream) -> io::Result<Option<(String, String)>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.extend_from_slice(&byte);
    }
    let head = String::from_utf8(head).expect("text");
    let length = head.to_ascii_lowercase();
    let length = length
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.expect("a length")];
    stream.read_exact(&mut body)?;
    Ok(Some((head, String::from_utf8(body).expect("text"))))
}

/// A message again, with the length that its body has now.
fn send(stream: &mut TcpStream, head: &str, body: &str) -> io::Result<()> {
    let others: Vec<&str> = head
        .lines()
        .filter(|line| !line.is_empty() && !line.to_ascii_lowercase().starts_with("content-length:"))
        .collect();
    write!(
        stream,
        "{}\r\ncontent-length: {}\r\n\r\n{body}",
        others.join("\r\n"),
        body.len()
    )
}
