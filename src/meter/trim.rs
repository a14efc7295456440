//! Takes the usage chunk, which the client did not ask for, out of an OpenAI stream.
//!
//! Weir asks for usage in every streamed answer (see [`super::include_usage()`]); a client
//! that did not would meet a chunk without choices, and many crash on `choices[0]`. That
//! event goes; `"usage": null` in the others stays, and so does every other byte.
//!
//! # Failure
//! None: what cannot be read goes on.
//!
//! # Limits
//! Holds the event under way, at most until its end or [`MOST_HELD`] bytes; one that is
//! seen to have choices goes on at once.

use bytes::Bytes;

use super::{
    events::{Events, Part},
    scan::{Node, Scanner, Sink, Value},
};

/// The longest event that may be the usage chunk, in bytes; a real one has below a thousand.
pub const MOST_HELD: usize = 64 * 1024;

static TREE: Node<Sign> = Node::Members(&[
    ("choices", Node::Marked(Sign::Choices, &Node::Items(&Node::Marked(Sign::Choice, &ANYTHING)))),
    ("usage", Node::Marked(Sign::Usage, &ANYTHING)),
]);
const ANYTHING: Node<Sign> = Node::Members(&[]);

#[derive(Clone, Copy)]
enum Sign {
    Choices,
    Choice,
    Usage,
}

/// What the event under way has shown.
#[derive(Clone, Copy, Default)]
struct Signs {
    choices: bool,
    choice: bool,
    usage: bool,
}

impl Sink<Sign> for Signs {
    fn text(&mut self, _leaf: Sign, _piece: &str) {}

    fn value(&mut self, _leaf: Sign, _value: Value<'_>) {}

    fn open(&mut self, mark: Sign) {
        match mark {
            Sign::Choices => self.choices = true,
            Sign::Choice => self.choice = true,
            Sign::Usage => self.usage = true,
        }
    }

    fn close(&mut self, _mark: Sign) {}
}

/// Passes server-sent events on, but for the one with usage and no choices.
pub struct Trimmer {
    events: Events,
    scanner: Scanner<Sign>,
    signs: Signs,
    /// The beginning of the event under way, from earlier chunks.
    held: Vec<Bytes>,
    held_bytes: usize,
    /// Whether the event under way has been passed on as far as it came.
    is_passing: bool,
    /// Whether the last event was taken out, so that the rest of its line end goes too.
    was_dropped: bool,
}

impl Default for Trimmer {
    fn default() -> Self {
        Self {
            events: Events::default(),
            scanner: Scanner::new(&TREE),
            signs: Signs::default(),
            held: Vec::new(),
            held_bytes: 0,
            is_passing: false,
            was_dropped: false,
        }
    }
}

impl Trimmer {
    /// Takes the next bytes; gives `out` what may go on now, in as few pieces as can be.
    pub fn push(&mut self, chunk: Bytes, out: &mut impl FnMut(Bytes)) {
        // Of the chunk, `from..event` is to go on, and `event..` is under way.
        let (mut from, mut event) = (0, 0);
        let mut events = std::mem::take(&mut self.events);
        events.push(&chunk, &mut |part| match part {
            Part::Data(data) => self.scanner.push(data, &mut self.signs),
            Part::End(at) => {
                if self.ends_unwanted(at - event) {
                    give(&chunk, from, event, out);
                    self.forget();
                    from = at;
                } else {
                    self.pass(out);
                }
                event = at;
                self.next_event();
            }
        });
        self.events = events;
        self.under_way(&chunk, from, event, out);
    }

    /// Gives back what was held when the stream ended, unless it is the usage chunk without its last line.
    pub fn finish(mut self, out: &mut impl FnMut(Bytes)) {
        if !self.is_unwanted() {
            self.pass(out);
        }
    }

    /// Decides about what remains of a chunk.
    fn under_way(&mut self, chunk: &Bytes, from: usize, event: usize, out: &mut impl FnMut(Bytes)) {
        let rest = chunk.len() - event;
        let is_long = self.held_bytes + rest > MOST_HELD;
        if self.is_passing || self.signs.choice || is_long {
            self.pass(out);
            self.is_passing = rest > 0 || self.is_passing;
            return give(chunk, from, chunk.len(), out);
        }
        give(chunk, from, event, out);
        if rest > 0 {
            self.held_bytes += rest;
            self.held.push(chunk.slice(event..));
        }
    }

