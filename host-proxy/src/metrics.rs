//! `/metrics`: what is known, as OpenMetrics text. A fresh registry for every scrape: nothing to keep in step.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use manifest_sync::link::EgressReply;
use manifest_sync::plan::Protocol;
use manifest_sync::protocol::{Counters, LogCounters, UsageCounters};
use manifest_sync::status::Phase;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::egress::EgressCounts;
use crate::ingress::PortCounts;
use crate::room::RoomCounts;
use crate::sink::{LogCounts, SinkCounts};
use crate::view::{Link, Snapshot};

type Labels = Vec<(&'static str, String)>;
type GaugeFamily = Family<Labels, Gauge<i64>>;
type CounterFamily = Family<Labels, Counter<u64, AtomicU64>>;

/// The media type of [`text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The media type of [`plain`].
pub const PLAIN_MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Containers with series of their own; a hostile enclave could name any number.
const MAX_CONTAINERS: usize = 64;

/// The text of one scrape.
pub fn text(
    snapshot: &Snapshot,
    ports: &[PortCounts],
    connections: &EgressCounts,
    room: &RoomCounts,
    logs: &LogCounts,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("cloister");
    let build = GaugeFamily::default();
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    build.get_or_create(&version).set(1);
    registry.register("build_info", "1, with the version of host-proxy", build);
    enclave(&mut registry, snapshot);
    containers(&mut registry, &snapshot.counters);
    pod(&mut registry, snapshot);
    ingress(&mut registry, ports);
    egress(&mut registry, snapshot, connections);
    memory(&mut registry, room);
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

/// OpenMetrics text as older readers want it: there a counter's description has the counter's whole name, and nothing marks
/// the end.
pub fn plain(text: &str) -> String {
    let name_of = |line: &str| {
        let rest = line.strip_prefix("# TYPE ")?;
        rest.strip_suffix(" counter").map(str::to_owned)
    };
    let counters: std::collections::BTreeSet<String> = text.lines().filter_map(name_of).collect();
    let mut plain = String::with_capacity(text.len());
    for line in text.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        let description = (words.next(), words.next(), words.next(), words.next());
        match description {
            (Some("#"), Some(what), Some(name), Some(rest)) if counters.contains(name) => {
                plain.push_str(&format!("# {what} {name}_total {rest}"));
            }
            _ => plain.push_str(line),
        }
        plain.push('\n');
    }
    plain
}

/// What PID 1 counts for each container.
fn containers(registry: &mut Registry, counters: &Counters) {
    type Logs = fn(&LogCounters) -> u64;
    let of_logs: [(&str, &str, Logs); 3] = [
        ("records", "Log records taken from the container", |one| {
            one.records
        }),
        (
            "dropped_records",
            "Log records dropped in the enclave because the container's ring was full",
            |one| one.dropped_records,
        ),
        (
            "withheld_records",
            "Log records that the policy keeps in the enclave",
            |one| one.withheld_records,
        ),
    ];
    for (name, help, value) in of_logs {
        let family = CounterFamily::default();
        for one in counters.logs.iter().take(MAX_CONTAINERS) {
            family
                .get_or_create(&container_label(&one.container))
                .inc_by(value(one));
        }
        registry.register(format!("init_log_{name}"), help, family);
    }
    let rings = GaugeFamily::default();
    for one in counters.logs.iter().take(MAX_CONTAINERS) {
        rings
            .get_or_create(&container_label(&one.container))
            .set(number(one.ring_bytes));
    }
    let help = "Bytes in the container's log ring in the enclave";
    registry.register("init_log_ring_bytes", help, rings);
    let help = "Bytes that each log ring may have";
    gauge(
        registry,
        "init_log_ring_limit_bytes",
        help,
        number(counters.log_ring_limit_bytes),
    );
    let probes = CounterFamily::default();
    for one in counters.probes.iter().take(MAX_CONTAINERS * 9) {
        let mut labels = container_label(&one.container);
        labels.extend([("probe", one.probe.clone()), ("result", one.result.clone())]);
        probes.get_or_create(&labels).inc_by(one.count);
    }
    registry.register("probes", "Answers of probes", probes);
    usage(
        registry,
        counters.usage.get(..MAX_CONTAINERS).unwrap_or(&counters.usage),
    );
}

fn usage(registry: &mut Registry, all: &[UsageCounters]) {
    let (memory, limits) = (GaugeFamily::default(), GaugeFamily::default());
    type Seconds = Family<Labels, Counter<f64, AtomicU64>>;
    let (cpu, throttled) = (Seconds::default(), Seconds::default());
    for one in all {
        let labels = container_label(&one.container);
        memory.get_or_create(&labels).set(number(one.memory_bytes));
        if let Some(limit) = one.memory_limit_bytes {
            limits.get_or_create(&labels).set(number(limit));
        }
        let seconds = |us: u64| Duration::from_micros(us).as_secs_f64();
        cpu.get_or_create(&labels).inc_by(seconds(one.cpu_us));
        throttled.get_or_create(&labels).inc_by(seconds(one.throttled_us));
    }
    registry.register(
        "container_memory_bytes",
        "Memory of the container's cgroup",
        memory,
    );
    let help = "Memory that the container's cgroup may have";
    registry.register("container_memory_limit_bytes", help, limits);
    registry.register("container_cpu_seconds", "CPU time of the container", cpu);
    let help = "Time in which the container was not allowed to run because its CPU limit was used up";
    registry.register("container_cpu_throttled_seconds", help, throttled);
}

fn container_label(container: &str) -> Labels {
    vec![("container", container.to_owned())]
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
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

fn egress(registry: &mut Registry, snapshot: &Snapshot, counts: &EgressCounts) {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let help = "Connections that the Pod wanted to make";
    counter(registry, "egress_connections", help, counts.connections);
    let help = "Connections of the Pod open now";
    gauge(registry, "egress_open_connections", help, number(counts.open));
    let help = "Streams that wait for a connection of the Pod";
    gauge(registry, "egress_idle_streams", help, number(counts.idle));
    let bytes = CounterFamily::default();
    for (direction, count) in [("in", counts.bytes_in), ("out", counts.bytes_out)] {
        let labels = vec![("direction", direction.to_owned())];
        bytes.get_or_create(&labels).inc_by(count);
    }
    registry.register("egress_bytes", "Bytes relayed for the Pod's connections", bytes);
    let refused = CounterFamily::default();
    for reply in EgressReply::ALL {
        if reply != EgressReply::Connected {
            let labels = vec![("reason", format!("{reply:?}"))];
            let count = counts.refused.get(&reply).copied().unwrap_or(0);
            refused.get_or_create(&labels).inc_by(count);
        }
    }
    let help = "Connections of the Pod that were not made";
    registry.register("egress_refused_connections", help, refused);
    let denied = CounterFamily::default();
    for (container, count) in snapshot.counters.egress_denied.iter().take(MAX_CONTAINERS) {
        let labels = vec![("container", container.clone())];
        denied.get_or_create(&labels).inc_by(*count);
    }
    let help =
        "Attempts of containers that the enclave denied; without a name: of one that was not looked for";
    registry.register("egress_denied_attempts", help, denied);
}

/// Without a limit there is nothing to say.
fn memory(registry: &mut Registry, room: &RoomCounts) {
    let (Some(limit), Some(free)) = (room.limit, room.free) else {
        return;
    };
    let help = "Memory limit of host-proxy's cgroup, the lowest of those above it";
    gauge(registry, "proxy_memory_limit_bytes", help, number(limit));
    let help = "What is left of the memory limit; page cache is not in use";
    gauge(registry, "proxy_memory_free_bytes", help, number(free));
    let help = "Whether memory is short and connections have small buffers";
    gauge(registry, "proxy_memory_short", help, i64::from(room.short));
    let help = "Connections refused because there was no memory for them";
    counter(registry, "proxy_memory_refused_connections", help, room.refused);
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
    let dropped = CounterFamily::default();
    for (container, records) in &logs.enclave_dropped {
        let labels = vec![("container", container.clone())];
        dropped.get_or_create(&labels).inc_by(*records);
    }
    registry.register("log_dropped_records", help, dropped);
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
