//! Dialling by happy eyeballs (RFC 8305): both families, one after another, the next a moment later or as soon as one fails; the
//! first that connects wins.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use manifest_sync::link::EgressReply;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Between two attempts (RFC 8305, section 8: the recommended value).
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses tried: a name with more is no more reachable for it.
const MAX_ATTEMPTS: usize = 16;

/// Connects to one of these, which are in the resolver's order. The caller bounds the time.
pub(super) async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, EgressReply> {
    let mut waiting = interleave(addresses).into_iter();
    let mut attempts = JoinSet::new();
    let mut failure = EgressReply::Unreachable;
    loop {
        match waiting.next() {
            Some(address) => drop(attempts.spawn(TcpStream::connect(address))),
            None if attempts.is_empty() => return Err(failure),
            None => {}
        }
        let more = waiting.len() > 0;
        tokio::select! {
            Some(ended) = attempts.join_next() => match ended {
                // Dropping the set ends the other attempts.
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = worse(failure, &error),
                Err(_) => {}
            },
            () = tokio::time::sleep(STAGGER), if more => {}
        }
    }
}

/// Families take turns, the resolver's first choice first (RFC 8305, section 4).
fn interleave(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else {
        return Vec::new();
    };
    let (preferred, other): (Vec<SocketAddr>, Vec<SocketAddr>) = addresses
        .iter()
        .partition(|address| address.is_ipv4() == first.is_ipv4());
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let mut all = Vec::with_capacity(addresses.len());
    while all.len() < MAX_ATTEMPTS {
        let before = all.len();
        all.extend(preferred.next());
        all.extend(other.next());
        if all.len() == before {
            break;
        }
    }
    all
}

/// A machine that says no tells more than a network that has no way.
fn worse(before: EgressReply, error: &io::Error) -> EgressReply {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => EgressReply::ConnectionRefused,
        io::ErrorKind::TimedOut if before == EgressReply::Unreachable => EgressReply::Timeout,
        _ => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;
    use tokio::net::TcpListener;

    fn places(texts: &[&str]) -> Vec<SocketAddr> {
        texts
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect()
    }

    #[test]
    fn families_take_turns() {
        let mixed = places(&["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1", "10.0.0.2:1"]);
        let turns = places(&["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "[::3]:1"]);
        assert_eq!(interleave(&mixed), turns);
        assert_eq!(interleave(&[]), []);
    }

    #[tokio::test]
    async fn one_that_refuses_does_not_delay_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (good, bad) = (
            listener.local_addr().expect("one"),
            gone.local_addr().expect("one"),
        );
        drop(gone);
        let begun = Instant::now();
        let stream = connect(&[bad, bad, bad, good]).await.expect("the last");
        assert_eq!(stream.peer_addr().expect("connected"), good);
        assert!(begun.elapsed() < STAGGER * 3, "{:?}", begun.elapsed());
        assert_eq!(
            connect(&[bad]).await.expect_err("gone"),
            EgressReply::ConnectionRefused
        );
    }
}
