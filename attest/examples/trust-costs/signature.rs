//! The signatures of a document, taken out of it by the shortest way: the document is a good one, and what is found is
//! verified by its very use.

use attest::cbor::{Value, decode};
use attest::cose::signed_bytes;
use attest::nsm::PcrValue;
use ring::signature::{
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm, UnparsedPublicKey,
};

/// secp384r1, and a bit string of 97 bytes: what stands in front of a public key in a certificate.
const P384_POINT: [u8; 10] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00];
const POINT_BYTES: usize = 97;

/// What one ECDSA verification needs.
pub(crate) struct Signature {
    algorithm: &'static EcdsaVerificationAlgorithm,
    key: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
}

impl Signature {
    /// Verifies it, and nothing else.
    pub(crate) fn verify(&self) -> Result<(), &'static str> {
        let key = UnparsedPublicKey::new(self.algorithm, &self.key);
        key.verify(&self.message, &self.signature)
            .map_err(|_unspecified| "a signature of the document is not one")
    }
}

/// PCR0 as the document says it.
pub(crate) fn image(document: &[u8]) -> Result<PcrValue, &'static str> {
    let [payload, _] = envelope(document)?;
    let payload = decode(payload).map_err(|_| "the payload is not CBOR")?;
    let Some(Value::Map(pcrs)) = payload.get("pcrs") else {
        return Err("the payload has no registers");
    };
    let pcr0 = pcrs.iter().find(|(index, _)| index.as_unsigned() == Some(0));
    pcr0.and_then(|(_, value)| value.as_bytes()?.try_into().ok())
        .ok_or("the payload has no PCR0")
}

/// One for each certificate below the root, and the document's own.
pub(crate) fn signatures(document: &[u8]) -> Result<Vec<Signature>, &'static str> {
    let [payload, signature] = envelope(document)?;
    let tree = decode(payload).map_err(|_| "the payload is not CBOR")?;
    let Some(Value::Array(bundle)) = tree.get("cabundle") else {
        return Err("the payload has no certificates");
    };
    let leaf = tree.get("certificate").ok_or("the payload has no certificate")?;
    let chain: Option<Vec<&[u8]>> = bundle.iter().chain([leaf]).map(Value::as_bytes).collect();
    let chain = chain.ok_or("a certificate is not a byte string")?;
    let mut all = Vec::new();
    for pair in chain.windows(2) {
        if let [issuer, issued] = pair {
            all.push(of_certificate(issuer, issued).ok_or("a certificate is not one")?);
        }
    }
    all.push(Signature {
        algorithm: &ECDSA_P384_SHA384_FIXED,
        key: chain
            .last()
            .and_then(|leaf| key(leaf))
            .ok_or("the last certificate has no key")?,
        message: signed_bytes(payload),
        signature: signature.to_vec(),
    });
    all.iter().try_for_each(Signature::verify)?;
    Ok(all)
}

/// Payload and signature.
fn envelope(document: &[u8]) -> Result<[&[u8]; 2], &'static str> {
    let Ok(Value::Array(parts)) = decode(document) else {
        return Err("the document is not CBOR");
    };
    let part = |index: usize| parts.get(index).and_then(Value::as_bytes);
    match (part(2), part(3)) {
        (Some(payload), Some(signature)) => Ok([payload, signature]),
        _ => Err("the document is no COSE_Sign1"),
    }
}

fn of_certificate(issuer: &[u8], issued: &[u8]) -> Option<Signature> {
    let (_, content, _) = element(issued)?;
    let (message, _, rest) = element(content)?;
    let (_, _, rest) = element(rest)?;
    let (_, bits, _) = element(rest)?;
    Some(Signature {
        algorithm: &ECDSA_P384_SHA384_ASN1,
        key: key(issuer)?,
        message: message.to_vec(),
        // The number of unused bits comes first.
        signature: bits.get(1..)?.to_vec(),
    })
}

/// The public key: an uncompressed point.
fn key(certificate: &[u8]) -> Option<Vec<u8>> {
    let place = certificate
        .windows(P384_POINT.len())
        .position(|window| window == P384_POINT)?;
    let start = place + P384_POINT.len();
    certificate.get(start..start + POINT_BYTES).map(<[u8]>::to_vec)
}

/// The first element of DER: whole, its content, and what follows it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (head, length) = match *der.get(1)? {
        0x82 => (4, usize::from(u16::from_be_bytes([*der.get(2)?, *der.get(3)?]))),
        0x81 => (3, usize::from(*der.get(2)?)),
        short => (2, usize::from(short)),
    };
    let (whole, rest) = der.split_at_checked(head + length)?;
    Some((whole, whole.get(head..)?, rest))
}
