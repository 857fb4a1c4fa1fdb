//! `cargo xtask ci`: what continuous integration runs, and nothing else. Reports every failure, not only the first.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::system::{has, run};
use crate::test;

/// Runs every check, and says how long each took.
pub(crate) fn ci() -> Result<ExitCode> {
    let mut failures = Vec::new();
    let mut check = |name: &'static str, run: &dyn Fn() -> Result<()>| {
        let begun = Instant::now();
        let result = run();
        eprintln!("xtask: {name}: {} s", begun.elapsed().as_secs());
        if let Err(error) = result {
            eprintln!("xtask: {name}: {error:#}");
            failures.push(name);
        }
    };
    check("fmt", &|| run("cargo", &["fmt", "--all", "--check"]));
    let clippy = [
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    check("clippy", &|| run("cargo", &clippy));
    // What `cargo test` leaves to `test --vm`.
    let machine = [
        "clippy",
        "--locked",
        "--workspace",
        "--test",
        "machine",
        "--",
        "-D",
        "warnings",
    ];
    check("clippy of the machine's tests", &|| run("cargo", &machine));
    let doc = [
        "doc",
        "--locked",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ];
    check("doc", &|| run("cargo", &doc));
    check("deny", &deny);
    check("test", &|| succeeds(test::test(&[])));
    check("test --vm", &|| succeeds(test::test(&["--vm".to_owned()])));
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
        // Unoptimised: building it takes longer than it runs.
        run(
            "cargo",
            &["install", "--locked", "--quiet", "--debug", "cargo-deny"],
        )?;
    }
    run(
        "cargo",
        &["deny", "--workspace", "check", "bans", "licenses", "sources"],
    )
}
