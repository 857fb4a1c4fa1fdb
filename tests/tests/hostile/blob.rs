//! Bytes of images. The host stores them and may send anything; every container but the one whose image was touched runs.

use std::path::{Path, PathBuf};

use manifest_sync::digest::Digest;
use manifest_sync::link::{StreamKind, StreamReply};
use manifest_sync::trust::TrustPolicy;
use rootfs::write::LayoutWriter;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Product, pod};

use crate::controller::{self, Controller, supply};
use crate::enclave::Enclave;
use crate::stage::{bundle, container, refused};
use crate::wire::Wire;

/// What the container of the touched image would run.
const WORD: &str = "ignore-term";
/// More than any socket buffers, bytes.
const PLENTY: usize = 64 << 20;

/// An image with the guest's layer and one of its own: `guests` is its layout too.
struct Target {
    layout: TempDir,
    manifest: Digest,
    own_layer: Digest,
}

fn put(layout: &Path, bytes: &[u8]) -> Digest {
    let digest = Digest::sha256(bytes);
    let path = layout.join("blobs/sha256").join(digest.hex());
    std::fs::write(path, bytes).expect("a blob");
    digest
}

fn document(layout: &Path, digest: &str) -> Value {
    let digest: Digest = digest.parse().expect("a digest");
    let bytes = controller::blob(layout, &digest).expect("a document");
    serde_json::from_slice(&bytes).expect("JSON")
}

impl Target {
    /// With this archive as its second layer.
    fn new(product: &Product, archive: &[u8]) -> Self {
        let layout = tempfile::Builder::new()
            .prefix("clt")
            .tempdir()
            .expect("a directory");
        let writer = LayoutWriter::create(layout.path()).expect("a layout");
        let own = writer.add_layer_tar(archive, true).expect("a layer");
        let guest = crate::stage::guest_image(&product.guests);
        let (_, guest) = guest.split_once('@').expect("name and digest");
        let mut manifest = document(&product.guests, guest);
        let config = manifest["config"]["digest"].as_str().expect("a digest");
        let mut config = document(&product.guests, config);
        let diff_ids = config["rootfs"]["diff_ids"].as_array_mut().expect("a list");
        diff_ids.push(json!(own.diff_id.to_string()));
        let config = config.to_string();
        manifest["config"]["digest"] = json!(put(layout.path(), config.as_bytes()).to_string());
        manifest["config"]["size"] = json!(config.len());
        let layers = manifest["layers"].as_array_mut().expect("a list");
        layers.push(serde_json::to_value(&own.descriptor).expect("JSON"));
        let manifest = put(layout.path(), manifest.to_string().as_bytes());
        Self {
            layout,
            manifest,
            own_layer: own.descriptor.digest,
        }
    }

    /// With a harmless second layer.
    fn harmless(product: &Product) -> Self {
        Self::new(product, &archive(&noise(100_000, 1)))
    }
}

/// Bytes that do not compress.
fn noise(count: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn header() -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    for set in [tar::Header::set_device_major, tar::Header::set_device_minor] {
        set(&mut header, 0).expect("a field of this format");
    }
    header
}

/// An archive with one file.
fn archive(content: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = header();
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, "data", content).expect("memory");
    archive.into_inner().expect("memory")
}

/// A request for a blob that the attack answers.
struct Request<'a> {
    enclave: &'a Enclave,
    key: &'a str,
    number: u64,
    digest: &'a Digest,
    target: &'a Target,
    guests: PathBuf,
}

impl Request<'_> {
    /// What the digest stands for.
    fn honest(&self) -> Vec<u8> {
        controller::blob(self.target.layout.path(), self.digest)
            .or_else(|| controller::blob(&self.guests, self.digest))
            .expect("a blob of the image")
    }

    fn is_manifest(&self) -> bool {
        *self.digest == self.target.manifest
    }

    fn is_layer(&self) -> bool {
        *self.digest == self.target.own_layer
    }

    fn send(&self, size: usize, bytes: &[u8]) -> Wire {
        supply(self.enclave, self.key, self.number, size as u64, bytes)
    }

    fn send_honestly(&self) {
        let bytes = self.honest();
        self.send(bytes.len(), &bytes);
    }
}

