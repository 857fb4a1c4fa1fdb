//! Layouts written here, unpacked again, and layers that must be refused.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use manifest_sync::digest::Digest;
use rootfs::image::ImageConfig;
use rootfs::write::LayoutWriter;
use rootfs::{BlobSource, Error, Limits, Owners, UnpackedImage, remove_layers, unpack_image};

struct Layout<'a>(&'a Path, Option<u64>);

impl BlobSource for Layout<'_> {
    fn open(&mut self, digest: &Digest) -> io::Result<(Box<dyn Read>, u64)> {
        let mut bytes = std::fs::read(self.0.join("blobs/sha256").join(digest.hex()))?;
        let size = bytes.len() as u64;
        if let Some(at) = self.1 {
            let at = usize::try_from(at).unwrap() % bytes.len();
            bytes[at] ^= 1;
        }
        Ok((Box::new(io::Cursor::new(bytes)), size))
    }
}

type Entry<'a> = (&'a str, tar::EntryType, &'a str);

fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        let data = if kind.is_file() { content.as_bytes() } else { b"" };
        if !kind.is_file() {
            header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }
    builder.into_inner().unwrap()
}

fn unpack(top: &Path, tar: &[u8], flip: Option<u64>) -> Result<UnpackedImage, Error> {
    let writer = LayoutWriter::create(&top.join("layout")).unwrap();
    let layer = writer.add_layer_tar(tar, true).unwrap();
    let image = writer.write_image("a", ImageConfig::default(), &[layer]).unwrap();
    std::fs::create_dir_all(top.join("store")).unwrap();
    let store = std::fs::File::open(top.join("store")).unwrap();
    unpack_image(
        &mut Layout(&top.join("layout"), flip),
        &image,
        store.as_fd(),
        Limits::default(),
        Owners::Squash,
    )
}

use tar::EntryType::{Directory as D, Link as H, Regular as F, Symlink as S};

#[test]
fn escapes_are_refused_and_leave_nothing() {
    let cases: &[&[Entry<'_>]] = &[
        &[("../canary", F, "x")],
        &[("/canary", F, "x")],
        &[("a/../../canary", F, "x")],
        &[("h", H, "../canary")],
        &[("h", H, "missing")],
        &[("l", S, ".."), ("h", H, "l/canary")],
        &[(".wh..wh..opq", F, "")],
        &[("d", D, ""), ("l", S, "d"), ("l/.wh.x", F, "")],
        &[("dev", tar::EntryType::Char, "")],
    ];
    for case in cases {
        let top = tempfile::tempdir().unwrap();
        std::fs::write(top.path().join("canary"), "alive").unwrap();
        assert!(unpack(top.path(), &archive(case), None).is_err(), "{case:?}");
        assert_eq!(
            std::fs::read_dir(top.path().join("store")).unwrap().count(),
            0,
            "{case:?}"
        );
        assert_eq!(std::fs::read(top.path().join("canary")).unwrap(), b"alive");
    }
}

#[test]
fn links_stay_inside_and_the_last_entry_wins() {
    let top = tempfile::tempdir().unwrap();
    std::fs::write(top.path().join("canary"), "alive").unwrap();
    let tar = archive(&[
        ("l", S, "../.."),
        ("l/canary", F, "in"),
        ("d", D, ""),
        ("d/x", F, ""),
        ("d", F, "file"),
    ]);
    let image = unpack(top.path(), &tar, None).unwrap();
    let layer = top.path().join("store").join(&image.layers[0]);
    assert_eq!(std::fs::read(layer.join("canary")).unwrap(), b"in");
    assert_eq!(std::fs::read(layer.join("d")).unwrap(), b"file");
    assert_eq!(std::fs::read(top.path().join("canary")).unwrap(), b"alive");
}

#[test]
fn a_flipped_bit_is_found() {
    for at in [0, 9, 33, 77, 150] {
        let top = tempfile::tempdir().unwrap();
        assert!(unpack(top.path(), &archive(&[("a", F, "content")]), Some(at)).is_err());
        assert_eq!(std::fs::read_dir(top.path().join("store")).unwrap().count(), 0);
    }
}

#[test]
fn a_layer_is_removed_with_all_it_holds_and_nothing_else_is() {
    let scratch = tempfile::tempdir().unwrap();
    let deep = scratch.path().join("gone/a/b/c");
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("file"), "x").unwrap();
    std::fs::create_dir(scratch.path().join("kept")).unwrap();
    std::fs::write(scratch.path().join("kept/file"), "x").unwrap();
    std::os::unix::fs::symlink("../../kept", deep.join("link")).unwrap();
    let store = std::fs::File::open(scratch.path()).unwrap();
    let gone = ["gone".to_owned(), "never-there".to_owned()];
    remove_layers(store.as_fd(), &gone).unwrap();
    let left: Vec<_> = std::fs::read_dir(scratch.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["kept"]);
    assert!(scratch.path().join("kept/file").exists());
}
