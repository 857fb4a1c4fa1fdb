//! `cargo xtask up`: from a fresh clone to a running Pod.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::system::root;
use crate::{build, eif, image, vm};

/// Flags of `host-proxy up` that have no value.
const SWITCHES: [&str; 3] = ["--debug-mode", "--help", "-h"];

/// Builds, then becomes `host-proxy up`, so that signals and the exit code are its own.
pub(crate) fn up(arguments: &[String]) -> Result<ExitCode> {
    let (pod, flags) = split(arguments);
    let pod = pod.context("up needs the name of an example (web or redis), or the path of a manifest")?;
    let (manifest, example) = manifest(&pod)?;
    let product = build::product()?;
    let mut command = Command::new(&product.proxy);
    command.arg("up").arg("--file").arg(&manifest);
    if let Some(name) = &example {
        command
            .arg("--images")
            .arg(image::example(name)?)
            .arg("--name")
            .arg(name);
        eprintln!(
            "xtask: in another terminal: {} status --name {name}   (or logs, stop)",
            product.proxy.display()
        );
    }
    let backend = backend(&flags);
    if backend == Some("qemu") {
        let parts = vm::parts()?;
        command
            .env("CLOISTER_QEMU", parts.qemu)
            .env("CLOISTER_VHOST_DEVICE_VSOCK", parts.vhost);
    }
    if matches!(backend, Some("qemu" | "nitro")) && !flags.iter().any(|flag| is(flag, "--eif")) {
        let options = eif::Options::default();
        eif::build(&options)?;
        command.arg("--eif").arg(&options.out);
    }
    let error = command.args(flags).exec();
    Err(error).with_context(|| format!("cannot run {}", product.proxy.display()))
}

/// The Pod, which is the first argument that belongs to no flag, and everything else.
fn split(arguments: &[String]) -> (Option<String>, Vec<String>) {
    let mut pod = None;
    let mut flags = Vec::new();
    let mut wants_value = false;
    for argument in arguments {
        let is_flag = argument.starts_with('-') && argument != "-";
        if pod.is_none() && !wants_value && !is_flag {
            pod = Some(argument.clone());
            continue;
        }
        wants_value = is_flag && !argument.contains('=') && !SWITCHES.contains(&argument.as_str());
        flags.push(argument.clone());
    }
    (pod, flags)
}

fn is(argument: &str, flag: &str) -> bool {
    argument == flag
        || argument
            .strip_prefix(flag)
            .is_some_and(|rest| rest.starts_with('='))
}

fn backend(flags: &[String]) -> Option<&str> {
    let position = flags.iter().position(|flag| is(flag, "--backend"))?;
    match flags[position].split_once('=') {
        Some((_, value)) => Some(value),
        None => flags.get(position + 1).map(String::as_str),
    }
}

/// The manifest, and the name of the example that it belongs to, if any: its images are built here.
fn manifest(pod: &str) -> Result<(PathBuf, Option<String>)> {
    let examples = root().join("examples");
    let named = examples.join(pod).join("pod.yaml");
    if named.is_file() {
        return Ok((named, Some(pod.to_owned())));
    }
    let path = std::fs::canonicalize(pod)
        .with_context(|| format!("{pod:?} is neither an example nor a manifest that can be read"))?;
    let example = path
        .parent()
        .filter(|directory| directory.parent() == Some(&examples));
    let name = example
        .and_then(Path::file_name)
        .map(|name| name.to_string_lossy().into_owned());
    Ok((path, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_is_what_belongs_to_no_flag() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (line, pod, flags, backend_is) in [
            ("web", "web", "", None),
            ("--backend qemu web", "web", "--backend qemu", Some("qemu")),
            (
                "web --backend=nitro --debug-mode",
                "web",
                "--backend=nitro --debug-mode",
                Some("nitro"),
            ),
            ("--debug-mode web -p 1:2", "web", "--debug-mode -p 1:2", None),
        ] {
            let (found, rest) = split(&words(line));
            assert_eq!(found.as_deref(), Some(pod), "{line}");
            assert_eq!(rest.join(" "), flags, "{line}");
            assert_eq!(backend(&rest), backend_is, "{line}");
        }
    }
}
