//! What the Pod is called, and what it calls others: host name, domain, aliases, resolver (K-485 to K-499).

use crate::decode::Node;
use crate::plan::DnsPlan;
use crate::pod::{label, named};

/// K-485: longest host name.
const MAX_HOST_NAME: usize = 63;
/// K-486: longest name that the kernel keeps (uname(2)).
const MAX_KERNEL_NAME: usize = 64;
/// K-497.
const MAX_SEARCH_LINE: usize = 2048;
const MAX_SEARCHES: usize = 32;
const MAX_NAMESERVERS: usize = 3;

/// Names of the Pod.
#[derive(Debug)]
pub(crate) struct Names {
    /// Short name.
    pub(crate) host: String,
    /// What follows it in /etc/hosts.
    pub(crate) domain: Option<String>,
    /// What the kernel is told, or why it cannot be.
    pub(crate) kernel: Result<String, String>,
}

/// K-485 to K-489.
pub(crate) fn names(spec: &Node<'_>, pod: &str, namespace: &str) -> Option<Names> {
    let as_fqdn = spec.flag_of("setHostnameAsFQDN") == Some(true);
    let own = spec.get("hostname").map(|_| named(spec, "hostname"));
    let subdomain = spec.get("subdomain").map(|_| named(spec, "subdomain"));
    if let Some(text) = spec.text_of("hostnameOverride") {
        if text.len() > MAX_KERNEL_NAME || !is_subdomain(&text) {
            spec.error_at(
                "hostnameOverride",
                "must be a DNS subdomain: lower-case letters, digits, `-` and `.`, at most 64",
            );
        }
        if as_fqdn {
            let message = "may not be specified when `setHostnameAsFQDN` is true";
            spec.error_at("hostnameOverride", message);
        }
        if spec.get("hostNetwork").is_some_and(|node| *node.value == true) {
            spec.error_at(
                "hostnameOverride",
                "may not be specified when `hostNetwork` is true",
            );
        }
        let host = cut(&text);
        return Some(Names {
            kernel: Ok(host.clone()),
            host,
            domain: None,
        });
    }
    let host = match own {
        Some(own) => own?,
        None => cut(pod),
    };
    let domain = match subdomain {
        Some(subdomain) => Some(format!("{}.{namespace}.svc.cluster.local", subdomain?)),
        None => None,
    };
    let kernel = match &domain {
        Some(domain) if as_fqdn => full_name(&host, domain),
        _ => Ok(host.clone()),
    };
    Some(Names { host, domain, kernel })
}

/// Kubernetes' own check of a DNS subdomain: it does not look at the length of labels.
fn is_subdomain(text: &str) -> bool {
    let edge =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    text.split('.').map(str::as_bytes).all(|word| {
        let inner = |byte: &u8| *byte == b'-' || edge(Some(byte));
        edge(word.first()) && edge(word.last()) && word.iter().all(inner)
    })
}

/// K-486, in a kubelet's words.
fn full_name(host: &str, domain: &str) -> Result<String, String> {
    let name = format!("{host}.{domain}");
    if name.len() <= MAX_KERNEL_NAME {
        return Ok(name);
    }
    Err(format!(
        "failed to construct FQDN from pod hostname and cluster domain, FQDN {name} is too long ({MAX_KERNEL_NAME} \
         characters is the max, {} characters requested)",
        name.len()
    ))
}

fn cut(name: &str) -> String {
    let name: String = name.chars().take(MAX_HOST_NAME).collect();
    name.trim_end_matches(['-', '.']).to_owned()
}

/// K-491: address and names.
pub(crate) fn host_aliases(spec: &Node<'_>) -> Vec<(String, Vec<String>)> {
    let nodes = spec.list_of("hostAliases", 256);
    let aliases = nodes.iter().filter_map(|node| {
        node.fields(&["ip", "hostnames"], &[], &[]);
        let ip = node.required("ip")?;
        if ip.parse::<std::net::IpAddr>().is_err() {
            node.error_at("ip", "is not an IP address");
        }
        let names = node
            .get("hostnames")
            .map(|names| names.texts(256))
            .unwrap_or_default();
        if !names.iter().all(|name| name.split('.').all(label)) {
            node.error_at("hostnames", "must be DNS names");
        }
        Some((ip, names))
    });
    aliases.collect()
}

