//! Files that are no enclave images: each is refused, and the message names what is wrong.

use crate::sample::{
    COMMAND_LINE, HEADER, KERNEL, METADATA, Parts, RAMDISK, SECTION_HEADER, SIGNATURE, read, seal, signed,
};

const COUNT: usize = 26;
const OFFSETS: usize = 28;
const SIZES: usize = 284;
/// Sections of the sample; the last is the signature.
const NAMES: [&str; 7] = [
    "kernel",
    "cmdline",
    "metadata",
    "ramdisk",
    "ramdisk",
    "ramdisk",
    "signature",
];
const LAST: usize = NAMES.len() - 1;

/// Why an image is refused.
fn refusal(image: &[u8]) -> String {
    read(image).expect_err("it is accepted").to_string()
}

#[track_caller]
fn refused(image: &[u8], expected: &str) {
    let message = refusal(image);
    assert!(
        message.contains(expected),
        "expected {expected:?}, got {message:?}"
    );
    assert!(message.starts_with("malformed EIF: "), "{message}");
}

/// The image with other bytes at one place, and the right checksum.
fn patched(offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut image = signed();
    image[offset..offset + bytes.len()].copy_from_slice(bytes);
    seal(&mut image);
    image
}

/// Offset of the header of a section.
fn place(image: &[u8], index: usize) -> usize {
    let bytes = image[OFFSETS + 8 * index..][..8].try_into().unwrap();
    usize::try_from(u64::from_be_bytes(bytes)).unwrap()
}

#[test]
fn the_pieces_that_these_tests_put_together_are_an_image() {
    let image = signed();
    assert!(Parts::of(&image).image() == image, "they are another image");
    assert!(read(&image).is_ok());
}

#[test]
fn a_file_that_ends_early_is_refused_wherever_it_ends() {
    let image = signed();
    for end in [0, 1, 4, 27, HEADER - 1] {
        refused(
            &image[..end],
            &format!("it has {end} bytes, and its header alone needs 548"),
        );
    }
    for index in 0..NAMES.len() {
        let start = place(&image, index);
        for end in start..start + SECTION_HEADER {
            refused(&image[..end], &format!("section {index}: its header ends at"));
        }
    }
    for (index, name) in NAMES.into_iter().enumerate() {
        let start = place(&image, index) + SECTION_HEADER;
        let behind = if index == LAST {
            image.len()
        } else {
            place(&image, index + 1)
        };
        for end in [start, start + 1, behind - 1] {
            let expected = format!("but the file has {end} bytes");
            refused(&image[..end], &expected);
            refused(&image[..end], &format!("section {index} ({name})"));
        }
    }
    // Whatever the checksum says.
    for end in 0..image.len() {
        let mut cut = image[..end].to_vec();
        seal(&mut cut);
        refusal(&cut);
    }
}

#[test]
fn a_wrong_header_is_refused() {
    for (offset, bytes, expected) in [
        (0, &b".elf"[..], "it does not start with `.eif`"),
        (4, &[0, 3], "header: version 3, but only 4 is known"),
        (4, &[4, 0], "header: version 1024"),
        (6, &[0x80, 0], "header: flags 0x8000"),
        (24, &[0, 1], "header: its reserved bytes are not 0"),
        (543, &[1], "header: its reserved bytes are not 0"),
        (COUNT, &[0, 33], "header: 33 sections, but at most 32 fit"),
        (COUNT, &[255, 255], "header: 65535 sections"),
        (
            COUNT,
            &[0, 8],
            "section 7: it is at 0, but what is before it ends at",
        ),
        (
            COUNT,
            &[0, 0],
            "header: place or size of section 0, but it counts 0",
        ),
        (
            COUNT,
            &[0, 6],
            "header: place or size of section 6, but it counts 6",
        ),
        (
            OFFSETS + 8 * 31,
            &[0, 0, 0, 0, 0, 0, 0, 1],
            "place or size of section 31",
        ),
    ] {
        refused(&patched(offset, bytes), expected);
    }
}

#[test]
fn sections_that_lie_about_their_place_or_size_are_refused() {
    let image = signed();
    let second = place(&image, 1) as u64;
    for (index, offset, expected) in [
        (0, 0, "section 0: it is at 0, but what is before it ends at 548"),
        (0, 549, "section 0: it is at 549"),
        (1, 548, "section 1: it is at 548"),
        (1, second - 1, "section 1: it is at"),
        (1, u64::MAX, "section 1: it is at 18446744073709551615"),
        (LAST, 548, "section 6: it is at 548"),
    ] {
        refused(&patched(OFFSETS + 8 * index, &offset.to_be_bytes()), expected);
    }
    for size in [0, 1, 1 << 40, u64::MAX] {
        // In the file's header only, and in both.
        let mut lie = patched(SIZES, &u64::to_be_bytes(size));
        refused(&lie, "section 0 (kernel): 300 bytes in its own header");
        lie[HEADER + 4..HEADER + 12].copy_from_slice(&size.to_be_bytes());
        seal(&mut lie);
        let expected = if size > 1 {
            "section 0 (kernel): "
        } else {
            "section 1: it is at"
        };
        refused(&lie, expected);
    }
    let mut last = image;
    let size = u64::from_be_bytes(last[SIZES + 8 * LAST..][..8].try_into().unwrap()) + 1;
    let start = place(&last, LAST);
    last[SIZES + 8 * LAST..][..8].copy_from_slice(&size.to_be_bytes());
    last[start + 4..][..8].copy_from_slice(&size.to_be_bytes());
    seal(&mut last);
    refused(&last, "section 6 (signature): ");
}

