//! A report for people. Names and images come from the bundle, which anybody may have made: they are escaped.

use super::report::{Form, Report, SignatureReport, SignatureVerdict};
use super::secrets::ClassReport;
use crate::table::escape;

/// One line for each thing; further values of a thing are under the first.
pub(super) fn text(report: &Report) -> String {
    let none = || "none".to_owned();
    let mut rows = vec![
        ("Bundle", vec![report.digest.clone()]),
        (
            "Form",
            vec![match report.form {
                Form::Envelope => format!("envelope, signatures: {}", report.signatures.len()),
                Form::Bare => "not signed".to_owned(),
            }],
        ),
        ("Pod", vec![report.pod.clone().unwrap_or_else(none)]),
        (
            "Application",
            vec![report.application.clone().unwrap_or_else(none)],
        ),
        (
            "Generation",
            vec![report.generation.map_or_else(none, |number| number.to_string())],
        ),
        ("Images", report.images.clone()),
        ("Secrets", report.secrets.iter().flat_map(class).collect()),
        ("Attestation", report.attestation.clone()),
        ("Signatures", report.signatures.iter().map(signature).collect()),
    ];
    if let Some(accepted) = report.accepted {
        let verdict = match accepted {
            true => "accepts this bundle",
            false => "REFUSES this bundle",
        };
        rows.push(("Policy", vec![verdict.to_owned()]));
    }
    let pcr16 = report.pcrs.pcr16.clone();
    rows.push((
        "PCR16",
        vec![pcr16.unwrap_or_else(|| "needs --policy".to_owned())],
    ));
    rows.push(("PCR17", vec![report.pcrs.pcr17.clone()]));
    rows.push(("Errors", report.errors.iter().map(ToString::to_string).collect()));
    rows.push((
        "Warnings",
        report.warnings.iter().map(ToString::to_string).collect(),
    ));
    let mut text = String::new();
    for (name, values) in rows {
        for (index, value) in values.iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            text.push_str(&format!("{name:<12}{}\n", escape(value)));
        }
    }
    text
}

fn class(one: &ClassReport) -> Vec<String> {
    let rotation = one.rotation_seconds.map_or_else(
        || "released once".to_owned(),
        |seconds| format!("released every {seconds} s"),
    );
    let mut lines = vec![format!("{}: {rotation}, broker {}", one.class, one.broker_key_id)];
    let objects = one.objects.iter();
    lines.extend(objects.map(|object| match object.name == object.file {
        true => format!("  {} ({})", object.name, object.mode),
        false => format!("  {} as {} ({})", object.name, object.file, object.mode),
    }));
    let secrets = one.secret_objects.iter();
    lines
        .extend(secrets.map(|secret| format!("  Secret {}: {}", secret.secret_name, secret.keys.join(", "))));
    let uses = one.containers.iter();
    lines.extend(uses.map(|way| format!("  {} {} <- {}", way.container, way.at, way.objects.join(", "))));
    if one.containers.is_empty() {
        lines.push("  no container gets any of it".to_owned());
    }
    lines
}

fn signature(one: &SignatureReport) -> String {
    let verdict = match one.verdict {
        SignatureVerdict::Valid => "valid",
        SignatureVerdict::Repeated => "repeated",
        SignatureVerdict::Mismatch => "WRONG",
        SignatureVerdict::UnknownKey => "unknown",
        SignatureVerdict::NotChecked => "not checked",
    };
    let by = one
        .signer
        .as_ref()
        .map(|name| format!(" {name}"))
        .unwrap_or_default();
    format!("{verdict}{by} ({})", one.keyid.as_deref().unwrap_or("no keyid"))
}
