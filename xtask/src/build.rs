//! Building the product: `cloister-init` static, in a cargo call of its own (so that features of the host side do not
//! leak into it), and what runs outside.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::system::{root, run};

/// The static target; `rust-toolchain.toml` installs it.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-musl";

/// The binaries, side by side.
pub(crate) struct Product {
    pub(crate) init: PathBuf,
    pub(crate) proxy: PathBuf,
    pub(crate) broker: PathBuf,
    pub(crate) verify: PathBuf,
}

/// Makes sure that the toolchain has the static target. `rust-toolchain.toml` names it, but rustup installs it by itself
/// only together with the toolchain.
fn need_target() -> Result<()> {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(root())
        .output()
        .context("cannot run rustc")?;
    let directory = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if Path::new(&directory).is_dir() {
        return Ok(());
    }
    run("rustup", &["target", "add", TARGET])
}

/// What runs outside of enclaves, and what each is built with: one call, so that what they share is built once.
const OUTSIDE: [&str; 10] = [
    "build",
    "--locked",
    "--release",
    "--package",
    "host-proxy",
    "--package",
    "attest",
    "--features",
    "attest/broker,attest/command",
    "--bins",
];

/// Builds all into `target/cloister`.
pub(crate) fn product() -> Result<Product> {
    let init = init()?;
    run("cargo", &OUTSIDE)?;
    let installed = |name: &str| {
        let to = directory().join(name);
        install(&root().join("target/release").join(name), &to).map(|()| to)
    };
    Ok(Product {
        init,
        proxy: installed("host-proxy")?,
        broker: installed("cloister-broker")?,
        verify: installed("cloister-verify")?,
    })
}

/// Builds `cloister-init` into `target/cloister`, the same bytes wherever the sources and the registry are.
pub(crate) fn init() -> Result<PathBuf> {
    let built = for_the_enclave(&["--package", "cloister-init"])?.join("cloister-init");
    let to = directory().join("cloister-init");
    install(&built, &to)?;
    Ok(to)
}

/// Builds an example of a package as a static program of the enclave.
pub(crate) fn example(package: &str, name: &str) -> Result<PathBuf> {
    let directory = for_the_enclave(&["--package", package, "--example", name])?;
    Ok(directory.join("examples").join(name))
}

/// Builds the program of a package that runs in containers of tests: static, and unoptimised, since building it takes
/// longer than all that it ever does.
pub(crate) fn guest(package: &str, name: &str) -> Result<PathBuf> {
    need_target()?;
    let what = ["build", "--locked", "--package", package, "--bin", name];
    let status = Command::new("cargo")
        .args(what)
        .args(["--target", TARGET])
        .current_dir(root())
        // An image has no use for what debuggers read, which is most of it.
        .env("CARGO_ENCODED_RUSTFLAGS", "-Cstrip=symbols")
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo {}: {status}", what.join(" "));
    }
    Ok(root().join("target").join(TARGET).join("debug").join(name))
}

/// Builds a program of a package, quick rather than small, for this machine.
pub(crate) fn for_this_machine(package: &str, name: &str) -> Result<PathBuf> {
    run(
        "cargo",
        &[
            "build",
            "--locked",
            "--release",
            "--package",
            package,
            "--bin",
            name,
        ],
    )?;
    Ok(root().join("target/release").join(name))
}

/// Builds for the enclave; returns the directory of the results.
fn for_the_enclave(what: &[&str]) -> Result<PathBuf> {
    need_target()?;
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    );
    let places = [(root(), "/cloister"), (cargo_home, "/cargo")];
    let remap = |flag: &str| {
        let flags = places
            .iter()
            .map(|(from, to)| format!("{flag}={}={to}", from.display()));
        flags.collect::<Vec<_>>()
    };
    let status = Command::new("cargo")
        .args(["build", "--locked", "--profile", "enclave", "--target", TARGET])
        .args(what)
        .current_dir(root())
        // Paths in panic messages, and in what ring compiles of C.
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            remap("--remap-path-prefix").join("\x1f"),
        )
        .env(
            "CFLAGS_x86_64_unknown_linux_musl",
            remap("-ffile-prefix-map").join(" "),
        )
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo build {}: {status}", what.join(" "));
    }
    Ok(root().join("target").join(TARGET).join("enclave"))
}

/// Where the product is.
pub(crate) fn directory() -> PathBuf {
    root().join("target/cloister")
}

/// A running program cannot be overwritten (ETXTBSY), but replaced.
fn install(from: &Path, to: &Path) -> Result<()> {
    if let Some(directory) = to.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let new = to.with_extension("new");
    std::fs::copy(from, &new).with_context(|| format!("cannot copy {}", from.display()))?;
    std::fs::rename(new, to)?;
    Ok(())
}

/// Compiles a program of one file into a static binary.
pub(crate) fn program(source: &Path, to: &Path) -> Result<()> {
    need_target()?;
    let (source, to) = (source.to_string_lossy(), to.to_string_lossy());
    // Paths in panic messages.
    let remap = format!("--remap-path-prefix={}=/cloister", root().display());
    run(
        "rustc",
        &[
            "--edition",
            "2024",
            "--target",
            TARGET,
            "-O",
            "-C",
            "strip=symbols",
            &remap,
            "-o",
            &to,
            &source,
        ],
    )
    .with_context(|| format!("cannot compile {source}"))
}
