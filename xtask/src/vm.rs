//! `cargo xtask vm`: the parts that make a Nitro-style enclave on any machine: QEMU with its `nitro-enclave` machine, a
//! kernel, and `vhost-device-vsock`. Finds each in a cache or builds it.
//!
//! A part is used only after it has said its version: a cache that is older than the tree would fail much later and much
//! less clearly.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::debian::need_packages;
use crate::system::{root, run};
use crate::{kernel, qemu};

/// Names a directory that holds ready-built parts.
const CACHE: &str = "CLOISTER_VM_CACHE";
/// Release of `vhost-device-vsock`.
const VHOST_VERSION: &str = "0.3.0";
/// What a QEMU that was built on Debian 12 is linked with.
const LIBRARIES: [&str; 5] = [
    "libcbor0.8",
    "libfdt1",
    "libglib2.0-0",
    "libgnutls30",
    "libpixman-1-0",
];
/// What must be said about a kernel from the cache: whoever built it chose its options.
const FOREIGN_KERNEL: &str = "from the cache, not of this tree's configuration";
/// Firmware of the emulated machine, and the packages that bring it.
const FIRMWARE: [(&str, &str); 2] = [
    ("/usr/share/qemu/bios-microvm.bin", "qemu-system-data"),
    ("/usr/share/seabios/bios-256k.bin", "seabios"),
];

/// Where the parts are. Each has been asked for its version.
pub(crate) struct Parts {
    pub(crate) qemu: PathBuf,
    pub(crate) kernel: PathBuf,
    pub(crate) vhost: PathBuf,
    /// In the order of [`Part::ALL`].
    sources: [Source; 3],
}

/// One of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Qemu,
    Kernel,
    Vhost,
}

/// Where a part came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Cache,
    Built,
}

/// A part that can be used.
struct Found {
    path: PathBuf,
    source: Source,
}

impl Part {
    const ALL: [Self; 3] = [Self::Qemu, Self::Kernel, Self::Vhost];

    fn file(self) -> &'static str {
        match self {
            Self::Qemu => "qemu-system-x86_64",
            Self::Kernel => "bzImage",
            Self::Vhost => "vhost-device-vsock",
        }
    }

    /// The version that this tree wants.
    fn wanted(self) -> &'static str {
        match self {
            Self::Qemu => qemu::VERSION,
            Self::Kernel => kernel::VERSION,
            Self::Vhost => VHOST_VERSION,
        }
    }

    /// The version that the file at `path` says it is.
    fn version(self, path: &Path) -> Result<String> {
        match self {
            Self::Kernel => kernel_version(path),
            Self::Qemu => second_word_after(&says(path, &["--version"])?, "version"),
            Self::Vhost => second_word_after(&says(path, &["--version"])?, "vhost-device-vsock"),
        }
    }

    /// Whether the file at `path` is what this tree wants; the error says why not.
    fn check(self, path: &Path, owner: &str) -> Result<()> {
        if !path.is_file() {
            bail!("{owner} has no {}", self.file());
        }
        let version = self
            .version(path)
            .with_context(|| format!("{owner} has a {} that does not say its version", self.file()))?;
        if version != self.wanted() {
            bail!("{}", mismatch(owner, self, &version));
        }
        if self == Self::Qemu && !says(path, &["-M", "help"])?.contains("nitro-enclave") {
            bail!("{owner} has a QEMU without the machine nitro-enclave");
        }
        Ok(())
    }

    fn build(self) -> Result<PathBuf> {
        match self {
            Self::Qemu => qemu::build(),
            Self::Kernel => kernel::build(),
            Self::Vhost => build_vhost(),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Qemu => "qemu",
            Self::Kernel => "kernel",
            Self::Vhost => "vhost",
        })
    }
}

/// Why a part of another version is not used.
fn mismatch(owner: &str, part: Part, version: &str) -> String {
    format!(
        "{owner} says {} {version}, this tree wants {}",
        part.file(),
        part.wanted()
    )
}

/// All parts; builds what is not there. The first build of everything takes the better part of half an hour.
pub(crate) fn parts() -> Result<Parts> {
    around(find(Part::Kernel)?)
}

/// The other parts, for a kernel that was built here.
pub(crate) fn parts_with(kernel: PathBuf) -> Result<Parts> {
    Part::Kernel.check(&kernel, "the build")?;
    around(Found {
        path: kernel,
        source: Source::Built,
    })
}

