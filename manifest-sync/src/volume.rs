//! The files of `configMap` and `secret` volumes (K-386 to K-391).

use std::collections::BTreeMap;

use crate::data::{Content, Objects};
use crate::plan::{KeyToPath, ObjectRef};

/// Name of the socket in an attestation volume.
pub const ATTESTATION_SOCKET: &str = "attest.sock";

/// Relative path → content and mode. Errors are worded as the kubelet's (`FailedMount`).
pub fn payload(
    objects: &Objects<'_>,
    source: &ObjectRef,
    items: &[KeyToPath],
    default_mode: u32,
    optional: bool,
) -> Result<BTreeMap<String, (Content, u32)>, String> {
    let Some(data) = crate::env::object(objects, source, optional)? else {
        return Ok(BTreeMap::new());
    };
    let all = data.data.iter().chain(&data.binary);
    if items.is_empty() {
        return Ok(all
            .map(|(key, bytes)| (key.clone(), (bytes.clone(), default_mode)))
            .collect());
    }
    let mut files = BTreeMap::new();
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
