//! `securityContext.sysctls` (K-422): kernel settings of the Pod's namespaces. Those that a kubelet allows by default are
//! taken, the others are refused as at a node's door.

use crate::decode::Node;

/// What Kubernetes calls safe. Each belongs to the network or IPC namespace, which are the Pod's.
const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];
/// Longest name.
const MAX_NAME: usize = 253;

/// Names, with dots, and values.
pub(crate) fn read(context: &Node<'_>) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for node in context.list_of("sysctls", 64) {
        node.fields(&["name", "value"], &[], &[]);
        let (Some(name), Some(value)) = (node.required("name"), node.required("value")) else {
            continue;
        };
        if name.len() > MAX_NAME || !is_name(&name) {
            node.error_at(
                "name",
                "must be lower-case words of letters, digits, `-` and `_`, separated by `.` or `/`, at most 253 characters",
            );
            continue;
        }
        let dotted = dotted(&name);
        if !SAFE.contains(&dotted.as_str()) {
            node.error_at(
                "name",
                format!("SysctlForbidden: forbidden sysctl: \"{dotted}\" not allowlisted"),
            );
        } else if all.iter().any(|(have, _)| *have == dotted) {
            node.error_at("name", format!("Duplicate value: \"{name}\""));
        } else {
            all.push((dotted, value));
        }
    }
    all
}

/// The validation of Kubernetes (`SysctlContainSlashFmt`): words that begin and end with a letter or digit.
fn is_name(name: &str) -> bool {
    name.split(['.', '/']).all(|word| {
        let inner =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        let edge =
            |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let bytes = word.as_bytes();
        edge(bytes.first()) && edge(bytes.last()) && bytes.iter().copied().all(inner)
    })
}

/// As sysctl(8) reads it: the first separator says which one it is; the other is a part of a word then.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(first) if name[first..].starts_with('/') => {
            let swap = |character| match character {
                '.' => '/',
                '/' => '.',
                other => other,
            };
            name.chars().map(swap).collect()
        }
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_separators_are_understood() {
        for (name, expected) in [
            ("kernel.shm_rmid_forced", "kernel.shm_rmid_forced"),
            ("kernel/shm_rmid_forced", "kernel.shm_rmid_forced"),
            // Upstream's own table (ConvertSysctlVariableToDotsSeparator).
            (
                "net.ipv4.conf.eno2/100.rp_filter",
                "net.ipv4.conf.eno2/100.rp_filter",
            ),
            (
                "net/ipv4/conf/eno2.100/rp_filter",
                "net.ipv4.conf.eno2/100.rp_filter",
            ),
        ] {
            assert_eq!(dotted(name), expected);
        }
    }

    #[test]
    fn names_are_words() {
        for good in ["a", "a.b", "a/b", "a_b.c-d", "net.ipv4.tcp_rmem"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "A.b", "a b", "a-.b", "foo-", "_x"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
