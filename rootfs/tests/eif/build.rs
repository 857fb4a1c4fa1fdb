//! What a change of the input changes in the image, and what must not show in it.

use std::fs::{self, File};
use std::io::{Cursor, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use manifest_sync::digest::hex;
use ring::digest::{Context, SHA384, digest};
use rootfs::initramfs::Compression;

use crate::sample::{COMMAND_LINE, Inputs, KERNEL, Parts, RAMDISK, read};

/// `SHA384(0^48 || SHA384(data))`
fn extended(data: &[u8]) -> String {
    let mut extended = Context::new(&SHA384);
    extended.update(&[0; 48]);
    extended.update(digest(&SHA384, data).as_ref());
    hex(extended.finish().as_ref())
}

#[test]
fn the_measurements_are_those_of_the_platform() {
    let (image, measured) = Inputs::new().build();
    let mut parts = Parts::of(&image);
    let kinds: Vec<u16> = parts.sections.iter().map(|section| section.0).collect();
    assert_eq!(kinds, [1, 2, 5, 3, 3, 3]);
    let end = parts.sections.pop().unwrap().1;
    let config = [parts.sections.pop().unwrap().1, end].concat();
    let base = parts.content(RAMDISK).clone();
    let bootstrap = [
        parts.content(KERNEL).clone(),
        parts.content(COMMAND_LINE).clone(),
        base,
    ]
    .concat();
    assert_eq!(measured.pcr1, extended(&bootstrap));
    assert_eq!(measured.pcr2, extended(&config));
    assert_eq!(measured.pcr0, extended(&[bootstrap, config].concat()));
    assert_eq!(measured.pcr8, None);
    let seen = read(&image).unwrap();
    assert_eq!(seen.measurements, measured);
    assert_eq!(seen.signature_valid, None);
    assert_eq!(seen.command_line, "console=ttyS0");
    assert_eq!(seen.metadata.unwrap()["BuildMetadata"]["KernelVersion"], "6.12");
}

#[test]
fn the_configuration_changes_pcr0_and_pcr2_and_nothing_of_the_base() {
    let mut inputs = Inputs::new();
    let (first, before) = inputs.build();
    inputs.config.log_ring_bytes += 1;
    let (second, after) = inputs.build();
    assert_ne!(before.pcr0, after.pcr0);
    assert_eq!(before.pcr1, after.pcr1);
    assert_ne!(before.pcr2, after.pcr2);
    let (first, second) = (Parts::of(&first), Parts::of(&second));
    for index in 0..4 {
        assert!(
            first.sections[index] == second.sections[index],
            "section {index} differs"
        );
    }
    assert!(first.sections[4] != second.sections[4]);
}

#[test]
fn init_changes_pcr0_and_pcr1() {
    let mut inputs = Inputs::new();
    let (_, before) = inputs.build();
    fs::write(inputs.path("init"), "another program").unwrap();
    let (_, after) = inputs.build();
    assert_ne!(before.pcr0, after.pcr0);
    assert_ne!(before.pcr1, after.pcr1);
    assert_eq!(before.pcr2, after.pcr2);
}

#[test]
fn images_change_pcr2_and_not_pcr1() {
    let mut inputs = Inputs::new();
    let (_, before) = inputs.build();
    fs::create_dir(inputs.path("layout")).unwrap();
    fs::write(inputs.path("layout/oci-layout"), "{}").unwrap();
    inputs.images = Some(inputs.path("layout"));
    let (image, after) = inputs.build();
    assert_eq!(before.pcr1, after.pcr1);
    assert_ne!(before.pcr2, after.pcr2);
    assert_eq!(read(&image).unwrap().sections.len(), 7);
}

/// Files of an image: name, content, executable.
const FILES: [(&str, &str, bool); 3] = [
    ("b", "two", false),
    ("a", "one", true),
    ("deep/c", "three", false),
];

/// The same files in another place, order, time, and under another umask.
fn populate(inputs: &mut Inputs, order: [usize; 3], age: u64, umask: u32) {
    let layout = inputs.path("layout");
    fs::create_dir_all(layout.join("deep")).unwrap();
    for index in order {
        let (name, content, executable) = FILES[index];
        let path = layout.join(name);
        fs::write(&path, content).unwrap();
        set(&path, if executable { 0o777 } else { 0o666 } & !umask, age);
    }
    for name in ["deep", "."] {
        set(&layout.join(name), 0o777 & !umask, age);
    }
    for name in ["kernel", "init"] {
        set(&inputs.path(name), 0o666 & !umask, age);
    }
    inputs.files = vec![
        (layout.join("a"), "/bin/a".to_owned()),
        (layout.join("b"), "/etc/b".to_owned()),
    ];
    if order[0] != 0 {
        inputs.files.reverse();
    }
    inputs.images = Some(layout);
}

fn set(path: &Path, mode: u32, age: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 - age);
    File::open(path).unwrap().set_modified(time).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn place_order_time_and_umask_do_not_show() {
    for compression in [Compression::None, Compression::Lz4] {
        let (mut one, mut other) = (Inputs::new(), Inputs::new());
        populate(&mut one, [0, 1, 2], 0, 0o022);
        populate(&mut other, [2, 1, 0], 86_400, 0o077);
        one.compression = compression;
        other.compression = compression;
        let ((first, measured), (second, again)) = (one.build(), other.build());
        assert!(first == second, "{compression:?}: the images differ");
        assert_eq!(measured, again);
    }
}

#[test]
fn the_policy_is_measured_as_the_file_that_people_have_read() {
    let mut inputs = Inputs::new();
    let (_, before) = inputs.build();
    // The same meaning, other bytes.
    inputs.policy.push(b'\n');
    let (image, after) = inputs.build();
    assert_ne!(before.pcr0, after.pcr0);
    assert_eq!(before.pcr1, after.pcr1);
    assert_ne!(before.pcr2, after.pcr2);
    let sections = Parts::of(&image).sections;
    let holds = |bytes: &[u8]| {
        bytes
            .windows(inputs.policy.len())
            .any(|window| window == inputs.policy)
    };
    let ramdisks: Vec<bool> = sections
        .iter()
        .filter(|section| section.0 == RAMDISK)
        .map(|section| holds(&section.1))
        .collect();
    assert_eq!(ramdisks, [false, true, false]);
}

#[test]
fn no_image_is_built_with_a_policy_that_has_a_mistake() {
    let inputs = Inputs::new();
    let typo = String::from_utf8(inputs.policy.clone())
        .unwrap()
        .replace("\"updates\"", "\"update\"");
    for (policy, word) in [("", "not valid JSON"), (typo.as_str(), "did you mean `updates`?")] {
        let error = rootfs::enclave_image::EnclaveImage {
            init: &inputs.path("init"),
            modules: &[],
            config: &inputs.config,
            policy: policy.as_bytes(),
            files: &[],
            images: None,
            compression: Compression::None,
        }
        .write_ramdisks(&inputs.path(""))
        .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("the trust policy: ") && text.contains(word),
            "{text}"
        );
    }
}

