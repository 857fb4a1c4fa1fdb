//! Real servers under load through the ingress, for some seconds; `cargo xtask soak` does it for five minutes.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tests::{load, product};

const SHORT: Duration = Duration::from_secs(3);

/// The layout with the image, if there is one, and the program that asks for it.
fn layout(variable: &str, generator: &str, package: &str) -> Option<PathBuf> {
    let Some(images) = std::env::var_os(variable) else {
        println!("SKIPPED: {variable} names no image: it needs mmdebstrap and the Debian archive");
        return None;
    };
    if Command::new(generator).arg("--version").output().is_err() {
        println!("SKIPPED: there is no {generator}: install the package {package}");
        return None;
    }
    Some(images.into())
}

#[test]
fn nginx_under_wrk_loses_no_request_and_host_proxy_counts_as_they_do() {
    let Some(product) = product() else { return };
    let Some(images) = layout("CLOISTER_NGINX", "wrk", "wrk") else {
        return;
    };
    let tally = load::web(&product, &images, SHORT).unwrap_or_else(|error| panic!("{error:#}"));
    print!("{tally}");
}

#[test]
fn redis_under_redis_benchmark_loses_no_request_and_host_proxy_counts_as_they_do() {
    let Some(product) = product() else { return };
    let Some(images) = layout("CLOISTER_REDIS", "redis-benchmark", "redis-tools") else {
        return;
    };
    let tally = load::redis(&product, &images, SHORT).unwrap_or_else(|error| panic!("{error:#}"));
    print!("{tally}");
}
