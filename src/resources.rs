//! What the system grants this process: file descriptors, memory, and time on its processors.
//!
//! Read from `/proc`, the cgroup file system and the kernel's limits; what cannot
//! be read is `None`, which stands for "no limit known".

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const CGROUPS: &str = "/sys/fs/cgroup";
/// The old hierarchy writes "no limit" as a number near this; no machine has as much.
const ABSURD: u64 = 1 << 60;

/// Raises the soft limit on file descriptors to the hard one.
/// Returns both as they are then; `u64::MAX` when there is none.
pub fn raise_descriptors() -> (u64, u64) {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    if limit.current == limit.maximum {
        return (hard, hard);
    }
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => (hard, hard),
        Err(_) => (limit.current.unwrap_or(u64::MAX), hard),
    }
}

/// Resident memory of this process, in bytes.
pub fn resident() -> Option<u64> {
    // One small read; the parsers of whole status files cost a hundred times as much.
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * procfs::page_size())
}

/// Lets the allocator give memory back to the system that was freed a second ago or earlier.
///
/// mimalloc looks for such memory when some thread frees a block that had pages of its own, and at no
/// other time: without work, what a burst has left stays resident for ever. So such a block is taken,
/// never touched, and freed.
pub fn give_back() {
    const OWN_PAGES: usize = 8 << 20;
    drop(std::hint::black_box(Vec::<u8>::with_capacity(OWN_PAGES)));
}

/// For how long, since this machine was started, some task was ready to run and had no processor.
pub fn processor_stall() -> Option<Duration> {
    stall_of(&fs::read_to_string("/proc/pressure/cpu").ok()?)
}

/// `text` is `some avg10=0.00 avg60=0.00 avg300=0.00 total=MICROSECONDS`, and more lines.
fn stall_of(text: &str) -> Option<Duration> {
    let total = text.lines().next()?.split("total=").nth(1)?;
    total.trim().parse().ok().map(Duration::from_micros)
}

/// The smallest memory limit of the cgroups that this process is in, in bytes.
pub fn memory_limit() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    limit_of(&text, Path::new(CGROUPS))
}

/// `text` is `/proc/self/cgroup`: lines of `number:controllers:path`.
fn limit_of(text: &str, root: &Path) -> Option<u64> {
    let limits = text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let path = Path::new(path.trim_start_matches('/'));
        if controllers.is_empty() {
            return smallest(root, path, "memory.max");
        }
        let is_memory = controllers.split(',').any(|controller| controller == "memory");
        let root = root.join("memory");
        is_memory.then(|| smallest(&root, path, "memory.limit_in_bytes"))?
    });
    limits.min()
}

/// The smallest limit from `path` up to `root`. Inside a container the path may be one of the
/// host's that is not there: then the root alone counts.
fn smallest(root: &Path, path: &Path, file: &str) -> Option<u64> {
    let places = path.ancestors().map(|path| root.join(path));
    places.filter_map(|place| read_limit(place.join(file))).min()
}

fn read_limit(path: PathBuf) -> Option<u64> {
    let limit: u64 = fs::read_to_string(path).ok()?.trim().parse().ok()?;
    (limit < ABSURD).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_how_long_tasks_had_no_processor() {
        let text = "some avg10=1.53 avg60=0.87 avg300=0.73 total=1_000\nfull total=7";
        assert_eq!(stall_of(text), None);
        assert_eq!(stall_of(&text.replace('_', "")), Some(Duration::from_millis(1)));
        assert_eq!(stall_of(""), None);
    }

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, content).expect("written");
        }
        root
    }

    #[test]
    fn the_smallest_limit_on_the_way_up_counts() {
        let root = tree(&[
            ("pod/memory.max", "268435456\n"),
            ("pod/box/memory.max", "max\n"),
            ("memory/old/memory.limit_in_bytes", "134217728\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        for (text, limit) in [
            ("0::/pod/box\n", Some(268_435_456)),
            ("0::/elsewhere\n", None),
            ("4:memory:/old\n0::/\n", Some(134_217_728)),
            ("4:cpu,memory:/old\n0::/pod\n", Some(134_217_728)),
            ("4:memory:/gone\n", None),
            ("", None),
        ] {
            assert_eq!(limit_of(text, root.path()), limit, "{text:?}");
        }
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        assert!(resident().is_some_and(|bytes| bytes > 1 << 20));
        let (soft, hard) = raise_descriptors();
        assert!(soft > 0 && soft <= hard);
    }
}
