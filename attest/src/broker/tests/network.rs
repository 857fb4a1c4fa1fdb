//! Slow, large, many and half: what the network can do to a broker. The program itself is run by `tests/broker`.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::*;
use crate::broker::server::{Limits, Server};
use crate::http::{Response, ResponseReader, post};
use crate::release::{MAX_ANSWER, MAX_REQUEST, NONCE_PATH, SECRETS_PATH};

/// A server in a thread of its own.
struct Running {
    address: SocketAddr,
    health: SocketAddr,
    stop: watch::Sender<bool>,
    thread: std::thread::JoinHandle<()>,
}

impl Running {
    fn start(desk: &Desk, limits: Limits) -> Self {
        let (stop, stopping) = watch::channel(false);
        let server = Server::new(desk.broker.clone(), limits, stopping);
        let (told, addresses) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let bind = || TcpListener::bind(("127.0.0.1", 0));
                let (listener, health) = (bind().await.expect("bound"), bind().await.expect("bound"));
                let addresses = (
                    listener.local_addr().expect("one"),
                    health.local_addr().expect("one"),
                );
                told.send(addresses).expect("told");
                tokio::spawn(server.clone().serve_health(health));
                server.serve(listener).await;
            });
        });
        let (address, health) = addresses.recv().expect("addresses");
        Self {
            address,
            health,
            stop,
            thread,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connected");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("set");
        stream
    }

    fn ask(&self, path: &str, body: &[u8]) -> Response {
        exchange(
            &mut self.connect(),
            &post("broker", path, body).expect("a request"),
        )
        .expect("an answer")
    }

    fn health(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.health).expect("connected");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        answer
    }

    fn end(self) {
        self.stop.send(true).expect("told");
        self.thread.join().expect("ended");
    }
}

/// What comes back: an answer, or none.
fn exchange(stream: &mut TcpStream, request: &[u8]) -> Option<Response> {
    // The server may answer, and close, before it has everything.
    let _ = stream.write_all(request);
    let mut reader = ResponseReader::new(MAX_ANSWER);
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
        if let Some(answer) = reader.read(&buffer[..length]).expect("an answer") {
            return Some(answer);
        }
    }
}

fn limits() -> Limits {
    Limits {
        requests_per_second: 1000,
        body: Duration::from_millis(200),
        ..Limits::default()
    }
}

fn refusal(answer: &Response) -> Refusal {
    match SecretsAnswer::parse(&answer.body).expect("an answer") {
        SecretsAnswer::Refused(refusal) => refusal,
        SecretsAnswer::Sealed(_) => panic!("secrets were released"),
    }
}

#[test]
fn a_whole_exchange_on_one_connection() {
    let scene = Scene::new();
    let desk = scene.broker();
    let running = Running::start(&desk, limits());
    let mut stream = running.connect();
    let request = post("broker", NONCE_PATH, &NonceRequest {}.to_json()).expect("a request");
    let answer = exchange(&mut stream, &request).expect("an answer");
    assert!(answer.status == 200 && answer.keep_alive);
    let Ok(NonceAnswer::Nonce { value, .. }) = NonceAnswer::parse(&answer.body) else {
        panic!("no nonce");
    };
    let web = Application::try_from("web".to_owned()).expect("a name");
    let pending = Pending::begin(value, BUNDLE, 7, web, names(&["tls.key"])).expect("a key");
    let request = pending.request(&scene.nsm).expect("a document").to_json();
    let request = post("broker", SECRETS_PATH, &request).expect("a request");
    let answer = exchange(&mut stream, &request).expect("an answer");
    assert_eq!(answer.status, 200);
    let secrets = pending.finish(&desk.public, &answer.body).expect("secrets");
    assert_eq!(secrets[0].1.expose(), MARKER.as_bytes());
    // The audit log names the address and a request that the answer names, too.
    let line = scene.audit.last();
    let own = stream.local_addr().expect("an address").to_string();
    assert_eq!(line["peer"], json!(own));
    assert_eq!(line["request"].as_str().map(str::len), Some(16));
    let answer = exchange(&mut stream, &request).expect("an answer");
    assert_eq!(
        (answer.status, refusal(&answer).code),
        (409, RefusalCode::StaleNonce)
    );
    drop(stream);
    running.end();
}

