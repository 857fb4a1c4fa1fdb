//! Signing an image: COSE_Sign1 (RFC 9052) with ES384 over PCR0, and the certificate that PCR8 measures.

use attest::cbor::{Value, Writer, decode};
use attest::cose::{PROTECTED, signed_bytes};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, UnparsedPublicKey,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::EifError;
use super::certificate::public_key;

/// Index of the register that is signed.
const SIGNED_REGISTER: u64 = 0;
/// Fields of the section.
const CERTIFICATE: &str = "signing_certificate";
const SIGNATURE: &str = "signature";

/// A private key on P-384 and its certificate.
pub struct Signer {
    key: EcdsaKeyPair,
    certificate_pem: Vec<u8>,
    certificate: CertificateDer<'static>,
}

impl Signer {
    /// Reads both from PEM. The key must be PKCS#8.
    ///
    /// # Errors
    ///
    /// When one of the two cannot be used, with what to do about it.
    pub fn from_pem(key: &[u8], certificate: &[u8]) -> Result<Self, EifError> {
        let signing = |text: String| EifError::Signing(text);
        let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(key).map_err(|_| {
            signing(
                "the key is not PKCS#8 in PEM; convert it with `openssl pkcs8 -topk8 -nocrypt -in KEY`"
                    .to_owned(),
            )
        })?;
        let key = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P384_SHA384_FIXED_SIGNING,
            pkcs8.secret_pkcs8_der(),
            &SystemRandom::new(),
        )
        .map_err(|error| {
            signing(format!(
                "the key is not for P-384 ({error}); make one with `openssl genpkey -algorithm EC -pkeyopt \
                 ec_paramgen_curve:P-384`"
            ))
        })?;
        let parsed = CertificateDer::from_pem_slice(certificate)
            .map_err(|error| signing(format!("the certificate is not PEM: {error}")))?;
        let public = ring::signature::KeyPair::public_key(&key).as_ref();
        if public_key(&parsed) != Some(public) {
            return Err(signing("the certificate is for another key".to_owned()));
        }
        Ok(Self {
            key,
            certificate_pem: certificate.to_vec(),
            certificate: parsed,
        })
    }

    pub(super) fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// The content of the signature section.
    pub(super) fn sign(&self, pcr0: &[u8]) -> Result<Vec<u8>, EifError> {
        let payload = payload(pcr0);
        let signature = self
            .key
            .sign(&SystemRandom::new(), &signed_bytes(&payload))
            .map_err(|_| EifError::Signing("the key refused to sign".to_owned()))?;
        let mut cose = Writer::new();
        cose.array(4)
            .bytes(&PROTECTED)
            .map(0)
            .bytes(&payload)
            .bytes(signature.as_ref());
        let mut section = Writer::new();
        section.array(1).map(2);
        section.text(CERTIFICATE).integers(&self.certificate_pem);
        section.text(SIGNATURE).integers(&cose.finish());
        Ok(section.finish())
    }
}

/// `PcrInfo` of the reference implementation.
fn payload(pcr0: &[u8]) -> Vec<u8> {
    let mut payload = Writer::new();
    payload.map(2).text("register_index").unsigned(SIGNED_REGISTER);
    payload.text("register_value").integers(pcr0);
    payload.finish()
}

/// What a signature section says.
pub(super) struct Signature {
    /// The certificate of the signer.
    pub(super) certificate: CertificateDer<'static>,
    /// Register and value that are signed.
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl Signature {
    /// Parses the content of a signature section; says what is wrong with it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let section = decode(bytes).map_err(|error| format!("it is not CBOR: {error}"))?;
        let Some([only]) = section.as_array() else {
            return Err("it is not an array of one signature".to_owned());
        };
        let field = |name| {
            let bytes = only.get(name).and_then(Value::as_integers);
            bytes.ok_or_else(|| format!("it has no bytes `{name}`"))
        };
        let (certificate, cose) = (field(CERTIFICATE)?, field(SIGNATURE)?);
        let cose = decode(&cose).map_err(|error| format!("`{SIGNATURE}` is not CBOR: {error}"))?;
        let Some(
            [
                protected,
                unprotected,
                Value::Bytes(payload),
                Value::Bytes(signature),
            ],
        ) = cose.as_array()
        else {
            return Err(format!("`{SIGNATURE}` is no COSE_Sign1"));
        };
        if *protected != Value::Bytes(&PROTECTED) || *unprotected != Value::Map(Vec::new()) {
            return Err(format!(
                "`{SIGNATURE}` is not ES384, or has headers that are not known"
            ));
        }
        Ok(Self {
            certificate: CertificateDer::from_pem_slice(&certificate)
                .map_err(|error| format!("`{CERTIFICATE}` is not PEM: {error}"))?,
            payload: payload.to_vec(),
            signature: signature.to_vec(),
        })
    }

    /// Whether it is a signature of `pcr0` by the key of its certificate. Who that is, is for the caller to judge.
    pub(super) fn is_valid_for(&self, pcr0: &[u8]) -> bool {
        let message = signed_bytes(&self.payload);
        self.payload == payload(pcr0)
            && public_key(&self.certificate).is_some_and(|point| {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
                    .verify(&message, &self.signature)
                    .is_ok()
            })
    }
}
