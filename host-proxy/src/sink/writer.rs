//! Who writes the spool. A disk may stand still, so a thread of its own writes there; memory takes what comes at once.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use manifest_sync::log_record::Entry;
use tokio::sync::mpsc;

use super::item::Origin;
use super::pipeline::on_thread;
use super::spool::Spool;

/// How much of the newest records a machine that loses its power may forget. A killed process forgets nothing.
const SYNC: Duration = Duration::from_secs(1);
/// Batches between the follower and the spool. A disk that stands still stops the follower, and the enclave's rings
/// fill.
const QUEUE: usize = 16;

type Work = (Arc<Origin>, Vec<Entry>);

/// The follower's end. The spool has ended some time after this is dropped.
pub(super) struct Writer {
    spool: Arc<Spool>,
    /// To the thread.
    queue: Option<mpsc::Sender<Work>>,
}

impl Writer {
    /// Starts the thread, if there must be one.
    ///
    /// # Errors
    /// There is no room for a thread.
    pub(super) fn start(spool: &Arc<Spool>) -> io::Result<Self> {
        let mut queue = None;
        if spool.directory().is_some() {
            let (sender, work) = mpsc::channel(QUEUE);
            on_thread("log-spool".to_owned(), write(work, Arc::clone(spool)))?;
            queue = Some(sender);
        }
        Ok(Self {
            spool: Arc::clone(spool),
            queue,
        })
    }

    /// Adds entries whose sequences follow one another; waits when the spool's disk does not keep up.
    pub(super) async fn append(&self, origin: &Arc<Origin>, entries: Vec<Entry>) {
        match &self.queue {
            // The thread ends after this sender only.
            Some(queue) => {
                let _ = queue.send((Arc::clone(origin), entries)).await;
            }
            None => append(&self.spool, origin, entries),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.queue.is_none() {
            self.spool.end();
        }
    }
}

async fn write(mut work: mpsc::Receiver<Work>, spool: Arc<Spool>) {
    let mut synced = Instant::now();
    loop {
        if synced.elapsed() >= SYNC {
            spool.sync();
            synced = Instant::now();
        }
        match tokio::time::timeout(SYNC, work.recv()).await {
            Ok(Some((origin, entries))) => append(&spool, &origin, entries),
            Ok(None) => break,
            Err(_) => {}
        }
    }
    spool.sync();
    spool.end();
}

fn append(spool: &Spool, origin: &Arc<Origin>, entries: Vec<Entry>) {
    let sequence = entries.first().map_or(0, |entry| match entry {
        Entry::Run(run) => run.sequence,
        Entry::Dropped(dropped) => dropped.first,
    });
    spool.append(origin, sequence, entries);
}
