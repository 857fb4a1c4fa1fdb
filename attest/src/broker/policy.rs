//! The policy file: which enclaves get which secrets.
//!
//! ```json
//! {"apiVersion": "cloister.dev/v1", "kind": "BrokerPolicy",
//!  "rules": [
//!   {"application": "web", "secrets": ["tls.key", "password"],
//!    "pcrs": {"0": "96 hexadecimal digits", "16": ["96 digits", "or these 96"]},
//!    "minimumGeneration": 7}]}
//! ```
//!
//! A rule names an image (`0`) or its signer (`8`), and who may say what runs in it (`16`): without both, a genuine enclave of
//! anybody would do. What is left out is the strict choice: AWS's root, no debug mode.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::json::{Mistake, Node, parse};
use crate::document::{DebugMode, Identity, PCRS, Policy, Root};
use crate::hex::from_hex;
use crate::nsm::PcrValue;
use crate::release::{Application, SecretName};

/// Most bytes of a policy file.
pub const MAX_POLICY: usize = 1 << 20;
/// Most rules, and most secrets of one.
const MAX_RULES: usize = 1024;
/// Most values of a PCR: two releases run side by side, not a hundred.
const MAX_VALUES: usize = 16;
/// Most roots of a rule.
const MAX_ROOTS: usize = 8;
/// The root that a rule gets by default, in a list with others.
const AWS: &str = "aws";
const IMAGE: u8 = 0;
const SIGNER: u8 = 8;
const AUTHORITY: u8 = 16;
const ZERO: PcrValue = [0; 48];

/// Everything that is wrong with a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidPolicy(pub Vec<Mistake>);

impl fmt::Display for InvalidPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidPolicy {}

/// Which enclaves get which secrets.
#[derive(Debug, Clone)]
pub struct BrokerPolicy {
    rules: BTreeMap<Application, Rule>,
}

/// What one application has to show, and what it gets.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The names that it may ask for.
    pub secrets: BTreeSet<SecretName>,
    /// The values that each PCR may have.
    pub pcrs: BTreeMap<u8, Vec<PcrValue>>,
    /// Lowest generation of the bundle. `None`: a bundle without a generation will do, until one with a generation was seen.
    pub minimum_generation: Option<u64>,
    /// Whether enclaves in debug mode get secrets.
    pub debug: DebugMode,
    /// Who may have made the security module.
    pub roots: Vec<Root>,
}

impl Rule {
    /// The same, for documents.
    pub fn documents(&self) -> Policy {
        let values = || {
            let pairs = self.pcrs.iter();
            pairs.flat_map(|(index, values)| values.iter().map(move |value| (*index, *value)))
        };
        let identity = values().find_map(|(index, value)| match index {
            IMAGE => Some(Identity::Image(value)),
            SIGNER => Some(Identity::Signer(value)),
            _ => None,
        });
        // Reading has seen to it that there is one; no document has PCR0 zero out of debug mode.
        let policy = Policy::new(identity.unwrap_or(Identity::Image(ZERO)));
        values()
            .fold(policy, |policy, (index, value)| policy.pcr(index, value))
            .debug_mode(self.debug)
            .roots(self.roots.clone())
    }
}

impl BrokerPolicy {
    /// Reads a policy file. Rules without roots of their own trust `roots`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, each with its place.
    pub fn parse(bytes: &[u8], roots: &[Root]) -> Result<Self, InvalidPolicy> {
        if bytes.len() > MAX_POLICY {
            return Err(InvalidPolicy(vec![Mistake {
                path: String::new(),
                what: format!("has more than {MAX_POLICY} bytes"),
            }]));
        }
        let tree = parse(bytes).map_err(|mistake| InvalidPolicy(vec![mistake]))?;
        let mistakes = RefCell::default();
        let rules = read(&Node::root(&tree, &mistakes), roots);
        let mistakes = mistakes.into_inner();
        match mistakes.is_empty() {
            true => Ok(Self { rules }),
            false => Err(InvalidPolicy(mistakes)),
        }
    }

    /// The rule of an application.
    pub fn rule(&self, application: &Application) -> Option<&Rule> {
        self.rules.get(application)
    }

    /// All rules, by the application's name.
    pub fn rules(&self) -> impl Iterator<Item = (&Application, &Rule)> {
        self.rules.iter()
    }
}

