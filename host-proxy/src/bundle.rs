//! From manifest files, or a bundle that is ready, to what travels, and what this side must know of it: the Pod's name
//! and ports. Judging it here as the enclave will saves starting one for nothing; the enclave judges the bytes again.

use std::path::Path;

use manifest_sync::frame::MAX_BUNDLE_BYTES;
use manifest_sync::plan::Plan;
use manifest_sync::reject::Rejection;
use manifest_sync::trust::envelope::Delivery;

use crate::announce::say;
use crate::cli::{Publish, Source};
use crate::client::rejected;
use crate::control::Bundle;
use crate::exit::{Exit, Failure};
use crate::source;
use crate::table::escape;

/// A bundle, read.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What travels.
    pub bundle: Bundle,
    /// The bundle itself: without the envelope that it may travel in.
    pub payload: Vec<u8>,
    /// Name of the Pod.
    pub name: String,
    /// Container port and port outside.
    pub ports: Vec<Publish>,
}

/// Reads manifests or a bundle; prints what is ignored because it is harmless.
///
/// # Errors
/// A file cannot be read, or what is in it cannot run.
pub fn load(source: &Source, images: Option<&Path>) -> Result<Loaded, Failure> {
    let (bytes, payload) = match source {
        Source::Manifests(files) => {
            let loaded = source::load(files, images)?;
            for (written, resolved) in &loaded.resolved {
                log::info!("{written} is {resolved}");
            }
            (loaded.json.clone(), loaded.json)
        }
        Source::Bundle(file) => {
            let (bytes, delivery) = read(file)?;
            (bytes, delivery.unverified_bundle().to_vec())
        }
    };
    let (plan, warnings) = Plan::from_bundle_bytes(&payload).map_err(|rejection| rejected(&rejection))?;
    for warning in &warnings {
        say(&format!("warning: {}", escape(&warning.to_string())));
    }
    Ok(Loaded {
        ports: declared(&plan),
        bundle: Bundle::new(bytes),
        payload,
        name: plan.name,
    })
}

/// A bundle that is ready, and the exact bytes of its file.
///
/// # Errors
/// `NoInput`: the file cannot be read. `Rejected`: it is no bundle.
pub fn read(file: &Path) -> Result<(Vec<u8>, Delivery), Failure> {
    let bytes = crate::file::read(file, MAX_BUNDLE_BYTES)?;
    let no_bundle = |why: &dyn std::fmt::Display| {
        let message = format!(
            "{} is no bundle (manifests are given with -f, and become one with `host-proxy sign`): {why}",
            file.display()
        );
        Failure::new(Exit::Rejected, message)
    };
    let delivery = Delivery::read(&bytes).map_err(|rejection| no_bundle(&escape(&rejection.to_string())))?;
    if let Delivery::Bare(_) = &delivery
        && !is_list(&bytes)
    {
        return Err(no_bundle(&"it is neither an envelope nor a v1/List"));
    }
    Ok((bytes, delivery))
}

/// A manifest in JSON would be refused anyhow, but in words that help nobody.
fn is_list(bytes: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Kind {
        kind: String,
    }
    serde_json::from_slice(bytes).is_ok_and(|object: Kind| object.kind == "List")
}

/// Each port that the Pod of `bundle`, signed or not, declares.
///
/// # Errors
/// The bundle's faults; the enclave would find the same.
pub fn ports(bundle: &[u8]) -> Result<Vec<Publish>, Rejection> {
    let delivery = Delivery::read(bundle)?;
    Plan::from_bundle_bytes(delivery.unverified_bundle()).map(|(plan, _)| declared(&plan))
}

fn declared(plan: &Plan) -> Vec<Publish> {
    let ports = plan.lasting_containers().flat_map(|container| &container.ports);
    ports
        .map(|port| Publish {
            host: port.host_port.unwrap_or(port.container_port),
            container: port.container_port,
            protocol: port.protocol,
        })
        .collect()
}
