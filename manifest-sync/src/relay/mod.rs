//! The relay: bytes both ways between a client and a stream of the link, half-closes carried through in both
//! directions.
//!
//! A connection that was reset on one side is reset on the other where the protocol can say so: an end would say that
//! what was read is all there is.

pub mod datagrams;
mod end;
mod framed;
mod pipe;
mod pump;
mod shortage;

use std::cell::Cell;
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

pub use self::end::Socket;
use self::pump::{BULK, Failed, pump};
pub use self::shortage::memory_is_short;
use crate::link::Stream;

/// How long one direction may go on without moving anything when the other one can carry nothing more.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// What a relay did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Bytes from the client into the link.
    pub to_link: u64,
    /// Bytes from the link to the client.
    pub from_link: u64,
}

/// One way through a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client into the link.
    ToLink,
    /// From the link to the client.
    FromLink,
}

/// Relays until both directions have ended, one has failed, or nothing moved for `idle`. The counts hold in every case.
pub fn relay(
    client: impl Into<Socket>,
    link: Stream,
    idle: Duration,
) -> impl Future<Output = (Moved, io::Result<()>)> {
    relay_and_count(client, link, idle, |_, _| ())
}

/// [`relay`]; `count` hears of every piece that was written, in bytes.
pub async fn relay_and_count(
    client: impl Into<Socket>,
    link: Stream,
    idle: Duration,
    count: impl Fn(Direction, u64),
) -> (Moved, io::Result<()>) {
    let (client, progress) = (client.into(), Progress::new(count));
    let result = if link.is_framed() {
        // In a box: a task is as large as the largest of its ways, and this one is rare.
        Box::pin(framed::between(&client, link, idle, &progress)).await
    } else {
        match link.into_relayed() {
            Ok(link) => between(&client, &link, idle, BULK, &progress).await,
            Err(error) => Err(error),
        }
    };
    (progress.moved(), result)
}

async fn between(
    client: &Socket,
    link: &Socket,
    idle: Duration,
    bulk: u64,
    progress: &Progress<impl Fn(Direction, u64)>,
) -> io::Result<()> {
    let outward = async {
        pump(client, link, bulk, |bytes| {
            progress.note(Direction::ToLink, bytes);
        })
        .await?;
        link.end_of_writing().map_err(Failed::Sink)
    };
    let inward = async {
        pump(link, client, bulk, |bytes| {
            progress.note(Direction::FromLink, bytes);
        })
        .await?;
        client.end_of_writing().map_err(Failed::Sink)
    };
    let (outward, inward) = (pin!(outward), pin!(inward));
    let result = tokio::select! {
        result = both(outward, inward, idle, progress) => result,
        () = shortage::keep([client, link]) => Ok(()),
    };
    if result.is_err() {
        client.reset_on_close();
        link.reset_on_close();
    }
    result
}

/// What has moved, and when it did last.
struct Progress<F> {
    to_link: Cell<u64>,
    from_link: Cell<u64>,
    active: Cell<Instant>,
    count: F,
}

impl<F: Fn(Direction, u64)> Progress<F> {
    fn new(count: F) -> Self {
        Self {
            to_link: Cell::new(0),
            from_link: Cell::new(0),
            active: Cell::new(Instant::now()),
            count,
        }
    }

    fn note(&self, direction: Direction, bytes: u64) {
        let cell = match direction {
            Direction::ToLink => &self.to_link,
            Direction::FromLink => &self.from_link,
        };
        cell.set(cell.get() + bytes);
        self.active.set(Instant::now());
        (self.count)(direction, bytes);
    }

    fn moved(&self) -> Moved {
        Moved {
            to_link: self.to_link.get(),
            from_link: self.from_link.get(),
        }
    }
}

/// Lets both directions run until both have ended, or one of them ends the connection. They come pinned: a future that is
/// given away and pinned then takes its place in the task twice, and most connections wait here.
async fn both(
    mut outward: Pin<&mut impl Future<Output = Result<(), Failed>>>,
    mut inward: Pin<&mut impl Future<Output = Result<(), Failed>>>,
    mut limit: Duration,
    progress: &Progress<impl Fn(Direction, u64)>,
) -> io::Result<()> {
    let (mut outward_ended, mut inward_ended) = (None, None);
    loop {
        tokio::select! {
            result = &mut outward, if outward_ended.is_none() => outward_ended = Some(result),
            result = &mut inward, if inward_ended.is_none() => inward_ended = Some(result),
            error = idle(&progress.active, limit) => return Err(error),
        }
        match (outward_ended, inward_ended) {
            (Some(Err(Failed::Source(error))), _) | (_, Some(Err(Failed::Source(error)))) => {
                return Err(error);
            }
            (Some(Ok(())), Some(Ok(()))) => return Ok(()),
            (Some(Err(Failed::Sink(error))), Some(_)) | (Some(_), Some(Err(Failed::Sink(error)))) => {
                return Err(error);
            }
            (outward, inward) => (outward_ended, inward_ended) = (outward, inward),
        }
        // Nobody reads there any more, but an answer to what was written before may still come.
        if let (Some(Err(_)), _) | (_, Some(Err(_))) = (&outward_ended, &inward_ended) {
            limit = limit.min(LAST_WORDS);
        }
    }
}

/// Ends when nothing has moved for `limit`.
async fn idle(active: &Cell<Instant>, limit: Duration) -> io::Error {
    loop {
        let end = active.get() + limit;
        if Instant::now() >= end {
            return io::Error::new(io::ErrorKind::TimedOut, "nothing moved for too long");
        }
        sleep_until(end).await;
    }
}

#[cfg(test)]
mod tests;
