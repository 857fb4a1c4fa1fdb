//! One line of log and its two printed shapes.

use serde::Serialize;

use crate::cli::LogFormat;
use crate::table::escape;
use crate::time::second;

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The container's standard output.
    Stdout,
    /// The container's standard error.
    Stderr,
    /// Cloister itself: something was dropped.
    System,
}

/// One line of one container, or a notice about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Milliseconds since 1970, as the enclave read its clock.
    pub time_ms: u64,
    /// Name of the container; empty for a notice about all.
    pub container: String,
    /// Where it comes from.
    pub source: Source,
    /// Without the line feed.
    pub text: Vec<u8>,
}

#[derive(Serialize)]
struct Shape<'a> {
    time: String,
    container: &'a str,
    stream: Source,
    log: std::borrow::Cow<'a, str>,
}

impl Line {
    /// Bytes that it takes in the ring, roughly.
    pub fn weight(&self) -> usize {
        self.text.len() + self.container.len() + size_of::<Self>()
    }

    /// `NAME | text`, the name padded to `width`; control characters escaped when `raw` says so.
    pub fn text(&self, width: usize, raw: Raw) -> Vec<u8> {
        let mut out = format!("{:width$} | ", escape(&self.container)).into_bytes();
        match raw {
            Raw::Yes => out.extend_from_slice(&self.text),
            Raw::No => {
                out.extend_from_slice(escape_but_tabs(&String::from_utf8_lossy(&self.text)).as_bytes());
            }
        }
        out.push(b'\n');
        out
    }

    /// One JSON object and a line feed. Bytes that are not UTF-8 become U+FFFD.
    pub fn json(&self) -> Vec<u8> {
        let seconds = second(self.time_ms / 1000);
        let time = format!("{}.{:03}Z", seconds.trim_end_matches('Z'), self.time_ms % 1000);
        let log = String::from_utf8_lossy(&self.text);
        let shape = Shape {
            time,
            container: &self.container,
            stream: self.source,
            log,
        };
        let mut out = serde_json::to_vec(&shape).unwrap_or_default();
        out.push(b'\n');
        out
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
    /// `line` as it is printed; `width` is that of the widest name so far.
    pub fn render(self, line: &Line, width: usize) -> Vec<u8> {
        match self.format {
            LogFormat::Text => line.text(width, self.raw),
            LogFormat::Json => line.json(),
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
    fn a_line_is_printed_in_two_shapes() {
        let line = Line {
            time_ms: 1_795_230_280_042,
            container: "app".to_owned(),
            source: Source::Stderr,
            text: b"a\tb\x1b[31m\xff\"".to_vec(),
        };
        assert_eq!(line.text(5, Raw::Yes), b"app   | a\tb\x1b[31m\xff\"\n");
        assert_eq!(
            String::from_utf8_lossy(&line.text(3, Raw::No)),
            "app | a\tb\\u{1b}[31m\u{fffd}\"\n"
        );
        assert_eq!(
            String::from_utf8_lossy(&line.json()),
            "{\"time\":\"2026-11-21T03:04:40.042Z\",\"container\":\"app\",\"stream\":\"stderr\",\
             \"log\":\"a\\tb\\u001b[31m\u{fffd}\\\"\"}\n"
        );
    }
}
