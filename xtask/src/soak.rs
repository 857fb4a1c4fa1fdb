//! `cargo xtask soak [SECONDS] [PART]...`: real servers under load through the ingress, and host-proxy's counters beside those of
//! clients and servers; then a million log lines into rsyslog through a host-proxy that is killed. The tests do the same for
//! some seconds.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ::tests::{Backend, Product, load, logs};
use anyhow::{Context as _, Result, ensure};

use crate::system::need;
use crate::{build, image, test};

/// How long the servers are under load, unless told otherwise.
const SECONDS: u64 = 300;
/// Log lines, of all containers together.
const LINES: u64 = 1_000_000;
const CONTAINERS: u64 = 20;

/// What there is to do.
const PARTS: [&str; 3] = [NGINX, REDIS, LOGS];
const NGINX: &str = "nginx";
const REDIS: &str = "redis";
const LOGS: &str = "logs";

/// Fails when a request or a line is lost without being counted, or a counter differs.
pub(crate) fn soak(arguments: &[String]) -> Result<ExitCode> {
    let (duration, parts) = read(arguments)?;
    let has = |part: &str| parts.iter().any(|one| one == part);
    for (part, program, package) in [
        (NGINX, "wrk", "wrk"),
        (REDIS, "redis-benchmark", "redis-tools"),
        (LOGS, "rsyslogd", "rsyslog"),
    ] {
        if has(part) {
            need(program, package)?;
        }
    }
    let server = |part: &str| has(part).then(|| image::example(part)).transpose();
    let (nginx, redis): (Option<PathBuf>, Option<PathBuf>) = (server(NGINX)?, server(REDIS)?);
    let built = build::product()?;
    let product = Product {
        init: built.init,
        proxy: built.proxy,
        guests: test::guests()?,
        backend: Backend::Local,
        environment: Vec::new(),
    };
    for tally in load::servers(&product, nginx.as_deref(), redis.as_deref(), duration)? {
        print!("{tally}");
    }
    if has(LOGS) {
        let delivery = logs::through_kills(&product, CONTAINERS, LINES)?;
        print!("{delivery}");
        ensure!(
            delivery.kills_while_writing == delivery.kills,
            "all lines were written before the last time that host-proxy was killed: this says less than it should"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// How long, and which parts: all, unless some are named.
fn read(arguments: &[String]) -> Result<(Duration, Vec<String>)> {
    let (seconds, named) = match arguments {
        [first, rest @ ..] if !PARTS.contains(&first.as_str()) => {
            let seconds = first.parse();
            let seconds = seconds.with_context(|| {
                format!(
                    "{first:?} is neither a number of seconds nor one of {}",
                    PARTS.join(", ")
                )
            })?;
            (seconds, rest)
        }
        named => (SECONDS, named),
    };
    for part in named {
        ensure!(
            PARTS.contains(&part.as_str()),
            "soak has no part {part:?}; there are: {}",
            PARTS.join(", ")
        );
    }
    let all = || PARTS.map(str::to_owned).to_vec();
    let parts = if named.is_empty() { all() } else { named.to_vec() };
    Ok((Duration::from_secs(seconds), parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(words: &[&str]) -> Result<(u64, Vec<String>)> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        read(&words).map(|(duration, parts)| (duration.as_secs(), parts))
    }

    #[test]
    fn everything_unless_parts_are_named() {
        let all = PARTS.map(str::to_owned).to_vec();
        assert_eq!(parts(&[]).ok(), Some((SECONDS, all.clone())));
        assert_eq!(parts(&["5"]).ok(), Some((5, all)));
        assert_eq!(parts(&["logs"]).ok(), Some((SECONDS, vec![LOGS.to_owned()])));
        let two = vec![REDIS.to_owned(), LOGS.to_owned()];
        assert_eq!(parts(&["7", "redis", "logs"]).ok(), Some((7, two)));
        assert!(parts(&["apache"]).is_err());
        assert!(parts(&["5", "6"]).is_err());
    }
}
