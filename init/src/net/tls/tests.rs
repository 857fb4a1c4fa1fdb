//! Servers with certificates that nobody would trust, and servers without TLS.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;
use crate::net::http;
use crate::net::message::{NetAnswer, Purpose, Scheme};
use crate::net::url::Target;

/// Somebody else's name, self-signed, for one day of 2026.
const CERTIFICATE: &[u8] = include_bytes!("../../../testdata/tls/certificate.der");
const KEY: &[u8] = include_bytes!("../../../testdata/tls/key.der");

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

fn acceptor() -> TlsAcceptor {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(KEY.to_vec()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(CERTIFICATE.to_vec())], key)
        .expect("a certificate");
    TlsAcceptor::from(Arc::new(config))
}

/// The head of a request, and an answer to it.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, answer: &str) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
    String::from_utf8_lossy(&head).into_owned()
}

async fn ask(port: u16, headers: &[(String, String)], purpose: Purpose) -> NetAnswer {
    http::probe(Target::new(Scheme::Https, port, "/x"), headers, purpose).await
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

#[test]
fn lc_114_a_request_through_tls_arrives_whatever_the_certificate_says() {
    for (purpose, status, agent) in [
        (Purpose::Hook, "500 Broken", "kube-lifecycle/1.36"),
        (Purpose::Probe, "200 OK", "kube-probe/1.36"),
    ] {
        let (got, head) = run(async {
            let (listener, port) = listen().await;
            let server = tokio::task::spawn_local(async move {
                let (stream, _) = listener.accept().await.expect("a client");
                let stream = acceptor().accept(stream).await.expect("TLS");
                answer(stream, &format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")).await
            });
            (ask(port, &[], purpose).await, server.await.expect("the server"))
        });
        assert_eq!(got, NetAnswer::Success {});
        assert!(
            head.starts_with("GET /x HTTP/1.1\r\n") && head.contains(agent),
            "{head}"
        );
    }
}

/// A server in clear: it does not understand a handshake, and says so.
async fn plain(listener: TcpListener) -> Vec<String> {
    let (mut stream, _) = listener.accept().await.expect("a client");
    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let _ = stream.read(&mut [0; 4096]).await;
    drop(stream);
    let mut heads = Vec::new();
    if let Ok(Ok((stream, _))) =
        tokio::time::timeout(std::time::Duration::from_secs(1), listener.accept()).await
    {
        heads.push(answer(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await);
    }
    heads
}

#[test]
fn a_hook_falls_back_to_clear_without_its_credentials_and_a_probe_does_not() {
    let given = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let headers = [given("AUTHORIZATION", "Bearer x"), given("X-Other", "y")];
    let (port, hook, heads, probe, none) = run(async {
        let (listener, port) = listen().await;
        let server = tokio::task::spawn_local(plain(listener));
        let hook = ask(port, &headers, Purpose::Hook).await;
        let heads = server.await.expect("the server");
        let (listener, other) = listen().await;
        let server = tokio::task::spawn_local(plain(listener));
        let probe = ask(other, &headers, Purpose::Probe).await;
        (port, hook, heads, probe, server.await.expect("the server"))
    });
    assert_eq!(hook, NetAnswer::FellBack { port });
    assert!(
        heads[0].contains("X-Other: y") && !heads[0].contains("Bearer"),
        "{heads:?}"
    );
    assert!(
        matches!(&probe, NetAnswer::Failure { said, .. } if said.ends_with("http: server gave HTTP response to HTTPS client")),
        "{probe:?}"
    );
    assert!(none.is_empty(), "{none:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn a_server_that_answers_a_handshake_with_garbage_is_survived(
        kind in prop::option::of(20u8..24),
        mut bytes in prop::collection::vec(any::<u8>(), 0..2048),
    ) {
        if let (Some(kind), true) = (kind, bytes.len() > 5) {
            // A record of TLS 1.2 (RFC 5246, 6.2.1), so that it is read.
            let length = u16::try_from(bytes.len() - 5).expect("short").to_be_bytes();
            bytes[..5].copy_from_slice(&[kind, 3, 3, length[0], length[1]]);
        }
        let failed = run(async {
            let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
            tokio::task::spawn_local(async move {
                let _ = theirs.write_all(&bytes).await;
                let _ = theirs.shutdown().await;
                let _ = theirs.read_to_end(&mut Vec::new()).await;
            });
            wrap(ours).await.is_err()
        });
        prop_assert!(failed);
    }
}
