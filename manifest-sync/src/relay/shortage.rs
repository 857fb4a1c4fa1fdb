//! Memory that runs short: whoever watches it says so, and all relays of the thread hold less from then on. What they hold
//! already stays until somebody reads it.
//!
//! The kernel charges a process's cgroup with the buffers of its sockets and pipes, too (the kernel's cgroup-v2.rst, "Memory").
//! A relay that is stuck cannot be asked to give them back, so the limit has to be there before the bytes are.

use std::cell::Cell;

use tokio::sync::watch;

use super::end::Socket;

/// Bytes read at once, which is what a sink that stalls costs.
const CHUNK: usize = 3 * 1024;
/// Asked for each buffer of a socket; the kernel doubles it (socket(7), `SO_SNDBUF`). The bytes of one or two packets.
const SMALL: usize = 4 * 1024;
/// Asked for when there is memory again: with the doubling what sockets begin with. One that was set grows no more by itself.
const ORDINARY: usize = 104 * 1024;

thread_local! {
    /// What [`SHORT`] has, at the price of a read.
    static NOW: Cell<bool> = const { Cell::new(false) };
    static SHORT: watch::Sender<bool> = watch::Sender::new(false);
}

/// Whether memory is short, for the relays of this thread. While it is, they take no pipes, read little at once, and their
/// sockets have the smallest buffers: each connection holds at most some 24 KiB, and is slow.
pub fn memory_is_short(short: bool) {
    if NOW.replace(short) != short {
        SHORT.with(|sender| sender.send_replace(short));
    }
}

pub(super) fn is_short() -> bool {
    NOW.get()
}

/// As much of a buffer as may be filled at once.
pub(super) fn room(buffer: &mut [u8]) -> &mut [u8] {
    let most = if is_short() { CHUNK } else { buffer.len() };
    buffer.get_mut(..most).unwrap_or_default()
}

/// Keeps the buffers of sockets as memory allows; never ends.
pub(super) async fn keep<const N: usize>(sockets: [&Socket; N]) {
    let mut short = SHORT.with(watch::Sender::subscribe);
    loop {
        for (value, bytes) in [(true, SMALL), (false, ORDINARY)] {
            if short.wait_for(|short| *short == value).await.is_err() {
                return std::future::pending().await;
            }
            sockets.iter().for_each(|socket| socket.set_buffers(bytes));
        }
    }
}
