//! `check`: what a policy file means, in words.

use std::fmt::Write as _;

use attest::broker::{Rule, SecretStore};
use attest::document::{DebugMode, Root};
use attest::hex::Hex;

use crate::arguments::Check;
use crate::exit::{Exit, Failure};
use crate::input;

/// The text, or what is wrong with the policy or the secrets.
pub(crate) fn check(check: &Check) -> Result<String, Failure> {
    let policy = input::policy(&check.policy, &check.roots)?;
    let mut text = String::new();
    let mut missing = Vec::new();
    for (application, rule) in policy.rules() {
        let _ = writeln!(text, "{}", application.as_str());
        describe(&mut text, rule);
        let Some(directory) = &check.secrets else { continue };
        let store = SecretStore::new(directory);
        for name in &rule.secrets {
            let read = store.read(std::slice::from_ref(name));
            missing.extend(read.err().map(|error| error.to_string()));
        }
    }
    if missing.is_empty() {
        return Ok(text);
    }
    missing.sort();
    missing.dedup();
    Err(Failure::new(Exit::NoInput, missing.join("\n")))
}

// Writing to a text does not fail.
fn describe(text: &mut String, rule: &Rule) {
    let names: Vec<_> = rule.secrets.iter().map(|name| name.as_str()).collect();
    let _ = writeln!(text, "  gets         {}", names.join(", "));
    for (index, values) in &rule.pcrs {
        let meaning = match index {
            0 => "the image",
            1 => "kernel and base of the image",
            2 => "what was added to the image",
            3 => "role of the parent instance",
            4 => "the parent instance",
            8 => "who signed the image",
            16 => "who may say what runs",
            17 => "the first bundle",
            _ => "a measurement",
        };
        for (position, value) in values.iter().enumerate() {
            let label = if position == 0 {
                format!("PCR{index}")
            } else {
                "  or".to_owned()
            };
            let _ = writeln!(text, "  {label:<12} {}  ({meaning})", Hex(value));
        }
    }
    let _ = match rule.minimum_generation {
        Some(least) => writeln!(text, "  generation   {least} at least, and never back"),
        None => writeln!(
            text,
            "  generation   any, and never back; none will do until one was seen"
        ),
    };
    for root in &rule.roots {
        let whose = if Root::aws().contains(root) {
            "AWS"
        } else {
            "not AWS: whoever holds its key gets these secrets"
        };
        let _ = writeln!(text, "  root         {}  ({whose})", Hex(&root.fingerprint()));
    }
    if rule.debug == DebugMode::Allow {
        let _ = writeln!(
            text,
            "  WARNING      debug mode is allowed: every host that runs any image in debug mode can read these secrets"
        );
    }
}