/// Runs a Pod of two containers, of which the second has the target's image; the attack answers requests for its blobs.
/// Waits for `done`.
fn play(
    product: &Product,
    target: &Target,
    mut attack: impl FnMut(&Request<'_>) -> Option<Value>,
    what: &str,
    done: impl Fn(&Controller) -> bool,
) -> (Enclave, Controller) {
    let enclave = Enclave::start(product, TrustPolicy::DEVELOPMENT);
    let mut host = Controller::connect(&enclave, None);
    let mut touched = container(product, "target", &[WORD]);
    touched["image"] = json!(format!("target@{}", target.manifest));
    let containers = json!([container(product, "app", &["sleep"]), touched]);
    host.apply(&bundle(&[pod(json!({"containers": containers}))]))
        .expect("a good bundle");
    let mut store = |enclave: &Enclave, key: &str, number: u64, digest: &Digest| {
        let request = Request {
            enclave,
            key,
            number,
            digest,
            target,
            guests: product.guests.clone(),
        };
        if controller::blob(target.layout.path(), digest).is_some() {
            return attack(&request);
        }
        request.send_honestly();
        None
    };
    host.until(&enclave, &mut store, what, done);
    host.ping();
    (enclave, host)
}

/// The image is not run, for a reason that has all these words; the other container runs.
fn image_is_refused(
    target: impl FnOnce(&Product) -> Target,
    attack: impl FnMut(&Request<'_>) -> Option<Value>,
    words: &[&str],
) {
    refused(|product| {
        let target = target(product);
        let pulled = |host: &Controller| {
            host.is_running("app")
                && host
                    .waiting("target")
                    .is_some_and(|(reason, _)| reason == "ErrImagePull" || reason == "ImagePullBackOff")
        };
        let (enclave, host) = play(product, &target, attack, "the image to be refused", pulled);
        let (_, message) = host.waiting("target").expect("it waits");
        for word in words {
            assert!(message.contains(word), "no {word:?} in: {message}");
        }
        assert!(enclave.runs("sleep") && !enclave.runs(WORD));
        assert_nothing_got_out(&enclave);
    });
}

/// What a layer plants outside of itself would be here.
fn assert_nothing_got_out(enclave: &Enclave) {
    let planted = format!("/proc/{}/root/canary", enclave.pid());
    assert!(!Path::new(&planted).exists(), "it got out");
}

/// The attack comes to nothing: the image that the bundle names runs.
fn image_runs_anyway(attack: impl FnMut(&Request<'_>) -> Option<Value>) {
    image_runs(Target::harmless, attack);
}

fn image_runs(target: impl FnOnce(&Product) -> Target, attack: impl FnMut(&Request<'_>) -> Option<Value>) {
    refused(|product| {
        let target = target(product);
        let both = |host: &Controller| host.is_running("app") && host.is_running("target");
        let (enclave, _host) = play(product, &target, attack, "both to run", both);
        assert!(enclave.runs("sleep") && enclave.runs(WORD));
        assert_nothing_got_out(&enclave);
    });
}

#[test]
fn other_bytes_of_the_same_size() {
    let attack = |request: &Request<'_>| {
        let mut bytes = request.honest();
        if request.is_layer() {
            let last = bytes.len() - 1;
            bytes[last / 2] ^= 1;
        }
        request.send(bytes.len(), &bytes);
        None
    };
    image_is_refused(Target::harmless, attack, &["layer sha256:"]);
}

#[test]
fn another_manifest_with_layers_of_its_own() {
    let attack = |request: &Request<'_>| {
        // The guests' image, whole and valid; its layer would even be there already.
        let guest = crate::stage::guest_image(&request.guests);
        let (_, guest) = guest.split_once('@').expect("name and digest");
        let guest: Digest = guest.parse().expect("a digest");
        let bytes = controller::blob(&request.guests, &guest).expect("its manifest");
        assert!(request.is_manifest(), "the manifest was believed");
        request.send(bytes.len(), &bytes);
        None
    };
    image_is_refused(Target::harmless, attack, &["content does not match"]);
}

#[test]
fn the_config_for_the_manifest() {
    let attack = |request: &Request<'_>| {
        assert!(request.is_manifest(), "the manifest was believed");
        let manifest: Value = serde_json::from_slice(&request.honest()).expect("JSON");
        let config = manifest["config"]["digest"].as_str().expect("a digest");
        let config = document(request.target.layout.path(), config).to_string();
        request.send(config.len(), config.as_bytes());
        None
    };
    image_is_refused(Target::harmless, attack, &["content does not match"]);
}

#[test]
fn another_size_than_the_manifest_says() {
    let attack = |request: &Request<'_>| {
        let bytes = request.honest();
        let more = usize::from(request.is_layer());
        request.send(bytes.len() + more, &bytes);
        None
    };
    image_is_refused(Target::harmless, attack, &["size does not match"]);
}

