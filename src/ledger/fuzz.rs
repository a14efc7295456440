//! What the fuzz targets drive in this module; see `fuzz/`. Compiled for them alone.

use super::{
    codec::{Reader, put_name},
    journal, replay,
};
use crate::policy::limit::CounterId;

/// Frames and records of the journal, and names as checkpoints hold them, from any bytes.
///
/// # Panics
/// When what was read cannot be written and read again.
pub fn journal(bytes: &[u8]) {
    let _ = journal::frame(bytes, 7);
    let mut out = Vec::new();
    journal::put_frame(&mut out, 7, |out| out.extend_from_slice(bytes));
    let wanted = (!bytes.is_empty()).then_some(bytes);
    assert_eq!(journal::frame(&out, 7), wanted);
    assert_eq!(journal::frame(&out, 8), None, "a frame of another segment");
    replay::fuzz(bytes);
    let id = CounterId::from_u64(1);
    if let Some(name) = Reader(bytes).name(id) {
        let mut out = Vec::new();
        put_name(&mut out, &name);
        let again = Reader(&out).name(id);
        assert_eq!(format!("{again:?}"), format!("{:?}", Some(name)));
    }
}
