//! Names of layers: what is accepted stays beneath the root, and reads the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rootfs::layer::{MAX_NAME, Mark, Name, mark};

fuzz_target!(|bytes: &[u8]| {
    let Ok(name) = Name::parse(bytes) else { return };
    for part in name.parts() {
        assert!(!part.is_empty() && part.len() <= MAX_NAME);
        assert!(part != b"." && part != b"..");
        assert!(!part.contains(&b'/') && !part.contains(&0));
    }
    let Some((parents, last)) = name.split() else {
        return;
    };
    assert!(parents.iter().all(|parent| !parent.starts_with(b".wh.")));
    if let Ok(Mark::Whiteout(hidden)) = mark(last) {
        assert!(!hidden.is_empty() && hidden != b"." && hidden != b"..");
    }
    assert_eq!(Name::parse(&name.parts().join(&b'/')), Ok(name));
});
