//! `cargo xtask eif`: from `cloister-init`, a kernel, a configuration and a trust policy to an enclave image and its PCRs.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use lexopt::Arg::Long;
use manifest_sync::config::EnclaveConfig;
use manifest_sync::digest::hex;
use manifest_sync::measurement;
use manifest_sync::trust::TrustPolicy;
use manifest_sync::trust::policy::Authority;
use rootfs::eif::{Description, EifBuilder, Measurements, Metadata, Signer, inspect};
use rootfs::enclave_image::EnclaveImage;
use rootfs::initramfs::Compression;

use crate::system::root;
use crate::{build, vm};

/// `quiet`: the console is slow, and warnings are shown all the same. `panic=-1`: a panic ends the enclave at once.
/// `reboot=k` ends a Nitro enclave; PID 1 chooses another way where the machine has no keyboard controller.
/// `random.trust_cpu=off`: entropy is NSM's. `rootfstype=ramfs`: a tmpfs would hold no more than half of the memory that the
/// packed image leaves, so that an image would need three times its size at boot and not twice.
/// `no_timer_check`: on a busy machine the emulator's timer comes late, and the kernel would take it for broken and panic. KVM's
/// guests, which Nitro's are, never check it.
const COMMAND_LINE: &str =
    "console=ttyS0 reboot=k panic=-1 quiet random.trust_cpu=off rootfstype=ramfs no_timer_check";
/// Ends every name in the certificates of the software security module (`attest::document::issue`). A program that has it can
/// vouch for itself.
const SOFTWARE_MODULE: &[u8] = b"software-nsm.cloister";
/// When a reproducible build takes place.
const BUILD_TIME: &str = "1970-01-01T00:00:00Z";

/// What the image is made of.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) out: PathBuf,
    pub(crate) kernel: Option<PathBuf>,
    pub(crate) init: Option<PathBuf>,
    pub(crate) config: EnclaveConfig,
    /// The exact bytes of a valid trust policy.
    pub(crate) policy: Vec<u8>,
    pub(crate) modules: Vec<PathBuf>,
    pub(crate) files: Vec<(PathBuf, String)>,
    pub(crate) images: Option<PathBuf>,
    pub(crate) compression: Compression,
    pub(crate) command_line: String,
    pub(crate) name: String,
    pub(crate) signing: Option<(PathBuf, PathBuf)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            out: root().join("target/cloister/cloister.eif"),
            kernel: None,
            init: None,
            config: EnclaveConfig::machine(),
            policy: TrustPolicy::DEVELOPMENT.into(),
            modules: Vec::new(),
            files: Vec::new(),
            images: None,
            compression: Compression::None,
            command_line: COMMAND_LINE.to_owned(),
            name: "cloister".to_owned(),
            signing: None,
        }
    }
}

/// `cargo xtask eif …`
pub(crate) fn eif(arguments: &[String]) -> Result<ExitCode> {
    let mut options = Options::default();
    let mut key = None;
    let mut certificate = None;
    let mut check = None;
    let mut measurements = None;
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        let Long(flag) = argument else {
            return Err(argument.unexpected().into());
        };
        let flag = flag.to_owned();
        let value = parser
            .value()
            .with_context(|| format!("--{flag} needs a value"))?;
        let path = || PathBuf::from(&value);
        let text = || value.to_string_lossy().into_owned();
        match flag.as_str() {
            "out" => options.out = path(),
            "kernel" => options.kernel = Some(path()),
            "init" => options.init = Some(path()),
            "config" => options.config = read_config(&path())?,
            "policy" => options.policy = read_policy(&path())?,
            "module" => options.modules.push(path()),
            "file" => options.files.push(file(&text())?),
            "images" => options.images = Some(path()),
            "compression" => {
                options.compression = match text().as_str() {
                    "none" => Compression::None,
                    "lz4" => Compression::Lz4,
                    other => bail!("--compression: `{other}` is not one of: none, lz4"),
                }
            }
            "cmdline" => options.command_line = text(),
            "name" => options.name = text(),
            "signing-key" => key = Some(path()),
            "signing-certificate" => certificate = Some(path()),
            "measurements" => measurements = Some(path()),
            "check" => check = Some(path()),
            other => bail!("no flag --{other} for eif: see `cargo xtask help`"),
        }
    }
    options.signing = match (key, certificate) {
        (Some(key), Some(certificate)) => Some((key, certificate)),
        (None, None) => None,
        _ => bail!("signing needs both --signing-key and --signing-certificate"),
    };
    if let Some(existing) = check {
        return compare(&existing, options);
    }
    let measured = build(&options)?;
    tell_of(&options.policy)?;
    let json = serde_json::to_string_pretty(&serde_json::json!({ "Measurements": measured }))?;
    if let Some(path) = measurements {
        fs::write(&path, format!("{json}\n")).with_context(|| format!("cannot write {}", path.display()))?;
    }
    eprintln!("xtask: enclave image {}", options.out.display());
    println!("{json}");
    Ok(ExitCode::SUCCESS)
}