fn around(kernel: Found) -> Result<Parts> {
    prepare()?;
    let (qemu, vhost) = (find(Part::Qemu)?, find(Part::Vhost)?);
    Ok(Parts {
        sources: [qemu.source, kernel.source, vhost.source],
        qemu: qemu.path,
        kernel: kernel.path,
        vhost: vhost.path,
    })
}

/// The kernel alone: an image can be built without the machine to run it.
pub(crate) fn kernel() -> Result<PathBuf> {
    let Found { path, source } = find(Part::Kernel)?;
    if source == Source::Cache {
        eprintln!("xtask: kernel: {FOREIGN_KERNEL}");
    }
    Ok(path)
}

/// `cargo xtask vm`
pub(crate) fn vm(arguments: &[String]) -> Result<()> {
    if let [argument, ..] = arguments {
        bail!("vm takes no argument, not {argument:?}");
    }
    let parts = parts()?;
    let paths = [&parts.qemu, &parts.kernel, &parts.vhost];
    for ((part, path), source) in Part::ALL.into_iter().zip(paths).zip(parts.sources) {
        let note = match (source, part) {
            (Source::Cache, Part::Kernel) => FOREIGN_KERNEL,
            (Source::Cache, _) => "from the cache",
            (Source::Built, _) => "built from this tree's recipe",
        };
        println!("{part}: {} {}: {note}", path.display(), part.wanted());
    }
    Ok(())
}

/// Directory of what was built here.
pub(crate) fn directory() -> PathBuf {
    root().join("target/vm")
}

/// The firmware, which no cache holds.
fn prepare() -> Result<()> {
    let missing: Vec<&str> = FIRMWARE
        .iter()
        .filter(|(file, _)| !Path::new(file).is_file())
        .map(|(_, package)| *package)
        .collect();
    need_packages(&missing)
}

/// The cache, then what was built here before, then a build.
fn find(part: Part) -> Result<Found> {
    if let Some(path) = from_cache(part, std::env::var_os(CACHE))? {
        return Ok(Found {
            path,
            source: Source::Cache,
        });
    }
    let path = match part {
        // It knows by more than the version whether what is there still fits.
        Part::Kernel => part.build()?,
        Part::Qemu | Part::Vhost => {
            let path = place(&directory(), part);
            match part.check(&path, "target/vm") {
                Ok(()) => path,
                Err(why) => {
                    eprintln!("xtask: {why:#}: building it");
                    part.build()?
                }
            }
        }
    };
    part.check(&path, "the build")?;
    Ok(Found {
        path,
        source: Source::Built,
    })
}

/// What the cache has of this part, if it is of the right version. A cache only saves time, so one that does not fit is
/// told about and passed over.
fn from_cache(part: Part, cache: Option<OsString>) -> Result<Option<PathBuf>> {
    let Some(cache) = cache.filter(|cache| !cache.is_empty()) else {
        return Ok(None);
    };
    let path = place(Path::new(&cache), part);
    if part == Part::Qemu
        && path.is_file()
        && says(&path, &["--version"]).is_err()
        && let Err(error) = need_packages(&LIBRARIES)
    {
        eprintln!("xtask: {error:#}");
    }
    match part.check(&path, "the cache") {
        Ok(()) => Ok(Some(path)),
        Err(why) => {
            eprintln!("xtask: {CACHE}={}: {why:#}", cache.display());
            Ok(None)
        }
    }
}

/// `cargo install --root` makes a directory `bin`; a cache may be flat.
fn place(directory: &Path, part: Part) -> PathBuf {
    let below = directory.join("bin").join(part.file());
    if below.is_file() {
        below
    } else {
        directory.join(part.file())
    }
}

fn build_vhost() -> Result<PathBuf> {
    let to = directory();
    let arguments = [
        "install",
        "vhost-device-vsock",
        "--version",
        VHOST_VERSION,
        "--locked",
        "--force",
        "--root",
        &to.to_string_lossy(),
    ];
    run("cargo", &arguments)?;
    Ok(place(&to, Part::Vhost))
}

