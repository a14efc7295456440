//! A panic in one request costs that request, not its connection.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use super::Shared;

/// Does `work`; a panic in it becomes `None`. What it worked on is not looked at again, but dropped.
pub fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// Counts and tells a panic that was caught.
#[cold]
pub fn count(shared: &Shared) {
    shared.telemetry.metrics.panics.add(1);
    tracing::error!("the handling of a request panicked");
}

/// Runs a future; a panic in it becomes `None`.
pub struct CatchPanic<F>(Pin<Box<F>>);

impl<F> CatchPanic<F> {
    /// Guards the future that `make` returns.
    pub fn new(make: impl FnOnce() -> F) -> Self {
        // Its place comes first: a future that is made and then boxed is copied there whole, kilobytes of room
        // that it may need later among it.
        let place = Box::new_uninit();
        Self(Box::into_pin(Box::write(place, make())))
    }
}

impl<F: Future> Future for CatchPanic<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        // After a panic the future is never polled again, so no broken state is seen.
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_none_and_the_rest_goes_on() {
        let fails = async {
            if std::hint::black_box(true) {
                panic!("on purpose")
            }
        };
        assert_eq!(CatchPanic::new(|| fails).await, None);
        assert_eq!(CatchPanic::new(|| async { 7 }).await, Some(7));
    }
}
