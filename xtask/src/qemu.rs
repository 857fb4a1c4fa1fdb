//! QEMU with the `nitro-enclave` machine, built from the Debian source package: Debian's own binaries lack this machine,
//! because they are built without libcbor.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::debian::{self, Origin, Pin, need_packages, output};
use crate::vm::directory;

/// QEMU release.
pub(crate) const VERSION: &str = "10.0.2";
const SOURCE: Origin = Origin {
    archive: "http://deb.debian.org/debian bookworm-backports main",
    kind: "deb-src",
    package: "qemu",
    version: "1:10.0.2+ds-2+deb13u1~bpo12+1",
};
/// The upstream source as Debian ships it. Debian's patches are not needed for this machine.
const PIN: Pin = Pin {
    file: "qemu_10.0.2+ds.orig.tar.xz",
    sha256: "0901da33844a331bf8b3602b9c1fbd178e60b737c8e3ade678255bd090c9b9f1",
};
const PACKAGES: [&str; 15] = [
    "gcc",
    "libc6-dev",
    "make",
    "xz-utils",
    "libcbor-dev",
    "libgnutls28-dev",
    "libglib2.0-dev",
    "libpixman-1-dev",
    "libfdt-dev",
    "ninja-build",
    "pkg-config",
    "flex",
    "bison",
    "python3",
    "python3-venv",
];
/// What QEMU's build wants of Python, as a requirements file of pip; Debian 12 has an older meson.
const PYTHON: &str = "\
meson==1.5.0 --hash=sha256:52b34f4903b882df52ad0d533146d4b992c018ea77399f825579737672ae7b20
pycotap==1.3.1 --hash=sha256:1c3a25b3ff89e48f4e00f1f71dbbc1642b4f65c65d416524d07e73492fff25ea
";
/// Everything that the machine needs of QEMU's devices.
const DEVICES: &str = "\
CONFIG_NITRO_ENCLAVE=y
CONFIG_MICROVM=y
CONFIG_VHOST_USER_VSOCK=y
CONFIG_VIRTIO_NSM=y
";
const CONFIGURE: [&str; 13] = [
    "--target-list=x86_64-softmmu",
    "--without-default-features",
    "--without-default-devices",
    "--with-devices-x86_64=nitro",
    "--enable-tcg",
    "--enable-gnutls",
    "--enable-libcbor",
    "--enable-vhost-user",
    "--enable-fdt=system",
    "--enable-pixman",
    "--disable-docs",
    "--disable-tools",
    "--disable-install-blobs",
];

/// Builds `target/vm/qemu-system-x86_64`.
pub(crate) fn build() -> Result<PathBuf> {
    need_packages(&PACKAGES)?;
    let out = directory();
    debian::fetch(&SOURCE, &[PIN], &out.join("source"))?;
    let scratch = out.join("qemu");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
    }
    fs::create_dir_all(&scratch)?;
    let archive = out.join("source").join(PIN.file);
    output(
        "tar",
        &["-xJf", &archive.to_string_lossy(), "--strip-components=1"],
        &scratch,
    )?;
    prepare(&scratch)?;
    let python = python(&scratch)?;
    eprintln!("xtask: building QEMU; this takes some minutes");
    let with = format!("--python={python}");
    let mut configure = vec![with.as_str()];
    configure.extend(CONFIGURE);
    output("./configure", &configure, &scratch)?;
    // Ninja's own choice is more jobs than CPUs.
    let jobs = format!("-j{}", std::thread::available_parallelism()?);
    output("ninja", &["-C", "build", &jobs, "qemu-system-x86_64"], &scratch)?;
    let (new, program) = (out.join("qemu-system-x86_64.new"), out.join("qemu-system-x86_64"));
    fs::copy(scratch.join("build/qemu-system-x86_64"), &new)?;
    fs::rename(&new, &program)?;
    fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
    Ok(program)
}

/// A Python with what the build wants, apart from the machine's own.
fn python(tree: &Path) -> Result<String> {
    let python = tree
        .join("python-tools/bin/python3")
        .to_string_lossy()
        .into_owned();
    output("python3", &["-m", "venv", "python-tools"], tree)?;
    fs::write(tree.join("python-tools/requirements"), PYTHON)?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--require-hashes",
        "--requirement",
        "python-tools/requirements",
    ];
    output(&python, &pip, tree)?;
    Ok(python)
}

/// Our choice of devices, and a build file that does not ask for firmware images: Debian's tarball has none.
fn prepare(tree: &Path) -> Result<()> {
    fs::write(tree.join("configs/devices/x86_64-softmmu/nitro.mak"), DEVICES)?;
    let file = tree.join("pc-bios/meson.build");
    let text = fs::read_to_string(&file)?;
    fs::write(&file, without_firmware(&text)?)?;
    Ok(())
}

/// Removes the block `if unpack_edk2_blobs … endif`.
fn without_firmware(text: &str) -> Result<String> {
    let start = text
        .find("if unpack_edk2_blobs")
        .context("pc-bios/meson.build: no block for firmware images")?;
    let (before, block) = text.split_at(start);
    let end = block
        .find("\nendif\n")
        .context("pc-bios/meson.build: the block for firmware images has no end")?;
    Ok(format!("{before}{}", &block[end + "\nendif\n".len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_firmware_block_goes() {
        let text =
            "a\nif unpack_edk2_blobs\n  foreach f : fds\n    if x\n    endif\n  endforeach\nendif\n\nb\n";
        assert_eq!(without_firmware(text).unwrap(), "a\n\nb\n");
        assert!(without_firmware("a\n").is_err());
    }
}