    /// Whether the event that ends now, with this many bytes in this chunk, is to be taken out.
    fn ends_unwanted(&self, bytes: usize) -> bool {
        let rest_of_dropped = self.was_dropped && bytes == 1 && self.held.is_empty();
        rest_of_dropped || (!self.is_passing && self.is_unwanted())
    }

    fn is_unwanted(&self) -> bool {
        self.signs.choices && !self.signs.choice && self.signs.usage && self.scanner.is_whole()
    }

    fn next_event(&mut self) {
        self.scanner.reset();
        self.signs = Signs::default();
        self.is_passing = false;
    }

    fn forget(&mut self) {
        self.held.clear();
        self.held_bytes = 0;
        self.was_dropped = true;
    }

    fn pass(&mut self, out: &mut impl FnMut(Bytes)) {
        self.held.drain(..).for_each(out);
        self.held_bytes = 0;
        self.was_dropped = false;
    }
}

/// Gives out a part of a chunk, if there is any.
fn give(chunk: &Bytes, from: usize, to: usize, out: &mut impl FnMut(Bytes)) {
    if from < to {
        out(chunk.slice(from..to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\n";
    const USAGE: &str = "data: {\"id\":\"x\",\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n";
    const FILTER: &str = "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n";
    const RUNNING: &str = "data: {\"usage\":{\"total_tokens\":3},\"choices\":[{\"index\":0}]}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    fn trimmed(pieces: &[&[u8]]) -> String {
        let (mut trimmer, mut all) = (Trimmer::default(), Vec::new());
        for piece in pieces {
            trimmer.push(Bytes::copy_from_slice(piece), &mut |bytes| all.extend_from_slice(&bytes));
        }
        trimmer.finish(&mut |bytes| all.extend_from_slice(&bytes));
        String::from_utf8(all).expect("UTF-8")
    }

    fn at_every_split(stream: &str, expected: &str) {
        let bytes = stream.as_bytes();
        for at in 0..=bytes.len() {
            let (left, right) = bytes.split_at(at);
            assert_eq!(trimmed(&[left, right]), expected, "cut at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(trimmed(&single), expected);
    }

    #[test]
    fn only_the_usage_chunk_goes() {
        let stream = [": ping\n\n", FILTER, PLAIN, RUNNING, USAGE, DONE].concat();
        let expected = [": ping\n\n", FILTER, PLAIN, RUNNING, DONE].concat();
        at_every_split(&stream, &expected);
        for end in ["\r\n", "\r"] {
            at_every_split(&stream.replace('\n', end), &expected.replace('\n', end));
        }
    }

    #[test]
    fn a_stream_that_is_cut_keeps_what_came() {
        at_every_split(&format!("{PLAIN}data: {{\"choi"), &format!("{PLAIN}data: {{\"choi"));
        at_every_split(&format!("{PLAIN}{}", USAGE.trim_end()), PLAIN);
        at_every_split("data: not json\n\ndata: {}\n\n", "data: not json\n\ndata: {}\n\n");
    }

    #[test]
    fn an_event_with_choices_goes_on_before_it_ends() {
        let (mut trimmer, mut pieces) = (Trimmer::default(), Vec::new());
        let begin = "data: {\"choices\":[{\"delta\":{\"content\":\"lo";
        trimmer.push(Bytes::from(begin), &mut |bytes| pieces.push(bytes));
        assert_eq!(pieces, [begin]);
        trimmer.push(Bytes::from("ng"), &mut |bytes| pieces.push(bytes));
        assert_eq!(pieces, [begin, "ng"]);
    }

    #[test]
    fn a_chunk_of_whole_events_is_not_cut_up_or_copied() {
        let (mut trimmer, mut pieces) = (Trimmer::default(), Vec::new());
        let chunk = Bytes::from([PLAIN, PLAIN, PLAIN].concat());
        trimmer.push(chunk.clone(), &mut |bytes| pieces.push(bytes));
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].as_ptr(), chunk.as_ptr());
    }

    #[test]
    fn what_is_too_long_for_a_usage_chunk_goes_on() {
        let (mut trimmer, mut count) = (Trimmer::default(), 0);
        trimmer.push(Bytes::from("data: {\"a\":\""), &mut |bytes| count += bytes.len());
        for _ in 0..100 {
            trimmer.push(Bytes::from(vec![b'a'; 1024]), &mut |bytes| count += bytes.len());
        }
        assert_eq!((count, trimmer.held.len()), (12 + 100 * 1024, 0));
    }
}
