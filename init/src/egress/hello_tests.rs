use super::*;

fn long(size: usize, body: &[u8]) -> Vec<u8> {
    let length = body.len().to_be_bytes();
    [&length[length.len() - size..], body].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &long(2, data)].concat()
}

fn named(name: &[u8]) -> Vec<u8> {
    extension(0, &long(2, &[&[0][..], &long(2, name)].concat()))
}

/// The body of a ClientHello with these extensions.
fn body(extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.extend(long(1, &[1; 32]));
    body.extend(long(2, &[0x13, 1, 0x13, 2]));
    body.extend(long(1, &[0]));
    body.extend(long(2, extensions));
    body
}

fn message(body: &[u8]) -> Vec<u8> {
    [&[1][..], &long(3, body)].concat()
}

/// The message in records of `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    message
        .chunks(size)
        .flat_map(|chunk| [&[22, 3, 1][..], &long(2, chunk)].concat())
        .collect()
}

fn hello(name: &[u8]) -> Vec<u8> {
    let extensions = [extension(0x0a0a, &[]), named(name), extension(43, &[2, 3, 4])].concat();
    message(&body(&extensions))
}

#[test]
fn the_name_is_found_however_the_hello_is_cut_into_records() {
    let hello = hello(b"API.Example.com.");
    for size in [1, 2, 3, 4, 5, 50, 16_384] {
        let bytes = records(&hello, size);
        assert_eq!(inspect(&bytes), Hello::Named("api.example.com".into()), "{size}");
        for cut in 0..bytes.len() {
            assert_eq!(inspect(&bytes[..cut]), Hello::Incomplete, "{size} {cut}");
        }
        // What follows belongs to the connection.
        let more = [&bytes[..], &[20, 3, 3, 0, 1, 1]].concat();
        assert_eq!(inspect(&more), Hello::Named("api.example.com".into()));
    }
}

#[test]
fn a_hello_without_a_name_is_nameless() {
    assert_eq!(
        inspect(&records(&message(&body(&extension(43, &[2, 3, 4]))), 99)),
        Hello::Nameless
    );
    // Before extensions were invented.
    let mut old = body(&[]);
    old.truncate(old.len() - 2);
    assert_eq!(inspect(&records(&message(&old), 99)), Hello::Nameless);
}

#[test]
fn other_protocols_are_told_by_their_first_bytes() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"*1\r\n$4\r\nPING\r\n",
        // PostgreSQL's SSLRequest, a MySQL packet, TLS' alert, SSLv2, a handshake that is no ClientHello.
        &[0, 0, 0, 8, 4, 210, 22, 47],
        &[22, 0, 0, 1, 3],
        &[21, 3, 1, 0, 2, 1, 0],
        &[0x80, 46, 1, 0, 2],
        &[22, 3, 1, 0, 4, 2, 0, 0, 0],
        &[22, 3, 9],
        &[22, 3, 1, 0, 0],
        &[22, 3, 1, 255, 255],
    ] {
        assert_eq!(inspect(bytes), Hello::Other, "{bytes:?}");
    }
}

#[test]
fn what_no_server_would_answer_is_malformed() {
    let two_names = extension(
        0,
        &long(2, &[&[0][..], &long(2, b"a"), &[0], &long(2, b"b")].concat()),
    );
    let cases = [
        ("two extensions", [named(b"a"), named(b"b")].concat()),
        ("two names", two_names),
        ("an empty name", named(b"")),
        (
            "another kind of name",
            extension(0, &long(2, &[&[1][..], &long(2, b"a")].concat())),
        ),
        ("no list", extension(0, &[])),
        ("not ASCII", named("ä".as_bytes())),
        ("a lying length", vec![0, 0, 255, 255, 0]),
    ];
    for (what, extensions) in cases {
        assert_eq!(
            inspect(&records(&message(&body(&extensions)), 16_384)),
            Hello::Malformed,
            "{what}"
        );
    }
    let whole = hello(b"a.b");
    let lying = [&[1, 0, 0, 20][..], &whole[4..]].concat();
    assert_eq!(
        inspect(&records(&lying, 16_384)),
        Hello::Malformed,
        "too short for what is in it"
    );
    let endless = [&[1, 255, 255, 255][..], &whole[4..]].concat();
    assert_eq!(inspect(&records(&endless, 16_384)), Hello::Malformed, "16 MiB");
    let mut torn = records(&whole, 10);
    torn[15] = 23;
    assert_eq!(inspect(&torn), Hello::Malformed, "another record in the middle");
    // One byte a record, for ever.
    let slow = records(&[&[1, 0, 0x3f, 0xff][..], &[0; 0x3000]].concat(), 1);
    assert_eq!(inspect(&slow), Hello::Malformed, "more bytes than are waited for");
}
