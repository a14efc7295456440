//! The facts of one finished exchange, as the access log shows them.
//!
//! One line per exchange, written in one place. No bodies, no query strings, no
//! credentials: the types here have no field for them.

use std::time::Duration;

use http::Method;

use crate::{
    clock::Timestamp,
    meter::{Confidence, Source, Usage},
    units::NanoUsd,
};

/// Room for a record of ordinary length.
const LINE: usize = 640;

/// `,"name":`, made when Weir is compiled.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":").as_bytes()
    };
}

/// What an exchange was charged, and how we know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost<'a> {
    /// The amount that stands on the books.
    pub amount: NanoUsd,
    /// How we know, if it is not the flat cost.
    pub metered: Option<Metered<'a>>,
}

/// A charge that was found out.
#[derive(Clone, Copy, Debug)]
pub struct Metered<'a> {
    /// Who said so.
    pub source: Source,
    /// How sure it is.
    pub confidence: Confidence,
    /// The model, as the price table calls it, or `other`.
    pub model: Option<&'a str>,
    /// The tokens, if any are known.
    pub usage: Option<&'a Usage>,
}

/// One finished exchange.
#[derive(Debug)]
pub struct Record<'a> {
    /// When it began.
    pub began: Timestamp,
    /// The id that Weir minted.
    pub request_id: &'a str,
    /// The id that the caller sent, if any.
    pub client_request_id: Option<&'a str>,
    /// The trace that it belongs to, 32 hex digits.
    pub trace_id: &'a str,
    /// Method as received.
    pub method: &'a Method,
    /// Canonical path, without the query.
    pub path: &'a str,
    /// Operation, or `none`.
    pub operation: &'a str,
    /// Tier, or `none`.
    pub tier: &'a str,
    /// Who was counted, if known.
    pub subject: Option<&'a str>,
    /// Address of the peer, without the port.
    pub peer: &'a str,
    /// Address that the request comes from: the peer's, or what a trusted proxy says of its own.
    pub address: &'a str,
    /// `http/1.1` or `h2`.
    pub protocol: &'static str,
    /// What the caller got; 499 when it left first.
    pub status: u16,
    /// Why we refused, if we did.
    pub error_code: Option<&'static str>,
    /// What we would have refused for, in shadow mode.
    pub shadow_code: Option<&'static str>,
    /// What went wrong, for operators only.
    pub detail: Option<&'a str>,
    /// First byte in to last byte out.
    pub duration: Duration,
    /// Wait for the upstream's first byte, if it was asked.
    pub upstream: Option<Duration>,
    /// Attempts at the upstream.
    pub attempts: u32,
    /// Where the last attempt went, when the policy names several endpoints.
    pub endpoint: Option<&'a str>,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// Matches replaced in the response.
    pub redactions: u64,
    /// What was charged.
    pub cost: Cost<'a>,
    /// Generation of the policy that decided.
    pub generation: u64,
}

impl Record<'_> {
    /// Appends the record as one JSON line.
    pub(super) fn write_json(&self, line: &mut Vec<u8>) {
        line.reserve(LINE);
        line.extend_from_slice(b"{\"timestamp\":\"");
        write_time(line, self.began);
        line.extend_from_slice(b"\",\"level\":\"INFO\",\"message\":\"exchange\"");
        text(line, key!("request_id"), self.request_id);
        optional(line, key!("client_request_id"), self.client_request_id);
        text(line, key!("trace_id"), self.trace_id);
        text(line, key!("method"), self.method.as_str());
        text(line, key!("path"), self.path);
        text(line, key!("operation"), self.operation);
        text(line, key!("tier"), self.tier);
        optional(line, key!("subject"), self.subject);
        text(line, key!("peer"), self.peer);
        text(line, key!("address"), self.address);
        text(line, key!("protocol"), self.protocol);
        number(line, key!("status"), u64::from(self.status));
        optional(line, key!("error_code"), self.error_code);
        optional(line, key!("shadow_error_code"), self.shadow_code);
        optional(line, key!("detail"), self.detail);
        millis(line, key!("duration_ms"), self.duration);
        if let Some(upstream) = self.upstream {
            millis(line, key!("upstream_ms"), upstream);
        }
        if self.attempts > 0 {
            number(line, key!("attempts"), u64::from(self.attempts));
        }
        optional(line, key!("endpoint"), self.endpoint);
        number(line, key!("request_bytes"), self.request_bytes);
        number(line, key!("response_bytes"), self.response_bytes);
        number(line, key!("redactions"), self.redactions);
        number(line, key!("cost_nano_usd"), self.cost.amount.0);
        if let Some(metered) = &self.cost.metered {
            metered.write_json(line);
        }
        number(line, key!("policy_generation"), self.generation);
        line.extend_from_slice(b"}\n");
    }

    /// Appends the record as one line for people.
    pub(super) fn write_text(&self, line: &mut Vec<u8>) {
        let mut put = |bytes: &[u8]| line.extend_from_slice(bytes);
        put(self.method.as_str().as_bytes());
        put(b" ");
        put(self.path.escape_debug().to_string().as_bytes());
        put(b" ");
        put(itoa::Buffer::new().format(self.status).as_bytes());
        put(b" ");
        put(itoa::Buffer::new().format(self.duration.as_micros()).as_bytes());
        put(b"us ");
        for word in [self.operation, self.tier, self.subject.unwrap_or("-")] {
            put(word.escape_debug().to_string().as_bytes());
            put(b" ");
        }
        put(self.error_code.unwrap_or("-").as_bytes());
        put(b" ");
        put(self.request_id.as_bytes());
        put(b"\n");
    }
}

