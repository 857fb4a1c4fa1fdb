//! The relay: bytes both ways between a client and a stream of the link, half-closes carried through where the link
//! has them and held back where it has not, so that no answer is lost.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until};

use crate::link::HalfClose;

/// First buffer of a direction: enough for a request, cheap for a connection that idles.
const SMALL_BUFFER: usize = 4 * 1024;
/// Buffer once a direction has shown that it moves bulk.
const LARGE_BUFFER: usize = 64 * 1024;

/// What a relay does.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Ends a relay in which nothing moved for this long.
    pub idle: Duration,
    /// What the link does with a half-close.
    pub half_close: HalfClose,
}

/// What a relay did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Bytes from the client into the link.
    pub to_link: u64,
    /// Bytes from the link to the client.
    pub from_link: u64,
}

/// Relays until both directions have ended, one has failed, or nothing moved for `options.idle`. The counts hold in
/// every case.
pub async fn relay(
    client: impl AsyncRead + AsyncWrite + Unpin,
    link: impl AsyncRead + AsyncWrite + Unpin,
    options: Options,
) -> (Moved, io::Result<()>) {
    let (mut client_read, mut client_write) = tokio::io::split(client);
    let (mut link_read, mut link_write) = tokio::io::split(link);
    let (to_link, from_link) = (Cell::new(0), Cell::new(0));
    let active = Cell::new(Instant::now());
    let result = {
        let outward = async {
            copy(&mut client_read, &mut link_write, &to_link, &active).await?;
            match options.half_close {
                HalfClose::Carried => link_write.shutdown().await,
                // Held back: the whole relay ends when the answer has ended.
                HalfClose::Lost => Ok(()),
            }
        };
        let inward = async {
            copy(&mut link_read, &mut client_write, &from_link, &active).await?;
            client_write.shutdown().await
        };
        tokio::select! {
            result = async { tokio::try_join!(outward, inward) } => result.map(|_| ()),
            () = idle(&active, options.idle) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "nothing moved for too long"))
            }
        }
    };
    (
        Moved {
            to_link: to_link.get(),
            from_link: from_link.get(),
        },
        result,
    )
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    moved: &Cell<u64>,
    active: &Cell<Instant>,
) -> io::Result<()> {
    let mut buffer = vec![0; SMALL_BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        to.write_all(bytes).await?;
        moved.set(moved.get() + count as u64);
        active.set(Instant::now());
        if count == SMALL_BUFFER && buffer.len() == SMALL_BUFFER {
            buffer.resize(LARGE_BUFFER, 0);
        }
    }
}

async fn idle(active: &Cell<Instant>, limit: Duration) {
    loop {
        let end = active.get() + limit;
        if Instant::now() >= end {
            return;
        }
        sleep_until(end).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::duplex;

    const OPTIONS: Options = Options {
        idle: Duration::from_secs(60),
        half_close: HalfClose::Carried,
    };

    async fn echo_after_end(mut stream: tokio::io::DuplexStream) -> io::Result<()> {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await?;
        stream.write_all(&all).await?;
        stream.shutdown().await
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("runtime")
            .block_on(future)
    }

    proptest! {
        #[test]
        fn bytes_in_are_bytes_out_after_a_half_close(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..5000), 0..12),
            pipe in 1usize..9000,
        ) {
            run(async {
                let (mut client, near) = duplex(pipe);
                let (far, server) = duplex(pipe);
                let sent: Vec<u8> = pieces.concat();
                let client = async {
                    for piece in &pieces {
                        client.write_all(piece).await.expect("open");
                    }
                    client.shutdown().await.expect("open");
                    let mut all = Vec::new();
                    client.read_to_end(&mut all).await.expect("open");
                    all
                };
                // The server answers before the client reads: let both run together.
                let ((moved, result), _, all) = tokio::join!(relay(near, far, OPTIONS), echo_after_end(server), client);
                result.expect("clean end");
                assert_eq!(all, sent);
                assert_eq!(moved, Moved { to_link: sent.len() as u64, from_link: sent.len() as u64 });
            });
        }
    }

    #[test]
    fn a_link_without_half_close_keeps_the_answer() {
        run(async {
            let (mut client, near) = duplex(64);
            let (far, mut server) = duplex(64);
            let options = Options {
                half_close: HalfClose::Lost,
                ..OPTIONS
            };
            let server = async {
                let mut request = [0; 4];
                server.read_exact(&mut request).await.expect("request");
                server.write_all(b"answer").await.expect("open");
                drop(server);
            };
            let client = async {
                client.write_all(b"ask?").await.expect("open");
                client.shutdown().await.expect("open");
                let mut answer = String::new();
                client.read_to_string(&mut answer).await.expect("open");
                answer
            };
            let ((_, result), (), answer) = tokio::join!(relay(near, far, options), server, client);
            result.expect("clean end");
            assert_eq!(answer, "answer");
        });
    }

    #[test]
    fn an_idle_relay_ends() {
        run(async {
            let (_client, near) = duplex(64);
            let (far, _server) = duplex(64);
            let (moved, result) = relay(near, far, OPTIONS).await;
            assert_eq!(result.expect_err("idle").kind(), io::ErrorKind::TimedOut);
            assert_eq!(moved, Moved::default());
        });
    }
}
