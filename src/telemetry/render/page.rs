//! Families and their samples, one call each.

use std::fmt;

use prometheus_client::{
    encoding::{
        DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
    },
    metrics::MetricType,
};

use crate::telemetry::Histogram;

/// Writes family after family.
pub(super) struct Page<'a>(pub(super) DescriptorEncoder<'a>);

impl Page<'_> {
    pub(super) fn counter<'a>(
        &'a mut self,
        name: &'a str,
        help: &str,
    ) -> Result<MetricEncoder<'a>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, MetricType::Counter)
    }

    pub(super) fn gauge<'a>(
        &'a mut self,
        name: &'a str,
        help: &str,
    ) -> Result<MetricEncoder<'a>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)
    }

    pub(super) fn histogram<'a>(
        &'a mut self,
        name: &'a str,
        help: &str,
    ) -> Result<MetricEncoder<'a>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, MetricType::Histogram)
    }
}

pub(super) fn count_of<const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: &[(&str, &str); N],
    value: &impl EncodeCounterValue,
) -> fmt::Result {
    family.encode_family(labels)?.encode_counter::<NoLabelSet, _, f64>(value, None)
}

pub(super) fn gauge_of<const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: &[(&str, &str); N],
    value: &impl EncodeGaugeValue,
) -> fmt::Result {
    family.encode_family(labels)?.encode_gauge(value)
}

pub(super) fn histogram(family: &mut MetricEncoder<'_>, from: &Histogram) -> fmt::Result {
    let (sum, count, buckets) = from.snapshot();
    family.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
}
