//! Enclave images: any bytes are an image or a clear refusal.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use rootfs::eif::{EifError, inspect};

const CHECKSUM: usize = 544;
const HEADER: usize = 548;

fuzz_target!(|bytes: &[u8]| {
    let mut image = bytes.to_vec();
    look(&image);
    // A random checksum is never right, and what is behind its check would never be seen.
    if image.len() >= HEADER {
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&image[..CHECKSUM]);
        checksum.update(&image[HEADER..]);
        image[CHECKSUM..HEADER].copy_from_slice(&checksum.finalize().to_be_bytes());
        look(&image);
    }
});

fn look(image: &[u8]) {
    match inspect(Cursor::new(image)) {
        Ok(seen) => {
            let sizes: u64 = seen.sections.iter().map(|section| section.size + 12).sum();
            assert_eq!(
                sizes + HEADER as u64,
                image.len() as u64,
                "bytes that are in no section"
            );
            assert!(serde_json::to_string(&seen).is_ok());
        }
        Err(EifError::Malformed(text)) => assert!(!text.is_empty()),
        Err(other) => panic!("not a refusal: {other}"),
    }
}
