//! A network of its own for one test: host-proxy and the servers that it reaches live in it, with an address that is not
//! loopback, and a name server that says what the test wants. The rest of this machine sees nothing of it.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// An address of the other side, in a network that a bundle can name.
pub(crate) const ADDRESS: &str = "10.20.0.7";

/// Moves this thread, and everything that it starts from now on, into a network and a mount namespace of its own, with
/// loopback and [`ADDRESS`]. `false`, after saying so, where that cannot be.
pub(crate) fn enter() -> bool {
    if unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).is_err() {
        println!("SKIPPED: this user cannot make a network namespace");
        return false;
    }
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("private mounts");
    for arguments in [
        ["link", "set", "lo", "up"].as_slice(),
        &["addr", "add", &format!("{ADDRESS}/32"), "dev", "lo"],
    ] {
        let Ok(status) = Command::new("ip").args(arguments).status() else {
            println!("SKIPPED: there is no ip: install the package iproute2");
            return false;
        };
        assert!(status.success(), "ip {arguments:?}: {status}");
    }
    true
}

/// Makes `answer` the name server of everything that this thread starts: it gets a question and whether it came over
/// TCP, and gives the answer, or none.
pub(crate) fn resolver(scratch: &Path, answer: fn(&Question, bool) -> Option<Vec<u8>>) {
    let configuration = scratch.join("resolv.conf");
    std::fs::write(&configuration, "nameserver 127.0.0.1\n").expect("a file");
    let none = None::<&str>;
    mount(
        Some(&configuration),
        "/etc/resolv.conf",
        none,
        MsFlags::MS_BIND,
        none,
    )
    .expect("a bind mount");
    let datagrams = UdpSocket::bind(("127.0.0.1", 53)).expect("the port of a name server");
    let streams = TcpListener::bind(("127.0.0.1", 53)).expect("the port of a name server");
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = datagrams.recv_from(&mut buffer) {
            let answered = Question::read(&buffer[..length]).and_then(|question| answer(&question, false));
            if let Some(bytes) = answered {
                let _ = datagrams.send_to(&bytes, from);
            }
        }
    });
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for mut stream in streams.incoming().flatten() {
            std::thread::spawn(move || {
                // One stream may have several questions (RFC 7766).
                loop {
                    let mut length = [0; 2];
                    if stream.read_exact(&mut length).is_err() {
                        return;
                    }
                    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
                    if stream.read_exact(&mut message).is_err() {
                        return;
                    }
                    let answered = Question::read(&message).and_then(|question| answer(&question, true));
                    let Some(bytes) = answered else { continue };
                    let length = u16::try_from(bytes.len()).expect("a message of DNS");
                    let _ = stream.write_all(&length.to_be_bytes());
                    let _ = stream.write_all(&bytes);
                }
            });
        }
    });
}

/// A question (RFC 1035, section 4).
pub(crate) struct Question {
    /// Its name without the final dot.
    pub(crate) name: String,
    /// 1: A, 28: AAAA.
    pub(crate) kind: u16,
    id: [u8; 2],
    /// As it was asked.
    section: Vec<u8>,
}

impl Question {
    fn read(message: &[u8]) -> Option<Self> {
        let (mut labels, mut at) = (Vec::new(), 12);
        loop {
            let length = usize::from(*message.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(message.get(at..at + length)?).to_lowercase());
            at += length;
        }
        Some(Self {
            name: labels.join("."),
            kind: u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?),
            id: message.get(..2)?.try_into().ok()?,
            section: message.get(12..at + 4)?.to_vec(),
        })
    }

    /// An answer with this response code, cut off or whole, with these records: type and data.
    pub(crate) fn answer(&self, code: u8, cut: bool, records: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut message = self.id.to_vec();
        // A response, recursion desired and available.
        message.extend([0x81 | if cut { 2 } else { 0 }, 0x80 | code]);
        message.extend([0, 1]);
        message.extend(u16::try_from(records.len()).expect("that many").to_be_bytes());
        message.extend([0; 4]);
        message.extend(&self.section);
        for (kind, data) in records {
            // The name of the question, by a pointer to it; class IN; no time to live.
            message.extend([0xc0, 12]);
            message.extend(kind.to_be_bytes());
            message.extend([0, 1, 0, 0, 0, 0]);
            message.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
            message.extend(data);
        }
        message
    }
}
