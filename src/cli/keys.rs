//! `weir keys new | list | revoke`
//!
//! A key is `weir_` and 43 base64url digits: 256 random bits. It is shown once;
//! the file keeps its SHA-256. The file is written beside and renamed, so that a
//! running proxy never reads half of it, and nothing in it is lost.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use rand::Rng;

use super::Failure;
use crate::{
    id::hex,
    policy::{
        ProcessEnvironment, Source,
        diagnostic::Color,
        identity::{digest, is_verified_name},
        keys_file::{self, KeysFile},
    },
};

/// Subcommands of `weir keys`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Keys {
    /// Makes a key, shows it once, and adds its hash to the file.
    New(New),
    /// Lists the keys of the file.
    List(List),
    /// Ends a key; a running proxy refuses it within a second.
    Revoke(Revoke),
}

/// Arguments of `weir keys new`.
#[derive(Debug, clap::Args)]
pub(super) struct New {
    /// Who holds the key.
    #[arg(long)]
    subject: String,
    /// The tier that the key gives.
    #[arg(long)]
    tier: String,
    /// When it ends, in RFC 3339 [default: never].
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    #[command(flatten)]
    file: InFile,
}

/// Arguments of `weir keys list`.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    file: InFile,
}

/// Arguments of `weir keys revoke`.
#[derive(Debug, clap::Args)]
pub(super) struct Revoke {
    /// The key's id, as `weir keys list` shows it.
    id: String,
    #[command(flatten)]
    file: InFile,
}

#[derive(Debug, clap::Args)]
struct InFile {
    /// The file of hashed keys.
    #[arg(long, default_value = "keys.toml", value_name = "FILE")]
    keys: PathBuf,
}

impl Keys {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::New(command) => command.run(),
            Self::List(command) => command.run(),
            Self::Revoke(command) => command.run(),
        }
    }
}

impl New {
    fn run(self) -> Result<(), Failure> {
        let text = self.file.text()?;
        parse(&self.file.keys, &text)?;
        if !is_verified_name(&self.subject) {
            return Err("a subject may not begin with `path:`, `address:` or `pool:`".into());
        }
        let (mut secret, mut id) = ([0_u8; 32], [0_u8; 6]);
        rand::rng().fill_bytes(&mut secret);
        rand::rng().fill_bytes(&mut id);
        let key = format!("weir_{}", base64url(&secret));
        let id = format!("k_{}", hex(&id));
        let mut entry = toml::Table::new();
        let created = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        for (name, value) in [
            ("id", Some(id.clone())),
            ("subject", Some(self.subject)),
            ("tier", Some(self.tier)),
            ("sha256", Some(hex(&digest(key.as_bytes())))),
            ("created", Some(created)),
            ("expires", self.expires),
        ] {
            value.map(|value| entry.insert(name.into(), value.into()));
        }
        let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let text = format!("{text}{gap}\n[[key]]\n{}", toml::to_string(&entry)?);
        parse(&self.file.keys, &text)?;
        self.file.replace(&text)?;
        println!("{key}");
        eprintln!(
            "This key is shown once; {} keeps only its hash. Its id is {id}.",
            self.file.keys.display()
        );
        Ok(())
    }
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let keys = parse(&self.file.keys, &self.file.text()?)?.keys;
        if keys.is_empty() {
            println!("no keys; make one with `weir keys new --subject alice --tier free`");
            return Ok(());
        }
        println!("{:<16} {:<24} {:<16} {:<22} STATE", "ID", "SUBJECT", "TIER", "CREATED");
        let now = jiff::Timestamp::now().as_second();
        for key in keys {
            let ended = key.expires.as_ref().is_some_and(|end| end.value.unix_seconds() <= now);
            let state = match (key.revoked.value, ended, &key.expires) {
                (true, ..) => "revoked".to_owned(),
                (_, true, _) => "expired".to_owned(),
                (.., Some(end)) => format!("until {}", end.value.as_str()),
                (.., None) => "active".to_owned(),
            };
            let (id, tier) = (key.id.value.as_str(), key.tier.value.as_str());
            let (subject, created) = (&key.subject.value, key.created.value.as_str());
            println!("{id:<16} {subject:<24} {tier:<16} {created:<22} {state}");
        }
        Ok(())
    }
}

impl Revoke {
    fn run(self) -> Result<(), Failure> {
        let text = self.file.text()?;
        let keys = parse(&self.file.keys, &text)?;
        let key = keys.keys.iter().find(|key| key.id.value.as_str() == self.id);
        let key =
            key.ok_or_else(|| format!("no key has the id `{}`; see `weir keys list`", self.id))?;
        if key.revoked.value {
            println!("{} is revoked already", self.id);
            return Ok(());
        }
        // The line goes right behind the id: comments and order of the file stay.
        let line_end = text[key.id.span.end..].find('\n').map(|at| key.id.span.end + at);
        let at = line_end.unwrap_or(text.len());
        let text = format!("{}\nrevoked = true{}", &text[..at], &text[at..]);
        let changed = parse(&self.file.keys, &text)?;
        let revoked =
            |key: &keys_file::KeyFile| key.id.value.as_str() == self.id && key.revoked.value;
        if !changed.keys.iter().any(revoked) {
            return Err("write `revoked = true` in the key's table by hand".into());
        }
        self.file.replace(&text)?;
        println!("{} is revoked", self.id);
        Ok(())
    }
}

impl InFile {
    /// The file's text; nothing when it is not there yet.
    fn text(&self) -> Result<String, Failure> {
        match fs::read_to_string(&self.keys) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(format!("{} cannot be read: {error}", self.keys.display()).into()),
        }
    }

    /// Writes `text` beside the file and puts it in its place.
    fn replace(&self, text: &str) -> Result<(), Failure> {
        let beside = self.keys.with_extension(format!("toml.{}", std::process::id()));
        let written = fs::File::create_new(&beside).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        let renamed = written.and_then(|()| fs::rename(&beside, &self.keys));
        if renamed.is_err() {
            // The first error is the one to tell.
            drop(fs::remove_file(&beside));
        }
        renamed
            .map_err(|error| format!("{} cannot be written: {error}", self.keys.display()).into())
    }
}

fn parse(path: &Path, text: &str) -> Result<KeysFile, Failure> {
    let source = Source::new(path.display().to_string(), text);
    let directory = path.parent().unwrap_or(Path::new("."));
    let (keys, report) = keys_file::read(source, &ProcessEnvironment::beside(directory));
    keys.ok_or_else(|| report.render(Color::Never).into())
}

/// RFC 4648, 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for digit in 0..=group.len() {
            let six = bits >> (18 - 6 * digit) & 63;
            text.push(char::from(DIGITS[six as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_is_that_of_the_rfc() {
        for (plain, coded) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64url(plain.as_bytes()), coded);
        }
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
    }
}
