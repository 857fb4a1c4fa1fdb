//! Logs: follows the enclave's log stream, prints it on standard output and keeps the newest for `/logs`.
//!
//! Three parties at three speeds: the follower takes records as they come, a thread of its own writes them to
//! standard output, readers of `/logs` walk the ring at their pace. None can hold up the control task; who is too
//! slow loses records and is told how many.

mod follow;
mod line;
mod print;
mod ring;

pub use follow::{Follower, StoreCursor};
pub use line::{Line, Raw, Source};
pub use print::{Printer, Style};
pub use ring::{LogCounts, Reader, Ring, Step};
