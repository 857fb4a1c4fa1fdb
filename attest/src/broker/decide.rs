//! One request → one answer. No socket: bytes in, an answer out, a line in the audit log, and the ledger on disk.
//!
//! The order: form, rule, nonce (cheap, unverified), certificates and signature, nonce (taken, this once), what the rule
//! demands of the document, binding, names, generation. Nothing of a document counts before it is genuine, and whatever
//! fails, fails closed: no ledger, no audit log or no secret means no answer.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::audit::{AuditLog, Entry};
use super::ledger::GenerationError;
use super::metrics::Metrics;
use super::nonces::{LIFETIME, NoNonce, Nonces};
use super::policy::{BrokerPolicy, Rule};
use super::state::{AdmitError, State};
use super::store::{SecretStore, StoreError};
use crate::document::{self, PolicyError, Proof, genuine, unverified_nonce};
use crate::release::{
    Attested, BrokerKey, Claim, Nonce, NonceAnswer, NonceRequest, Refusal, RefusalCode, SealedSet,
    SecretsAnswer, SecretsRequest,
};
use crate::seal::SealError;
use crate::time::UnixTime;

/// When a request is judged: by the clock for documents, and by one that only goes forward for nonces.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The time that documents and certificates are compared with.
    pub clock: UnixTime,
    /// The time that nonces are compared with.
    pub monotonic: Instant,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            clock: UnixTime::from_seconds(0).plus(since.unwrap_or_default()),
            monotonic: Instant::now(),
        }
    }
}

/// Who asks, for the audit log.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Address of the connection.
    pub peer: SocketAddr,
    /// Name of this request.
    pub request: String,
}

/// A refusal: what the client gets to know, and what only the audit log says.
#[derive(Debug)]
struct Denied {
    refusal: Refusal,
    detail: String,
}

impl Denied {
    fn new(code: RefusalCode, why: &dyn fmt::Display) -> Self {
        let detail = why.to_string();
        let refusal = Refusal::new(code, &detail);
        Self { refusal, detail }
    }

    /// Something of the broker's own: paths and errors of its system stay here.
    fn broken(why: &dyn fmt::Display) -> Self {
        let public = "the broker cannot answer now; its audit log says why";
        Self {
            refusal: Refusal::new(RefusalCode::Unavailable, public),
            detail: why.to_string(),
        }
    }
}

/// The secret service, without its network.
#[derive(Debug)]
pub struct Broker {
    policy: BrokerPolicy,
    store: SecretStore,
    state: State,
    key: BrokerKey,
    audit: AuditLog,
    metrics: Metrics,
    nonces: Nonces,
}

impl Broker {
    /// A broker that releases what `policy` says of what is in `store`.
    pub fn new(
        policy: BrokerPolicy,
        store: SecretStore,
        state: State,
        key: BrokerKey,
        audit: AuditLog,
    ) -> Self {
        Self {
            policy,
            store,
            state,
            key,
            audit,
            metrics: Metrics::default(),
            nonces: Nonces::default(),
        }
    }

    /// The audit log.
    pub fn audit(&self) -> &AuditLog {
        &self.audit
    }

    /// What was counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Nonces that are outstanding, and applications that were seen.
    pub fn levels(&self) -> (usize, usize) {
        (self.nonces.count(), self.state.applications())
    }