impl Metered<'_> {
    fn write_json(&self, line: &mut Vec<u8>) {
        text(line, key!("cost_source"), self.source.as_str());
        text(line, key!("cost_confidence"), self.confidence.as_str());
        optional(line, key!("model"), self.model);
        let Some(usage) = self.usage else { return };
        for (name, tokens) in [
            (key!("input_tokens"), usage.all_input().saturating_sub(usage.cache_read)),
            (key!("cached_input_tokens"), usage.cache_read),
            (key!("output_tokens"), usage.all_output().saturating_sub(usage.reasoning)),
            (key!("reasoning_tokens"), usage.reasoning),
        ] {
            number(line, name, tokens);
        }
    }
}

fn text(line: &mut Vec<u8>, key: &[u8], value: &str) {
    line.extend_from_slice(key);
    line.push(b'"');
    escape(line, value);
    line.push(b'"');
}

fn optional(line: &mut Vec<u8>, key: &[u8], value: Option<&str>) {
    if let Some(value) = value {
        text(line, key, value);
    }
}

fn number(line: &mut Vec<u8>, key: &[u8], value: u64) {
    line.extend_from_slice(key);
    line.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Milliseconds with three decimals.
fn millis(line: &mut Vec<u8>, key: &[u8], value: Duration) {
    let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
    number(line, key, micros / 1_000);
    line.push(b'.');
    digits(line, micros % 1_000, 3);
}

/// `value` with leading zeros.
fn digits(line: &mut Vec<u8>, value: u64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let plain = buffer.format(value);
    line.extend(std::iter::repeat_n(b'0', width.saturating_sub(plain.len())));
    line.extend_from_slice(plain.as_bytes());
}

/// JSON string escapes (RFC 8259, 7).
fn escape(line: &mut Vec<u8>, value: &str) {
    // No early end, so that the compiler can look at many bytes at once.
    if value.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
        return line.extend_from_slice(value.as_bytes());
    }
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => line.extend_from_slice(&[b'\\', byte]),
            0..0x20 | 0x7f => {
                line.extend_from_slice(b"\\u00");
                line.extend_from_slice(crate::id::hex(&[byte]).as_bytes());
            }
            _ => line.push(byte),
        }
    }
}

/// Whether a byte of a string stands for itself.
const fn is_plain(byte: u8) -> bool {
    !matches!(byte, b'"' | b'\\' | 0..0x20 | 0x7f)
}

/// RFC 3339 in UTC with milliseconds.
fn write_time(line: &mut Vec<u8>, at: Timestamp) {
    let (days, ms) = (at.as_millis() / 86_400_000, at.as_millis() % 86_400_000);
    let (year, month, day) = civil(days);
    for (value, width, after) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (ms / 3_600_000, 2, b':'),
        (ms / 60_000 % 60, 2, b':'),
        (ms / 1_000 % 60, 2, b'.'),
        (ms % 1_000, 3, b'Z'),
    ] {
        digits(line, value, width);
        line.push(after);
    }
}

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms", `civil_from_days`), for days that are not negative.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &str) -> Record<'_> {
        Record {
            began: Timestamp(1_709_164_800_123),
            request_id: "r",
            client_request_id: None,
            trace_id: "t",
            method: &Method::GET,
            path,
            operation: "chat",
            tier: "free",
            subject: Some("path:u1"),
            peer: "127.0.0.1",
            address: "192.0.2.1",
            protocol: "h2",
            status: 200,
            error_code: None,
            shadow_code: None,
            detail: None,
            duration: Duration::from_micros(1_042),
            upstream: None,
            attempts: 1,
            endpoint: None,
            request_bytes: 0,
            response_bytes: 64,
            redactions: 0,
            cost: Cost { amount: NanoUsd(5_000_000), metered: None },
            generation: 1,
        }
    }

    #[test]
    fn a_record_is_one_json_line_with_its_time() {
        let mut line = Vec::new();
        record("/a").write_json(&mut line);
        let json: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(json["timestamp"], "2024-02-29T00:00:00.123Z");
        assert_eq!(json["duration_ms"], 1.042);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    }

    #[test]
    fn hostile_text_cannot_break_out_of_its_field() {
        let mut line = Vec::new();
        record("/\",\"status\":1,\n\u{1}\\").write_json(&mut line);
        let json: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(json["path"], "/\",\"status\":1,\n\u{1}\\");
        assert_eq!(json["status"], 200);
    }
}
