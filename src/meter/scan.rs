//! Finds the values that matter in JSON of any size, while it passes.
//!
//! A [`Scanner`] follows a fixed tree of [`Node`]s, and perhaps one [`Pointer`], down the
//! document; what the tree does not name is skipped without being kept. It tells a
//! [`Sink`] the named scalars, the pieces of the named texts, and where marked objects
//! begin and end.
//!
//! # Failure
//! None. It checks no more than it needs to find its way; a document in which it is lost
//! is left alone until [`Scanner::reset`].
//!
//! # Limits
//! Keeps one key or scalar of at most 256 bytes (a longer one is as if it were not there), a piece of text of at most 4 KiB, and one entry for each of
//! the first [`DEEPEST`] open containers that the tree or the pointer names. Depth below that is
//! only counted.

mod key;
mod nest;
mod node;
mod piece;
mod sink;
mod unescape;

use std::sync::Arc;

use super::pointer::Pointer;
use key::Short;
pub use nest::Nest;
pub use node::Node;
use piece::Piece;
use sink::tell;
pub use sink::{Sink, Value};
pub use unescape::Unescape;

/// The most open containers that are followed: a tree may lead back into itself.
const DEEPEST: usize = 64;

/// Where a value stands: in the tree, and on the way to the pointer's place.
struct Spot<L: 'static> {
    node: Option<&'static Node<L>>,
    /// How many of the pointer's steps have been taken.
    steps: Option<usize>,
}

impl<L> Spot<L> {
    const NOWHERE: Self = Self { node: None, steps: None };
}

/// A container that is open, and that the tree or the pointer leads into.
struct Frame<L: 'static> {
    spot: Spot<L>,
    is_array: bool,
    mark: Option<L>,
    /// Of the element that is next or under way.
    index: u64,
}

/// What a string or a bare scalar is read for.
#[derive(Clone, Copy)]
enum Use<L> {
    Key,
    Text(L),
    Short { leaf: Option<L>, pointed: bool },
    Nothing,
}

enum State<L> {
    Between,
    String(Use<L>),
    Bare(Use<L>),
    /// Below a container that matters to nobody, or all of which is a text.
    Inside(Nest, Option<L>),
    Lost,
}

/// Follows JSON documents, one behind the other.
pub struct Scanner<L: 'static> {
    root: &'static Node<L>,
    pointer: Option<Arc<Pointer>>,
    frames: Vec<Frame<L>>,
    /// Where the value of the last key stands.
    next: Spot<L>,
    wants_key: bool,
    state: State<L>,
    unescape: Unescape,
    short: Short,
    piece: Piece,
    has_ended: bool,
}

impl<L: Copy> Scanner<L> {
    /// Begins at the root of `tree`.
    pub fn new(tree: &'static Node<L>) -> Self {
        Self {
            root: tree,
            pointer: None,
            frames: Vec::new(),
            next: Spot::NOWHERE,
            wants_key: false,
            state: State::Between,
            unescape: Unescape::default(),
            short: Short::default(),
            piece: Piece::default(),
            has_ended: false,
        }
    }

    /// Looks for a scalar at `pointer` too.
    pub fn point_at(&mut self, pointer: Arc<Pointer>) {
        self.pointer = Some(pointer);
    }

    /// Forgets an unfinished document and begins the next one.
    pub fn reset(&mut self) {
        self.frames.clear();
        self.next = Spot::NOWHERE;
        self.wants_key = false;
        self.state = State::Between;
        self.unescape = Unescape::default();
        self.short.clear();
        self.piece.clear();
    }

    /// Whether a document has ended and none is open.
    pub fn is_whole(&self) -> bool {
        self.has_ended && self.frames.is_empty() && matches!(self.state, State::Between)
    }

