//! `cargo xtask oracle`: what the reference implementation of the image format says of an image, beside what we say.
//! Apart from the tests: it takes some 200 crates and OpenSSL.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::debian::need_packages;
use crate::eif;
use crate::system::root;

/// What the crate `openssl-sys` needs.
const PACKAGES: [&str; 3] = ["gcc", "libssl-dev", "pkg-config"];

/// Compares what both say of an image; without one, of the image that `cargo xtask eif` builds.
pub(crate) fn oracle(arguments: &[String]) -> Result<ExitCode> {
    let image = match arguments {
        [] => {
            let options = eif::Options::default();
            eif::build(&options)?;
            options.out
        }
        [path] => PathBuf::from(path),
        _ => bail!("oracle takes the path of one enclave image, or none"),
    };
    need_packages(&PACKAGES)?;
    let status = Command::new("cargo")
        .args(["run", "--quiet", "--locked", "--manifest-path"])
        .arg(root().join("rootfs/oracle/Cargo.toml"))
        .arg("--target-dir")
        .arg(root().join("target/oracle"))
        .arg("--")
        .arg(&image)
        .status()
        .context("cannot run cargo")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
