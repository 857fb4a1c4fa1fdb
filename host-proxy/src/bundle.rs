//! From manifest files to the bundle that travels, and what this side must know of it: the Pod's name and ports.
//! Judging it here as the enclave will saves starting one for nothing; the enclave judges the bytes again.

use std::path::{Path, PathBuf};

use manifest_sync::plan::Plan;
use manifest_sync::reject::Rejection;

use crate::announce::say;
use crate::client::rejected;
use crate::control::Bundle;
use crate::exit::Failure;
use crate::source;
use crate::table::escape;

/// A bundle, read.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What travels.
    pub bundle: Bundle,
    /// Name of the Pod.
    pub name: String,
    /// Container port and port outside.
    pub ports: Vec<(u16, u16)>,
}

/// Reads the manifests; prints what is ignored because it is harmless.
pub fn load(files: &[PathBuf], images: Option<&Path>) -> Result<Loaded, Failure> {
    let loaded = source::load(files, images)?;
    for (written, resolved) in &loaded.resolved {
        log::info!("{written} is {resolved}");
    }
    let (plan, warnings) = Plan::from_bundle_bytes(&loaded.json).map_err(|rejection| rejected(&rejection))?;
    for warning in &warnings {
        say(&format!("warning: {}", escape(&warning.to_string())));
    }
    Ok(Loaded {
        ports: declared(&plan),
        bundle: Bundle::new(loaded.json),
        name: plan.name,
    })
}

/// Container port and port outside of each port that the Pod of `bundle` declares.
///
/// # Errors
/// The bundle's faults; the enclave would find the same.
pub fn ports(bundle: &[u8]) -> Result<Vec<(u16, u16)>, Rejection> {
    Plan::from_bundle_bytes(bundle).map(|(plan, _)| declared(&plan))
}

fn declared(plan: &Plan) -> Vec<(u16, u16)> {
    let ports = plan.containers.iter().flat_map(|container| &container.ports);
    ports
        .map(|port| (port.container_port, port.host_port.unwrap_or(port.container_port)))
        .collect()
}