    /// Takes the next bytes.
    pub fn push(&mut self, mut bytes: &[u8], sink: &mut impl Sink<L>) {
        while !bytes.is_empty() {
            let used = match self.state {
                State::Between => self.between(bytes, sink),
                State::String(used_for) => self.string(used_for, bytes, sink),
                State::Bare(used_for) => self.bare(used_for, bytes, sink),
                State::Inside(..) => self.inside(bytes, sink),
                State::Lost => bytes.len(),
            };
            bytes = bytes.get(used..).unwrap_or_default();
        }
        // What was generated is told now: the next bytes may take minutes.
        if let State::String(Use::Text(leaf)) | State::Inside(_, Some(leaf)) = self.state {
            self.piece.tell(false, &mut |text| sink.text(leaf, text));
        }
    }

    fn between(&mut self, bytes: &[u8], sink: &mut impl Sink<L>) -> usize {
        match bytes.first() {
            Some(b' ' | b'\t' | b'\n' | b'\r' | b':') => {}
            Some(b',') => self.comma(),
            Some(b'"') => self.state = State::String(self.use_of_string()),
            Some(b'{') => self.open(false, sink),
            Some(b'[') => self.open(true, sink),
            Some(b'}') => self.close(false, sink),
            Some(b']') => self.close(true, sink),
            // A byte order mark before the document: parsers may pass over it (RFC 8259, 8.1).
            Some(0xef | 0xbb | 0xbf) if self.frames.is_empty() && !self.has_ended => {}
            Some(b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z') if !self.wants_key => {
                self.state = State::Bare(self.use_of_scalar());
                return 0;
            }
            _ => self.state = State::Lost,
        }
        1
    }

    fn comma(&mut self) {
        let Some(frame) = self.frames.last_mut() else { return };
        frame.index = frame.index.saturating_add(1);
        self.wants_key = !frame.is_array;
    }

    /// Takes the place of the value that begins now.
    fn take_spot(&mut self) -> Spot<L> {
        let Some(frame) = self.frames.last() else {
            return Spot { node: Some(self.root), steps: self.pointer.as_ref().map(|_| 0) };
        };
        if !frame.is_array {
            return std::mem::replace(&mut self.next, Spot::NOWHERE);
        }
        let leads = |step: &usize| {
            self.pointer.as_ref().is_some_and(|pointer| pointer.is_index(*step, frame.index))
        };
        let steps = frame.spot.steps.filter(leads).map(|step| step + 1);
        Spot { node: frame.spot.node.and_then(Node::items), steps }
    }

    fn is_pointed(&self, spot: &Spot<L>) -> bool {
        let depth = self.pointer.as_ref().map(|pointer| pointer.depth());
        spot.steps.is_some() && spot.steps == depth
    }

    fn use_of_string(&mut self) -> Use<L> {
        if std::mem::take(&mut self.wants_key) {
            return Use::Key;
        }
        let spot = self.take_spot();
        if let Some(leaf) = spot.node.and_then(Node::text) {
            return Use::Text(leaf);
        }
        self.use_of(&spot)
    }

    fn use_of_scalar(&mut self) -> Use<L> {
        let spot = self.take_spot();
        self.use_of(&spot)
    }

    fn use_of(&self, spot: &Spot<L>) -> Use<L> {
        let (leaf, pointed) = (spot.node.and_then(Node::leaf), self.is_pointed(spot));
        if leaf.is_none() && !pointed { Use::Nothing } else { Use::Short { leaf, pointed } }
    }

    fn open(&mut self, is_array: bool, sink: &mut impl Sink<L>) {
        if self.wants_key {
            self.state = State::Lost;
            return;
        }
        let spot = self.take_spot();
        let raw = spot.node.and_then(Node::raw);
        let node = spot.node.filter(|node| node.leads_into(is_array));
        let steps = spot.steps.filter(|_| !self.is_pointed(&spot));
        let matters = (node.is_some() || steps.is_some()) && self.frames.len() < DEEPEST;
        if raw.is_some() || !matters {
            // One byte back: the nest counts the bracket itself.
            let open: &[u8] = if is_array { b"[" } else { b"{" };
            let mut nest = Nest::default();
            nest.pass(open);
            raw.inspect(|leaf| self.piece.add(open, &mut |text| sink.text(*leaf, text)));
            self.state = State::Inside(nest, raw);
            return;
        }
        let mark = node.and_then(|node| node.mark(is_array));
        mark.inspect(|mark| sink.open(*mark));
        self.wants_key = !is_array;
        self.frames.push(Frame { spot: Spot { node, steps }, is_array, mark, index: 0 });
    }

