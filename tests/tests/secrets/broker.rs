//! What stands between `cloister-broker` and the enclave.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) use tests::broker::{Broker, public_key};

/// Answers of a broker that were kept, in their order.
pub(crate) type Kept = Arc<Mutex<Vec<Vec<u8>>>>;

/// What a host does to one conversation.
#[derive(Clone)]
pub(crate) enum Manner {
    /// Carries it.
    Honest,
    /// Closes the connection.
    HangsUp,
    /// Says this, whatever is asked.
    Says(Vec<u8>),
    /// Changes what the broker answers, by its number.
    Changes(fn(usize, &str) -> String),
    /// Changes what the enclave asks.
    Asks(fn(&str) -> String),
    /// Keeps the answers of the first such conversation, and gives them again in all later ones.
    Replays(Kept),
}

/// A host between an enclave and a broker that keeps all that passes.
pub(crate) fn man_in_the_middle_that_listens(broker: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let heard = Arc::<Mutex<Vec<u8>>>::default();
    let all = Arc::clone(&heard);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(broker) else {
                continue;
            };
            let ends = [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))];
            for (from, to) in ends {
                let (Ok(mut from), Ok(mut to), all) = (from, to, Arc::clone(&all)) else {
                    continue;
                };
                thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    while let Ok(count @ 1..) = from.read(&mut buffer) {
                        all.lock().expect("a lock").extend_from_slice(&buffer[..count]);
                        if to.write_all(&buffer[..count]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    (address, heard)
}

/// A host between an enclave and a broker that meddles: its manner in each conversation, in their order; the last one stays.
pub(crate) fn man_in_the_middle(broker: SocketAddr, manners: Vec<Manner>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let count = AtomicUsize::new(0);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let index = count.fetch_add(1, Ordering::Relaxed).min(manners.len() - 1);
            let manner = manners[index].clone();
            thread::spawn(move || drop(meddle(client, broker, &manner)));
        }
    });
    address
}

fn meddle(mut client: TcpStream, broker: SocketAddr, manner: &Manner) -> io::Result<()> {
    match manner {
        Manner::HangsUp => return client.shutdown(Shutdown::Both),
        Manner::Says(bytes) => {
            client.write_all(bytes)?;
            // Until the enclave has had enough.
            let mut buffer = [0; 4096];
            while client.read(&mut buffer)? > 0 {}
            return Ok(());
        }
        _ => {}
    }
    let mut server = TcpStream::connect(broker)?;
    let mut number = 0;
    while let Some((head, body)) = message(&mut client)? {
        let body = match manner {
            Manner::Asks(change) => change(&body),
            _ => body,
        };
        send(&mut server, &head, &body)?;
        let Some((head, body)) = message(&mut server)? else {
            return Ok(());
        };
        let body = match manner {
            Manner::Changes(change) => change(number, &body),
            Manner::Replays(kept) => {
                let mut kept = kept.lock().expect("a lock");
                if kept.len() <= number {
                    kept.push(body.into_bytes());
                }
                String::from_utf8(kept[number].clone()).expect("text")
            }
            _ => body,
        };
        send(&mut client, &head, &body)?;
        number += 1;
    }
    Ok(())
}

/// Head and body of one message of HTTP.
fn message(stream: &mut TcpStream) -> io::Result<Option<(String, String)>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.extend_from_slice(&byte);
    }
    let head = String::from_utf8(head).expect("text");
    let length = head.to_ascii_lowercase();
    let length = length
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.expect("a length")];
    stream.read_exact(&mut body)?;
    Ok(Some((head, String::from_utf8(body).expect("text"))))
}

/// A message again, with the length that its body has now.
fn send(stream: &mut TcpStream, head: &str, body: &str) -> io::Result<()> {
    let others: Vec<&str> = head
        .lines()
        .filter(|line| !line.is_empty() && !line.to_ascii_lowercase().starts_with("content-length:"))
        .collect();
    write!(
        stream,
        "{}\r\ncontent-length: {}\r\n\r\n{body}",
        others.join("\r\n"),
        body.len()
    )
}
