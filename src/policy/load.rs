//! Reads a policy from disk, with all that it names, and compiles it.
//!
//! Used alike by `run`, `check`, `explain` and every reload, so they cannot
//! disagree about what is valid.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    compile::{self, AdminSettings, Beside, Redactors, Settings},
    diagnostic::{Diagnostic, Report},
    file::{self, IdentityFile, PolicyFile},
    identity::{Caller, Key, Keys, digest, is_verified_name},
    interpolate::ProcessEnvironment,
    jwks_file::{IssuerFiles, Reading},
    keys_file::{self, KeysFile},
    read::{MAX_SOURCE, Source},
    snapshot::{Policy, TierId},
};
use crate::{clock::Timestamp, telemetry::Metrics};

/// Where a policy comes from.
#[derive(Clone, Debug)]
pub struct Loader {
    path: PathBuf,
    directory: PathBuf,
    redactors: Redactors,
    issuers: IssuerFiles,
}

/// What came of reading a policy.
pub struct Loaded {
    /// The policy, its settings and the file as written; `None` when there are errors.
    pub compiled: Option<Compiled>,
    /// Everything that is wrong or doubtful.
    pub report: Report,
    /// Every file that was read or would have been: a change of one is a change of the policy.
    pub files: Vec<PathBuf>,
    /// The policy file's own bytes.
    pub text: Vec<u8>,
    /// A digest over the content of all of them.
    pub digest: [u8; 32],
}

/// A policy that can be run.
pub struct Compiled {
    /// As run.
    pub policy: Policy,
    /// What needs a restart.
    pub settings: Settings,
    /// As written.
    pub file: PolicyFile,
}

impl Loader {
    /// Reads the policy at `path`; relative paths inside it are relative to its directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = parent.unwrap_or(Path::new(".")).to_owned();
        Self { path, directory, redactors: Redactors::default(), issuers: IssuerFiles::default() }
    }

    /// The policy file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the operators' listener is, as far as the file can be read: else its default.
    pub fn admin(&self) -> AdminSettings {
        let bytes = read(&self.path).unwrap_or_default();
        let (file, _) = self.parse(String::new(), bytes);
        match file {
            Some(file) => AdminSettings::of(&file.admin, &self.directory),
            None => AdminSettings::default(),
        }
    }

    /// Reads and compiles. Metric series are made in `metrics` only if there are no errors.
    pub fn load(&self, metrics: &Metrics) -> Loaded {
        self.load_text(read(&self.path), metrics)
    }

    /// Compiles `text` in place of the policy file, with what stands beside that file now.
    pub fn load_text(&self, text: io::Result<Vec<u8>>, metrics: &Metrics) -> Loaded {
        let mut files = vec![self.path.clone()];
        let mut content = Vec::new();
        let shown = self.path.display().to_string();
        let (file, mut report, sha256) = match text {
            Ok(bytes) => {
                let sha256 = crate::id::hex(&digest(&bytes));
                content.extend_from_slice(&bytes);
                let (file, report) = self.parse(shown, bytes);
                (file, report, sha256)
            }
            Err(error) => (None, unreadable(&shown, &error), String::new()),
        };
        let text = content.clone();
        let compiled = file.and_then(|file| {
            files.extend(file.files.iter().map(|path| self.directory.join(path)));
            files.extend(file.upstream.tls.files().map(|path| self.directory.join(path)));
            for path in &files[1..] {
                content.extend(read(path).unwrap_or_default());
            }
            let keys = self.keys(&file, &mut report, &mut files, &mut content);
            let issuers = self.issuers.keys(
                &file,
                &mut Reading {
                    directory: &self.directory,
                    read,
                    report: &mut report,
                    files: &mut files,
                    content: &mut content,
                },
            );
            let (directory, redactors) = (&self.directory, &self.redactors);
            let beside = Beside { keys, issuers, directory, sha256, redactors };
            let (policy, settings) = compile::compile(&file, beside, metrics, &mut report)?;
            Some(Compiled { policy, settings, file })
        });
        let compiled = compiled.filter(|_| !report.has_errors());
        Loaded { compiled, report, files, text, digest: digest(&content) }
    }

    fn parse(&self, shown: String, bytes: Vec<u8>) -> (Option<PolicyFile>, Report) {
        match Source::decode(shown, bytes) {
            Ok(source) => file::read_in_part(source, &ProcessEnvironment::beside(&self.directory)),
            Err(report) => (None, report),
        }
    }

    /// One set of keys per `api_key` source.
    fn keys(
        &self,
        file: &PolicyFile,
        report: &mut Report,
        files: &mut Vec<PathBuf>,
        content: &mut Vec<u8>,
    ) -> Vec<Keys> {
        let mut all = Vec::new();
        for source in &file.identity {
            let IdentityFile::ApiKey(written) = &source.value else { continue };
            let path = self.directory.join(&written.keys.value);
            files.push(path.clone());
            let bytes = match read(&path) {
                Ok(bytes) => bytes,
                Err(error) => {
                    report.push(missing_keys(&written.keys, &error));
                    all.push(Keys::default());
                    continue;
                }
            };
            content.extend_from_slice(&bytes);
            let (keys, problems) = self.parse_keys(&path, bytes);
            let number = report.merge(problems);
            all.push(keys.map_or_else(Keys::default, |keys| collect(&keys, file, number, report)));
        }
        all
    }

    fn parse_keys(&self, path: &Path, bytes: Vec<u8>) -> (Option<KeysFile>, Report) {
        match Source::decode(path.display().to_string(), bytes) {
            Ok(source) => keys_file::read(source, &ProcessEnvironment::beside(&self.directory)),
            Err(report) => (None, report),
        }
    }
}

