//! `cargo xtask test`: builds what the end-to-end tests run, runs every test, prints one summary.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};
use manifest_sync::config::ServiceConfig;
use rootfs::image::ImageConfig;

use crate::system::{need, root};
use crate::{build, conformance, eif, image, kernel, vm};

/// What the end-to-end tests want of the machine: program and Debian package.
const TOOLS: [(&str, &str); 6] = [
    ("redis-cli", "redis-tools"),
    ("wrk", "wrk"),
    ("mmdebstrap", "mmdebstrap"),
    ("rsyslogd", "rsyslog"),
    ("openssl", "openssl"),
    ("promtool", "prometheus"),
];
/// A test that this machine cannot run says so with this word at the start of a line.
pub(crate) const SKIPPED: &str = "SKIPPED";

/// End-to-end tests that run in an emulated enclave: those of the local back-end that make sense there, unchanged, and
/// those of the machine itself.
const IN_A_MACHINE: [&str; 7] = [
    "lifecycle",
    "container",
    "bad_image",
    "redis",
    "egress",
    "ingress",
    "machine",
];
/// Of these, tests of the host's side: name servers and servers that hang, lie or change their mind are host-proxy's to bear,
/// whatever asks it, and 10,000 connections are a real processor's affair. The others pass in a machine, too, but 78 containers
/// there cost a minute and show nothing more. An enclave that dies is a process to kill here, and there `machine::end`'s.
const ON_THIS_MACHINE: [&str; 3] = ["half_open::", "hostile_names::", "f18_"];
/// Tests of the kernel that has the security module's driver as a module. Building it takes as long as building the
/// other one, so they have a run of their own.
const MODULAR: &str = "modular::";
/// What that run does beside its own tests: the driver is the same, so everything else of the security module is, too.
const SECURITY_MODULE: &str = "security_module::";
/// One machine has two processors, and each test has a machine.
const FOR_MACHINES: [&str; 2] = ["--nocapture", "--test-threads=2"];

/// Runs everything that needs no virtual machine, or, with `--vm`, what needs one, or, with `--vm --modular`, what needs
/// one with the modular kernel.
pub(crate) fn test(arguments: &[String]) -> Result<ExitCode> {
    match arguments {
        [first, second] if first == "--vm" && second == "--modular" => with_modular_kernel(),
        [first, filter @ ..] if first == "--vm" => in_machines(filter),
        [only] if only == "--histories" => differential(),
        _ => on_this_machine(arguments),
    }
}

fn on_this_machine(filter: &[String]) -> Result<ExitCode> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["test", "--locked", "--workspace", "--no-fail-fast"])
        .args(filter)
        .args(["--", "--nocapture", "--test-threads=4"])
        .envs(product()?)
        .envs(others());
    count(cargo)
}

/// The supervisor against its model, over 100,000 histories: for so many it has to be optimised, which takes minutes. Every other
/// run has 4,000, from a seed of its own.
fn differential() -> Result<ExitCode> {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--locked", "--release", "--package", "cloister-init"]);
    cargo.args(["--test", "histories", "--", "--nocapture"]);
    count(cargo)
}

/// The tests of the conformance cases that need no virtual machine.
pub(crate) fn conformance_here() -> Result<Command> {
    let mut cargo = Command::new("cargo");
    cargo
        .args([
            "test",
            "--locked",
            "--workspace",
            "--no-fail-fast",
            conformance::PREFIX,
        ])
        .args(["--", "--show-output", "--test-threads=4"])
        .envs(product()?)
        .envs(others());
    Ok(cargo)
}

/// The tests of the conformance cases that need one.
pub(crate) fn conformance_in_machines() -> Result<Command> {
    let mut cargo = test_in(&vm::parts()?, &[])?;
    cargo
        .args(["--test", "machine", conformance::PREFIX])
        .args(["--", "--show-output", "--test-threads=2"])
        .envs(others());
    Ok(cargo)
}

fn in_machines(filter: &[String]) -> Result<ExitCode> {
    let parts = vm::parts()?;
    let mut cargo = test_in(&parts, &[])?;
    for name in IN_A_MACHINE {
        cargo.args(["--test", name]);
    }
    cargo
        .args(["--", "--skip", MODULAR])
        .args(ON_THIS_MACHINE.iter().flat_map(|name| ["--skip", name]))
        .args(FOR_MACHINES)
        .args(filter)
        .envs(others());
    count(cargo)
}

