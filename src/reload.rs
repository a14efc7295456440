//! Notices that the policy's files changed, and puts the change in force.
//!
//! Watches the directories, not the files: editors rename, and a mounted
//! ConfigMap swaps a symlink. Beside the watch, which is silent on many mounts,
//! every named file is looked at each [`POLL`]. A change is acted on after
//! [`QUIET`] without another, at most [`PATIENCE`] after the first. What decides
//! is the content: equal bytes change nothing.
//!
//! # Failure
//! A policy with errors leaves the running one in force; the problem is logged
//! once, with its place, and counted. A certificate that cannot be used leaves
//! the old pair in force.

mod watch;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::mpsc;

use watch::Watch;

use crate::{
    policy::{
        compile::Settings,
        diagnostic::Severity,
        handle::PolicyHandle,
        load::{Loaded, Loader},
    },
    server::{Prepared, Tls},
    supervisor,
    telemetry::Metrics,
};

/// How often the files are looked at beside the watch.
const POLL: Duration = Duration::from_millis(500);
/// A change is acted on after this much silence …
const QUIET: Duration = Duration::from_millis(50);
/// … or this long after it began, whatever comes.
const PATIENCE: Duration = Duration::from_millis(500);

/// Keeps the policy and the certificate of a running process as their files say.
pub struct Reloader {
    loader: Loader,
    settings: Settings,
    handle: Arc<PolicyHandle>,
    /// `None` for a plaintext listener.
    tls: Option<Arc<Tls>>,
    metrics: Arc<Metrics>,
    /// Digest of what is in force.
    running: [u8; 32],
    /// The policy file that is in force.
    text: Vec<u8>,
    /// Digest of what was rejected last, if the newest files are not in force.
    rejected: Option<[u8; 32]>,
    /// The last problems of the certificates that were logged.
    certificate_problems: Vec<String>,
    /// Whether the newest policy was rejected for the CAs of clients, which may be mended without it.
    waits_for_clients: bool,
    files: Vec<PathBuf>,
}

/// What a process began with.
pub struct InForce {
    /// What needs a restart.
    pub settings: Settings,
    /// Every file that the policy was read from.
    pub files: Vec<PathBuf>,
    /// The policy file's own bytes.
    pub text: Vec<u8>,
    /// A digest over the content of all of them.
    pub digest: [u8; 32],
}

impl Reloader {
    /// Follows the files that `in_force` was read from.
    pub fn new(
        loader: Loader,
        in_force: InForce,
        handle: Arc<PolicyHandle>,
        tls: Option<Arc<Tls>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let InForce { settings, files, text, digest } = in_force;
        Self {
            loader,
            settings,
            handle,
            tls,
            metrics,
            running: digest,
            text,
            rejected: None,
            certificate_problems: Vec::new(),
            waits_for_clients: false,
            files,
        }
    }

    /// Follows the files for ever; `hangup` asks for a look at once.
    pub async fn watch(mut self, mut hangup: mpsc::Receiver<()>) {
        let (sender, mut events) = mpsc::channel::<()>(1);
        let mut watch = Watch::new(sender);
        watch.follow(self.watched());
        let mut seen = self.fingerprint();
        // What changed between the first reading and the watch would never be noticed.
        self.look();
        loop {
            let mut asked = false;
            let noticed = tokio::select! {
                // An event is reason enough: two writes within one tick of the file system's
                // clock look the same from outside.
                Some(()) = events.recv() => true,
                Some(()) = hangup.recv() => {
                    supervisor::reloading();
                    asked = true;
                    true
                }
                () = tokio::time::sleep(POLL) => self.fingerprint() != seen,
            };
            if noticed {
                seen = self.rest(&mut events).await;
                self.look();
                watch.follow(self.watched());
            }
            if asked {
                supervisor::ready(match self.rejected {
                    None => "serving",
                    Some(_) => "serving; the newest policy is rejected",
                });
            }
        }
    }

    /// A file that is still being written changes again: waits until nothing did for [`QUIET`],
    /// at most [`PATIENCE`].
    async fn rest(&self, events: &mut mpsc::Receiver<()>) -> Fingerprint {
        let until = Instant::now() + PATIENCE - QUIET;
        let mut seen = self.fingerprint();
        loop {
            tokio::time::sleep(QUIET).await;
            let now = self.fingerprint();
            let rests = events.try_recv().is_err() && now == seen;
            if rests || Instant::now() >= until {
                return now;
            }
            seen = now;
        }
    }