/// K-495 to K-497. There is no DNS server in an enclave and no node whose one could be used: what there is, the Pod names.
pub(crate) fn dns(spec: &Node<'_>) -> DnsPlan {
    let policy = spec.text_of("dnsPolicy");
    let known = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
    if policy.as_deref().is_some_and(|policy| !known.contains(&policy)) {
        spec.error_at(
            "dnsPolicy",
            "must be ClusterFirst, ClusterFirstWithHostNet, Default or None",
        );
    }
    let mut plan = spec
        .get("dnsConfig")
        .map(|config| dns_config(&config))
        .unwrap_or_default();
    if policy.as_deref() == Some("None") && plan.nameservers.is_empty() {
        spec.error_at(
            "dnsConfig.nameservers",
            "must provide at least one DNS nameserver when `dnsPolicy` is None",
        );
    }
    plan.own_only = policy.as_deref() == Some("None");
    if let Some(policy @ ("ClusterFirst" | "ClusterFirstWithHostNet")) = policy.as_deref() {
        // K-498. Who has not asked for the cluster's DNS is not told that there is none.
        plan.missing_cluster_dns = Some(policy.to_owned());
    }
    let most = fitting(&plan.searches);
    if most < plan.searches.len() {
        plan.searches.truncate(most);
        plan.search_line_cut = true;
    }
    plan
}

fn dns_config(config: &Node<'_>) -> DnsPlan {
    config.fields(&["nameservers", "searches", "options"], &[], &[]);
    let texts = |field, most| -> Vec<String> {
        let texts = config.get(field).map(|node| node.texts(most)).unwrap_or_default();
        distinct(texts)
    };
    let nameservers = texts("nameservers", MAX_NAMESERVERS);
    if !nameservers
        .iter()
        .all(|name| name.parse::<std::net::IpAddr>().is_ok())
    {
        config.error_at("nameservers", "must be IP addresses");
    }
    let searches = texts("searches", MAX_SEARCHES);
    // Upstream's relaxed form (RelaxedDNSSearchValidation): a dot alone, a dot at the end, underscores.
    let good = |name: &String| {
        let name = name.strip_suffix('.').unwrap_or(name);
        name.len() <= 253 && (name.is_empty() || name.replace('_', "a").split('.').all(label))
    };
    if searches.iter().any(String::is_empty) || !searches.iter().all(good) {
        config.error_at("searches", "must be DNS names, at most 253 characters each");
    }
    let mut options: Vec<(String, String)> = Vec::new();
    for node in config.list_of("options", 64) {
        node.fields(&["name", "value"], &[], &[]);
        let Some(name) = node.required("name") else {
            continue;
        };
        let text = node
            .text_of("value")
            .filter(|value| !value.is_empty())
            .map_or_else(|| name.clone(), |value| format!("{name}:{value}"));
        if name.is_empty() || text.contains(char::is_whitespace) {
            node.error("must be an option of resolv.conf(5), without white space");
        }
        // K-496: merged by name, the last one counts.
        match options.iter_mut().find(|(have, _)| *have == name) {
            Some((_, have)) => *have = text,
            None => options.push((name, text)),
        }
    }
    DnsPlan {
        nameservers,
        searches,
        options: options.into_iter().map(|(_, text)| text).collect(),
        ..DnsPlan::default()
    }
}

/// K-496.
fn distinct(texts: Vec<String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for text in texts {
        if !all.contains(&text) {
            all.push(text);
        }
    }
    all
}

/// How many fit into the line.
fn fitting(searches: &[String]) -> usize {
    let mut length = 0;
    searches
        .iter()
        .take_while(|search| {
            length += search.len() + usize::from(length > 0);
            length <= MAX_SEARCH_LINE
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_cut_as_a_kubelet_cuts_them() {
        assert_eq!(cut(&"a".repeat(70)), "a".repeat(63));
        assert_eq!(cut(&format!("{}-.b", "a".repeat(61))), "a".repeat(61));
    }

    #[test]
    fn a_full_name_has_64_characters_at_most() {
        let domain = "b.c";
        assert_eq!(
            full_name(&"a".repeat(60), domain),
            Ok(format!("{}.b.c", "a".repeat(60)))
        );
        let error = full_name(&"a".repeat(61), domain).expect_err("too long");
        assert!(
            error.ends_with("(64 characters is the max, 65 characters requested)"),
            "{error}"
        );
    }

    #[test]
    fn the_search_line_is_cut_at_2048_characters() {
        let long = |count: usize| vec!["x".repeat(127); count];
        assert_eq!(fitting(&long(16)), 16);
        assert_eq!(fitting(&long(17)), 16);
        assert_eq!(fitting(&[]), 0);
    }
}
