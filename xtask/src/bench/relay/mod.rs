//! B1, B2, B3, B6, B7, B8 and B9: the relay beside others', in the same run. All over loopback and Unix sockets: what is
//! compared is the relays' work, not the link's.

mod fairness;
mod memory;
mod runs;
mod setup;
mod speed;

use std::path::Path;

use ::tests::Product;
use anyhow::Result;

use self::setup::{Programs, Setup};
use super::output::Output;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// How often each case has its turn.
    pub(super) rounds: usize,
    /// Milliseconds of a turn, without its warm-up.
    pub(super) window: u64,
    /// Idle connections, for their memory.
    pub(super) idle: usize,
}

impl Effort {
    pub(super) const FULL: Self = Self {
        rounds: 5,
        window: 600,
        idle: 1000,
    };
    pub(super) const SHORT: Self = Self {
        rounds: 2,
        window: 150,
        idle: 200,
    };
}

/// Runs everything; `guest` is the guest's program.
pub(super) fn measure(product: &Product, guest: &Path, effort: Effort, output: &mut Output) -> Result<()> {
    let programs = Programs::build(product, guest)?;
    // First, in processes that have done nothing yet.
    memory::measure(&programs, effort, output)?;
    let setup = Setup::start(&programs)?;
    speed::bulk(&setup, effort, output)?;
    speed::connections(&setup, effort, output)?;
    speed::latency(&setup, effort, output)?;
    fairness::measure(&setup, effort, output)
}
