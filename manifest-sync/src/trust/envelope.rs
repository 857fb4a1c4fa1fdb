//! The signed envelope: DSSE (<https://github.com/secure-systems-lab/dsse>) around the exact bytes of a bundle.
//!
//! ```json
//! {"payload": "BASE64", "payloadType": "application/vnd.cloister.bundle.v1+json",
//!  "signatures": [{"keyid": "sha256:HEX", "sig": "BASE64"}]}
//! ```
//!
//! What is signed is [`pae`]: type and payload with their lengths. What is not signed has no meaning: the `keyid` only says
//! which key to try first, and an envelope that was written anew (order, white space, further or fewer signatures) is as
//! good as its payload. So nothing may be keyed on the bytes of an envelope, nor on those of a signature; the digest of a
//! bundle is the payload's. Three decisions follow:
//!
//! - An ECDSA signature (r, s) has a twin (r, n - s) that anybody can make. Both are taken, as other tools make either.
//!   The encoding is DER, strict, of nothing else. Ed25519's S is below the order of the group (ring checks it).
//! - Base64 is the standard alphabet, padded, without line breaks and with unused bits zero, although DSSE allows the URL
//!   alphabet: two readers must never disagree about a payload.
//! - Unknown fields are refused, although DSSE would ignore them: nobody needs one.

use std::cell::RefCell;

use serde_json::{Value, json};

use crate::bundle;
use crate::decode::{Node, Report};
use crate::digest::BundleDigest;
use crate::reject::Rejection;
use crate::{base64, json};

/// `payloadType` of a bundle.
pub const PAYLOAD_TYPE: &str = "application/vnd.cloister.bundle.v1+json";
/// Most signatures of an envelope.
pub const MAX_SIGNATURES: usize = 16;
/// Largest envelope in bytes: a payload of [`bundle::MAX_BYTES`] in base64, and room for signatures and white space.
pub const MAX_BYTES: usize = bundle::MAX_BYTES.div_ceil(3) * 4 + (64 << 10);

/// Longest `keyid`.
const MAX_KEY_ID: usize = 256;
/// Longest signature in bytes; ours have at most 72.
const MAX_SIGNATURE: usize = 128;

/// One signature of an envelope, not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// A hint which key it is of. Printable ASCII.
    pub key_id: Option<String>,
    /// 64 bytes of Ed25519 or the DER of ECDSA.
    pub bytes: Vec<u8>,
}

/// An envelope that is well-formed. Nothing is known about its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    unverified_payload: Vec<u8>,
    signatures: Vec<Signature>,
}

/// What is signed: DSSE's pre-authentication encoding of a bundle.
pub fn pae(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

impl Envelope {
    /// Around a bundle, without signatures.
    pub fn new(payload: Vec<u8>) -> Self {
        Self {
            unverified_payload: payload,
            signatures: Vec::new(),
        }
    }

    /// Reads an envelope.
    ///
    /// # Errors
    /// Everything that is wrong with its form.
    pub fn parse(bytes: &[u8]) -> Result<Self, Rejection> {
        let tree =
            json::parse(bytes, MAX_BYTES, "the envelope").map_err(|what| Rejection::of("envelope", what))?;
        Self::of_tree(&tree)
    }

    fn of_tree(tree: &Value) -> Result<Self, Rejection> {
        let report = RefCell::new(Report::default());
        let root = Node {
            report: &report,
            object: "envelope".to_owned(),
            path: String::new(),
            value: tree,
        };
        let envelope = read(&root);
        let errors = report.take().errors;
        match envelope {
            Some(envelope) if errors.is_empty() => Ok(envelope),
            _ => Err(Rejection { errors }),
        }
    }

    /// The bundle, which nobody has vouched for.
    pub fn unverified_payload(&self) -> &[u8] {
        &self.unverified_payload
    }

    /// The signatures, in order.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds a signature over [`pae`] of the payload. One with the same key is replaced: it would count once.
    pub fn add(&mut self, key_id: String, bytes: Vec<u8>) {
        self.signatures
            .retain(|signature| signature.key_id.as_ref() != Some(&key_id));
        self.signatures.push(Signature {
            key_id: Some(key_id),
            bytes,
        });
    }

    /// The envelope as JSON, with a line break at its end.
    pub fn to_json(&self) -> Vec<u8> {
        let signatures: Vec<Value> = self
            .signatures
            .iter()
            .map(|signature| {
                let sig = base64::encode(&signature.bytes);
                match &signature.key_id {
                    Some(key_id) => json!({ "keyid": key_id, "sig": sig }),
                    None => json!({ "sig": sig }),
                }
            })
            .collect();
        let payload = base64::encode(&self.unverified_payload);
        let envelope = json!({ "payload": payload, "payloadType": PAYLOAD_TYPE, "signatures": signatures });
        format!("{envelope}\n").into_bytes()
    }
}

/// What a host delivers: an envelope, or a bundle as such.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// An envelope.
    Envelope(Envelope),
    /// A bundle that nobody has signed.
    Bare(Bare),
}

