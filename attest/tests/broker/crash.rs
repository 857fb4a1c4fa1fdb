//! kill -9 at any moment: what an enclave was told is remembered, and the ledger is never damaged.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use attest::release::{RefusalCode, ReleaseError};

use crate::scene::{Failure, Scene};

/// Brokers that are killed.
const ROUNDS: u64 = 25;

#[test]
fn a_generation_that_got_secrets_is_never_forgotten() {
    let scene = Scene::new();
    let answered = AtomicU64::new(0);
    for round in 0..ROUNDS {
        let running = scene.start();
        check(&scene, running.address, answered.load(SeqCst));
        let before = answered.load(SeqCst);
        std::thread::scope(|threads| {
            let address = running.address;
            let (scene, answered) = (&scene, &answered);
            threads.spawn(move || {
                // One after the other, until the broker is gone.
                let mut generation = before + 1;
                while scene.get(address, generation).is_ok() {
                    answered.fetch_max(generation, SeqCst);
                    generation += 1;
                }
            });
            // Some releases, and then some moment of the next one.
            let started = Instant::now();
            while answered.load(SeqCst) < before + 1 + round % 3 {
                assert!(started.elapsed() < Duration::from_secs(60));
                std::thread::yield_now();
            }
            let moment = Instant::now() + Duration::from_micros(round * 400);
            while Instant::now() < moment {
                std::hint::spin_loop();
            }
            running.kill();
        });
    }
    assert!(answered.load(SeqCst) > ROUNDS);
}

/// No way back behind what was answered, and the same again unless the next one was remembered in the last moment.
fn check(scene: &Scene, address: SocketAddr, answered: u64) {
    if answered == 0 {
        return;
    }
    if answered > 1 {
        assert!(is_rollback(&scene.get(address, answered - 1)));
    }
    let same = scene.get(address, answered);
    assert!(same.is_ok() || is_rollback(&same), "{same:?}");
}

fn is_rollback(result: &Result<Vec<u8>, Failure>) -> bool {
    matches!(
        result,
        Err(Failure::Release(ReleaseError::Refused(refusal))) if refusal.code == RefusalCode::Rollback
    )
}
