//! The HTTP that the enclave reads: whatever arrives in whatever pieces, the result is the same and bounded.
#![no_main]

use attest::http::{HttpError, MAX_HEAD, Response, ResponseReader, parse_get};
use libfuzzer_sys::fuzz_target;

/// Most bytes of a body.
const MOST: usize = 1024;

fuzz_target!(|bytes: &[u8]| {
    let (Some((&piece, rest)), whole) = (bytes.split_first(), bytes) else {
        return;
    };
    if let Ok(Some(head)) = parse_get(whole) {
        assert!(head.length <= MAX_HEAD && head.length <= whole.len());
        assert!(head.path.starts_with('/') && head.path.len() + head.query.len() < head.length);
        // What follows makes no difference, and what is missing is waited for.
        assert_eq!(parse_get(&whole[..head.length]), Ok(Some(head.clone())));
        assert_eq!(parse_get(&whole[..head.length - 1]), Ok(None));
    }
    let once = ResponseReader::new(MOST).read(rest);
    if let Ok(Some(response)) = &once {
        assert!(response.body.len() <= MOST && (200..1000).contains(&response.status));
    }
    let pieces = in_pieces(rest, usize::from(piece % 64) + 1);
    match (&once, &pieces) {
        // An answer with something behind it is one that is complete before.
        (Err(HttpError::Trailing), Ok(Some(_))) | (Err(HttpError::HeadTooLong), Err(_)) => {}
        _ => assert_eq!(once, pieces),
    }
});

fn in_pieces(bytes: &[u8], piece: usize) -> Result<Option<Response>, HttpError> {
    let mut reader = ResponseReader::new(MOST);
    for part in bytes.chunks(piece) {
        if let Some(response) = reader.read(part)? {
            return Ok(Some(response));
        }
    }
    Ok(None)
}
