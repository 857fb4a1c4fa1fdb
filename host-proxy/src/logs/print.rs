//! Lines → standard output, by a thread of its own: a terminal that stands still (Ctrl-S) or a full pipe must stop
//! nothing else.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::line::{Line, Raw, Source};
use super::ring::Ring;
use crate::cli::LogFormat;

/// Lines between the follower and the thread.
const QUEUE_LINES: usize = 1024;
/// How long a full queue is waited for before lines are dropped. A burst passes; a stopped terminal does not matter
/// for longer than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Text or JSON.
    pub format: LogFormat,
    /// Whether the bytes go out as they are.
    pub raw: Raw,
}

impl Style {
    /// `format` for standard output, whatever that is.
    pub fn of_stdout(format: LogFormat) -> Self {
        use std::io::IsTerminal as _;
        let raw = if std::io::stdout().is_terminal() {
            Raw::No
        } else {
            Raw::Yes
        };
        Self { format, raw }
    }

    /// `line` as it is printed; `width` is that of the widest name so far.
    pub fn render(self, line: &Line, width: usize) -> Vec<u8> {
        match self.format {
            LogFormat::Text => line.text(width, self.raw),
            LogFormat::Json => line.json(),
        }
    }
}

/// The follower's end of the thread.
pub struct Printer {
    queue: mpsc::Sender<Arc<Line>>,
    done: oneshot::Receiver<()>,
    missed: u64,
    ring: Ring,
}

impl Printer {
    /// Starts the thread, which writes to `out`.
    pub fn start(out: impl Write + Send + 'static, style: Style, ring: Ring) -> std::io::Result<Self> {
        let (queue, lines) = mpsc::channel(QUEUE_LINES);
        let (finished, done) = oneshot::channel();
        std::thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || {
                write_all(lines, out, style);
                let _ = finished.send(());
            })?;
        Ok(Self {
            queue,
            done,
            missed: 0,
            ring,
        })
    }

    /// Queues a line; drops it when standard output has stood still for longer than a second.
    pub async fn print(&mut self, line: Arc<Line>) {
        if self.missed > 0 {
            let Ok(permit) = self.queue.try_reserve() else {
                self.missed += 1;
                self.ring.count_dropped();
                return;
            };
            permit.send(Arc::new(Line {
                time_ms: line.time_ms,
                container: String::new(),
                source: Source::System,
                text: format!("-- {} lines dropped: standard output is slow --", self.missed).into_bytes(),
            }));
            self.missed = 0;
        }
        if self.queue.send_timeout(line, PATIENCE).await.is_err() {
            self.missed += 1;
            self.ring.count_dropped();
        }
    }

    /// Waits until everything that was queued is written, or `deadline` has passed.
    pub async fn finish(self, deadline: Duration) {
        drop(self.queue);
        let _ = tokio::time::timeout(deadline, self.done).await;
    }
}

fn write_all(mut lines: mpsc::Receiver<Arc<Line>>, mut out: impl Write, style: Style) {
    let mut width = 0;
    let mut open = true;
    while let Some(first) = lines.blocking_recv() {
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(line) = next {
            width = width.max(line.container.len());
            batch.extend(style.render(&line, width));
            next = if batch.len() < 64 << 10 {
                lines.try_recv().ok()
            } else {
                None
            };
        }
        // A closed pipe ends the printing, not the Pod: the queue is emptied into nothing.
        if open && out.write_all(&batch).and_then(|()| out.flush()).is_err() {
            log::warn!("standard output is closed: logs are not printed any more");
            open = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;

    /// A sink that stands still until it is opened.
    #[derive(Clone, Default)]
    struct Gate(Arc<(Mutex<GateState>, Condvar)>);

    /// Whether it is open, and what went through.
    type GateState = (bool, Vec<u8>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let (state, opened) = &*self.0;
            let mut state = opened
                .wait_while(state.lock().expect("lock"), |state| !state.0)
                .expect("wait");
            state.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_stopped_terminal_loses_lines_and_is_told() {
        let gate = Gate::default();
        let ring = Ring::new();
        let style = Style {
            format: LogFormat::Text,
            raw: Raw::Yes,
        };
        let mut printer = Printer::start(gate.clone(), style, ring.clone()).expect("a thread");
        let line = |text: &str| {
            Arc::new(Line {
                time_ms: 0,
                container: "app".to_owned(),
                source: Source::Stdout,
                text: text.as_bytes().to_vec(),
            })
        };
        while ring.counts().dropped < 3 {
            printer.print(line("x")).await;
        }
        gate.0.0.lock().expect("lock").0 = true;
        gate.0.1.notify_all();
        // Once there is room again the notice comes before the next line.
        while printer.missed > 0 {
            printer.print(line("after")).await;
            tokio::task::yield_now().await;
        }
        printer.finish(Duration::from_secs(10)).await;
        let text = String::from_utf8(gate.0.0.lock().expect("lock").1.clone()).expect("text");
        let notice = text
            .lines()
            .find(|line| line.contains("lines dropped"))
            .expect("a notice");
        assert!(
            notice.ends_with("lines dropped: standard output is slow --"),
            "{notice}"
        );
        assert!(text.ends_with("app | after\n"), "{text}");
    }
}