#[test]
fn a_manifest_larger_than_any() {
    let attack = |request: &Request<'_>| {
        request.send(usize::MAX, b"{");
        None
    };
    image_is_refused(Target::harmless, attack, &["larger than 4 MiB"]);
}

#[test]
fn half_a_manifest() {
    let attack = |request: &Request<'_>| {
        let bytes = request.honest();
        request.send(bytes.len(), &bytes[..bytes.len() / 2]);
        None
    };
    image_is_refused(Target::harmless, attack, &["content does not match"]);
}

#[test]
fn half_a_layer() {
    let attack = |request: &Request<'_>| {
        let bytes = request.honest();
        let sent = if request.is_layer() {
            bytes.len() / 2
        } else {
            bytes.len()
        };
        request.send(bytes.len(), &bytes[..sent]);
        None
    };
    image_is_refused(Target::harmless, attack, &["layer sha256:"]);
}

/// Announces the right size and does not stop sending; the other side hangs up.
fn send_without_end(request: &Request<'_>) {
    let bytes = request.honest();
    let mut wire = request.send(bytes.len(), &bytes);
    let block = vec![0; 1 << 20];
    let sent = (0..PLENTY / block.len())
        .take_while(|_| wire.send(&block))
        .count();
    assert!(sent < PLENTY / block.len(), "all of it was read");
}

#[test]
fn a_manifest_without_end() {
    let attack = |request: &Request<'_>| {
        send_without_end(request);
        None
    };
    image_is_refused(Target::harmless, attack, &["more bytes than announced"]);
}

#[test]
fn a_layer_without_end() {
    let attack = |request: &Request<'_>| {
        if request.is_layer() {
            send_without_end(request);
        } else {
            request.send_honestly();
        }
        None
    };
    image_is_refused(Target::harmless, attack, &["more bytes than announced"]);
}

#[test]
fn a_decompression_bomb_for_a_layer() {
    let attack = |request: &Request<'_>| {
        let mut bytes = request.honest();
        if request.is_layer() {
            // 64 MiB of zeros in 64 KiB, and the size that was announced.
            let scratch = tempfile::tempdir().expect("a directory");
            let writer = LayoutWriter::create(scratch.path()).expect("a layout");
            let bomb = writer.add_layer_tar(archive(&vec![0; 64 << 20]).as_slice(), true);
            let bomb = controller::blob(scratch.path(), &bomb.expect("a layer").descriptor.digest);
            let bomb = bomb.expect("its bytes");
            assert!(bomb.len() < bytes.len());
            bytes[..bomb.len()].copy_from_slice(&bomb);
        }
        request.send(bytes.len(), &bytes);
        None
    };
    image_is_refused(
        Target::harmless,
        attack,
        &["compression ratio is higher than allowed"],
    );
}

#[test]
fn a_blob_that_is_said_to_be_unavailable() {
    let attack = |request: &Request<'_>| {
        let message = "\u{1b}[2Jtarget: running\n\u{202e}".repeat(10_000);
        Some(json!({"type": "blobUnavailable", "request": request.number, "message": message}))
    };
    refused(|product| {
        let target = Target::harmless(product);
        let pulled = |host: &Controller| {
            host.is_running("app")
                && host
                    .waiting("target")
                    .is_some_and(|(reason, _)| reason == "ErrImagePull" || reason == "ImagePullBackOff")
        };
        let (enclave, host) = play(product, &target, attack, "the image to be refused", pulled);
        let (_, message) = host.waiting("target").expect("it waits");
        assert!(
            message.contains(&format!("blob {}", target.manifest)),
            "{message}"
        );
        assert!(message.len() <= 1024 && message.is_ascii(), "{message}");
        assert!(
            !message.contains(|letter: char| letter.is_control()),
            "{message:?}"
        );
        assert!(!enclave.runs(WORD));
    });
}

