//! `cargo xtask ci`: what continuous integration runs, and nothing else. Reports every failure, not only the first.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::system::{has, run};
use crate::test;

/// Runs every check.
pub(crate) fn ci() -> Result<ExitCode> {
    let mut failures = Vec::new();
    let mut check = |name: &'static str, result: Result<()>| {
        if let Err(error) = result {
            eprintln!("xtask: {name}: {error:#}");
            failures.push(name);
        }
    };
    check("fmt", run("cargo", &["fmt", "--all", "--check"]));
    let clippy = [
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    check("clippy", run("cargo", &clippy));
    // What `cargo test` leaves to `test --vm`.
    let machine = [
        "clippy",
        "--locked",
        "--package",
        "tests",
        "--test",
        "machine",
        "--",
        "-D",
        "warnings",
    ];
    check("clippy of the machine's tests", run("cargo", &machine));
    check(
        "doc",
        run(
            "cargo",
            &[
                "doc",
                "--locked",
                "--workspace",
                "--no-deps",
                "--document-private-items",
            ],
        ),
    );
    check("deny", deny());
    check("test", succeeds(test::test(&[])));
    check("test --vm", succeeds(test::test(&["--vm".to_owned()])));
    if failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("xtask: failed: {}", failures.join(", "));
    Ok(ExitCode::FAILURE)
}

fn succeeds(result: Result<ExitCode>) -> Result<()> {
    match result? {
        ExitCode::SUCCESS => Ok(()),
        _ => bail!("failed"),
    }
}

/// Licences, bans and sources; the advisory database is a network service of its own and is for a scheduled job.
fn deny() -> Result<()> {
    if !has("cargo-deny") {
        run("cargo", &["install", "--locked", "--quiet", "cargo-deny"])?;
    }
    run(
        "cargo",
        &["deny", "--workspace", "check", "bans", "licenses", "sources"],
    )
}
