//! Tokens by weight: what a character of each kind costs in each family, on average.
//!
//! # Calibration
//! The weights of `o200k_base` and `cl100k_base` are fitted to what those tokenizers make
//! of `samples.txt`: prose in the scripts below, code and JSON (the test
//! `weights_fit_the_tokenizers` holds them to it). Of the others only ratios are public:
//! Anthropic names 3.5 characters of English to a token where OpenAI's make 4.2 or more of them, so
//! Claude weighs a fifth more than `cl100k_base`; Google names 4, and its vocabulary is
//! of the size of `o200k_base`; what is not known weighs a tenth more than
//! `cl100k_base`, because most open models are of its kind and some are older.
//!
//! # Limits
//! Right on average within about a fifth for text, and up to a half too low for strings
//! without words (random letters, base64).

use super::Family;

/// What one character weighs, in thousandths of a token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights([u64; KINDS]);

/// Kinds of characters that weigh differently.
const KINDS: usize = 9;

/// Letters, digits, spaces and the rest of ASCII; Latin beyond ASCII; other alphabets of two bytes; Han, kana
/// and Hangul; other scripts of three bytes; what takes four bytes.
#[rustfmt::skip]
const O200K: Weights = Weights([200, 340, 20, 600, 600, 300, 700, 400, 1_500]);
#[rustfmt::skip]
const CL100K: Weights = Weights([200, 340, 20, 600, 700, 500, 1_100, 1_000, 2_000]);

impl Weights {
    pub(super) fn of(family: Family) -> Self {
        match family {
            Family::O200k | Family::Gemini => O200K,
            Family::Cl100k => CL100K,
            Family::Claude => CL100K.times(6, 5),
            Family::Other => CL100K.times(11, 10),
        }
    }

    fn times(self, above: u64, below: u64) -> Self {
        Self(self.0.map(|weight| (weight * above).div_ceil(below)))
    }

    /// What `text` weighs, in thousandths of a token.
    pub(super) fn weigh(&self, text: &str) -> u64 {
        text.chars().map(|char| self.0[kind_of(char)]).sum()
    }
}

pub(super) fn kind_of(char: char) -> usize {
    match char {
        'a'..='z' | 'A'..='Z' => 0,
        '0'..='9' => 1,
        ' ' => 2,
        '\0'..='\x7f' => 3,
        '\u{80}'..='\u{24f}' => 4,
        '\u{250}'..='\u{7ff}' => 5,
        '\u{2e80}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7ff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{ff00}'..='\u{ffef}' => 6,
        '\u{800}'..='\u{ffff}' => 7,
        _ => 8,
    }
}
