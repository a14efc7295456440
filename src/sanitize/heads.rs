//! Finds the beginnings of built-in secrets.
//!
//! A head is a literal, best of three bytes or more. Four tables of bit masks, one
//! per byte, tell in a few instructions whether any head may begin at a place;
//! no step waits for the one before it, so clean text passes at memory-like
//! speed. Rare candidates are then compared.
//!
//! # Limits
//! Heads share 64 bits; with many more heads the masks let more false candidates through.

/// Bytes that the masks look at.
const PRINT: usize = 4;

/// Places that are looked at together.
const BLOCK: usize = 8;

/// What the search came upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// No head begins in the rest of the text.
    Nothing,
    /// At this place a head may begin, if the text goes on.
    Maybe(usize),
    /// The head of this index begins at this place.
    Head(usize, usize),
}

/// One literal.
#[derive(Debug)]
pub(super) struct Literal {
    pub bytes: &'static [u8],
    /// Upper and lower case are the same; `bytes` is lower case then.
    pub fold: bool,
    /// What it belongs to.
    pub entry: usize,
}

/// All literals, an earlier one winning over a later one at the same place.
#[derive(Debug)]
pub(super) struct Heads {
    masks: Box<[[u64; 256]; PRINT]>,
    buckets: Vec<Vec<usize>>,
    literals: Vec<Literal>,
}

impl Heads {
    /// Indexes literals in the order of their precedence.
    pub fn new(literals: Vec<Literal>) -> Self {
        let mut heads =
            Self { masks: Box::new([[0; 256]; PRINT]), buckets: vec![Vec::new(); 64], literals };
        // Similar heads share a bit, so that a bit stands for few fingerprints.
        let mut order: Vec<usize> = (0..heads.literals.len()).collect();
        order.sort_by_key(|index| heads.literals[*index].bytes.to_ascii_lowercase());
        for (rank, &index) in order.iter().enumerate() {
            heads.insert(rank * 64 / order.len(), index);
        }
        heads
    }

    /// The literal of this index.
    pub fn literal(&self, index: usize) -> &Literal {
        &self.literals[index]
    }

    /// Looks from `at` on, there only for heads from index `first` on. The text
    /// may go on behind its end, unless this is `last`.
    pub fn find(&self, text: &[u8], at: usize, first: usize, last: bool) -> Sight {
        let mut first = first;
        let mut from = at;
        while let Some(place) = self.candidate(text, from) {
            match self.compare(&text[place..], if place == at { first } else { 0 }, last) {
                Some((_, false)) => return Sight::Maybe(place),
                Some((index, true)) => return Sight::Head(place, index),
                None => from = place + 1,
            }
            first = 0;
        }
        Sight::Nothing
    }

    /// The next place whose first bytes are those of a head, as far as they can be seen.
    #[inline]
    fn candidate(&self, text: &[u8], from: usize) -> Option<usize> {
        let mut from = from;
        // Several places at a time: one branch for all of them.
        while let Some(block) = text.get(from..from + BLOCK + PRINT - 1) {
            let any = block.windows(PRINT).fold(0, |any, print| any | self.print(print));
            if any != 0 {
                break;
            }
            from += BLOCK;
        }
        let rest = text.get(from..)?;
        if let Some(offset) = rest.windows(PRINT).position(|print| self.print(print) != 0) {
            return Some(from + offset);
        }
        let short = from.max((text.len() + 1).saturating_sub(PRINT));
        (short..text.len()).find(|place| self.mask(&text[*place..]) != 0)
    }

    #[inline]
    fn print(&self, print: &[u8]) -> u64 {
        let [first, second, third, fourth] = &*self.masks;
        let front = first[usize::from(print[0])] & second[usize::from(print[1])];
        front & third[usize::from(print[2])] & fourth[usize::from(print[3])]
    }

    fn mask(&self, text: &[u8]) -> u64 {
        let bytes = text.iter().zip(self.masks.iter());
        bytes.fold(u64::MAX, |mask, (byte, table)| mask & table[usize::from(*byte)])
    }

    /// The head of the lowest index that begins here, and whether all of it can be seen.
    fn compare(&self, text: &[u8], first: usize, last: bool) -> Option<(usize, bool)> {
        let mut bits = self.mask(text);
        let mut best = None;
        while bits != 0 {
            let bucket = &self.buckets[bits.trailing_zeros() as usize];
            bits &= bits - 1;
            let better =
                |index: &usize| *index >= first && best.is_none_or(|(best, _)| *index < best);
            let matching = bucket.iter().copied().filter(better).find_map(|index| {
                let whole = self.literals[index].begins(text)?;
                (whole || !last).then_some((index, whole))
            });
            best = matching.or(best);
        }
        best
    }

    fn insert(&mut self, bucket: usize, index: usize) {
        let literal = &self.literals[index];
        for (place, table) in self.masks.iter_mut().enumerate() {
            match literal.bytes.get(place) {
                Some(&byte) => {
                    table[usize::from(byte)] |= 1 << bucket;
                    if literal.fold {
                        table[usize::from(byte.to_ascii_uppercase())] |= 1 << bucket;
                    }
                }
                None => table.iter_mut().for_each(|mask| *mask |= 1 << bucket),
            }
        }
        let members = &mut self.buckets[bucket];
        members.push(index);
        members.sort_unstable();
    }
}

impl Literal {
    /// Says whether the text begins with all of it (`true`) or ends within it (`false`).
    fn begins(&self, text: &[u8]) -> Option<bool> {
        let seen = self.bytes.len().min(text.len());
        let same = match self.fold {
            true => text[..seen].eq_ignore_ascii_case(&self.bytes[..seen]),
            false => text[..seen] == self.bytes[..seen],
        };
        same.then_some(seen == self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads() -> Heads {
        let literal = |(bytes, fold): (&'static [u8], bool)| Literal { bytes, fold, entry: 0 };
        let literals: [(&'static [u8], bool); 4] =
            [(b"sk-", false), (b"password", true), (b"pass", true), (b"://", false)];
        Heads::new(literals.into_iter().map(literal).collect())
    }

    #[test]
    fn the_first_place_wins_and_there_the_first_head() {
        assert_eq!(heads().find(b"a PassWord sk-", 0, 0, false), Sight::Head(2, 1));
        assert_eq!(heads().find(b"a PassWord sk-", 2, 2, false), Sight::Head(2, 2));
        assert_eq!(heads().find(b"a PassWord sk-", 3, 0, false), Sight::Head(11, 0));
        assert_eq!(heads().find(b"SK- PASS", 0, 0, true), Sight::Head(4, 2));
    }

    #[test]
    fn a_head_that_is_cut_off_is_awaited() {
        assert_eq!(heads().find(b"x passw", 0, 0, false), Sight::Maybe(2));
        assert_eq!(heads().find(b"x passw", 0, 0, true), Sight::Head(2, 2));
        for text in ["x s", "x sk", "x :", "x :/", "x p"] {
            assert_eq!(heads().find(text.as_bytes(), 0, 0, false), Sight::Maybe(2), "{text}");
            assert_eq!(heads().find(text.as_bytes(), 0, 0, true), Sight::Nothing, "{text}");
        }
        assert_eq!(heads().find(b"", 0, 0, false), Sight::Nothing);
    }
}
