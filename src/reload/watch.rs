//! Hears of changes beside the files that a policy is read from.
//!
//! Directories are watched, and others may write there as well: a log beside the
//! policy that grows by a line per request. What is written to a file that nobody
//! asked for is no reason to look; and the watch sleeps for a moment after it woke,
//! so that thousands of writes a second wake it a few dozen times.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::ModifyKind};
use tokio::sync::mpsc;

/// How long the watch is awake at a time …
const AWAKE: Duration = Duration::from_micros(200);
/// … before it sleeps for so long. The kernel remembers meanwhile, the same event in a row only once.
const NAP: Duration = Duration::from_millis(20);

/// The names of the files that are read, whatever their directories.
type Names = Arc<Mutex<BTreeSet<OsString>>>;

/// The directories that are watched.
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    followed: BTreeSet<PathBuf>,
    names: Names,
}

impl Watch {
    /// Sends to `events` when there may be something to look at.
    pub(super) fn new(events: mpsc::Sender<()>) -> Self {
        let names = Names::default();
        let (read, mut rhythm) = (Arc::clone(&names), Rhythm::default());
        let notice = move |event: notify::Result<Event>| {
            // What the watch lost may be a change.
            if event.is_ok_and(|event| !may_be_a_change(&event, &read)) {
                return rhythm.keep();
            }
            // A full channel already says that there is something to look at.
            let _ = events.try_send(());
            rhythm.keep();
        };
        let watcher = notify::recommended_watcher(notice);
        if let Err(error) = &watcher {
            tracing::warn!(%error, "files cannot be watched; they are looked at twice a second");
        }
        Self { watcher: watcher.ok(), followed: BTreeSet::new(), names }
    }

    /// Watches the directories of these files, and no others any more.
    pub(super) fn follow<'f>(&mut self, files: impl Iterator<Item = &'f Path>) {
        let Some(watcher) = &mut self.watcher else { return };
        let (mut directories, mut names) = (BTreeSet::new(), BTreeSet::new());
        for file in files {
            directories.insert(directory(file).to_owned());
            names.extend(file.file_name().map(ToOwned::to_owned));
            // A link may lead to a neighbour.
            let target = fs::canonicalize(file).ok();
            names.extend(target.and_then(|target| target.file_name().map(ToOwned::to_owned)));
        }
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
        for gone in self.followed.difference(&directories) {
            // It may be gone from the disk as well.
            drop(watcher.unwatch(gone));
        }
        directories.retain(|directory| {
            self.followed.contains(directory)
                || watcher.watch(directory, RecursiveMode::NonRecursive).is_ok()
        });
        self.followed = directories;
    }
}

fn directory(file: &Path) -> &Path {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// Whether what was read before may not be what is there now.
fn may_be_a_change(event: &Event, names: &Mutex<BTreeSet<OsString>>) -> bool {
    match event.kind {
        // Our own reading opens files; that is no change.
        EventKind::Access(_) => false,
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => {
            let names = names.lock().unwrap_or_else(PoisonError::into_inner);
            let is_read = |path: &PathBuf| path.file_name().is_none_or(|name| names.contains(name));
            event.paths.is_empty() || event.paths.iter().any(is_read)
        }
        // A mounted ConfigMap changes its files by renaming something else.
        _ => true,
    }
}

/// When the watch sleeps.
#[derive(Default)]
struct Rhythm {
    awake_since: Option<Instant>,
}

impl Rhythm {
    fn keep(&mut self) {
        if let Some(nap) = self.nap(Instant::now()) {
            thread::sleep(nap);
            self.awake_since = Some(Instant::now());
        }
    }

    /// How long to sleep at `now`, if it is time.
    fn nap(&self, now: Instant) -> Option<Duration> {
        let is_fresh = |since: Instant| now.saturating_duration_since(since) < AWAKE;
        (!self.awake_since.is_some_and(is_fresh)).then_some(NAP)
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, CreateKind, DataChange, Flag, MetadataKind, RenameMode};

    use super::*;

    #[test]
    fn what_is_written_to_other_files_is_no_reason_to_look() {
        let names = Mutex::new(BTreeSet::from([OsString::from("policy.toml")]));
        let changes = |kind: EventKind, path: &str| {
            may_be_a_change(&Event::new(kind).add_path(PathBuf::from(path)), &names)
        };
        let data = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let metadata = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
        for kind in [data, metadata] {
            assert!(changes(kind, "/etc/weir/policy.toml"));
            assert!(!changes(kind, "/etc/weir/access.log"));
            assert!(may_be_a_change(&Event::new(kind), &names), "nobody says whose");
        }
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        assert!(changes(renamed, "/etc/weir/..data"), "a ConfigMap's symlink");
        assert!(changes(EventKind::Create(CreateKind::File), "/etc/weir/new"));
        assert!(!changes(EventKind::Access(AccessKind::Any), "/etc/weir/policy.toml"));
        let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(may_be_a_change(&lost, &names));
    }

    #[test]
    fn the_watch_sleeps_after_each_moment_awake() {
        let now = Instant::now();
        let awake_for = |time: Duration| Rhythm { awake_since: Some(now - time) }.nap(now);
        assert_eq!(Rhythm::default().nap(now), Some(NAP));
        assert_eq!(awake_for(AWAKE / 2), None);
        assert_eq!(awake_for(AWAKE), Some(NAP));
    }

    #[test]
    fn a_file_without_a_directory_is_in_the_one_at_hand() {
        assert_eq!(directory(Path::new("policy.toml")), Path::new("."));
        assert_eq!(directory(Path::new("/etc/weir/policy.toml")), Path::new("/etc/weir"));
    }
}
