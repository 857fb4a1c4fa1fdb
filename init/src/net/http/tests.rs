//! Tables of what answers mean, and servers that lie.

use proptest::prelude::*;

use super::*;

fn read(text: impl AsRef<[u8]>) -> io::Result<Response> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let mut bytes = text.as_ref();
    runtime.expect("a runtime").block_on(read_response(&mut bytes))
}

#[test]
fn lc_296_statuses_mean_what_they_mean_to_a_kubelet() {
    for (status, expected) in [
        (200, NetAnswer::Success {}),
        (204, NetAnswer::Success {}),
        (
            404,
            NetAnswer::failure("HTTP probe failed with statuscode: 404".to_owned()),
        ),
    ] {
        let text = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(judge(&read(&text).expect("a response"), Purpose::Probe), expected);
    }
    let moved = read("HTTP/1.1 302 Found\r\nLocation: http://0.0.0.0/\r\n\r\nGo away").expect("a response");
    assert_eq!(moved.location.as_deref(), Some("http://0.0.0.0/"));
    assert!(
        matches!(judge(&moved, Purpose::Probe), NetAnswer::Warning { output, .. } if output == "Go away")
    );
}

#[test]
fn lc_296_interim_answers_are_skipped_and_nonsense_is_refused() {
    let text =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nmore";
    assert_eq!(read(text).expect("a response").status, 200);
    assert!(read("SSH-2.0-OpenSSH\r\n").is_err());
    assert!(read("HTTP/1.1 200 OK\r\nContent-").is_err());
    let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(2 * MAX_HEAD_BYTES));
    assert!(read(&endless).is_err());
}

#[test]
fn lc_296_headers_of_the_probe_replace_ours() {
    let target = Target::new(Scheme::Http, 80, "/x");
    let given = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        head(&target, &[], Purpose::Probe),
        "GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    let headers = [
        given("Host", "web"),
        given("accept", ""),
        given("X-A", "1"),
        given("X-A", "2"),
        given("User-Agent", "me"),
    ];
    assert_eq!(
        head(&target, &headers, Purpose::Probe),
        "GET /x HTTP/1.1\r\nHost: web\r\nX-A: 1\r\nX-A: 2\r\nUser-Agent: me\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn interim_answers_have_an_end() {
    let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(MAX_INTERIM + 1) + "HTTP/1.1 200 OK\r\n\r\n";
    assert!(read(&endless).is_err());
}

#[test]
fn lc_296_of_an_endless_body_only_its_beginning_is_read() {
    let endless = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_owned() + &"x".repeat(1 << 20);
    assert_eq!(read(&endless).expect("a response").body.len(), MAX_BODY_BYTES);
    let unmeasured = "HTTP/1.1 200 OK\r\n\r\n".to_owned() + &"x".repeat(1 << 20);
    assert_eq!(read(&unmeasured).expect("a response").body.len(), MAX_BODY_BYTES);
}

/// Asks a server that answers every request with this.
fn ask(answer: &'static str, purpose: Purpose) -> (NetAnswer, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = tokio::net::TcpListener::bind((HOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let count = std::rc::Rc::new(std::cell::Cell::new(0));
        let counted = std::rc::Rc::clone(&count);
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.set(counted.get() + 1);
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let got = probe(Target::new(Scheme::Http, port, "/"), &[], purpose).await;
        (got, count.get())
    })
}

#[test]
fn lc_296_redirects_have_an_end_and_any_answer_is_enough_for_a_hook() {
    let (answer, requests) = ask("HTTP/1.1 302 Found\r\nLocation: /again\r\n\r\n", Purpose::Probe);
    assert!(
        matches!(&answer, NetAnswer::Failure { said, .. } if said.ends_with("stopped after 10 redirects")),
        "{answer:?}"
    );
    assert_eq!(requests, MAX_REQUESTS);
    for (status, expected) in [
        ("500 No", true),
        ("302 Found\r\nLocation: http://0.0.0.0/", true),
        ("99 x", false),
    ] {
        let text: &'static str = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").leak();
        let (answer, _) = ask(text, Purpose::Hook);
        assert_eq!(answer == NetAnswer::Success {}, expected, "{status}: {answer:?}");
    }
    let (answer, _) = ask("", Purpose::Hook);
    assert!(
        matches!(&answer, NetAnswer::Failure { said, .. } if said.ends_with(": EOF")),
        "{answer:?}"
    );
}

proptest! {
    #[test]
    fn a_server_that_answers_garbage_is_survived(
        start in prop::option::of("HTTP/1\\.[01] [0-9]{1,4} [a-zA-Z]{0,9}\r\n"),
        headers in prop::collection::vec("(Location|Content-Length|Transfer-Encoding|X)[: ]{0,2}[ -~]{0,40}\r\n", 0..5),
        bytes in prop::collection::vec(any::<u8>(), 0..2048),
    ) {
        let mut text = start.unwrap_or_default() + &headers.concat() + "\r\n";
        let from = Target::new(Scheme::Http, 80, "/a");
        if let Ok(response) = read({ text.push_str(&String::from_utf8_lossy(&bytes)); &text }) {
            let _ = judge(&response, Purpose::Probe);
            if let Redirect::Follow(target) = from.redirect(&response.location.unwrap_or_default()) {
                prop_assert!(target.path.bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(target.path.starts_with('/'));
            }
        }
        let _ = read(&bytes);
    }
}
