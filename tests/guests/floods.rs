//! `guest flood-at-signal NAME KIND AMOUNT`: waits for SIGUSR1, then has more to say than anybody can want, and ends. The
//! name tells processes apart, and no output comes before the signal.

use std::io::Write as _;

/// Terminal escapes, and bytes that are no text; no end of a line.
const BINARY: &[u8] = b"\x1b[2J\x1b]0;title\x07\0\xff\xc3(\r\x9b31m\x08";

unsafe extern "C" {
    fn close(descriptor: i32) -> i32;
}

/// Each kind has an exit code of its own.
pub(crate) fn flood(kind: &str, amount: usize) -> i32 {
    if kind == "closed" {
        for output in [1, 2] {
            // SAFETY: nothing uses these descriptors any more: what is printed from now on is lost.
            unsafe { close(output) };
        }
    }
    // SIGUSR1.
    super::catch(&[10]);
    super::caught();
    let mut out = std::io::stdout().lock();
    match kind {
        // So many numbered lines of 100 bytes.
        "lines" => {
            let mut chunk = Vec::new();
            for number in 0..amount {
                writeln!(chunk, "{number:09} {:x>89}", "").expect("memory");
                if chunk.len() > 60_000 || number + 1 == amount {
                    out.write_all(&chunk).expect("a reader");
                    chunk.clear();
                }
            }
            1
        }
        // One line of so many bytes.
        "line" => {
            write(&mut out, b"x", amount);
            2
        }
        "closed" => 3,
        "binary" => {
            write(&mut out, BINARY, amount);
            4
        }
        // Until it is killed.
        "endless" => loop {
            write(&mut out, format!("{:x>99}\n", "").as_bytes(), 60_000);
        },
        other => panic!("guest: a flood of {other:?}?"),
    }
}

/// So many bytes of this again and again.
fn write(out: &mut impl std::io::Write, pattern: &[u8], mut amount: usize) {
    let chunk = pattern.repeat(60_000 / pattern.len());
    while amount > 0 {
        let now = amount.min(chunk.len());
        out.write_all(&chunk[..now]).expect("a reader");
        amount -= now;
    }
    out.flush().expect("a reader");
}
