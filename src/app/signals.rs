//! The signals that a server listens to.

use std::io;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, mpsc},
};

/// SIGTERM and SIGINT end, SIGHUP looks at the files.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes them from now on. First of all: as the first process of a container, whatever is not
    /// taken is ignored, and elsewhere SIGHUP would end a process that is still starting.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns when the end is asked for by a signal.
    pub(super) async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Returns when the end is asked for, by a signal or by an operator; passes SIGHUP on.
    pub(super) async fn wait_for_end(&mut self, hangup: &mpsc::Sender<()>, asked: &Notify) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                () = asked.notified() => return,
                // A full channel already says that there is something to look at.
                _ = self.hangup.recv() => {
                    let _ = hangup.try_send(());
                }
            }
        }
    }
}
