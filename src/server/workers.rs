//! The threads that serve connections.

use std::{
    future::Future,
    hint::black_box,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// How worker threads share work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runtimes {
    /// One single-threaded runtime per thread: a connection stays where it was accepted.
    #[default]
    PerCore,
    /// One runtime over all threads, which steal work from each other.
    WorkStealing,
}

/// Worker threads, and how busy each is.
#[derive(Debug)]
pub struct Workers {
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    handle: Handle,
    open: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// One connection's place on a worker; gives the place back when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Workers {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// When the system grants no thread or no event queue.
    pub fn start(runtimes: Runtimes, threads: usize) -> io::Result<Self> {
        let workers = match runtimes {
            Runtimes::PerCore => (0..threads.max(1))
                .map(|index| Worker::start(index, Builder::new_current_thread()))
                .collect::<io::Result<_>>()?,
            Runtimes::WorkStealing => {
                let mut builder = Builder::new_multi_thread();
                builder.worker_threads(threads.max(1));
                vec![Worker::start(0, builder)?]
            }
        };
        Ok(Self { workers })
    }

    /// How many independent workers there are.
    pub fn len(&self) -> usize {
        self.workers.len()
    }

    /// Never: there is at least one.
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// Connections open over all workers.
    pub(super) fn open(&self) -> usize {
        self.workers.iter().map(|worker| worker.open.load(Relaxed)).sum()
    }

    /// Takes a place on the worker with the fewest connections.
    pub(super) fn place(&self) -> Option<(usize, Place)> {
        let (index, worker) =
            self.workers.iter().enumerate().min_by_key(|(_, worker)| worker.open.load(Relaxed))?;
        worker.open.fetch_add(1, Relaxed);
        Some((index, Place(Arc::clone(&worker.open))))
    }

    /// Runs `task` on the worker at `index`; its owner is whoever tracks the future, or else the worker itself.
    pub fn spawn(&self, index: usize, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(worker) = self.workers.get(index) {
            drop(worker.handle.spawn(task));
        }
    }

    /// Returns once every worker has run a task: none hangs.
    pub async fn answer(&self) {
        for worker in &self.workers {
            // It fails only when the worker has ended.
            drop(worker.handle.spawn(async {}).await);
        }
    }

    /// Ends the threads; what still runs on them is dropped.
    pub fn stop(mut self) {
        for worker in &mut self.workers {
            drop(worker.stop.take());
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                drop(thread.join());
            }
        }
    }
}

impl Worker {
    fn start(index: usize, mut builder: Builder) -> io::Result<Self> {
        let runtime = builder.enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(format!("worker-{index}"));
        let thread = thread.spawn(move || {
            let anchors = anchors();
            // Ends when the sender is dropped.
            drop(runtime.block_on(stopped));
            drop(anchors);
        })?;
        let open = Arc::default();
        Ok(Self { handle, open, stop: Some(stop), thread: Some(thread) })
    }
}

/// A block of each size that an answer, a TLS record or a buffer has, held as long as the worker lives. An allocator
/// keeps blocks of one size together, and gives their pages back when the last is free; where a block of a size is taken and
/// given back within one request, that would be done for each request.
fn anchors() -> Vec<Vec<u8>> {
    // Four steps to each doubling, as mimalloc and jemalloc have them.
    let steps = |size: usize| (4..8).map(move |quarters| size * quarters / 4);
    let sizes = [1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10].into_iter().flat_map(steps);
    sizes.map(|size| black_box(Vec::with_capacity(size))).collect()
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[tokio::test]
    async fn workers_answer_only_while_none_of_them_hangs() {
        let workers = Workers::start(Runtimes::PerCore, 2).expect("threads");
        workers.answer().await;
        let (release, hang) = mpsc::channel::<()>();
        workers.spawn(1, async move {
            // Blocks the thread, as a bug would.
            let _ = hang.recv();
        });
        let answered = tokio::time::timeout(Duration::from_millis(50), workers.answer()).await;
        assert!(answered.is_err());
        drop(release);
        workers.answer().await;
        workers.stop();
    }
}
