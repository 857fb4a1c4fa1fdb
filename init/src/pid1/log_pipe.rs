//! An output of a container instance on its way into the rings: read from its pipe, cut into lines.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::SystemTime;

use manifest_sync::log_record::LogStream;
use tokio::io::unix::AsyncFd;

use super::log_cut::{Cut, Cutter};
use super::log_gap::RingId;
use super::log_store::{LogStore, Piece};
use crate::sys::fd;

/// Bytes read in one turn: a default pipe buffer (pipe(7)).
const READ_BYTES: usize = 64 * 1024;

/// One output of one container instance.
pub(crate) struct LogPipe {
    fd: AsyncFd<OwnedFd>,
    cutter: RefCell<Cutter>,
    container: String,
    ring: RingId,
    attempt: u32,
    stream: LogStream,
    store: Rc<RefCell<LogStore>>,
    /// The output has ended within a line.
    cut_off: Cell<bool>,
}

impl LogPipe {
    /// Takes the read end of a pipe; it must be non-blocking.
    pub(crate) fn new(
        pipe: OwnedFd,
        container: &str,
        attempt: u32,
        stream: LogStream,
        store: &Rc<RefCell<LogStore>>,
    ) -> io::Result<Rc<Self>> {
        let (ring, max_line) = store.borrow_mut().ring(container);
        Ok(Rc::new(Self {
            fd: fd::watch(pipe)?,
            cutter: RefCell::new(Cutter::new(max_line, container)),
            container: container.to_owned(),
            ring,
            attempt,
            stream,
            store: Rc::clone(store),
            cut_off: Cell::new(false),
        }))
    }

    /// Reads until the other end is closed. One chunk a turn, so that a flood starves nobody.
    pub(crate) async fn drain(self: Rc<Self>) {
        loop {
            let Ok(mut ready) = self.fd.readable().await else {
                return;
            };
            match ready.try_io(|fd| self.read_chunk(fd.get_ref())) {
                Ok(Ok(0)) => {
                    self.finish_line();
                    return;
                }
                Ok(Ok(count)) => {
                    // Less than was asked for: there is no more, and what is written next is told anew (epoll(7),
                    // edge-triggered).
                    if count < READ_BYTES {
                        ready.clear_ready();
                    }
                    tokio::task::yield_now().await;
                }
                Ok(Err(error)) => {
                    log::warn!("log of container {}: {error}", self.container);
                    return;
                }
                Err(_would_block) => {}
            }
        }
    }

    /// Takes what is in the pipe now, at most one pipe buffer: the writer is dead, and its last words are wanted
    /// before its exit is reported.
    pub(crate) fn drain_now(&self) {
        // The second read sees the end.
        for _ in 0..2 {
            match self.read_chunk(self.fd.get_ref()) {
                Ok(0) => return self.finish_line(),
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    fn read_chunk(&self, fd: &OwnedFd) -> io::Result<usize> {
        let mut store = self.store.borrow_mut();
        // Of all pipes: what is read does not stay in it.
        let mut chunk = store.take_buffer(READ_BYTES);
        let read = nix::unistd::read(fd, &mut chunk);
        if let Ok(count) = read {
            self.cut(chunk.get(..count).unwrap_or_default(), &mut store);
        }
        store.give_buffer(chunk);
        Ok(read?)
    }

    /// Lines that were read together have one time: that of the reading.
    fn cut(&self, bytes: &[u8], store: &mut LogStore) {
        let time_ns = now_ns();
        let mut cutter = self.cutter.borrow_mut();
        cutter.cut(bytes, |cut| store.push(&self.piece(time_ns, cut)));
        store.wake();
    }

    /// Whether the output has ended without a newline.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off.get()
    }

    /// The end of the output ends its last line.
    fn finish_line(&self) {
        let mut store = self.store.borrow_mut();
        let mut cutter = self.cutter.borrow_mut();
        let cut_off = cutter.finish(|cut| store.push(&self.piece(now_ns(), cut)));
        self.cut_off.set(self.cut_off.get() || cut_off);
        store.seal(self.ring);
        store.wake();
    }

    fn piece<'a>(&self, time_ns: u64, cut: Cut<'a>) -> Piece<'a> {
        Piece {
            ring: self.ring,
            time_ns,
            attempt: self.attempt,
            stream: self.stream,
            partial: cut.partial,
            records: cut.records,
            text: cut.text,
        }
    }
}

fn now_ns() -> u64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
