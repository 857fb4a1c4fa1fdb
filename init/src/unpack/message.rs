//! Messages between PID 1 and its `unpack` worker, one per packet of a `SOCK_SEQPACKET` pair (fd 3).

use std::path::PathBuf;

use manifest_sync::digest::Digest;
use serde::{Deserialize, Serialize};

/// PID 1 → worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// An order, the first packet: make this image available.
    Unpack {
        /// Digest of the image manifest or index.
        image: Digest,
        /// Layer store: every layer becomes one directory of it, named by its diff id.
        store: String,
        /// How to treat file owners.
        owners: Owners,
        /// The cgroup to join: what is unpacked is memory, and counts there.
        cgroup: Option<PathBuf>,
    },
    /// The other order: remove these layers, which no image needs any more. The worker exits.
    Remove {
        /// Names in the store.
        layers: Vec<String>,
        /// Layer store.
        store: String,
        /// How the owners in them were treated.
        owners: Owners,
    },
    /// The blob asked for is on the descriptor that comes with this packet (`SCM_RIGHTS`); read to its end.
    Blob {
        /// Its size as the host says; never trusted above the descriptor's.
        size: u64,
    },
    /// The blob asked for is not to be had.
    BlobUnavailable {
        /// In words.
        message: String,
    },
}

/// Worker → PID 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FromWorker {
    /// Send this blob.
    NeedBlob {
        /// Which.
        digest: Digest,
    },
    /// The image is ready; the worker exits.
    Ready(Image),
    /// It is not; the worker exits.
    Failed {
        /// What and why, without host-controlled bytes beyond 1 KiB.
        message: String,
    },
}

/// How to treat the owners in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Owners {
    /// As in the layer.
    Keep,
    /// Everything belongs to root: a user namespace with a single id; overlay attributes are `user.`.
    Squash,
}

/// What PID 1 needs to know of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Image {
    /// Digest of the manifest that was used.
    pub(crate) manifest: Digest,
    /// Size as it travels: configuration and layers.
    pub(crate) bytes: u64,
    /// Names of the layer directories in the store, lowest first.
    pub(crate) layers: Vec<String>,
    /// `config.Env`.
    pub(crate) env: Vec<String>,
    /// `config.Entrypoint`.
    pub(crate) entrypoint: Vec<String>,
    /// `config.Cmd`.
    pub(crate) cmd: Vec<String>,
    /// `config.WorkingDir`, default `/`.
    pub(crate) working_dir: String,
    /// `config.User`.
    pub(crate) user: String,
    /// `config.StopSignal`, empty: SIGTERM.
    pub(crate) stop_signal: String,
}
