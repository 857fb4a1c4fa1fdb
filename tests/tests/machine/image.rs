//! Enclave images that are not the usual one, among them one that the machine has no room for (F33).

use std::fs;
use std::path::{Path, PathBuf};

use manifest_sync::config::EnclaveConfig;
use manifest_sync::trust::TrustPolicy;
use rootfs::eif::{EifBuilder, Metadata};
use rootfs::enclave_image::EnclaveImage;
use rootfs::initramfs::{Compression, Initramfs};
use serde_json::json;
use tempfile::TempDir;
use tests::{Product, Up, guest, pod};

use crate::end::how_it_ended;
use crate::{DIED, REJECTED, machine, product_in, variable};

const COMMAND_LINE: &str = "console=ttyS0 reboot=k panic=-1 quiet no_timer_check";

/// Writes an enclave image of these ramdisks.
pub(crate) fn image_of(directory: &Path, ramdisks: Vec<PathBuf>) -> PathBuf {
    image_with(directory, ramdisks, "")
}

/// The same, with more words for the kernel.
pub(crate) fn image_with(directory: &Path, ramdisks: Vec<PathBuf>, words: &str) -> PathBuf {
    let eif = directory.join("test.eif");
    let builder = EifBuilder {
        kernel: variable("CLOISTER_KERNEL"),
        command_line: format!("{COMMAND_LINE} {words}").trim_end().to_owned(),
        ramdisks,
        metadata: Metadata {
            name: "test".to_owned(),
            version: "0".to_owned(),
            build_time: "1970-01-01T00:00:00Z".to_owned(),
            kernel_version: "test".to_owned(),
        },
        signer: None,
    };
    builder.write(&eif).expect("an image");
    eif
}

pub(crate) fn ramdisks(
    init: &Path,
    directory: &Path,
    images: Option<&Path>,
    compression: Compression,
) -> Vec<PathBuf> {
    let config = EnclaveConfig::machine();
    ramdisks_with(
        &config,
        TrustPolicy::DEVELOPMENT,
        init,
        directory,
        images,
        compression,
    )
}

/// The product in an image with this configuration, which is in `directory`.
pub(crate) fn configured(config: &EnclaveConfig, directory: &Path) -> Product {
    let init = machine().init;
    let parts = ramdisks_with(
        config,
        TrustPolicy::DEVELOPMENT,
        &init,
        directory,
        None,
        Compression::None,
    );
    product_in(image_of(directory, parts))
}

fn ramdisks_with(
    config: &EnclaveConfig,
    policy: &str,
    init: &Path,
    directory: &Path,
    images: Option<&Path>,
    compression: Compression,
) -> Vec<PathBuf> {
    let parts = EnclaveImage {
        init,
        modules: &[],
        config,
        policy: policy.as_bytes(),
        files: &[],
        images,
        compression,
    };
    parts.write_ramdisks(directory).expect("ramdisks")
}

pub(crate) fn scratch() -> TempDir {
    tempfile::Builder::new()
        .prefix("clm")
        .tempdir()
        .expect("a scratch directory")
}

#[test]
fn a_configuration_that_cannot_be_read_ends_the_machine_and_says_why() {
    let scratch = scratch();
    let ramdisks = ramdisks(&machine().init, scratch.path(), None, Compression::None);
    let broken = b"{\"listen\": \"vsock:7\", \"logRingbytes\": 1}".to_vec();
    Initramfs::new()
        .bytes("etc/cloister/config.json", 0o444, broken)
        .write(&ramdisks[1], Compression::None)
        .expect("a ramdisk");
    let product = product_in(image_of(scratch.path(), ramdisks));
    let mut up = Up::start(
        &product,
        &[pod(json!({"containers": [guest("app", &["sleep"])]}))],
        &[],
    );
    assert_eq!(up.exit_code(), DIED, "{}", up.stderr());
    let said = up.stderr();
    assert!(said.contains("/etc/cloister/config.json is invalid"), "{said}");
    assert!(said.contains("logRingbytes"), "{said}");
    assert_eq!(how_it_ended(&up), "exit 0");
}

