//! An HTTP server that takes down what it is sent and answers as the test says.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Post {
    /// The value of a header, by its name in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// The server; its threads end with the process.
pub(crate) struct Server {
    pub(crate) port: u16,
    state: Arc<State>,
}

struct State {
    /// Answers in turn; then `last`.
    answers: Mutex<VecDeque<&'static str>>,
    last: &'static str,
    taken: Mutex<Vec<Post>>,
    refused: Mutex<Vec<Post>>,
}

impl Server {
    /// Answers with `first` in turn, each a status and more of a head, and then with `last`.
    pub(crate) fn start(first: &[&'static str], last: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(State {
            answers: Mutex::new(first.iter().copied().collect()),
            last,
            taken: Mutex::default(),
            refused: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || state.serve(stream));
            }
        });
        Self { port, state }
    }

    /// Requests that were answered with success.
    pub(crate) fn taken(&self) -> Vec<Post> {
        self.state.taken.lock().expect("lock").clone()
    }

    /// The others.
    pub(crate) fn refused(&self) -> Vec<Post> {
        self.state.refused.lock().expect("lock").clone()
    }
}

impl State {
    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
        let mut writer = stream;
        while let Some(post) = read(&mut reader) {
            let answer = self.answers.lock().expect("lock").pop_front();
            let answer = answer.unwrap_or(self.last);
            let list = if answer.starts_with('2') {
                &self.taken
            } else {
                &self.refused
            };
            list.lock().expect("lock").push(post);
            let head = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
            if writer.write_all(head.as_bytes()).is_err() {
                return;
            }
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Post> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let path = line
        .strip_prefix("POST ")
        .expect("a POST")
        .split(' ')
        .next()?
        .to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let header = |name: &str| {
        headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value)
    };
    let length: usize = header("content-length")?.parse().expect("a length");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    if header("content-encoding").is_some_and(|encoding| encoding == "gzip") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&body[..])
            .read_to_end(&mut plain)
            .expect("gzip");
        body = plain;
    }
    let body = serde_json::from_slice(&body).expect("JSON");
    Some(Post { path, headers, body })
}
