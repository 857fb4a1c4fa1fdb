//! The downward API: facts about the Pod that variables and files hold (K-372 to K-377).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::decode::Node;
use crate::env::Runtime;
use crate::plan::{ContainerPlan, Plan};
use crate::quantity::Quantity;
use crate::resources::ResourcesPlan;

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// `fieldRef.fieldPath`, validated.
    Field(String),
    /// `resourceFieldRef`.
    Resource(ResourceField),
}

/// A number of a container's `resources`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceField {
    /// The container; `None`: the one whose variable it is.
    pub container: Option<String>,
    /// Request or limit.
    pub bound: Bound,
    /// Of what.
    pub resource: Resource,
    /// What the amount is divided by, in the unit of the resource (K-375); never 0.
    pub divisor: u64,
}

/// Which of the two amounts of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// `limits`.
    Limit,
    /// `requests`.
    Request,
}

/// A resource and the unit in which it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Thousandths of a CPU.
    Cpu,
    /// Bytes.
    Memory,
    /// Bytes.
    EphemeralStorage,
    /// Bytes; an enclave has none.
    HugePages,
}

/// What there is for containers without a limit of their own (K-376): what the machine has, if the Pod has no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Thousandths of a CPU.
    pub cpu_milli: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes that files of containers may take.
    pub ephemeral_storage: u64,
}

/// Where a fact is wanted: each place has its own set (K-372, K-373).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Environment,
    File,
}

/// Fields of both.
const FIELDS: [&str; 3] = ["metadata.name", "metadata.namespace", "metadata.uid"];
/// Fields of variables.
const ENVIRONMENT: [&str; 6] = [
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields of files: whole maps.
const FILES: [&str; 2] = ["metadata.labels", "metadata.annotations"];

impl Fact {
    /// The fact as text. `own` is the container whose variable it is.
    pub(crate) fn text(
        &self,
        plan: &Plan,
        runtime: &Runtime,
        own: Option<&ContainerPlan>,
    ) -> Result<String, String> {
        match self {
            Self::Field(path) => Ok(field(plan, runtime, path)),
            Self::Resource(wanted) => {
                let container = match &wanted.container {
                    Some(name) => plan.all_containers().find(|container| container.name == *name),
                    None => own,
                };
                let name = wanted.container.as_deref().unwrap_or_default();
                let container = container.ok_or_else(|| format!("container {name} not found"))?;
                let most = most(&plan.resources, &runtime.capacity);
                Ok(wanted.value(&container.resources, &most).to_string())
            }
        }
    }
}

/// What stands for a limit that a container does not have: the Pod's, else the machine's amount (K-376).
fn most(pod: &ResourcesPlan, machine: &Capacity) -> Capacity {
    let known = |limit: Option<u64>| limit.filter(|limit| *limit > 0);
    Capacity {
        cpu_milli: known(pod.cpu_limit).unwrap_or(machine.cpu_milli),
        memory: known(pod.memory_limit).unwrap_or(machine.memory),
        ephemeral_storage: machine.ephemeral_storage,
    }
}

impl ResourceField {
    /// ⌈amount / divisor⌉ (K-375).
    fn value(&self, resources: &ResourcesPlan, capacity: &Capacity) -> u64 {
        let (request, limit, most) = match self.resource {
            Resource::Cpu => (resources.cpu_request, resources.cpu_limit, capacity.cpu_milli),
            Resource::Memory => (resources.memory_request, resources.memory_limit, capacity.memory),
            Resource::EphemeralStorage => (
                resources.storage_request.map(|amount| amount.bytes),
                resources.storage_limit.map(|amount| amount.bytes),
                capacity.ephemeral_storage,
            ),
            Resource::HugePages => (None, None, 0),
        };
        let amount = match self.bound {
            // K-376: a limit of 0 is none.
            Bound::Limit => limit.filter(|limit| *limit > 0).unwrap_or(most),
            Bound::Request => request.unwrap_or(0),
        };
        amount.div_ceil(self.divisor.max(1))
    }
}

fn field(plan: &Plan, runtime: &Runtime, path: &str) -> String {
    match path {
        "metadata.name" => plan.name.clone(),
        "metadata.namespace" => plan.namespace.clone(),
        "metadata.uid" => plan.uid.clone().unwrap_or_else(|| runtime.uid.clone()),
        "metadata.labels" => map(&plan.labels),
        "metadata.annotations" => map(&plan.annotations),
        "spec.nodeName" => plan
            .node_name
            .clone()
            .unwrap_or_else(|| runtime.node_name.clone()),
        "spec.serviceAccountName" => plan.service_account.clone(),
        "status.hostIP" | "status.hostIPs" => runtime.host_ip.clone(),
        "status.podIP" | "status.podIPs" => runtime.pod_ip.clone(),
        // A label that is missing is empty.
        _ => subscript(path)
            .and_then(|(map, key)| match map {
                "labels" => plan.labels.get(key),
                _ => plan.annotations.get(key),
            })
            .cloned()
            .unwrap_or_default(),
    }
}

/// `metadata.labels['k']` → (`labels`, `k`).
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, key) = path
        .strip_prefix("metadata.")?
        .strip_suffix("']")?
        .split_once("['")?;
    (matches!(map, "labels" | "annotations") && !key.is_empty()).then_some((map, key))
}

