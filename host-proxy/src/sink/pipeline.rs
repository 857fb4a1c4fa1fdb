//! From the follower to the sinks: the spool, a thread for each sink, and where to go on after a restart.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use manifest_sync::log_record::{Dropped, Entry, Name};
use tokio::sync::watch;

use super::backoff::Backoff;
use super::counts::{Counts, Tally};
use super::cursor::Mark;
use super::item::Origin;
use super::output::Output;
use super::progress::Progress;
use super::reader::Reader;
use super::runner::{Earlier, Runner};
use super::spec::Spec;
use super::spool::Spool;
use super::writer::Writer;

/// What the user said about sinks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// At least one.
    pub sinks: Vec<Spec>,
    /// Directory of the spool; `None`: in memory.
    pub spool: Option<PathBuf>,
    /// Bytes that the spool may have.
    pub spool_bytes: u64,
}

/// The follower's end.
pub struct Pipeline {
    writer: Writer,
    spool: Arc<Spool>,
    marks: Vec<Mark>,
    counts: Counts,
    sinks: Vec<(String, Arc<Tally>, watch::Receiver<()>)>,
    /// Boot of the stream that is read, and the last sequence that was taken of it.
    at: (String, u64),
}

impl Pipeline {
    /// Starts the threads. Sinks keep their places in the spool's directory, or in `state` when it is in memory.
    ///
    /// # Errors
    /// What cannot be used, with its name.
    pub fn start(options: &LogOptions, state: &Path, counts: &Counts) -> io::Result<Self> {
        let named = |what: &Path| {
            let what = what.display().to_string();
            move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"))
        };
        let places = options.spool.clone().unwrap_or_else(|| state.join("sinks"));
        let spool = match &options.spool {
            Some(directory) => Spool::open(directory, options.spool_bytes).map_err(named(directory))?,
            None => Spool::memory(options.spool_bytes),
        };
        let spool = Arc::new(spool);
        std::fs::create_dir_all(&places).map_err(named(&places))?;
        counts.show_spool(&spool);
        let (mut marks, mut sinks) = (Vec::new(), Vec::new());
        for spec in &options.sinks {
            let runner = runner(spec, &spool, &places, counts).map_err(named(&places.join(&spec.name)))?;
            marks.push(runner.progress.mark().clone());
            let (done, ended) = watch::channel(());
            sinks.push((spec.name.clone(), Arc::clone(&runner.tally), ended));
            on_thread(format!("log-{}", spec.name), async move {
                runner.run().await;
                drop(done);
            })?;
        }
        Ok(Self {
            writer: Writer::start(&spool)?,
            spool,
            marks,
            counts: counts.clone(),
            sinks,
            at: (String::new(), 0),
        })
    }

    /// The last sequence of `boot` that nobody needs any more.
    pub fn resume(&mut self, boot: &str) -> u64 {
        if self.at.0 != boot {
            let sequence = match self.spool.directory() {
                Some(_) => self.spool.last_sequence(boot),
                None => {
                    let known = |mark: &Mark| if mark.boot == boot { mark.sequence } else { 0 };
                    self.marks.iter().map(known).min().unwrap_or(0)
                }
            };
            self.at = (boot.to_owned(), sequence);
        }
        self.at.1
    }

    /// Whether anything of this boot was read, now or by an earlier process.
    pub fn has_read(&self) -> bool {
        self.at.1 > 0
    }

    /// Takes what the enclave sent, in any order and any number of times: afterwards each record and each gap has been
    /// taken once. Waits when the spool's disk does not keep up.
    pub async fn push(&mut self, origin: &Arc<Origin>, entries: Vec<Entry>) {
        let mut at = self.resume(&origin.boot);
        let mut taken = Vec::with_capacity(entries.len());
        for entry in entries {
            let first = match &entry {
                Entry::Run(run) => run.sequence,
                Entry::Dropped(dropped) => dropped.first,
            };
            let last = entry.last_sequence();
            if last <= at {
                continue;
            }
            let mut missing = |records: u64, first: u64, container: Option<&Name>| {
                if records > 0 {
                    self.counts.enclave_dropped(container, records);
                    taken.push(Entry::Dropped(Dropped {
                        first,
                        records,
                        container: container.cloned(),
                    }));
                }
            };
            // A gap that nobody mentioned is one nevertheless.
            let next = at.saturating_add(1);
            missing(first.saturating_sub(next), next, None);
            match entry {
                Entry::Dropped(dropped) => {
                    let from = first.max(next);
                    missing((last - from).saturating_add(1), from, dropped.container.as_ref());
                }
                Entry::Run(run) => taken.extend(run.after(at).map(Entry::Run)),
            }
            at = last;
        }
        self.at.1 = at;
        self.count(&taken);
        if !taken.is_empty() {
            self.writer.append(origin, taken).await;
        }
    }

    /// Counts what was taken.
    fn count(&self, taken: &[Entry]) {
        for entry in taken {
            if let Entry::Run(run) = entry {
                let sum = (u64::from(run.records), run.line_bytes());
                self.counts.received(&run.container, run.stream, sum);
            }
        }
    }

    /// Waits until every sink has everything, or `deadline` has passed; says which has not.
    pub async fn finish(self, deadline: Duration) {
        drop(self.writer);
        let end = tokio::time::Instant::now() + deadline;
        for (name, tally, mut ended) in self.sinks {
            let closed = async { while ended.changed().await.is_ok() {} };
            if tokio::time::timeout_at(end, closed).await.is_err() {
                let rest = self.spool.state().next - tally.accepted.load(Relaxed);
                let kept = match self.spool.directory() {
                    Some(directory) => format!("they stay in {}", directory.display()),
                    None => "they are lost (--log-spool keeps them)".to_owned(),
                };
                log::warn!("log sink {name}: {rest} records are not delivered; {kept}");
            }
        }
        self.spool.sync();
    }
}

/// A sink at its place: as the spool counts, or, as a spool in memory begins anew, as the enclave does.
fn runner(spec: &Spec, spool: &Arc<Spool>, places: &Path, counts: &Counts) -> io::Result<Runner> {
    let mut output = Output::new(spec, places)?;
    let tally = counts.show_sink(&spec.name);
    let path = places.join(format!("{}.cursor", spec.name));
    let mut progress = Progress::open(&path, output.mark(), Arc::clone(&tally))?;
    let mark = progress.mark().clone();
    let in_doubt = mark.tried.saturating_sub(mark.accepted);
    let (earlier, place) = if spool.directory().is_some() {
        let earlier = Earlier {
            boot: mark.boot,
            may_have_places: mark.tried,
            ..Earlier::default()
        };
        (earlier, mark.accepted)
    } else {
        let earlier = Earlier {
            boot: mark.boot,
            has: mark.sequence,
            may_have: mark.sequence.saturating_add(in_doubt),
            may_have_places: 0,
        };
        (earlier, 0)
    };
    // A sink that is new begins with the oldest that there is.
    let oldest = spool.state().segments.front().map_or(1, |segment| segment.first);
    let place = if place == 0 { oldest } else { place };
    let number = spool.register(place);
    progress.start(place, in_doubt);
    output.start(place);
    Ok(Runner {
        spec: spec.clone(),
        spool: Arc::clone(spool),
        number,
        reader: Reader::new(spool, number),
        output,
        progress,
        tally,
        earlier,
        backoff: Backoff::default(),
        stash: None,
        trouble: None,
        refusal_reported: false,
    })
}

/// A thread for one task that may block.
pub(super) fn on_thread(name: String, task: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name(name)
        .spawn(move || runtime.block_on(task))?;
    Ok(())
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