#[test]
fn a_bundle_that_the_policy_does_not_name_is_refused() {
    let scratch = scratch();
    let policy = json!({
        "apiVersion": "cloister.dev/v1", "kind": "TrustPolicy",
        "pinned": [format!("sha384:{}", "0".repeat(96))],
    });
    let init = machine().init;
    let ramdisks = ramdisks_with(
        &EnclaveConfig::machine(),
        &policy.to_string(),
        &init,
        scratch.path(),
        None,
        Compression::None,
    );
    let product = product_in(image_of(scratch.path(), ramdisks));
    let mut up = Up::start(
        &product,
        &[pod(json!({"containers": [guest("app", &["sleep"])]}))],
        &[],
    );
    assert_eq!(up.exit_code(), REJECTED, "{}", up.stderr());
    assert!(up.stderr().contains("pinned"), "{}", up.stderr());
    assert!(!up.console().contains("accepted"), "{}", up.console());
}

#[test]
fn a_machine_without_a_policy_ends_and_says_why() {
    let scratch = scratch();
    let ramdisks = ramdisks(&machine().init, scratch.path(), None, Compression::None);
    let config = serde_json::to_vec(&EnclaveConfig::machine()).expect("JSON");
    Initramfs::new()
        .bytes("etc/cloister/config.json", 0o444, config)
        .write(&ramdisks[1], Compression::None)
        .expect("a ramdisk");
    let product = product_in(image_of(scratch.path(), ramdisks));
    let mut up = Up::start(
        &product,
        &[pod(json!({"containers": [guest("app", &["sleep"])]}))],
        &[],
    );
    assert_eq!(up.exit_code(), DIED, "{}", up.stderr());
    assert!(up.stderr().contains("policy.json"), "{}", up.stderr());
    assert_eq!(how_it_ended(&up), "exit 0");
}

/// Without the product's `rootfstype=ramfs`, with which the kernel panics by itself.
#[test]
fn a_machine_that_cannot_hold_its_whole_image_does_not_run_a_part_of_it() {
    let scratch = scratch();
    let mut ramdisks = ramdisks(&machine().init, scratch.path(), None, Compression::None);
    let large = scratch.path().join("large.cpio");
    Initramfs::new()
        .bytes("usr/lib/large", 0o444, vec![1; 80 << 20])
        .write(&large, Compression::None)
        .expect("a ramdisk");
    ramdisks.insert(2, large);
    let product = product_in(image_of(scratch.path(), ramdisks));
    let spec = json!({"containers": [guest("app", &["sleep"])]});
    let mut up = Up::start(&product, &[pod(spec.clone())], &["--memory", "136"]);
    assert_eq!(up.exit_code(), DIED, "{}", up.stderr());
    assert!(up.stderr().contains("too little memory"), "{}", up.stderr());
    drop(up);
    Up::start(&product, &[pod(spec)], &[]).wait_running("app");
}

#[test]
fn preloaded_images_run_without_their_layers_on_the_host_and_from_compressed_ramdisks() {
    let scratch = scratch();
    let built = machine();
    let ramdisks = ramdisks(&built.init, scratch.path(), Some(&built.guests), Compression::Lz4);
    assert_eq!(ramdisks.len(), 4);
    let product = product_in(image_of(scratch.path(), ramdisks));
    let layout = scratch.path().join("layout");
    fs::create_dir_all(layout.join("blobs/sha256")).expect("a directory");
    for name in ["index.json", "oci-layout"] {
        fs::copy(built.guests.join(name), layout.join(name)).expect("a copy");
    }
    let blobs = fs::read_dir(built.guests.join("blobs/sha256")).expect("blobs");
    for blob in blobs.flatten() {
        let bytes = fs::read(blob.path()).expect("a blob");
        // gzip(1): the layer stays away.
        if !bytes.starts_with(&[0x1f, 0x8b]) {
            fs::write(layout.join("blobs/sha256").join(blob.file_name()), bytes).expect("a copy");
        }
    }
    let images = layout.to_str().expect("UTF-8");
    let spec = json!({"restartPolicy": "Never", "containers": [guest("app", &["say", "from the image"])]});
    let mut up = Up::start(&product, &[pod(spec)], &["--images", images]);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    assert!(up.stdout().contains("from the image"), "{}", up.stdout());
}