    /// Whether secrets can be read at all.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn ready(&self) -> Result<(), StoreError> {
        self.store.check()
    }

    /// Answers a request for a nonce.
    pub fn nonce(&self, body: &[u8], moment: Moment) -> NonceAnswer {
        let given = NonceRequest::parse(body)
            .map_err(|error| Refusal::new(RefusalCode::Malformed, &error.to_string()))
            .and_then(|NonceRequest {}| {
                self.nonces.give(moment.monotonic).map_err(|error| {
                    let what = match error {
                        NoNonce::Entropy => "the broker has no random bytes",
                        NoNonce::Full => "too many nonces are outstanding; ask again in a minute",
                    };
                    Refusal::new(RefusalCode::Unavailable, what)
                })
            });
        match given {
            Ok(value) => {
                self.metrics.nonce();
                NonceAnswer::Nonce {
                    value,
                    lifetime_seconds: u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX),
                }
            }
            Err(refusal) => {
                self.metrics.refused(refusal.code);
                NonceAnswer::Refused(refusal)
            }
        }
    }

    /// Answers a request for secrets. It takes some milliseconds of computing, and may wait for the disk.
    pub fn secrets(&self, body: &[u8], caller: Caller, moment: Moment) -> SecretsAnswer {
        let mut entry = Entry::new(caller.request, caller.peer, moment.clock);
        let mut decided = self.decide(body, &mut entry, moment);
        match &decided {
            Ok(_) => entry.released(),
            Err(denied) => entry.refused(denied.refusal.code, &denied.detail),
        }
        // Before the answer: what nobody can look up later is not released.
        if let Err(error) = self.audit.write(&entry) {
            self.metrics.audit_failed();
            if decided.is_ok() {
                decided = Err(Denied::broken(&format_args!("the audit log: {error}")));
            }
        }
        match decided {
            Ok(sealed) => {
                self.metrics.released();
                SecretsAnswer::Sealed(sealed)
            }
            Err(Denied { refusal, .. }) => {
                self.metrics.refused(refusal.code);
                SecretsAnswer::Refused(refusal)
            }
        }
    }

    /// A refusal that was made before a request was looked at.
    pub fn turned_away(&self, refusal: &Refusal) {
        self.metrics.refused(refusal.code);
    }

    fn decide(&self, body: &[u8], entry: &mut Entry, moment: Moment) -> Result<SealedSet, Denied> {
        let request = SecretsRequest::parse(body);
        let request = request.map_err(|error| Denied::new(RefusalCode::Malformed, &error))?;
        entry.asked(&request.application, &request.secrets);
        let rule = self.policy.rule(&request.application).ok_or_else(|| {
            let name = request.application.as_str();
            Denied::new(
                RefusalCode::UnknownApplication,
                &format_args!("no rule for the application {name}: add one to the broker's policy"),
            )
        })?;
        let proof = self.proof(&request, rule, moment)?;
        entry.proven(&proof, &rule.pcrs);
        let accepted = rule.documents().check(&proof, moment.clock);
        accepted.map_err(|error| {
            entry.differs(&error, &rule.pcrs);
            refused_by_policy(&error)
        })?;
        let attested = Attested {
            public_key: proof.public_key.as_deref(),
            nonce: proof.nonce.as_deref(),
            user_data: proof.user_data.as_deref(),
        };
        let claim = Claim::new(&request, &attested);
        let claim = claim.map_err(|error| Denied::new(RefusalCode::WrongBinding, &error))?;
        entry.bound(&claim.binding);
        self.release(&claim, rule)
    }

    /// Takes the nonce, and shows that the document is genuine.
    fn proof(&self, request: &SecretsRequest, rule: &Rule, moment: Moment) -> Result<Proof, Denied> {
        let invalid = |error: document::Refusal| Denied::new(RefusalCode::InvalidDocument, &error);
        let stale = || {
            Denied::new(
                RefusalCode::StaleNonce,
                &"the document's nonce is not outstanding: never given out, used, or too old; ask for a new one",
            )
        };
        // Without a nonce of ours nobody makes us compute.
        let named = unverified_nonce(&request.document).map_err(invalid)?;
        let nonce: Option<[u8; 32]> = named.and_then(|bytes| bytes.try_into().ok());
        let nonce = nonce.map(Nonce::from).ok_or_else(stale)?;
        if !self.nonces.is_outstanding(&nonce, moment.monotonic) {
            return Err(stale());
        }
        let started = Instant::now();
        let proof = genuine(&request.document, &rule.roots, moment.clock);
        self.metrics.verified(started.elapsed());
        let proof = proof.map_err(invalid)?;
        match self.nonces.take(&nonce, moment.monotonic) {
            true => Ok(proof),
            false => Err(stale()),
        }
    }

    fn release(&self, claim: &Claim, rule: &Rule) -> Result<SealedSet, Denied> {
        let names = claim.names.as_slice();
        let unknown = |name: &str| {
            Denied::new(
                RefusalCode::UnknownSecret,
                &format_args!("the secret {name} is not one of this application's, or there is none"),
            )
        };
        if let Some(other) = names.iter().find(|name| !rule.secrets.contains(*name)) {
            return Err(unknown(other.as_str()));
        }
        let secrets = self.store.read(names).map_err(|error| match &error {
            StoreError::Missing(name) => unknown(name.as_str()),
            _ => Denied::broken(&error),
        })?;
        let sealed = claim.seal(&self.key, &secrets).map_err(|error| match error {
            SealError::PublicKey => Denied::new(RefusalCode::WrongBinding, &error),
            _ => Denied::broken(&error),
        })?;
        let admitted = self.state.admit(&claim.binding, rule.minimum_generation);
        admitted.map_err(|error| match error {
            AdmitError::Generation(error) => rollback(&error),
            AdmitError::State(error) => Denied::broken(&error),
        })?;
        Ok(sealed)
    }
}

fn rollback(error: &GenerationError) -> Denied {
    Denied::new(RefusalCode::Rollback, error)
}

fn refused_by_policy(error: &PolicyError) -> Denied {
    let code = match error {
        PolicyError::Debug => RefusalCode::DebugMode,
        PolicyError::Pcr { .. } | PolicyError::PcrMissing(_) => RefusalCode::WrongMeasurement,
        _ => RefusalCode::InvalidDocument,
    };
    Denied::new(code, error)
}
