//! Passes over a value whose inside matters to nobody.

use memchr::memchr2;

/// Counts brackets outside strings; does not tell one kind from the other.
#[derive(Default, Clone, Copy)]
pub struct Nest {
    depth: u64,
    in_string: bool,
    is_escaped: bool,
}

impl Nest {
    /// Takes bytes up to the bracket that closes the first one; says how many and whether it came.
    pub fn pass(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if self.in_string {
                at += self.pass_string(rest);
                continue;
            }
            let is_mark = |byte: &u8| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']');
            let Some(skipped) = rest.iter().position(is_mark) else { break };
            at += skipped + 1;
            match rest.get(skipped) {
                Some(b'"') => self.in_string = true,
                Some(b'{' | b'[') => self.depth = self.depth.saturating_add(1),
                _ => self.depth = self.depth.saturating_sub(1),
            }
            if self.depth == 0 {
                return (at, true);
            }
        }
        (bytes.len(), false)
    }

    fn pass_string(&mut self, bytes: &[u8]) -> usize {
        if std::mem::take(&mut self.is_escaped) {
            return 1;
        }
        let Some(at) = memchr2(b'"', b'\\', bytes) else { return bytes.len() };
        match bytes.get(at) {
            Some(b'"') => self.in_string = false,
            _ => self.is_escaped = true,
        }
        at + 1
    }
}
