//! The relay: bytes both ways between a client and a stream of the link, half-closes carried through where the link
//! has them and held back where it has not, so that no answer is lost.
//!
//! A connection that was reset on one side is reset on the other where the protocol can say so: an end would say that
//! what was read is all there is.

pub mod datagrams;
mod end;
mod pipe;
mod pump;

use std::cell::Cell;
use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

pub use self::end::Socket;
use self::pump::{BULK, Failed, pump};
use crate::link::{HalfClose, Stream};

/// How long one direction may go on without moving anything when the other one can carry nothing more.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// How long an answer may be silent on a link to which the end of the question cannot be told.
const LAST_ANSWER: Duration = Duration::from_secs(600);

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

/// One way through a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client into the link.
    ToLink,
    /// From the link to the client.
    FromLink,
}

/// Relays until both directions have ended, one has failed, or nothing moved for `options.idle`. The counts hold in
/// every case.
pub async fn relay(client: impl Into<Socket>, link: Stream, options: Options) -> (Moved, io::Result<()>) {
    relay_and_count(client, link, options, |_, _| ()).await
}

/// [`relay`]; `count` hears of every piece that was written, in bytes.
pub async fn relay_and_count(
    client: impl Into<Socket>,
    link: Stream,
    options: Options,
    count: impl Fn(Direction, u64),
) -> (Moved, io::Result<()>) {
    match link.into_relayed() {
        Ok(link) => between(&client.into(), &link, options, BULK, count).await,
        Err(error) => (Moved::default(), Err(error)),
    }
}

async fn between(
    client: &Socket,
    link: &Socket,
    options: Options,
    bulk: u64,
    count: impl Fn(Direction, u64),
) -> (Moved, io::Result<()>) {
    let (to_link, from_link) = (Cell::new(0), Cell::new(0));
    let active = Cell::new(Instant::now());
    let note = |cell: &Cell<u64>, direction, bytes| {
        cell.set(cell.get() + bytes);
        active.set(Instant::now());
        count(direction, bytes);
    };
    let outward = async {
        pump(client, link, bulk, |bytes| {
            note(&to_link, Direction::ToLink, bytes);
        })
        .await?;
        match options.half_close {
            HalfClose::Carried => link.end_of_writing().map_err(Failed::Sink),
            // Held back: the whole relay ends when the answer has ended.
            HalfClose::Lost => Ok(()),
        }
    };
    let inward = async {
        pump(link, client, bulk, |bytes| {
            note(&from_link, Direction::FromLink, bytes);
        })
        .await?;
        client.end_of_writing().map_err(Failed::Sink)
    };
    let (mut outward, mut inward) = (pin!(outward), pin!(inward));
    let (mut outward_ended, mut inward_ended) = (None, None);
    let mut limit = options.idle;
    let result = loop {
        tokio::select! {
            result = &mut outward, if outward_ended.is_none() => outward_ended = Some(result),
            result = &mut inward, if inward_ended.is_none() => inward_ended = Some(result),
            error = idle(&active, limit) => break Err(error),
        }
        match (outward_ended, inward_ended) {
            (Some(Err(Failed::Source(error))), _) | (_, Some(Err(Failed::Source(error)))) => {
                break Err(error);
            }
            (Some(Ok(())), Some(Ok(()))) => break Ok(()),
            (Some(Err(Failed::Sink(error))), Some(_)) | (Some(_), Some(Err(Failed::Sink(error)))) => {
                break Err(error);
            }
            (outward, inward) => (outward_ended, inward_ended) = (outward, inward),
        }
        limit = limit.min(patience(&outward_ended, &inward_ended, options.half_close));
    };
    if result.is_err() {
        client.reset_on_close();
        link.reset_on_close();
    }
    (
        Moved {
            to_link: to_link.get(),
            from_link: from_link.get(),
        },
        result,
    )
}

/// How long the direction that is left may be silent.
fn patience(
    outward: &Option<Result<(), Failed>>,
    inward: &Option<Result<(), Failed>>,
    half_close: HalfClose,
) -> Duration {
    match (outward, inward, half_close) {
        // Nobody reads there any more, but an answer to what was written before may still come.
        (Some(Err(_)), _, _) | (_, Some(Err(_)), _) => LAST_WORDS,
        // Such a link has closed altogether when it says that it has ended.
        (_, Some(Ok(())), HalfClose::Lost) => LAST_WORDS,
        // The other side has not been told, so it does not end by itself when its client is gone.
        (Some(Ok(())), _, HalfClose::Lost) => LAST_ANSWER,
        _ => Duration::MAX,
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
