//! The files of `configMap`, `secret`, `downwardAPI` and `projected` volumes (K-386 to K-393).

use std::collections::BTreeMap;

use crate::data::{Content, Objects};
use crate::env::Runtime;
use crate::plan::{KeyToPath, ObjectRef, Projection};

/// Name of the socket in an attestation volume.
pub const ATTESTATION_SOCKET: &str = "attest.sock";

/// Relative path → content and mode.
pub type Files = BTreeMap<String, (Content, u32)>;

/// The files of a volume. Errors are worded as the kubelet's (`FailedMount`).
pub fn payload(
    objects: &Objects<'_>,
    runtime: &Runtime,
    sources: &[Projection],
    default_mode: u32,
) -> Result<Files, String> {
    let mut files = Files::new();
    for source in sources {
        match source {
            Projection::Object {
                source,
                items,
                optional,
            } => files.extend(object(objects, source, items, default_mode, *optional)?),
            Projection::Facts(items) => {
                for item in items {
                    let text = item.fact.text(objects.plan, runtime, None)?;
                    let content = Content::new(text.into_bytes());
                    files.insert(item.path.clone(), (content, item.mode.unwrap_or(default_mode)));
                }
            }
        }
    }
    Ok(files)
}

fn object(
    objects: &Objects<'_>,
    source: &ObjectRef,
    items: &[KeyToPath],
    default_mode: u32,
    optional: bool,
) -> Result<Files, String> {
    let Some(data) = crate::env::object(objects, source, optional)? else {
        return Ok(Files::new());
    };
    if items.is_empty() {
        let all = data.data.iter().chain(&data.binary);
        return Ok(all
            .map(|(key, bytes)| (key.clone(), (bytes.clone(), default_mode)))
            .collect());
    }
    let mut files = Files::new();
    for item in items {
        match data.data.get(&item.key).or_else(|| data.binary.get(&item.key)) {
            Some(bytes) => {
                files.insert(
                    item.path.clone(),
                    (bytes.clone(), item.mode.unwrap_or(default_mode)),
                );
            }
            None if optional => {}
            None => {
                return Err(match source {
                    ObjectRef::ConfigMap(_) => {
                        format!("configmap references non-existent config key: {}", item.key)
                    }
                    ObjectRef::Secret(_) => format!("references non-existent secret key: {}", item.key),
                });
            }
        }
    }
    Ok(files)
}
