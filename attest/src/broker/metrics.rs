//! What is counted, for Prometheus.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::release::RefusalCode;

/// The media type of [`Metrics::text`].
pub(super) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Seconds: a verification is three or four signatures of P-384.
const BUCKETS: [f64; 7] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0];

type Labels = [(&'static str, String); 1];

/// What was counted since the start.
#[derive(Debug)]
pub struct Metrics {
    released: Counter<u64, AtomicU64>,
    nonces: Counter<u64, AtomicU64>,
    refused: Family<Labels, Counter<u64, AtomicU64>>,
    audit_failures: Counter<u64, AtomicU64>,
    connections_refused: Counter<u64, AtomicU64>,
    connections: Gauge,
    verification: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let refused = Family::<Labels, Counter<u64, AtomicU64>>::default();
        // A series that is there from the start can be alerted on.
        for code in RefusalCode::ALL {
            let _ = refused.get_or_create(&[("code", code.to_string())]);
        }
        Self {
            released: Counter::default(),
            nonces: Counter::default(),
            refused,
            audit_failures: Counter::default(),
            connections_refused: Counter::default(),
            connections: Gauge::default(),
            verification: Histogram::new(BUCKETS),
        }
    }
}

impl Metrics {
    pub(super) fn released(&self) {
        self.released.inc();
    }

    pub(super) fn nonce(&self) {
        self.nonces.inc();
    }

    pub(super) fn refused(&self, code: RefusalCode) {
        self.refused.get_or_create(&[("code", code.to_string())]).inc();
    }

    pub(super) fn audit_failed(&self) {
        self.audit_failures.inc();
    }

    pub(super) fn verified(&self, took: Duration) {
        self.verification.observe(took.as_secs_f64());
    }

    pub(super) fn connected(&self) {
        self.connections.inc();
    }

    pub(super) fn disconnected(&self) {
        self.connections.dec();
    }

    pub(super) fn connection_refused(&self) {
        self.connections_refused.inc();
    }

    /// The text of one scrape, with what is known elsewhere.
    pub(super) fn text(&self, nonces: usize, generations: usize) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("cloister_broker");
        let released = "Requests for secrets that were answered with secrets";
        registry.register("releases", released, self.released.clone());
        registry.register("nonces", "Nonces that were given out", self.nonces.clone());
        let refused = "Requests that were refused, by the code of the refusal";
        registry.register("refusals", refused, self.refused.clone());
        let audit = "Lines that the audit log did not take";
        registry.register("audit_failures", audit, self.audit_failures.clone());
        let connections = "Connections that were closed at once: the peer had too many";
        registry.register(
            "connections_refused",
            connections,
            self.connections_refused.clone(),
        );
        registry.register("connections", "Connections open now", self.connections.clone());
        let verification = "Time that verifying a document took";
        registry.register("verification_seconds", verification, self.verification.clone());
        for (name, help, value) in [
            ("nonces_outstanding", "Nonces that would be accepted now", nonces),
            (
                "generations",
                "Applications whose generation is remembered",
                generations,
            ),
        ] {
            let gauge = Gauge::<i64>::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        }
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}
