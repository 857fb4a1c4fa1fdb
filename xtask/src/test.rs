//! `cargo xtask test`: builds what the end-to-end tests run, runs every test, prints one summary.

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};
use std::io::{BufRead as _, BufReader};

use crate::system::{need, root};
use crate::{build, image};

/// What the end-to-end tests want of the machine: program and Debian package.
const TOOLS: [(&str, &str); 2] = [("redis-cli", "redis-tools"), ("mmdebstrap", "mmdebstrap")];
/// A test that this machine cannot run says so with this word at the start of a line.
const SKIPPED: &str = "SKIPPED";

/// Runs everything.
pub(crate) fn test(arguments: &[String]) -> Result<ExitCode> {
    let product = build::product()?;
    let guests = root().join("target/images/guest");
    image::from_program(&guests, "guest:latest", &root().join("tests/guests/guest.rs"))?;
    for (program, package) in TOOLS {
        if let Err(error) = need(program, package) {
            eprintln!("xtask: {error:#}: tests that need it are skipped");
        }
    }
    let redis = match image::example("redis") {
        Ok(layout) => Some(layout),
        Err(error) => {
            eprintln!("xtask: no Redis image: {error:#}: tests that need it are skipped");
            None
        }
    };
    let mut cargo = Command::new("cargo");
    cargo
        .args(["test", "--locked", "--workspace", "--no-fail-fast"])
        .args(arguments)
        .args(["--", "--nocapture", "--test-threads=4"])
        .current_dir(root())
        .env("CLOISTER_INIT", &product.init)
        .env("CLOISTER_HOST_PROXY", &product.proxy)
        .env("CLOISTER_GUESTS", &guests)
        .stdout(Stdio::piped());
    if let Some(redis) = redis {
        cargo.env("CLOISTER_REDIS", redis);
    }
    let mut child = cargo.spawn().context("cannot run cargo test")?;
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