    fn close(&mut self, is_array: bool, sink: &mut impl Sink<L>) {
        let Some(frame) = self.frames.pop_if(|frame| frame.is_array == is_array) else {
            self.state = State::Lost;
            return;
        };
        frame.mark.inspect(|mark| sink.close(*mark));
        self.wants_key = false;
        self.value_ended();
    }

    fn value_ended(&mut self) {
        self.state = State::Between;
        self.has_ended |= self.frames.is_empty();
    }

    fn string(&mut self, used_for: Use<L>, bytes: &[u8], sink: &mut impl Sink<L>) -> usize {
        let Self { unescape, short, piece, .. } = self;
        let (used, has_ended) = match used_for {
            Use::Text(leaf) => {
                let tell = &mut |text: &str| sink.text(leaf, text);
                unescape.pass(bytes, &mut |run| piece.add(run, tell))
            }
            Use::Key | Use::Short { .. } => unescape.pass(bytes, &mut |run| short.add(run)),
            Use::Nothing => unescape.pass(bytes, &mut |_| {}),
        };
        if has_ended {
            self.string_ended(used_for, sink);
        }
        used
    }

    fn string_ended(&mut self, used_for: Use<L>, sink: &mut impl Sink<L>) {
        match used_for {
            Use::Key => {
                self.next = self.member();
                self.state = State::Between;
            }
            Use::Text(leaf) => {
                self.piece.tell(true, &mut |text| sink.text(leaf, text));
                sink.text_ended(leaf);
                self.value_ended();
            }
            Use::Short { leaf, pointed } => {
                tell(leaf, pointed, self.short.text().map(Value::String), sink);
                self.value_ended();
            }
            Use::Nothing => self.value_ended(),
        }
        self.short.clear();
    }

    /// Where the key that has just been read leads.
    fn member(&self) -> Spot<L> {
        let (Some(frame), Some(key)) = (self.frames.last(), self.short.bytes()) else {
            return Spot::NOWHERE;
        };
        let leads =
            |step: &usize| self.pointer.as_ref().is_some_and(|pointer| pointer.is_key(*step, key));
        Spot {
            node: frame.spot.node.and_then(|node| node.member(key)),
            steps: frame.spot.steps.filter(leads).map(|step| step + 1),
        }
    }

    fn bare(&mut self, used_for: Use<L>, bytes: &[u8], sink: &mut impl Sink<L>) -> usize {
        let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
        let end = bytes.iter().position(is_end);
        let run = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        if let Use::Short { leaf, pointed } = used_for {
            self.short.add(run);
            if end.is_some() {
                tell(leaf, pointed, self.short.text().map(Value::Bare), sink);
            }
        }
        if end.is_some() {
            self.short.clear();
            self.value_ended();
        }
        run.len()
    }

    fn inside(&mut self, bytes: &[u8], sink: &mut impl Sink<L>) -> usize {
        let State::Inside(nest, raw) = &mut self.state else { return bytes.len() };
        let raw = *raw;
        let (used, has_ended) = nest.pass(bytes);
        let Some(leaf) = raw else {
            if has_ended {
                self.value_ended();
            }
            return used;
        };
        let run = bytes.get(..used).unwrap_or_default();
        self.piece.add(run, &mut |text| sink.text(leaf, text));
        if has_ended {
            self.piece.tell(true, &mut |text| sink.text(leaf, text));
            sink.text_ended(leaf);
            self.value_ended();
        }
        used
    }
}

#[cfg(test)]
mod tests;
