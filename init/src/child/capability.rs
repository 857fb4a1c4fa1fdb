//! Which capabilities a container has (K-416, K-417). Pure.

use std::collections::BTreeSet;

use caps::Capability;

/// K-417: what a container has when it asks for nothing.
const DEFAULT: [Capability; 14] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FSETID,
    Capability::CAP_FOWNER,
    Capability::CAP_MKNOD,
    Capability::CAP_NET_RAW,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETPCAP,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_SYS_CHROOT,
    Capability::CAP_KILL,
    Capability::CAP_AUDIT_WRITE,
];

/// The names, with `CAP_`, in the order of their numbers: the default set; `ALL` added, then `ALL` dropped; then single
/// additions, then single drops.
pub(crate) fn effective(add: &[String], drop: &[String]) -> Result<Vec<String>, String> {
    let all = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case("ALL"));
    let mut set: BTreeSet<u8> = DEFAULT.iter().map(|capability| capability.index()).collect();
    if all(add) {
        set = caps::all().iter().map(Capability::index).collect();
    }
    if all(drop) {
        set.clear();
    }
    for name in single(add) {
        set.insert(parse(name)?.index());
    }
    for name in single(drop) {
        set.remove(&parse(name)?.index());
    }
    let mut list: Vec<Capability> = caps::all()
        .into_iter()
        .filter(|capability| set.contains(&capability.index()))
        .collect();
    list.sort_by_key(Capability::index);
    Ok(list.iter().map(ToString::to_string).collect())
}

fn single(names: &[String]) -> impl Iterator<Item = &String> {
    names.iter().filter(|name| !name.eq_ignore_ascii_case("ALL"))
}

/// One capability by name, with or without `CAP_`.
pub(crate) fn parse(name: &str) -> Result<Capability, String> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") {
        upper
    } else {
        format!("CAP_{upper}")
    };
    full.parse()
        .map_err(|_unknown| format!("unknown capability {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn drops_come_after_additions_and_all_before_single_ones() {
        let check = |add: &[&str], drop: &[&str]| effective(&list(add), &list(drop)).expect("known");
        assert_eq!(check(&[], &[]).len(), DEFAULT.len());
        assert_eq!(check(&["NET_ADMIN"], &["ALL"]), ["CAP_NET_ADMIN"]);
        assert_eq!(check(&["ALL"], &["ALL"]), Vec::<String>::new());
        assert_eq!(check(&["ALL"], &[]).len(), caps::all().len());
        assert!(!check(&["KILL"], &["KILL"]).contains(&"CAP_KILL".to_owned()));
        assert!(check(&["cap_sys_time"], &[]).contains(&"CAP_SYS_TIME".to_owned()));
        assert!(effective(&list(&["FLY"]), &[]).is_err_and(|error| error.contains("FLY")));
    }
}
