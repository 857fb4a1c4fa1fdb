//! The certificates of a document: from a root that the verifier was given, each issued by the one before, to the key that
//! signed the document. The order is the bundle's own; nobody searches for another.

use ring::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use std::time::Duration;
use webpki::ring::ECDSA_P384_SHA384;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::certificate::Outline;
use super::chain_error::{ChainError, Position};
use super::payload::UnverifiedPayload;
use super::root::{Root, fingerprint};
use crate::time::UnixTime;

/// The one algorithm of the platform's certificates.
const ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 1] = [ECDSA_P384_SHA384];

/// A certificate of a chain that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Common name of its subject.
    pub subject: String,
    /// First second at which it is valid.
    pub not_before: UnixTime,
    /// Last second at which it is valid.
    pub not_after: UnixTime,
}

/// A chain that holds at the time of asking.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    /// Root first, the document's signer last.
    pub(super) certificates: Vec<Certificate>,
    /// SHA-256 of the root.
    pub(super) root: [u8; 32],
    /// The signer's key: an uncompressed point.
    key: &'a [u8],
}

impl<'a> Chain<'a> {
    pub(super) fn verify(
        unverified: &UnverifiedPayload<'a>,
        roots: &[Root],
        now: UnixTime,
    ) -> Result<Self, ChainError> {
        let (first, issuers) = unverified
            .bundle
            .split_first()
            .ok_or(ChainError::Unreadable(Position::Root))?;
        let Some(root) = roots.iter().find(|root| root.der() == *first) else {
            return Err(ChainError::UntrustedRoot(fingerprint(first)));
        };
        let outlines = outlines(unverified)?;
        in_order(&outlines)?;
        may_sign(&outlines)?;
        valid_at(&outlines, now)?;
        let (_, leaf) = outlines.last().ok_or(ChainError::Unreadable(Position::Leaf))?;
        let key = leaf.p384_point().ok_or(ChainError::LeafKey)?;
        if !named_after(leaf.common_name, unverified.module_id) {
            return Err(ChainError::LeafName);
        }
        signatures(unverified.certificate, issuers, root, now)?;
        let certificates = outlines.iter().map(|(_, outline)| Certificate {
            subject: outline.common_name.to_owned(),
            not_before: outline.not_before,
            not_after: outline.not_after,
        });
        Ok(Self {
            certificates: certificates.collect(),
            root: root.fingerprint(),
            key,
        })
    }

    /// Whether the last certificate's key made this signature.
    pub(super) fn signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, self.key);
        key.verify(bytes, signature).is_ok()
    }
}

type Outlines<'a> = Vec<(Position, Outline<'a>)>;

fn outlines<'a>(unverified: &UnverifiedPayload<'a>) -> Result<Outlines<'a>, ChainError> {
    let bundle = unverified
        .bundle
        .iter()
        .enumerate()
        .map(|(index, der)| match index {
            0 => (Position::Root, *der),
            index => (Position::Issuer(index), *der),
        });
    let all = bundle.chain([(Position::Leaf, unverified.certificate)]);
    all.map(|(position, der)| match Outline::parse(der) {
        Ok(outline) => Ok((position, outline)),
        Err(_) => Err(ChainError::Unreadable(position)),
    })
    .collect()
}

fn in_order(outlines: &Outlines<'_>) -> Result<(), ChainError> {
    for ((_, issuer), (position, issued)) in outlines.iter().zip(outlines.iter().skip(1)) {
        if issuer.subject != issued.issuer {
            return Err(ChainError::Order(*position));
        }
    }
    Ok(())
}

/// RFC 5280, section 4.2.1.3, which webpki leaves aside.
fn may_sign(outlines: &Outlines<'_>) -> Result<(), ChainError> {
    for (position, outline) in outlines {
        let allowed = match position {
            Position::Leaf => outline.signs_documents(),
            Position::Root | Position::Issuer(_) => outline.signs_certificates(),
        };
        if !allowed {
            return Err(ChainError::KeyUsage(*position));
        }
    }
    Ok(())
}

/// All of them, and the root too: webpki does not look at an anchor's dates.
fn valid_at(outlines: &Outlines<'_>, now: UnixTime) -> Result<(), ChainError> {
    for (position, outline) in outlines {
        let position = *position;
        if now.seconds() < outline.not_before.seconds() {
            return Err(ChainError::NotYetValid {
                position,
                not_before: outline.not_before,
                now,
            });
        }
        if now.seconds() > outline.not_after.seconds() {
            return Err(ChainError::Expired {
                position,
                not_after: outline.not_after,
                now,
            });
        }
    }
    Ok(())
}

/// `MODULE.REGION.aws`: the certificate is that of the module which the document names.
fn named_after(common_name: &str, module_id: &str) -> bool {
    let rest = common_name.strip_prefix(module_id);
    rest.is_some_and(|rest| rest.starts_with('.'))
}

/// Signatures, basic constraints, path length, critical extensions.
fn signatures(leaf: &[u8], issuers: &[&[u8]], root: &Root, now: UnixTime) -> Result<(), ChainError> {
    let root = CertificateDer::from(root.der());
    let anchor = anchor_from_trusted_cert(&root).map_err(|error| ChainError::path(&error))?;
    let issuers: Vec<_> = issuers.iter().map(|der| CertificateDer::from(*der)).collect();
    let (anchors, leaf) = ([anchor], CertificateDer::from(leaf));
    let leaf = EndEntityCert::try_from(&leaf).map_err(|error| ChainError::path(&error))?;
    let seconds = Duration::from_secs(now.seconds());
    let path = leaf.verify_for_usage(
        &ALGORITHMS,
        &anchors,
        &issuers,
        rustls_pki_types::UnixTime::since_unix_epoch(seconds),
        // The leaf has no extended key usage, which permits every usage; one that it had would have to permit this.
        KeyUsage::client_auth(),
        None,
        None,
    );
    match path {
        Err(error) => Err(ChainError::path(&error)),
        // A certificate that is not on the path was not looked at.
        Ok(path) if path.intermediate_certificates().count() != issuers.len() => {
            Err(ChainError::Order(Position::Leaf))
        }
        Ok(_) => Ok(()),
    }
}
