//! `host-proxy serve`, the real binary, against an enclave of the tests: control, blobs, ingress, logs, HTTP, exit
//! codes. Every wait is for a condition and has a deadline.

mod corpus;
mod fake;
mod signed;

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use manifest_sync::digest::Digest;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use fake::{Fake, Manner, Seen};

const DEADLINE: Duration = Duration::from_secs(30);
const POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":{"containers":[{"name":"app",
"image":"app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
"ports":[{"containerPort":80}]}]}}"#;

/// Directories, files and the enclave of one test.
struct Stage {
    dir: TempDir,
    fake: Fake,
}

/// One running proxy and its lines.
struct Proxy {
    child: Child,
    stdout: mpsc::UnboundedReceiver<String>,
    stderr: mpsc::UnboundedReceiver<String>,
}

fn lines(from: impl Read + Send + 'static) -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

impl Stage {
    fn new(manner: Manner) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path();
        std::fs::create_dir_all(path.join("images/blobs/sha256")).expect("images");
        std::fs::create_dir(path.join("link")).expect("link");
        let blob = Digest::sha256(b"blob");
        std::fs::write(path.join("images/blobs/sha256").join(blob.hex()), b"blob").expect("a blob");
        std::fs::write(path.join("pod.yaml"), POD).expect("a manifest");
        let fake = fake::start(&path.join("link"), manner, blob);
        Self { dir, fake }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_host-proxy"));
        command
            .arg(verb)
            .arg("--state-dir")
            .arg(self.path().join("state"))
            .stdin(Stdio::null());
        command
    }

    fn serve(&self, more: &[&str]) -> Proxy {
        let mut command = self.command("serve");
        command.arg("--enclave").arg(self.fake.address.to_string());
        command.args([
            "--publish",
            "0:80",
            "--publish",
            "0:81",
            "--ingress-address",
            "127.0.0.1",
        ]);
        command
            .args(["--http-address", "none", "--log-format", "text"])
            .args(more);
        command.arg("--images").arg(self.path().join("images"));
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("host-proxy starts");
        let stdout = lines(child.stdout.take().expect("stdout"));
        let stderr = lines(child.stderr.take().expect("stderr"));
        Proxy {
            child,
            stdout,
            stderr,
        }
    }

    fn serve_pod(&self) -> Proxy {
        let pod = self.path().join("pod.yaml");
        self.serve(&["-f", pod.to_str().expect("a path")])
    }

    /// Runs a client command to its end.
    async fn client(&self, arguments: &[&str]) -> Output {
        let (verb, rest) = arguments.split_first().expect("a verb");
        let mut command = self.command(verb);
        command.args(rest);
        let run = tokio::task::spawn_blocking(move || command.output());
        timeout(DEADLINE, run)
            .await
            .expect("in time")
            .expect("joined")
            .expect("it runs")
    }

    async fn get(&self, path: &str) -> String {
        let mut stream = UnixStream::connect(self.path().join("state/proxy.sock"))
            .await
            .expect("the socket");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut answer))
            .await
            .expect("in time")
            .expect("text");
        answer
    }

    /// Waits until the enclave saw `wanted`; what else it sees first is returned.
    async fn saw(&mut self, wanted: impl Fn(&Seen) -> bool) -> Seen {
        loop {
            let seen = timeout(DEADLINE, self.fake.seen.recv())
                .await
                .expect("in time")
                .expect("the enclave runs");
            if wanted(&seen) {
                return seen;
            }
        }
    }
}

async fn line(lines: &mut mpsc::UnboundedReceiver<String>, part: &str) -> String {
    let mut before = Vec::new();
    loop {
        match timeout(DEADLINE, lines.recv()).await {
            Ok(Some(line)) if line.contains(part) => return line,
            Ok(Some(line)) => before.push(line),
            _ => panic!("no line with `{part}` after {before:#?}"),
        }
    }
}

impl Proxy {
    async fn exit(mut self) -> (i32, String) {
        let wait = tokio::task::spawn_blocking(move || self.child.wait());
        let status = timeout(DEADLINE, wait)
            .await
            .expect("in time")
            .expect("joined")
            .expect("waited");
        let mut text = String::new();
        while let Some(line) = self.stderr.recv().await {
            text.push_str(&line);
            text.push('\n');
        }
        (status.code().unwrap_or(-1), text)
    }

    /// The address where port `container` is published.
    async fn port(&mut self, container: u16) -> String {
        let line = line(&mut self.stderr, &format!("port {container} of the Pod: ")).await;
        line.rsplit_once(": ").expect("an address").1.to_owned()
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        nix::sys::signal::kill(pid, signal).expect("signalled");
    }
}

