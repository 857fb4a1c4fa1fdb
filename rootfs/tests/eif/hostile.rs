//! Files that were made to harm the one who looks at them: random damage, and sizes that ask for memory.

use std::io::{self, Read, Seek, SeekFrom};
use std::process::Command;
use std::sync::LazyLock;

use proptest::prelude::*;
use rootfs::eif::inspect;

use crate::sample::{HEADER, METADATA, Parts, SIGNATURE, read, seal, signed};

/// Memory of the process that reads hostile files, KiB: program, stacks and C library take most of it.
const ADDRESS_SPACE: u64 = 96 << 10;
/// Bytes of the ramdisk that it reads: more than it has memory for.
const RAMDISK: u64 = 128 << 20;
const LIMITED: &str = "CLOISTER_TEST_LIMITED";

static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(signed);

/// One change of a file. Places are taken modulo its length.
#[derive(Debug, Clone)]
enum Change {
    Byte(usize, u8),
    /// In the headers, where it matters most.
    Word(usize, u64),
    Cut(usize),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Copy(usize, usize, usize),
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        let length = image.len();
        if length == 0 {
            return;
        }
        match self {
            Self::Byte(at, byte) => image[at % length] = *byte,
            Self::Word(at, word) => {
                let at = at % HEADER;
                for (place, byte) in image.iter_mut().skip(at).zip(word.to_be_bytes()) {
                    *place = byte;
                }
            }
            Self::Cut(at) => image.truncate(at % length),
            Self::Insert(at, bytes) => {
                let at = at % length;
                image.splice(at..at, bytes.iter().copied());
            }
            Self::Remove(at, count) => {
                let at = at % length;
                image.drain(at..(at + count).min(length));
            }
            Self::Copy(from, to, count) => {
                let (from, to) = (from % length, to % length);
                let count = (*count).min(length - from).min(length - to);
                image.copy_within(from..from + count, to);
            }
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let word = prop_oneof![
        Just(0),
        Just(u64::MAX),
        Just(1 << 63),
        Just(1 << 40),
        0_u64..4096,
        any::<u64>()
    ];
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        (any::<usize>(), word).prop_map(|(at, word)| Change::Word(at, word)),
        any::<usize>().prop_map(Change::Cut),
        (any::<usize>(), prop::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<usize>(), 1_usize..200).prop_map(|(at, count)| Change::Remove(at, count)),
        (any::<usize>(), any::<usize>(), 1_usize..200)
            .prop_map(|(from, to, count)| Change::Copy(from, to, count)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn no_change_makes_the_inspector_panic(
        changes in prop::collection::vec(change(), 1..8),
        sealed in any::<bool>(),
    ) {
        let mut image = IMAGE.clone();
        for change in &changes {
            change.apply(&mut image);
        }
        if sealed {
            seal(&mut image);
        }
        match read(&image) {
            Ok(_) if !sealed => prop_assert!(image == *IMAGE, "damage that is not seen"),
            Ok(seen) => {
                let sizes: u64 = seen.sections.iter().map(|section| section.size + 12).sum();
                prop_assert_eq!(sizes + HEADER as u64, image.len() as u64);
            }
            Err(error) => prop_assert!(error.to_string().starts_with("malformed EIF: "), "{}", error),
        }
    }

    #[test]
    fn no_bytes_make_the_inspector_panic(bytes in prop::collection::vec(any::<u8>(), 0..1200)) {
        let mut image = bytes;
        seal(&mut image);
        prop_assert!(read(&image).is_err());
    }
}

/// A file of some bytes and very many zeros.
struct Sparse {
    head: Vec<u8>,
    length: u64,
    position: u64,
}

impl Read for Sparse {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length - self.position).unwrap_or(usize::MAX);
        let count = buffer.len().min(left);
        buffer[..count].fill(0);
        let start = usize::try_from(self.position).unwrap_or(usize::MAX);
        for (place, byte) in buffer[..count].iter_mut().zip(self.head.iter().skip(start)) {
            *place = *byte;
        }
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = match to {
            SeekFrom::Start(position) => position,
            SeekFrom::End(0) => self.length,
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(self.position)
    }
}

/// An image whose last section, a ramdisk, is said to have, and has, this size.
fn sparse(size: u64) -> Sparse {
    let mut head = Parts::of(&IMAGE).without(SIGNATURE).image();
    let at = head.len() as u64;
    head[27] = 7;
    head[28 + 8 * 6..][..8].copy_from_slice(&at.to_be_bytes());
    head[284 + 8 * 6..][..8].copy_from_slice(&size.to_be_bytes());
    head.extend([0, 3, 0, 0]);
    head.extend(size.to_be_bytes());
    let length = (head.len() as u64).saturating_add(size);
    Sparse {
        head,
        length,
        position: 0,
    }
}

/// Runs itself again with little memory: an allocation that fails ends the process.
#[test]
fn little_memory_is_enough_for_any_file() {
    if std::env::var_os(LIMITED).is_some() {
        return in_little_memory();
    }
    let output = Command::new("sh")
        .args(["-c", &format!("ulimit -v {ADDRESS_SPACE} && exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "hostile::little_memory_is_enough_for_any_file",
            "--nocapture",
        ])
        .args(["--test-threads", "1"])
        .env(LIMITED, "1")
        // Each arena of the C library reserves as much as all that we allow.
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
    assert!(String::from_utf8_lossy(&text).contains("1 passed"));
}

fn in_little_memory() {
    // The limit is one.
    assert!(
        Vec::<u8>::new()
            .try_reserve_exact(usize::try_from(RAMDISK).unwrap())
            .is_err()
    );
    let error = inspect(sparse(RAMDISK)).unwrap_err().to_string();
    assert!(error.contains("the checksum is wrong"), "{error}");

    // The densest metadata that is read, and one byte more.
    let mut parts = Parts::of(&IMAGE);
    let many = format!("[{}0]", "[],".repeat(((1 << 20) - 3) / 3));
    assert!(many.len() <= 1 << 20);
    *parts.content(METADATA) = many.into_bytes();
    assert!(read(&parts.image()).is_ok());
    *parts.content(METADATA) = vec![b'['; 16 << 20];
    assert!(read(&parts.image()).is_err());

    // Arrays and maps of CBOR that say that they are huge, and the densest one.
    let mut parts = Parts::of(&IMAGE);
    let mut dense = vec![0x99, 0x7f, 0xf0];
    dense.resize(32 << 10, 0x80);
    for section in [
        [&[0x81, 0x9b][..], &u64::MAX.to_be_bytes()].concat(),
        [&[0x81, 0xbb][..], &u64::MAX.to_be_bytes()].concat(),
        dense,
    ] {
        *parts.content(SIGNATURE) = section;
        assert!(read(&parts.image()).is_err());
    }
}
