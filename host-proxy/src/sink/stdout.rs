//! Standard output as a sink, by a thread of its own: a terminal that stands still (Ctrl-S) or a full pipe stops
//! nothing else.

use std::io::{IsTerminal as _, Write as _};

use super::cri;
use super::item::{Batch, Body, Item, Notice};
use super::output::Delivered;
use super::spec::Format;
use crate::logs::{Joiner, Lines, Raw, Source};

/// Printed at once, and a line more.
const PRINT_BYTES: usize = 64 << 10;

/// Standard output.
pub(super) struct StdoutOutput {
    format: Format,
    raw: Raw,
    joiner: Joiner,
    width: usize,
    open: bool,
    /// What is printed at once. It stays, since fresh memory costs more than what is written into it.
    out: Vec<u8>,
}

impl StdoutOutput {
    /// In this format. A terminal gets control characters escaped: it must not obey a container.
    pub(super) fn new(format: Format) -> Self {
        let raw = if std::io::stdout().is_terminal() {
            Raw::No
        } else {
            Raw::Yes
        };
        Self {
            format,
            raw,
            joiner: Joiner::default(),
            width: 0,
            open: true,
            out: Vec::new(),
        }
    }

    /// Prints a batch; of lines in pieces, those that are complete.
    pub(super) fn deliver(&mut self, batch: &Batch) -> Delivered {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        for item in &batch.items {
            self.render(item, &mut out);
            if out.len() >= PRINT_BYTES {
                self.write(&out);
                out.clear();
            }
        }
        self.write(&out);
        self.out = out;
        let safe = self.joiner.oldest().unwrap_or(batch.end());
        Delivered {
            accepted: safe,
            safe,
            refused: None,
        }
    }

    /// Prints what is left of unfinished lines.
    pub(super) fn finish(&mut self) {
        let mut out = Vec::new();
        for lines in self.joiner.finish() {
            self.print(&lines, &mut out);
        }
        self.write(&out);
    }

    fn render(&mut self, item: &Item, out: &mut Vec<u8>) {
        match (&item.body, self.format) {
            (body, Format::Cri) => {
                let start = out.len();
                match body {
                    Body::Notice(notice) => cri::notice(notice, out),
                    Body::Run(run) => {
                        let head = cri::head(run);
                        for record in run.as_ref().records() {
                            cri::line(&head, &record, out);
                        }
                    }
                }
                if self.raw == Raw::No {
                    let lines = out.split_off(start);
                    for line in lines.split_inclusive(|byte| *byte == b'\n') {
                        out.extend_from_slice(crate::logs::escaped(line).as_bytes());
                    }
                }
            }
            (Body::Run(run), _) => {
                let mut complete = Vec::new();
                self.joiner.join(item.index, run.clone(), &mut complete);
                for lines in complete {
                    self.print(&lines, out);
                }
            }
            (Body::Notice(notice), _) => self.print(&notice_line(notice), out),
        }
    }

    fn print(&mut self, lines: &Lines, out: &mut Vec<u8>) {
        self.width = self.width.max(lines.container.len());
        match self.format {
            Format::Text => lines.text(self.width, self.raw, out),
            Format::Json | Format::Cri => lines.json(out),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut out = std::io::stdout().lock();
        // A closed pipe ends the printing, not the Pod: the rest goes nowhere.
        if self.open && out.write_all(bytes).and_then(|()| out.flush()).is_err() {
            log::warn!("standard output is closed: logs are not printed any more");
            self.open = false;
        }
    }
}

/// A notice as a line between the others.
pub(crate) fn notice_line(notice: &Notice) -> Lines {
    Lines {
        time_ms: notice.time_ns / 1_000_000,
        container: notice.container.as_deref().unwrap_or_default().into(),
        source: Source::System,
        count: 1,
        text: format!("-- {} --", notice.text()).into(),
    }
}
