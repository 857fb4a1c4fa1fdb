//! What becomes of good layers, of damaged ones and of random ones.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{self, Read, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use manifest_sync::digest::Digest;
use proptest::prelude::*;
use rootfs::image::ImageConfig;
use rootfs::write::LayoutWriter;
use rootfs::{BlobSource, Error, Limits, Owners, UnpackedImage, unpack_image};
use tar::EntryType;

/// A layout, of which one blob may be damaged at one place.
struct Layout {
    dir: PathBuf,
    damaged: Option<(Digest, usize)>,
    opened: usize,
}

impl BlobSource for Layout {
    fn open(&mut self, digest: &Digest) -> io::Result<(Box<dyn Read>, u64)> {
        self.opened += 1;
        let mut bytes = std::fs::read(self.dir.join("blobs/sha256").join(digest.hex()))?;
        if let Some((_, offset)) = self.damaged.as_ref().filter(|(damaged, _)| damaged == digest) {
            let at = offset % bytes.len();
            bytes[at] ^= 1;
        }
        let size = bytes.len() as u64;
        Ok((Box::new(io::Cursor::new(bytes)), size))
    }
}

struct World {
    top: tempfile::TempDir,
    layout: Layout,
    image: Digest,
    layers: Vec<Digest>,
}

impl World {
    fn new(layers: &[Vec<u8>]) -> Self {
        let top = tempfile::tempdir().unwrap();
        std::fs::write(top.path().join("canary"), "alive").unwrap();
        std::fs::create_dir(top.path().join("store")).unwrap();
        let dir = top.path().join("layout");
        let writer = LayoutWriter::create(&dir).unwrap();
        let written: Vec<_> = layers
            .iter()
            .map(|tar| writer.add_layer_tar(tar.as_slice(), true).unwrap())
            .collect();
        let image = writer.write_image("a", ImageConfig::default(), &written).unwrap();
        let layers = written
            .iter()
            .map(|layer| layer.descriptor.digest.clone())
            .collect();
        Self {
            layout: Layout {
                dir,
                damaged: None,
                opened: 0,
            },
            top,
            image,
            layers,
        }
    }

    fn unpack(&mut self, limits: Limits, owners: Owners) -> Result<UnpackedImage, Error> {
        let store = std::fs::File::open(self.store()).unwrap();
        unpack_image(&mut self.layout, &self.image, store.as_fd(), limits, owners)
    }

    fn store(&self) -> PathBuf {
        self.top.path().join("store")
    }

    fn assert_untouched(&self) {
        assert_eq!(std::fs::read(self.top.path().join("canary")).unwrap(), b"alive");
        let mut names: Vec<_> = std::fs::read_dir(self.top.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["canary", "layout", "store"]);
    }
}

fn entry(builder: &mut tar::Builder<Vec<u8>>, name: &str, kind: EntryType, content: &[u8], mode: u32) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(if content == b"owned" { 1234 } else { 0 });
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(if kind.is_file() { content.len() as u64 } else { 0 });
    if kind.is_symlink() || kind.is_hard_link() {
        builder
            .append_link(
                &mut header,
                name,
                Path::new(std::str::from_utf8(content).unwrap()),
            )
            .unwrap();
    } else {
        builder.append_data(&mut header, name, content).unwrap();
    }
}

fn archive(entries: &[(&str, EntryType, &[u8], u32)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, content, mode) in entries {
        entry(&mut builder, name, *kind, content, *mode);
    }
    builder.into_inner().unwrap()
}

#[test]
fn a_flipped_bit_anywhere_in_a_layer_leaves_nothing() {
    let tar = archive(&[
        ("f", EntryType::Regular, &[7; 5000], 0o644),
        ("g", EntryType::Regular, b"x", 0o644),
    ]);
    for offset in [0, 3, 10, 40, 77, 100_003] {
        let mut world = World::new(std::slice::from_ref(&tar));
        world.layout.damaged = Some((world.layers[0].clone(), offset));
        let error = world
            .unpack(Limits::default(), Owners::Squash)
            .unwrap_err()
            .to_string();
        assert!(error.contains("sha256:"), "{error}");
        assert_eq!(
            std::fs::read_dir(world.store()).unwrap().count(),
            0,
            "offset {offset}: {error}"
        );
    }
}

#[test]
fn a_bomb_is_refused_before_it_has_burst() {
    let zeros = vec![0; 64 << 20];
    let mut world = World::new(&[archive(&[("zeros", EntryType::Regular, &zeros, 0o644)])]);
    world.unpack(Limits::default(), Owners::Squash).unwrap_err();
    assert_eq!(std::fs::read_dir(world.store()).unwrap().count(), 0);
}

