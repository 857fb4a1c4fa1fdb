//! Lines of log and their two printed shapes.

use manifest_sync::log_record::{self, Bytes, LogRun, LogStream, Name};

use super::json;
use crate::cli::LogFormat;
use crate::table::escape;
use crate::time::second;

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The container's standard output.
    Stdout,
    /// The container's standard error.
    Stderr,
    /// Both, encrypted to the log back-end.
    Sealed,
    /// Cloister itself: something was dropped.
    System,
}

impl Source {
    /// The word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Sealed => "sealed",
            Self::System => "system",
        }
    }
}

impl From<LogStream> for Source {
    fn from(stream: LogStream) -> Self {
        match stream {
            LogStream::Stdout => Self::Stdout,
            LogStream::Stderr => Self::Stderr,
            LogStream::Sealed => Self::Sealed,
        }
    }
}

/// Lines of one output of a container that were read together, or a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    /// Milliseconds since 1970, as the enclave read its clock.
    pub time_ms: u64,
    /// Name of the container; empty for a notice about all.
    pub container: Name,
    /// Where they come from.
    pub source: Source,
    /// How many there are.
    pub count: u64,
    /// The lines, with a line feed between two of them.
    pub text: Bytes,
}

impl From<LogRun> for Lines {
    fn from(run: LogRun) -> Self {
        Self {
            time_ms: run.time_ns / 1_000_000,
            container: run.container,
            source: run.stream.into(),
            count: run.records.into(),
            text: run.text,
        }
    }
}

impl Lines {
    /// Bytes that they take in the ring, roughly.
    pub fn weight(&self) -> usize {
        self.text.len() + self.container.len() + size_of::<Self>()
    }

    /// Appends `NAME | text` for each, the name padded to `width`; control characters escaped when `raw` says so.
    pub fn text(&self, width: usize, raw: Raw, out: &mut Vec<u8>) {
        let name = escape(&self.container);
        let padding = width.saturating_sub(name.chars().count());
        for line in log_record::lines(&self.text) {
            out.extend_from_slice(name.as_bytes());
            out.resize(out.len() + padding, b' ');
            out.extend_from_slice(b" | ");
            match raw {
                Raw::Yes => out.extend_from_slice(line),
                Raw::No => {
                    out.extend_from_slice(escape_but_tabs(&String::from_utf8_lossy(line)).as_bytes());
                }
            }
            out.push(b'\n');
        }
    }

    /// Appends one JSON object and a line feed for each. Bytes that are not UTF-8 become U+FFFD.
    pub fn json(&self, out: &mut Vec<u8>) {
        // The same for all of them, up to the text.
        let mut head = Vec::with_capacity(128);
        head.extend_from_slice(b"{\"time\":\"");
        let seconds = second(self.time_ms / 1000);
        head.extend_from_slice(seconds.trim_end_matches('Z').as_bytes());
        let digit = |unit: u64| b'0' + u8::try_from(self.time_ms / unit % 10).unwrap_or(0);
        head.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
        head.extend_from_slice(b"Z\",\"container\":\"");
        json::escape(self.container.as_bytes(), &mut head);
        head.extend_from_slice(b"\",\"stream\":\"");
        head.extend_from_slice(self.source.word().as_bytes());
        head.extend_from_slice(b"\",\"log\":\"");
        json::lines(&self.text, &head, b"\"}\n", out);
    }
}

/// Whether the bytes of a line are printed as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raw {
    /// As they are: standard output is a file or a pipe.
    Yes,
    /// Control characters escaped: standard output is a terminal, which must not obey a container.
    No,
}

/// How `/logs` looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Text or JSON.
    pub format: LogFormat,
    /// Whether the bytes go out as they are.
    pub raw: Raw,
}

impl Style {
    /// Appends lines as they are printed; `width` is that of the widest name so far.
    pub fn render(self, lines: &Lines, width: usize, out: &mut Vec<u8>) {
        match self.format {
            LogFormat::Text => lines.text(width, self.raw, out),
            LogFormat::Json => lines.json(out),
        }
    }
}

/// One line of text for a terminal, with its line feed.
pub fn escaped(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    format!("{}\n", escape_but_tabs(text.trim_end_matches('\n')))
}

/// Tabs stay what they are; everything else that a terminal would obey is escaped.
fn escape_but_tabs(text: &str) -> String {
    text.split('\t').map(escape).collect::<Vec<_>>().join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_printed_in_two_shapes() {
        let lines = Lines {
            time_ms: 1_795_230_280_042,
            container: "app".into(),
            source: Source::Stderr,
            count: 2,
            text: b"a\tb\x1b[31m\xff\"\nb"[..].into(),
        };
        let text = |width, raw| {
            let mut out = Vec::new();
            lines.text(width, raw, &mut out);
            out
        };
        let mut json = Vec::new();
        lines.json(&mut json);
        assert_eq!(text(5, Raw::Yes), b"app   | a\tb\x1b[31m\xff\"\napp   | b\n");
        assert_eq!(
            String::from_utf8_lossy(&text(3, Raw::No)),
            "app | a\tb\\u{1b}[31m\u{fffd}\"\napp | b\n"
        );
        assert_eq!(
            String::from_utf8_lossy(&json),
            "{\"time\":\"2026-11-21T03:04:40.042Z\",\"container\":\"app\",\"stream\":\"stderr\",\
             \"log\":\"a\\tb\\u001b[31m\u{fffd}\\\"\"}\n\
             {\"time\":\"2026-11-21T03:04:40.042Z\",\"container\":\"app\",\"stream\":\"stderr\",\"log\":\"b\"}\n"
        );
    }
}
