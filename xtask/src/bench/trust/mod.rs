//! What trust costs: verifying documents, measuring a bundle before it runs, releasing secrets. The enclaves are those of the
//! local back-end, whose security module is software, and this program is their host, so that it sees every stage.

mod costs;
mod host;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ::tests::broker::{Broker, public_key};
use ::tests::{Product, guest, pod, wait_for};
use anyhow::{Context as _, Result, bail};
use manifest_sync::protocol::FromEnclave;
use serde_json::{Value, json};

use self::costs::{Costs, Documents};
use self::host::Host;
use super::{Row, median, ms, ratio, runtime, spread};

/// Enclaves of each measurement.
const SAMPLES: usize = 15;
/// A real document of the vectors, which are not part of the repository: `CLOISTER_VECTORS` says where they are.
const REAL: &str = "accept/08-2025-12-25-indefinite-map.bin";
const ACCEPTED: &str = "accepted";
const RELEASED: &str = "secrets of SecretProviderClass class have been released";

/// Runs everything; `program` is the guest.
pub(super) fn rows(product: &Product, broker: &Path, program: &Path) -> Result<Vec<Row>> {
    let real = std::env::var_os("CLOISTER_VECTORS").map(|vectors| PathBuf::from(vectors).join(REAL));
    if real.is_none() {
        eprintln!("xtask: CLOISTER_VECTORS is not set: no real document is verified");
    }
    let costs = costs::measure(real.as_deref())?;
    let mut rows = vec![verification(
        "whole documents verified, of the software security module (peer: their ECDSA P-384 signatures alone, on ring)",
        &costs.software,
    )];
    rows.extend(costs.real.as_ref().map(|documents| {
        verification(
            "whole documents verified, a real one (peer: its ECDSA P-384 signatures alone, on ring)",
            documents,
        )
    }));
    rows.extend(first_exec(product, program, &costs)?);
    rows.push(release(product, broker, &costs)?);
    Ok(rows)
}

fn verification(what: &'static str, documents: &Documents) -> Row {
    let rate = |microseconds: f64| format!("{:.0} /s", 1e6 / microseconds);
    let pairs = documents.verify.iter().zip(&documents.ecdsa);
    let ratios: Vec<f64> = pairs.map(|(whole, bare)| whole / bare).collect();
    Row {
        what,
        // Rates, so the percentiles change places.
        ours: spread(&inverse(&documents.verify), |second| rate(1.0 / second)),
        peer: format!(
            "{} of {}",
            rate(median(documents.ecdsa.clone())),
            documents.signatures
        ),
        ratio: spread(&ratios, |ratio| format!("{ratio:.2}")),
        budget: "–",
    }
}

fn inverse(samples: &[f64]) -> Vec<f64> {
    samples.iter().map(|sample| 1.0 / sample).collect()
}

/// When what had happened, milliseconds after the bundle was sent.
#[derive(Default)]
struct Stages {
    /// The answer: verified, planned, measured, locked.
    applied: f64,
    /// The image has arrived and is unpacked.
    pulled: f64,
    /// The container's program executes.
    started: f64,
}

/// From the bundle to the first exec, stage by stage.
fn first_exec(product: &Product, program: &Path, costs: &Costs) -> Result<[Row; 2]> {
    let bundle = bundle(product, &[], |_| {})?;
    let all: Vec<Stages> = (0..SAMPLES)
        .map(|_| stages(product, &bundle))
        .collect::<Result<_>>()?;
    let each = |pick: fn(&Stages) -> f64| -> Vec<f64> { all.iter().map(pick).collect() };
    let (whole, measured) = (each(|stages| stages.started), each(|stages| stages.applied));
    let [image, start] = [
        each(|stages| stages.pulled - stages.applied),
        each(|stages| stages.started - stages.pulled),
    ]
    .map(|samples| ms(median(samples)));
    let crun = runtime::crun(program);
    let requests = median(costs.measure.clone()) / 1000.0;
    Ok([
        Row {
            what: "bundle received → verified, planned, measured, registers locked (peer: the same requests to the security \
                   module alone)",
            ours: spread(&measured, ms),
            peer: format!("{requests:.2} ms"),
            ratio: ratio(median(measured.clone()), requests),
            budget: "–",
        },
        Row {
            what: "bundle received → measured → first exec (peer: `crun run` of the same root, unpacked already, whole)",
            ours: format!(
                "{}: {} to measured, {image} for the image, {start} to exec",
                spread(&whole, ms),
                ms(median(measured)),
            ),
            peer: crun
                .as_ref()
                .map_or_else(|error| format!("not measured: {error}"), |peer| ms(*peer)),
            ratio: crun.map_or_else(|_| "–".to_owned(), |peer| ratio(median(whole), peer)),
            budget: "–",
        },
    ])
}

