//! `keys.toml`: the hashed API keys, as written.
//!
//! One `[[key]]` per key. A key itself is never in the file, only its SHA-256.
//! The file may be empty. Problems are found and shown as those of the policy;
//! hashes are covered in what is shown, because a raw key may have been pasted in their place.
//!
//! # Limits
//! Whether a tier exists is for whoever knows the tiers, and whether a key has ended for whoever knows the time.

use std::fmt;

use toml::value::{Datetime, Offset};

use super::diagnostic::{Diagnostic, Report};
use super::file::Name;
use super::interpolate::Environment;
use super::read::{At, Parsed, Source, Table, Wrong, document};

/// The longest subject, in bytes.
const MAX_SUBJECT: usize = 256;

/// Everything that `keys.toml` says.
#[derive(Debug, Clone, Default)]
pub struct KeysFile {
    /// The keys, in file order; no id and no hash twice.
    pub keys: Vec<KeyFile>,
}

/// One key.
#[derive(Debug, Clone)]
pub struct KeyFile {
    /// What operators call the key. Required.
    pub id: At<Name>,
    /// Who is counted when the key is used: 1 to 256 bytes, no control characters. Required.
    pub subject: At<String>,
    /// The subject's tier. Required.
    pub tier: At<Name>,
    /// SHA-256 of the key. Required.
    pub sha256: At<Sha256>,
    /// When the key was made. Required.
    pub created: At<Timestamp>,
    /// When the key ends. Default: never.
    pub expires: Option<At<Timestamp>>,
    /// Whether the key is revoked: `true`, or the time at which it was, as written by whoever revoked it. Default: no.
    pub revoked: At<bool>,
}

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256(pub [u8; 32]);

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[sha256]")
    }
}

/// An RFC 3339 time with its offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp {
    text: String,
    unix_seconds: i64,
}

impl Timestamp {
    /// The time as written, such as `2026-01-31T12:00:00Z`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Seconds since 1970-01-01T00:00:00Z; fractions are cut.
    pub fn unix_seconds(&self) -> i64 {
        self.unix_seconds
    }
}

impl Parsed for Sha256 {
    const WANTED: &'static str = "a SHA-256 in hexadecimal";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = || {
            let count = text.chars().count();
            Wrong::new(
                format!("this has {count} characters, and is not a SHA-256"),
                "write 64 hexadecimal digits",
            )
        };
        let mut digest = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(wrong());
        }
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            *byte =
                (nibble(pair[0]).ok_or_else(wrong)? << 4) | nibble(pair[1]).ok_or_else(wrong)?;
        }
        Ok(Self(digest))
    }
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Reads a file of keys and reports all problems at once.
///
/// There is a `KeysFile` exactly when the report has no errors. The source is number 0 of the report.
pub fn read(source: Source, environment: &dyn Environment) -> (Option<KeysFile>, Report) {
    let (keys, report) = document(&source, environment, |root| {
        let keys = root.tables("key", key);
        check_twice(root, &keys);
        Some(KeysFile { keys })
    });
    (keys.filter(|_| !report.has_errors()), report)
}

fn key(table: &mut Table<'_, '_>) -> Option<KeyFile> {
    let id = table.required("id", "id = \"k_8f3a\"");
    let subject = subject(table);
    let tier = table.required("tier", "tier = \"free\"");
    let sha256 = sha256(table);
    let created = time(table, "created");
    if created.is_none() && table.value("created").is_none() {
        table.missing("created", "created = \"2026-01-31T12:00:00Z\"");
    }
    let expires = time(table, "expires");
    let revoked = revoked(table);
    Some(KeyFile {
        id: id?,
        subject: subject?,
        tier: tier?,
        sha256: sha256?,
        created: created?,
        expires,
        revoked,
    })
}

