//! How much memory the images of a Pod take in the enclave, where every file is memory: guessed from the sizes of
//! their layers. Images that are not in the layout count nothing (they are in the EIF, which is counted).

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use manifest_sync::digest::Digest;
use serde_json::Value;

use crate::blobs::BlobStore;

use super::demand::pod;

/// What a compressed layer grows to: distributions' base images grow to 2.5 to 3 times their size with gzip, 3.5 with
/// zstd, and small files round up to pages.
const GROWTH: u64 = 4;
/// Largest manifest that is read; registries refuse more than 4 MiB.
const MAX_MANIFEST: u64 = 4 << 20;
/// Manifests that one index may lead to.
const MAX_PLATFORMS: usize = 64;

/// Bytes of memory for the images that the Pod of `bundle` names, from an OCI image layout. A layer that several
/// images share is unpacked once.
pub(super) fn memory(bundle: &Value, layout: Option<&Path>) -> u64 {
    let blobs = BlobStore::new(layout);
    let mut layers = BTreeMap::new();
    let spec = pod(bundle).and_then(|pod| pod.get("spec"));
    for list in ["initContainers", "containers"] {
        let all = spec.and_then(|spec| spec.get(list)).and_then(Value::as_array);
        for one in all.into_iter().flatten() {
            let image = one.get("image").and_then(Value::as_str);
            let digest = image.and_then(|image| image.rsplit_once('@'));
            if let Some(manifest) = digest.and_then(|(_, digest)| read(&blobs, digest)) {
                collect(&blobs, &manifest, &mut layers);
            }
        }
    }
    layers.values().copied().fold(0, u64::saturating_add)
}

/// Adds the layers of an image, or of each image of an index for this machine's platform: they will not all be used, but
/// an index of a local layout seldom has more than one.
fn collect(blobs: &BlobStore, document: &Value, layers: &mut BTreeMap<String, u64>) {
    let manifests = document.get("manifests").and_then(Value::as_array);
    for one in manifests.into_iter().flatten().take(MAX_PLATFORMS) {
        let architecture = one.pointer("/platform/architecture").and_then(Value::as_str);
        let digest = one.get("digest").and_then(Value::as_str);
        if architecture.is_none_or(|named| named == go_architecture())
            && let Some(manifest) = digest.and_then(|digest| read(blobs, digest))
        {
            add(&manifest, layers);
        }
    }
    add(document, layers);
}

fn add(manifest: &Value, layers: &mut BTreeMap<String, u64>) {
    let all = manifest.get("layers").and_then(Value::as_array);
    for layer in all.into_iter().flatten() {
        let text = |field: &str| layer.get(field).and_then(Value::as_str).unwrap_or_default();
        let size = layer.get("size").and_then(Value::as_u64).unwrap_or(0);
        let packed = ["gzip", "zstd"]
            .iter()
            .any(|kind| text("mediaType").ends_with(kind));
        let grown = size.saturating_mul(if packed { GROWTH } else { 1 });
        layers.insert(text("digest").to_owned(), grown);
    }
}

fn read(blobs: &BlobStore, digest: &str) -> Option<Value> {
    let file = blobs.open(&digest.parse::<Digest>().ok()?).ok()?;
    serde_json::from_reader(file.take(MAX_MANIFEST)).ok()
}

/// The enclave runs on its parent's CPUs; images name them as Go does.
fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn put(layout: &Path, document: &Value) -> String {
        let bytes = document.to_string().into_bytes();
        let digest = Digest::sha256(&bytes);
        let directory = layout.join("blobs/sha256");
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::write(directory.join(digest.hex()), bytes).expect("writes");
        digest.to_string()
    }

    #[test]
    fn compressed_layers_grow_and_shared_ones_count_once() {
        let layout = tempfile::tempdir().expect("temporary directory");
        let layer = |name: &str, media: &str, size: u64| {
            let media = format!("application/vnd.oci.image.layer.v1.{media}");
            json!({ "mediaType": media, "digest": name, "size": size })
        };
        let base = layer("base", "tar+gzip", 1000);
        let first = put(layout.path(), &json!({ "layers": [base, layer("a", "tar", 10)] }));
        let image = put(
            layout.path(),
            &json!({ "layers": [base, layer("b", "tar+zstd", 100)] }),
        );
        let foreign = put(layout.path(), &json!({ "layers": [layer("c", "tar", 1 << 40)] }));
        let index = json!({ "manifests": [
            { "digest": image, "platform": { "architecture": go_architecture() } },
            { "digest": foreign, "platform": { "architecture": "s390x" } },
        ] });
        let second = put(layout.path(), &index);
        let pod = json!({ "kind": "Pod", "spec": {
            "initContainers": [{ "image": format!("a@{first}") }],
            "containers": [{ "image": format!("b@{second}") }, { "image": "absent@sha256:1" }, { "image": "x" }],
        } });
        let bundle = json!({ "kind": "List", "items": [{ "kind": "ConfigMap" }, pod] });
        assert_eq!(memory(&bundle, Some(layout.path())), 4000 + 10 + 400);
        assert_eq!(memory(&bundle, None), 0);
        assert_eq!(memory(&json!(null), None), 0);
    }
}
