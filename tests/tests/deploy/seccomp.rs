//! The seccomp profile: its form, what it allows and what not.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::files;

/// `linux.seccomp` of the OCI runtime specification, as far as we use it. containerd reads this form, and CRI-O too;
/// Docker's additions (`archMap`, `includes`) containerd would ignore without a word.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Profile {
    default_action: String,
    default_errno_ret: u32,
    architectures: Vec<String>,
    syscalls: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Vec<Argument>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Argument {
    index: u8,
    value: u64,
    value_two: Option<u64>,
    op: String,
}

/// The profile of `deploy/`.
pub(crate) fn profile() -> Profile {
    serde_json::from_str(&files::text("seccomp/host-proxy.json")).expect("a profile of the OCI form")
}

impl Profile {
    fn allowed(&self) -> impl Iterator<Item = (&str, &Rule)> {
        let rules = self
            .syscalls
            .iter()
            .filter(|rule| rule.action == "SCMP_ACT_ALLOW");
        rules.flat_map(|rule| rule.names.iter().map(move |name| (name.as_str(), rule)))
    }

    /// Address families that may be had.
    fn families(&self, call: &str) -> Vec<u64> {
        let rules = self.allowed().filter(|(name, _)| *name == call);
        rules
            .map(|(_, rule)| match rule.args.as_slice() {
                [family] if family.index == 0 && family.op == "SCMP_CMP_EQ" => family.value,
                _ => panic!("{call} without one family"),
            })
            .collect()
    }

    /// The form that seccompiler reads: what is allowed, and what gets an error of its own.
    pub(crate) fn filters(&self) -> Value {
        let rules = |action: &str| -> Vec<Value> {
            let rules = self.syscalls.iter().filter(|rule| rule.action == action);
            rules
                .flat_map(|rule| {
                    let args: Vec<_> = rule.args.iter().map(Argument::condition).collect();
                    rule.names.iter().map(move |name| match args.as_slice() {
                        [] => json!({"syscall": name}),
                        args => json!({"syscall": name, "args": args}),
                    })
                })
                .collect()
        };
        let mut allowed = rules("SCMP_ACT_ALLOW");
        let refused = rules("SCMP_ACT_ERRNO");
        let errno = self.syscalls.iter().find_map(|rule| rule.errno_ret);
        // The kernel takes the strictest answer of all filters, so the first must let through what the second refuses.
        allowed.extend(refused.clone());
        json!({
            "allowed": {"mismatch_action": {"errno": self.default_errno_ret}, "match_action": "allow", "filter": allowed},
            "refused": {"mismatch_action": "allow", "match_action": {"errno": errno}, "filter": refused},
        })
    }
}

impl Argument {
    fn condition(&self) -> Value {
        let (op, value) = match self.op.as_str() {
            "SCMP_CMP_EQ" => (json!("eq"), self.value),
            "SCMP_CMP_MASKED_EQ" => (
                json!({"masked_eq": self.value}),
                self.value_two.expect("what is left"),
            ),
            other => panic!("{other}"),
        };
        json!({"index": self.index, "type": "qword", "op": op, "val": value})
    }
}

#[test]
fn the_profile_denies_by_default_and_allows_vsock() {
    let profile = profile();
    assert_eq!(profile.default_action, "SCMP_ACT_ERRNO");
    assert_eq!(profile.default_errno_ret, 1, "EPERM");
    assert_eq!(profile.architectures, ["SCMP_ARCH_X86_64"]);
    // AF_UNIX, AF_INET, AF_INET6, AF_VSOCK (socket(2), vsock(7)), and nothing else.
    assert_eq!(profile.families("socket"), [1, 2, 10, 40]);
    assert_eq!(profile.families("socketpair"), [1]);

    let names: Vec<_> = profile.allowed().map(|(name, _)| name).collect();
    let dangerous = "bpf chroot clone3 delete_module finit_module fsopen init_module io_uring_setup kexec_load keyctl mknod \
        mount move_mount open_by_handle_at open_tree perf_event_open pidfd_getfd pivot_root process_vm_writev ptrace \
        reboot setns setuid swapon syslog umount2 unshare userfaultfd";
    for name in dangerous.split_whitespace() {
        assert!(!names.contains(&name), "{name} is allowed");
    }
    // The C library falls back to clone(2) when clone3(2) is not there, and only then.
    let rest = profile
        .syscalls
        .iter()
        .filter(|rule| rule.action != "SCMP_ACT_ALLOW");
    let rest: Vec<_> = rest
        .map(|rule| (rule.names.join(" "), rule.action.as_str(), rule.errno_ret))
        .collect();
    assert_eq!(rest, [("clone3".to_owned(), "SCMP_ACT_ERRNO", Some(38))]);
    // clone(2) without any CLONE_NEW flag.
    let (_, clone) = profile
        .allowed()
        .find(|(name, _)| *name == "clone")
        .expect("threads");
    let mask = clone
        .args
        .iter()
        .map(|arg| (arg.index, arg.op.as_str(), arg.value, arg.value_two));
    assert_eq!(
        mask.collect::<Vec<_>>(),
        [(0, "SCMP_CMP_MASKED_EQ", 0x7e02_0000, Some(0))]
    );
}

#[test]
fn the_manifests_use_the_profile_and_it_is_installed_where_they_look() {
    for name in ["deployment.yaml", "sidecar.yaml"] {
        let object = files::document(name);
        let used = &files::pod_spec(&object)["securityContext"]["seccompProfile"];
        assert_eq!(
            used,
            &json!({"type": "Localhost", "localhostProfile": "cloister/host-proxy.json"})
        );
    }
    let installer = files::document("seccomp/install.yaml");
    let directory = installer.pointer("/spec/template/spec/volumes/1/hostPath/path");
    assert_eq!(directory, Some(&json!("/var/lib/kubelet/seccomp/cloister")));
}