/// K-373: `key="value"`, sorted by key, a line each, no line feed at the end.
fn map(map: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = map
        .iter()
        .map(|(key, value)| format!("{key}={}", quoted(value)))
        .collect();
    lines.join("\n")
}

/// As Go's `strconv.Quote` writes a text.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            '\0'..' ' | '\x7f' => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            ' '..='~' => out.push(c),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) < 0x1_0000 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}

/// Rust's own table of what is printed as it is; a letter before the character keeps it from being one that extends
/// nothing.
fn is_printable(c: char) -> bool {
    String::from_iter(['a', c]).escape_debug().nth(1) == Some(c)
}

/// Reads `fieldRef`.
pub(crate) fn field_ref(node: &Node<'_>, place: Place) -> Option<Fact> {
    node.fields(&["apiVersion", "fieldPath"], &[], &[]);
    if node
        .text_of("apiVersion")
        .is_some_and(|version| !version.is_empty() && version != "v1")
    {
        node.error_at("apiVersion", "must be v1");
    }
    let path = node.required("fieldPath")?;
    let (own, what): (&[&str], _) = match place {
        Place::Environment => (&ENVIRONMENT, "a variable"),
        Place::File => (&FILES, "a file"),
    };
    if !FIELDS.contains(&path.as_str()) && !own.contains(&path.as_str()) && subscript(&path).is_none() {
        node.error_at(
            "fieldPath",
            format!(
                "`{path}` is not a field that {what} can hold: expected {}, {}, metadata.labels['KEY'] or \
                 metadata.annotations['KEY']",
                FIELDS.join(", "),
                own.join(", ")
            ),
        );
    }
    Some(Fact::Field(path))
}

/// Reads `resourceFieldRef`.
pub(crate) fn resource_field_ref(node: &Node<'_>, place: Place) -> Option<Fact> {
    node.fields(&["containerName", "resource", "divisor"], &[], &[]);
    let container = node.text_of("containerName").filter(|name| !name.is_empty());
    if place == Place::File && container.is_none() {
        node.error_at("containerName", "is required: a volume belongs to no container");
    }
    let name = node.required("resource")?;
    let (bound, what) = name.split_once('.').unwrap_or_default();
    let bound = match bound {
        "limits" => Some(Bound::Limit),
        "requests" => Some(Bound::Request),
        _ => None,
    };
    let resource = match what {
        "cpu" => Some(Resource::Cpu),
        "memory" => Some(Resource::Memory),
        "ephemeral-storage" => Some(Resource::EphemeralStorage),
        _ if what.starts_with("hugepages-") => Some(Resource::HugePages),
        _ => None,
    };
    let (Some(bound), Some(resource)) = (bound, resource) else {
        node.error_at(
            "resource",
            format!("`{name}` is no resource of a container: expected limits or requests, a dot, and cpu, memory, ephemeral-storage or hugepages-SIZE"),
        );
        return None;
    };
    let divisor = node.get("divisor").and_then(|node| divisor(&node, resource));
    let fallback = if resource == Resource::Cpu { 1000 } else { 1 };
    Some(Fact::Resource(ResourceField {
        container,
        bound,
        resource,
        divisor: divisor.unwrap_or(fallback),
    }))
}

