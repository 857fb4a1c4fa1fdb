//! Documents without a security module: the real shape, under a root of our own. For development and tests; a verifier
//! accepts them only when it was given that root.
//!
//! The shape: an untagged COSE_Sign1, a payload of indefinite length with its fields in the platform's order and `null` for
//! what is absent, four certificates from the root to the instance, and a signer that lasts three hours.

mod certificate;
mod key;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub use key::Key;

use super::payload::{
    BUNDLE, CERTIFICATE, DIGEST, DIGEST_FIELD, MODULE_ID, NONCE, PCRS_FIELD, PUBLIC_KEY, TIMESTAMP, USER_DATA,
};
use crate::cbor::Writer;
use crate::nsm::PcrValue;
use crate::random::EntropyError;
use crate::time::UnixTime;
use certificate::{Role, Template};
/// For chains that are wrong.
#[cfg(test)]
pub(super) mod forms {
    pub(in crate::document) use super::certificate::{
        Role, Template, basic_constraints, element, extension, key_usage, name,
    };
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// Ends every name, so that nobody takes these certificates for the platform's.
const DOMAIN: &str = "software-nsm.cloister";

/// Why no document was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssueError {
    /// The kernel gave no random bytes.
    Entropy,
    /// Not a key that ring reads: PKCS#8 of version 2 with a private key of the curve P-384.
    NotAKey,
    /// The certificate is not one of this key.
    NotItsCertificate,
}

impl fmt::Display for IssueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Entropy => "the kernel's random number generator gave no bytes (getrandom(2))",
            Self::NotAKey => "not a private key of the curve P-384 in PKCS#8",
            Self::NotItsCertificate => "the certificate is not one of this key",
        })
    }
}

impl std::error::Error for IssueError {}

impl From<EntropyError> for IssueError {
    fn from(_: EntropyError) -> Self {
        Self::Entropy
    }
}

/// A root of our own.
#[derive(Debug)]
pub struct Authority {
    key: Key,
    root: Vec<u8>,
}

impl Authority {
    /// A new root, valid for thirty years.
    ///
    /// # Errors
    ///
    /// [`IssueError::Entropy`].
    pub fn new(now: UnixTime) -> Result<Self, IssueError> {
        let key = Key::generate()?;
        let root = Template::new(Role::Root, DOMAIN, now.minus(DAY), now.plus(30 * YEAR));
        let root = root.issue(&key, &root.subject, &key)?;
        Ok(Self { key, root })
    }

    /// A root that was kept.
    ///
    /// # Errors
    ///
    /// [`IssueError::NotItsCertificate`].
    pub fn restore(key: Key, root: Vec<u8>) -> Result<Self, IssueError> {
        if root.windows(key.point().len()).any(|part| part == key.point()) {
            Ok(Self { key, root })
        } else {
            Err(IssueError::NotItsCertificate)
        }
    }

    /// The root's certificate in DER: what a verifier has to be given.
    pub fn root(&self) -> &[u8] {
        &self.root
    }

    /// The root's key, to keep it.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// A signer for a module, for three hours from now on; then take another.
    ///
    /// # Errors
    ///
    /// [`IssueError::Entropy`].
    pub fn signer(&self, module_id: &str, now: UnixTime) -> Result<Signer, IssueError> {
        self.signer_with(module_id, now, |_, _| {})
    }