fn stages(product: &Product, bundle: &[u8]) -> Result<Stages> {
    let mut host = Host::start(product)?;
    let mut stages = Stages::default();
    let start = Instant::now();
    host.apply(bundle)?;
    loop {
        let message = host.hear()?;
        let now = start.elapsed().as_secs_f64() * 1000.0;
        match message {
            FromEnclave::Applied { .. } => stages.applied = now,
            FromEnclave::NeedBlob { request, digest } => host.supply(request, &digest)?,
            FromEnclave::Event { event } if event.reason == "Pulled" => stages.pulled = now,
            FromEnclave::Event { event } if event.reason == "Started" => {
                stages.started = now;
                return Ok(stages);
            }
            FromEnclave::Rejected { rejection } => bail!("the bundle was refused: {rejection}"),
            _ => {}
        }
    }
}

/// From the accepted bundle to its secrets. The host keeps the image back: nothing else goes on meanwhile.
fn release(product: &Product, program: &Path, costs: &Costs) -> Result<Row> {
    let class = json!({
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {"name": "class"},
        "spec": {
            "provider": "broker",
            "parameters": {"brokerKey": public_key(), "objects": json!([{"objectName": "password"}]).to_string()},
        },
    });
    let bundle = bundle(product, &[class], |spec| {
        spec["volumes"] = json!([{"name": "secrets", "csi": {
            "driver": "secrets-store.csi.k8s.io",
            "readOnly": true,
            "volumeAttributes": {"secretProviderClass": "class"},
        }}]);
        let mount = json!({"name": "secrets", "mountPath": "/secrets", "readOnly": true});
        spec["containers"][0]["volumeMounts"] = json!([mount]);
    })?;
    let samples: Vec<f64> = (0..SAMPLES)
        .map(|_| released(product, program, &bundle))
        .collect::<Result<_>>()?;
    let [call, trip] = [&costs.attest, &costs.round_trip].map(|samples| median(samples.clone()) / 1000.0);
    Ok(Row {
        what: "bundle accepted → secrets released, with `cloister-broker` (peer: one attestation request of the software \
               security module, and one TCP connection with one round trip)",
        ours: spread(&samples, ms),
        peer: format!("{call:.2} ms + {trip:.2} ms"),
        ratio: ratio(median(samples), call + trip),
        budget: "–",
    })
}

/// Milliseconds, by the console.
fn released(product: &Product, program: &Path, bundle: &[u8]) -> Result<f64> {
    let mut host = Host::start(product)?;
    let mut broker = Broker::of(program, &[("password", "correct horse")]);
    broker.start_for(&host.state());
    host.apply(bundle)?;
    loop {
        match host.hear()? {
            FromEnclave::NeedBroker { request } => {
                host.connect(request, broker.address)?;
                break;
            }
            FromEnclave::Rejected { rejection } => bail!("the bundle was refused: {rejection}"),
            _ => {}
        }
    }
    let console = wait_for("the secrets", || {
        Some(host.console()).filter(|console| console.contains("SecretProviderClass class"))
    });
    let time = |mark: &str| console_time(&console, mark);
    Ok(time(RELEASED)? - time(ACCEPTED)?)
}

/// Milliseconds of the first line with this mark.
fn console_time(console: &str, mark: &str) -> Result<f64> {
    let line = console.lines().find(|line| line.contains(mark));
    let seconds = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    let seconds = seconds.with_context(|| format!("no line {mark:?} on the console:\n{console}"))?;
    Ok(seconds * 1000.0)
}

/// A bundle of a Pod with one container that sleeps, and of what it needs.
fn bundle(product: &Product, needs: &[Value], change: impl FnOnce(&mut Value)) -> Result<Vec<u8>> {
    let index: Value = serde_json::from_slice(&fs::read(product.guests.join("index.json"))?)?;
    let digest = index.pointer("/manifests/0/digest").and_then(Value::as_str);
    let mut container = guest("app", &["sleep"]);
    container["image"] = json!(format!("guest@{}", digest.context("no image in the layout")?));
    let mut spec = json!({"containers": [container], "terminationGracePeriodSeconds": 0});
    change(&mut spec);
    let items: Vec<Value> = needs.iter().cloned().chain([pod(spec)]).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    Ok(list.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_timed_by_the_console() {
        let console = "\
            cloister-init[pid1] 7.250 INFO bundle sha384:ab: Pod default/test accepted\n\
            cloister-init[pid1] 7.300 INFO secrets of SecretProviderClass class have been released\n";
        let time = |mark| console_time(console, mark).unwrap();
        assert!((time(RELEASED) - time(ACCEPTED) - 50.0).abs() < 1e-6);
        assert!(console_time("", RELEASED).is_err());
    }

    #[test]
    fn a_rate_is_beside_the_number_of_signatures() {
        let documents = Documents {
            signatures: 5,
            verify: vec![1200.0],
            ecdsa: vec![1000.0],
        };
        let row = verification("documents", &documents);
        assert_eq!(row.ours, "833 /s (833 /s – 833 /s)");
        assert_eq!(
            (row.peer.as_str(), row.ratio.as_str()),
            ("1000 /s of 5", "1.20 (1.20 – 1.20)")
        );
    }
}
