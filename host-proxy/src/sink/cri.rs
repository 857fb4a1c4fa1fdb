//! The format of container runtimes' log files: `TIME STREAM TAG TEXT`, where the tag says whether the line goes on.

use manifest_sync::log_record::LogStream;

use super::item::Body;
use crate::time::format_rfc3339;

/// Appends one line. A notice is a line of standard error, which every reader of such files keeps.
pub(super) fn render(body: &Body, out: &mut Vec<u8>) {
    match body {
        Body::Record(record) => {
            out.extend_from_slice(time(record.time_ns).as_bytes());
            out.extend_from_slice(match record.stream {
                LogStream::Stdout => b" stdout ",
                LogStream::Stderr => b" stderr ",
            });
            out.extend_from_slice(if record.partial { b"P " } else { b"F " });
            out.extend_from_slice(&record.bytes);
        }
        Body::Notice(notice) => {
            out.extend_from_slice(time(notice.time_ns).as_bytes());
            out.extend_from_slice(b" stderr F -- ");
            out.extend_from_slice(notice.text().as_bytes());
            out.extend_from_slice(b" --");
        }
    }
    out.push(b'\n');
}

/// `2026-11-21T03:04:40.042000000Z`
pub(super) fn time(time_ns: u64) -> String {
    let seconds = format_rfc3339(time_ns / 1_000_000_000);
    format!(
        "{}.{:09}Z",
        seconds.trim_end_matches('Z'),
        time_ns % 1_000_000_000
    )
}
