//! What one optimised process measures (`attest/examples/trust-costs`); this one is not optimised.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::system::{root, run};

const BUILD: [&str; 9] = [
    "build",
    "--locked",
    "--release",
    "--package",
    "attest",
    "--features",
    "software",
    "--example",
    "trust-costs",
];

/// Microseconds, one a sample.
#[derive(Debug)]
pub(super) struct Costs {
    pub(super) software: Documents,
    /// None without a real document.
    pub(super) real: Option<Documents>,
    /// One attestation request.
    pub(super) attest: Vec<f64>,
    /// Every request that measures a bundle, over a socket.
    pub(super) measure: Vec<f64>,
    /// Connect, one byte there, one byte back.
    pub(super) round_trip: Vec<f64>,
}

/// Verifying a document.
#[derive(Debug)]
pub(super) struct Documents {
    /// So many it has.
    pub(super) signatures: u64,
    pub(super) verify: Vec<f64>,
    /// All signatures, and nothing else, in the same moment.
    pub(super) ecdsa: Vec<f64>,
}

/// Builds and runs it.
pub(super) fn measure(real: Option<&Path>) -> Result<Costs> {
    run("cargo", &BUILD)?;
    let output = Command::new(root().join("target/release/examples/trust-costs"))
        .args(real)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run trust-costs")?;
    if !output.status.success() {
        bail!("trust-costs: {}", output.status);
    }
    let costs: Value = serde_json::from_slice(&output.stdout).context("trust-costs printed no JSON")?;
    Ok(Costs {
        software: documents(&costs["software"])?,
        real: costs.get("real").map(documents).transpose()?,
        attest: samples(&costs, "attest")?,
        measure: samples(&costs, "measure")?,
        round_trip: samples(&costs, "roundTrip")?,
    })
}

fn documents(costs: &Value) -> Result<Documents> {
    Ok(Documents {
        signatures: costs["signatures"].as_u64().context("no number of signatures")?,
        verify: samples(costs, "verify")?,
        ecdsa: samples(costs, "ecdsa")?,
    })
}

fn samples(costs: &Value, name: &str) -> Result<Vec<f64>> {
    let list = costs[name].as_array();
    list.and_then(|list| list.iter().map(Value::as_f64).collect())
        .with_context(|| format!("trust-costs printed no samples of {name}"))
}
