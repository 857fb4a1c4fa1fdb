//! Where things are in PID 1's root. All of it is memory: nothing survives the enclave.

use std::io;
use std::path::PathBuf;

use nix::mount::{MsFlags, mount};

/// Unpacked layers, one directory each, shared by all containers.
pub(crate) const STORE: &str = "/run/cloister/store";
/// Images that came with the enclave image, bound here read-only.
pub(crate) const PRELOADED: &str = "/run/cloister/images";
/// Volumes of the Pod.
pub(crate) const VOLUMES: &str = "/run/cloister/volumes";
/// What belongs to single containers: scratch space, managed files.
pub(crate) const CONTAINERS: &str = "/run/cloister/containers";
/// `/dev/shm` of the Pod (K-403).
pub(crate) const SHM: &str = "/run/cloister/shm";

/// /proc of a Pod whose containers share a PID namespace.
pub(crate) const POD_PROC: &str = "/run/cloister/proc";

/// The sockets at which containers ask for documents, a directory for each.
const ATTESTATION: &str = "/run/cloister/attestation";

/// Creates the directories. What is bound into a container is reached there, whoever may pass here; so what only containers
/// may have (secrets, their sockets) is out of reach of base services, which share this root and have users of their own.
pub(crate) fn create() -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    for (path, mode) in [
        (STORE, 0o755),
        (CONTAINERS, 0o755),
        (VOLUMES, 0o700),
        (ATTESTATION, 0o700),
    ] {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)?;
    }
    // K-398: what is mounted in a volume is seen by the containers that ask for that; each decides for itself.
    let none = None::<&str>;
    mount(Some(VOLUMES), VOLUMES, none, MsFlags::MS_BIND, none)?;
    mount(none, VOLUMES, none, MsFlags::MS_SHARED, none)?;
    // K-403.
    std::fs::DirBuilder::new().recursive(true).create(SHM)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(
        Some("shm"),
        SHM,
        Some("tmpfs"),
        flags,
        Some("mode=1777,size=65536k,nr_inodes=16k"),
    )?;
    Ok(())
}

/// Directory of one instance of a container.
pub(crate) fn instance(container: &str, attempt: u32) -> PathBuf {
    PathBuf::from(CONTAINERS)
        .join(container)
        .join(attempt.to_string())
}

/// Directory of one volume.
pub(crate) fn volume(name: &str) -> PathBuf {
    PathBuf::from(VOLUMES).join(name)
}

/// Directory of the socket of one container.
pub(crate) fn attestation(container: &str) -> PathBuf {
    PathBuf::from(ATTESTATION).join(container)
}
