//! `cargo xtask test`: builds what the end-to-end tests run, runs every test, prints one summary.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};
use manifest_sync::config::ServiceConfig;

use crate::system::{need, root};
use crate::{build, eif, image, vm};

/// What the end-to-end tests want of the machine: program and Debian package.
const TOOLS: [(&str, &str); 4] = [
    ("redis-cli", "redis-tools"),
    ("mmdebstrap", "mmdebstrap"),
    ("rsyslogd", "rsyslog"),
    ("openssl", "openssl"),
];
/// A test that this machine cannot run says so with this word at the start of a line.
const SKIPPED: &str = "SKIPPED";

/// End-to-end tests that run in an emulated enclave: those of the local back-end that make sense there, unchanged, and
/// those of the machine itself.
const IN_A_MACHINE: [&str; 5] = ["lifecycle", "container", "bad_image", "redis", "machine"];

/// Runs everything that needs no virtual machine, or, with `--vm`, what needs one.
pub(crate) fn test(arguments: &[String]) -> Result<ExitCode> {
    match arguments {
        [first, filter @ ..] if first == "--vm" => in_machines(filter),
        _ => on_this_machine(arguments),
    }
}

fn on_this_machine(filter: &[String]) -> Result<ExitCode> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["test", "--locked", "--workspace", "--no-fail-fast"])
        .args(filter)
        .args(["--", "--nocapture", "--test-threads=4"]);
    cargo.envs(product()?);
    count(cargo)
}

fn in_machines(filter: &[String]) -> Result<ExitCode> {
    let parts = vm::parts()?;
    let variables = product()?;
    let image = eif::Options::default();
    eif::build(&image)?;
    let program = build::example("attest", "nsm-probe")?;
    let probes = [probe(&program, "protocol")?, probe(&program, "measured")?];
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--locked", "--package", "tests", "--no-fail-fast"]);
    for name in IN_A_MACHINE {
        cargo.args(["--test", name]);
    }
    // One machine has two processors, and each test has a machine.
    cargo
        .args(filter)
        .args(["--", "--nocapture", "--test-threads=2"])
        .envs(variables)
        .env("CLOISTER_EIF", &image.out)
        .env("CLOISTER_PROTOCOL_EIF", &probes[0])
        .env("CLOISTER_MEASURED_EIF", &probes[1])
        .env("CLOISTER_KERNEL", &parts.kernel)
        .env("CLOISTER_QEMU", &parts.qemu)
        .env("CLOISTER_VHOST_DEVICE_VSOCK", &parts.vhost);
    count(cargo)
}

/// The image of the product with a base service that looks at the security module.
fn probe(program: &Path, mode: &str) -> Result<PathBuf> {
    let mut options = eif::Options {
        out: build::directory().join(format!("nsm-probe-{mode}.eif")),
        name: "nsm-probe".to_owned(),
        files: vec![(program.to_owned(), "/usr/bin/nsm-probe".to_owned())],
        ..eif::Options::default()
    };
    options.config.services.push(ServiceConfig {
        name: "nsm-probe".to_owned(),
        command: vec!["/usr/bin/nsm-probe".to_owned(), mode.to_owned()],
        uid: 0,
        notify: true,
    });
    eif::build(&options)?;
    Ok(options.out)
}

/// Builds what the end-to-end tests run; returns the variables that name it.
fn product() -> Result<Vec<(&'static str, PathBuf)>> {
    let product = build::product()?;
    let guests = root().join("target/images/guest");
    image::from_program(&guests, "guest:latest", &root().join("tests/guests/guest.rs"))?;
    for (program, package) in TOOLS {
        if let Err(error) = need(program, package) {
            eprintln!("xtask: {error:#}: tests that need it are skipped");
        }
    }
    let mut variables = vec![
        ("CLOISTER_INIT", product.init),
        ("CLOISTER_HOST_PROXY", product.proxy),
        ("CLOISTER_BROKER", product.broker),
        ("CLOISTER_GUESTS", guests),
    ];
    match image::example("redis") {
        Ok(layout) => variables.push(("CLOISTER_REDIS", layout)),
        Err(error) => eprintln!("xtask: no Redis image: {error:#}: tests that need it are skipped"),
    }
    Ok(variables)
}

/// Runs `cargo test`, shows what it says, and prints one summary.
fn count(mut cargo: Command) -> Result<ExitCode> {
    let mut child = cargo
        .current_dir(root())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo test")?;
    let mut count = Count::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            println!("{line}");
            count.take(&line);
        }
    }
    let status = child.wait()?;
    println!(
        "{} passed, {} failed, {} skipped",
        count.passed.saturating_sub(count.skipped),
        count.failed,
        count.skipped
    );
    Ok(if status.success() && count.failed == 0 && count.passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What the test binaries report.
#[derive(Debug, Default)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Count {
    /// `test result: ok. 3 passed; 0 failed; 0 ignored; …`
    fn take(&mut self, line: &str) {
        if line.starts_with(SKIPPED) {
            self.skipped += 1;
        }
        let Some(result) = line.split("test result: ").nth(1) else {
            return;
        };
        let number = |what: &str| {
            let before = result.split(what).next()?;
            before.split_whitespace().last()?.parse::<u64>().ok()
        };
        self.passed += number(" passed").unwrap_or(0);
        self.failed += number(" failed").unwrap_or(0);
        self.skipped += number(" ignored").unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_binaries_are_added() {
        let mut count = Count::default();
        count.take("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        count.take("SKIPPED: no overlayfs here");
        count.take("test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!((count.passed, count.failed, count.skipped), (5, 1, 2));
    }
}
