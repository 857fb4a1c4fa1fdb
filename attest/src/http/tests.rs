//! What is accepted, what is refused, and that the pieces in which bytes arrive make no difference.

use proptest::prelude::*;

use super::*;

const ANSWER: &[u8] =
    b"HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\nContent-Length: 5\r\n\r\n{\"a\"}";

fn read(bytes: &[u8]) -> Result<Option<Response>, HttpError> {
    ResponseReader::new(10).read(bytes)
}

fn with(fields: &str, body: &str) -> Result<Option<Response>, HttpError> {
    read(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}").as_bytes())
}

#[test]
fn a_post_is_what_a_server_expects() {
    let bytes = post("broker.example:8443", "/v1/nonce", b"{}").expect("a request");
    let expected = "POST /v1/nonce HTTP/1.1\r\nHost: broker.example:8443\r\nContent-Type: application/json\r\n\
                    Content-Length: 2\r\nConnection: keep-alive\r\n\r\n{}";
    assert_eq!(String::from_utf8(bytes).expect("text"), expected);
    for (host, path) in [
        ("", "/"),
        ("a", ""),
        ("a", "v1"),
        ("a\r\nb: c", "/"),
        ("a", "/ HTTP/1.1"),
        ("ä", "/"),
    ] {
        assert_eq!(post(host, path, b""), None, "{host:?} {path:?}");
    }
}

#[test]
fn an_answer_is_read_in_pieces() {
    let expected = Response {
        status: 403,
        body: b"{\"a\"}".to_vec(),
        keep_alive: true,
    };
    for piece in 1..=ANSWER.len() {
        let mut reader = ResponseReader::new(10);
        let mut answers: Vec<_> = ANSWER.chunks(piece).map(|it| reader.read(it)).collect();
        assert_eq!(answers.pop(), Some(Ok(Some(expected.clone()))), "{piece}");
        assert!(answers.iter().all(|answer| *answer == Ok(None)), "{piece}");
        // The next one on the same connection.
        assert_eq!(reader.read(ANSWER), Ok(Some(expected.clone())));
    }
}

#[test]
fn connections_end_when_the_server_says_so() {
    let keep = |fields: &str| with(fields, "").expect("read").expect("complete").keep_alive;
    assert!(keep("Content-Length: 0"));
    assert!(!keep("Content-Length: 0\r\nConnection: foo, Close"));
    let old = read(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").expect("read");
    assert!(!old.expect("complete").keep_alive);
}

#[test]
fn answers_of_another_form_are_refused() {
    for (fields, body, error) in [
        ("A: b", "", HttpError::Framing),
        (
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "",
            HttpError::Framing,
        ),
        ("Content-Length: 1\r\nContent-Length: 1", "", HttpError::Framing),
        ("Content-Length: +1", "", HttpError::Framing),
        ("Content-Length: 1, 1", "", HttpError::Framing),
        ("Content-Length: ", "", HttpError::Framing),
        ("Content-Length: 99999999999999999999", "", HttpError::Framing),
        ("Content-Length: 11", "", HttpError::BodyTooLong(10)),
        (
            "Content-Length: 18446744073709551615",
            "",
            HttpError::BodyTooLong(10),
        ),
        ("Content-Length: 1", "ab", HttpError::Trailing),
        ("Content Length: 1", "", HttpError::Malformed),
        ("Content-Length : 1", "", HttpError::Malformed),
        ("Content-Length: 1\r\n folded", "", HttpError::Malformed),
    ] {
        assert_eq!(with(fields, body), Err(error), "{fields}");
    }
    for (bytes, error) in [
        (&b"SSH-2.0-x\r\n"[..], HttpError::Malformed),
        (b"HTTP/2 200 OK\r\n\r\n", HttpError::Malformed),
        (b"\x00", HttpError::Malformed),
        (b"HTTP/1.1 100 Continue\r\n\r\n", HttpError::Interim),
        (b"HTTP/1.1 101 \r\nContent-Length: 0\r\n\r\n", HttpError::Interim),
        (b"HTTP/1.1 20 OK\r\n\r\n", HttpError::Malformed),
    ] {
        assert_eq!(read(bytes), Err(error), "{bytes:?}");
    }
}

#[test]
fn heads_are_bounded() {
    let many = "a: b\r\n".repeat(MAX_FIELDS);
    assert_eq!(
        with(&format!("{many}Content-Length: 0"), ""),
        Err(HttpError::HeadTooLong)
    );
    let long = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(MAX_HEAD));
    let mut reader = ResponseReader::new(1 << 20);
    assert_eq!(reader.read(long.as_bytes()), Err(HttpError::HeadTooLong));
    let mut reader = ResponseReader::new(1 << 20);
    let errors = long.as_bytes().iter().filter_map(|it| reader.read(&[*it]).err());
    assert_eq!(errors.last(), Some(HttpError::HeadTooLong));
    let get = format!("GET / HTTP/1.1\r\na: {}", "b".repeat(MAX_HEAD));
    assert_eq!(parse_get(get.as_bytes()), Err(HttpError::HeadTooLong));
}

#[test]
fn a_get_is_a_path_and_a_query() {
    let bytes = b"GET /v1/attestation?nonce=AA&data=%20? HTTP/1.1\r\nHost: x\r\n\r\nGET";
    let head = parse_get(bytes).expect("read").expect("complete");
    assert_eq!(
        (&*head.path, &*head.query),
        ("/v1/attestation", "nonce=AA&data=%20?")
    );
    assert_eq!((head.close, &bytes[head.length..]), (false, &b"GET"[..]));
    for end in 0..head.length {
        assert_eq!(parse_get(&bytes[..end]), Ok(None), "{end}");
    }
    let get = |text: &str| parse_get(text.as_bytes()).map(|head| head.map(|head| head.close));
    assert_eq!(get("GET / HTTP/1.0\r\n\r\n"), Ok(Some(true)));
    assert_eq!(get("GET / HTTP/1.1\r\nConnection: close\r\n\r\n"), Ok(Some(true)));
    assert_eq!(
        get("GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
        Ok(Some(false))
    );
    for (text, error) in [
        ("POST / HTTP/1.1\r\n\r\n", HttpError::Method),
        ("get / HTTP/1.1\r\n\r\n", HttpError::Method),
        ("GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", HttpError::Method),
        (
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            HttpError::Framing,
        ),
        ("GET http://x/ HTTP/1.1\r\n\r\n", HttpError::Malformed),
        ("GET * HTTP/1.1\r\n\r\n", HttpError::Malformed),
        ("GET /ä HTTP/1.1\r\n\r\n", HttpError::Malformed),
        ("GET / HTTP/1.1\r\nno field\r\n\r\n", HttpError::Malformed),
    ] {
        assert_eq!(get(text), Err(error), "{text}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(tail: Vec<u8>, text in "[A-Za-z0-9 :/\\r\\n]{0,200}") {
        for bytes in [tail.as_slice(), text.as_bytes()] {
            let _ = parse_get(bytes);
            let _ = parse_get(&[&b"GET /"[..], bytes].concat());
            let mut reader = ResponseReader::new(10);
            let _ = reader.read(&[&b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"[..], bytes].concat());
        }
    }
}
