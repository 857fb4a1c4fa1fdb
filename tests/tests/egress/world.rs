//! The world outside: servers on this machine's loopback, and the flags that lead names to them.

use std::io::{Read, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tests::wait_for;

/// Lets host-proxy reach this machine.
pub(crate) const LOCAL: [&str; 2] = ["--egress-local", "127.0.0.0/8"];

/// `--resolve` for names that are on this machine.
pub(crate) fn resolve(names: &[&str], port: u16) -> Vec<String> {
    let flags = |name: &&str| ["--resolve".to_owned(), format!("{name}:{port}:127.0.0.1")];
    names.iter().flat_map(flags).collect()
}

/// A server that answers each connection with `answer`, the bytes it got, to their end, or that greets first and then echoes. Its
/// threads end with the test binary.
pub(crate) fn server(greeting: &'static [u8], until_end: bool) -> u16 {
    server_at("127.0.0.1", greeting, until_end)
}

/// The same, at an address of this machine.
pub(crate) fn server_at(address: &str, greeting: &'static [u8], until_end: bool) -> u16 {
    let listener = TcpListener::bind((address, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.write_all(greeting);
                if until_end {
                    let mut all = Vec::new();
                    let _ = stream.read_to_end(&mut all);
                    let _ = stream.write_all(&all);
                    return;
                }
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..count]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// An HTTPS server with a certificate of its own.
pub(crate) struct Https {
    child: Child,
    scratch: TempDir,
    pub(crate) port: u16,
}

impl Drop for Https {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Https {
    /// One for these names; `None`, after saying so, without openssl.
    pub(crate) fn start(names: &[&str]) -> Option<Self> {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let path = |name: &str| scratch.path().join(name).display().to_string();
        let names: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
            .args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"])
            .args(["-subj", "/CN=egress", "-addext"])
            .arg(format!("subjectAltName={}", names.join(",")))
            .args(["-keyout", &path("key.pem"), "-out", &path("cert.pem")])
            .output();
        if !made.is_ok_and(|made| made.status.success()) {
            println!("SKIPPED: there is no openssl: install the package openssl");
            return None;
        }
        let port = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = port.local_addr().expect("an address").port();
        let child = Command::new("openssl")
            .args(["s_server", "-quiet", "-www", "-accept"])
            .arg(format!("127.0.0.1:{port}"))
            .args(["-key", &path("key.pem"), "-cert", &path("cert.pem")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl runs");
        let server = Self { child, scratch, port };
        wait_for("the HTTPS server", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Some(server)
    }

    /// The certificate, PEM.
    pub(crate) fn certificate(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("cert.pem")).expect("the certificate")
    }
}

/// The layout with Debian's curl.
pub(crate) fn curl() -> Option<PathBuf> {
    let images = std::env::var_os("CLOISTER_CURL").map(PathBuf::from);
    if images.is_none() {
        println!("SKIPPED: there is no curl image: it needs mmdebstrap and the Debian archive");
    }
    images
}