    /// As [`Authority::signer`], with a last word on every certificate, by its place in the chain.
    pub(super) fn signer_with(
        &self,
        module_id: &str,
        now: UnixTime,
        mut change: impl FnMut(usize, &mut Template),
    ) -> Result<Signer, IssueError> {
        let instance = module_id
            .split_once("-enc")
            .map_or(module_id, |(instance, _)| instance);
        let zonal = format!("zonal.local.{DOMAIN}");
        let second = Duration::from_secs(1);
        let templates = [
            Template::new(
                Role::Issuer(2),
                &format!("local.{DOMAIN}"),
                now.minus(10 * DAY),
                now.plus(10 * DAY + HOUR),
            ),
            Template::new(Role::Issuer(1), &zonal, now.minus(3 * DAY), now.plus(3 * DAY)),
            Template::new(
                Role::Issuer(0),
                &format!("{instance}.local.{DOMAIN}"),
                now.minus(12 * HOUR),
                now.plus(12 * HOUR),
            ),
            Template::new(
                Role::Signer,
                &format!("{module_id}.local.{DOMAIN}"),
                now.minus(3 * second),
                now.plus(3 * HOUR),
            ),
        ];
        let mut bundle = vec![self.root.clone()];
        let (mut issuer, mut issuer_key) = (certificate::name(DOMAIN), self.key.clone());
        let mut not_after = now;
        for (index, mut template) in templates.into_iter().enumerate() {
            change(index + 1, &mut template);
            let key = Key::generate()?;
            bundle.push(template.issue(&key, &issuer, &issuer_key)?);
            not_after = template.not_after;
            (issuer, issuer_key) = (template.subject, key);
        }
        Ok(Signer {
            key: issuer_key,
            module_id: module_id.to_owned(),
            certificate: bundle.pop().unwrap_or_default(),
            bundle,
            not_after,
        })
    }
}

/// What a document is to say.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// When it is made.
    pub time: UnixTime,
    /// The locked registers.
    pub pcrs: &'a BTreeMap<u8, PcrValue>,
    /// At most 1024 bytes, and not none of them, or verifiers refuse it.
    pub public_key: Option<&'a [u8]>,
    /// At most 512 bytes, or verifiers refuse it.
    pub user_data: Option<&'a [u8]>,
    /// At most 512 bytes, or verifiers refuse it.
    pub nonce: Option<&'a [u8]>,
}

/// Signs the documents of one module.
#[derive(Debug)]
pub struct Signer {
    key: Key,
    module_id: String,
    pub(super) certificate: Vec<u8>,
    pub(super) bundle: Vec<Vec<u8>>,
    not_after: UnixTime,
}

/// Names of fields and their values, encoded.
pub(super) type Fields = Vec<(&'static str, Vec<u8>)>;

impl Signer {
    /// Last second at which its certificate is valid.
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// The key of its certificate.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// A document.
    ///
    /// # Errors
    ///
    /// [`IssueError::Entropy`]: a signature needs a random number.
    pub fn document(&self, draft: &Draft<'_>) -> Result<Vec<u8>, IssueError> {
        self.key.document(&payload(&self.fields(draft)))
    }

    pub(super) fn fields(&self, draft: &Draft<'_>) -> Fields {
        let optional = |bytes: Option<&[u8]>| match bytes {
            Some(bytes) => encoded(|writer| writer.bytes(bytes)),
            None => encoded(Writer::null),
        };
        let pcrs = encoded(|writer| {
            let pcrs = draft.pcrs.iter();
            pcrs.fold(writer.map(draft.pcrs.len()), |writer, (index, value)| {
                writer.unsigned((*index).into()).bytes(value)
            })
        });
        let bundle = encoded(|writer| {
            let bundle = self.bundle.iter();
            bundle.fold(writer.array(self.bundle.len()), |writer, der| writer.bytes(der))
        });
        let time = draft.time.milliseconds();
        vec![
            (MODULE_ID, encoded(|writer| writer.text(&self.module_id))),
            (DIGEST_FIELD, encoded(|writer| writer.text(DIGEST))),
            (TIMESTAMP, encoded(|writer| writer.unsigned(time))),
            (PCRS_FIELD, pcrs),
            (CERTIFICATE, encoded(|writer| writer.bytes(&self.certificate))),
            (BUNDLE, bundle),
            (PUBLIC_KEY, optional(draft.public_key)),
            (USER_DATA, optional(draft.user_data)),
            (NONCE, optional(draft.nonce)),
        ]
    }
}

/// One item, encoded.
pub(super) fn encoded(write: impl FnOnce(&mut Writer) -> &mut Writer) -> Vec<u8> {
    let mut writer = Writer::new();
    write(&mut writer);
    writer.finish()
}

/// The fields as a map of indefinite length, as the platform has written it since 2025.
pub(super) fn payload(fields: &[(&'static str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.open_map();
    for (name, value) in fields {
        writer.text(name).encoded(value);
    }
    writer.end();
    writer.finish()
}
