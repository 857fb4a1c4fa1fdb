//! Building the product: `cloister-init` static, in a cargo call of its own (so that features of the host side do not
//! leak into it), and `host-proxy`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::system::{root, run};

/// The static target; `rust-toolchain.toml` installs it.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-musl";

/// The two binaries, side by side.
pub(crate) struct Product {
    pub(crate) init: PathBuf,
    pub(crate) proxy: PathBuf,
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

/// Builds both into `target/cloister`.
pub(crate) fn product() -> Result<Product> {
    need_target()?;
    let init = [
        "build",
        "--locked",
        "--package",
        "cloister-init",
        "--profile",
        "enclave",
        "--target",
        TARGET,
    ];
    run("cargo", &init)?;
    run(
        "cargo",
        &["build", "--locked", "--package", "host-proxy", "--release"],
    )?;
    let target = root().join("target");
    let out = target.join("cloister");
    std::fs::create_dir_all(&out)?;
    let product = Product {
        init: out.join("cloister-init"),
        proxy: out.join("host-proxy"),
    };
    install(&target.join(TARGET).join("enclave/cloister-init"), &product.init)?;
    install(&target.join("release/host-proxy"), &product.proxy)?;
    Ok(product)
}

/// A running program cannot be overwritten (ETXTBSY), but replaced.
fn install(from: &Path, to: &Path) -> Result<()> {
    let new = to.with_extension("new");
    std::fs::copy(from, &new).with_context(|| format!("cannot copy {}", from.display()))?;
    std::fs::rename(new, to)?;
    Ok(())
}

/// Compiles a program of one file into a static binary.
pub(crate) fn program(source: &Path, to: &Path) -> Result<()> {
    need_target()?;
    let (source, to) = (source.to_string_lossy(), to.to_string_lossy());
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
            "-o",
            &to,
            &source,
        ],
    )
    .with_context(|| format!("cannot compile {source}"))
}