    /// Reads all files and puts what changed in force.
    pub fn look(&mut self) {
        self.look_at_certificates();
        let loaded = self.loader.load(&self.metrics);
        self.files.clone_from(&loaded.files);
        if loaded.digest == self.running && loaded.compiled.is_some() {
            if self.rejected.take().is_some() {
                self.handle.clear();
                self.metrics.reloads_applied.add(1);
                tracing::info!("the policy file is again the one in force");
            }
            return;
        }
        let refused = loaded.compiled.is_none();
        if self.rejected != Some(loaded.digest) || self.waits_for_clients {
            self.take(loaded);
        }
        if refused {
            self.refresh();
        }
    }

    /// While the newest policy is rejected, what stands beside the running one is still followed:
    /// a revoked key must not live on because of a typing error elsewhere.
    fn refresh(&mut self) {
        let loaded = self.loader.load_text(Ok(self.text.clone()), &self.metrics);
        let more = loaded.files.into_iter().filter(|file| !self.files.contains(file));
        self.files.extend(more.collect::<Vec<_>>());
        let Some(compiled) = loaded.compiled.filter(|_| loaded.digest != self.running) else {
            return;
        };
        let problem = self.handle.problem();
        let policy = self.handle.apply(compiled.policy);
        if let Some(problem) = problem {
            self.handle.reject(problem.to_string());
        }
        self.running = loaded.digest;
        let generation = policy.generation;
        tracing::info!(generation, "the running policy took in new keys");
    }

    fn take(&mut self, loaded: Loaded) {
        let Loaded { compiled, report, digest, text, .. } = loaded;
        let Some(compiled) = compiled else {
            let mut lines = Vec::new();
            for problem in report.diagnostics() {
                if problem.severity == Severity::Error {
                    lines.push(report.one_line(problem));
                }
            }
            self.waits_for_clients = false;
            return self.reject(digest, lines.join("\n"));
        };
        // Whether there is TLS at all changes at the next start; until then what is shown stays.
        let tls = self.tls.as_ref().filter(|_| !compiled.settings.listen.plaintext);
        let prepared = match tls.map(|tls| tls.prepare(&compiled.settings.tls)) {
            None => None,
            Some(Ok(prepared)) => Some(prepared),
            Some(Err(problem)) => {
                // The policy counts on certificates that nobody could verify.
                let is_known = self.waits_for_clients && self.rejected == Some(digest);
                self.waits_for_clients = true;
                if !is_known {
                    self.reject(digest, problem.to_string());
                }
                return;
            }
        };
        let waiting = self.settings.differences(&compiled.settings);
        if !waiting.is_empty() {
            tracing::warn!(tables = ?waiting, "these tables take effect at the next start");
        }
        self.metrics.policy_sha256.store(Arc::new(compiled.policy.sha256.clone()));
        let policy = self.handle.apply(compiled.policy);
        (self.running, self.rejected, self.text) = (digest, None, text);
        self.waits_for_clients = false;
        self.metrics.reloads_applied.add(1);
        let (generation, sha256) = (policy.generation, &policy.sha256);
        tracing::info!(generation, %sha256, "a new policy is in force");
        if let Some(prepared) = prepared {
            self.settings.tls = compiled.settings.tls;
            self.show(prepared);
        }
    }

    fn reject(&mut self, digest: [u8; 32], problems: String) {
        self.rejected = Some(digest);
        self.metrics.reloads_rejected.add(1);
        tracing::error!(problems, "the new policy is rejected, the old one stays in force");
        self.handle.reject(problems);
    }

    fn look_at_certificates(&mut self) {
        let Some(tls) = &self.tls else { return };
        match tls.prepare(&self.settings.tls) {
            Ok(prepared) => self.show(prepared),
            Err(problem) => self.complain(vec![problem.to_string()]),
        }
    }

    /// Puts certificates in force, and says what is wrong with those that are not new.
    fn show(&mut self, prepared: Prepared) {
        let Some(tls) = &self.tls else { return };
        if prepared.has_new_certificates {
            tracing::info!("a new certificate is in force");
        }
        if prepared.has_new_clients() {
            tracing::info!("the CAs and revocation lists of clients are new");
        }
        let problems = prepared.problems.iter().map(ToString::to_string).collect();
        tls.install(prepared);
        self.complain(problems);
    }

    fn complain(&mut self, problems: Vec<String>) {
        for problem in problems.iter().filter(|it| !self.certificate_problems.contains(it)) {
            tracing::error!(problem, "the certificate cannot be used, the old one stays");
        }
        self.certificate_problems = problems;
    }

    fn watched(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path).chain(self.settings.tls.files())
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint(self.watched().map(fingerprint).collect())
    }
}

/// What the file system says of each file without reading it.
#[derive(Debug, PartialEq, Eq)]
struct Fingerprint(Vec<Option<(SystemTime, u64, PathBuf)>>);

fn fingerprint(path: &Path) -> Option<(SystemTime, u64, PathBuf)> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len(), fs::canonicalize(path).ok()?))
}
