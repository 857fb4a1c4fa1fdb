//! What answers mean; servers of HTTP/2 that are right, wrong, silent and mad.

use std::time::Duration;

use h2::server::SendResponse;
use http::Response;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// How the server of a test answers.
#[derive(Clone)]
enum Answer {
    Message(Vec<u8>),
    /// Trailers at once: code and words.
    Status(&'static str, &'static str),
    Http(u16),
    Nothing,
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

/// Serves one connection; what is asked goes to `asked`.
async fn serve(listener: TcpListener, answer: Answer) -> (String, Vec<u8>) {
    let (stream, _) = listener.accept().await.expect("a client");
    let handshake = h2::server::Builder::new().handshake::<_, Cursor<Vec<u8>>>(stream);
    let mut connection = handshake.await.expect("a handshake");
    let (request, respond) = connection
        .accept()
        .await
        .expect("a request")
        .expect("well-formed");
    let connection = tokio::task::spawn_local(async move { while connection.accept().await.is_some() {} });
    let (head, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(Ok(chunk)) = body.data().await {
        bytes.extend_from_slice(&chunk);
    }
    respond_with(respond, answer);
    let _ = connection.await;
    let header = |name: &str| {
        head.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap_or("?"))
    };
    let said = format!(
        "{} {} {} {}",
        head.method,
        head.uri.path(),
        header("te"),
        header("user-agent")
    );
    (said, bytes)
}

fn respond_with(mut respond: SendResponse<Cursor<Vec<u8>>>, answer: Answer) {
    let head = |status: u16| {
        Response::builder()
            .status(status)
            .header("content-type", "application/grpc")
    };
    let trailers = |code: &'static str, words: &'static str| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", code.parse().expect("a value"));
        trailers.insert("grpc-message", words.parse().expect("a value"));
        trailers
    };
    match answer {
        Answer::Message(message) => {
            let mut bytes = vec![0];
            bytes.extend(u32::try_from(message.len()).expect("short").to_be_bytes());
            bytes.extend(message);
            let response = head(200).body(()).expect("a response");
            let mut body = respond.send_response(response, false).expect("sent");
            body.send_data(Cursor::new(bytes), false).expect("sent");
            body.send_trailers(trailers("0", "")).expect("sent");
        }
        Answer::Status(code, words) => {
            let mut response = head(200).body(()).expect("a response");
            response.headers_mut().extend(trailers(code, words));
            respond.send_response(response, true).expect("sent");
        }
        Answer::Http(status) => {
            let response = head(status).body(()).expect("a response");
            respond.send_response(response, true).expect("sent");
        }
        Answer::Nothing => std::mem::forget(respond),
    }
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

fn asked(service: &str, answer: &Answer) -> (NetAnswer, String, Vec<u8>) {
    run(async {
        let (listener, port) = listen().await;
        let server = tokio::task::spawn_local(serve(listener, answer.clone()));
        let got = probe(port, service, 1000).await;
        if matches!(answer, Answer::Nothing) {
            server.abort();
            return (got, String::new(), Vec::new());
        }
        let (said, bytes) = server.await.expect("the server");
        (got, said, bytes)
    })
}

fn said(answer: &NetAnswer) -> String {
    match answer {
        NetAnswer::Failure { said, output } => format!("{said}{output}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn lc_149_serving_is_success_and_everything_else_failure() {
    let (answer, said_by_us, body) = asked("web", &Answer::Message(vec![8, 1]));
    assert_eq!(answer, NetAnswer::Success {});
    assert_eq!(
        said_by_us,
        "POST /grpc.health.v1.Health/Check trailers kube-probe/1.36"
    );
    assert_eq!(body, [0, 0, 0, 0, 5, 10, 3, b'w', b'e', b'b']);
    let (_, _, body) = asked("", &Answer::Message(vec![8, 1]));
    assert_eq!(body, [0; 5]);
    for (answer, expected) in [
        (
            Answer::Message(vec![8, 2]),
            "service unhealthy (responded with \"NOT_SERVING\")",
        ),
        (
            Answer::Message(vec![]),
            "service unhealthy (responded with \"UNKNOWN\")",
        ),
        (
            Answer::Message(vec![8, 3]),
            "service unhealthy (responded with \"SERVICE_UNKNOWN\")",
        ),
        (
            Answer::Message(vec![8, 9]),
            "service unhealthy (responded with \"9\")",
        ),
        (
            Answer::Status("12", "unknown method"),
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown method",
        ),
        (
            Answer::Http(404),
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): \
             unexpected HTTP status code received from server: 404 Not Found",
        ),
        (
            Answer::Status("5", "unknown service"),
            "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service",
        ),
        (
            Answer::Message(vec![0xff; 100]),
            "error: health rpc probe failed: rpc error: code = Internal desc = the answer is no HealthCheckResponse",
        ),
        (
            Answer::Message(vec![0x0a; MAX_MESSAGE_BYTES + 1]),
            "error: health rpc probe failed: rpc error: code = Internal desc = the answer is no HealthCheckResponse",
        ),
        (Answer::Nothing, "timeout: health rpc did not complete within 1s"),
    ] {
        let (got, _, _) = asked("", &answer);
        assert_eq!(said(&got), expected);
    }
}

#[test]
fn lc_296_a_server_that_is_not_there_or_says_nothing_is_not_connected_to() {
    let (closed, silent) = run(async {
        let (listener, port) = listen().await;
        drop(listener);
        let closed = probe(port, "", 300).await;
        let (listener, port) = listen().await;
        let silent = probe(port, "", 300).await;
        drop(listener);
        (closed, silent)
    });
    for (answer, why) in [(closed, "connection refused"), (silent, "deadline exceeded")] {
        let said = said(&answer);
        assert!(
            said.starts_with("timeout: failed to connect service \"127.0.0.1:"),
            "{said}"
        );
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_server_that_comes_late_is_found() {
    let answer = run(async {
        let (listener, port) = listen().await;
        drop(listener);
        let late = tokio::task::spawn_local(async move {
            sleep(Duration::from_millis(300)).await;
            let listener = TcpListener::bind(("127.0.0.1", port))
                .await
                .expect("the port again");
            serve(listener, Answer::Message(vec![8, 1])).await
        });
        let answer = probe(port, "", 20_000).await;
        late.abort();
        answer
    });
    assert_eq!(answer, NetAnswer::Success {});
}

#[test]
fn fields_of_the_future_are_passed_over() {
    assert_eq!(status(&[0x12, 2, 9, 9, 8, 1]), Some(1));
    assert_eq!(
        status(&[0x19, 1, 2, 3, 4, 5, 6, 7, 8, 8, 2, 0x25, 1, 2, 3, 4]),
        Some(2)
    );
    for broken in [
        &[8][..],
        &[8, 0x80],
        &[0x12, 9, 1],
        &[0x0b],
        &[0x80; 20],
        &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
    ] {
        assert_eq!(status(broken), None, "{broken:?}");
    }
}

/// Talks to a server that says these bytes and then closes.
fn hear(bytes: &[u8], chunk: usize) -> Result<u64, String> {
    run(async {
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let bytes = bytes.to_vec();
        tokio::task::spawn_local(async move {
            for piece in bytes.chunks(chunk.max(1)) {
                if theirs.write_all(piece).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            let _ = theirs.shutdown().await;
            let _ = theirs.read_to_end(&mut Vec::new()).await;
        });
        let connected = Cell::new(false);
        let asked = check(ours, 1, "", &connected);
        match tokio::time::timeout(Duration::from_secs(5), asked).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(trouble)) => Err(format!("{trouble:?}")),
            // Legal, and what the probe's own time is for.
            Err(_elapsed) => Err("silence".to_owned()),
        }
    })
}

/// What a good server says, frame by frame (RFC 9113, 4.1): settings, acknowledgement, headers, data, trailers.
fn good() -> Vec<u8> {
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).expect("short");
        let mut bytes = vec![0, 0, length, kind, flags, 0, 0, 0, stream];
        bytes.extend_from_slice(payload);
        bytes
    };
    let literal = |name: &str, value: &str| {
        let mut bytes = vec![0, u8::try_from(name.len()).expect("short")];
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(u8::try_from(value.len()).expect("short"));
        bytes.extend_from_slice(value.as_bytes());
        bytes
    };
    [
        frame(4, 0, 0, &[]),
        frame(4, 1, 0, &[]),
        frame(
            1,
            4,
            1,
            &[&[0x88][..], &literal("content-type", "application/grpc")].concat(),
        ),
        frame(0, 0, 1, &[0, 0, 0, 0, 2, 8, 1]),
        frame(1, 5, 1, &literal("grpc-status", "0")),
    ]
    .concat()
}

#[test]
fn the_good_server_of_the_property_is_good() {
    assert_eq!(hear(&good(), 7), Ok(1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_server_that_answers_garbage_is_survived(
        bytes in prop::collection::vec(any::<u8>(), 0..4096),
        chunk in 1usize..600,
    ) {
        prop_assert!(hear(&bytes, chunk).is_err());
    }

    /// Nearly right is worse: it gets further.
    #[test]
    fn a_server_that_is_nearly_right_is_survived(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        repeats in 1usize..4,
        chunk in 1usize..100,
    ) {
        let mut bytes = good().repeat(repeats);
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        let _ = hear(&bytes, chunk);
    }
}