/// Reads a file whole, but never more than a policy may be.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_SOURCE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(shown: &str, error: &io::Error) -> Report {
    let mut report = Report::new();
    report.add_source(shown, "");
    let problem = Diagnostic::error(format!("{shown} cannot be read: {error}"));
    report.push(problem.help("name the policy file, or write one: see policy.toml of the project"));
    report
}

fn missing_keys(at: &super::read::At<PathBuf>, error: &io::Error) -> Diagnostic {
    let why = match error.kind() {
        io::ErrorKind::NotFound => "this file of API keys is not there".to_owned(),
        _ => format!("this file of API keys cannot be read: {error}"),
    };
    let help = "make one with `weir keys new --subject alice --tier free`, or make an empty file";
    Diagnostic::error(why).at(at.span, "").help(help)
}

/// The keys that are in force; those of unknown tiers are problems in source `number`.
fn collect(written: &KeysFile, file: &PolicyFile, number: usize, report: &mut Report) -> Keys {
    let mut keys = Keys::default();
    for key in written.keys.iter().filter(|key| !key.revoked.value) {
        let mut problem = |text: String, span| {
            let mut error = Diagnostic::error(text).at(span, "");
            error.file = number;
            report.push(error);
        };
        let tier = file.tiers.iter().position(|tier| tier.name.value == key.tier.value);
        let Some(tier) = tier else {
            if !file.names_known {
                continue;
            }
            let name = key.tier.value.as_str();
            problem(format!("the policy has no tier `{name}`"), key.tier.span);
            continue;
        };
        if !is_verified_name(&key.subject.value) {
            let text = "a subject may not begin with `path:`, `address:` or `pool:`";
            problem(text.to_owned(), key.subject.span);
        }
        let expires = key.expires.as_ref().map(|end| {
            Timestamp(u64::try_from(end.value.unix_seconds()).unwrap_or(0).saturating_mul(1_000))
        });
        let caller = Caller { subject: key.subject.value.as_str().into(), tier: TierId(tier) };
        if !keys.insert(key.sha256.value.0, Key { caller, expires }) {
            problem("this key stands here twice".to_owned(), key.sha256.span);
        }
    }
    keys
}
