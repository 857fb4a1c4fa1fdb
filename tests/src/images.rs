//! Images of the tests: the guests' under more names, which differ in one variable and one layer.

use std::path::Path;

use manifest_sync::digest::Digest;
use rootfs::image::{Config, Descriptor, Index, Manifest};
use rootfs::write::{LayerDescriptor, LayoutWriter};
use tempfile::TempDir;

/// A layout with `guest:latest` and, for each of `versions`, `guest:VERSION`, whose variable `VERSION` says so and
/// which has a layer of its own with the file `/version`.
pub fn versions(guests: &Path, versions: &[&str]) -> TempDir {
    let layout = tempfile::Builder::new()
        .prefix("cli")
        .tempdir()
        .expect("a scratch directory");
    let blobs = layout.path().join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("a directory");
    for name in ["index.json", "oci-layout"] {
        std::fs::copy(guests.join(name), layout.path().join(name)).expect("a copy");
    }
    for blob in std::fs::read_dir(guests.join("blobs/sha256"))
        .expect("blobs")
        .flatten()
    {
        std::fs::copy(blob.path(), blobs.join(blob.file_name())).expect("a copy");
    }
    let read = |name: &Path| std::fs::read(layout.path().join(name)).expect("a file of the layout");
    let blob = |digest: &Digest| read(&Path::new("blobs/sha256").join(digest.hex()));
    let index: Index = serde_json::from_slice(&read(Path::new("index.json"))).expect("an index");
    let manifest: Manifest = serde_json::from_slice(&blob(&index.manifests[0].digest)).expect("a manifest");
    let config: Config = serde_json::from_slice(&blob(&manifest.config.digest)).expect("a configuration");
    let pairs = manifest.layers.iter().zip(&config.rootfs.diff_ids);
    let layers: Vec<LayerDescriptor> = pairs
        .map(|(descriptor, diff_id): (&Descriptor, &Digest)| LayerDescriptor {
            descriptor: descriptor.clone(),
            diff_id: diff_id.clone(),
        })
        .collect();
    let writer = LayoutWriter::create(layout.path()).expect("a layout");
    for version in versions {
        let mut image = config.config.clone().unwrap_or_default();
        image.env = Some(vec![format!("VERSION={version}")]);
        let tree = tempfile::tempdir().expect("a scratch directory");
        std::fs::write(tree.path().join("version"), version).expect("a file");
        let own = writer.add_layer(tree.path(), true).expect("a layer");
        let layers: Vec<LayerDescriptor> = layers.iter().cloned().chain([own]).collect();
        writer
            .write_image(&format!("guest:{version}"), image, &layers)
            .expect("an image");
    }
    layout
}