#[tokio::test]
async fn a_pod_is_served_from_apply_to_its_exit_code() {
    let mut stage = Stage::new(Manner::Honest);
    let mut proxy = stage.serve_pod();
    let open = proxy.port(80).await;
    let refused = proxy.port(81).await;
    stage
        .saw(|seen| matches!(seen, Seen::Applied(bundle) if bundle.starts_with(b"{")))
        .await;
    let mut blob = None;
    let mut missing = None;
    let mut unconnected = None;
    while blob.is_none() || missing.is_none() || unconnected.is_none() {
        match stage.saw(|_| true).await {
            Seen::Blob(bytes) => blob = Some(bytes),
            Seen::BlobUnavailable(message) => missing = Some(message),
            Seen::BrokerUnavailable(message) => unconnected = Some(message),
            _ => {}
        }
    }
    assert_eq!(blob.as_deref(), Some(&b"blob"[..]));
    assert!(missing.is_some_and(|message| message.contains("is not there")));
    assert!(unconnected.is_some_and(|message| message.contains("--broker")));
    line(&mut proxy.stderr, "web: container app running (restart 1)").await;
    line(&mut proxy.stdout, "app | hello").await;
    line(
        &mut proxy.stdout,
        "5 records of container app were dropped in the enclave",
    )
    .await;
    line(&mut proxy.stdout, "app | one line").await;

    let mut client = TcpStream::connect(&open).await.expect("connected");
    client.write_all(b"ping").await.expect("sent");
    client.shutdown().await.expect("half closed");
    let mut echo = String::new();
    timeout(DEADLINE, client.read_to_string(&mut echo))
        .await
        .expect("in time")
        .expect("read");
    assert_eq!(echo, "ping");
    let mut client = TcpStream::connect(&refused).await.expect("connected");
    let end = timeout(DEADLINE, client.read_u8())
        .await
        .expect("in time")
        .expect_err("no byte comes");
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);

    assert!(stage.get("/livez").await.starts_with("HTTP/1.1 200"));
    assert!(stage.get("/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(stage.get("/nowhere").await.starts_with("HTTP/1.1 404"));
    assert!(stage.get("/stop").await.starts_with("HTTP/1.1 405"));
    let metrics = stage.get("/metrics").await;
    assert!(metrics.contains("cloister_enclave_up 1\n"), "{metrics}");
    assert!(
        metrics.contains("cloister_ingress_bytes_total{port=\"80\""),
        "{metrics}"
    );
    let status = stage.client(&["status"]).await;
    let table = String::from_utf8_lossy(&status.stdout);
    assert!(table.contains("web   Running   1/1     1"), "{table}");
    assert!(table.contains("Started container app"), "{table}");
    let yaml = stage.client(&["status", "-o", "yaml"]).await;
    assert!(String::from_utf8_lossy(&yaml.stdout).contains("phase: Running"));
    let logs = stage.client(&["logs", "app"]).await;
    assert_eq!(
        String::from_utf8_lossy(&logs.stdout),
        "app | hello\napp | -- 5 records of container app were dropped in the enclave: nobody read them in time --\n\
         app | one line\n"
    );
    let logs = stage.client(&["logs", "nobody"]).await;
    assert_eq!(logs.status.code(), Some(64));

    assert_eq!(
        stage
            .client(&["condition", "example.com/ready", "True"])
            .await
            .status
            .code(),
        Some(0)
    );
    let refused = stage.client(&["condition", "example.com/other", "True"]).await;
    assert_eq!(refused.status.code(), Some(65), "{refused:?}");
    assert_eq!(
        stage.client(&["stop", "--grace", "3"]).await.status.code(),
        Some(0)
    );
    assert_eq!(
        stage.saw(|seen| matches!(seen, Seen::Stop(_))).await,
        Seen::Stop(Some(3))
    );
    assert_eq!(stage.saw(|_| true).await, Seen::FinishedAck);
    assert_eq!(proxy.exit().await.0, 7);
    assert_eq!(stage.client(&["status"]).await.status.code(), Some(69));
}

#[tokio::test]
async fn a_killed_proxy_is_followed_by_one_with_the_same_session() {
    let mut stage = Stage::new(Manner::Honest);
    let mut proxy = stage.serve_pod();
    line(&mut proxy.stdout, "app | one line").await;
    proxy.signal(nix::sys::signal::Signal::SIGKILL);
    assert_eq!(proxy.exit().await.0, -1);

    let mut again = stage.serve_pod();
    stage.saw(|seen| *seen == Seen::Hello { with_key: true }).await;
    line(&mut again.stderr, "web: Running").await;
    again.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(
        stage.saw(|seen| matches!(seen, Seen::Stop(_))).await,
        Seen::Stop(None)
    );
    assert_eq!(again.exit().await.0, 7);
}

#[tokio::test]
async fn a_second_controller_and_a_second_proxy_are_told_so() {
    let stage = Stage::new(Manner::Honest);
    stage.fake.hold();
    let (code, text) = stage.serve_pod().exit().await;
    assert_eq!(code, 76, "{text}");
    assert!(text.contains("another controller holds the enclave"), "{text}");

    let mut stage = Stage::new(Manner::Honest);
    let mut first = stage.serve_pod();
    stage.saw(|seen| matches!(seen, Seen::Applied(_))).await;
    let (code, text) = stage.serve_pod().exit().await;
    assert_eq!(code, 73, "{text}");
    assert!(
        text.contains("another host-proxy already serves this enclave"),
        "{text}"
    );
    line(&mut first.stderr, "web: Running").await;
    first.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(first.exit().await.0, 7);
}

#[tokio::test]
async fn a_port_in_use_is_known_before_anything_is_applied() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let mut stage = Stage::new(Manner::Honest);
    let pod = stage.path().join("pod.yaml");
    let publish = format!("{port}:80");
    let (code, text) = stage
        .serve(&["-f", pod.to_str().expect("a path"), "-p", &publish])
        .exit()
        .await;
    assert_eq!(code, 73, "{text}");
    assert!(
        text.contains("the port is in use; choose another with --publish"),
        "{text}"
    );
    assert!(
        stage.fake.seen.try_recv().is_err(),
        "the enclave was not even dialled"
    );
}

