//! Programs at work under the seccomp profile: a shell, host-proxy, host-proxy with nitro-cli.
//!
//! Container runtimes hand the profile to libseccomp; here it becomes the same kind of filter by another library, in a
//! copy of this test binary that puts it on and then turns into the program under test.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use host_proxy::cli::{Verb, help_text};
use host_proxy::exit::Exit;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use seccompiler::{TargetArch, apply_filter, compile_from_json};
use serde_json::json;
use tests::{Up, exchange, guest, pod, product, wait_for};

use crate::launcher::http_status;
use crate::seccomp::profile;

/// Set in the copy that puts the profile on: a JSON array with the program and its arguments.
const UNDER: &str = "CLOISTER_TEST_UNDER_PROFILE";

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

/// A copy of this binary that becomes `line`.
fn under(line: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command
        .args(["--exact", "--nocapture", "confined::under_the_profile"])
        .env(UNDER, json!(line).to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn a_shell_works_under_the_profile_and_namespaces_do_not() {
    let work = "x=$(echo sub); (sleep 0) & wait; ls / >/dev/null; echo $x-shell | cat";
    let output = under(&["/bin/sh", "-euc", work]).output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("sub-shell"),
        "{text} {output:?}"
    );
    // Without the profile this user can: it is the same user as outside.
    let output = under(&["unshare", "--mount", "true"]).output().expect("it ends");
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
    let mut proxy = Proxy(
        under(&[
            &product.proxy.display().to_string(),
            "serve",
            "--enclave",
            &format!("unix:{state}/link"),
            "--state-dir",
            &state,
            "--http-address=127.0.0.1:0",
            "--ingress-address=127.0.0.1",
            "--publish=0:7000",
        ])
        .spawn()
        .expect("a copy of this binary"),
    );
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

#[test]
fn host_proxy_runs_nitro_cli_under_the_profile() {
    let Some(product) = product() else { return };
    if !help_text(Some(Verb::Up)).contains("--eif") {
        println!("SKIPPED: this host-proxy has no nitro back-end yet");
        return;
    }
    // It gets as far as nitro-cli's refusal: no enclave, and no vsock.
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let file = |name: &str, text: &str| {
        let path = scratch.path().join(name);
        std::fs::write(&path, text).expect("a scratch file");
        path.display().to_string()
    };
    let pod = pod(json!({"containers": [guest("app", &["sleep"])]})).to_string();
    let nitro_cli = file(
        "nitro-cli",
        "#!/bin/sh\n[ $1 = run-enclave ] || { echo '[]'; exit; }\necho '[ E22 ]' >&2; exit 22\n",
    );
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&nitro_cli, permissions).expect("our file");
    let output = under(&[
        &product.proxy.display().to_string(),
        "up",
        "--backend=nitro",
        &format!("--eif={}", file("cloister.eif", "not an image, and nobody looks")),
        "--cpus=2",
        "--memory=512",
        &format!("--file={}", file("pod.yaml", &pod)),
        &format!("--images={}", product.guests.display()),
        &format!("--state-dir={}", scratch.path().join("state").display()),
        "--http-address=none",
    ])
    .env("CLOISTER_NITRO_CLI", &nitro_cli)
    .output()
    .expect("a copy of this binary");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        output.status.code(),
        Some(i32::from(Exit::Unavailable.code())),
        "{said}"
    );
    assert!(said.contains("cpu_count"), "{said}");
}
