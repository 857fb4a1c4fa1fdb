//! One direction of a relay. Bytes go through a buffer of the thread until the direction has shown that it moves bulk,
//! and through a pipe by splice(2) from then on, so that they need not be copied. A direction that waits holds neither.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use nix::errno::Errno;
use nix::fcntl::{SpliceFFlags, splice};
use nix::sys::socket::{MsgFlags, recv, send};
use tokio::io::Interest;

use super::end::End;
use super::pipe::Pipe;
use super::shortage;

/// Bytes read at once into the thread's buffer: what one write into a vsock takes, and what a sink that stalls costs.
pub(super) const BUFFER: usize = 28 * 1024;
/// Asked of one splice(2) into a pipe; a pipe takes what it has room for.
const SPLICE: usize = 1024 * 1024;
/// Bytes after which a direction is spliced: a request and its answer are done by then.
pub(super) const BULK: u64 = 256 * 1024;

thread_local! {
    static SHARED: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into_boxed_slice());
}

/// Which side of a direction failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// What is read from: its connection is over, both ways.
    Source(io::Error),
    /// What is written to: nobody reads there any more; an answer may still be on its way.
    Sink(io::Error),
}

/// What one turn did.
enum Turn {
    Moved,
    Ended,
    /// The source has nothing at the moment.
    Waits,
    /// The kernel splices neither from nor to these sockets.
    NoSplice,
}

/// Moves bytes until `from` has ended. `moved` hears of every piece that was written; a direction of more than `bulk`
/// bytes is spliced.
pub(super) async fn pump(
    from: &impl End,
    to: &impl End,
    bulk: u64,
    moved: impl Fn(u64),
) -> Result<(), Failed> {
    let mut total = 0;
    let mut may_splice = true;
    let count = |bytes: usize, total: &mut u64| {
        *total += bytes as u64;
        moved(bytes as u64);
    };
    loop {
        let pipe = if may_splice && total >= bulk && !shortage::is_short() {
            Pipe::take()
        } else {
            None
        };
        let turn = match pipe {
            Some(pipe) => through_pipe(from, to, pipe, |bytes| count(bytes, &mut total)).await?,
            None => through_buffer(from, to, |bytes| count(bytes, &mut total)).await?,
        };
        match turn {
            Turn::Moved => tokio::task::consume_budget().await,
            Turn::Ended => return Ok(()),
            Turn::Waits => from.ready(Interest::READABLE).await.map_err(Failed::Source)?,
            Turn::NoSplice => may_splice = false,
        }
    }
}

/// Reads once and writes all of it.
async fn through_buffer(
    from: &impl End,
    to: &impl End,
    mut moved: impl FnMut(usize),
) -> Result<Turn, Failed> {
    // What the sink does not take at once is the only thing that needs memory of its own.
    let rest = SHARED.with_borrow_mut(|buffer| {
        let buffer = shortage::room(buffer);
        let read = from.try_io(Interest::READABLE, |fd| {
            Ok(recv(fd.as_raw_fd(), buffer, MsgFlags::empty())?)
        });
        let Some(count) = unless_blocked(read).map_err(Failed::Source)? else {
            return Ok(Err(Turn::Waits));
        };
        if count == 0 {
            return Ok(Err(Turn::Ended));
        }
        let bytes = buffer.get(..count).unwrap_or_default();
        let mut sent = 0;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            match try_write(to, rest).map_err(Failed::Sink)? {
                Some(count) => {
                    sent += count;
                    moved(count);
                }
                None => break,
            }
        }
        Ok(Ok(bytes.get(sent..).unwrap_or_default().to_vec()))
    })?;
    match rest {
        Ok(rest) => write_all(to, &rest, moved).await.map(|()| Turn::Moved),
        Err(turn) => Ok(turn),
    }
}

pub(super) async fn write_all(
    to: &impl End,
    mut bytes: &[u8],
    mut moved: impl FnMut(usize),
) -> Result<(), Failed> {
    while !bytes.is_empty() {
        match try_write(to, bytes).map_err(Failed::Sink)? {
            Some(count) => {
                moved(count);
                bytes = bytes.get(count..).unwrap_or_default();
            }
            None => to.ready(Interest::WRITABLE).await.map_err(Failed::Sink)?,
        }
    }
    Ok(())
}

fn try_write(to: &impl End, bytes: &[u8]) -> io::Result<Option<usize>> {
    let bytes = bytes.get(..to.max_write()).unwrap_or(bytes);
    unless_blocked(to.try_io(Interest::WRITABLE, |fd| {
        Ok(send(fd.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL)?)
    }))
}

/// Fills the pipe and empties it, until there is nothing to fill it with.
async fn through_pipe(
    from: &impl End,
    to: &impl End,
    mut pipe: Pipe,
    mut moved: impl FnMut(usize),
) -> Result<Turn, Failed> {
    // Non-blocking on the side of the pipe; the sockets are non-blocking themselves.
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    let read = pipe.fill(|writer| {
        from.try_io(Interest::READABLE, |fd| {
            Ok(splice(fd, None, writer.as_fd(), None, SPLICE, flags)?)
        })
    });
    match read {
        Err(error) if cannot_splice(&error) => return Ok(Turn::NoSplice),
        read => match unless_blocked(read).map_err(Failed::Source)? {
            None => return Ok(Turn::Waits),
            Some(0) => return Ok(Turn::Ended),
            Some(_) => {}
        },
    }
    while pipe.filled() > 0 {
        let most = pipe.filled().min(to.max_write());
        let written = pipe.empty(|reader| {
            to.try_io(Interest::WRITABLE, |fd| {
                Ok(splice(reader.as_fd(), None, fd, None, most, flags)?)
            })
        });
        match written {
            Err(error) if cannot_splice(&error) => {
                let bytes = pipe.into_bytes().map_err(Failed::Sink)?;
                write_all(to, &bytes, moved).await?;
                return Ok(Turn::NoSplice);
            }
            written => match unless_blocked(written).map_err(Failed::Sink)? {
                Some(count) => moved(count),
                None => to.ready(Interest::WRITABLE).await.map_err(Failed::Sink)?,
            },
        }
    }
    Ok(Turn::Moved)
}

/// `None`: not now. After an interruption the end is still ready, so the call is made again at once.
pub(super) fn unless_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// splice(2): EINVAL where one of the two does not support it.
fn cannot_splice(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EINVAL as i32)
}