#[test]
fn a_file_that_would_replace_another_is_refused() {
    let mut inputs = Inputs::new();
    for path in [
        "/etc/cloister/config.json",
        "/etc/cloister/policy.json",
        "/bin/twice",
    ] {
        inputs.files = vec![
            (inputs.path("init"), "/bin/twice".to_owned()),
            (inputs.path("kernel"), path.to_owned()),
        ];
        let error = rootfs::enclave_image::EnclaveImage {
            init: &inputs.path("init"),
            modules: &[],
            config: &inputs.config,
            policy: &inputs.policy,
            files: &inputs.files,
            images: None,
            compression: Compression::None,
        }
        .write_ramdisks(&inputs.path(""))
        .unwrap_err();
        assert!(error.to_string().contains(path), "{error}");
    }
}

/// LZ4's legacy frame, as the kernel reads it: magic, blocks with their size in front, a size of 0.
fn unlz4(bytes: &[u8]) -> Vec<u8> {
    assert_eq!(bytes[..4], 0x184C_2102_u32.to_le_bytes());
    let mut rest = &bytes[4..];
    let mut plain = Vec::new();
    loop {
        let (size, behind) = rest.split_at(4);
        let size = usize::try_from(u32::from_le_bytes(size.try_into().unwrap())).unwrap();
        if size == 0 {
            assert!(behind.iter().all(|byte| *byte == 0));
            return plain;
        }
        let (block, behind) = behind.split_at(size);
        plain.extend(lz4_flex::block::decompress(block, 8 << 20).unwrap());
        rest = behind;
    }
}

#[test]
fn both_compressions_hold_the_same_archive() {
    let mut inputs = Inputs::new();
    // More than a block of LZ4, and not only repetitions.
    let large: Vec<u8> = (0..9_u32 << 20)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 27).to_be_bytes()[3])
        .collect();
    fs::write(inputs.path("large"), &large).unwrap();
    inputs.files = vec![(inputs.path("large"), "/data/large".to_owned())];
    let plain: Vec<_> = inputs
        .ramdisks()
        .iter()
        .map(|path| fs::read(path).unwrap())
        .collect();
    inputs.compression = Compression::Lz4;
    let packed: Vec<_> = inputs
        .ramdisks()
        .iter()
        .map(|path| fs::read(path).unwrap())
        .collect();
    assert!(packed[1].len() < plain[1].len());
    // The end mark is stored as it is.
    for (plain, packed) in plain.iter().zip(&packed).take(2) {
        assert!(*plain == unlz4(packed), "the archives differ");
        assert_eq!(packed.len() % 4, 0);
    }
    let mut archive = Cursor::new(plain[1].clone());
    let mut names = Vec::new();
    loop {
        let mut reader = cpio::newc::Reader::new(archive).unwrap();
        if reader.entry().is_trailer() {
            break;
        }
        names.push(reader.entry().name().to_owned());
        let mut content = Vec::new();
        reader.read_to_end(&mut content).unwrap();
        if names.last().is_some_and(|name| name == "data/large") {
            assert!(content == large, "the content of data/large differs");
        }
        archive = reader.finish().unwrap();
    }
    let expected = [
        "data",
        "data/large",
        "etc",
        "etc/cloister",
        "etc/cloister/config.json",
        "etc/cloister/policy.json",
    ];
    assert_eq!(names, expected);
}
