//! The files that Kubernetes manages in every container: /etc/hosts, /etc/hostname, /etc/resolv.conf.
//! Pure text; the shell writes it.

use std::fmt::Write as _;

use manifest_sync::egress::RESOLVER;
use manifest_sync::plan::{DnsPlan, Plan};

/// /etc/hosts (K-491).
pub(crate) fn hosts(plan: &Plan, pod_ip: &str) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    let _ = match &plan.domain {
        Some(domain) => writeln!(text, "{pod_ip}\t{0}.{domain}\t{0}", plan.hostname),
        None => writeln!(text, "{pod_ip}\t{}", plan.hostname),
    };
    if !plan.host_aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
        for (address, names) in &plan.host_aliases {
            let _ = writeln!(text, "{address}\t{}", names.join("\t"));
        }
    }
    text
}

/// /etc/resolv.conf (K-499): `search`, `nameserver`, `options`. Where names can be reached, the enclave's resolver is what the
/// cluster's is on a node: the first, unless `dnsPolicy` is `None`.
pub(crate) fn resolv_conf(plan: &Plan) -> String {
    resolv_conf_of(&plan.dns, plan.egress.is_some())
}

fn resolv_conf_of(dns: &DnsPlan, has_resolver: bool) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        let _ = writeln!(text, "search {}", dns.searches.join(" "));
    }
    if has_resolver && (!dns.own_only || dns.nameservers.is_empty()) {
        let _ = writeln!(text, "nameserver {RESOLVER}");
    }
    for server in &dns.nameservers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !dns.options.is_empty() {
        let _ = writeln!(text, "options {}", dns.options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_has_the_kubelets_order() {
        let dns = DnsPlan {
            nameservers: vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()],
            searches: vec!["a.example".to_owned(), "b.example".to_owned()],
            options: vec!["ndots:5".to_owned(), "edns0".to_owned()],
            ..DnsPlan::default()
        };
        let expected = "search a.example b.example\n\
                        nameserver 10.0.0.1\n\
                        nameserver 10.0.0.2\n\
                        options ndots:5 edns0\n";
        assert_eq!(resolv_conf_of(&dns, false), expected);
        assert_eq!(resolv_conf_of(&DnsPlan::default(), false), "");
    }

    #[test]
    fn the_enclaves_resolver_is_the_first_unless_the_pod_wants_its_own_only() {
        let with = |own_only| DnsPlan {
            nameservers: vec!["127.0.0.1".to_owned()],
            own_only,
            ..DnsPlan::default()
        };
        let both = "nameserver 127.0.0.53\nnameserver 127.0.0.1\n";
        assert_eq!(resolv_conf_of(&with(false), true), both);
        assert_eq!(resolv_conf_of(&with(true), true), "nameserver 127.0.0.1\n");
        assert_eq!(
            resolv_conf_of(&DnsPlan::default(), true),
            "nameserver 127.0.0.53\n"
        );
    }
}