#[test]
fn bodies_are_bounded_in_size_and_time() {
    let scene = Scene::new();
    let desk = scene.broker();
    let running = Running::start(&desk, limits());
    let promised = format!(
        "POST {SECRETS_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        MAX_REQUEST + 1
    );
    let answer = exchange(&mut running.connect(), promised.as_bytes()).expect("an answer");
    assert_eq!(
        (answer.status, refusal(&answer).code),
        (413, RefusalCode::Malformed)
    );
    // In pieces whose sum nobody announced.
    let chunk = format!("{MAX_REQUEST:x}\r\n{}\r\n", "x".repeat(MAX_REQUEST));
    let head = format!("POST {SECRETS_PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    let answer = exchange(&mut running.connect(), (head + &chunk + "1\r\nx\r\n").as_bytes());
    assert_eq!(answer.expect("an answer").status, 413);
    let slow = format!("POST {SECRETS_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{{");
    let answer = exchange(&mut running.connect(), slow.as_bytes()).expect("an answer");
    assert_eq!(answer.status, 408);
    // Gone in the middle.
    let mut half = running.connect();
    half.write_all(slow.as_bytes()).expect("sent");
    drop(half);
    assert_eq!(running.ask(NONCE_PATH, b"{}").status, 200);
    running.end();
}

#[test]
fn other_methods_and_paths_and_garbage_are_refused() {
    let scene = Scene::new();
    let desk = scene.broker();
    let running = Running::start(&desk, limits());
    let get = format!("GET {NONCE_PATH} HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = exchange(&mut running.connect(), get.as_bytes()).expect("an answer");
    assert_eq!(answer.status, 405);
    for path in ["/", "/metrics", "/v1/nonce/", "/v1/secrets?x"] {
        let answer = running.ask(path, b"{}");
        assert_eq!(
            answer.status,
            if path.ends_with("?x") { 400 } else { 404 },
            "{path}"
        );
    }
    let long = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(64 << 10));
    let none = exchange(&mut running.connect(), long.as_bytes());
    assert!(none.is_none_or(|answer| answer.status == 431));
    let none = exchange(
        &mut running.connect(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    );
    assert!(none.is_none_or(|answer| answer.status == 400));
    running.end();
}

#[test]
fn a_peer_is_limited_in_requests_and_connections() {
    let scene = Scene::new();
    let desk = scene.broker();
    let few = Limits {
        requests_per_second: 1,
        connections_per_peer: 3,
        ..limits()
    };
    let running = Running::start(&desk, few);
    let mut answers = (0..100).map(|_| running.ask(NONCE_PATH, b"{}"));
    let refused = answers.by_ref().skip(4).find(|answer| answer.status != 200);
    let refused = refused.expect("a refusal");
    assert_eq!(
        (refused.status, refusal(&refused).code),
        (429, RefusalCode::RateLimited)
    );
    drop(answers);
    running.end();
    let running = Running::start(
        &desk,
        Limits {
            connections_per_peer: 3,
            ..limits()
        },
    );
    let mut open: Vec<_> = (0..3).map(|_| running.connect()).collect();
    let request = post("broker", NONCE_PATH, b"{}").expect("a request");
    for stream in &mut open {
        assert!(exchange(stream, &request).is_some());
    }
    assert!(exchange(&mut running.connect(), &request).is_none());
    open.clear();
    let metrics = running.health("/metrics");
    assert!(
        metrics.contains("cloister_broker_connections_refused_total 1\n"),
        "{metrics}"
    );
    running.end();
}

#[test]
fn health_tells_ready_from_draining() {
    let scene = Scene::new();
    let desk = scene.broker();
    let running = Running::start(
        &desk,
        Limits {
            body: Duration::from_secs(20),
            ..limits()
        },
    );
    assert!(running.health("/livez").starts_with("HTTP/1.1 200"));
    assert!(running.health("/readyz").starts_with("HTTP/1.1 200"));
    assert!(running.health("/v1/nonce").starts_with("HTTP/1.1 404"));
    let secrets = scene.at("secrets");
    std::fs::rename(&secrets, scene.at("elsewhere")).expect("renamed");
    assert!(running.health("/readyz").starts_with("HTTP/1.1 503"));
    std::fs::rename(scene.at("elsewhere"), &secrets).expect("renamed");
    // A request that is under way is answered; nothing new is.
    let mut under_way = running.connect();
    let request = post("broker", NONCE_PATH, b"{}").expect("a request");
    let (first, last) = request.split_at(request.len() - 1);
    under_way.write_all(first).expect("sent");
    let started = Instant::now();
    while !running
        .health("/metrics")
        .contains("cloister_broker_connections 1\n")
    {
        assert!(started.elapsed() < Duration::from_secs(20));
    }
    running.stop.send(true).expect("told");
    assert!(running.health("/readyz").contains("stopping"));
    let answer = exchange(&mut under_way, last).expect("an answer");
    assert!(answer.status == 200 && !answer.keep_alive);
    running.thread.join().expect("ended");
}