/// K-375. 0 counts as absent.
fn divisor(node: &Node<'_>, resource: Resource) -> Option<u64> {
    let quantity = crate::resources::quantity(node)?;
    let of = |text: &str| text.parse::<Quantity>().ok();
    let (allowed, unit): (&[&str], fn(Quantity) -> i64) = match resource {
        Resource::Cpu => (&["1m", "1"], Quantity::milli_value),
        _ => (
            &[
                "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
            ],
            Quantity::value,
        ),
    };
    if Some(quantity) == of("0") {
        return None;
    }
    if !allowed.iter().any(|text| of(text) == Some(quantity)) {
        node.error(format!("must be one of {}", allowed.join(", ")));
    }
    u64::try_from(unit(quantity)).ok().filter(|divisor| *divisor > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_written_as_the_kubelet_writes_them() {
        let of = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            map(&pairs.collect())
        };
        assert_eq!(of(&[]), "");
        assert_eq!(of(&[("b", "2"), ("a", "1")]), "a=\"1\"\nb=\"2\"");
        for (text, want) in [
            ("it's a b", "\"it's a b\""),
            ("two\nlines\t\"\\", r#""two\nlines\t\"\\""#),
            ("\u{7}\u{8}\u{b}\u{c}\r\u{1}\u{7f}", r#""\a\b\v\f\r\x01\x7f""#),
            ("héllo 日本 🦀 e\u{301}", "\"héllo 日本 🦀 e\u{301}\""),
            ("\u{a0}\u{200b}\u{feff}", r#""\u00a0\u200b\ufeff""#),
            ("\u{e0001}", r#""\U000e0001""#),
        ] {
            assert_eq!(quoted(text), want);
        }
    }

    fn amount(resource: Resource, bound: Bound, divisor: u64, resources: &ResourcesPlan) -> u64 {
        let capacity = Capacity {
            cpu_milli: 2000,
            memory: 1 << 30,
            ephemeral_storage: 1 << 29,
        };
        let field = ResourceField {
            container: None,
            bound,
            resource,
            divisor,
        };
        field.value(resources, &capacity)
    }

    #[test]
    fn lc_232_amounts_are_divided_and_rounded_up() {
        let resources = ResourcesPlan {
            cpu_request: Some(250),
            cpu_limit: Some(1250),
            memory_request: Some(32 << 20),
            memory_limit: Some((64 << 20) + 1),
            ..ResourcesPlan::default()
        };
        for (resource, bound, divisor, want) in [
            (Resource::Cpu, Bound::Limit, 1000, 2),
            (Resource::Cpu, Bound::Limit, 1, 1250),
            (Resource::Cpu, Bound::Request, 1000, 1),
            (Resource::Memory, Bound::Limit, 1 << 20, 65),
            (Resource::Memory, Bound::Limit, 1, (64 << 20) + 1),
            (Resource::Memory, Bound::Request, 1 << 20, 32),
        ] {
            assert_eq!(amount(resource, bound, divisor, &resources), want);
        }
    }

    #[test]
    fn lc_200_without_a_limit_the_machine_is_the_limit() {
        let none = ResourcesPlan::default();
        assert_eq!(amount(Resource::Cpu, Bound::Limit, 1000, &none), 2);
        assert_eq!(amount(Resource::Memory, Bound::Limit, 1, &none), 1 << 30);
        assert_eq!(
            amount(Resource::EphemeralStorage, Bound::Limit, 1, &none),
            1 << 29
        );
        assert_eq!(amount(Resource::HugePages, Bound::Limit, 1, &none), 0);
        assert_eq!(amount(Resource::Memory, Bound::Request, 1, &none), 0);
    }
}
