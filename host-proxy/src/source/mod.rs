//! Manifest files to the bundle: YAML or JSON, several documents and files, one JSON `v1/List`.
//! YAML exists only here. Input is bounded before the parser sees it.

mod images;
mod objects;
mod scan;

use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::{Value, json};

use manifest_sync::digest::BundleDigest;

use crate::exit::{Exit, Failure};

/// Largest manifest file in bytes.
const MAX_FILE: usize = 4 << 20;

/// The bundle, ready to travel.
#[derive(Debug, Clone)]
pub struct LoadedBundle {
    /// A JSON `v1/List`.
    pub json: Vec<u8>,
    /// `sha384:…` over `json`.
    pub digest: String,
    /// Image as written, image as it travels; only those that changed.
    pub resolved: Vec<(String, String)>,
}

/// Reads `files` (`-` is standard input) and resolves images without a digest in the OCI layout `images`.
///
/// # Errors
/// `NoInput` for a file or an image that is not there, `Rejected` for text that is not a manifest.
pub fn load(files: &[PathBuf], images: Option<&Path>) -> Result<LoadedBundle, Failure> {
    bundle(read(files)?, images)
}

/// The Kubernetes objects in `files`.
///
/// # Errors
/// `NoInput` for a file that is not there, `Rejected` for text that is not a manifest.
pub fn read(files: &[PathBuf]) -> Result<Vec<Value>, Failure> {
    let mut items = Vec::new();
    for file in files {
        parse(
            &file.display().to_string(),
            &crate::file::read_text(file, MAX_FILE)?,
            &mut items,
        )?;
    }
    Ok(items)
}

/// The bundle of `items`, with images without a digest resolved in the OCI layout `images`.
///
/// # Errors
/// `NoInput` for an image that is not there.
pub fn bundle(mut items: Vec<Value>, images: Option<&Path>) -> Result<LoadedBundle, Failure> {
    let resolved = images::resolve(&mut items, images)?;
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    let json = serde_json::to_vec(&list).map_err(|error| Failure::new(Exit::Rejected, error.to_string()))?;
    let digest = BundleDigest::of(&json).to_string();
    Ok(LoadedBundle {
        json,
        digest,
        resolved,
    })
}

/// Adds the objects of one file to `items`; a `kind: List` is replaced by its items.
fn parse(name: &str, text: &str, items: &mut Vec<Value>) -> Result<(), Failure> {
    let rejected = |what: String| Failure::new(Exit::Rejected, format!("{name}: {what}"));
    scan::check(text).map_err(rejected)?;
    for (index, document) in serde_norway::Deserializer::from_str(text).enumerate() {
        let number = index + 1;
        let value =
            Value::deserialize(document).map_err(|error| rejected(format!("document {number}: {error}")))?;
        let first = items.len();
        match value {
            Value::Null => {}
            Value::Object(mut list) if list.get("kind").is_some_and(|kind| kind == "List") => {
                match list.remove("items") {
                    Some(Value::Array(inner)) => items.extend(inner),
                    _ => return Err(rejected(format!("document {number}: a List without items"))),
                }
            }
            Value::Object(_) => items.push(value),
            _ => return Err(rejected(format!("document {number}: not a Kubernetes object"))),
        }
        for item in items.iter_mut().skip(first) {
            objects::convert(item).map_err(|what| rejected(format!("document {number}: {what}")))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        parse("f.yaml", text, &mut items).map(|()| items)
    }

    fn refusal(text: &str) -> String {
        parsed(text).expect_err("refused").message
    }

    #[test]
    fn documents_and_lists_become_items() {
        let text = "kind: A\n---\n---\nkind: List\nitems: [{kind: B}, {kind: C}]\n";
        let kinds: Vec<_> = parsed(text)
            .expect("parses")
            .iter()
            .map(|item| item["kind"].clone())
            .collect();
        assert_eq!(kinds, ["A", "B", "C"]);
    }

    #[test]
    fn errors_say_document_and_line() {
        let message = refusal("kind: A\n---\nkind: B\nx: [1\ny: 2\n");
        assert!(
            message.contains("f.yaml: document 2") && message.contains("line"),
            "{message}"
        );
    }

    #[test]
    fn brackets_and_laughs_are_refused() {
        assert!(refusal(&"[".repeat(4 << 20)).contains("nested"));
        let mut laughs = "a0: &a0 [x, x]\n".to_owned();
        for level in 1..40 {
            let below = level - 1;
            laughs.push_str(&format!("a{level}: &a{level} [*a{below}, *a{below}]\n"));
        }
        assert!(refusal(&laughs).contains("repetition limit"));
    }

    #[test]
    fn ambiguous_booleans_must_be_quoted() {
        assert!(refusal("kind: A\nvalue: yes # really\n").contains("line 2"));
        assert!(parsed("kind: A\nvalue: \"yes\"\ntext: |\n  key: on\n").is_ok());
    }
}
