//! Finds the beginnings of built-in secrets.
//!
//! A head is a literal, best of three bytes or more. Bit masks for its first four
//! bytes tell in a few instructions whether any head may begin at a place;
//! no step waits for the one before it, so clean text passes at more than a gigabyte
//! a second. Rare candidates are then compared.
//!
//! # Limits
//! Heads share 64 bits; with many more heads the masks let more false candidates through.

/// Bytes that the masks look at.
const PRINT: usize = 4;

/// Places that are looked at together.
const BLOCK: usize = 8;

/// Two masks side by side: one load, and one step for both.
type Pair = [u64; 2];

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
    /// By a byte: the heads that have it first, and second.
    front: Box<[Pair; 256]>,
    /// The heads that have it third, and fourth.
    back: Box<[Pair; 256]>,
    buckets: Vec<Vec<Glance>>,
    literals: Vec<Literal>,
}

/// The first bytes of a literal, compared in one step.
#[derive(Debug, Clone, Copy)]
struct Glance {
    /// The literal's index.
    index: usize,
    want: u64,
    /// The bits that count: of a literal that is shorter not all.
    care: u64,
    /// The bit that makes letters small, where their case does not count.
    small: u64,
}

impl Heads {
    /// Indexes literals in the order of their precedence.
    pub fn new(literals: Vec<Literal>) -> Self {
        let masks = || Box::new([[0; 2]; 256]);
        let buckets = vec![Vec::new(); 64];
        let mut heads = Self { front: masks(), back: masks(), buckets, literals };
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
        while let Some((place, bits)) = self.candidate(text, from) {
            match self.compare(&text[place..], bits, if place == at { first } else { 0 }, last) {
                Some((_, false)) => return Sight::Maybe(place),
                Some((index, true)) => return Sight::Head(place, index),
                None => from = place + 1,
            }
            first = 0;
        }
        Sight::Nothing
    }

    /// The next place whose first bytes are those of a head, as far as they can be seen, and the
    /// bits of the heads that it may be.
    #[inline]
    fn candidate(&self, text: &[u8], from: usize) -> Option<(usize, u64)> {
        let mut from = from;
        // Several places at a time: one branch for all of them.
        while let Some(block) = text.get(from..).and_then(<[u8]>::first_chunk) {
            if self.any(block) {
                break;
            }
            from += BLOCK;
        }
        let rest = text.get(from..)?;
        let mut whole = rest.windows(PRINT).map(|print| self.print(print)).zip(from..);
        if let Some((bits, place)) = whole.find(|(bits, _)| *bits != 0) {
            return Some((place, bits));
        }
        let short = from.max((text.len() + 1).saturating_sub(PRINT));
        let mut rest = (short..text.len()).map(|place| (place, self.mask(&text[place..])));
        rest.find(|(_, bits)| *bits != 0)
    }

    /// Whether a head may begin in the first [`BLOCK`] bytes.
    #[inline]
    fn any(&self, block: &[u8; BLOCK + PRINT - 1]) -> bool {
        let mut pairs = [[0; 2]; BLOCK + 1];
        for (pair, bytes) in pairs.iter_mut().zip(block.windows(PRINT - 1)) {
            let (front, back) =
                (self.front[usize::from(bytes[0])], self.back[usize::from(bytes[2])]);
            // At this place the first and the third byte, at the place before the second and the fourth.
            *pair = [front[0] & back[0], front[1] & back[1]];
        }
        pairs.windows(2).fold(0, |any, pair| any | pair[0][0] & pair[1][1]) != 0
    }

    #[inline]
    fn print(&self, print: &[u8]) -> u64 {
        let [first, second] = [print[0], print[1]].map(usize::from);
        let [third, fourth] = [print[2], print[3]].map(usize::from);
        self.front[first][0] & self.front[second][1] & self.back[third][0] & self.back[fourth][1]
    }

    /// As [`Self::print`], of a text that may end before.
    fn mask(&self, text: &[u8]) -> u64 {
        let tables = [&self.front, &self.back];
        let mask = |(place, byte): (usize, &u8)| tables[place / 2][usize::from(*byte)][place % 2];
        text.iter().take(PRINT).enumerate().map(mask).fold(u64::MAX, |mask, more| mask & more)
    }

    /// The head of the lowest index that begins here, and whether all of it can be seen.
    fn compare(&self, text: &[u8], bits: u64, first: usize, last: bool) -> Option<(usize, bool)> {
        let seen = text.first_chunk().map(|chunk| u64::from_le_bytes(*chunk));
        let (mut bits, mut best) = (bits, None);
        while bits != 0 {
            let bucket = &self.buckets[bits.trailing_zeros() as usize];
            bits &= bits - 1;
            let better = |glance: &&Glance| {
                seen.is_none_or(|seen| glance.fits(seen))
                    && glance.index >= first
                    && best.is_none_or(|(best, _)| glance.index < best)
            };
            let matching = bucket.iter().filter(better).find_map(|glance| {
                let whole = self.literals[glance.index].begins(text)?;
                (whole || !last).then_some((glance.index, whole))
            });
            best = matching.or(best);
        }
        best
    }

    fn insert(&mut self, bucket: usize, index: usize) {
        let literal = &self.literals[index];
        let tables = [&mut self.front, &mut self.back];
        for (place, table) in tables.into_iter().enumerate() {
            for second in 0..2 {
                match literal.bytes.get(2 * place + second) {
                    Some(&byte) => {
                        table[usize::from(byte)][second] |= 1 << bucket;
                        if literal.fold {
                            table[usize::from(byte.to_ascii_uppercase())][second] |= 1 << bucket;
                        }
                    }
                    None => table.iter_mut().for_each(|pair| pair[second] |= 1 << bucket),
                }
            }
        }
        let members = &mut self.buckets[bucket];
        members.push(Glance::of(literal, index));
        members.sort_unstable_by_key(|glance| glance.index);
    }
}

impl Glance {
    fn of(literal: &Literal, index: usize) -> Self {
        let mut glance = Self { index, want: 0, care: 0, small: 0 };
        for (place, &byte) in literal.bytes.iter().take(8).enumerate() {
            glance.want |= u64::from(byte) << (8 * place);
            glance.care |= 0xff << (8 * place);
            if literal.fold && byte.is_ascii_alphabetic() {
                glance.small |= 0x20 << (8 * place);
            }
        }
        glance
    }

    fn fits(&self, seen: u64) -> bool {
        (seen | self.small) & self.care == self.want
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
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn every_place_is_found_at_which_a_head_begins(
            text in "(pass|passwor|PassWord|sk-|s|:/|://|[a-zK @]){0,14}", first in 0..4usize, last: bool,
        ) {
            let (heads, text) = (heads(), text.as_bytes());
            let sight = |(place, index): (usize, usize)| {
                let whole = heads.literals[index].begins(&text[place..])?;
                let allowed = (place > 0 || index >= first) && (whole || !last);
                allowed.then_some(if whole { Sight::Head(place, index) } else { Sight::Maybe(place) })
            };
            let places = (0..text.len()).flat_map(|place| (0..4).map(move |index| (place, index)));
            let expected = places.filter_map(sight).next().unwrap_or(Sight::Nothing);
            prop_assert_eq!(heads.find(text, 0, first, last), expected);
        }
    }
}
