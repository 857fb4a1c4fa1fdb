//! Bad input and a broken world: one clear message, the right exit code and state, nothing left behind.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;

use manifest_sync::status::ContainerState;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tests::{Product, Up, exchange, guest, pod, product, wait_for};

/// Runs a manifest that must be refused before anything starts; returns the message.
fn refused(product: &Product, manifest: &str, code: i32) -> String {
    let mut up = Up::start_text(product, manifest, &[]);
    assert_eq!(up.exit_code(), code, "{}", up.stderr());
    assert!(up.enclave_pid().is_none(), "an enclave was left running");
    up.stderr()
}

#[test]
fn manifests_that_cannot_run_are_refused_with_the_path_of_every_mistake() {
    let Some(product) = product() else { return };
    let broken = refused(&product, "a: [1, 2\nb: }", 65);
    assert!(broken.contains("pod.yaml"), "{broken}");
    let brackets = refused(&product, &"[".repeat(4 << 20), 65);
    assert!(
        brackets.lines().count() < 5 && brackets.len() < 1000,
        "{brackets}"
    );
    let one = pod(json!({"containers": [guest("app", &["sleep"])]})).to_string();
    let two = refused(&product, &format!("{one}\n---\n{one}"), 65);
    assert!(two.contains("Pod"), "{two}");
    let kind = refused(
        &product,
        &format!("{one}\n---\n{{\"apiVersion\": \"apps/v1\", \"kind\": \"Deployment\"}}"),
        65,
    );
    assert!(kind.contains("Deployment"), "{kind}");
    let mut bad = guest("app", &["sleep"]);
    bad["livenessProbe"] = json!({"grpc": {"port": "web", "service": "x"}});
    bad["imagePullPolice"] = json!("Always");
    let fields = refused(
        &product,
        &pod(json!({"containers": [bad], "restartPolicy": "Sometimes"})).to_string(),
        65,
    );
    for path in [
        "spec.containers[0].livenessProbe",
        "spec.containers[0].imagePullPolice",
        "restartPolicy",
    ] {
        assert!(fields.contains(path), "no {path} in: {fields}");
    }
}

#[test]
fn an_image_that_is_not_in_the_layout_is_named() {
    let Some(product) = product() else { return };
    let spec = json!({"containers": [{"name": "app", "image": "absent:1"}]});
    let message = refused(&product, &pod(spec).to_string(), 66);
    assert!(
        message.contains("absent:1") && message.contains("guest"),
        "{message}"
    );
}

#[test]
fn a_port_in_use_is_said_before_anything_starts() {
    let Some(product) = product() else { return };
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let mut container = guest("app", &["sleep"]);
    container["ports"] = json!([{"containerPort": 80, "hostPort": port}]);
    let message = refused(&product, &pod(json!({"containers": [container]})).to_string(), 73);
    assert!(message.contains(&port.to_string()), "{message}");
}

#[test]
fn a_full_disk_is_said_and_leaves_no_enclave_behind() {
    let Some(product) = product() else { return };
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: only root can mount a disk to fill");
        return;
    }
    let scratch = tempfile::Builder::new()
        .prefix("clf")
        .tempdir()
        .expect("a scratch directory");
    let disk = scratch.path().display();
    let pod = pod(json!({"containers": [guest("app", &["sleep"])]}));
    // In a mount namespace of its own: the mount is gone with the shell, unless an enclave keeps it busy.
    let script = format!(
        "mount -t tmpfs -o size=64k none {disk} && cd {disk} && mkdir state && echo '{pod}' > pod.yaml && \
         (dd if=/dev/zero of=fill bs=1k || true) 2>/dev/null; {proxy} up --file pod.yaml --images {images} --init {init} \
         --state-dir state --http-address none; code=$?; cd /; umount {disk} || code=99; exit $code",
        proxy = product.proxy.display(),
        images = product.guests.display(),
        init = product.init.display(),
    );
    let output = std::process::Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .output()
        .expect("unshare runs");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        matches!(output.status.code(), Some(69 | 71)),
        "{:?}: {message}",
        output.status
    );
    assert!(message.contains("No space left on device"), "{message}");
}

