//! Splits one direction of an HTTP/2 connection into frames (RFC 9113, 4.1).

/// Octets before each frame's payload.
const HEADER: usize = 9;

/// Kinds of frames (RFC 9113, 6).
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const PRIORITY: u8 = 2;
    pub(in super::super) const RST_STREAM: u8 = 3;
    pub(in super::super) const SETTINGS: u8 = 4;
    pub(in super::super) const PING: u8 = 6;
    pub(in super::super) const GOAWAY: u8 = 7;
    pub(in super::super) const WINDOW_UPDATE: u8 = 8;
    pub(in super::super) const CONTINUATION: u8 = 9;
}

/// `END_STREAM` of DATA and HEADERS, `ACK` of SETTINGS.
const FIRST_FLAG: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// What is said of a frame before its payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) length: u32,
    pub(super) kind: u8,
    flags: u8,
    pub(super) stream: u32,
}

impl Frame {
    fn parse(header: [u8; HEADER]) -> Self {
        let [a, b, c, kind, flags, w, x, y, z] = header;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            // The first bit is reserved.
            stream: u32::from_be_bytes([w & 0x7f, x, y, z]),
        }
    }

    pub(super) const fn ends_stream(&self) -> bool {
        self.flags & FIRST_FLAG != 0
    }

    pub(super) const fn is_ack(&self) -> bool {
        self.flags & FIRST_FLAG != 0
    }

    pub(super) const fn ends_headers(&self) -> bool {
        self.flags & END_HEADERS != 0
    }
}

/// One step through a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// Its header is known.
    Begin,
    /// A piece of its payload.
    Payload(&'a [u8]),
    /// Its last octet has come.
    End,
}

/// Where in the frames of one direction the bytes are.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; HEADER],
    have: usize,
    /// What is left of the payload, once the header is there.
    left: usize,
    frame: Frame,
}

impl Frames {
    /// Reads on and shows every step.
    pub(super) fn feed<E>(
        &mut self,
        mut bytes: &[u8],
        mut show: impl FnMut(Frame, Step<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if self.have < HEADER {
                bytes = self.fill(bytes);
                if self.have < HEADER {
                    return Ok(());
                }
                self.frame = Frame::parse(self.header);
                self.left = self.frame.length as usize;
                show(self.frame, Step::Begin)?;
            } else {
                let (payload, rest) = bytes.split_at(self.left.min(bytes.len()));
                self.left -= payload.len();
                bytes = rest;
                show(self.frame, Step::Payload(payload))?;
            }
            if self.left == 0 {
                self.have = 0;
                show(self.frame, Step::End)?;
            }
        }
        Ok(())
    }

    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (missing, rest) = bytes.split_at((HEADER - self.have).min(bytes.len()));
        if let Some(space) = self.header.get_mut(self.have..self.have + missing.len()) {
            space.copy_from_slice(missing);
        }
        self.have += missing.len();
        rest
    }

    /// Whether the next octet begins a frame.
    pub(super) const fn is_between(&self) -> bool {
        self.have == 0
    }

    /// The frame that is half there, if its header is.
    pub(super) fn current(&self) -> Option<Frame> {
        (self.have == HEADER).then_some(self.frame)
    }
}

/// Error codes that we say (RFC 9113, 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(in crate::server) enum Reason {
    /// The connection was idle.
    NoError = 0x0,
    /// This is not HTTP/2.
    ProtocolError = 0x1,
    /// A stream that is not taken.
    Cancel = 0x8,
    /// A limit was passed.
    EnhanceYourCalm = 0xb,
}

/// A GOAWAY frame: streams up to `last` may have been served.
pub(in crate::server) fn goaway(last: u32, reason: Reason) -> [u8; 17] {
    let mut frame = [0; 17];
    frame[2] = 8;
    frame[3] = kind::GOAWAY;
    frame[9..13].copy_from_slice(&last.to_be_bytes());
    frame[13..].copy_from_slice(&(reason as u32).to_be_bytes());
    frame
}

/// A RST_STREAM frame.
pub(in crate::server) fn reset(stream: u32, reason: Reason) -> [u8; 13] {
    let mut frame = [0; 13];
    frame[2] = 4;
    frame[3] = kind::RST_STREAM;
    frame[5..9].copy_from_slice(&stream.to_be_bytes());
    frame[9..].copy_from_slice(&(reason as u32).to_be_bytes());
    frame
}
