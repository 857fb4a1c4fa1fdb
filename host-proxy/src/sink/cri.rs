//! The format of container runtimes' log files: `TIME STREAM TAG TEXT`, where the tag says whether the line goes on.

use manifest_sync::log_record::{LogRun, LogStream, Record};

use super::item::Notice;
use crate::time;

/// What the lines of a run begin with; the tag follows.
pub(super) fn head(run: &LogRun) -> Vec<u8> {
    let mut head = Vec::with_capacity(48);
    time(run.time_ns, &mut head);
    head.extend_from_slice(match run.stream {
        // The format knows two.
        LogStream::Stdout | LogStream::Sealed => b" stdout ",
        LogStream::Stderr => b" stderr ",
    });
    head
}

/// Appends one record, with the head of its run.
pub(super) fn line(head: &[u8], record: &Record<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(head);
    out.extend_from_slice(if record.partial { b"P " } else { b"F " });
    out.extend_from_slice(record.line);
    out.push(b'\n');
}

/// Appends a notice: a line of standard error, which every reader of such files keeps.
pub(super) fn notice(notice: &Notice, out: &mut Vec<u8>) {
    time(notice.time_ns, out);
    out.extend_from_slice(b" stderr F -- ");
    out.extend_from_slice(notice.text().as_bytes());
    out.extend_from_slice(b" --\n");
}

/// Appends `2026-11-21T03:04:40.042000000Z`.
fn time(time_ns: u64, out: &mut Vec<u8>) {
    let second = time::second(time_ns / 1_000_000_000);
    out.extend_from_slice(second.trim_end_matches('Z').as_bytes());
    let mut digits = *b".000000000Z";
    let mut rest = time_ns % 1_000_000_000;
    for digit in digits.iter_mut().skip(1).take(9).rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    out.extend_from_slice(&digits);
}