#[test]
fn a_blob_for_requests_that_nobody_made() {
    let attack = |request: &Request<'_>| {
        let (enclave, key) = (request.enclave, request.key);
        for number in [0, request.number + 1, request.number + 1000, u64::MAX] {
            let mut wire = supply(enclave, key, number, 5, b"wrong");
            wire.expect_closed();
        }
        request.send_honestly();
        None
    };
    image_runs_anyway(attack);
}

#[test]
fn a_blob_twice() {
    let attack = |request: &Request<'_>| {
        request.send_honestly();
        // The request is answered: whatever comes for it now is for nobody.
        let mut wire = request.send(5, b"wrong");
        wire.expect_closed();
        None
    };
    image_runs_anyway(attack);
}

#[test]
fn the_stream_of_an_earlier_request_again() {
    let mut before: Option<(u64, Vec<u8>)> = None;
    let attack = move |request: &Request<'_>| {
        if let Some((number, bytes)) = before.replace((request.number, request.honest())) {
            let mut wire = supply(request.enclave, request.key, number, bytes.len() as u64, &bytes);
            wire.expect_closed();
        }
        request.send_honestly();
        None
    };
    image_runs_anyway(attack);
}

#[test]
fn a_blob_without_the_key_before_the_host_answers() {
    let attack = |request: &Request<'_>| {
        let kind = StreamKind::Blob {
            request: request.number,
            size: 5,
        };
        for key in [None, Some("00")] {
            let mut wire = request.enclave.stream(key, kind.clone());
            wire.expect_only(StreamReply::NotYourSession);
        }
        request.send_honestly();
        None
    };
    image_runs_anyway(attack);
}

#[test]
fn a_layer_that_stands_still() {
    let attack = |request: &Request<'_>| {
        let bytes = request.honest();
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        let mut wire = request.send(bytes.len(), head);
        // The enclave does everything else meanwhile.
        let logs = StreamKind::Logs {
            container: None,
            after: 0,
            follow: false,
        };
        request
            .enclave
            .stream(Some(request.key), logs)
            .expect_reply(StreamReply::Accepted);
        let mut ingress = request.enclave.ingress(Some(request.key), 1);
        ingress.expect_only(StreamReply::NoPod);
        wire.send(tail);
        None
    };
    image_runs_anyway(attack);
}

/// An archive whose entries are written as they are: name, kind, link.
fn raw_archive(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, kind, link) in entries {
        let mut header = header();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        if !link.is_empty() {
            header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        }
        header.set_cksum();
        archive.append(&header, std::io::empty()).expect("memory");
    }
    archive.into_inner().expect("memory")
}

/// An image with such a layer, honestly delivered.
fn layer_is_refused(entries: &[(&str, tar::EntryType, &str)], words: &[&str]) {
    let honest = |request: &Request<'_>| {
        request.send_honestly();
        None
    };
    image_is_refused(
        |product| Target::new(product, &raw_archive(entries)),
        honest,
        words,
    );
}

#[test]
fn a_layer_that_climbs_out() {
    layer_is_refused(
        &[("../../../../canary", tar::EntryType::Regular, "")],
        &["entry \"../../../../canary\""],
    );
}

#[test]
fn a_layer_that_writes_through_a_link() {
    // As in any container: the link is followed, and ends at the root of the image.
    let entries = [
        ("out", tar::EntryType::Symlink, "../../../../.."),
        ("out/canary", tar::EntryType::Regular, ""),
        ("top", tar::EntryType::Symlink, "/"),
        ("top/canary", tar::EntryType::Regular, ""),
    ];
    let honest = |request: &Request<'_>| {
        request.send_honestly();
        None
    };
    image_runs(|product| Target::new(product, &raw_archive(&entries)), honest);
}

#[test]
fn a_layer_with_a_hard_link_to_the_outside() {
    layer_is_refused(
        &[("in", tar::EntryType::Link, "../../../../etc/cloister/policy.json")],
        &["entry \"in\""],
    );
}

#[test]
fn a_layer_with_a_device_that_would_be_a_whiteout() {
    layer_is_refused(
        &[("guest", tar::EntryType::Char, "")],
        &["device 0/0 would be a whiteout"],
    );
}
