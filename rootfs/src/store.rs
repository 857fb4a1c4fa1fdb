//! The layer store: one directory per layer, named by the hexadecimal of its diff id, in overlayfs format.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use manifest_sync::digest::Digest;
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use crate::Error;
use crate::beneath::{open_dir, remove_tree};
use crate::error::escape;
use crate::image::{self, Compression, Descriptor, Document, ImageConfig, MAX_DOCUMENT, Manifest};
use crate::stream::{Limit, Metered, decompress};
use crate::unpack::{Failure, Limits, Owners, Unpacker};

/// The file that is unpacked last: when it is there, the whole initramfs is.
pub const END: &str = "/end-of-image";
/// Where the initramfs has images that came with the enclave image: an OCI image layout.
pub const PRELOADED: &str = "/images";
/// Where the initramfs has kernel modules; all of them are loaded at boot, in the order of their names.
pub const MODULES: &str = "/lib/modules";

/// Where blobs come from. What it gives is not trusted.
pub trait BlobSource {
    /// Content of a blob and its size in bytes.
    fn open(&mut self, digest: &Digest) -> io::Result<(Box<dyn Read>, u64)>;
}

/// An image whose layers are all in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackedImage {
    /// The manifest that was used.
    pub manifest: Digest,
    /// Names of layer directories, lowest first.
    pub layers: Vec<String>,
    /// How to run it.
    pub config: ImageConfig,
    /// Bytes of its configuration and layers, as they travel.
    pub bytes: u64,
}

/// Makes all layers of `image` (a manifest or an index) available in `store`. Layers that are there are not fetched.
/// A layer gets its name only after blob and diff id have been verified; on failure nothing of it stays.
pub fn unpack_image(
    source: &mut impl BlobSource,
    image: &Digest,
    store: BorrowedFd<'_>,
    limits: Limits,
    owners: Owners,
) -> Result<UnpackedImage, Error> {
    let (digest, manifest) = manifest(source, image)?;
    let bytes = document(source, &manifest.config.digest, Some(manifest.config.size))?;
    let refuse = |reason| Error::Document {
        digest: manifest.config.digest.clone(),
        reason,
    };
    let config = image::parse_config(&bytes, &manifest).map_err(refuse)?;
    let mut left = limits;
    let mut layers = Vec::new();
    for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
        let how = image::compression(&layer.media_type).map_err(|reason| Error::Document {
            digest: digest.clone(),
            reason,
        })?;
        if rustix::fs::statat(store, diff_id.hex(), AtFlags::SYMLINK_NOFOLLOW).is_err() {
            let used = one_layer(source, layer, diff_id, how, store, left, owners)?;
            left.bytes = left.bytes.saturating_sub(used);
        }
        layers.push(diff_id.hex().to_owned());
    }
    Ok(UnpackedImage {
        manifest: digest,
        layers,
        config: config.config.unwrap_or_default(),
        bytes: manifest
            .layers
            .iter()
            .map(|layer| layer.size)
            .fold(manifest.config.size, u64::saturating_add),
    })
}

fn manifest(source: &mut impl BlobSource, image: &Digest) -> Result<(Digest, Manifest), Error> {
    let refuse = |digest: &Digest, reason| Error::Document {
        digest: digest.clone(),
        reason,
    };
    let index = match image::parse_document(&document(source, image, None)?).map_err(|r| refuse(image, r))? {
        Document::Manifest(manifest) => return Ok((image.clone(), manifest)),
        Document::Index(index) => index,
    };
    let chosen = index.choose().map_err(|reason| refuse(image, reason))?;
    let bytes = document(source, &chosen.digest, Some(chosen.size))?;
    match image::parse_document(&bytes).map_err(|reason| refuse(&chosen.digest, reason))? {
        Document::Manifest(manifest) => Ok((chosen.digest.clone(), manifest)),
        Document::Index(_) => Err(refuse(&chosen.digest, "an index within an index".into())),
    }
}

/// Reads and verifies a small blob.
fn document(source: &mut impl BlobSource, digest: &Digest, size: Option<u64>) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Blob {
        digest: digest.clone(),
        source,
    };
    let (reader, announced) = source.open(digest).map_err(failed)?;
    if size.is_some_and(|size| size != announced) {
        return Err(Error::Mismatch {
            digest: digest.clone(),
            what: "size",
        });
    }
    if announced > MAX_DOCUMENT {
        return Err(Error::Document {
            digest: digest.clone(),
            reason: "larger than 4 MiB".into(),
        });
    }
    let mut bytes = Vec::new();
    let mut reader = Metered::new(reader, digest, Limit::Bytes(announced));
    reader.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 != announced || !reader.is(digest) {
        return Err(Error::Mismatch {
            digest: digest.clone(),
            what: "content",
        });
    }
    Ok(bytes)
}

