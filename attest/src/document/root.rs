//! Roots of trust: certificates that a verifier was given. A document carries its root too; that one is only compared.

use std::fmt;

use ring::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::certificate::Outline;
use super::payload::MAX_CERTIFICATE;

/// AWS Nitro Enclaves Root G1, of the commercial partition, as published by AWS.
const AWS_G1: &str = include_str!("aws-nitro-root-g1.pem");
/// SHA-256 of its DER, which the documentation of Nitro Enclaves lets everybody compute.
#[cfg(test)]
const AWS_G1_FINGERPRINT: &str = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b";

/// A certificate at the top of a chain that a verifier trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(Vec<u8>);

/// Bytes that are not the certificate of a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootError {
    /// No certificate in PEM.
    NotPem,
    /// Not a certificate of 1 to 1024 bytes (DER) that issued itself and may sign certificates.
    NotARoot,
}

impl fmt::Display for RootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPem => "no certificate: expected PEM, from -----BEGIN CERTIFICATE----- on",
            Self::NotARoot => {
                "not a root: expected a certificate of at most 1024 bytes, issued by itself, that may sign certificates"
            }
        })
    }
}

impl std::error::Error for RootError {}

impl Root {
    /// The roots that AWS signs documents under: G1. Other partitions than the commercial one may have another.
    pub fn aws() -> Vec<Self> {
        let root = Self::from_pem(AWS_G1.as_bytes());
        // A constant, which a test reads; without roots nothing is accepted.
        root.unwrap_or_default()
    }

    /// A certificate in DER.
    ///
    /// # Errors
    ///
    /// [`RootError::NotARoot`].
    pub fn from_der(der: &[u8]) -> Result<Self, RootError> {
        let outline = Outline::parse(der).map_err(|_| RootError::NotARoot)?;
        if der.len() > MAX_CERTIFICATE || outline.issuer != outline.subject || !outline.signs_certificates() {
            return Err(RootError::NotARoot);
        }
        Ok(Self(der.to_vec()))
    }

    /// All certificates of a text in PEM; at least one.
    ///
    /// # Errors
    ///
    /// [`RootError`] says what is wrong.
    pub fn from_pem(text: &[u8]) -> Result<Vec<Self>, RootError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
        let certificates = certificates.map_err(|_| RootError::NotPem)?;
        if certificates.is_empty() {
            return Err(RootError::NotPem);
        }
        certificates
            .iter()
            .map(|certificate| Self::from_der(certificate))
            .collect()
    }

    /// The certificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// SHA-256 of the DER, by which people compare certificates.
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&self.0)
    }
}

pub(super) fn fingerprint(der: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (byte, value) in bytes.iter_mut().zip(digest(&SHA256, der).as_ref()) {
        *byte = *value;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::Hex;

    #[test]
    fn the_root_of_aws_is_the_published_one() {
        let roots = Root::aws();
        assert_eq!(roots.len(), 1);
        assert_eq!(Hex(&roots[0].fingerprint()).to_string(), AWS_G1_FINGERPRINT);
    }

    #[test]
    fn what_is_no_root_is_refused() {
        assert_eq!(Root::from_pem(b""), Err(RootError::NotPem));
        assert_eq!(Root::from_pem(b"certificate"), Err(RootError::NotPem));
        let pem = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(Root::from_pem(pem), Err(RootError::NotARoot));
        assert_eq!(Root::from_der(&[]), Err(RootError::NotARoot));
    }
}
