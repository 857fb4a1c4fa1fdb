//! Images and Pods that cannot run: the right reason, and nothing else is harmed.

use manifest_sync::status::Phase;
use nix::sys::signal::Signal;
use serde_json::json;
use tests::{Product, Up, guest, pod, product};

#[test]
fn a_digest_that_the_host_does_not_have_is_a_pull_error_and_not_the_end() {
    let Some(product) = product() else { return };
    let image = format!("gone@sha256:{}", "0".repeat(64));
    let spec = json!({"containers": [{"name": "app", "image": image}]});
    let mut up = Up::start(&product, &[pod(spec)], &[]);
    let message = up.wait_waiting("app", "ImagePullBackOff");
    assert!(message.contains(&"0".repeat(64)), "{message}");
    assert_eq!(up.phase(), Some(Phase::Pending));
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}

/// A copy of the guests' layout in which `change` has touched the only layer.
fn damaged_layout(product: &Product, change: impl Fn(&mut Vec<u8>)) -> tempfile::TempDir {
    let copy = tempfile::Builder::new()
        .prefix("cli")
        .tempdir()
        .expect("a scratch directory");
    let blobs = copy.path().join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("a directory");
    for name in ["index.json", "oci-layout"] {
        std::fs::copy(product.guests.join(name), copy.path().join(name)).expect("a copy");
    }
    for blob in std::fs::read_dir(product.guests.join("blobs/sha256"))
        .expect("blobs")
        .flatten()
    {
        let mut bytes = std::fs::read(blob.path()).expect("a blob");
        // gzip(1): the layer is the blob that is compressed.
        if bytes.starts_with(&[0x1f, 0x8b]) {
            change(&mut bytes);
        }
        std::fs::write(blobs.join(blob.file_name()), bytes).expect("a copy");
    }
    copy
}

#[test]
fn a_layer_with_one_flipped_bit_is_not_run() {
    let Some(product) = product() else { return };
    let layout = damaged_layout(&product, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    let images = layout.path().to_str().expect("UTF-8");
    let spec = json!({"restartPolicy": "Never", "containers": [guest("app", &["say", "it ran"])]});
    let mut up = Up::start(&product, &[pod(spec)], &["--images", images]);
    let message = up.wait_waiting("app", "ImagePullBackOff");
    assert!(message.contains("sha256:"), "{message}");
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
    assert!(!up.stdout().contains("it ran"));
}

#[test]
fn a_layer_that_climbs_out_is_not_run() {
    let Some(product) = product() else { return };
    let mut header = tar::Header::new_gnu();
    let name = b"../../../../canary";
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_mode(0o755);
    header.set_size(0);
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append(&header, std::io::empty()).expect("memory");
    let layout = tempfile::Builder::new()
        .prefix("cll")
        .tempdir()
        .expect("a scratch directory");
    let writer = rootfs::write::LayoutWriter::create(layout.path()).expect("a layout");
    let archive = archive.into_inner().expect("memory");
    let layer = writer.add_layer_tar(archive.as_slice(), true).expect("a layer");
    let config = rootfs::image::ImageConfig::default();
    writer.write_image("climber", config, &[layer]).expect("an image");
    let spec = json!({"containers": [{"name": "app", "image": "climber", "command": ["/x"]}]});
    let images = layout.path().to_str().expect("UTF-8");
    let mut up = Up::start(&product, &[pod(spec)], &["--images", images]);
    let message = up.wait_waiting("app", "ImagePullBackOff");
    assert!(message.contains("canary"), "the entry is not named: {message}");
    up.signal(Signal::SIGTERM);
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}

#[test]
fn a_missing_key_keeps_the_pod_pending_and_says_which() {
    let Some(product) = product() else { return };
    let mut container = guest("app", &["sleep"]);
    container["env"] = json!([{"name": "K", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]);
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {}});
    let up = Up::start(
        &product,
        &[
            pod(json!({"restartPolicy": "Never", "containers": [container]})),
            config,
        ],
        &[],
    );
    let message = up.wait_waiting("app", "CreateContainerConfigError");
    assert_eq!(message, "couldn't find key k in ConfigMap default/c");
    assert_eq!(up.phase(), Some(Phase::Pending));
}

#[test]
fn a_command_that_does_not_exist_is_a_start_error() {
    let Some(product) = product() else { return };
    let mut container = guest("app", &[]);
    container["command"] = json!(["/no/such/program"]);
    let mut up = Up::start(
        &product,
        &[pod(json!({"restartPolicy": "Never", "containers": [container]}))],
        &[],
    );
    assert_eq!(up.exit_code(), 128, "{}", up.stderr());
    assert!(up.stderr().contains("StartError"), "{}", up.stderr());
}