/// Builds an image.
pub(crate) fn build(options: &Options) -> Result<Measurements> {
    let kernel = match &options.kernel {
        Some(kernel) => kernel.clone(),
        None => vm::kernel()?,
    };
    let init = match &options.init {
        Some(init) => init.clone(),
        None => build::init()?,
    };
    let program = fs::read(&init).with_context(|| format!("cannot read {}", init.display()))?;
    without_software_module(&program).with_context(|| init.display().to_string())?;
    let signer = match &options.signing {
        None => None,
        Some((key, certificate)) => {
            let read =
                |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
            Some(Signer::from_pem(&read(key)?, &read(certificate)?)?)
        }
    };
    let scratch = tempfile::tempdir()?;
    let ramdisks = EnclaveImage {
        init: &init,
        modules: &options.modules,
        config: &options.config,
        policy: &options.policy,
        files: &options.files,
        images: options.images.as_deref(),
        compression: options.compression,
    }
    .write_ramdisks(scratch.path())
    .context("cannot write a ramdisk")?;
    if let Some(directory) = options.out.parent() {
        fs::create_dir_all(directory)?;
    }
    let metadata = Metadata {
        name: options.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        build_time: BUILD_TIME.to_owned(),
        kernel_version: vm::kernel_version(&kernel)?,
    };
    Ok(EifBuilder {
        kernel,
        command_line: options.command_line.clone(),
        ramdisks,
        metadata,
        signer,
    }
    .write(&options.out)?)
}

/// No image has a program with the software security module as PID 1: features of the host side have leaked into its build.
fn without_software_module(program: &[u8]) -> Result<()> {
    if program
        .windows(SOFTWARE_MODULE.len())
        .any(|window| window == SOFTWARE_MODULE)
    {
        bail!(
            "this cloister-init contains the software security module, which must not be in an image: build it without the \
             feature `software` of the crate attest (`cargo xtask build` does)"
        );
    }
    Ok(())
}

/// Builds the image again and compares. A signature is another one each time: it is left out of the comparison, and
/// has to be valid.
fn compare(existing: &Path, mut options: Options) -> Result<ExitCode> {
    let scratch = tempfile::tempdir()?;
    options.out = scratch.path().join("again.eif");
    build(&options)?;
    let (old, new) = (describe(existing)?, describe(&options.out)?);
    if options.signing.is_none() && fs::read(existing)? == fs::read(&options.out)? {
        println!("{}: the same bytes", existing.display());
        return Ok(ExitCode::SUCCESS);
    }
    let mut differences = Vec::new();
    let measured = |image: &Description| serde_json::to_value(&image.measurements);
    if let (Some(old), Some(new)) = (measured(&old)?.as_object(), measured(&new)?.as_object()) {
        for name in ["PCR0", "PCR1", "PCR2", "PCR8"] {
            if old.get(name) != new.get(name) {
                differences.push(format!(
                    "{name}: {:?} in the image, {:?} now",
                    old.get(name),
                    new.get(name)
                ));
            }
        }
    }
    if old.command_line != new.command_line {
        differences.push(format!(
            "cmdline: {:?} in the image, {:?} now",
            old.command_line, new.command_line
        ));
    }
    if old.metadata != new.metadata {
        differences.push(format!(
            "metadata: {:?} in the image, {:?} now",
            old.metadata, new.metadata
        ));
    }
    if differences.is_empty() {
        println!(
            "{}: the same measurements and metadata, signed anew",
            existing.display()
        );
        return Ok(ExitCode::SUCCESS);
    }
    for difference in differences {
        println!("{}: {difference}", existing.display());
    }
    Ok(ExitCode::FAILURE)
}

