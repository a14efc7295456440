//! Panics on demand, so that a test sees from outside what one leaves behind.
//!
//! A build with debug assertions reads `WEIR_MISHAP=PLACE:TEXT` and panics where the request path
//! comes by that place with these bytes: `admitted` and `answered` with the request's path, `streamed`
//! with a piece of an answer, `carried` with one of a WebSocket, `settled` with the model that was asked for. A release build has nothing of it.

/// Comes by a place of the request path.
#[cfg(debug_assertions)]
pub fn at(place: &str, bytes: &[u8]) {
    use std::sync::OnceLock;
    static WANTED: OnceLock<Option<(String, String)>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| {
        let wanted = std::env::var("WEIR_MISHAP").ok()?;
        let (place, text) = wanted.split_once(':')?;
        Some((place.to_owned(), text.to_owned()))
    });
    let is_due = wanted.as_ref().is_some_and(|(wanted, text)| {
        wanted == place && memchr::memmem::find(bytes, text.as_bytes()).is_some()
    });
    assert!(!is_due, "a mishap at `{place}`, as WEIR_MISHAP wants it");
}

/// Comes by a place of the request path.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn at(_place: &str, _bytes: &[u8]) {}
