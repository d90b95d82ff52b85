//! Metrics, computed from the board on each request, so that they agree with the status page.

use std::sync::Arc;

use backup_core::clock::Clock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::status::StatusBoard;

mod samples;
mod table;

#[cfg(test)]
use table::document;
use table::{METRICS, MetricKind, PREFIX};

/// Content type of the answer.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One value.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    name: &'static str,
    labels: Vec<(&'static str, String)>,
    value: f64,
}

/// All metrics of a board.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
}

impl Metrics {
    pub(crate) fn new(board: Arc<StatusBoard>, clock: Arc<dyn Clock>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(BoardCollector { board, clock }));
        Self { registry }
    }

    /// Returns the text that Prometheus reads.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

#[derive(Debug)]
struct BoardCollector {
    board: Arc<StatusBoard>,
    clock: Arc<dyn Clock>,
}

impl Collector for BoardCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let samples = samples::of(&self.board.status(self.clock.now()));
        for metric in METRICS {
            let mut own = samples.iter().filter(|s| s.name == metric.name).peekable();
            if own.peek().is_none() {
                continue;
            }
            let name = format!("{PREFIX}{}", metric.name);
            let kind = match metric.kind {
                MetricKind::Gauge => MetricType::Gauge,
                MetricKind::Counter => MetricType::Counter,
            };
            let mut family = encoder.encode_descriptor(&name, metric.help, None, kind)?;
            for sample in own {
                debug_assert!(sample.labels.iter().map(|(key, _)| key).eq(metric.labels));
                if sample.labels.is_empty() {
                    // A metric without labels has only one value.
                    encode(metric.kind, sample.value, family)?;
                    break;
                }
                encode(
                    metric.kind,
                    sample.value,
                    family.encode_family(&sample.labels)?,
                )?;
            }
        }
        Ok(())
    }
}

fn encode(kind: MetricKind, value: f64, encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
    match kind {
        MetricKind::Gauge => ConstGauge::new(value).encode(encoder),
        MetricKind::Counter => ConstCounter::new(value).encode(encoder),
    }
}

#[cfg(test)]
mod tests;