/// What a program prints.
fn says(program: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("{} {}: {}", program.display(), arguments.join(" "), error.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The word after the first `word`: the version in `QEMU emulator version 10.0.2 (Debian …)`.
fn second_word_after(text: &str, word: &str) -> Result<String> {
    let mut words = text.split_whitespace();
    words.find(|next| *next == word);
    let version = words.next().with_context(|| format!("no version in {text:?}"))?;
    Ok(version.to_owned())
}

/// The version that a bzImage carries: the setup header's `kernel_version`, a 16-bit pointer at 0x20e to a string at
/// 0x200 bytes after it; see the kernel's `Documentation/arch/x86/boot.rst`.
pub(crate) fn kernel_version(path: &Path) -> Result<String> {
    const MAGIC: u64 = 0x202;
    const POINTER: u64 = 0x20e;
    const BASE: u64 = 0x200;
    let read = || -> Result<String> {
        let file = File::open(path)?;
        let mut magic = [0; 4];
        file.read_exact_at(&mut magic, MAGIC)?;
        if &magic != b"HdrS" {
            bail!("it has no x86 boot header");
        }
        let mut pointer = [0; 2];
        file.read_exact_at(&mut pointer, POINTER)?;
        let mut text = [0; 64];
        file.read_exact_at(&mut text, BASE + u64::from(u16::from_le_bytes(pointer)))?;
        let text = String::from_utf8_lossy(&text);
        let version = text.split([' ', '\0']).next().unwrap_or_default();
        Ok(version.to_owned())
    };
    read().with_context(|| format!("cannot read the version of the kernel {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A boot header that says `version`.
    fn image(version: &str) -> Vec<u8> {
        let mut image = vec![0_u8; 0x400];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        let text = format!("{version} (someone@somewhere) #1 SMP\0");
        image[0x300..0x300 + text.len()].copy_from_slice(text.as_bytes());
        image
    }

    fn script(directory: &Path, name: &str, text: &str) {
        let path = directory.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_kernel_says_its_version_in_its_boot_header() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bzImage");
        fs::write(&path, image("6.12.117")).unwrap();
        assert_eq!(kernel_version(&path).unwrap(), "6.12.117");
        for broken in [&b""[..], &[0; 0x400], &image("6.12.117")[..0x220]] {
            fs::write(&path, broken).unwrap();
            assert!(kernel_version(&path).is_err());
        }
    }

    #[test]
    fn a_cache_of_another_version_is_passed_over_and_the_reason_names_both() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bzImage");
        fs::write(&path, image("6.12.95")).unwrap();
        let error = Part::Kernel.check(&path, "the cache").unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "the cache says bzImage 6.12.95, this tree wants {}",
                kernel::VERSION
            )
        );
        let cache = Some(directory.path().as_os_str().to_owned());
        assert_eq!(from_cache(Part::Kernel, cache.clone()).unwrap(), None);
        fs::write(&path, image(kernel::VERSION)).unwrap();
        assert_eq!(from_cache(Part::Kernel, cache.clone()).unwrap(), Some(path));
        assert_eq!(from_cache(Part::Vhost, cache).unwrap(), None);
        assert_eq!(from_cache(Part::Vhost, None).unwrap(), None);
    }

    #[test]
    fn programs_are_asked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        script(path, "vhost-device-vsock", "echo vhost-device-vsock 0.3.0");
        let vhost = path.join("vhost-device-vsock");
        assert!(Part::Vhost.check(&vhost, "the cache").is_ok());

        let version = format!("QEMU emulator version {} (Debian)", qemu::VERSION);
        let qemu = path.join("qemu-system-x86_64");
        let help = |machine: &str| {
            format!("[ $1 = -M ] && echo '{machine}  text' && exit\necho '{version}'\necho more")
        };
        script(path, "qemu-system-x86_64", &help("nitro-enclave"));
        assert!(Part::Qemu.check(&qemu, "the cache").is_ok());
        script(path, "qemu-system-x86_64", &help("microvm"));
        let error = Part::Qemu.check(&qemu, "the cache").unwrap_err().to_string();
        assert!(error.ends_with("without the machine nitro-enclave"), "{error}");
    }

    #[test]
    fn a_directory_bin_goes_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(
            place(path, Part::Vhost),
            path.join("vhost-device-vsock"),
            "no file at all"
        );
        fs::create_dir(path.join("bin")).unwrap();
        script(&path.join("bin"), "vhost-device-vsock", "true");
        assert_eq!(place(path, Part::Vhost), path.join("bin/vhost-device-vsock"));
    }
}
