//! Writes OCI image layouts (image-layout 1.0.0). The same tree always gives the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use manifest_sync::digest::Digest;

use crate::image::{self, Config, Descriptor, ImageConfig, Index, Manifest, Platform, REF_NAME, RootFs};

/// A layer that has been written.
#[derive(Debug, Clone)]
pub struct LayerDescriptor {
    /// The blob.
    pub descriptor: Descriptor,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
}

/// A layout that images are added to.
#[derive(Debug)]
pub struct LayoutWriter {
    dir: PathBuf,
}

impl LayoutWriter {
    /// Opens the layout in `dir`, or makes a new one.
    pub fn create(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir.join("blobs/sha256"))?;
        let writer = Self { dir: dir.to_owned() };
        writer.put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(writer)
    }

    /// Adds a layer with the files of `tree`: sorted, time 0, owner 0.
    pub fn add_layer(&self, tree: &Path, gzip: bool) -> io::Result<LayerDescriptor> {
        let mut archive = tar::Builder::new(Vec::new());
        archive.mode(tar::HeaderMode::Complete);
        archive.follow_symlinks(false);
        append(&mut archive, tree, Path::new(""))?;
        self.add_layer_tar(archive.into_inner()?.as_slice(), gzip)
    }

    /// Adds a layer from an archive as it is.
    pub fn add_layer_tar(&self, mut reader: impl Read, gzip: bool) -> io::Result<LayerDescriptor> {
        let mut plain = Vec::new();
        reader.read_to_end(&mut plain)?;
        let diff_id = Digest::sha256(&plain);
        let media_type = if gzip {
            format!("{}+gzip", image::LAYER)
        } else {
            image::LAYER.to_owned()
        };
        let blob = if gzip {
            let mut encoder = GzBuilder::new()
                .mtime(0)
                .write(Vec::new(), Compression::default());
            encoder.write_all(&plain)?;
            encoder.finish()?
        } else {
            plain
        };
        Ok(LayerDescriptor {
            descriptor: self.blob(&media_type, &blob)?,
            diff_id,
        })
    }

    /// Adds an image for this architecture; an image that had the name before loses it. Returns its manifest's digest.
    pub fn write_image(
        &self,
        name: &str,
        config: ImageConfig,
        layers: &[LayerDescriptor],
    ) -> io::Result<Digest> {
        let platform = Platform {
            architecture: image::architecture().to_owned(),
            os: "linux".to_owned(),
        };
        let diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let config = Config {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            config: Some(config),
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids,
            },
        };
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(image::MANIFEST.to_owned()),
            config: self.blob(image::CONFIG, &serde_json::to_vec(&config)?)?,
            layers: layers.iter().map(|layer| layer.descriptor.clone()).collect(),
        };
        let mut entry = self.blob(image::MANIFEST, &serde_json::to_vec(&manifest)?)?;
        entry.platform = Some(platform);
        entry.annotations = Some(BTreeMap::from([(REF_NAME.to_owned(), name.to_owned())]));
        let mut index = match fs::read(self.dir.join("index.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Index {
                schema_version: 2,
                media_type: Some(image::INDEX.to_owned()),
                manifests: Vec::new(),
            },
            Err(error) => return Err(error),
        };
        let named = |d: &Descriptor| {
            d.annotations
                .as_ref()
                .and_then(|a| a.get(REF_NAME))
                .is_some_and(|n| n == name)
        };
        index.manifests.retain(|descriptor| !named(descriptor));
        let digest = entry.digest.clone();
        index.manifests.push(entry);
        self.put("index.json", &serde_json::to_vec(&index)?)?;
        Ok(digest)
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> io::Result<Descriptor> {
        let digest = Digest::sha256(bytes);
        self.put(&format!("blobs/sha256/{}", digest.hex()), bytes)?;
        let size = bytes.len() as u64;
        Ok(Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            platform: None,
            annotations: None,
        })
    }

    /// Whole or not at all: temporary file, then rename.
    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.dir.join(format!(".tmp-{}", std::process::id()));
        fs::write(&temporary, bytes)?;
        fs::rename(&temporary, self.dir.join(name))
    }
}

fn append(archive: &mut tar::Builder<Vec<u8>>, tree: &Path, below: &Path) -> io::Result<()> {
    let mut names: Vec<_> = fs::read_dir(tree.join(below))?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<_>>()?;
    names.sort();
    for name in names {
        let path = below.join(name);
        let full = tree.join(&path);
        let meta = fs::symlink_metadata(&full)?;
        let mut header = tar::Header::new_gnu();
        header.set_metadata(&meta);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        if meta.is_dir() {
            header.set_size(0);
            archive.append_data(&mut header, &path, io::empty())?;
            append(archive, tree, &path)?;
        } else if meta.is_symlink() {
            header.set_size(0);
            archive.append_link(&mut header, &path, fs::read_link(&full)?)?;
        } else if meta.is_file() {
            archive.append_data(&mut header, &path, fs::File::open(&full)?)?;
        } else {
            return Err(io::Error::other(format!(
                "{}: not a file, directory or link",
                full.display()
            )));
        }
    }
    Ok(())
}
