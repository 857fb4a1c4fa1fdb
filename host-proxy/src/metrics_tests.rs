//! A small strict parser of the text format, and what it must find in ours.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::table::tests::{container, report, running};

/// Series (`name{labels}`) and values; panics on anything that the format does not allow.
pub(crate) fn parse(text: &str) -> BTreeMap<String, f64> {
    let body = text.strip_suffix("# EOF\n").expect("the text ends with # EOF");
    let mut types = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut series = BTreeMap::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert!(matches!(kind, "gauge" | "counter"), "{line}");
            assert!(
                types.insert(name.to_owned(), kind.to_owned()).is_none(),
                "twice: {line}"
            );
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(!help.is_empty() && seen.insert(name.to_owned()), "{line}");
        } else {
            let (name_and_labels, value) = line.rsplit_once(' ').expect("a sample");
            let name = name_and_labels.split('{').next().unwrap_or_default();
            let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            assert!(!name.is_empty() && name.bytes().all(good), "{line}");
            let family = name.strip_suffix("_total").unwrap_or(name);
            let kind = types.get(family).unwrap_or_else(|| panic!("no type: {line}"));
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            labels(name_and_labels.strip_prefix(name).unwrap_or_default());
            let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            assert!(
                series.insert(name_and_labels.to_owned(), value).is_none(),
                "twice: {line}"
            );
        }
    }
    series
}

