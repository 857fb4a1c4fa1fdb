//! A kernel that has the driver of the security module as a module, as AWS's own has it. Runs by
//! `cargo xtask test --vm --modular`, on images of that kernel, together with everything about the security module.

use std::fs;
use std::path::{Path, PathBuf};

use manifest_sync::config::EnclaveConfig;
use manifest_sync::digest::hex;
use manifest_sync::measurement;
use manifest_sync::trust::TrustPolicy;
use nix::sys::signal::Signal;
use rootfs::enclave_image::EnclaveImage;
use rootfs::initramfs::Compression;
use serde_json::json;
use tests::{Up, guest, pod};

use crate::end::how_it_ended;
use crate::image::{image_of, scratch};
use crate::{DIED, machine, measured, product_in, says, variable};

/// What PID 1 says where there is no security module.
const UNVERIFIABLE: &str = "boot: there is no /dev/nsm: nobody can verify this enclave";

/// An image like the product's, with these modules.
fn image_with(modules: &[PathBuf], directory: &Path) -> PathBuf {
    let parts = EnclaveImage {
        init: &machine().init,
        modules,
        config: &EnclaveConfig::machine(),
        policy: TrustPolicy::DEVELOPMENT.as_bytes(),
        files: &[],
        images: None,
        compression: Compression::None,
    };
    image_of(directory, parts.write_ramdisks(directory).expect("ramdisks"))
}

#[test]
fn loads_the_security_module_driver() {
    let spec = json!({"containers": [
        guest("modules", &["cat", "/proc/modules"]),
        guest("closed", &["cat", "/proc/sys/kernel/modules_disabled"]),
    ]});
    let up = Up::start(&measured(), &[pod(spec)], &[]);
    let console = up.wait_console("probe: 32 PCRs are locked");
    says(&console, "boot: the kernel has loaded /lib/modules/nsm.ko");
    assert!(!console.contains("there is no /dev/nsm"), "{console}");
    let authority = measurement::authority(&TrustPolicy::development());
    says(
        &console,
        &format!("probe: PCR16 locked {}", hex(&authority.value())),
    );
    // What the container sees of the kernel: the driver is a module of it, and there will be no other.
    up.wait_log("| nsm ");
    up.wait_log("| 1\n");
}

#[test]
fn without_its_driver_a_machine_runs_and_says_that_nobody_can_verify_it() {
    let scratch = scratch();
    let product = product_in(image_with(&[], scratch.path()));
    let mut up = Up::start(
        &product,
        &[pod(json!({"containers": [guest("app", &["sleep"])]}))],
        &[],
    );
    up.wait_running("app");
    let console = up.console();
    says(&console, UNVERIFIABLE);
    assert!(!console.contains("the kernel has loaded"), "{console}");
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    assert_eq!(how_it_ended(&up), "exit 0");
}

#[test]
fn a_module_of_another_kernel_ends_the_machine_and_says_which() {
    let scratch = scratch();
    let mut bytes = fs::read(variable("CLOISTER_MODULE")).expect("the module");
    let magic = b"vermagic=";
    let at = bytes.windows(magic.len()).position(|window| window == magic);
    // The first digit of the kernel's release.
    bytes[at.expect("a module") + magic.len()] = b'9';
    let module = scratch.path().join("nsm.ko");
    fs::write(&module, bytes).expect("a copy");
    let product = product_in(image_with(&[module], scratch.path()));
    let mut up = Up::start(
        &product,
        &[pod(json!({"containers": [guest("app", &["sleep"])]}))],
        &[],
    );
    assert_eq!(up.exit_code(), DIED, "{}", up.stderr());
    let said = up.stderr();
    assert!(
        said.contains("cannot load kernel modules: /lib/modules/nsm.ko: "),
        "{said}"
    );
    // The kernel's own word.
    assert!(up.console().contains("version magic '9."), "{}", up.console());
    assert_eq!(how_it_ended(&up), "exit 0");
}