#[test]
fn a_wrong_section_header_is_refused() {
    for (offset, bytes, expected) in [
        (0, [0, 0], "section 0: unknown type 0"),
        (0, [0, 6], "section 0: unknown type 6"),
        (2, [0, 1], "section 0: its flags are not 0"),
    ] {
        refused(&patched(HEADER + offset, &bytes), expected);
    }
}

#[test]
fn damage_is_refused() {
    let image = signed();
    for offset in [8, HEADER - 1, HEADER + 12, place(&image, 4) + 20] {
        let mut damaged = image.clone();
        damaged[offset] ^= 0x10;
        refused(&damaged, "the checksum is wrong");
    }
    let mut longer = image;
    longer.push(0);
    seal(&mut longer);
    refused(&longer, "1 bytes follow the last section");
}

#[test]
fn missing_and_repeated_sections_are_refused() {
    let parts = Parts::of(&signed());
    for (kind, name) in [
        (KERNEL, "kernel"),
        (COMMAND_LINE, "cmdline"),
        (RAMDISK, "ramdisk"),
    ] {
        refused(
            &parts.clone().without(kind).image(),
            &format!("it has no {name} section"),
        );
    }
    let mut none = parts.clone();
    none.sections.clear();
    refused(&none.image(), "it has no kernel section");
    for (kind, name) in [
        (KERNEL, "kernel"),
        (COMMAND_LINE, "cmdline"),
        (METADATA, "metadata"),
        (SIGNATURE, "signature"),
    ] {
        let mut twice = parts.clone();
        let copy = twice.content(kind).clone();
        twice.sections.push((kind, copy));
        refused(
            &twice.image(),
            &format!("section 7 ({name}): there is one already"),
        );
    }
    let mut many = parts.without(SIGNATURE);
    many.sections.extend(vec![(RAMDISK, vec![0; 4]); 27]);
    refused(&many.image(), "header: 33 sections, but at most 32 fit");
    many.sections.pop();
    assert!(read(&many.image()).is_ok());
}

#[test]
fn content_that_is_not_what_it_says_is_refused() {
    let parts = Parts::of(&signed());
    let with = |kind, content: &[u8]| {
        let mut changed = parts.clone();
        *changed.content(kind) = content.to_vec();
        changed.image()
    };
    for (kind, content, expected) in [
        (COMMAND_LINE, &b"\xff"[..], "(cmdline): it is not UTF-8"),
        (COMMAND_LINE, b"quiet\0init=/evil", "(cmdline): it holds a NUL"),
        (
            COMMAND_LINE,
            &[b'a'; 2048],
            "(cmdline): 2048 bytes, but at most 2047 are read",
        ),
        (METADATA, b"", "(metadata): it is not JSON"),
        (METADATA, b"{\"a\":", "(metadata): it is not JSON"),
        (METADATA, b"{} {}", "(metadata): it is not JSON"),
        (
            METADATA,
            &[b'['; 1000],
            "(metadata): it is not JSON: recursion limit",
        ),
        (METADATA, &vec![b' '; (1 << 20) + 1], "(metadata): 1048577 bytes"),
        (
            SIGNATURE,
            b"",
            "(signature): it is not CBOR: it ends inside an item",
        ),
        (
            SIGNATURE,
            &[0x9b, 255, 255, 255, 255, 255, 255, 255, 255],
            "(signature): it is not CBOR",
        ),
        (
            SIGNATURE,
            &[0x81; 40],
            "(signature): it is not CBOR: it is nested too deeply",
        ),
        (
            SIGNATURE,
            &[0x80],
            "(signature): it is not an array of one signature",
        ),
        (
            SIGNATURE,
            &[0x82, 0xa0, 0xa0],
            "(signature): it is not an array of one signature",
        ),
        (
            SIGNATURE,
            &[0x81, 0xa0],
            "(signature): it has no bytes `signing_certificate`",
        ),
        (
            SIGNATURE,
            &vec![0; 32_769],
            "(signature): 32769 bytes, but at most 32768 are read",
        ),
    ] {
        refused(&with(kind, content), expected);
    }
}
