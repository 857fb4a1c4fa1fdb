//! `/metrics`: what is known, as OpenMetrics text. A fresh registry for every scrape: nothing to keep in step.

use std::fmt;
use std::sync::atomic::AtomicU64;

use manifest_sync::plan::Protocol;
use manifest_sync::status::Phase;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::ingress::PortCounts;
use crate::sink::{LogCounts, SinkCounts};
use crate::view::{Link, Snapshot};

type Labels = Vec<(&'static str, String)>;
type GaugeFamily = Family<Labels, Gauge<i64>>;
type CounterFamily = Family<Labels, Counter<u64, AtomicU64>>;

/// The media type of the answer.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text of one scrape.
pub fn text(snapshot: &Snapshot, ports: &[PortCounts], logs: &LogCounts) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("cloister");
    enclave(&mut registry, snapshot);
    pod(&mut registry, snapshot);
    ingress(&mut registry, ports);
    log(&mut registry, logs);
    let mut out = String::new();
    encode(&mut out, &registry)?;
    Ok(out)
}

fn enclave(registry: &mut Registry, snapshot: &Snapshot) {
    let up = i64::from(snapshot.link == Link::Connected);
    gauge(registry, "enclave_up", "Whether the enclave is connected", up);
    counter(
        registry,
        "control_reconnects",
        "Control connections after the first",
        snapshot.reconnects,
    );
    let counters = &snapshot.counters;
    let resident = i64::try_from(counters.resident_bytes).unwrap_or(i64::MAX);
    gauge(
        registry,
        "init_resident_bytes",
        "Resident memory of PID 1 in the enclave",
        resident,
    );
    counter(
        registry,
        "init_reaped_processes",
        "Processes reaped by PID 1",
        counters.reaped,
    );
    counter(
        registry,
        "init_log_bytes",
        "Bytes of log taken from containers",
        counters.log_bytes,
    );
    let help = "Bytes of log dropped in the enclave because no host read them in time";
    counter(
        registry,
        "init_log_dropped_bytes",
        help,
        counters.log_dropped_bytes,
    );
    let help = "Connections that the enclave refused for a bad header or key";
    counter(
        registry,
        "init_refused_connections",
        help,
        counters.refused_connections,
    );
}

fn pod(registry: &mut Registry, snapshot: &Snapshot) {
    gauge(
        registry,
        "pod_ready",
        "Whether the Pod is ready",
        i64::from(snapshot.ready().is_ok()),
    );
    let phases = GaugeFamily::default();
    let ready = GaugeFamily::default();
    let restarts = CounterFamily::default();
    if let Some(report) = &snapshot.report {
        for phase in [Phase::Pending, Phase::Running, Phase::Succeeded, Phase::Failed] {
            let labels = vec![("phase", format!("{phase:?}"))];
            phases
                .get_or_create(&labels)
                .set(i64::from(report.status.phase == phase));
        }
        for container in report.status.all_containers() {
            let labels = vec![("container", container.name.clone())];
            ready.get_or_create(&labels).set(i64::from(container.ready));
            restarts
                .get_or_create(&labels)
                .inc_by(u64::from(container.restart_count));
        }
    }
    registry.register("pod_phase", "1 for the phase that the Pod is in", phases);
    registry.register("container_ready", "Whether the container is ready", ready);
    registry.register("container_restarts", "Restarts of the container", restarts);
}

fn ingress(registry: &mut Registry, ports: &[PortCounts]) {
    let connections = CounterFamily::default();
    let refused = CounterFamily::default();
    let bytes = CounterFamily::default();
    let dropped = CounterFamily::default();
    let open = GaugeFamily::default();
    for port in ports {
        let labels = vec![
            ("port", port.container.to_string()),
            ("protocol", port.protocol.to_string()),
            ("listen", port.listen.to_string()),
        ];
        connections.get_or_create(&labels).inc_by(port.connections);
        refused.get_or_create(&labels).inc_by(port.refused);
        if port.protocol == Protocol::Udp {
            dropped.get_or_create(&labels).inc_by(port.dropped_datagrams);
        }
        open.get_or_create(&labels)
            .set(i64::try_from(port.open).unwrap_or(i64::MAX));
        for (direction, count) in [("in", port.bytes_in), ("out", port.bytes_out)] {
            let mut labels = labels.clone();
            labels.push(("direction", direction.to_owned()));
            bytes.get_or_create(&labels).inc_by(count);
        }
    }
    registry.register("ingress_connections", "Connections accepted", connections);
    registry.register(
        "ingress_refused_connections",
        "Connections that could not be relayed",
        refused,
    );
    registry.register(
        "ingress_dropped_datagrams",
        "Datagrams of clients that were not carried",
        dropped,
    );
    registry.register("ingress_open_connections", "Connections open now", open);
    registry.register("ingress_bytes", "Bytes relayed", bytes);
}

fn log(registry: &mut Registry, logs: &LogCounts) {
    let records = CounterFamily::default();
    let bytes = CounterFamily::default();
    for one in &logs.received {
        let labels = vec![
            ("container", one.container.clone()),
            ("stream", one.stream.to_owned()),
        ];
        records.get_or_create(&labels).inc_by(one.records);
        bytes.get_or_create(&labels).inc_by(one.bytes);
    }
    registry.register("log_records", "Log records received from the enclave", records);
    registry.register("log_bytes", "Bytes of log received from the enclave", bytes);
    let help = "Log records that the enclave dropped because nobody read them in time";
    counter(registry, "log_dropped_records", help, logs.enclave_dropped);
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let help = "Bytes in the log spool";
    gauge(registry, "log_spool_bytes", help, number(logs.spool.bytes));
    let help = "Bytes that the log spool may have";
    gauge(registry, "log_spool_limit_bytes", help, number(logs.spool.limit));
    let help = "Bytes of the log spool cut off at the start because their write was torn";
    counter(registry, "log_spool_torn_bytes", help, logs.spool.torn);
    type Value = fn(&SinkCounts) -> u64;
    let counters: [(&str, &str, Value); 6] = [
        ("sent_records", "Log records that the sink took", |sink| sink.sent),
        (
            "resent_records",
            "Log records sent a second time, because it is not known whether the sink took them",
            |sink| sink.resent,
        ),
        (
            "retries",
            "Batches sent again after an error that may pass",
            |sink| sink.retries,
        ),
        ("errors", "Batches that the sink refused for good", |sink| {
            sink.errors
        }),
        (
            "refused_records",
            "Log records in batches that the sink refused for good",
            |sink| sink.refused,
        ),
        (
            "dropped_records",
            "Log records that the sink will not get because the spool was full",
            |sink| sink.dropped,
        ),
    ];
    for (name, help, value) in counters {
        let family = CounterFamily::default();
        for sink in &logs.sinks {
            let labels = vec![("sink", sink.sink.clone())];
            family.get_or_create(&labels).inc_by(value(sink));
        }
        registry.register(format!("log_sink_{name}"), help, family);
    }
    let lag = GaugeFamily::default();
    for sink in &logs.sinks {
        let labels = vec![("sink", sink.sink.clone())];
        lag.get_or_create(&labels).set(number(sink.lag));
    }
    registry.register("log_sink_lag_records", "Log records that wait for the sink", lag);
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: i64) {
    let gauge = Gauge::<i64>::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let counter = Counter::<u64, AtomicU64>::default();
    counter.inc_by(value);
    registry.register(name, help, counter);
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
pub(crate) mod tests;