fn subject(table: &mut Table<'_, '_>) -> Option<At<String>> {
    let subject: At<String> = table.required("subject", "subject = \"alice\"")?;
    if subject.value.len() > MAX_SUBJECT || subject.value.contains(char::is_control) {
        let error = Diagnostic::error("`key.subject`: this is not a subject").at(subject.span, "");
        table.reader().push(error.help("write 1 to 256 bytes without control characters"));
    }
    Some(subject)
}

fn sha256(table: &mut Table<'_, '_>) -> Option<At<Sha256>> {
    if let Some(value) = table.value("sha256") {
        value.conceal();
    }
    table.required("sha256", "the output of `weir keys new`")
}

fn time(table: &mut Table<'_, '_>, key: &'static str) -> Option<At<Timestamp>> {
    table.value(key)?.time("a time such as \"2026-01-31T12:00:00Z\"", timestamp)
}

/// Reads `revoked`: a time, or true. A key with either is revoked at once, also when the time is yet to come.
fn revoked(table: &mut Table<'_, '_>) -> At<bool> {
    let not = At::default_in(table.span(), false);
    match table.value("revoked") {
        None => not,
        Some(value) if value.is_bool() => value.at().unwrap_or(not),
        Some(_) => time(table, "revoked").map_or(not, |time| time.map(|_| true)),
    }
}

fn timestamp(text: &str) -> Result<Timestamp, Wrong> {
    let wrong = || {
        Wrong::new(
            "this is not a time",
            "write date, time and offset, such as \"2026-01-31T12:00:00Z\"",
        )
    };
    let parsed: Datetime = text.parse().map_err(|_| wrong())?;
    let unix_seconds = unix_seconds(&parsed).ok_or_else(wrong)?;
    Ok(Timestamp { text: text.to_owned(), unix_seconds })
}

fn unix_seconds(time: &Datetime) -> Option<i64> {
    let (date, clock) = (time.date?, time.time?);
    let offset_minutes = match time.offset? {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let days = days_since_1970(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let minutes =
        days * 1_440 + i64::from(clock.hour) * 60 + i64::from(clock.minute) - offset_minutes;
    Some(minutes * 60 + i64::from(clock.second.unwrap_or(0)))
}

/// Counts days of the Gregorian calendar, years beginning in March, so that a leap day is a year's last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719 468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leap_days + day_of_year - 719_468
}

fn check_twice(root: &Table<'_, '_>, keys: &[KeyFile]) {
    let ids = keys.iter().map(|key| (&key.id.value, key.id.span));
    let hashes = keys.iter().map(|key| (key.sha256.value, key.sha256.span));
    root.reader().refuse_repeated(ids, "two keys have the same id", "remove one of the keys");
    root.reader().refuse_repeated(
        hashes,
        "two keys have the same sha256",
        "remove one of the keys",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted() {
        let seconds = |text: &str| timestamp(text).ok().map(|time| time.unix_seconds());

        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2000-02-29T12:00:00Z"), Some(951_825_600));
        assert_eq!(seconds("2026-01-31T12:00:00+02:00"), Some(1_769_853_600));
        assert_eq!(seconds("2026-01-31 12:00:00.5z"), Some(1_769_860_800));
        assert_eq!(seconds("1969-12-31T23:59:59Z"), Some(-1));
        for text in
            ["", "2026-01-31", "12:00:00", "2026-01-31T12:00:00", "2026-02-30T12:00:00Z", "soon"]
        {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn a_digest_has_64_digits_and_never_prints() {
        let text = "0123456789abcdefABCDEF0123456789".repeat(2);

        let digest = Sha256::parse(&text).ok();

        assert_eq!(digest.map(|digest| digest.0[..3].to_vec()), Some(vec![0x01, 0x23, 0x45]));
        assert_eq!(format!("{digest:?}"), "Some([sha256])");
        assert!(Sha256::parse(&text[1..]).is_err());
        assert!(Sha256::parse(&"ü".repeat(32)).is_err());
    }
}
