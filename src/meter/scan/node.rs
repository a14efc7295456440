//! The tree of names that a scanner follows.

/// What may stand at a place, and what it is called there.
///
/// Services put now a string and now an object under one name, so a node can be several
/// things at once.
#[derive(Debug)]
pub enum Node<L: 'static> {
    /// A scalar, told whole when it is short.
    Leaf(L),
    /// A string, told in pieces however long it is.
    Text(L),
    /// An object or array of which every byte is text, brackets included; or a string.
    Raw(L),
    /// An object with these members.
    Members(&'static [(&'static str, Node<L>)]),
    /// An array, all elements alike.
    Items(&'static Node<L>),
    /// Like the inner one; its beginning and end are told when it is an object or array.
    Marked(L, &'static Node<L>),
    /// Whichever of these fits.
    Either(&'static [Node<L>]),
    /// Another node: a tree may lead back into itself.
    Same(&'static Node<L>),
}

impl<L: Copy> Node<L> {
    /// What a scalar here is called.
    pub fn leaf(&self) -> Option<L> {
        match self {
            Self::Leaf(leaf) => Some(*leaf),
            Self::Marked(_, inner) | Self::Same(inner) => inner.leaf(),
            Self::Either(nodes) => nodes.iter().find_map(Self::leaf),
            _ => None,
        }
    }

    /// What a text here is called.
    pub fn text(&self) -> Option<L> {
        match self {
            Self::Text(leaf) | Self::Raw(leaf) => Some(*leaf),
            Self::Marked(_, inner) | Self::Same(inner) => inner.text(),
            Self::Either(nodes) => nodes.iter().find_map(Self::text),
            _ => None,
        }
    }

    /// What a container here is called if all of it is text.
    pub fn raw(&self) -> Option<L> {
        match self {
            Self::Raw(leaf) => Some(*leaf),
            Self::Marked(_, inner) | Self::Same(inner) => inner.raw(),
            Self::Either(nodes) => nodes.iter().find_map(Self::raw),
            _ => None,
        }
    }

    /// What the beginning and end of an array or an object here are called.
    pub fn mark(&self, is_array: bool) -> Option<L> {
        match self {
            Self::Marked(mark, inner) => inner.leads_into(is_array).then_some(*mark),
            Self::Either(nodes) => nodes.iter().find_map(|node| node.mark(is_array)),
            Self::Same(inner) => inner.mark(is_array),
            _ => None,
        }
    }

    /// Whether anything below a container here matters.
    pub fn leads_into(&self, is_array: bool) -> bool {
        match self {
            Self::Members(_) => !is_array,
            Self::Items(_) => is_array,
            Self::Marked(_, inner) | Self::Same(inner) => inner.leads_into(is_array),
            Self::Either(nodes) => nodes.iter().any(|node| node.leads_into(is_array)),
            Self::Leaf(_) | Self::Text(_) | Self::Raw(_) => false,
        }
    }

    /// What stands under `key`, if this is an object.
    pub fn member(&'static self, key: &[u8]) -> Option<&'static Self> {
        match self {
            Self::Members(members) => {
                members.iter().find(|(name, _)| name.as_bytes() == key).map(|(_, node)| node)
            }
            Self::Marked(_, inner) | Self::Same(inner) => inner.member(key),
            Self::Either(nodes) => nodes.iter().find_map(|node| node.member(key)),
            _ => None,
        }
    }

    /// What the elements are, if this is an array.
    pub fn items(&'static self) -> Option<&'static Self> {
        match self {
            Self::Items(items) => Some(items),
            Self::Marked(_, inner) | Self::Same(inner) => inner.items(),
            Self::Either(nodes) => nodes.iter().find_map(Self::items),
            _ => None,
        }
    }
}
