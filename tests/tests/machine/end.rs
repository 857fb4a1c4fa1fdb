//! Every way in which a machine ends, and that nothing of it is left: F7 (PID 1 is lost), F11 (the vsock device is), F14
//! (host-proxy is, and comes back), F32 (the launcher is, or the Pod has ended).

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rootfs::initramfs::Compression;
use serde_json::json;
use tests::{Up, guest, pod, stat, wait_for};

use crate::image::{image_of, ramdisks, scratch};
use crate::{DIED, machine, product_in, says};

/// The QEMU or the vsock device of an enclave, on this machine.
fn part_of(up: &Up, program: &str) -> i32 {
    wait_for(program, || {
        let machine = up.enclave_pid()?;
        let (_, launcher) = stat(machine)?;
        Up::children_of(launcher).into_iter().find(|pid| {
            let executable = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            executable.ends_with(program)
        })
    })
}

fn gone(pid: i32) -> Option<()> {
    (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
}

#[test]
fn a_machine_without_its_vsock_device_is_ended() {
    let product = machine();
    let mut up = Up::start(
        &product,
        &[pod(json!({"containers": [guest("app", &["sleep"])]}))],
        &[],
    );
    up.wait_running("app");
    let machine = up.enclave_pid().expect("it runs");
    let device = part_of(&up, "vhost-device-vsock");
    kill(Pid::from_raw(device), Signal::SIGKILL).expect("our device");
    assert_eq!(up.exit_code(), DIED, "{}", up.stderr());
    assert!(up.stderr().contains("the vsock device ended"), "{}", up.stderr());
    wait_for("the machine's end", || gone(machine));
}

#[test]
fn a_launcher_that_is_killed_leaves_nothing_behind() {
    let product = machine();
    let mut up = Up::start(
        &product,
        &[pod(json!({"containers": [guest("app", &["sleep"])]}))],
        &[],
    );
    up.wait_running("app");
    let machine = up.enclave_pid().expect("it runs");
    let device = part_of(&up, "vhost-device-vsock");
    let (_, launcher) = stat(machine).expect("it runs");
    kill(Pid::from_raw(launcher), Signal::SIGKILL).expect("our launcher");
    wait_for("the machine's end", || gone(machine));
    wait_for("the device's end", || gone(device));
    assert_eq!(up.exit_code(), DIED, "{}", up.stderr());
}

#[test]
fn host_proxy_that_comes_back_finds_its_machine() {
    let product = machine();
    let mut up = Up::start(
        &product,
        &[pod(json!({"containers": [guest("app", &["sleep"])]}))],
        &[],
    );
    up.wait_running("app");
    let machine = up.enclave_pid();
    up.signal(Signal::SIGKILL);
    up.wait();
    up.start_again(&[]);
    up.wait_running("app");
    assert_eq!(up.enclave_pid(), machine, "it is another machine");
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}

/// `exit 0` when QEMU ended because the guest did and nobody killed it.
pub(crate) fn how_it_ended(up: &Up) -> String {
    let how = wait_for("the machine's end", || {
        fs::read_to_string(up.state().join("exit")).ok()
    });
    how.trim().to_owned()
}

#[test]
fn the_machine_ends_by_itself_when_its_pod_has_ended() {
    let product = machine();
    let spec = json!({"restartPolicy": "Never", "containers": [guest("app", &["exit", "3"])]});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    assert_eq!(up.exit_code(), 3, "{}", up.stderr());
    assert_eq!(how_it_ended(&up), "exit 0", "{}", up.console());
    says(&up.console(), "reboot: Restarting system");
}

#[test]
fn a_machine_that_loses_its_pid_1_ends() {
    let scratch = scratch();
    // A program that PID 1 cannot be: it panics for want of arguments.
    let program = scratch.path().join("init");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/guest.rs");
    let compiled = Command::new("rustc")
        .args(["--edition", "2024", "--target", "x86_64-unknown-linux-musl", "-o"])
        .args([program.as_path(), Path::new(source)])
        .status();
    assert!(compiled.expect("rustc runs").success());
    let ramdisks = ramdisks(&program, scratch.path(), None, Compression::None);
    let product = product_in(image_of(scratch.path(), ramdisks));
    let mut up = Up::start(
        &product,
        &[pod(json!({"containers": [guest("app", &["sleep"])]}))],
        &[],
    );
    assert_eq!(up.exit_code(), DIED, "{}", up.stderr());
    assert!(
        up.console().contains("Attempted to kill init"),
        "{}",
        up.console()
    );
    assert_eq!(how_it_ended(&up), "exit 0");
}
