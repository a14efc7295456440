//! Log lines, gathered in memory and written in blocks.
//!
//! A line costs its writer a short lock on a buffer that usually nobody else
//! holds (one buffer per thread, round-robin), never a system call. One thread
//! writes all buffers to the sink every [`FLUSH_EVERY`], or at once when a
//! buffer is large or a line is urgent.
//!
//! # Failure
//! When the sink is slower than the lines come, a buffer stops at
//! [`MAX_BUFFERED`] and further lines are dropped and counted: the log may lose,
//! the traffic must not wait. Nor must the end: a sink that nobody reads any more
//! keeps it for [`LAST_WORDS`] at most.

use std::{
    cell::Cell,
    io::Write,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

/// The longest that a line waits before it is written.
const FLUSH_EVERY: Duration = Duration::from_millis(100);
/// A buffer of this size is written at once.
const FLUSH_AT: usize = 64 << 10;
/// A buffer never grows beyond this.
const MAX_BUFFERED: usize = 4 << 20;
const BUFFERS: usize = 8;
/// How long the end waits for what is left to be written.
const LAST_WORDS: Duration = Duration::from_secs(2);

type Buffer = Mutex<Vec<u8>>;

/// Gathers lines and writes them in blocks.
pub struct Output {
    buffers: [Buffer; BUFFERS],
    wake: (Mutex<bool>, Condvar),
    dropped: AtomicU64,
    closing: AtomicBool,
    writer: Mutex<Option<Writer>>,
}

/// The writing thread, and what is dropped when it ends.
type Writer = (JoinHandle<()>, mpsc::Receiver<()>);

impl Output {
    /// Starts the thread that writes to `sink`.
    pub fn to(sink: Box<dyn Write + Send>) -> Arc<Self> {
        let output = Arc::new(Self {
            buffers: Default::default(),
            wake: Default::default(),
            dropped: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            writer: Mutex::new(None),
        });
        let own = Arc::clone(&output);
        let thread = std::thread::Builder::new().name("log".into());
        let (alive, ended) = mpsc::channel();
        let write = move || {
            own.write_all_to(sink);
            drop(alive);
        };
        if let Ok(handle) = thread.spawn(write) {
            *lock(&output.writer) = Some((handle, ended));
        }
        output
    }

    /// Writes to the standard error stream.
    pub fn stderr() -> Arc<Self> {
        Self::to(Box::new(std::io::stderr()))
    }

    /// Adds what `write` appends: one or more whole lines.
    pub fn line(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut buffer = lock(&self.buffers[own_buffer()]);
        if buffer.len() >= MAX_BUFFERED {
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        let before = buffer.len();
        write(&mut buffer);
        let crossed = before < FLUSH_AT && buffer.len() >= FLUSH_AT;
        drop(buffer);
        if crossed {
            self.flush_soon();
        }
    }

    /// Asks for the buffers to be written without waiting for the next round.
    pub fn flush_soon(&self) {
        *lock(&self.wake.0) = true;
        self.wake.1.notify_one();
    }

    /// Writes what is left and ends the writing thread; one that hangs is left behind after [`LAST_WORDS`].
    pub fn close(&self) {
        self.close_within(LAST_WORDS);
    }

    fn close_within(&self, patience: Duration) {
        self.closing.store(true, Relaxed);
        self.flush_soon();
        let writer = lock(&self.writer).take();
        if let Some((thread, ended)) = writer
            && ended.recv_timeout(patience) != Err(mpsc::RecvTimeoutError::Timeout)
        {
            // A writer that panicked has nothing left to say.
            drop(thread.join());
        }
    }

    /// Lines lost because the sink was too slow.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    fn write_all_to(&self, mut sink: Box<dyn Write + Send>) {
        let mut block = Vec::new();
        loop {
            let closing = self.closing.load(Relaxed);
            for buffer in &self.buffers {
                std::mem::swap(&mut *lock(buffer), &mut block);
                if !block.is_empty() && sink.write_all(&block).is_err() {
                    let lines = block.iter().filter(|byte| **byte == b'\n').count();
                    self.dropped.fetch_add(lines as u64, Relaxed);
                }
                block.clear();
                block.shrink_to(FLUSH_AT);
            }
            drop(sink.flush());
            if closing {
                return;
            }
            self.wait();
        }
    }

    fn wait(&self) {
        let asked = lock(&self.wake.0);
        let waited = self.wake.1.wait_timeout_while(asked, FLUSH_EVERY, |asked| !*asked);
        let (mut asked, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *asked = false;
    }
}

/// The buffer of the calling thread.
fn own_buffer() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static OWN: Cell<usize> = Cell::new(NEXT.fetch_add(1, Relaxed) % BUFFERS));
    OWN.with(Cell::get)
}

/// The buffers hold whole lines only, so one is usable even after a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn closing_writes_every_line_whole() {
        let sink = Sink::default();
        let output = Output::to(Box::new(sink.clone()));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|_| output.line(|b| b.extend(b"whole line\n"))));
            }
        });
        output.close();
        let written = lock(&sink.0);
        assert_eq!(written.len(), 4_000 * 11);
        assert!(written.chunks(11).all(|line| line == b"whole line\n"));
    }

    #[test]
    fn a_full_buffer_drops_lines_and_counts_them() {
        let output = Output {
            buffers: Default::default(),
            wake: Default::default(),
            dropped: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            writer: Mutex::new(None),
        };
        output.line(|buffer| buffer.resize(MAX_BUFFERED, b'x'));
        output.line(|buffer| buffer.extend(b"one too many\n"));
        assert_eq!(output.dropped(), 1);
    }
    #[test]
    fn a_sink_that_nobody_reads_does_not_keep_the_end() {
        struct Stuck(mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                // As a full pipe does, until its reader is gone.
                self.0.recv().map(|()| bytes.len()).map_err(std::io::Error::other)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }

        let (reader, stuck) = mpsc::channel();
        let output = Output::to(Box::new(Stuck(stuck)));
        for _ in 0..3 {
            output.line(|buffer| buffer.extend(b"unread\n"));
        }
        output.close_within(Duration::ZERO);
        assert_eq!(output.dropped(), 0, "it hangs still");
        drop(reader);
        while Arc::strong_count(&output) > 1 {
            std::thread::yield_now();
        }
        assert_eq!(output.dropped(), 3, "each line of what could not be written");
    }
}
