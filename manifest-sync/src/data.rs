//! What ConfigMaps and Secrets hold, those of the bundle and those that attestation releases. Values are wiped when they
//! are dropped, and never printed.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use zeroize::Zeroizing;

use crate::base64;
use crate::decode::Node;
use crate::plan::Plan;
use crate::pod;

/// One value. Nothing of it is left in memory when it is dropped; a copy is wiped as well.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Content(Zeroizing<Vec<u8>>);

impl Content {
    /// Takes ownership of `bytes`; copies made before are the caller's to wipe.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Content {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Content {
    /// Neither the value nor its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Content(..)")
    }
}

/// The content of a ConfigMap or Secret.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Data {
    /// `data` of a ConfigMap (text), or all keys of a Secret (decoded bytes).
    pub data: BTreeMap<String, Content>,
    /// `binaryData` of a ConfigMap: volumes only, never environment (K-353).
    pub binary: BTreeMap<String, Content>,
    /// `immutable`: no update may change it.
    pub immutable: bool,
}

impl fmt::Debug for Data {
    /// Keys only: values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.data.keys())
            .entries(self.binary.keys())
            .finish()
    }
}

/// Secrets that exist at run time only: what `secretObjects` of the mounted classes make of released values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Released(pub BTreeMap<String, Data>);

/// Where references to ConfigMaps and Secrets are looked up.
#[derive(Debug, Clone, Copy)]
pub struct Objects<'a> {
    /// The bundle's objects come first; validation has seen to it that no name is in both.
    pub plan: &'a Plan,
    /// What has been released so far.
    pub released: &'a Released,
}

/// Reads a ConfigMap or, if `secret`, a Secret.
pub(crate) fn read(item: &Node<'_>, secret: bool) -> Data {
    let shared = ["apiVersion", "kind", "metadata", "data"];
    let own: &[&str] = if secret {
        &["stringData", "type", "immutable"]
    } else {
        &["binaryData", "immutable"]
    };
    item.fields(&[&shared, own].concat(), &[], &[]);
    if let Some(metadata) = item.get("metadata") {
        pod::metadata(&metadata);
    } else {
        item.required("metadata");
    }
    let mut out = Data {
        immutable: item.flag_of("immutable").unwrap_or_default(),
        ..Data::default()
    };
    let entries = |field| item.get(field).map(|node| node.entries()).unwrap_or_default();
    let text = |node: &Node<'_>| node.text().unwrap_or_default().into_bytes();
    for (key, node) in entries("data") {
        check_key(&key, &node);
        let value = match node.value.as_str() {
            // A NUL is good in a file; as a variable it is refused when the container starts.
            Some(value) if !secret => value.as_bytes().to_vec(),
            _ if secret => bytes(&node),
            _ => text(&node),
        };
        out.data.insert(key, Content::new(value));
    }
    for (key, node) in entries("stringData").into_iter().filter(|_| secret) {
        check_key(&key, &node);
        out.data.insert(key, Content::new(text(&node)));
    }
    for (key, node) in entries("binaryData").into_iter().filter(|_| !secret) {
        check_key(&key, &node);
        if out.data.contains_key(&key) {
            node.error("the key is in `data` too");
        }
        out.binary.insert(key, Content::new(bytes(&node)));
    }
    out
}

/// A key of a ConfigMap or Secret, as Kubernetes validates it: it may become the name of a file.
pub(crate) fn check_key(key: &str, node: &Node<'_>) {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if key.is_empty() || key.len() > 253 || key.starts_with("..") || key == "." || !key.bytes().all(good) {
        node.error("the key must be at most 253 letters, digits, `-`, `_` or `.`, and neither `.` nor begin with `..`");
    }
}

fn bytes(node: &Node<'_>) -> Vec<u8> {
    let Some(text) = node.text() else {
        return Vec::new();
    };
    base64::decode_lenient(&text).unwrap_or_else(|| {
        node.error("not valid base64");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_printed() {
        let mut secret = Data::default();
        secret
            .data
            .insert("password".to_owned(), Content::new(b"hunter2".to_vec()));
        let released = Released(BTreeMap::from([("db".to_owned(), secret)]));
        let printed = format!("{released:?} {:#?}", released.0["db"].data);
        assert!(printed.contains("password"), "{printed}");
        // As text, and as a list of numbers.
        assert!(
            !printed.contains("hunter2") && !printed.contains("104"),
            "{printed}"
        );
    }
}
