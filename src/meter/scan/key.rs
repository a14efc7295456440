//! A key or a scalar that is short enough to be kept.

/// The longest that is kept, in bytes.
pub const LONGEST: usize = 256;

/// Collects up to [`LONGEST`] bytes; the space is used again.
#[derive(Default)]
pub struct Short {
    bytes: Vec<u8>,
    overflown: bool,
}

impl Short {
    /// Appends, or notes that it became too long.
    pub fn add(&mut self, run: &[u8]) {
        if self.overflown || self.bytes.len() + run.len() > LONGEST {
            self.overflown = true;
        } else {
            self.bytes.extend_from_slice(run);
        }
    }

    /// Makes it empty.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.overflown = false;
    }

    /// All of it, unless it was too long.
    pub fn bytes(&self) -> Option<&[u8]> {
        (!self.overflown).then_some(&self.bytes)
    }

    /// All of it, if it is UTF-8 and was not too long.
    pub fn text(&self) -> Option<&str> {
        self.bytes().and_then(|bytes| str::from_utf8(bytes).ok())
    }
}
