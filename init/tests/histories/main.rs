//! Random histories of a Pod.
//!
//! One test checks what holds in all of them (`properties`). The other is differential: the supervisor against a naive
//! model of restart policies, probes and exits, over very many (`cargo test --release` looks at 100,000). The model is
//! written from the kubelet semantics and not from the supervisor. At every tick of half a second at which either
//! has something to do, both must have started, signalled, killed and asked the same containers, and their statuses must say the same.
//!
//! `DIFFERENTIAL_HISTORIES` is how many histories, `DIFFERENTIAL_SEED` where they begin: `DIFFERENTIAL_HISTORIES=1
//! DIFFERENTIAL_SEED=…` repeats one.

mod core;
mod model;
mod probes;
mod projection;
mod properties;
mod random;
mod rules;
mod scenario;
mod trace;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use self::core::Core;
use self::model::Model;
use self::scenario::Scenario;

/// Without optimisation a history takes several milliseconds.
const HISTORIES: u64 = if cfg!(debug_assertions) { 4_000 } else { 100_000 };
/// A history that is not over this many ticks after its last stop never ends: an hour.
const ENDLESS: u64 = 7200;

#[test]
fn the_supervisor_does_what_the_model_does() {
    let first = first_seed();
    let histories = number("DIFFERENTIAL_HISTORIES").unwrap_or(HISTORIES);
    println!("{histories} histories from DIFFERENTIAL_SEED={first}");
    let next = AtomicU64::new(0);
    let (ticks, starts) = (AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= histories {
                        break;
                    }
                    let done = compare(&Scenario::new(first.wrapping_add(index)));
                    ticks.fetch_add(done.0, Ordering::Relaxed);
                    starts.fetch_add(done.1, Ordering::Relaxed);
                }
            });
        }
    });
    let (ticks, starts) = (ticks.into_inner(), starts.into_inner());
    println!("{ticks} ticks, {starts} starts, and not one difference");
}

fn number(variable: &str) -> Option<u64> {
    Some(std::env::var(variable).ok()?.parse().expect("a number"))
}

/// Where histories begin: every run has its own, unless one is asked for.
fn first_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    number("DIFFERENTIAL_SEED").unwrap_or(now.as_secs() << 20)
}

/// Ticks and starts of the history.
fn compare(scenario: &Scenario) -> (u64, u64) {
    let (mut core, mut model) = (Core::new(scenario), Model::new(scenario));
    let mut log = Vec::new();
    let (last_stop, _) = scenario.stops[scenario.stops.len() - 1];
    let (mut ticks, mut starts) = (0, 0);
    let mut now = 0;
    loop {
        let (ours, expected) = (core.tick(now), model.tick(now));
        starts += ours.starts.len() as u64;
        if ours != expected {
            let from = log.len().saturating_sub(12);
            for (at, observation) in &log[from..] {
                println!("{}ms {observation:?}", at * scenario::TICK_MS);
            }
            panic!(
                "DIFFERENTIAL_HISTORIES=1 DIFFERENTIAL_SEED={}\n{}\nat {} ms the supervisor: {ours:?}\nthe model: \
                 {expected:?}",
                scenario.seed,
                String::from_utf8_lossy(&scenario.bundle()),
                now * scenario::TICK_MS
            );
        }
        let finished = ours.finished.is_some();
        if log.last().is_none_or(|(_, before)| *before != ours) {
            log.push((now, ours));
        }
        ticks += 1;
        if finished {
            return (ticks, starts);
        }
        assert!(now < last_stop + ENDLESS, "seed {} never ends", scenario.seed);
        now = core.next_tick().min(model.quiet_until(now)).max(now + 1);
    }
}
