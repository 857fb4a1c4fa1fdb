//! The seccomp profile: its shape, what it allows and what not, and host-proxy at work under it.
//!
//! Container runtimes hand the profile to libseccomp; here it becomes the same kind of filter by another library, in a
//! copy of this test binary that puts it on and then turns into the program under test.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use seccompiler::{TargetArch, apply_filter, compile_from_json};
use serde::Deserialize;
use serde_json::{Value, json};
use tests::{Up, exchange, guest, pod, product, wait_for};

use crate::files;
use crate::launcher::http_status;

/// Set in the copy that puts the profile on: a JSON array with the program and its arguments.
const UNDER: &str = "CLOISTER_TEST_UNDER_PROFILE";

/// `linux.seccomp` of the OCI runtime specification, as far as we use it. containerd reads this form, and CRI-O too;
/// Docker's additions (`archMap`, `includes`) containerd would ignore without a word.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Profile {
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

fn profile() -> Profile {
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
    fn filters(&self) -> Value {
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

/// Not a test of its own: the copy that puts the profile on and becomes the program.
#[test]
fn under_the_profile() {
    let Ok(line) = std::env::var(UNDER) else { return };
    let line: Vec<String> = serde_json::from_str(&line).expect("a command line");
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).env_remove(UNDER);
    let filters = profile().filters().to_string();
    let filters = compile_from_json(filters.as_bytes(), TargetArch::x86_64)
        .expect("filters; every name is a system call");
    for name in ["refused", "allowed"] {
        apply_filter(&filters[name]).expect("no more privileges are needed than no_new_privs");
    }
    panic!("{}: {}", line[0], command.exec());
}

fn spawn(line: &[&str]) -> Child {
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "--nocapture", "seccomp::under_the_profile"])
        .env(UNDER, json!(line).to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a copy of this binary")
}

#[test]
fn a_shell_works_under_the_profile_and_namespaces_do_not() {
    let work = "x=$(echo sub); (sleep 0) & wait; ls / >/dev/null; echo $x-shell | cat";
    let output = spawn(&["/bin/sh", "-euc", work])
        .wait_with_output()
        .expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("sub-shell"),
        "{text} {output:?}"
    );
    // Without the profile this user can: it is the same user as outside.
    let output = spawn(&["unshare", "--mount", "true"])
        .wait_with_output()
        .expect("it ends");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && text.contains("not permitted"),
        "{text}"
    );
}

/// Does not outlive its test.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn host_proxy_serves_under_the_profile() {
    let Some(product) = product() else { return };
    let mut echo = guest("app", &["echo", "7000"]);
    echo["ports"] = json!([{"containerPort": 7000}]);
    // The guest leaves SIGTERM to its default, which PID 1 of a container ignores: it is killed after the grace period.
    let spec = json!({"containers": [echo], "terminationGracePeriodSeconds": 1});
    let mut up = Up::start(&product, &[pod(spec)], &["--publish", "0:7000"]);
    up.wait_running("app");
    // The enclave goes on without its proxy; another one takes over with the session key of its state directory.
    up.signal(Signal::SIGKILL);
    up.wait();
    let state = up.state().display().to_string();
    let mut proxy = Proxy(spawn(&[
        &product.proxy.display().to_string(),
        "serve",
        "--enclave",
        &format!("unix:{state}/link"),
        "--state-dir",
        &state,
        "--http-address=127.0.0.1:0",
        "--ingress-address=127.0.0.1",
        "--publish=0:7000",
    ]));
    let said = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let (mut stderr, heard) = (proxy.0.stderr.take().expect("a pipe"), said.clone());
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = stderr.read(&mut bytes) {
            heard
                .lock()
                .expect("no panic")
                .push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    });
    let port = |line: &str| -> u16 {
        wait_for(&format!("{line:?} of host-proxy"), || {
            let said = said.lock().expect("no panic");
            let line = said.lines().find(|said| said.starts_with(line))?;
            line.rsplit_once(':')?.1.trim().parse().ok()
        })
    };
    let health = port("health and metrics: ");
    assert_eq!(http_status(health, "/livez"), 200);
    wait_for("readiness", || {
        (http_status(health, "/readyz") == 200).then_some(())
    });
    assert_eq!(http_status(health, "/metrics"), 200);
    let answer = exchange(port("port 7000 of the Pod: "), b"through the profile").expect("an answer");
    assert_eq!(answer, b"through the profile");
    let status = up.client(&["status"]);
    assert!(status.status.success(), "{status:?}");

    kill(Pid::from_raw(proxy.0.id().cast_signed()), Signal::SIGTERM).expect("it runs");
    let status = wait_for("host-proxy to end", || proxy.0.try_wait().expect("our child"));
    assert_eq!(status.code(), Some(0), "{}", said.lock().expect("no panic"));
}
