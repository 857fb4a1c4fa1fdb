//! The relay on a link without half-close: the stream says the ends itself, so all bytes pass through this process.

use std::io;
use std::os::fd::AsRawFd as _;
use std::pin::pin;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};

use super::end::{End as _, Socket};
use super::pump::{BUFFER, Failed, unless_blocked, write_all};
use super::{Direction, Progress, both, shortage};
use crate::link::Stream;

/// Relays between a client and a framed stream.
pub(super) async fn between(
    client: &Socket,
    link: Stream,
    idle: Duration,
    progress: &Progress<impl Fn(Direction, u64)>,
) -> io::Result<()> {
    let (mut link_read, mut link_write) = tokio::io::split(link);
    let outward = async {
        let mut buffer = vec![0; BUFFER];
        loop {
            let room = shortage::room(&mut buffer);
            let read = client.try_io(Interest::READABLE, |fd| {
                Ok(recv(fd.as_raw_fd(), room, MsgFlags::empty())?)
            });
            let Some(count) = unless_blocked(read).map_err(Failed::Source)? else {
                client.ready(Interest::READABLE).await.map_err(Failed::Source)?;
                continue;
            };
            if count == 0 {
                return link_write.shutdown().await.map_err(Failed::Sink);
            }
            let bytes = buffer.get(..count).unwrap_or_default();
            link_write.write_all(bytes).await.map_err(Failed::Sink)?;
            progress.note(Direction::ToLink, count as u64);
        }
    };
    let inward = async {
        let mut buffer = vec![0; BUFFER];
        loop {
            let room = shortage::room(&mut buffer);
            let count = link_read.read(room).await.map_err(Failed::Source)?;
            if count == 0 {
                return client.end_of_writing().map_err(Failed::Sink);
            }
            let bytes = buffer.get(..count).unwrap_or_default();
            write_all(client, bytes, |count| {
                progress.note(Direction::FromLink, count as u64);
            })
            .await?;
        }
    };
    let (outward, inward) = (pin!(outward), pin!(inward));
    let result = tokio::select! {
        result = both(outward, inward, idle, progress) => result,
        () = shortage::keep([client]) => Ok(()),
    };
    if result.is_err() {
        client.reset_on_close();
    }
    result
}
