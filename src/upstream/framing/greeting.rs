//! The first frame that an HTTP/2 server sends: SETTINGS, and nothing else (RFC 9113, 3.4).

use super::Fault;

/// Length of a frame's header.
const HEADER: usize = 9;
/// Where a frame's type stands.
const TYPE: usize = 3;
/// The type of SETTINGS.
const SETTINGS: u8 = 4;

/// The first frame as far as its header has come.
#[derive(Debug, Default)]
pub struct Greeting {
    bytes: usize,
}

impl Greeting {
    /// Takes in what was read next. `true` once the header is whole.
    ///
    /// # Errors
    /// When the frame is another one, or no frame at all.
    pub fn inspect(&mut self, bytes: &[u8]) -> Result<bool, Fault> {
        let kind = TYPE.checked_sub(self.bytes).and_then(|at| bytes.get(at));
        if kind.is_some_and(|kind| *kind != SETTINGS) {
            return Err(Fault::Greeting);
        }
        self.bytes += bytes.len();
        Ok(self.bytes >= HEADER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_begins_with_settings_at_every_split() {
        let settings = [0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];
        let other = *b"HTTP/1.1 ";
        for split in 0..=HEADER {
            let feed = |bytes: &[u8; HEADER]| {
                let mut greeting = Greeting::default();
                let (left, right) = bytes.split_at(split);
                let left = greeting.inspect(left)?;
                Ok::<bool, Fault>(greeting.inspect(right)? || left)
            };
            assert_eq!(feed(&settings), Ok(true), "split at {split}");
            assert_eq!(feed(&other), Err(Fault::Greeting), "split at {split}");
        }
        assert_eq!(Greeting::default().inspect(&settings[..8]), Ok(false));
    }
}
