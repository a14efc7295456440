//! What a scanner tells, and to whom.

/// A scalar as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A string, without its escapes.
    String(&'a str),
    /// A number, `true`, `false` or `null`, or what stands in its place.
    Bare(&'a str),
}

/// Takes what a [`super::Scanner`] finds; `L` is how the tree calls it.
pub trait Sink<L> {
    /// A piece of a text; never empty.
    fn text(&mut self, leaf: L, piece: &str);
    /// The text whose pieces were told has ended; it may have had none.
    fn text_ended(&mut self, _leaf: L) {}
    /// A scalar.
    fn value(&mut self, leaf: L, value: Value<'_>);
    /// A marked object or array begins.
    fn open(&mut self, mark: L);
    /// A marked object or array has ended.
    fn close(&mut self, mark: L);
    /// The scalar at the pointer.
    fn pointed(&mut self, _value: Value<'_>) {}
}

/// Tells a scalar that is short enough to the leaf and to the pointer.
pub fn tell<L>(leaf: Option<L>, pointed: bool, value: Option<Value<'_>>, sink: &mut impl Sink<L>) {
    let Some(value) = value else { return };
    if let Some(leaf) = leaf {
        sink.value(leaf, value);
    }
    if pointed {
        sink.pointed(value);
    }
}
