//! `cargo xtask up`: from a fresh clone to a running Pod.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::system::root;
use crate::{build, image};

/// Builds, then becomes `host-proxy up`, so that signals and the exit code are its own.
pub(crate) fn up(arguments: &[String]) -> Result<ExitCode> {
    let (name, flags) = arguments
        .split_first()
        .context("up needs the name of an example: web or redis")?;
    let product = build::product()?;
    let layout = image::example(name)?;
    let pod = root().join("examples").join(name).join("pod.yaml");
    eprintln!(
        "xtask: in another terminal: {} status --name {name}   (or logs, stop)",
        product.proxy.display()
    );
    let error = Command::new(&product.proxy)
        .arg("up")
        .arg("--file")
        .arg(pod)
        .arg("--images")
        .arg(layout)
        .arg("--name")
        .arg(name)
        .args(flags)
        .exec();
    Err(error).with_context(|| format!("cannot run {}", product.proxy.display()))
}
