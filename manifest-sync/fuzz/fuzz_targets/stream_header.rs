//! Headers of streams and the records of the log stream: any bytes, however they are cut, are one or a refusal with an
//! answer. The first byte says where the cut is.
#![no_main]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use manifest_sync::link::{
    HeaderError, MAX_HEADER_BYTES, StreamHeader, StreamReply, read_header, write_header,
};
use manifest_sync::log_record::{Decoder, Entry};
use manifest_sync::protocol::VERSION;
use tokio::io::AsyncReadExt as _;

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, bytes)) = bytes.split_first() else {
        return;
    };
    let (first, second) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    let header = now(read_header(&mut first.chain(second)));
    let mut rest = bytes;
    assert_eq!(words(&header), words(&now(read_header(&mut rest))));
    match header {
        Ok(header) => {
            assert_eq!(header.version, VERSION);
            assert!(bytes.len() - rest.len() <= MAX_HEADER_BYTES + 4);
            let mut written = Vec::new();
            now(write_header(&mut written, &header)).expect("memory");
            assert_eq!(
                now(read_header(&mut written.as_slice())).expect("our own words"),
                header
            );
        }
        Err(error) => assert_ne!(error.reply(), StreamReply::Accepted),
    }
    assert_eq!(entries(&[bytes]), entries(&[first, second]));
});

/// Nothing here waits: it reads memory.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

fn words(header: &Result<StreamHeader, HeaderError>) -> String {
    match header {
        Ok(header) => format!("{header:?}"),
        Err(error) => error.to_string(),
    }
}

/// Entries up to the first mistake, and whether there was one.
fn entries(pieces: &[&[u8]]) -> (Vec<Entry>, bool) {
    let (mut decoder, mut entries) = (Decoder::new(), Vec::new());
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_entry() {
                Ok(Some(entry)) => {
                    let mut written = Vec::new();
                    entry.encode(&mut written);
                    let mut again = Decoder::new();
                    again.push(&written);
                    assert_eq!(again.next_entry(), Ok(Some(entry.clone())));
                    entries.push(entry);
                }
                Ok(None) => break,
                Err(_) => return (entries, true),
            }
        }
    }
    (entries, false)
}
