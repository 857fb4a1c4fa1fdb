//! The `unpack` applet: makes one image available in the layer store, or removes layers from it, then exits. It parses archives, so it holds
//! nothing but its socket (fd 3) and the store, and only the capabilities that file owners, modes and attributes need
//! (`CAP_SYS_ADMIN` for `trusted.` attributes, with [`message::Owners::Keep`] only).

pub(crate) mod message;

use std::io::{self, Read};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use caps::{CapSet, Capability, CapsHashSet};
use manifest_sync::digest::Digest;
use rootfs::{BlobSource, Limits};

use self::message::{FromWorker, Image, Owners, ToWorker};
use crate::sys::fd::{inherited, recv_with_fd, send_with_fd};
use crate::sys::proc;

/// Largest packet, bytes.
const PACKET: usize = 64 << 10;
/// Longest message of a failure, characters (the contract allows 1 KiB).
const MESSAGE: usize = 256;

/// Before everybody else, when the machine has no memory left.
const OOM_SCORE_ADJ: i32 = 1000;
/// Blobs that came with the enclave image.
const PRELOADED_BLOBS: &str = "/run/cloister/images/blobs/sha256";

/// Runs the applet. Exit code 0 after `Ready`, or when layers have been removed; 1 after `Failed`, or when PID 1 is gone.
pub(crate) fn main() -> ExitCode {
    let Some(socket) = inherited(3) else {
        return ExitCode::FAILURE;
    };
    let mut link = Link(socket);
    let (answer, code) = match work(&mut link) {
        Ok(Some(image)) => (FromWorker::Ready(image), ExitCode::SUCCESS),
        Ok(None) => return ExitCode::SUCCESS,
        Err(message) => (
            FromWorker::Failed {
                message: message.chars().take(MESSAGE).collect(),
            },
            ExitCode::FAILURE,
        ),
    };
    if link.send(&answer).is_err() {
        ExitCode::FAILURE
    } else {
        code
    }
}

/// What comes of the order: an image, or nothing.
fn work(link: &mut Link) -> Result<Option<Image>, String> {
    let (order, _) = link.receive().map_err(|error| error.to_string())?;
    match order {
        ToWorker::Unpack {
            image,
            store,
            owners,
            cgroup,
        } => unpack(link, &image, &store, owners, cgroup).map(Some),
        ToWorker::Remove {
            layers,
            store,
            owners,
        } => {
            drop_privileges(owners)?;
            let store = std::fs::File::open(&store).map_err(|error| format!("layer store: {error}"))?;
            let removed = rootfs::remove_layers(store.as_fd(), &layers);
            removed.map(|()| None).map_err(|error| error.to_string())
        }
        ToWorker::Blob { .. } | ToWorker::BlobUnavailable { .. } => {
            Err("the first packet is no order".into())
        }
    }
}

fn unpack(
    link: &mut Link,
    image: &Digest,
    store: &str,
    owners: Owners,
    cgroup: Option<PathBuf>,
) -> Result<Image, String> {
    if let Some(cgroup) = cgroup {
        // An image that needs more memory than there is ends its worker, and nobody else.
        proc::join_cgroup(&cgroup)
            .and_then(|()| proc::set_oom_score_adj(OOM_SCORE_ADJ))
            .map_err(|error| format!("joining the cgroup: {error}"))?;
    }
    drop_privileges(owners)?;
    let store = std::fs::File::open(store).map_err(|error| format!("layer store: {error}"))?;
    let owners = match owners {
        Owners::Keep => rootfs::Owners::Keep,
        Owners::Squash => rootfs::Owners::Squash,
    };
    let done = rootfs::unpack_image(link, image, store.as_fd(), Limits::default(), owners)
        .map_err(|error| error.to_string())?;
    let config = done.config;
    Ok(Image {
        manifest: done.manifest,
        bytes: done.bytes,
        layers: done.layers,
        env: config.env.unwrap_or_default(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        cmd: config.cmd.unwrap_or_default(),
        working_dir: config
            .working_dir
            .filter(|dir| !dir.is_empty())
            .unwrap_or_else(|| "/".to_owned()),
        user: config.user.unwrap_or_default(),
        stop_signal: config.stop_signal.unwrap_or_default(),
    })
}

/// Keeps what unpacking needs of the capabilities there are; a descriptor-sized part of PID 1's power.
fn drop_privileges(owners: Owners) -> Result<(), String> {
    let mut keep = CapsHashSet::from([
        Capability::CAP_CHOWN,
        Capability::CAP_DAC_OVERRIDE,
        Capability::CAP_FOWNER,
        Capability::CAP_FSETID,
        Capability::CAP_MKNOD,
        Capability::CAP_SETFCAP,
    ]);
    if owners == Owners::Keep {
        keep.insert(Capability::CAP_SYS_ADMIN);
    }
    let failed = |error: caps::errors::CapsError| format!("dropping capabilities: {error}");
    let had = caps::read(None, CapSet::Permitted).map_err(failed)?;
    let keep: CapsHashSet = keep.intersection(&had).copied().collect();
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &keep).map_err(failed)?;
    }
    caps::clear(None, CapSet::Inheritable).map_err(failed)?;
    nix::sys::prctl::set_no_new_privs().map_err(|error| format!("no_new_privs: {error}"))
}

/// The socket to PID 1.
struct Link(OwnedFd);

impl Link {
    fn send(&self, message: &FromWorker) -> io::Result<()> {
        let packet = serde_json::to_vec(message)?;
        if packet.len() > PACKET {
            return Err(io::Error::other("message is larger than a packet"));
        }
        send_with_fd(&self.0, &packet, None)
    }

    fn receive(&self) -> io::Result<(ToWorker, Option<OwnedFd>)> {
        let mut buffer = vec![0; PACKET];
        let (size, attached) = recv_with_fd(&self.0, &mut buffer)?;
        if size == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((
            serde_json::from_slice(buffer.get(..size).unwrap_or_default())?,
            attached,
        ))
    }
}

impl BlobSource for Link {
    fn open(&mut self, digest: &Digest) -> io::Result<(Box<dyn Read>, u64)> {
        if let Ok(file) = std::fs::File::open(Path::new(PRELOADED_BLOBS).join(digest.hex())) {
            let size = file.metadata()?.len();
            return Ok((Box::new(file), size));
        }
        self.send(&FromWorker::NeedBlob {
            digest: digest.clone(),
        })?;
        match self.receive()? {
            (ToWorker::Blob { size }, Some(fd)) => Ok((Box::new(std::fs::File::from(fd)), size)),
            (ToWorker::BlobUnavailable { message }, _) => {
                Err(io::Error::other(message.escape_default().to_string()))
            }
            _ => Err(io::Error::other("PID 1 sent something else than the blob")),
        }
    }
}