/// `cargo xtask inspect FILE`: what an image holds, as JSON.
pub(crate) fn show(arguments: &[String]) -> Result<ExitCode> {
    let [path] = arguments else {
        bail!("inspect needs the path of one enclave image");
    };
    let text = serde_json::to_string_pretty(&describe(Path::new(path))?)?;
    match writeln!(std::io::stdout(), "{text}") {
        // `| head`
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        other => other?,
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(path: &Path) -> Result<Description> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    inspect(file).with_context(|| path.display().to_string())
}

fn read_config(path: &Path) -> Result<EnclaveConfig> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not a configuration", path.display()))
}

/// The bytes as they are; what they mean has been checked.
fn read_policy(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse_policy(&bytes).with_context(|| format!("{} is no trust policy", path.display()))?;
    Ok(bytes)
}

fn parse_policy(bytes: &[u8]) -> Result<TrustPolicy> {
    TrustPolicy::parse(bytes).map_err(|rejection| anyhow!("{rejection}"))
}

/// Who will say what runs. Nobody shall take an image for development for another.
fn tell_of(policy: &[u8]) -> Result<()> {
    let policy = parse_policy(policy)?;
    let who = match &policy.authority {
        Authority::Any => {
            eprintln!(
                "xtask: WARNING: DEVELOPMENT POLICY: this image runs whatever bundle the host gives it, and so keeps no\n\
                 xtask: WARNING: secret from the host. For anything else: --policy FILE (docs/signing.md)"
            );
            "anybody".to_owned()
        }
        Authority::Pinned(digests) => format!("the image itself, {} bundle(s)", digests.len()),
        Authority::SignedBy(by) => format!(
            "{} of {} signers, application {}, generation {} and later",
            by.threshold,
            by.signers.len(),
            by.application,
            policy.min_generation
        ),
    };
    eprintln!("xtask: trust policy: what runs is said by {who}");
    let pcr16 = hex(&measurement::authority(&policy).value());
    eprintln!("xtask: PCR16 by this policy: {pcr16}");
    Ok(())
}

fn file(text: &str) -> Result<(PathBuf, String)> {
    match text.split_once(':') {
        Some((source, path)) if path.starts_with('/') && !path.contains("..") => {
            Ok((source.into(), path.to_owned()))
        }
        _ => bail!("--file: `{text}` is not SOURCE:/PATH/IN/THE/ENCLAVE"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_the_software_security_module_is_refused() {
        assert!(without_software_module(b"").is_ok());
        assert!(without_software_module(b"\x7fELF software-nsm.cloiste r").is_ok());
        let refused = without_software_module(b"\x7fELF zonal.local.software-nsm.cloister\0").unwrap_err();
        assert!(
            refused.to_string().contains("software security module"),
            "{refused}"
        );
        // The name that is looked for is the one that such a program has.
        let source = include_str!("../../attest/src/document/issue.rs");
        let name = std::str::from_utf8(SOFTWARE_MODULE).unwrap();
        assert!(source.contains(&format!("const DOMAIN: &str = \"{name}\";")));
    }
}
