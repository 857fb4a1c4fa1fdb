//! OTLP/HTTP with JSON: `opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest` in the mapping of the OTLP
//! specification (64-bit integers are strings, enumerations are numbers).

use std::collections::BTreeMap;
use std::io;

use manifest_sync::log_record::{LogRun, Record};
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::Client;
use super::item::{Batch, Body, Item, Notice, Origin, now_ns};
use super::output::{Delivered, Trouble};
use super::spec::Endpoint;

/// `SEVERITY_NUMBER_INFO`, `SEVERITY_NUMBER_WARN`. What a container means by a line on standard error nobody knows.
const INFO: u8 = 9;
const WARN: u8 = 13;

/// A collector.
pub(super) struct OtlpOutput {
    client: Client,
}

/// `ExportLogsServiceResponse`
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    partial_success: PartialSuccess,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PartialSuccess {
    /// A 64-bit integer: a string, though some servers send a number.
    rejected_log_records: Value,
    error_message: String,
}

impl OtlpOutput {
    /// For the collector at `endpoint`.
    ///
    /// # Errors
    /// Its certificates cannot be read.
    pub(super) fn new(endpoint: &Endpoint) -> io::Result<Self> {
        Ok(Self {
            client: Client::new(endpoint)?,
        })
    }

    /// Posts a batch.
    pub(super) async fn deliver(&mut self, batch: &Batch) -> Result<Delivered, Trouble> {
        let body = serde_json::to_vec(&request(batch)).unwrap_or_default();
        let first = batch.items.first().map_or(0, |item| item.index);
        let answer = self.client.post(body, first).await?;
        // An empty body is a success without a word.
        let Answer { partial_success } = serde_json::from_slice(&answer).unwrap_or_default();
        let rejected = match &partial_success.rejected_log_records {
            Value::String(text) => text.parse().unwrap_or(0),
            other => other.as_u64().unwrap_or(0),
        };
        Ok(Delivered {
            refused: (rejected > 0).then_some((rejected, partial_success.error_message)),
            ..Delivered::whole(batch)
        })
    }
}

/// One resource for each container's instance: its name and restart count describe where lines come from.
fn request(batch: &Batch) -> Value {
    let observed = now_ns().to_string();
    let mut resources: BTreeMap<Option<(&str, u32)>, Vec<Value>> = BTreeMap::new();
    for item in &batch.items {
        match &item.body {
            Body::Run(run) => {
                let resource = Some((&*run.container, run.attempt));
                let records = run.as_ref().records();
                resources
                    .entry(resource)
                    .or_default()
                    .extend(records.map(|record| of_record(item, run, &record, &observed)));
            }
            Body::Notice(notice) => {
                resources
                    .entry(None)
                    .or_default()
                    .push(of_notice(notice, &observed));
            }
        }
    }
    let resources: Vec<Value> = resources
        .into_iter()
        .map(|(container, records)| {
            json!({
                "resource": {"attributes": resource(&batch.origin, container)},
                "scopeLogs": [{
                    "scope": {"name": "cloister", "version": env!("CARGO_PKG_VERSION")},
                    "logRecords": records,
                }],
            })
        })
        .collect();
    json!({"resourceLogs": resources})
}

/// Names of the semantic conventions for Kubernetes.
fn resource(origin: &Origin, container: Option<(&str, u32)>) -> Vec<Value> {
    let mut attributes = vec![
        text("k8s.namespace.name", &origin.namespace),
        text("k8s.pod.name", &origin.pod),
        text("k8s.pod.uid", &origin.uid),
    ];
    if let Some((container, attempt)) = container {
        attributes.push(text("k8s.container.name", container));
        attributes.push(number("k8s.container.restart_count", u64::from(attempt)));
    }
    attributes
}

fn of_record(item: &Item, run: &LogRun, record: &Record<'_>, observed: &str) -> Value {
    let mut attributes = vec![
        text("log.iostream", run.stream.word()),
        text("logtag", if record.partial { "P" } else { "F" }),
        number("cloister.log.sequence", record.sequence),
    ];
    if item.resent {
        attributes.push(json!({"key": "cloister.log.resent", "value": {"boolValue": true}}));
    }
    json!({
        "timeUnixNano": run.time_ns.to_string(),
        "observedTimeUnixNano": observed,
        "severityNumber": INFO,
        "body": {"stringValue": String::from_utf8_lossy(record.line)},
        "attributes": attributes,
    })
}

fn of_notice(notice: &Notice, observed: &str) -> Value {
    let mut attributes = vec![
        number("cloister.log.dropped", notice.records),
        text("cloister.log.dropped_by", notice.cause_word()),
    ];
    if let Some(container) = &notice.container {
        attributes.push(text("k8s.container.name", container));
    }
    json!({
        "timeUnixNano": notice.time_ns.to_string(),
        "observedTimeUnixNano": observed,
        "severityNumber": WARN,
        "severityText": "WARN",
        "body": {"stringValue": notice.text()},
        "attributes": attributes,
    })
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn number(key: &str, value: u64) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}