fn with_modular_kernel() -> Result<ExitCode> {
    let kernel::Modular { kernel, module } = kernel::build_modular()?;
    let parts = vm::parts_with(kernel)?;
    let mut cargo = test_in(&parts, std::slice::from_ref(&module))?;
    cargo
        .args(["--test", "machine", "--", MODULAR, SECURITY_MODULE])
        .args(FOR_MACHINES)
        .env("CLOISTER_MODULE", &module);
    count(cargo)
}

/// `cargo test` for machines of these parts, whose images have these modules.
fn test_in(parts: &vm::Parts, modules: &[PathBuf]) -> Result<Command> {
    let product = product()?;
    let image = || eif::Options {
        kernel: Some(parts.kernel.clone()),
        modules: modules.to_vec(),
        ..eif::Options::default()
    };
    // The next run of the other kind must not find this one's images where it expects its own.
    let named = |name: &str| {
        let suffix = if modules.is_empty() { "" } else { "-modular" };
        build::directory().join(format!("{name}{suffix}.eif"))
    };
    let plain = eif::Options {
        out: named("cloister"),
        ..image()
    };
    eif::build(&plain)?;
    let program = build::example("attest", "nsm-probe")?;
    let protocol = probe(image(), named("nsm-probe-protocol"), &program, "protocol")?;
    let measured = probe(image(), named("nsm-probe-measured"), &program, "measured")?;
    let mut cargo = Command::new("cargo");
    cargo
        // Of one package alone, what it depends on would be built again, with fewer features.
        .args(["test", "--locked", "--workspace", "--no-fail-fast"])
        .envs(product)
        .env("CLOISTER_EIF", &plain.out)
        .env("CLOISTER_PROTOCOL_EIF", protocol)
        .env("CLOISTER_MEASURED_EIF", measured)
        .env("CLOISTER_KERNEL", &parts.kernel)
        .env("CLOISTER_QEMU", &parts.qemu)
        .env("CLOISTER_VHOST_DEVICE_VSOCK", &parts.vhost);
    Ok(cargo)
}

/// The image with a base service that looks at the security module.
fn probe(mut options: eif::Options, out: PathBuf, program: &Path, mode: &str) -> Result<PathBuf> {
    options.out = out;
    options.name = "nsm-probe".to_owned();
    options.files = vec![(program.to_owned(), "/usr/bin/nsm-probe".to_owned())];
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
    let guests = guests()?;
    image::from_binary(&guests, "grpc:latest", &build::guest("grpc-guest", "grpc")?)?;
    Ok(vec![
        ("CLOISTER_INIT", product.init),
        ("CLOISTER_HOST_PROXY", product.proxy),
        ("CLOISTER_BROKER", product.broker),
        ("CLOISTER_GUESTS", guests),
    ])
}

/// Builds the images of the tests' own program; returns their layout.
pub(crate) fn guests() -> Result<PathBuf> {
    let guests = root().join("target/images/guest");
    let stops_by = |signal: Option<&str>| ImageConfig {
        stop_signal: signal.map(str::to_owned),
        ..ImageConfig::default()
    };
    let images = [
        ("guest:latest", stops_by(None)),
        ("guest:stops-by-usr1", stops_by(Some("SIGUSR1"))),
    ];
    image::from_program_as(&guests, &root().join("tests/guests/guest.rs"), &images)?;
    Ok(guests)
}

/// What is not ours and some tests run: looks for it, and says what is missing.
fn others() -> Vec<(&'static str, PathBuf)> {
    for (program, package) in TOOLS {
        if let Err(error) = need(program, package) {
            eprintln!("xtask: {error:#}: tests that need it are skipped");
        }
    }
    let image = |(variable, name): (&'static str, &str)| match image::example(name) {
        Ok(layout) => Some((variable, layout)),
        Err(error) => {
            eprintln!("xtask: no image of {name}: {error:#}: tests that need it are skipped");
            None
        }
    };
    let images = [
        ("CLOISTER_REDIS", "redis"),
        ("CLOISTER_CURL", "curl"),
        ("CLOISTER_NGINX", "nginx"),
    ];
    images.into_iter().filter_map(image).collect()
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