/// A bundle as such; JSON, and nothing more is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Bare {
    bytes: Vec<u8>,
    tree: Value,
}

impl Delivery {
    /// Tells by the fields at the top which of the two it is: the two forms have none in common, and both refuse unknown
    /// ones, so a file cannot be both.
    ///
    /// # Errors
    /// It is no JSON, too large, or an envelope with something wrong in its form.
    pub fn read(bytes: &[u8]) -> Result<Self, Rejection> {
        let refuse = |what| Rejection::of("bundle", what);
        let tree = json::parse(bytes, MAX_BYTES, "the bundle").map_err(refuse)?;
        if ["payload", "payloadType", "signatures"]
            .iter()
            .any(|field| tree.get(field).is_some())
        {
            return Envelope::of_tree(&tree).map(Self::Envelope);
        }
        if bytes.len() > bundle::MAX_BYTES {
            let (size, most) = (bytes.len(), bundle::MAX_BYTES);
            return Err(refuse(format!("has {size} bytes; at most {most} are accepted")));
        }
        let bytes = bytes.to_vec();
        Ok(Self::Bare(Bare { bytes, tree }))
    }

    /// The bundle, which nobody has vouched for.
    pub fn unverified_bundle(&self) -> &[u8] {
        match self {
            Self::Envelope(envelope) => &envelope.unverified_payload,
            Self::Bare(bare) => &bare.bytes,
        }
    }

    /// Digest of the bundle, whatever it is wrapped in.
    pub fn digest(&self) -> BundleDigest {
        BundleDigest::of(self.unverified_bundle())
    }

    /// Reads the bundle. Its bytes are parsed once, and they are those that [`Delivery::digest`] is of.
    pub(super) fn bundle(
        &self,
        digest: BundleDigest,
    ) -> Result<(bundle::Bundle, Vec<crate::reject::Finding>), Rejection> {
        match self {
            Self::Envelope(envelope) => {
                let payload = &envelope.unverified_payload;
                let tree = json::parse(payload, bundle::MAX_BYTES, "the bundle")
                    .map_err(|what| Rejection::of("bundle", what))?;
                bundle::Bundle::of_tree(&tree, digest)
            }
            Self::Bare(bare) => bundle::Bundle::of_tree(&bare.tree, digest),
        }
    }
}

fn read(root: &Node<'_>) -> Option<Envelope> {
    root.fields(&["payload", "payloadType", "signatures"], &[], &[]);
    let kind = root.required("payloadType")?;
    if kind != PAYLOAD_TYPE {
        root.error_at("payloadType", format!("expected `{PAYLOAD_TYPE}`"));
    }
    let Some(payload) = root.get("payload") else {
        root.error_at("payload", "is required");
        return None;
    };
    let unverified_payload = binary(&payload, bundle::MAX_BYTES)?;
    if root.get("signatures").is_none() {
        root.error_at("signatures", "is required");
    }
    let signatures = root.list_of("signatures", MAX_SIGNATURES);
    let signatures = signatures.iter().filter_map(signature).collect();
    Some(Envelope {
        unverified_payload,
        signatures,
    })
}

fn signature(node: &Node<'_>) -> Option<Signature> {
    node.fields(&["keyid", "sig"], &[], &[]);
    let key_id = node.text_of("keyid").filter(|text| !text.is_empty());
    if let Some(text) = &key_id
        && (text.len() > MAX_KEY_ID || !text.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        node.error_at(
            "keyid",
            format!("must be at most {MAX_KEY_ID} printable characters"),
        );
    }
    let Some(sig) = node.get("sig") else {
        node.error_at("sig", "is required");
        return None;
    };
    let bytes = binary(&sig, MAX_SIGNATURE)?;
    Some(Signature { key_id, bytes })
}

fn binary(node: &Node<'_>, most: usize) -> Option<Vec<u8>> {
    let Some(text) = node.value.as_str() else {
        node.error("expected a string");
        return None;
    };
    match base64::decode(text) {
        None => node.error("not base64 (standard alphabet, with padding, no line breaks)"),
        Some(bytes) if bytes.len() > most => {
            node.error(format!("has {} bytes; at most {most} are accepted", bytes.len()));
        }
        Some(bytes) => return Some(bytes),
    }
    None
}
