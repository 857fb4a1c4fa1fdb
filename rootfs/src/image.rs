//! OCI image index, manifest and config (image-spec 1.1; the Docker schema 2 media types mean the same).

use manifest_sync::digest::Digest;
use serde::{Deserialize, Serialize};

/// Largest index, manifest or config accepted, bytes.
pub const MAX_DOCUMENT: u64 = 4 << 20;
/// Most layers of one image (overlayfs stacks up to 500; images stay below 128).
pub const MAX_LAYERS: usize = 128;
/// Media type of an index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of a manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of a config.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of an uncompressed layer; `+gzip` and `+zstd` follow for compressed ones.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Annotation of an index entry: its name (image-layout).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Reference to a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size, bytes.
    pub size: u64,
    /// In an index: what it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Notes such as [`REF_NAME`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<std::collections::BTreeMap<String, String>>,
}

/// What an image runs on, in Go's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// `linux`.
    pub os: String,
}

/// List of manifests; also `index.json` of a layout.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// 2.
    pub schema_version: u32,
    /// Media type, if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The images.
    pub manifests: Vec<Descriptor>,
}

/// One image.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// 2.
    pub schema_version: u32,
    /// Media type, if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The config.
    pub config: Descriptor,
    /// Lowest first.
    pub layers: Vec<Descriptor>,
}

/// Config of one image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// Go's name of the processor.
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// How to run it.
    #[serde(default)]
    pub config: Option<ImageConfig>,
    /// The layers.
    pub rootfs: RootFs,
}

/// `rootfs` of a config.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RootFs {
    /// `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed layers, lowest first.
    pub diff_ids: Vec<Digest>,
}

/// `config` of a config: how to run the image. `null` means empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// User, `name`, `uid`, with `:group`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `NAME=value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// Program and first arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Default arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Where it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// `SIGTERM` or a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
}

/// A top document, after telling an index from a manifest.
#[derive(Debug)]
pub enum Document {
    /// Several images.
    Index(Index),
    /// One image.
    Manifest(Manifest),
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Plain tar.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// zstd (RFC 8878).
    Zstd,
}

/// This machine's architecture in Go's names.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn is_index(media: &str) -> bool {
    matches!(
        media,
        INDEX | "application/vnd.docker.distribution.manifest.list.v2+json"
    )
}

fn is_manifest(media: &str) -> bool {
    matches!(
        media,
        MANIFEST | "application/vnd.docker.distribution.manifest.v2+json"
    )
}

/// Parses `bytes` as an index or a manifest. A document that has the members of both, or whose media type says
/// another thing than its members, is refused (CVE-2021-41190).
pub fn parse_document(bytes: &[u8]) -> Result<Document, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        schema_version: u32,
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
        layers: Option<serde::de::IgnoredAny>,
        config: Option<serde::de::IgnoredAny>,
    }
    let shape: Shape = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if shape.schema_version != 2 {
        return Err("schemaVersion is not 2".into());
    }
    let media = shape.media_type.as_deref();
    match (
        shape.manifests.is_some(),
        shape.layers.is_some() || shape.config.is_some(),
    ) {
        (true, false) if media.is_none_or(is_index) => serde_json::from_slice(bytes)
            .map(Document::Index)
            .map_err(|e| e.to_string()),
        (false, true) if media.is_none_or(is_manifest) => {
            let manifest: Manifest = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
            if manifest.layers.len() > MAX_LAYERS {
                return Err(format!("more than {MAX_LAYERS} layers"));
            }
            Ok(Document::Manifest(manifest))
        }
        _ => Err("neither an index nor a manifest, or both".into()),
    }
}

impl Index {
    /// The only manifest for Linux on this architecture. An entry that is itself an index is never taken.
    pub fn choose(&self) -> Result<&Descriptor, String> {
        let fits = |d: &&Descriptor| {
            d.platform
                .as_ref()
                .is_some_and(|p| p.os == "linux" && p.architecture == architecture())
        };
        let found = match (self.manifests.iter().find(fits), self.manifests.as_slice()) {
            (Some(found), _) => found,
            (None, [only]) if only.platform.is_none() => only,
            _ => return Err(format!("no image for linux/{} in the index", architecture())),
        };
        if is_manifest(&found.media_type) {
            Ok(found)
        } else {
            Err("nested index or unknown media type".into())
        }
    }
}

/// Parses and checks a config against its manifest: one diff id for each layer, Linux, this architecture.
pub fn parse_config(bytes: &[u8], manifest: &Manifest) -> Result<Config, String> {
    let media = manifest.config.media_type.as_str();
    if !matches!(media, CONFIG | "application/vnd.docker.container.image.v1+json") {
        return Err("config has an unknown media type".into());
    }
    let config: Config = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if config.rootfs.kind != "layers" || config.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err("diff_ids and layers differ in number".into());
    }
    if config.os != "linux" || config.architecture != architecture() {
        return Err(format!("image is not for linux/{}", architecture()));
    }
    Ok(config)
}

/// Compression of a layer by its media type; foreign (non-distributable) layers are refused.
pub fn compression(media: &str) -> Result<Compression, String> {
    match media {
        LAYER | "application/vnd.docker.image.rootfs.diff.tar" => Ok(Compression::None),
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(Compression::Gzip),
        "application/vnd.oci.image.layer.v1.tar+zstd" => Ok(Compression::Zstd),
        _ => Err("layer has an unknown media type".into()),
    }
}