/// Removes layers that nothing uses, by their names in `store`; one that is not there is none. A layer loses its name
/// first, so that what is half removed is never taken for whole. While this goes on nobody may unpack.
///
/// # Errors
/// The store failed. What is left has no name any more, or is whole.
pub fn remove_layers(store: BorrowedFd<'_>, layers: &[String]) -> Result<(), Error> {
    for layer in layers {
        let nameless = format!(".old-{}-{layer}", std::process::id());
        match rustix::fs::renameat(store, layer.as_str(), store, nameless.as_str()) {
            Ok(()) => remove_tree(store, nameless.as_bytes()).map_err(Error::Store)?,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(Error::Store(errno.into())),
        }
    }
    Ok(())
}

/// Unpacks one layer under a temporary name, then names it. Returns the bytes of its archive.
fn one_layer(
    source: &mut impl BlobSource,
    layer: &Descriptor,
    diff_id: &Digest,
    how: Compression,
    store: BorrowedFd<'_>,
    limits: Limits,
    owners: Owners,
) -> Result<u64, Error> {
    let (reader, size) = source.open(&layer.digest).map_err(|source| Error::Blob {
        digest: layer.digest.clone(),
        source,
    })?;
    if size != layer.size {
        return Err(Error::Mismatch {
            digest: layer.digest.clone(),
            what: "size",
        });
    }
    let kernel = |errno: Errno| Error::Store(errno.into());
    let temporary = format!(".tmp-{}-{}", std::process::id(), diff_id.hex());
    remove_tree(store, temporary.as_bytes()).map_err(Error::Store)?;
    rustix::fs::mkdirat(store, temporary.as_str(), Mode::from_raw_mode(0o755)).map_err(kernel)?;
    let done = fill(
        reader,
        layer,
        diff_id,
        how,
        store,
        temporary.as_bytes(),
        limits,
        owners,
    )
    .and_then(
        |used| match rustix::fs::renameat(store, temporary.as_str(), store, diff_id.hex()) {
            Ok(()) => Ok(used),
            Err(errno) => Err(kernel(errno)),
        },
    );
    if done.is_err() {
        remove_tree(store, temporary.as_bytes()).map_err(Error::Store)?;
    }
    done
}

#[expect(clippy::too_many_arguments, reason = "one caller; the arguments are its own")]
fn fill(
    reader: Box<dyn Read>,
    layer: &Descriptor,
    diff_id: &Digest,
    how: Compression,
    store: BorrowedFd<'_>,
    temporary: &[u8],
    limits: Limits,
    owners: Owners,
) -> Result<u64, Error> {
    let root = open_dir(store, temporary, false).map_err(|errno| Error::Store(errno.into()))?;
    rustix::fs::fchmod(&root, Mode::from_raw_mode(0o755)).map_err(|errno| Error::Store(errno.into()))?;
    let mut blob = Metered::new(reader, &layer.digest, Limit::Bytes(layer.size));
    let (input, headers) = (blob.counter(), Rc::default());
    let limit = Limit::Ratio {
        bytes: limits.bytes,
        ratio: limits.ratio,
        input: Rc::clone(&input),
        headers: Rc::clone(&headers),
    };
    let mut archive = Metered::new(decompress(&mut blob, how), diff_id, limit);
    let output = archive.counter();
    let mut unpacker = Unpacker {
        root: root.as_fd(),
        store,
        owners,
        limits,
        budget: limits.bytes,
        times: BTreeMap::new(),
        remembered: 0,
    };
    unpacker
        .apply(&mut archive, &headers)
        .map_err(|failure| match failure {
            Failure::Archive(source) => Error::Layer {
                layer: layer.digest.clone(),
                source,
            },
            Failure::Entry(refused) => Error::Entry {
                layer: layer.digest.clone(),
                path: escape(&refused.0),
                reason: refused.1,
            },
        })?;
    let diff_matches = archive.is(diff_id);
    drop(archive);
    if input.get() != layer.size || !blob.is(&layer.digest) {
        return Err(Error::Mismatch {
            digest: layer.digest.clone(),
            what: "content",
        });
    }
    if !diff_matches {
        return Err(Error::Mismatch {
            digest: diff_id.clone(),
            what: "uncompressed content (diff_id)",
        });
    }
    Ok(output.get())
}