#[tokio::test]
async fn a_rejected_bundle_ends_with_every_finding() {
    let stage = Stage::new(Manner::Rejects);
    let (code, text) = stage.serve_pod().exit().await;
    assert_eq!(code, 65, "{text}");
    assert!(text.contains("Pod/web: spec.x: not\\u{1b} supported"), "{text}");
}

#[tokio::test]
async fn garbage_from_the_enclave_costs_one_connection() {
    let mut stage = Stage::new(Manner::GarblesOnce);
    let mut proxy = stage.serve_pod();
    stage.saw(|seen| *seen == Seen::Hello { with_key: false }).await;
    stage.saw(|seen| *seen == Seen::Hello { with_key: true }).await;
    line(&mut proxy.stderr, "web: Running").await;
    assert!(
        stage
            .get("/metrics")
            .await
            .contains("cloister_control_reconnects_total 1\n")
    );
    proxy.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(proxy.exit().await.0, 7);
}

#[tokio::test]
async fn a_bundle_can_come_later() {
    let mut stage = Stage::new(Manner::Honest);
    let mut proxy = stage.serve(&[]);
    stage.saw(|seen| matches!(seen, Seen::Hello { .. })).await;
    let pod = stage.path().join("pod.yaml");
    let applied = stage
        .client(&["apply", "-f", pod.to_str().expect("a path")])
        .await;
    assert_eq!(
        applied.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&applied.stderr)
    );
    assert!(String::from_utf8_lossy(&applied.stdout).starts_with("applied sha384:"));
    line(&mut proxy.stderr, "web: ready").await;
    let other = stage.path().join("other.yaml");
    std::fs::write(&other, POD.replace("web", "other")).expect("a manifest");
    let refused = stage
        .client(&["apply", "-f", other.to_str().expect("a path")])
        .await;
    assert_eq!(
        refused.status.code(),
        Some(76),
        "{}",
        String::from_utf8_lossy(&refused.stderr)
    );
    proxy.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(proxy.exit().await.0, 7);
}

/// Sends `bytes` and reads to the end.
async fn exchange(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    // The server may close before everything is sent.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut answer))
        .await
        .expect("in time");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_http_port_is_read_only_and_survives_garbage() {
    let mut stage = Stage::new(Manner::Honest);
    let mut proxy = stage.serve(&["--http-address", "127.0.0.1:0"]);
    let address = line(&mut proxy.stderr, "health and metrics: http://").await;
    let address = address.rsplit_once("http://").expect("an address").1.to_owned();
    stage.saw(|seen| matches!(seen, Seen::Hello { .. })).await;
    for path in ["/apply", "/stop"] {
        let request = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        assert!(
            exchange(&address, request.as_bytes())
                .await
                .starts_with("HTTP/1.1 403")
        );
    }
    assert!(
        exchange(&address, &[0xff; 1000])
            .await
            .starts_with("HTTP/1.1 400")
    );
    let endless = [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'x'; 100_000]].concat();
    exchange(&address, &endless).await;
    let get = exchange(&address, b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(
        get.starts_with("HTTP/1.1 503") && get.contains("no Pod yet"),
        "{get}"
    );
    proxy.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(proxy.exit().await.0, 0);
}

#[tokio::test]
async fn wrong_flags_exit_with_64() {
    let stage = Stage::new(Manner::Honest);
    let output = stage.client(&["serve", "--wrong"]).await;
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("`--wrong` is not an option of `serve`") && text.contains("--enclave"),
        "{text}"
    );
}
