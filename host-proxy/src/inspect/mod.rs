//! `inspect`: what a bundle is, who signed it, whether a policy takes it, and the PCRs that it will leave. The verdict is
//! that of `manifest_sync::trust`, the same code that the enclave runs.

mod broker_policy;
mod report;
mod secrets;
#[cfg(test)]
mod tests;
mod text;

use std::path::Path;

use manifest_sync::reject::Rejection;
use manifest_sync::trust::TrustPolicy;
use manifest_sync::trust::envelope::Delivery;
use manifest_sync::trust::key::PublicKey;
use manifest_sync::trust::policy::{MAX_BYTES as MAX_POLICY_BYTES, Signer};

pub use report::{Report, Subject};
pub use secrets::{ClassReport, ObjectReport, SyncedReport, UseReport};

use crate::cli::{Inspect, Output, Print, Source};
use crate::exit::{Exit, Failure};
use crate::table::escape;
use crate::{bundle, file, run, source};

/// Largest file of a public key in bytes.
const MAX_KEY_FILE: usize = 64 << 10;

/// Runs `inspect`.
///
/// # Errors
/// A file cannot be read or is not what it should be. A bundle that is refused is a report, and exit code 65.
pub fn inspect(inspect: &Inspect) -> Result<Exit, Failure> {
    let policy = inspect.policy.as_deref().map(read_policy).transpose()?;
    let policy = policy.map(|(_, policy)| policy);
    let keys = inspect
        .keys
        .iter()
        .map(|path| read_key(path))
        .collect::<Result<Vec<_>, _>>()?;
    let bytes = match &inspect.source {
        Source::Bundle(path) => bundle::read(path)?.0,
        Source::Manifests(files) => source::load(files, inspect.images.as_deref())?.json,
    };
    let delivery =
        Delivery::read(&bytes).map_err(|rejection| Failure::new(Exit::Rejected, explained(&rejection)))?;
    let report = Report::of(&Subject {
        bytes: &bytes,
        delivery: &delivery,
        policy: policy.as_ref(),
        keys: &keys,
    });
    let output = match &inspect.print {
        Print::Report(output) => *output,
        Print::BrokerPolicy(image) => {
            let policy = broker_policy::of(&report, image, inspect.policy.as_deref())?;
            return run::print(&policy);
        }
    };
    let garbled = |error: &dyn std::fmt::Display| Failure::new(Exit::Host, format!("cannot print: {error}"));
    let printed = match output {
        Output::Table => text::text(&report),
        Output::Json => serde_json::to_string_pretty(&report).map_err(|error| garbled(&error))? + "\n",
        Output::Yaml => serde_norway::to_string(&report).map_err(|error| garbled(&error))?,
    };
    run::print(&printed)?;
    Ok(match report.errors.is_empty() {
        true => Exit::Pod(0),
        false => Exit::Rejected,
    })
}

/// A trust policy, and the bytes that it was read from.
///
/// # Errors
/// `NoInput`: it cannot be read, or is none.
pub fn read_policy(path: &Path) -> Result<(Vec<u8>, TrustPolicy), Failure> {
    let bytes = file::read(path, MAX_POLICY_BYTES)?;
    match TrustPolicy::parse(&bytes) {
        Ok(policy) => Ok((bytes, policy)),
        Err(rejection) => {
            let message = format!("{} is no trust policy:{}", path.display(), explained(&rejection));
            Err(Failure::new(Exit::NoInput, message))
        }
    }
}

/// A key that was given beside the policy is called as its file is.
fn read_key(path: &Path) -> Result<Signer, Failure> {
    let key = PublicKey::from_text(&file::read_text(path, MAX_KEY_FILE)?)
        .map_err(|error| Failure::new(Exit::NoInput, format!("{}: {error}", path.display())))?;
    Ok(Signer {
        name: path.display().to_string(),
        key_id: key.key_id(),
        key,
    })
}

fn explained(rejection: &Rejection) -> String {
    let lines = rejection
        .errors
        .iter()
        .map(|finding| format!("\n  {}", escape(&finding.to_string())));
    lines.collect()
}
