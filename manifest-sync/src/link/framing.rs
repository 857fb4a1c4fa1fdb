//! Both directions of a stream in pieces, so that each can end for itself on a link that has no half-close. A piece is
//! its length, 16 bits big-endian, and so many bytes; the length 0 is the end of the direction. A connection that is
//! closed before that was not ended but cut.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of a length.
const HEADER: usize = 2;

/// How far the pieces of both directions are.
#[derive(Debug, Default)]
pub(super) struct Framing {
    reading: Reading,
    writing: Writing,
}

#[derive(Debug, Default)]
struct Reading {
    /// The length of the next piece, and how many of its bytes have been read.
    header: [u8; HEADER],
    filled: usize,
    /// Bytes of this piece that are still to come.
    rest: usize,
    ended: bool,
}

#[derive(Debug, Default)]
struct Writing {
    /// What is left of a length that was begun.
    header: [u8; HEADER],
    unsent: usize,
    /// Bytes that the last length promised and that were not written yet.
    promised: usize,
    ended: bool,
}

impl Framing {
    /// Bytes of the peer's; none: its end.
    pub(super) fn poll_read(
        &mut self,
        mut socket: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let reading = &mut self.reading;
        while reading.rest == 0 && !reading.ended {
            let mut header = ReadBuf::new(reading.header.get_mut(reading.filled..).unwrap_or_default());
            ready!(Pin::new(&mut socket).poll_read(cx, &mut header))?;
            match header.filled().len() {
                0 => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                count => reading.filled += count,
            }
            if reading.filled == HEADER {
                reading.filled = 0;
                reading.rest = usize::from(u16::from_be_bytes(reading.header));
                reading.ended = reading.rest == 0;
            }
        }
        if reading.ended || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut piece = ReadBuf::new(buf.initialize_unfilled_to(reading.rest.min(buf.remaining())));
        ready!(Pin::new(&mut socket).poll_read(cx, &mut piece))?;
        let count = piece.filled().len();
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        reading.rest -= count;
        buf.advance(count);
        Poll::Ready(Ok(()))
    }

    /// Writes some of these. A write that is given up promises nothing about which bytes come next, only how many.
    pub(super) fn poll_write(
        &mut self,
        mut socket: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let writing = &mut self.writing;
        if writing.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if writing.promised == 0 {
            let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
            writing.begin(length);
        }
        ready!(writing.poll_header(&mut socket, cx))?;
        let bytes = bytes.get(..writing.promised).unwrap_or(bytes);
        let count = ready!(Pin::new(&mut socket).poll_write(cx, bytes))?;
        writing.promised -= count;
        Poll::Ready(Ok(count))
    }

    /// Says that there is no more; the peer can still answer.
    pub(super) fn poll_end(
        &mut self,
        mut socket: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let writing = &mut self.writing;
        if writing.promised > 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if !writing.ended {
            writing.begin(0);
            writing.ended = true;
        }
        writing.poll_header(&mut socket, cx)
    }
}

impl Writing {
    fn begin(&mut self, length: u16) {
        self.header = length.to_be_bytes();
        self.unsent = HEADER;
        self.promised = usize::from(length);
    }

    fn poll_header(
        &mut self,
        mut socket: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unsent > 0 {
            let rest = self.header.get(HEADER - self.unsent..).unwrap_or_default();
            match ready!(Pin::new(&mut socket).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.unsent -= count.min(self.unsent),
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("runtime")
            .block_on(future)
    }

    async fn write_all(framing: &mut Framing, socket: &mut DuplexStream, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let count = poll_fn(|cx| framing.poll_write(socket, cx, bytes))
                .await
                .expect("open");
            bytes = &bytes[count..];
        }
    }

    async fn read_all(
        framing: &mut Framing,
        socket: &mut (impl AsyncRead + Unpin),
        most: usize,
    ) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let mut buffer = vec![0; most];
            let mut buf = ReadBuf::new(&mut buffer);
            poll_fn(|cx| framing.poll_read(socket, cx, &mut buf)).await?;
            if buf.filled().is_empty() {
                return Ok(all);
            }
            all.extend_from_slice(buf.filled());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Whatever the link takes and gives at once.
        #[test]
        fn bytes_and_their_end_arrive(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..20),
            room in 1usize..40,
            most in 1usize..200,
        ) {
            run(async {
                let (mut near, mut far) = duplex(room);
                let write = async {
                    let mut framing = Framing::default();
                    for piece in &pieces {
                        write_all(&mut framing, &mut near, piece).await;
                    }
                    poll_fn(|cx| framing.poll_end(&mut near, cx)).await.expect("open");
                    near
                };
                let mut framing = Framing::default();
                let (near, all) = tokio::join!(write, read_all(&mut framing, &mut far, most));
                assert_eq!(all.expect("an end"), pieces.concat());
                // It has ended for good, whatever follows.
                drop(near);
                assert_eq!(read_all(&mut framing, &mut far, most).await.expect("an end"), b"");
            });
        }

        /// Any bytes that a peer could send are bytes, an end, or an error; and no more bytes than were sent.
        #[test]
        fn nothing_that_a_peer_sends_is_more_than_it_sent(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            run(async {
                let result = read_all(&mut Framing::default(), &mut bytes.as_slice(), 64).await;
                assert!(result.is_err() || result.is_ok_and(|all| all.len() + HEADER <= bytes.len()));
            });
        }
    }

    #[test]
    fn what_is_longer_than_a_piece_takes_several() {
        run(async {
            let (mut near, mut far) = duplex(1 << 20);
            let bytes = vec![7; 200_000];
            let mut framing = Framing::default();
            write_all(&mut framing, &mut near, &bytes).await;
            poll_fn(|cx| framing.poll_end(&mut near, cx)).await.expect("open");
            let again = poll_fn(|cx| framing.poll_write(&mut near, cx, b"x")).await;
            assert_eq!(again.expect_err("over").kind(), io::ErrorKind::BrokenPipe);
            drop(near);
            let mut raw = Vec::new();
            far.read_to_end(&mut raw).await.expect("memory");
            assert_eq!(raw.len(), bytes.len() + 5 * HEADER);
            let all = read_all(&mut Framing::default(), &mut raw.as_slice(), 4096).await;
            assert!(all.expect("an end") == bytes);
        });
    }

    #[test]
    fn a_connection_that_is_closed_without_an_end_is_cut() {
        run(async {
            for raw in [&b""[..], b"\0", b"\0\x03", b"\0\x03ab", b"\0\x02ab"] {
                let (mut near, mut far) = duplex(64);
                near.write_all(raw).await.expect("open");
                drop(near);
                let error = read_all(&mut Framing::default(), &mut far, 64)
                    .await
                    .expect_err("cut");
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{raw:?}");
            }
        });
    }
}
