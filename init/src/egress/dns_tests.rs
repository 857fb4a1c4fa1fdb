use super::*;

/// A query as resolvers write it.
fn query(name: &str, kind: u16, class: u16, edns: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(!edns.is_empty())];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).expect("a label"));
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&class.to_be_bytes());
    bytes.extend_from_slice(edns);
    bytes
}

/// OPT: root, type 41, 4096 bytes, version, no flags, an option of two bytes.
fn opt(version: u8) -> Vec<u8> {
    vec![0, 0, 41, 0x10, 0, 0, version, 0, 0, 0, 6, 0, 10, 0, 2, 7, 7]
}

#[test]
fn an_address_is_answered_with_the_question_repeated() {
    let message = query("API.example.com", 1, 1, &[]);
    let query = read(&message).expect("a query");
    assert_eq!(
        (query.name.as_str(), query.record),
        ("api.example.com", RecordType::A)
    );
    let answer = query.answer(&Answer::Address(Ipv4Addr::new(127, 128, 0, 1), 60));
    assert_eq!(&answer[..12], &[0x12, 0x34, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    // Case and all: resolvers compare it.
    assert_eq!(&answer[12..message.len()], &message[12..]);
    assert_eq!(
        &answer[message.len()..],
        &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 128, 0, 1]
    );
}

#[test]
fn edns_is_answered_in_kind_and_a_later_version_with_badvers() {
    let question = read(&query("a.b", 28, 1, &opt(0))).expect("a query");
    assert_eq!(question.record, RecordType::Aaaa);
    let answer = question.answer(&Answer::Nothing);
    assert_eq!(&answer[..12], &[0x12, 0x34, 0x85, 0x80, 0, 1, 0, 0, 0, 0, 0, 1]);
    assert_eq!(
        &answer[answer.len() - 11..],
        &[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]
    );
    let later = read(&query("a.b", 1, 1, &opt(1))).expect("a query");
    let answer = later.answer(&Answer::Address(Ipv4Addr::LOCALHOST, 1));
    assert_eq!((answer[3] & 15, answer[7]), (0, 0), "no record");
    assert_eq!(answer[answer.len() - 6], 1, "the upper half of BADVERS");
}

#[test]
fn every_refusal_has_its_code() {
    let query = read(&query("a.b", 16, 1, &[])).expect("a query");
    for (answer, code) in [
        (Answer::NoSuchName, 3),
        (Answer::Refused, 5),
        (Answer::Failed, 2),
        (Answer::Nothing, 0),
    ] {
        let bytes = query.answer(&answer);
        assert_eq!((bytes[3] & 15, bytes[7]), (code, 0), "{answer:?}");
    }
}

#[test]
fn names_of_addresses_are_asked_for_backwards() {
    let asked = |name: &str| read(&query(name, 12, 1, &[])).expect("a query").reverse();
    assert_eq!(
        asked("1.0.128.127.in-addr.arpa"),
        Some(Ipv4Addr::new(127, 128, 0, 1))
    );
    for bad in [
        "1.0.128.in-addr.arpa",
        "256.0.0.1.in-addr.arpa",
        "9.1.0.128.127.in-addr.arpa",
        "a.b",
    ] {
        assert_eq!(asked(bad), None, "{bad}");
    }
    let pointer = read(&query("1.0.128.127.in-addr.arpa", 12, 1, &[])).expect("a query");
    let answer = pointer.answer(&Answer::Pointer("a.bc".into(), 1));
    assert!(answer.ends_with(&[0, 6, 1, b'a', 2, b'b', b'c', 0]));
}

#[test]
fn strange_bytes_in_names_are_written_as_numbers() {
    let mut message = query("xxxx.com", 1, 1, &[]);
    message[13..17].copy_from_slice(b"a.\x1b\xff");
    assert_eq!(read(&message).expect("a query").name, "a\\046\\027\\255.com");
}

/// The corpus: what is not a query with one question, and what becomes of it.
#[test]
fn garbage_is_answered_with_a_fault_or_with_silence() {
    let good = query("a.example", 1, 1, &opt(0));
    for cut in 0..12 {
        assert_eq!(read(&good[..cut]), Err(Fault::Silence));
    }
    let malformed = |bytes: &[u8], what: &str| match read(bytes) {
        Err(fault @ Fault::Malformed { id, .. }) => {
            assert_eq!(id, 0x1234);
            let answer = fault.answer().expect("an answer");
            assert_eq!(
                (answer.len(), answer[2] & 0x80, answer[3] & 15),
                (12, 0x80, 1),
                "{what}"
            );
        }
        other => panic!("{what}: {other:?}"),
    };
    for cut in 12..good.len() {
        malformed(&good[..cut], "truncated");
    }
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    malformed(&with(5, 0), "no question");
    malformed(&with(5, 2), "two questions, one there");
    malformed(&with(4, 255), "65,281 questions");
    malformed(&with(7, 1), "an answer in a query");
    malformed(&with(9, 1), "an authority in a query");
    malformed(&with(10, 255), "65,281 records");
    malformed(&with(11, 2), "more records than there are");
    malformed(&with(11, 0), "bytes after the end");
    malformed(&with(12, 0xc0), "a pointer");
    malformed(
        &[&good[..12], &[0xc0, 12, 0, 1, 0, 1]].concat(),
        "a pointer at itself",
    );
    malformed(&with(12, 0x40), "a label of a kind that nobody has");
    malformed(&with(12, 63), "a label longer than the message");
    let mut long = good[..12].to_vec();
    long[11] = 0;
    for _ in 0..5 {
        long.push(63);
        long.extend_from_slice(&[b'a'; 63]);
    }
    long.extend_from_slice(&[0, 0, 1, 0, 1]);
    malformed(&long, "a name of 320 bytes");
    let mut large = good.clone();
    large.resize(65_535, 0);
    malformed(&large, "64 KiB");
    malformed(&[&good[..], &opt(0)].concat(), "a second OPT, uncounted");
    let mut twice = [&good[..], &opt(0)].concat();
    twice[11] = 2;
    malformed(&twice, "two OPT");
    assert_eq!(read(&with(2, 0x81)), Err(Fault::Silence), "an answer");
    let notify = read(&with(2, 0x21));
    assert!(
        matches!(notify, Err(Fault::NotImplemented { id: 0x1234, .. })),
        "{notify:?}"
    );
    let chaos = read(&query("version.bind", 16, 3, &[])).expect("a query");
    assert!(!chaos.internet);
    for many in [251, 252, 255] {
        assert_eq!(
            read(&query("a", many, 1, &[])).expect("a query").record,
            RecordType::Many
        );
    }
    assert_eq!(read(&query("", 2, 1, &[])).expect("the root").name, "");
}
