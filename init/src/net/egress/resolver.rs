//! The resolver: UDP and TCP at 127.0.0.53. What it says follows from the policy alone; nobody outside is asked.
//!
//! | question | answer |
//! |---|---|
//! | an allowed name, `A` | its loopback address, for a minute |
//! | an allowed name, any other type | no such record |
//! | `localhost` and names below it, `A` and `AAAA` | loopback (RFC 6761, section 6.3) |
//! | the name of one of our addresses (`PTR`) | that name |
//! | any other name | NXDOMAIN, at once |
//! | another class than `IN`; `ANY`, `AXFR`, `IXFR` | REFUSED |
//! | another operation | NOTIMP |
//! | a message that is no query with one question | FORMERR, or nothing when it has no header |
//! | an allowed name that no address is free for | SERVFAIL |

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use cloister_init::egress::book::{SECONDS, Tenure};
use cloister_init::egress::dns::{self, Answer, MAX_QUERY, Query, RecordType};
use manifest_sync::egress::{RESOLVER, RESOLVER_PORT};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::socket_table::{Client, Transport};
use super::{Egress, listener};
use crate::net::message::DeniedKind;

/// TCP connections at once.
const MAX_CONNECTIONS: usize = 64;
/// How long a TCP connection may be silent (RFC 7766, section 6.2.3: a few seconds).
const IDLE: Duration = Duration::from_secs(10);
/// Answers that wait for PID 1 to hear of a denial; further ones do not wait.
const MAX_WAITING: usize = 64;

/// Listens.
pub(super) fn start(egress: &Rc<Egress>) -> io::Result<()> {
    let place = SocketAddr::from((RESOLVER, RESOLVER_PORT));
    let udp = std::net::UdpSocket::bind(place)?;
    udp.set_nonblocking(true)?;
    let udp = Rc::new(UdpSocket::from_std(udp)?);
    let tcp = listener::bind(place)?;
    egress.start(place, datagrams(Rc::clone(egress), udp, place));
    egress.start(place, connections(Rc::clone(egress), tcp));
    Ok(())
}

async fn datagrams(egress: Rc<Egress>, socket: Rc<UdpSocket>, place: SocketAddr) {
    let waiting = Arc::new(Semaphore::new(MAX_WAITING));
    // One byte more shows what is too large.
    let mut message = vec![0; MAX_QUERY + 1];
    loop {
        let Ok((count, peer)) = socket.recv_from(&mut message).await else {
            // An answer that nobody waited for any more (ICMP); the next datagram is another matter.
            tokio::task::yield_now().await;
            continue;
        };
        let decided = decide(&egress, message.get(..count).unwrap_or_default());
        let Decided { answer, denied } = decided;
        let Some(answer) = answer else { continue };
        match (denied, Arc::clone(&waiting).try_acquire_owned()) {
            (Some(name), Ok(permit)) => {
                let (egress, socket) = (Rc::clone(&egress), Rc::clone(&socket));
                tokio::task::spawn_local(async move {
                    // Whoever asks has its socket open until it is answered.
                    let who = Client {
                        transport: Transport::Udp,
                        peer,
                        ours: place,
                    };
                    egress
                        .denials
                        .tell(egress.now(), DeniedKind::Lookup, &name, who)
                        .await;
                    let _ = socket.send_to(&answer, peer).await;
                    drop(permit);
                });
            }
            (Some(_), Err(_)) | (None, _) => drop(socket.send_to(&answer, peer).await),
        }
    }
}

async fn connections(egress: Rc<Egress>, listener: TcpListener) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            listener::reset(&client);
            continue;
        };
        let egress = Rc::clone(&egress);
        tokio::task::spawn_local(async move {
            let _ = converse(&egress, client).await;
            drop(permit);
        });
        tokio::task::yield_now().await;
    }
}

/// Messages with their length before them (RFC 1035, section 4.2.2), one after another.
async fn converse(egress: &Rc<Egress>, mut client: TcpStream) -> io::Result<()> {
    let who = Client::of(&client)?;
    loop {
        let length = usize::from(timeout(IDLE, client.read_u16()).await??);
        if length > MAX_QUERY {
            return Ok(());
        }
        let mut message = vec![0; length];
        timeout(IDLE, client.read_exact(&mut message)).await??;
        let Decided { answer, denied } = decide(egress, &message);
        if let Some(name) = denied {
            egress
                .denials
                .tell(egress.now(), DeniedKind::Lookup, &name, who)
                .await;
        }
        let Some(answer) = answer else { return Ok(()) };
        let mut bytes = u16::try_from(answer.len()).unwrap_or(0).to_be_bytes().to_vec();
        bytes.extend_from_slice(&answer);
        timeout(IDLE, client.write_all(&bytes)).await??;
    }
}

struct Decided {
    answer: Option<Vec<u8>>,
    /// A name that somebody wanted and may not have.
    denied: Option<String>,
}

fn decide(egress: &Rc<Egress>, message: &[u8]) -> Decided {
    let query = match dns::read(message) {
        Ok(query) => query,
        Err(fault) => {
            return Decided {
                answer: fault.answer(),
                denied: None,
            };
        }
    };
    let answer = judge(egress, &query);
    let denied = (answer == Answer::NoSuchName && is_attempt(egress, &query)).then(|| query.name.clone());
    Decided {
        answer: Some(query.answer(&answer)),
        denied,
    }
}

fn judge(egress: &Rc<Egress>, query: &Query) -> Answer {
    let local = query.name == "localhost" || query.name.ends_with(".localhost");
    match query.record {
        _ if !query.internet => Answer::Refused,
        RecordType::Many => Answer::Refused,
        RecordType::A if local => Answer::Address(Ipv4Addr::LOCALHOST, SECONDS),
        RecordType::Aaaa if local => Answer::Address6(Ipv6Addr::LOCALHOST, SECONDS),
        _ if local => Answer::Nothing,
        RecordType::Ptr if query.reverse().is_some() => query
            .reverse()
            .and_then(|address| egress.book.borrow().name_of(address).map(str::to_owned))
            .map_or(Answer::NoSuchName, |name| Answer::Pointer(name, SECONDS)),
        _ if egress.policy().ports_of_name(&query.name).is_empty() => Answer::NoSuchName,
        RecordType::A => match egress.address_of(&query.name, Tenure::Passing) {
            Some(address) => Answer::Address(address, SECONDS),
            None => Answer::Failed,
        },
        RecordType::Aaaa | RecordType::Ptr | RecordType::Other(_) => Answer::Nothing,
    }
}

/// Names of addresses, and what a resolver makes of a search list, are nobody's attempt on anything.
fn is_attempt(egress: &Egress, query: &Query) -> bool {
    let searched = |search: &String| {
        query
            .name
            .strip_suffix(search.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    !query.name.is_empty() && !query.name.ends_with(".arpa") && !egress.searches.borrow().iter().any(searched)
}
