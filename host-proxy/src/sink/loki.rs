//! Loki's push API with JSON: streams of labels, each with values `[TIME, LINE]`.
//!
//! Loki takes a line of the same stream, time and text for the same line. That makes a batch that is sent again
//! harmless; two lines that are different must therefore differ in time.

use std::collections::BTreeMap;
use std::io;

use manifest_sync::log_record::{LogRun, Record};
use serde::Serialize;

use super::http::Client;
use super::item::{Batch, Body, Origin};
use super::output::{Delivered, Trouble};
use super::spec::Loki;

/// Streams whose last time is remembered; a Pod has two for each container.
const MAX_STREAMS: usize = 256;

/// A server.
pub(super) struct LokiOutput {
    client: Client,
    labels: Vec<(String, String)>,
    metadata: bool,
    /// The last time of each stream, as it was written and as it was sent.
    last: BTreeMap<Key, (u64, u64)>,
}

/// Container, if any, and `stdout`, `stderr` or `cloister`.
type Key = (Option<String>, &'static str);

#[derive(Serialize)]
struct Push {
    streams: Vec<Stream>,
}

#[derive(Serialize)]
struct Stream {
    stream: BTreeMap<String, String>,
    values: Vec<Line>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Line {
    Plain(String, String),
    WithMetadata(String, String, Metadata),
}

/// Structured metadata of a line.
type Metadata = BTreeMap<&'static str, String>;

impl LokiOutput {
    /// For the server of `options`.
    ///
    /// # Errors
    /// Its certificates cannot be read.
    pub(super) fn new(options: &Loki) -> io::Result<Self> {
        Ok(Self {
            client: Client::new(&options.endpoint)?,
            labels: options.labels.clone(),
            metadata: options.metadata,
            last: BTreeMap::new(),
        })
    }

    /// Posts a batch.
    pub(super) async fn deliver(&mut self, batch: &Batch) -> Result<Delivered, Trouble> {
        let (push, last) = self.push(batch);
        let body = serde_json::to_vec(&push).unwrap_or_default();
        let first = batch.items.first().map_or(0, |item| item.index);
        self.client.post(body, first).await?;
        // Only now: a batch that is sent again has the same times.
        self.last = last;
        Ok(Delivered::whole(batch))
    }

    fn push(&self, batch: &Batch) -> (Push, BTreeMap<Key, (u64, u64)>) {
        let mut last = self.last.clone();
        if last.len() > MAX_STREAMS {
            last.clear();
        }
        let mut streams: BTreeMap<Key, Vec<Line>> = BTreeMap::new();
        let mut add = |key: Key, time_ns: u64, text: String, metadata: &dyn Fn() -> Metadata| {
            let time = match last.get(&key) {
                Some((written, sent)) if *written == time_ns => sent + 1,
                _ => time_ns,
            };
            last.insert(key.clone(), (time_ns, time));
            let time = time.to_string();
            let line = if self.metadata {
                Line::WithMetadata(time, text, metadata())
            } else {
                Line::Plain(time, text)
            };
            streams.entry(key).or_default().push(line);
        };
        for item in &batch.items {
            match &item.body {
                Body::Run(run) => {
                    for record in run.as_ref().records() {
                        let key = (Some(run.container.to_string()), run.stream.word());
                        let text = String::from_utf8_lossy(record.line).into_owned();
                        add(key, run.time_ns, text, &|| of_record(run, &record));
                    }
                }
                Body::Notice(notice) => {
                    let key = (notice.container.clone(), "cloister");
                    add(key, notice.time_ns, notice.text(), &|| {
                        Metadata::from([("dropped", notice.records.to_string())])
                    });
                }
            }
        }
        let streams = streams
            .into_iter()
            .map(|(key, values)| Stream {
                stream: self.labels(&batch.origin, key),
                values,
            })
            .collect();
        (Push { streams }, last)
    }

    fn labels(&self, origin: &Origin, (container, stream): Key) -> BTreeMap<String, String> {
        let mut labels: BTreeMap<String, String> = self.labels.iter().cloned().collect();
        let mut label = |name: &str, value: String| labels.insert(name.to_owned(), value);
        label("namespace", origin.namespace.clone());
        label("pod", origin.pod.clone());
        label("stream", stream.to_owned());
        if let Some(container) = container {
            label("container", container);
        }
        labels
    }
}

fn of_record(run: &LogRun, record: &Record<'_>) -> Metadata {
    Metadata::from([
        ("sequence", record.sequence.to_string()),
        ("attempt", run.attempt.to_string()),
        ("logtag", if record.partial { "P" } else { "F" }.to_owned()),
    ])
}
