//! What is left of a request when its connection, or its stream, stops speaking HTTP.
//!
//! HTTP hands the bytes over once the answer's head has left; whoever took the
//! [`Tunnel`] moves them then. The task that does so is owned by the [`Drain`],
//! which waits for it, tells it when to part, and cuts it at the end. Until it is
//! over the connection counts as open and busy.
//!
//! # Failure
//! A client that leaves before the answer's head is written ends the tunnel
//! before it began: its task is dropped unstarted. A tunnel that nobody enters is
//! closed in order, so that the answer in its place arrives whole.

use std::sync::Arc;

use hyper::{
    Request,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;

use super::{Drain, Peer};

/// The bytes that come before and after a switch of protocols.
pub type Bytes = TokioIo<Upgraded>;

/// A request's way out of HTTP.
#[must_use = "a tunnel that is dropped is closed"]
pub struct Tunnel {
    upgrade: Option<OnUpgrade>,
    peer: Arc<Peer>,
    drain: Drain,
}

/// Puts beside a request what its tunnel would need, if it asks for one at all.
pub(super) fn offer<B>(request: &mut Request<B>, drain: &Drain) {
    if request.extensions().get::<OnUpgrade>().is_some() {
        request.extensions_mut().insert(drain.clone());
    }
}

impl Tunnel {
    /// Takes the way out of a request's extensions; `None` when it did not ask to switch.
    pub fn take(extensions: &mut http::Extensions, peer: &Arc<Peer>) -> Option<Self> {
        let upgrade = extensions.remove::<OnUpgrade>()?;
        let drain = extensions.remove::<Drain>()?;
        Some(Self { upgrade: Some(upgrade), peer: Arc::clone(peer), drain })
    }

    /// Runs `task` with the bytes, once HTTP has let go of them. To be called before the answer
    /// that switches protocols is returned.
    pub fn enter<F>(mut self, task: impl FnOnce(Bytes, Drain) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        let Some(upgrade) = self.upgrade.take() else { return };
        let (drain, stay) = (self.drain.clone(), Stay::begin(&self.peer));
        let cut = drain.clone();
        tokio::spawn(self.drain.track(async move {
            let _stay = stay;
            let run = async {
                if let Ok(bytes) = upgrade.await {
                    task(TokioIo::new(bytes), drain).await;
                }
            };
            tokio::select! {
                () = run => {}
                () = cut.cut() => {}
            }
        }));
    }
}

impl Drop for Tunnel {
    /// HTTP/1 gives the connection away even when the answer was another; then it is ours to close.
    fn drop(&mut self) {
        let (Some(upgrade), Ok(_)) = (self.upgrade.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let cut = self.drain.clone();
        tokio::spawn(self.drain.track(async move {
            let close = async {
                if let Ok(bytes) = upgrade.await {
                    // It ends either way.
                    drop(TokioIo::new(bytes).shutdown().await);
                }
            };
            tokio::select! {
                () = close => {}
                () = cut.cut() => {}
            }
        }));
    }
}

/// Keeps the connection open and busy until dropped.
struct Stay(Arc<Peer>);

impl Stay {
    fn begin(peer: &Arc<Peer>) -> Self {
        peer.enter_tunnel();
        Self(Arc::clone(peer))
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.0.leave_tunnel();
    }
}
