//! What an enclave image holds: the ramdisks, from `cloister-init` and the files that the user chose.
//!
//! | ramdisk | content | measured in |
//! |---|---|---|
//! | 0 | `cloister-init`, kernel modules, the directories to mount on | PCR0, PCR1 |
//! | 1 | the enclave's configuration, its trust policy, the user's own files | PCR0, PCR2 |
//! | 2 | images that need not be fetched from the host, when there are any | PCR0, PCR2 |
//! | last | [`END`] | PCR0, PCR2 |
//!
//! The host chooses how much memory a machine has, and a kernel that cannot unpack all of its initramfs goes on with what
//! it has: without the last archive, PCRs would vouch for files that are not there.
//!
//! So PCR1 stays the same for all configurations and applications of one version of Cloister.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use manifest_sync::config::{self, EnclaveConfig};
use manifest_sync::trust::TrustPolicy;

use crate::initramfs::{Compression, Initramfs};
use crate::store::{END, MODULES, PRELOADED};

/// The parts of an image that go into ramdisks.
#[derive(Debug)]
pub struct EnclaveImage<'a> {
    /// The static `cloister-init`.
    pub init: &'a Path,
    /// Kernel modules (`nsm.ko`, for a kernel that has the driver as a module).
    pub modules: &'a [PathBuf],
    /// The measured configuration.
    pub config: &'a EnclaveConfig,
    /// The measured trust policy: the exact bytes of a file that [`TrustPolicy::parse`] accepts, so that what people have
    /// read is what is measured.
    pub policy: &'a [u8],
    /// Further files, as (source, absolute path in the enclave): programs of base services.
    pub files: &'a [(PathBuf, String)],
    /// An OCI image layout whose blobs come with the image.
    pub images: Option<&'a Path>,
    /// How the first two ramdisks are stored. The layers of images are compressed already.
    pub compression: Compression,
}

impl EnclaveImage<'_> {
    /// Writes the ramdisks into a directory; returns them in their order.
    ///
    /// # Errors
    ///
    /// When a part cannot be read, a ramdisk cannot be written, or the policy has mistakes; the text names it.
    pub fn write_ramdisks(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let mut ramdisks = vec![
            write(&self.base(), directory, "base.cpio", self.compression)?,
            write(&self.configuration()?, directory, "config.cpio", self.compression)?,
        ];
        if let Some(layout) = self.images {
            let mut images = Initramfs::new();
            images.tree(inside(PRELOADED), layout)?;
            ramdisks.push(write(&images, directory, "images.cpio", Compression::None)?);
        }
        let mut end = Initramfs::new();
        end.bytes(inside(END), 0o444, Vec::new());
        ramdisks.push(write(&end, directory, "end.cpio", Compression::None)?);
        Ok(ramdisks)
    }

    fn base(&self) -> Initramfs {
        let mut base = Initramfs::new();
        for name in ["dev", "etc", "proc", "run", "sys"] {
            base.directory(name, 0o755);
        }
        // The kernel opens it as our standard input, output and error before we run; devtmpfs is not mounted yet.
        base.character_device("dev/console", 0o600, 5, 1);
        base.file("init", 0o555, self.init);
        for module in self.modules {
            let name = module.file_name().unwrap_or_default().to_string_lossy();
            base.file(&format!("{}/{name}", inside(MODULES)), 0o444, module);
        }
        base
    }

    fn configuration(&self) -> io::Result<Initramfs> {
        let mut archive = Initramfs::new();
        let mut text = serde_json::to_vec_pretty(self.config)?;
        text.push(b'\n');
        archive.bytes(inside(config::PATH), 0o444, text);
        // An enclave with a policy that it cannot read ends at boot, long after whoever built it could have been told.
        TrustPolicy::parse(self.policy).map_err(|rejection| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the trust policy: {rejection}"),
            )
        })?;
        archive.bytes(inside(config::POLICY_PATH), 0o444, self.policy.to_vec());
        for (source, path) in self.files {
            let executable = {
                use std::os::unix::fs::PermissionsExt as _;
                let explain =
                    |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", source.display()));
                fs::metadata(source).map_err(explain)?.permissions().mode() & 0o100 != 0
            };
            // A later file would replace an earlier one, configuration or policy, and nobody would see it.
            if archive.contains(inside(path)) {
                let message = format!("{}: the image has another {path} already", source.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
            }
            archive.file(inside(path), if executable { 0o555 } else { 0o444 }, source);
        }
        Ok(archive)
    }
}

fn inside(path: &str) -> &str {
    path.trim_start_matches('/')
}

fn write(archive: &Initramfs, directory: &Path, name: &str, compression: Compression) -> io::Result<PathBuf> {
    let path = directory.join(name);
    archive
        .write(&path, compression)
        .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
    Ok(path)
}