#[test]
fn a_second_controller_is_refused_and_the_first_does_not_notice() {
    let Some(product) = product() else { return };
    let up = Up::start(
        &product,
        &[pod(json!({"containers": [guest("app", &["sleep"])]}))],
        &[],
    );
    up.wait_running("app");
    let other = tempfile::Builder::new()
        .prefix("clo")
        .tempdir()
        .expect("a scratch directory");
    let output = std::process::Command::new(&product.proxy)
        .args([
            "serve",
            "--enclave",
            &format!("unix:{}", up.state().join("link").display()),
            "--http-address",
            "none",
        ])
        .arg("--state-dir")
        .arg(other.path().join("state"))
        .output()
        .expect("host-proxy runs");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(76), "{message}");
    assert!(message.contains("controller"), "{message}");
    assert!(up.report().is_some(), "the first controller lost the enclave");
}

#[test]
fn garbage_on_every_socket_changes_nothing() {
    let Some(product) = product() else { return };
    let mut container = guest("app", &["echo", "7"]);
    container["ports"] = json!([{"containerPort": 7}]);
    let up = Up::start(
        &product,
        &[pod(json!({"containers": [container]}))],
        &["--publish", "0:7"],
    );
    up.wait_log("ready");
    let sockets = ["link/7000.sock", "link/7001.sock", "proxy.sock"];
    let garbage: [&[u8]; 5] = [
        b"",
        b"\xff\xff\xff\xff",
        &[0; 4],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x80; 70_000],
    ];
    for socket in sockets {
        for bytes in garbage {
            send(&up.state().join(socket), bytes);
        }
    }
    let header = br#"{"version":1,"stream":{"kind":"control"}}"#;
    let mut control = u32::try_from(header.len()).expect("small").to_be_bytes().to_vec();
    control.extend_from_slice(header);
    control.extend_from_slice(&[0, 0, 0, 2, b'{', b'}']);
    send(&up.state().join("link/7000.sock"), &control);
    assert_eq!(
        exchange(up.port(7), b"still there").expect("an answer"),
        b"still there"
    );
    assert_eq!(up.wait_running("app").restart_count, 0);
}

fn send(socket: &Path, bytes: &[u8]) {
    let mut stream = UnixStream::connect(socket).expect("it listens");
    // It may hang up before it has read all.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn an_enclave_that_is_killed_is_reported_dead() {
    let Some(product) = product() else { return };
    let mut up = Up::start(
        &product,
        &[pod(json!({"containers": [guest("app", &["sleep"])]}))],
        &[],
    );
    up.wait_running("app");
    kill(Pid::from_raw(up.enclave_pid().expect("it runs")), Signal::SIGKILL).expect("alive");
    assert_eq!(up.exit_code(), 70, "{}", up.stderr());
    assert!(up.stderr().contains("signal 9"), "{}", up.stderr());
}

#[test]
fn the_enclave_survives_host_proxy_and_is_picked_up_again() {
    let Some(product) = product() else { return };
    let containers = [guest("app", &["sleep"])];
    let mut up = Up::start(
        &product,
        &[pod(
            json!({"containers": containers, "terminationGracePeriodSeconds": 0}),
        )],
        &[],
    );
    up.wait_running("app");
    let before = (up.enclave_pid(), up.guest_pid("sleep"));
    up.signal(Signal::SIGKILL);
    up.wait();
    assert!(
        tests::stat(before.1).is_some(),
        "the container died with host-proxy"
    );
    up.start_again(&[]);
    let status = up.wait_running("app");
    assert_eq!((up.enclave_pid(), up.guest_pid("sleep")), before);
    assert_eq!(status.restart_count, 0);
    assert!(matches!(status.state, ContainerState::Running { .. }));
    wait_for("the message", || {
        up.stderr().contains("picking it up").then_some(())
    });
    up.signal(Signal::SIGINT);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}

#[test]
fn a_pod_that_ends_while_nobody_looks_keeps_its_exit_code() {
    let Some(product) = product() else { return };
    let mut container = guest("app", &["die-at", "7"]);
    container["ports"] = json!([{"containerPort": 7}]);
    let spec = json!({"restartPolicy": "Never", "containers": [container]});
    let mut up = Up::start(&product, &[pod(spec)], &["--publish", "0:7"]);
    up.wait_log("ready");
    let guest = up.guest_pid("die-at");
    up.signal(Signal::SIGKILL);
    up.wait();
    kill(Pid::from_raw(guest), Signal::SIGKILL).expect("alive");
    wait_for("the container's end", || {
        tests::stat(guest).is_none().then_some(())
    });
    up.start_again(&["--publish", "0:7"]);
    assert_eq!(up.exit_code(), 137, "{}", up.stderr());
}
