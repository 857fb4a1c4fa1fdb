//! Loki's push API with JSON: streams of labels, each with values `[TIME, LINE]`.
//!
//! Loki takes a line of the same stream, time and text for the same line. That makes a batch that is sent again
//! harmless; two lines that are different must therefore differ in time.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use super::http::Client;
use super::item::{Batch, Body, Item, Origin};
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
    WithMetadata(String, String, BTreeMap<&'static str, String>),
}

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
        for item in &batch.items {
            let (key, time_ns, text) = parts(item);
            let time = match last.get(&key) {
                Some((written, sent)) if *written == time_ns => sent + 1,
                _ => time_ns,
            };
            last.insert(key.clone(), (time_ns, time));
            let time = time.to_string();
            let line = if self.metadata {
                Line::WithMetadata(time, text, metadata(item))
            } else {
                Line::Plain(time, text)
            };
            streams.entry(key).or_default().push(line);
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

fn parts(item: &Item) -> (Key, u64, String) {
    match &item.body {
        Body::Record(record) => {
            let stream = record.stream.word();
            let text = String::from_utf8_lossy(&record.bytes).into_owned();
            ((Some(record.container.to_string()), stream), record.time_ns, text)
        }
        Body::Notice(notice) => (
            (notice.container.clone(), "cloister"),
            notice.time_ns,
            notice.text(),
        ),
    }
}

fn metadata(item: &Item) -> BTreeMap<&'static str, String> {
    match &item.body {
        Body::Record(record) => BTreeMap::from([
            ("sequence", record.sequence.to_string()),
            ("attempt", record.attempt.to_string()),
            ("logtag", if record.partial { "P" } else { "F" }.to_owned()),
        ]),
        Body::Notice(notice) => BTreeMap::from([("dropped", notice.records.to_string())]),
    }
}
