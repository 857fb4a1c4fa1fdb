//! Datagrams over a stream of the link: each behind its length in two bytes, big-endian. One stream is one client's
//! conversation with one port. As in UDP, what cannot be delivered is lost, and nobody waits for it.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;

use super::{Direction, Moved, idle};

/// Largest datagram: what the length can say, and more than UDP can carry (65,507 bytes over IPv4).
pub const MAX_DATAGRAM: usize = u16::MAX as usize;

/// The side of a conversation that is not the link.
pub trait Datagrams {
    /// The next datagram for the link, into `buffer`; `None`: there will be no more.
    fn receive(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<Option<usize>>>;
    /// A datagram from the link. One that cannot be delivered is lost.
    fn send(&self, datagram: &[u8]) -> impl Future<Output = ()>;
}

/// Carries datagrams until either side has no more, or none came for `silence`.
pub async fn datagrams(
    client: &impl Datagrams,
    link: impl AsyncRead + AsyncWrite,
    silence: Duration,
    count: impl Fn(Direction, u64),
) -> (Moved, io::Result<()>) {
    let (mut from_link, mut to_link) = tokio::io::split(link);
    let active = Cell::new(Instant::now());
    let moved = Cell::new(Moved::default());
    let note = |direction, bytes: usize| {
        let bytes = bytes as u64;
        let mut all = moved.get();
        match direction {
            Direction::ToLink => all.to_link += bytes,
            Direction::FromLink => all.from_link += bytes,
        }
        moved.set(all);
        active.set(Instant::now());
        count(direction, bytes);
    };
    let outward = async {
        let mut packet = vec![0; 2 + MAX_DATAGRAM];
        loop {
            let Some(length) = client.receive(packet.get_mut(2..).unwrap_or_default()).await? else {
                return io::Result::Ok(());
            };
            let length = length.min(MAX_DATAGRAM);
            let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
            if let [first, second, ..] = packet.as_mut_slice() {
                (*first, *second) = (high, low);
            }
            to_link
                .write_all(packet.get(..2 + length).unwrap_or_default())
                .await?;
            note(Direction::ToLink, length);
        }
    };
    let inward = async {
        let mut buffer = Vec::new();
        loop {
            let length = match from_link.read_u16().await {
                Ok(length) => usize::from(length),
                // The end of the conversation.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return io::Result::Ok(()),
                Err(error) => return Err(error),
            };
            buffer.resize(length, 0);
            from_link.read_exact(&mut buffer).await?;
            client.send(&buffer).await;
            note(Direction::FromLink, length);
        }
    };
    let result = tokio::select! {
        result = outward => result,
        result = inward => result,
        // Silence is how such a conversation ends.
        _ = idle(&active, silence) => Ok(()),
    };
    (moved.get(), result)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use tokio::io::duplex;

    use super::*;

    struct Fake {
        outgoing: RefCell<VecDeque<Vec<u8>>>,
        got: RefCell<Vec<Vec<u8>>>,
    }

    impl Datagrams for Fake {
        async fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
            let Some(next) = self.outgoing.borrow_mut().pop_front() else {
                return std::future::pending().await;
            };
            buffer[..next.len()].copy_from_slice(&next);
            Ok(Some(next.len()))
        }

        async fn send(&self, datagram: &[u8]) {
            self.got.borrow_mut().push(datagram.to_vec());
        }
    }

    #[test]
    fn boundaries_are_kept_and_silence_ends_it() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("runtime");
        runtime.block_on(async {
            let sent: Vec<Vec<u8>> = [0, 1, 1500, MAX_DATAGRAM].map(|length| vec![7; length]).into();
            let fake = || Fake {
                outgoing: RefCell::new(sent.clone().into()),
                got: RefCell::default(),
            };
            let (one, two) = (fake(), fake());
            let (near, far) = duplex(100);
            let silence = Duration::from_secs(60);
            let (first, second) = tokio::join!(
                datagrams(&one, near, silence, |_, _| ()),
                datagrams(&two, far, silence, |_, _| ())
            );
            first.1.expect("silence");
            second.1.expect("silence");
            assert!(*one.got.borrow() == sent && *two.got.borrow() == sent);
            let bytes = (1 + 1500 + MAX_DATAGRAM) as u64;
            assert_eq!(
                first.0,
                Moved {
                    to_link: bytes,
                    from_link: bytes
                }
            );
        });
    }

    #[test]
    fn a_stream_that_ends_within_a_datagram_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("runtime");
        runtime.block_on(async {
            let fake = Fake {
                outgoing: RefCell::default(),
                got: RefCell::default(),
            };
            let (near, mut far) = duplex(100);
            far.write_all(&[0, 9, 1, 2]).await.expect("room");
            drop(far);
            let (moved, result) = datagrams(&fake, near, Duration::from_secs(60), |_, _| ()).await;
            assert_eq!(result.expect_err("cut").kind(), io::ErrorKind::UnexpectedEof);
            assert_eq!((moved, fake.got.borrow().len()), (Moved::default(), 0));
        });
    }
}
