//! DNS messages of containers: any bytes are a query with one question, or a fault. Answers fit into a datagram, repeat the
//! question, and are never taken for queries.
#![no_main]

#[path = "../../src/egress/dns.rs"]
mod dns;

use std::net::{Ipv4Addr, Ipv6Addr};

use dns::{Answer, Fault, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    let query = match read(message) {
        Ok(query) => query,
        Err(fault) => {
            match fault.answer() {
                Some(answer) => assert_eq!((answer.len(), &answer[..2]), (12, &message[..2])),
                None => assert_eq!(fault, Fault::Silence),
            }
            return;
        }
    };
    // Four characters for each byte of the longest name, and dots.
    assert!(query.name.len() <= 4 * 255 && query.name.is_ascii());
    assert!(
        !query
            .name
            .bytes()
            .any(|byte| byte.is_ascii_control() || byte.is_ascii_uppercase())
    );
    let answers = [
        Answer::Address(Ipv4Addr::LOCALHOST, 60),
        Answer::Address6(Ipv6Addr::LOCALHOST, 60),
        Answer::Pointer("a.example".to_owned(), 60),
        Answer::Nothing,
        Answer::NoSuchName,
        Answer::Refused,
        Answer::Failed,
    ];
    for answer in answers {
        let bytes = query.answer(&answer);
        assert!(bytes.len() <= 512, "{}", bytes.len());
        assert_eq!((&bytes[..2], bytes[2] & 0x80), (&message[..2], 0x80));
        assert_eq!(read(&bytes), Err(Fault::Silence));
    }
    let _ = query.reverse();
});