fn read(root: &Node<'_>, roots: &[Root]) -> BTreeMap<Application, Rule> {
    root.only(&["apiVersion", "kind", "rules"]);
    for (name, expected) in [("apiVersion", "cloister.dev/v1"), ("kind", "BrokerPolicy")] {
        let field = root.required(name);
        if let Some(field) = field.filter(|field| field.text().is_some_and(|text| text != expected)) {
            field.mistake(format!("expected `{expected}`"));
        }
    }
    let list = root.required("rules").map(|rules| rules.list(MAX_RULES));
    let mut rules = BTreeMap::new();
    for node in list.unwrap_or_default() {
        let Some((application, rule)) = read_rule(&node, roots) else {
            continue;
        };
        if rules.contains_key(&application) {
            let name = application.as_str();
            node.mistake(format!("there is a rule for `{name}` already: make one of both"));
        }
        rules.insert(application, rule);
    }
    rules
}

fn read_rule(node: &Node<'_>, roots: &[Root]) -> Option<(Application, Rule)> {
    node.only(&[
        "application",
        "secrets",
        "pcrs",
        "minimumGeneration",
        "allowDebug",
        "roots",
    ]);
    let application = node.required("application");
    let application = application.and_then(|node| name(&node, Application::try_from));
    let secrets = node.required("secrets").map(|node| read_secrets(&node));
    let pcrs = node.required("pcrs").map(|node| read_pcrs(&node));
    let generation = node.field("minimumGeneration").map(|node| node.positive());
    let debug = node.field("allowDebug").map(|node| node.flag());
    let own = node.field("roots").map(|node| read_roots(&node));
    let rule = Rule {
        secrets: secrets?,
        pcrs: pcrs?,
        minimum_generation: generation.flatten(),
        debug: match debug.flatten() {
            Some(true) => DebugMode::Allow,
            _ => DebugMode::Refuse,
        },
        roots: own.unwrap_or_else(|| roots.to_vec()),
    };
    Some((application?, rule))
}

fn name<T, E: fmt::Display>(node: &Node<'_>, check: impl Fn(String) -> Result<T, E>) -> Option<T> {
    let checked = check(node.text()?.to_owned());
    checked.map_err(|error| node.mistake(error.to_string())).ok()
}

fn read_secrets(node: &Node<'_>) -> BTreeSet<SecretName> {
    let mut secrets = BTreeSet::new();
    for entry in node.list(MAX_RULES) {
        if name(&entry, SecretName::try_from).is_some_and(|name| !secrets.insert(name)) {
            entry.mistake("is there twice");
        }
    }
    secrets
}

fn read_pcrs(node: &Node<'_>) -> BTreeMap<u8, Vec<PcrValue>> {
    let mut pcrs = BTreeMap::new();
    let entries = node.entries();
    for (number, entry) in &entries {
        let index: Option<u8> = number.parse().ok();
        let index = index.filter(|index| usize::from(*index) < PCRS && index.to_string() == *number);
        let Some(index) = index else {
            entry.mistake(format!("not a PCR: expected \"0\" to \"{}\"", PCRS - 1));
            continue;
        };
        let values = match entry.is_list() {
            true => entry.list(MAX_VALUES),
            false => vec![entry.clone()],
        };
        let values = values.iter().filter_map(|value| read_pcr(value, index));
        pcrs.insert(index, values.collect());
    }
    let names = |index: u8| entries.iter().any(|(number, _)| *number == index.to_string());
    if !names(IMAGE) && !names(SIGNER) {
        node.mistake(
            "which image? Give \"0\" (one image, from `cargo xtask eif --measurements`), or \"8\" (all images that one \
             certificate signed)",
        );
    }
    if !names(AUTHORITY) {
        node.mistake(
            "who may say what runs in it? Give \"16\" (`host-proxy inspect --policy FILE` prints it)",
        );
    }
    pcrs
}

fn read_pcr(node: &Node<'_>, index: u8) -> Option<PcrValue> {
    let value = from_hex(node.text()?).and_then(|bytes| PcrValue::try_from(bytes).ok());
    if value.is_none() {
        node.mistake("expected 96 hexadecimal digits (SHA-384)");
    }
    if value == Some(ZERO) && matches!(index, IMAGE | SIGNER | AUTHORITY) {
        node.mistake(
            "is zero: that is debug mode, an image that nobody signed, or an enclave without a policy",
        );
    }
    value
}

fn read_roots(node: &Node<'_>) -> Vec<Root> {
    let mut roots = Vec::new();
    for entry in node.list(MAX_ROOTS) {
        let Some(text) = entry.text() else { continue };
        match Root::from_pem(text.as_bytes()) {
            _ if text == AWS => roots.extend(Root::aws()),
            Ok(some) => roots.extend(some),
            Err(error) => entry.mistake(format!("neither \"{AWS}\" nor a root in PEM: {error}")),
        }
    }
    roots
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
