//! Logs: follows the enclave's log stream, gives it to the sinks and keeps the newest for `/logs`.
//!
//! The follower takes records as they come; the sinks (`crate::sink`) and the readers of `/logs` go at their own pace.
//! None can hold up the control task; who is too slow loses records and is told how many.

mod follow;
mod join;
mod json;
mod line;
mod ring;

pub use follow::Follower;
pub(crate) use follow::SEALED_MARK;
pub use join::Joiner;
pub use line::{Lines, Raw, Source, Style, escaped};
pub use ring::{Reader, Ring, Step};
