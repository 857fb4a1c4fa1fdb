//! The policy with which `cloister-broker` gives a bundle's secrets to its enclaves: this image, this trust policy, and no
//! older release.

use std::path::Path;

use serde::Deserialize;
use serde_json::json;

use super::read_policy;
use super::report::Report;
use crate::backend::local;
use crate::cli::Image;
use crate::exit::{Exit, Failure};
use crate::file;

/// Largest file of measurements in bytes.
const MAX_MEASUREMENTS: usize = 64 << 10;
/// A SHA-384, hexadecimal.
const DIGITS: usize = 96;

/// As `nitro-cli build-enclave` prints them; what else it says does not matter here.
#[derive(Deserialize)]
struct Built {
    #[serde(rename = "Measurements")]
    measurements: Measurements,
}

#[derive(Deserialize)]
struct Measurements {
    #[serde(rename = "PCR0")]
    pcr0: String,
}

/// The policy, as text.
pub(super) fn of(report: &Report, image: &Image, policy: Option<&Path>) -> Result<String, Failure> {
    if let Some(error) = report.errors.first() {
        return Err(Failure::new(
            Exit::Rejected,
            format!("no enclave runs this bundle: {error}"),
        ));
    }
    let secrets: Vec<&str> = report
        .secrets
        .iter()
        .flat_map(|class| class.objects.iter().map(|object| object.name.as_str()))
        .collect();
    if secrets.is_empty() {
        return Err(Failure::new(Exit::Rejected, "the bundle asks for no secrets"));
    }
    // Without an application, an enclave asks in the name of its Pod.
    let pod = report
        .pod
        .as_deref()
        .and_then(|pod| pod.split_once('/'))
        .map(|(_, name)| name);
    let mut rule = json!({
        "application": report.application.as_deref().or(pod),
        "secrets": secrets,
        "pcrs": {"0": pcr0(image, policy)?, "16": report.pcrs.pcr16},
    });
    if let Some(generation) = report.generation {
        rule["minimumGeneration"] = generation.into();
    }
    let policy = json!({"apiVersion": "cloister.dev/v1", "kind": "BrokerPolicy", "rules": [rule]});
    Ok(format!("{policy:#}\n"))
}

fn pcr0(image: &Image, policy: Option<&Path>) -> Result<String, Failure> {
    match image {
        Image::Local(init) => {
            let policy = policy.map(read_policy).transpose()?.map(|(bytes, _)| bytes);
            let measured = local::measurements(init, &policy.unwrap_or_default());
            let failed =
                |error| Failure::new(Exit::NoInput, format!("cannot read {}: {error}", init.display()));
            measured.map(|[pcr0, ..]| pcr0).map_err(failed)
        }
        Image::Measured(path) => {
            let text = file::read_text(path, MAX_MEASUREMENTS)?;
            let wrong = |why: String| Failure::new(Exit::NoInput, format!("{}: {why}", path.display()));
            let built: Built = serde_json::from_str(&text).map_err(|error| {
                wrong(format!(
                    "not measurements as `cargo xtask eif` prints them: {error}"
                ))
            })?;
            let value = built.measurements.pcr0;
            match value.len() == DIGITS && value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                true => Ok(value),
                false => Err(wrong(format!(
                    "Measurements.PCR0 has to have {DIGITS} hexadecimal digits"
                ))),
            }
        }
    }
}
