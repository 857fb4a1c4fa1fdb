//! Pipes for splice(2), lent for as long as bytes are in them: a connection that idles holds none.

use std::cell::RefCell;
use std::io::{self, PipeReader, PipeWriter, Read as _};

use nix::fcntl::{FcntlArg, fcntl};

/// What a pipe is asked to hold, in bytes. A kernel that refuses leaves it at 64 KiB.
const CAPACITY: i32 = 256 * 1024;
/// Pipes of one thread, lent and idle together; each costs two descriptors. Beyond it connections are copied.
const MAX_PIPES: usize = 128;
/// Idle pipes that are kept.
const MAX_IDLE: usize = 16;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { idle: Vec::new(), lent: 0 }) };
}

struct Pool {
    idle: Vec<Ends>,
    lent: usize,
}

struct Ends {
    reader: PipeReader,
    writer: PipeWriter,
}

/// A pipe that goes back when it is dropped empty, and is closed otherwise.
pub(super) struct Pipe {
    /// `None` only while it is dropped.
    ends: Option<Ends>,
    filled: usize,
}

impl Pipe {
    /// An empty pipe, unless too many are lent or there are no descriptors left.
    pub(super) fn take() -> Option<Self> {
        POOL.with_borrow_mut(|pool| {
            let ends = match pool.idle.pop() {
                Some(ends) => ends,
                None if pool.lent < MAX_PIPES => Ends::new().ok()?,
                None => return None,
            };
            pool.lent += 1;
            Some(Self {
                ends: Some(ends),
                filled: 0,
            })
        })
    }

    /// Bytes in it.
    pub(super) fn filled(&self) -> usize {
        self.filled
    }

    /// Lets `operation` write into it; takes note of what it says it wrote.
    pub(super) fn fill(
        &mut self,
        operation: impl FnOnce(&PipeWriter) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        let count = operation(&ends.writer)?;
        self.filled += count;
        Ok(count)
    }

    /// Lets `operation` read from it; takes note of what it says it read.
    pub(super) fn empty(
        &mut self,
        operation: impl FnOnce(&PipeReader) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        let count = operation(&ends.reader)?;
        self.filled = self.filled.saturating_sub(count);
        Ok(count)
    }

    /// Takes everything out of it.
    pub(super) fn into_bytes(mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.filled];
        if let Some(ends) = &mut self.ends {
            ends.reader.read_exact(&mut bytes)?;
            self.filled = 0;
        }
        Ok(bytes)
    }
}

impl Ends {
    fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        // EPERM: the user has too many pages in pipes (pipe(7)); it holds less, then.
        let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(CAPACITY));
        Ok(Self { reader, writer })
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let ends = self.ends.take();
        POOL.with_borrow_mut(|pool| {
            pool.lent = pool.lent.saturating_sub(1);
            if self.filled == 0
                && pool.idle.len() < MAX_IDLE
                && let Some(ends) = ends
            {
                pool.idle.push(ends);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_with_bytes_in_it_is_not_lent_again() {
        let mut pipe = Pipe::take().expect("a pipe");
        pipe.fill(|mut writer| io::Write::write(&mut writer, b"left over"))
            .expect("room");
        drop(pipe);
        for _ in 0..MAX_IDLE {
            let pipe = Pipe::take().expect("a pipe");
            assert_eq!(
                (pipe.filled(), pipe.into_bytes().expect("nothing")),
                (0, Vec::new())
            );
        }
    }

    #[test]
    fn there_is_an_end_to_lending() {
        let lent: Vec<Pipe> = std::iter::from_fn(Pipe::take).take(MAX_PIPES + 1).collect();
        assert_eq!(lent.len(), MAX_PIPES);
        drop(lent);
        assert!(Pipe::take().is_some());
    }
}
