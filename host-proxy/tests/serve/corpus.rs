//! Requests that are none, at the port for health and metrics: each gets at most one answer, that answer is no success where
//! HTTP/1.1 (RFC 9112) says that the request is wrong, and the port goes on.

use super::{DEADLINE, Manner, Seen, Stage, exchange, line};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What would be answered as well if the first request's end were taken to be somewhere else.
const SMUGGLED: &str = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
const TARGETS: [&str; 4] = ["GET /livez", "GET /metrics", "POST /apply", "POST /stop"];

/// Heads that no server may take.
fn refused() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        &b" \r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET /livez\r\n\r\n",
        b"GET /livez HTTP/0.9\r\nhost: x\r\n\r\n",
        b"GET /livez HTTP/2.0\r\nhost: x\r\n\r\n",
        b"GET /livez HTTP/9\r\nhost: x\r\n\r\n",
        b"GET /livez HTTP/1.1 x\r\nhost: x\r\n\r\n",
        b"GET /livez http/1.1\r\nhost: x\r\n\r\n",
        b"GET\t/livez HTTP/1.1\r\nhost: x\r\n\r\n",
        b"G\0T /livez HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /li\0vez HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /livez\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET  HTTP/1.1\r\nhost: x\r\n\r\n",
        b"get /livez HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET ../livez HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /livez/../../etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
        b"DELETE /metrics HTTP/1.1\r\nhost: x\r\n\r\n",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    let headers: [&[u8]; 16] = [
        b"no colon",
        b": empty name",
        b"space before : x",
        b"\0: x",
        b"x: \0",
        b"x: a\rb",
        b"x\x80: y",
        b"content-length: -1",
        b"content-length: +1",
        b"content-length: 0x1",
        b"content-length: 1 1",
        b"content-length: ",
        b"content-length: 99999999999999999999999",
        b"content-length: 3\r\ncontent-length: 4",
        b"content-length: 3, 4",
        b"transfer-encoding: gzip",
    ];
    for target in TARGETS {
        for header in headers {
            let head = format!("{target} HTTP/1.1\r\nhost: x\r\n");
            all.push([head.as_bytes(), header, b"\r\n\r\n"].concat());
        }
        let head = format!("{target} HTTP/1.1\r\nhost: x\r\n");
        all.push([head.as_bytes(), b"x: ", &[b'x'; 64 << 10], b"\r\n\r\n"].concat());
        all.push(format!("{head}{}\r\n", "a: b\r\n".repeat(10_000)).into_bytes());
        let long = format!("{target}?{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(64 << 10));
        all.push(long.into_bytes());
    }
    all
}

/// Requests whose end is in doubt: one answer, whatever it is.
fn doubtful() -> Vec<Vec<u8>> {
    let framings = [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n-1\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "transfer-encoding: chunked\r\n\r\n1;a=b;c=\"\0\"\r\nx\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n0\r\nhost: y\r\n\r\n",
        "content-length: 0\r\n\r\n",
        "content-length: 7\r\n\r\n",
        "expect: 200-ok\r\n\r\n",
        "connection: keep-alive\r\n\r\n",
        "upgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        "x: folded\r\n line\r\n\r\n",
        "\n\n",
    ];
    let requests =
        |target| framings.map(|framing| format!("{target} HTTP/1.1\r\nhost: x\r\n{framing}").into_bytes());
    TARGETS.into_iter().flat_map(requests).collect()
}

#[tokio::test]
async fn the_http_port_survives_everything_that_is_no_request() {
    let mut stage = Stage::new(Manner::Honest);
    let mut proxy = stage.serve(&["--http-address", "127.0.0.1:0"]);
    let address = line(&mut proxy.stderr, "health and metrics: http://").await;
    let address = address.rsplit_once("http://").expect("an address").1.to_owned();
    stage.saw(|seen| matches!(seen, Seen::Hello { .. })).await;
    // Heads that never end: they are given up in their time, and take nobody's place meanwhile.
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(&address).await.expect("connected");
        stream.write_all(b"GET /livez HT").await.expect("open");
        slow.push(stream);
    }
    let (refused, doubtful) = (refused(), doubtful());
    assert!(refused.len() + doubtful.len() >= 120);
    let show = |request: &[u8]| String::from_utf8_lossy(&request[..request.len().min(120)]).into_owned();
    for request in refused {
        let answer = exchange(&address, &[&request[..], SMUGGLED.as_bytes()].concat()).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 5"),
            "{:?} was answered {answer}",
            show(&request)
        );
        assert!(
            answer.matches("HTTP/1.1 ").count() <= 1,
            "{:?}: {answer}",
            show(&request)
        );
    }
    for request in doubtful {
        let answer = exchange(&address, &[&request[..], SMUGGLED.as_bytes()].concat()).await;
        assert!(
            answer.matches("HTTP/1.1 ").count() <= 1,
            "{:?}: {answer}",
            show(&request)
        );
    }
    for mut stream in slow {
        let mut rest = Vec::new();
        let read = timeout(
            DEADLINE,
            tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest),
        );
        let _ = read.await.expect("given up");
        assert!(!rest.starts_with(b"HTTP/1.1 2"));
    }
    let get = exchange(&address, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(get.starts_with("HTTP/1.1 200"), "{get}");
    proxy.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(proxy.exit().await.0, 0);
}