fn labels(text: &str) {
    if text.is_empty() {
        return;
    }
    let mut rest = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'))
        .expect("braces");
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").expect("a label");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase()), "{text}");
        let mut escaped = false;
        let end = after
            .char_indices()
            .find_map(|(index, character)| match character {
                _ if escaped => {
                    assert!(matches!(character, '\\' | '"' | 'n'), "{text}");
                    escaped = false;
                    None
                }
                '\\' => {
                    escaped = true;
                    None
                }
                '"' => Some(index),
                '\n' => panic!("a line break in {text}"),
                _ => None,
            });
        let end = end.expect("a closing quote");
        rest = after.get(end + 1..).unwrap_or_default();
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

#[test]
fn the_text_is_what_a_parser_expects() {
    let mut snapshot = Snapshot::new();
    snapshot.link = Link::Connected;
    snapshot.report = Some(report(vec![
        container("app", running(), 2),
        container("a\"b\\c", running(), 0),
    ]));
    snapshot.counters.resident_bytes = 4096;
    let port = PortCounts {
        container: 80,
        protocol: Protocol::Tcp,
        listen: "127.0.0.1:8080".parse().expect("an address"),
        connections: 7,
        refused: 1,
        open: 2,
        bytes_in: 10,
        bytes_out: 20,
        dropped_datagrams: 0,
    };
    let logs = LogCounts {
        received: vec![crate::sink::Received {
            container: "app".to_owned(),
            stream: "stderr",
            records: 5,
            bytes: 50,
        }],
        enclave_dropped: BTreeMap::from([("app".to_owned(), 1)]),
        sinks: vec![SinkCounts {
            sink: "syslog".to_owned(),
            sent: 4,
            lag: 3,
            ..SinkCounts::default()
        }],
        ..LogCounts::default()
    };
    let connections = EgressCounts {
        connections: 9,
        refused: [(EgressReply::Forbidden, 2)].into(),
        bytes_in: 30,
        ..EgressCounts::default()
    };
    let room = RoomCounts {
        limit: Some(32 << 20),
        free: Some(1 << 20),
        short: true,
        refused: 8,
    };
    snapshot.counters.egress_denied = [("app".to_owned(), 6)].into();
    let series = parse(&text(&snapshot, &[port], &connections, &room, &logs).expect("encoded"));
    for (name, value) in [
        ("cloister_enclave_up", 1.0),
        ("cloister_pod_ready", 1.0),
        ("cloister_pod_phase{phase=\"Running\"}", 1.0),
        ("cloister_pod_phase{phase=\"Failed\"}", 0.0),
        ("cloister_container_restarts_total{container=\"app\"}", 2.0),
        (
            "cloister_ingress_connections_total{port=\"80\",protocol=\"TCP\",listen=\"127.0.0.1:8080\"}",
            7.0,
        ),
        (
            "cloister_ingress_bytes_total{port=\"80\",protocol=\"TCP\",listen=\"127.0.0.1:8080\",direction=\"out\"}",
            20.0,
        ),
        ("cloister_log_dropped_records_total{container=\"app\"}", 1.0),
        ("cloister_egress_connections_total", 9.0),
        ("cloister_proxy_memory_limit_bytes", 33_554_432.0),
        ("cloister_proxy_memory_short", 1.0),
        ("cloister_proxy_memory_refused_connections_total", 8.0),
        ("cloister_egress_bytes_total{direction=\"in\"}", 30.0),
        (
            "cloister_egress_refused_connections_total{reason=\"Forbidden\"}",
            2.0,
        ),
        (
            "cloister_egress_refused_connections_total{reason=\"NoSuchName\"}",
            0.0,
        ),
        ("cloister_egress_denied_attempts_total{container=\"app\"}", 6.0),
        (
            "cloister_log_bytes_total{container=\"app\",stream=\"stderr\"}",
            50.0,
        ),
        ("cloister_log_sink_sent_records_total{sink=\"syslog\"}", 4.0),
        ("cloister_log_sink_lag_records{sink=\"syslog\"}", 3.0),
        ("cloister_init_resident_bytes", 4096.0),
    ] {
        assert_eq!(series.get(name), Some(&value), "{name}");
    }
}

#[test]
fn what_pid_1_counts_has_series_for_each_container_and_not_too_many() {
    let mut snapshot = Snapshot::new();
    let log = |name: String| LogCounters {
        container: name,
        records: 5,
        dropped_records: 1,
        ring_bytes: 100,
        ..LogCounters::default()
    };
    snapshot.counters.logs = (0..1000).map(|index| log(format!("c{index}"))).collect();
    snapshot.counters.usage = vec![UsageCounters {
        container: "app".to_owned(),
        cpu_us: 2_500_000,
        throttled_us: 0,
        memory_bytes: 4096,
        memory_limit_bytes: None,
    }];
    snapshot.counters.probes = vec![manifest_sync::protocol::ProbeCounters {
        container: "app".to_owned(),
        probe: "Liveness".to_owned(),
        result: "failed".to_owned(),
        count: 3,
    }];
    let made = text(
        &snapshot,
        &[],
        &EgressCounts::default(),
        &RoomCounts::default(),
        &LogCounts::default(),
    )
    .expect("encoded");
    let series = parse(&made);
    for (name, value) in [
        ("cloister_init_log_records_total{container=\"c0\"}", 5.0),
        ("cloister_init_log_ring_bytes{container=\"c63\"}", 100.0),
        ("cloister_container_cpu_seconds_total{container=\"app\"}", 2.5),
        ("cloister_container_memory_bytes{container=\"app\"}", 4096.0),
        (
            "cloister_probes_total{container=\"app\",probe=\"Liveness\",result=\"failed\"}",
            3.0,
        ),
    ] {
        assert_eq!(series.get(name), Some(&value), "{name}");
    }
    assert!(!series.contains_key("cloister_init_log_records_total{container=\"c64\"}"));
    assert!(
        series
            .keys()
            .any(|name| name.starts_with("cloister_build_info{version="))
    );
    let plain = plain(&made);
    assert!(
        plain.contains("\n# TYPE cloister_init_log_records_total counter\n"),
        "{plain}"
    );
    assert!(plain.contains("\n# TYPE cloister_init_log_ring_bytes gauge\n") && !plain.contains("EOF"));
}

/// What alerts and dashboard ask for exists.
#[test]
fn what_deploy_names_is_exported() {
    let mut snapshot = Snapshot::new();
    snapshot.report = Some(report(vec![container("app", running(), 0)]));
    snapshot.counters.logs = vec![LogCounters::default()];
    snapshot.counters.usage = vec![UsageCounters {
        memory_limit_bytes: Some(1),
        ..UsageCounters::default()
    }];
    snapshot.counters.probes = vec![manifest_sync::protocol::ProbeCounters::default()];
    let port = PortCounts {
        container: 80,
        protocol: Protocol::Tcp,
        listen: "127.0.0.1:8080".parse().expect("an address"),
        connections: 7,
        refused: 1,
        open: 2,
        bytes_in: 10,
        bytes_out: 20,
        dropped_datagrams: 0,
    };
    let logs = LogCounts {
        received: vec![crate::sink::Received {
            container: "app".to_owned(),
            stream: "stdout",
            records: 1,
            bytes: 1,
        }],
        sinks: vec![SinkCounts::default()],
        ..LogCounts::default()
    };
    let room = RoomCounts {
        limit: Some(1),
        free: Some(1),
        ..RoomCounts::default()
    };
    let made = text(&snapshot, &[port], &EgressCounts::default(), &room, &logs).expect("encoded");
    let series = parse(&made);
    let exported: BTreeSet<&str> = series
        .keys()
        .map(|name| name.split('{').next().unwrap_or(name))
        .collect();
    for file in [
        include_str!("../../deploy/prometheus/alerts.yml"),
        include_str!("../../deploy/prometheus/dashboard.json"),
    ] {
        for word in file.split(|character: char| !character.is_ascii_alphanumeric() && character != '_') {
            assert!(
                !word.starts_with("cloister_") || exported.contains(word),
                "{word}"
            );
        }
    }
}

#[test]
fn an_empty_snapshot_is_valid_too() {
    let series = parse(
        &text(
            &Snapshot::new(),
            &[],
            &EgressCounts::default(),
            &RoomCounts::default(),
            &LogCounts::default(),
        )
        .expect("encoded"),
    );
    assert_eq!(series.get("cloister_enclave_up"), Some(&0.0));
}
