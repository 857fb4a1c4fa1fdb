//! The audit log: one line of JSON for every decision about secrets. Names, never values; whatever came from outside is
//! checked, or is made safe before it is here.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use serde::{Serialize, Serializer};

use crate::document::{PolicyError, Proof};
use crate::hex::Hex;
use crate::nsm::PcrValue;
use crate::release::{Application, Binding, Names, RefusalCode, SafeText};
use crate::time::UnixTime;

/// Where the lines go.
pub struct AuditLog(Mutex<Box<dyn Write + Send>>);

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditLog")
    }
}

impl AuditLog {
    /// Writes to this, a line at a time.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self(Mutex::new(Box::new(out)))
    }

    /// Writes one line. It blocks while the reader is slow, so it does not belong on the thread that serves connections.
    ///
    /// # Errors
    ///
    /// The line may be missing or cut.
    pub fn write(&self, line: &impl Serialize) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.write_all(&bytes)?;
        out.flush()
    }
}

/// The program starts or ends, and what it was started with.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice<'a> {
    /// When.
    #[serde(serialize_with = "shown")]
    pub time: UnixTime,
    /// `started`, `stopping` or `stopped`.
    pub event: &'static str,
    /// Where secrets are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Where health and metrics are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_address: Option<SocketAddr>,
    /// The broker's public key, in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<&'a str>,
    /// Applications with a rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<usize>,
    /// Applications whose generation is remembered. 0 after the first start: the state directory was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generations: Option<usize>,
}

impl Notice<'_> {
    /// Only when, and what.
    pub fn new(event: &'static str, time: UnixTime) -> Self {
        Self {
            time,
            event,
            listen: None,
            http_address: None,
            public_key: None,
            rules: None,
            generations: None,
        }
    }
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Decision {
    Released,
    Refused,
}

/// One decision; the fields that are known when it is made.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    #[serde(serialize_with = "shown")]
    time: UnixTime,
    event: &'static str,
    request: String,
    peer: SocketAddr,
    decision: Decision,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<RefusalCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<SafeText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application: Option<Application>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secrets: Option<Names>,
    #[serde(skip_serializing_if = "Option::is_none")]
    module_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle: Option<String>,
    /// The registers that the rule compares, as they are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pcrs: BTreeMap<u8, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    differs: Option<Differs>,
}

/// The first register that is not as the rule demands.
#[derive(Debug, Serialize)]
struct Differs {
    pcr: u8,
    found: Option<String>,
    expected: Vec<String>,
}

impl Entry {
    pub(super) fn new(request: String, peer: SocketAddr, time: UnixTime) -> Self {
        Self {
            time,
            event: "secrets",
            request,
            peer,
            decision: Decision::Refused,
            code: None,
            reason: None,
            application: None,
            secrets: None,
            module_id: None,
            debug: None,
            generation: None,
            bundle: None,
            pcrs: BTreeMap::new(),
            differs: None,
        }
    }

    /// What is asked for; nobody has shown yet that he may.
    pub(super) fn asked(&mut self, application: &Application, secrets: &Names) {
        self.application = Some(application.clone());
        self.secrets = Some(secrets.clone());
    }

    /// What a genuine document says.
    pub(super) fn proven(&mut self, proof: &Proof, compared: &BTreeMap<u8, Vec<PcrValue>>) {
        self.module_id = Some(proof.module_id.clone());
        self.debug = Some(proof.debug);
        let compared = proof
            .pcrs
            .iter()
            .filter(|(index, _)| compared.contains_key(index));
        self.pcrs = compared.map(|(index, value)| (*index, hex(value))).collect();
    }

    /// What the document is bound to.
    pub(super) fn bound(&mut self, binding: &Binding) {
        self.generation = Some(binding.generation);
        self.bundle = Some(hex(&binding.bundle));
    }

    /// Which register differs.
    pub(super) fn differs(&mut self, error: &PolicyError, compared: &BTreeMap<u8, Vec<PcrValue>>) {
        let (pcr, found) = match error {
            PolicyError::Pcr { index, found, .. } => (*index, Some(hex(found))),
            PolicyError::PcrMissing(index) => (*index, None),
            _ => return,
        };
        let expected = compared.get(&pcr).into_iter().flatten();
        let expected = expected.map(|value| hex(value)).collect();
        self.differs = Some(Differs { pcr, found, expected });
    }

    pub(super) fn released(&mut self) {
        self.decision = Decision::Released;
    }

    pub(super) fn refused(&mut self, code: RefusalCode, reason: &str) {
        self.decision = Decision::Refused;
        self.code = Some(code);
        self.reason = Some(SafeText::new(reason));
    }
}

fn hex(bytes: &[u8]) -> String {
    Hex(bytes).to_string()
}

fn shown<S: Serializer>(time: &UnixTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}
