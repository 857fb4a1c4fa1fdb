//! A web server of one page: the smallest thing that a browser can talk to. One thread for each connection, HTTP/1.1
//! without keep-alive, files below one directory.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut port, mut root) = (8080, PathBuf::from("/srv/www"));
    while let Some(flag) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        match flag.as_str() {
            "--port" => port = value.parse().expect("--port takes a number"),
            "--root" => root = value.into(),
            other => panic!("unknown flag {other}"),
        }
    }
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("the port is free");
    println!("listening on port {port}, serving {}", root.display());
    for stream in listener.incoming().flatten() {
        let root = root.clone();
        std::thread::spawn(move || {
            if let Err(error) = answer(stream, &root) {
                eprintln!("connection: {error}");
            }
        });
    }
}

fn answer(mut stream: TcpStream, root: &Path) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    // The headers are of no interest, but a client that is still sending them would see a reset.
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = request.split_whitespace().nth(1).unwrap_or("/");
    let (status, body) = match file(root, path) {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", b"not found\n".to_vec()),
    };
    println!("{request} -> {status}");
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(&body)
}

fn file(root: &Path, path: &str) -> Option<Vec<u8>> {
    let relative = Path::new(path.split('?').next()?.trim_start_matches('/'));
    let relative = if relative.as_os_str().is_empty() { Path::new("index.html") } else { relative };
    let inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
    inside.then(|| std::fs::read(root.join(relative)).ok())?
}
