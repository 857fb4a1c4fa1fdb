//! Running other programs, and installing what is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The workspace's directory.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Runs a program in the workspace; its output is the user's.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    if !status.success() {
        bail!("{program} {}: {status}", arguments.join(" "));
    }
    Ok(())
}

/// Whether a program is in PATH.
pub(crate) fn has(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(program).is_file()))
}

/// Makes sure that `program` is there, from the Debian package `package` if it must be. Says why when it cannot.
pub(crate) fn need(program: &str, package: &str) -> Result<()> {
    if has(program) {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() || !has("apt-get") {
        bail!("{program} is missing: install the package {package}");
    }
    eprintln!("xtask: installing {package}");
    let install = || {
        run(
            "apt-get",
            &["install", "--yes", "-qq", "--no-install-recommends", package],
        )
    };
    if install().is_err() {
        run("apt-get", &["update", "-qq"])?;
        install()?;
    }
    Ok(())
}