#[test]
fn modes_owners_fifos_and_long_names_are_kept() {
    if !is_root() {
        println!("SKIPPED: only root can keep owners");
        return;
    }
    let long = format!("{}/file", "d".repeat(120));
    let mut world = World::new(&[archive(&[
        ("setuid", EntryType::Regular, b"owned", 0o4755),
        ("fifo", EntryType::Fifo, b"", 0o600),
        (&long, EntryType::Regular, b"deep", 0o640),
        ("link", EntryType::Symlink, b"setuid", 0o777),
        ("hard", EntryType::Link, b"setuid", 0o777),
    ])]);
    let image = world.unpack(Limits::default(), Owners::Keep).unwrap();
    let layer = world.store().join(&image.layers[0]);
    let setuid = layer.join("setuid").metadata().unwrap();
    assert_eq!(
        (setuid.permissions().mode() & 0o7777, setuid.uid(), setuid.nlink()),
        (0o4755, 1234, 2)
    );
    assert!(layer.join("fifo").metadata().unwrap().file_type().is_fifo());
    assert_eq!(std::fs::read(layer.join(&long)).unwrap(), b"deep");
    assert_eq!(layer.join("link").read_link().unwrap(), Path::new("setuid"));
}

#[test]
fn whiteouts_and_opaque_directories_hide_what_lies_below() {
    if !is_root() {
        println!("SKIPPED: only root can mount the overlay");
        return;
    }
    let lower = archive(&[
        ("gone", EntryType::Regular, b"x", 0o644),
        ("kept", EntryType::Regular, b"x", 0o644),
        ("dir/", EntryType::Directory, b"", 0o755),
        ("dir/old", EntryType::Regular, b"x", 0o644),
    ]);
    let upper = archive(&[
        (".wh.gone", EntryType::Regular, b"", 0o644),
        ("dir/", EntryType::Directory, b"", 0o755),
        ("dir/.wh..wh..opq", EntryType::Regular, b"", 0o644),
        ("dir/new", EntryType::Regular, b"x", 0o644),
    ]);
    let mut world = World::new(&[lower, upper]);
    let image = world.unpack(Limits::default(), Owners::Keep).unwrap();
    let layers: Vec<String> = image
        .layers
        .iter()
        .rev()
        .map(|name| world.store().join(name).display().to_string())
        .collect();
    let mount = world.top.path().join("store/mnt");
    std::fs::create_dir(&mount).unwrap();
    let script = format!(
        "mount -t overlay overlay -o lowerdir={} {mount} && cd {mount} && find . -mindepth 1 | sort",
        layers.join(":"),
        mount = mount.display()
    );
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "./dir\n./dir/new\n./kept\n"
    );
}

#[test]
fn a_layer_that_is_there_is_not_fetched_again() {
    let mut world = World::new(&[archive(&[("f", EntryType::Regular, b"x", 0o644)])]);
    let first = world.unpack(Limits::default(), Owners::Squash).unwrap();
    let before = std::mem::take(&mut world.layout.opened);
    let second = world.unpack(Limits::default(), Owners::Squash).unwrap();
    assert_eq!(first.layers, second.layers);
    assert_eq!(
        world.layout.opened,
        before - 1,
        "manifest and config again, the layer not"
    );
}

#[test]
fn the_same_tree_gives_the_same_digests() {
    let tree = tempfile::tempdir().unwrap();
    std::fs::create_dir(tree.path().join("d")).unwrap();
    for name in ["d/b", "a", "z"] {
        std::fs::File::create(tree.path().join(name))
            .unwrap()
            .write_all(name.as_bytes())
            .unwrap();
    }
    let write = || {
        let layout = tempfile::tempdir().unwrap();
        let writer = LayoutWriter::create(layout.path()).unwrap();
        let layer = writer.add_layer(tree.path(), true).unwrap();
        writer.write_image("a", ImageConfig::default(), &[layer]).unwrap()
    };
    let first = write();
    // Another time of change is no other content.
    std::fs::File::open(tree.path().join("a"))
        .unwrap()
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    assert_eq!(first, write());
}

fn hostile_entry() -> impl Strategy<Value = (String, u8, String)> {
    let name = prop::collection::vec(
        prop_oneof![
            Just("a"),
            Just("b"),
            Just(".."),
            Just("l"),
            Just(".wh.a"),
            Just(".")
        ],
        1..4,
    )
    .prop_map(|parts| parts.join("/"));
    (
        name.clone(),
        0u8..6,
        prop_oneof![name, Just("../../canary".to_owned()), Just("/".to_owned())],
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn random_layers_never_change_anything_outside(entries in prop::collection::vec(hostile_entry(), 0..12)) {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, target) in &entries {
            let kind = [EntryType::Regular, EntryType::Directory, EntryType::Symlink, EntryType::Link, EntryType::Fifo, EntryType::Char][usize::from(*kind)];
            let mut header = tar::Header::new_gnu();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
            header.set_entry_type(kind);
            header.set_mode(0o777);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(1);
            header.set_size(0);
            header.set_cksum();
            builder.append(&header, io::empty()).unwrap();
        }
        let mut world = World::new(&[builder.into_inner().unwrap()]);
        if world.unpack(Limits::default(), Owners::Squash).is_err() {
            prop_assert_eq!(std::fs::read_dir(world.store()).unwrap().count(), 0);
        }
        world.assert_untouched();
    }
}

