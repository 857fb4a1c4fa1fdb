//! Streams that the host has opened and nobody needs yet.

use std::cell::RefCell;
use std::collections::VecDeque;

use manifest_sync::link::Stream;
use tokio::sync::Notify;

/// Most streams kept. Those of a host that is gone stay until somebody tries them, or they are the oldest of too many.
const MOST: usize = 128;

/// The streams, oldest first.
#[derive(Default)]
pub(super) struct Pool {
    idle: RefCell<VecDeque<Stream>>,
    arrived: Notify,
}

impl Pool {
    /// Keeps one.
    pub(super) fn park(&self, stream: Stream) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= MOST {
            idle.pop_front();
        }
        idle.push_back(stream);
        self.arrived.notify_one();
    }

    /// The newest, which is the likeliest to have a host at its other end. Waits when there is none; the caller bounds it.
    pub(super) async fn take(&self) -> Stream {
        loop {
            let newest = self.idle.borrow_mut().pop_back();
            match newest {
                Some(stream) => return stream,
                None => self.arrived.notified().await,
            }
        }
    }
}
