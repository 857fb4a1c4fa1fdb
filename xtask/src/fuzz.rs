//! `cargo xtask fuzz`: random input for what reads hostile files, for a while.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use lexopt::Arg::{Long, Value};

use crate::system::{has, need, root, run};

/// cargo-fuzz, which builds and runs the targets.
const VERSION: &str = "0.13.2";
/// Its instrumentation is not in stable compilers.
const TOOLCHAIN: &str = "nightly";
/// Name and crate of a target: `CRATE/fuzz/fuzz_targets/NAME.rs`.
type Target = (&'static str, &'static str);
const TARGETS: [Target; 12] = [
    ("eif_inspect", "rootfs"),
    ("layer", "rootfs"),
    ("broker_request", "attest"),
    ("cbor", "attest"),
    ("document", "attest"),
    ("http", "attest"),
    ("frame", "manifest-sync"),
    ("envelope", "manifest-sync"),
    ("bundle", "manifest-sync"),
    ("stream_header", "manifest-sync"),
    ("dns", "init"),
    ("hello", "init"),
];
/// Seconds for each target when nobody says otherwise.
const SECONDS: u64 = 60;
/// Largest single allocation and memory of all, MiB: input is a few KiB, and what is read into memory is bounded.
const LIMITS: [&str; 2] = ["-malloc_limit_mb=64", "-rss_limit_mb=1024"];

/// Fuzzes the named target, or all one after another.
pub(crate) fn fuzz(arguments: &[String]) -> Result<ExitCode> {
    let mut seconds = SECONDS;
    let mut targets = Vec::new();
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("seconds") => {
                let text = parser.value()?.to_string_lossy().into_owned();
                seconds = match text.parse() {
                    Ok(seconds) if seconds > 0 => seconds,
                    _ => bail!("--seconds: `{text}` is not a number above 0"),
                };
            }
            Value(name) => match TARGETS.into_iter().find(|(target, _)| name == **target) {
                Some(target) => targets.push(target),
                None => bail!(
                    "no fuzz target {name:?}: there are {}",
                    TARGETS.map(|(target, _)| target).join(", ")
                ),
            },
            other => return Err(other.unexpected().into()),
        }
    }
    if targets.is_empty() {
        targets.extend(TARGETS);
    }
    prepare()?;
    let mut failed = Vec::new();
    for target in targets {
        if !run_target(target, seconds)? {
            failed.push(target.0);
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "xtask: {}: the input is in target/fuzz/artifacts",
        failed.join(", ")
    );
    Ok(ExitCode::FAILURE)
}

/// Compiler, C++ compiler for libFuzzer, and cargo-fuzz.
fn prepare() -> Result<()> {
    need("g++", "g++")?;
    if !succeeds("rustup", &["run", TOOLCHAIN, "rustc", "--version"]) {
        run(
            "rustup",
            &["toolchain", "install", TOOLCHAIN, "--profile", "minimal"],
        )?;
    }
    let installed = Command::new("cargo-fuzz").arg("--version").output();
    let ours = format!("cargo-fuzz {VERSION}");
    if has("cargo-fuzz") && installed.is_ok_and(|output| output.stdout.starts_with(ours.as_bytes())) {
        return Ok(());
    }
    let arguments = ["install", "--locked", "--quiet", "--force", "--version", VERSION];
    run("cargo", &[&arguments[..], &["cargo-fuzz"]].concat())
}

/// Whether no input was found that does harm.
fn run_target((target, package): Target, seconds: u64) -> Result<bool> {
    let (here, out) = (root().join(package).join("fuzz"), root().join("target/fuzz"));
    let (corpus, artifacts) = (out.join("corpus").join(target), out.join("artifacts"));
    for directory in [&corpus, &artifacts] {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    eprintln!("xtask: fuzzing {target} for {seconds} s");
    let flag = |name: &str, path: &Path| format!("{name}={}", path.display());
    let status = Command::new("rustup")
        .args(["run", TOOLCHAIN, "cargo", "fuzz", "run", "--fuzz-dir"])
        .arg(&here)
        .arg("--target-dir")
        .arg(out.join("build"))
        .arg(target)
        // What is new goes to the first directory; the others are only read.
        .args([corpus, here.join("seeds").join(target)])
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        // The seeds are small; larger files say nothing new.
        .args(["-max_len=8192", "-print_final_stats=1"])
        .arg(flag("-artifact_prefix", &artifacts.join(format!("{target}-"))))
        .args(LIMITS)
        .current_dir(root())
        .status()
        .context("cannot run cargo fuzz")?;
    Ok(status.success())
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