/// A file of ours has our owner.
fn is_root() -> bool {
    tempfile::tempdir().unwrap().path().metadata().unwrap().uid() == 0
}

/// An archive of one file with PAX attributes.
fn with_attributes(attributes: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_pax_extensions(attributes.iter().copied()).unwrap();
    entry(&mut builder, "f", EntryType::Regular, b"x", 0o644);
    builder.into_inner().unwrap()
}

#[test]
fn user_attributes_are_kept_and_those_of_the_overlay_are_refused() {
    let mut world = World::new(&[with_attributes(&[("SCHILY.xattr.user.note", b"kept")])]);
    let image = world.unpack(Limits::default(), Owners::Squash).unwrap();
    let file = world.store().join(&image.layers[0]).join("f");
    let mut value = [0; 16];
    let count = rustix::fs::getxattr(&file, "user.note", &mut value).unwrap();
    assert_eq!(&value[..count], b"kept");
    for name in [
        "SCHILY.xattr.trusted.overlay.opaque",
        "SCHILY.xattr.user.overlay.opaque",
    ] {
        let mut world = World::new(&[with_attributes(&[(name, b"y")])]);
        world.unpack(Limits::default(), Owners::Squash).unwrap_err();
        assert_eq!(std::fs::read_dir(world.store()).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn a_long_pax_name_is_the_name_and_a_size_that_disagrees_is_refused() {
    let long = format!("{}/f", "n".repeat(200));
    let mut builder = tar::Builder::new(Vec::new());
    builder
        .append_pax_extensions([("path", long.as_bytes())])
        .unwrap();
    entry(&mut builder, "short", EntryType::Regular, b"x", 0o644);
    let mut world = World::new(&[builder.into_inner().unwrap()]);
    let image = world.unpack(Limits::default(), Owners::Squash).unwrap();
    assert_eq!(
        std::fs::read(world.store().join(&image.layers[0]).join(&long)).unwrap(),
        b"x"
    );
    // CVE-2025-62518: two readers that believe different sizes see different files.
    let mut builder = tar::Builder::new(Vec::new());
    builder
        .append_pax_extensions([("size", b"512".as_slice())])
        .unwrap();
    entry(&mut builder, "f", EntryType::Regular, b"", 0o644);
    entry(&mut builder, "hidden", EntryType::Regular, b"x", 0o644);
    let mut world = World::new(&[builder.into_inner().unwrap()]);
    world.unpack(Limits::default(), Owners::Squash).unwrap_err();
}

#[test]
fn a_sparse_file_has_its_holes() {
    let mut header = tar::Header::new_gnu();
    header.set_path("sparse").unwrap();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(4);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.sparse[0].offset.copy_from_slice(b"00000010000\0");
    gnu.sparse[0].numbytes.copy_from_slice(b"00000000004\0");
    gnu.realsize.copy_from_slice(b"00000010004\0");
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, b"data".as_slice()).unwrap();
    let mut world = World::new(&[builder.into_inner().unwrap()]);
    let image = world.unpack(Limits::default(), Owners::Squash).unwrap();
    let content = std::fs::read(world.store().join(&image.layers[0]).join("sparse")).unwrap();
    assert_eq!(content.len(), 0o10004);
    assert!(content[..0o10000].iter().all(|byte| *byte == 0));
    assert_eq!(&content[0o10000..], b"data");
}

#[test]
fn zstd_and_plain_layers_are_read_too() {
    let tar = archive(&[("f", EntryType::Regular, b"content", 0o644)]);
    let zstd = ruzstd::encoding::compress_to_vec(tar.as_slice(), ruzstd::encoding::CompressionLevel::Fastest);
    let kinds = [
        (zstd, "application/vnd.oci.image.layer.v1.tar+zstd"),
        (tar.clone(), "application/vnd.oci.image.layer.v1.tar"),
    ];
    for (blob, media_type) in kinds {
        let mut world = World::new(&[]);
        let writer = LayoutWriter::create(&world.layout.dir).unwrap();
        let mut layer = writer.add_layer_tar(tar.as_slice(), false).unwrap();
        let digest = Digest::sha256(&blob);
        std::fs::write(world.layout.dir.join("blobs/sha256").join(digest.hex()), &blob).unwrap();
        layer.descriptor.media_type = media_type.to_owned();
        layer.descriptor.digest = digest;
        layer.descriptor.size = blob.len() as u64;
        world.image = writer.write_image("b", ImageConfig::default(), &[layer]).unwrap();
        let image = world.unpack(Limits::default(), Owners::Squash).unwrap();
        assert_eq!(
            std::fs::read(world.store().join(&image.layers[0]).join("f")).unwrap(),
            b"content"
        );
    }
}
