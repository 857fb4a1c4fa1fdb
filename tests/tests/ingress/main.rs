//! Traffic from outside to the Pod's ports.

mod load;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::{Up, guest, pod, product, wait_for};

/// A container that serves `port`.
fn server(name: &str, words: &[&str], port: &Value) -> Value {
    let mut container = guest(name, words);
    container["ports"] = json!([port]);
    container
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    let limit = Some(Duration::from_secs(60));
    stream.set_read_timeout(limit).expect("a limit");
    stream
}

/// Sends a word and reads it back, unless the connection is reset.
fn echoed(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 5];
    match stream
        .write_all(b"hello")
        .and_then(|()| stream.read_exact(&mut answer))
    {
        Ok(()) => answer == *b"hello",
        Err(error) => {
            let reset = [
                ErrorKind::ConnectionReset,
                ErrorKind::BrokenPipe,
                ErrorKind::UnexpectedEof,
            ];
            assert!(reset.contains(&error.kind()), "{error}");
            false
        }
    }
}

#[test]
fn datagrams_go_both_ways() {
    let Some(product) = product() else { return };
    let port = json!({"containerPort": 5353, "protocol": "UDP"});
    let names = server("names", &["echo-datagrams", "5353"], &port);
    let up = Up::start(
        &product,
        &[pod(json!({"containers": [names]}))],
        &["--publish", "0:5353/udp"],
    );
    up.wait_log("ready");
    let address = SocketAddr::from(([127, 0, 0, 1], up.port("5353/udp")));
    let client = || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(address).expect("an address");
        socket
            .set_read_timeout(Some(Duration::from_millis(500)))
            .expect("a limit");
        socket
    };
    let asks = |socket: &UdpSocket, question: &[u8]| {
        wait_for("the answer", || {
            socket.send(question).ok()?;
            let mut answer = vec![0; 64 * 1024];
            let length = socket.recv(&mut answer).ok()?;
            (answer[..length] == *question).then_some(())
        });
    };
    let (one, two) = (client(), client());
    asks(&one, b"one");
    asks(&two, b"two");
    asks(&one, &[7; 9000]);
    asks(&two, b"");
}

#[test]
fn a_server_learns_who_its_client_is() {
    let Some(product) = product() else { return };
    let policy = json!({"apiVersion": "cloister.dev/v1", "kind": "EnclavePolicy", "metadata": {"name": "test"},
        "spec": {"ingress": [{"port": 7000, "proxyProtocol": "V2"}]}});
    let app = server("app", &["echo", "7000"], &json!({"containerPort": 7000}));
    let up = Up::start(
        &product,
        &[pod(json!({"containers": [app]})), policy],
        &["--publish", "0:7000"],
    );
    up.wait_log("ready");
    let mut stream = connect(up.port(7000));
    let me = stream.local_addr().expect("an address");
    let mut header = [0; 28];
    stream.read_exact(&mut header).expect("the header, echoed");
    assert_eq!(header[..12], *b"\r\n\r\n\0\r\nQUIT\n");
    assert_eq!(header[12..16], [0x21, 0x11, 0, 12]);
    assert_eq!(header[16..24], [127, 0, 0, 1, 127, 0, 0, 1]);
    assert_eq!(header[24..26], me.port().to_be_bytes());
    assert_eq!(header[26..28], 7000_u16.to_be_bytes());
    assert!(echoed(&mut stream));
}

#[test]
fn a_pod_that_is_not_ready_gets_no_clients() {
    let Some(product) = product() else { return };
    let mut app = server("app", &["echo", "7000"], &json!({"containerPort": 7000}));
    app["readinessProbe"] = json!({"exec": {"command": ["/guest", "exists", "/never"]}, "periodSeconds": 1});
    let app = pod(json!({"containers": [app]}));
    let up = Up::start(&product, std::slice::from_ref(&app), &["--publish", "0:7000"]);
    up.wait_log("ready");
    assert!(!echoed(&mut connect(up.port(7000))));
    let flags = ["--publish", "0:7000", "--ingress-when", "connected"];
    let up = Up::start(&product, &[app], &flags);
    up.wait_log("ready");
    assert!(echoed(&mut connect(up.port(7000))));
}

#[test]
fn who_is_there_when_the_pod_stops_can_finish() {
    let Some(product) = product() else { return };
    // PID 1 of its namespace has no handler for SIGTERM: it serves until the grace period is over.
    let app = server("app", &["echo", "7000"], &json!({"containerPort": 7000}));
    let spec = json!({"containers": [app], "terminationGracePeriodSeconds": 5});
    let mut up = Up::start(&product, &[pod(spec)], &["--publish", "0:7000"]);
    up.wait_log("ready");
    let port = up.port(7000);
    let mut early = connect(port);
    assert!(echoed(&mut early));
    up.signal(Signal::SIGTERM);
    wait_for("the end of new connections", || {
        (!echoed(&mut connect(port))).then_some(())
    });
    assert!(echoed(&mut early), "{}", up.stderr());
    assert_eq!(up.exit_code(), 0, "{}", up.stderr());
}

#[test]
fn ports_that_make_no_sense_are_refused() {
    let Some(product) = product() else { return };
    let policy = json!({"apiVersion": "cloister.dev/v1", "kind": "EnclavePolicy", "metadata": {"name": "test"},
        "spec": {"ingress": [{"port": 53, "proxyProtocol": "V2"}, {"port": 80, "proxyProtocol": "V1"}]}});
    let port = json!({"containerPort": 53, "protocol": "UDP"});
    let web = json!({"containerPort": 80, "protocol": "SCTP"});
    let mut app = server("app", &["sleep"], &port);
    app["ports"] = json!([port, web]);
    let mut up = Up::start(&product, &[pod(json!({"containers": [app]})), policy], &[]);
    assert_ne!(up.exit_code(), 0);
    let said = up.stderr();
    for expected in [
        "spec.containers[0].ports[1].protocol: must be TCP or UDP",
        "spec.ingress[0].port: no container of the Pod declares the TCP port 53",
        "spec.ingress[1].proxyProtocol: must be V2, or be left out",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in:\n{said}");
    }
}
