//! First bytes of connections: any bytes are the beginning of a ClientHello, or not. More bytes change no verdict, and fewer are
//! never a verdict that more of the same would contradict.
#![no_main]

#[path = "../../src/egress/hello.rs"]
mod hello;

use hello::{Hello, MAX_HELLO, inspect};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = inspect(bytes);
    if let Hello::Named(name) = &whole {
        assert!(!name.is_empty() || bytes.contains(&b'.'));
        assert!(name.is_ascii() && !name.bytes().any(|byte| byte.is_ascii_uppercase()));
    }
    if whole == Hello::Incomplete {
        assert!(bytes.len() <= MAX_HELLO);
    }
    let mut verdict = None;
    let step = (bytes.len() / 32).max(1);
    for cut in (0..=bytes.len()).step_by(step) {
        match (inspect(&bytes[..cut]), &verdict) {
            (Hello::Incomplete, None) => {}
            (Hello::Incomplete, Some(verdict)) => panic!("{verdict:?} was taken back"),
            (found, None) => verdict = Some(found),
            (found, Some(verdict)) => assert_eq!(found, *verdict),
        }
    }
});
