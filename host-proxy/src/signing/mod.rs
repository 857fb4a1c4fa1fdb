//! `sign`: from manifests, or a bundle that is ready, to a signed envelope. What is signed is said before the result is
//! written: a signature is a promise about content.

mod key;
mod stamp;
#[cfg(test)]
mod tests;

use std::path::Path;

use manifest_sync::bundle::Bundle;
use manifest_sync::frame::MAX_BUNDLE_BYTES;
use manifest_sync::reject::Finding;
use manifest_sync::trust::envelope::{Delivery, Envelope, MAX_SIGNATURES, pae};

pub use key::{CannotSign, SigningKey, SigningKeyError};

use crate::announce::say;
use crate::cli::{Sign, Source};
use crate::client::rejected;
use crate::exit::{Exit, Failure};
use crate::table::escape;
use crate::{bundle, file, run, source};

/// Largest key file in bytes; ours have some 300.
const MAX_KEY_FILE: usize = 64 << 10;

/// Runs `sign`.
///
/// # Errors
/// Whatever keeps the bundle from being signed, with the file that it is about.
pub fn sign(sign: &Sign) -> Result<Exit, Failure> {
    let keys = sign
        .keys
        .iter()
        .map(|path| read_key(path))
        .collect::<Result<Vec<_>, _>>()?;
    let mut envelope = unsigned(sign)?;
    for line in described(&envelope)? {
        say(&line);
    }
    for (key, path) in keys.iter().zip(&sign.keys) {
        let key_id = key.public().key_id();
        let signature = key.sign(&pae(envelope.unverified_payload())).map_err(|error| {
            Failure::new(
                Exit::Host,
                format!("cannot sign with {}: {error}", path.display()),
            )
        })?;
        envelope.add(key_id.clone(), signature);
        say(&format!("signed with {} ({key_id})", path.display()));
    }
    let json = envelope.to_json();
    if envelope.signatures().len() > MAX_SIGNATURES || json.len() > MAX_BUNDLE_BYTES {
        let message =
            format!("an envelope has at most {MAX_SIGNATURES} signatures and {MAX_BUNDLE_BYTES} bytes");
        return Err(Failure::new(Exit::Rejected, message));
    }
    match &sign.out {
        Some(path) => file::write(path, &json).map(|()| Exit::Pod(0)),
        None => run::print(&String::from_utf8_lossy(&json)),
    }
}

/// The envelope before we add to it.
fn unsigned(sign: &Sign) -> Result<Envelope, Failure> {
    match &sign.source {
        Source::Bundle(path) => Ok(match bundle::read(path)?.1 {
            Delivery::Envelope(envelope) => envelope,
            bare @ Delivery::Bare(_) => Envelope::new(bare.unverified_bundle().to_vec()),
        }),
        Source::Manifests(files) => {
            let mut items = source::read(files)?;
            for line in stamp::stamp(&mut items, sign.application.as_deref(), sign.generation) {
                say(&line);
            }
            if let Some(path) = &sign.broker_key {
                stamp::broker_key(&mut items, &file::read_text(path, MAX_KEY_FILE)?);
            }
            let loaded = source::bundle(items, sign.images.as_deref())?;
            for (written, resolved) in &loaded.resolved {
                say(&format!("{} is {}", escape(written), escape(resolved)));
            }
            Ok(Envelope::new(loaded.json))
        }
    }
}

/// What is about to be signed, for people. It has to be something that can run.
fn described(envelope: &Envelope) -> Result<Vec<String>, Failure> {
    let payload = envelope.unverified_payload();
    let (bundle, warnings) = Bundle::parse(payload).map_err(|rejection| rejected(&rejection))?;
    let Some(application) = bundle.application() else {
        let message = "the bundle names no application, and every policy with signers is for one: \
                       add `--application NAME`, or spec.application of an EnclavePolicy";
        return Err(Failure::new(Exit::Rejected, message));
    };
    let warning = |finding: &Finding| format!("warning: {}", escape(&finding.to_string()));
    let mut lines: Vec<String> = warnings.iter().map(warning).collect();
    if bundle.generation().is_none() {
        lines.push(
            "warning: no generation: a policy cannot tell this release from older ones (`--generation N`)"
                .to_owned(),
        );
    }
    let secrets: Vec<&str> = bundle.plan().secrets.keys().map(String::as_str).collect();
    if !secrets.is_empty() {
        lines.push(format!(
            "warning: the Secrets {} are readable for everybody who has the file, and need allowPlainSecrets",
            escape(&secrets.join(", "))
        ));
    }
    let plan = bundle.plan();
    lines.push(format!(
        "{} is generation {} of {application}: Pod {}/{}",
        plan.digest,
        bundle.generation().unwrap_or_default(),
        escape(&plan.namespace),
        escape(&plan.name),
    ));
    for container in plan.all_containers() {
        lines.push(format!(
            "  {}: {}",
            escape(&container.name),
            escape(&container.image)
        ));
    }
    Ok(lines)
}

fn read_key(path: &Path) -> Result<SigningKey, Failure> {
    let text = file::read_text(path, MAX_KEY_FILE)?;
    SigningKey::from_pem(&text)
        .map_err(|error| Failure::new(Exit::NoInput, format!("{}: {error}", path.display())))
}
