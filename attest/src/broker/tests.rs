//! The broker against enclaves with a software module: what is released, and what is refused and why.

mod network;
mod refusals;
mod releases;

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::document::Root;
use crate::hex::Hex;
use crate::nsm::{Nsm, PcrValue, Platform, SoftwareModule};
use crate::release::{
    Application, BrokerKey, Names, NonceAnswer, NonceRequest, Pending, Refusal, RefusalCode, ReleaseError,
    SecretName, SecretsAnswer, SecretsRequest,
};
use crate::secret::Secret;

const IMAGE: [PcrValue; 3] = [[0xa0; 48], [0xa1; 48], [0xa2; 48]];
/// In every secret, and nowhere else.
const MARKER: &str = "m4rk3r-of-a-secret";
const BUNDLE: [u8; 48] = [0xb0; 48];

/// A log that a test reads.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("a log").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("a log").clone()).expect("text")
    }

    fn last(&self) -> Value {
        let text = self.text();
        serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
    }
}

/// A log that takes nothing.
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One enclave, and directories for its broker.
struct Scene {
    directory: TempDir,
    module: Arc<SoftwareModule>,
    nsm: Nsm,
    authority: PcrValue,
    audit: Lines,
}

impl Scene {
    fn new() -> Self {
        Self::on(&Platform::of_image(IMAGE))
    }

    fn on(platform: &Platform) -> Self {
        let module = Arc::new(SoftwareModule::boot(platform).expect("a module"));
        let nsm = Nsm::new(module.clone());
        let authority = nsm.measure(16, b"who may say what runs").expect("measured");
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["secrets", "state"] {
            std::fs::create_dir(directory.path().join(name)).expect("made");
        }
        let scene = Self {
            directory,
            module,
            nsm,
            authority,
            audit: Lines::default(),
        };
        scene.put("tls.key", MARKER);
        scene.put("password", &format!("{MARKER}\0\n"));
        scene.put("other", MARKER);
        scene
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn put(&self, name: &str, value: &str) {
        std::fs::write(self.at("secrets").join(name), value).expect("written");
    }

    fn policy(&self) -> Value {
        json!({
            "apiVersion": "cloister.dev/v1", "kind": "BrokerPolicy",
            "rules": [{
                "application": "web", "secrets": ["tls.key", "password", "missing"],
                "pcrs": {"0": Hex(&IMAGE[0]).to_string(), "16": Hex(&self.authority).to_string()},
                "roots": [self.module.root_pem()],
            }],
        })
    }

    fn broker(&self) -> Desk {
        self.broker_with(|_| {})
    }

    /// With another rule.
    fn broker_with(&self, change: impl FnOnce(&mut Value)) -> Desk {
        let mut policy = self.policy();
        change(&mut policy["rules"][0]);
        self.broker_of(&policy, AuditLog::new(self.audit.clone()))
    }

    fn broker_of(&self, policy: &Value, audit: AuditLog) -> Desk {
        let policy = BrokerPolicy::parse(policy.to_string().as_bytes(), &Root::aws()).expect("a policy");
        let key = BrokerKey::generate().expect("a key");
        let state = State::open(&self.at("state")).expect("a state");
        let public = key.public();
        let store = SecretStore::new(&self.at("secrets"));
        Desk {
            broker: Arc::new(Broker::new(policy, store, state, key, audit)),
            public,
        }
    }

    /// What an enclave asks for, with a nonce of this broker.
    fn ask(&self, desk: &Desk, generation: u64, list: &[&str]) -> (Pending, SecretsRequest) {
        let pending = desk.begin(generation, list);
        let request = pending.request(&self.nsm).expect("a document");
        (pending, request)
    }

    /// A whole exchange.
    fn get(&self, desk: &Desk, generation: u64, list: &[&str]) -> Result<Vec<Vec<u8>>, Refusal> {
        let (pending, request) = self.ask(desk, generation, list);
        let answer = desk.answer(&request, Moment::now());
        desk.open(pending, &answer)
    }
}

/// A broker, and the key that enclaves know.
struct Desk {
    broker: Arc<Broker>,
    public: crate::release::BrokerPublicKey,
}

impl Desk {
    fn begin(&self, generation: u64, list: &[&str]) -> Pending {
        self.begin_bundle(BUNDLE, generation, list)
    }

    fn begin_bundle(&self, bundle: [u8; 48], generation: u64, list: &[&str]) -> Pending {
        let answer = self.broker.nonce(&NonceRequest {}.to_json(), Moment::now());
        let NonceAnswer::Nonce { value, .. } = answer else {
            panic!("no nonce: {answer:?}");
        };
        let web = Application::try_from("web".to_owned()).expect("a name");
        Pending::begin(value, bundle, generation, web, names(list)).expect("a key")
    }

    fn answer(&self, request: &SecretsRequest, moment: Moment) -> SecretsAnswer {
        self.answer_bytes(&request.to_json(), moment)
    }

    fn answer_bytes(&self, body: &[u8], moment: Moment) -> SecretsAnswer {
        let caller = Caller {
            peer: ([127, 0, 0, 1], 7).into(),
            request: "0123".to_owned(),
        };
        self.broker.secrets(body, caller, moment)
    }

    fn refusal(&self, request: &SecretsRequest, moment: Moment) -> Refusal {
        match self.answer(request, moment) {
            SecretsAnswer::Refused(refusal) => refusal,
            SecretsAnswer::Sealed(_) => panic!("secrets were released"),
        }
    }

    fn open(&self, pending: Pending, answer: &SecretsAnswer) -> Result<Vec<Vec<u8>>, Refusal> {
        match pending.finish(&self.public, &answer.to_json()) {
            Ok(secrets) => Ok(secrets
                .iter()
                .map(|(_, value): &(SecretName, Secret)| value.expose().to_vec())
                .collect()),
            Err(ReleaseError::Refused(refusal)) => Err(refusal),
            Err(other) => panic!("{other}"),
        }
    }
}

fn names(list: &[&str]) -> Names {
    let name = |name: &&str| SecretName::try_from((*name).to_owned()).expect("a name");
    Names::try_from(list.iter().map(name).collect::<Vec<_>>()).expect("names")
}

fn later(seconds: u64) -> Moment {
    let now = Moment::now();
    let more = Duration::from_secs(seconds);
    Moment {
        clock: now.clock.plus(more),
        monotonic: now.monotonic + more,
    }
}

/// Everything in the files below.
fn content(directory: &Path) -> Vec<u8> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    entries
        .flat_map(|entry| std::fs::read(entry.expect("an entry").path()).expect("a file"))
        .collect()
}
