//! Just enough of a lexer: what is left of a source file without comments and literals.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// An identifier, keyword or number.
    Word(&'a str),
    /// `::`
    Path,
    /// Any other character.
    Mark(char),
}

/// The tokens of `text`, and the line of each; without comments and literals.
pub fn tokens(text: &str) -> (Vec<Token<'_>>, Vec<usize>) {
    let (mut tokens, mut lines) = (Vec::new(), Vec::new());
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let (length, token) = match blank(rest) {
            Some(length) => (length, None),
            None if rest.starts_with("::") => (2, Some(Token::Path)),
            None if is_word(first) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                (length, Some(Token::Word(&rest[..length])))
            }
            None => (first.len_utf8(), Some(Token::Mark(first))),
        };
        if let Some(token) = token {
            tokens.push(token);
            lines.push(line);
        }
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    (tokens, lines)
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The length of the space, comment, literal or lifetime that `text` begins with, if it does.
fn blank(text: &str) -> Option<usize> {
    let end = |found: Option<usize>| Some(found.unwrap_or(text.len()));
    let first = text.chars().next()?;
    if first.is_whitespace() {
        return Some(first.len_utf8());
    }
    if text.starts_with("//") {
        return end(text.find('\n'));
    }
    if text.starts_with("/*") {
        return Some(comment(text));
    }
    let quoted = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let before = text.len() - quoted.len();
    if let Some(raw) = quoted.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let inner = before + 1 + hashes + 1;
            return end(text[inner..].find(&close).map(|at| inner + at + close.len()));
        }
    }
    match quoted.chars().next()? {
        '"' => Some(before + string(quoted)),
        '\'' => Some(before + character(quoted)),
        _ => None,
    }
}

/// The length of a block comment, which may hold others.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        match text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of a string literal.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// The length of a character literal, or of a lifetime.
fn character(text: &str) -> usize {
    let mut inside = text.chars().skip(1);
    match (inside.next(), inside.next()) {
        (Some('\\'), Some(escaped)) => {
            let from = 2 + escaped.len_utf8();
            text[from..].find('\'').map_or(text.len(), |at| from + at + 1)
        }
        (Some(plain), Some('\'')) => plain.len_utf8() + 2,
        _ => 1 + text[1..].find(|c| !is_word(c)).unwrap_or(text.len() - 1),
    }
}
