//! Follows the frames of one direction of a WebSocket (RFC 6455, section 5).
//!
//! Pure: bytes come as they are, masked and cut anywhere; what comes out says how
//! many of them belong to which part of which frame. Nothing is copied and nothing
//! is unmasked. [`Reader::next`] looks, [`Reader::pass`] goes on: whoever reads may
//! stop before a frame and ask somebody whether it may pass.
//!
//! # Failure
//! A [`Fault`] with the status code that the sender is told. No extension is ever
//! agreed on, so every reserved bit is a fault.
//!
//! # Limits
//! A message, all its fragments together, has at most as many bytes as the reader allows.

/// Who sends the frames: a client masks each, a server none (5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The side that asked for the WebSocket.
    Client,
    /// The side that was asked.
    Server,
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// Another fragment of the message that is under way.
    Continuation,
    /// A text message, or its first fragment.
    Text,
    /// A binary message, or its first fragment.
    Binary,
    /// The last frame of this direction.
    Close,
    /// A question whether the other side is there.
    Ping,
    /// The answer to it.
    Pong,
}

impl Opcode {
    const fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    /// Whether frames of this kind may come between the fragments of a message.
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Why the frames cannot be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not a frame that may stand here: status code 1002.
    #[error("a frame breaks the protocol")]
    Protocol,
    /// A message beyond the limit: status code 1009.
    #[error("a message is too large")]
    TooLarge,
}

/// What a frame's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Length of the header itself, 2 to 14 bytes.
    pub length: usize,
    /// What the frame is for.
    pub opcode: Opcode,
    /// Whether it is the last of its message.
    pub last: bool,
    /// Bytes of payload to come.
    pub payload: u64,
}

/// What stands at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Not enough to say.
    More,
    /// A whole header.
    Head(Head),
    /// So many bytes of the frame's payload, and whether it ends with them.
    Payload {
        /// How many.
        bytes: usize,
        /// Whether the frame is over.
        ends: bool,
    },
}

impl Step {
    /// How many bytes belong to it.
    pub const fn size(&self) -> usize {
        match self {
            Self::More => 0,
            Self::Head(head) => head.length,
            Self::Payload { bytes, .. } => *bytes,
        }
    }
}

/// Where one direction stands.
#[derive(Clone, Debug)]
pub struct Reader {
    sender: Sender,
    max: u64,
    /// What is still to come of the frame's payload.
    left: u64,
    frame: Option<Head>,
    /// The bytes of the message under way, announced ones included.
    message: Option<u64>,
}

impl Reader {
    /// Follows what `sender` sends; messages have at most `max` bytes.
    pub const fn new(sender: Sender, max: u64) -> Self {
        Self { sender, max, left: 0, frame: None, message: None }
    }

    /// Says what `bytes` begin with. Changes nothing.
    ///
    /// # Errors
    /// What comes next may not come here.
    pub fn next(&self, bytes: &[u8]) -> Result<Step, Fault> {
        if self.left > 0 {
            let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            return Ok(match here {
                0 => Step::More,
                bytes => Step::Payload { bytes, ends: bytes as u64 == self.left },
            });
        }
        let Some(head) = head(bytes, self.sender)? else { return Ok(Step::More) };
        self.judge(&head)?;
        Ok(Step::Head(head))
    }

    /// Goes on behind what [`Reader::next`] said.
    pub fn pass(&mut self, step: &Step) {
        match step {
            Step::More => {}
            Step::Head(head) => {
                (self.frame, self.left) = (Some(*head), head.payload);
                if !head.opcode.is_control() {
                    self.message = Some(self.message.unwrap_or(0) + head.payload);
                }
                self.end_frame();
            }
            Step::Payload { bytes, .. } => {
                self.left -= *bytes as u64;
                self.end_frame();
            }
        }
    }

    /// Whether the direction stands between two frames.
    pub const fn is_between(&self) -> bool {
        self.left == 0
    }

    /// Whether this header begins a message.
    pub const fn begins(&self, head: &Head) -> bool {
        !head.opcode.is_control() && self.message.is_none()
    }

    fn end_frame(&mut self) {
        let Some(head) = self.frame.filter(|_| self.left == 0) else { return };
        if head.last && !head.opcode.is_control() {
            self.message = None;
        }
        self.frame = None;
    }

    /// What a header alone cannot say: does the frame follow the one before (5.4)?
    fn judge(&self, head: &Head) -> Result<(), Fault> {
        if head.opcode.is_control() {
            return Ok(());
        }
        let follows = head.opcode == Opcode::Continuation;
        if follows != self.message.is_some() {
            return Err(Fault::Protocol);
        }
        if head.payload > self.max.saturating_sub(self.message.unwrap_or(0)) {
            return Err(Fault::TooLarge);
        }
        Ok(())
    }
}

/// The header that `bytes` begin with; `None` when it is not there in full.
fn head(bytes: &[u8], sender: Sender) -> Result<Option<Head>, Fault> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let opcode = Opcode::of(first & 0x0f).filter(|_| first & 0x70 == 0).ok_or(Fault::Protocol)?;
    let last = first & 0x80 != 0;
    if opcode.is_control() && !last {
        return Err(Fault::Protocol);
    }
    let Some(&second) = bytes.get(1) else { return Ok(None) };
    let masked = second & 0x80 != 0;
    if masked != (sender == Sender::Client) {
        return Err(Fault::Protocol);
    }
    let (wide, payload) = match second & 0x7f {
        126 => (2, bytes.get(2..4).map(|b| u64::from(u16::from_be_bytes([b[0], b[1]])))),
        127 => (8, bytes.get(2..10).map(|b| b.iter().fold(0, |n, b| n << 8 | u64::from(*b)))),
        short => (0, Some(u64::from(short))),
    };
    if opcode.is_control() && wide > 0 {
        return Err(Fault::Protocol);
    }
    let Some(payload) = payload else { return Ok(None) };
    // The shortest form is a must; and the highest bit of the longest is 0 (5.2).
    let shortest = match wide {
        2 => payload > 125,
        8 => payload > u64::from(u16::MAX) && payload >> 63 == 0,
        _ => true,
    };
    if !shortest {
        return Err(Fault::Protocol);
    }
    let length = 2 + wide + if masked { 4 } else { 0 };
    let whole = bytes.len() >= length;
    Ok(whole.then_some(Head { length, opcode, last, payload }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u64 = 1 << 20;

    fn frame(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        let bit = if masked { 0x80 } else { 0 };
        match payload.len() {
            n if n < 126 => out.push(bit | n as u8),
            n if n <= 0xffff => {
                out.push(bit | 126);
                out.extend_from_slice(&(n as u16).to_be_bytes());
            }
            n => {
                out.push(bit | 127);
                out.extend_from_slice(&(n as u64).to_be_bytes());
            }
        }
        if masked {
            out.extend_from_slice(&[1, 2, 3, 4]);
        }
        out.extend_from_slice(payload);
        out
    }

    /// Reads all of `pieces` in turn: the opcodes of its frames with their sizes, and the message starts.
    fn read(sender: Sender, pieces: &[&[u8]]) -> Result<(Vec<(Opcode, u64)>, usize), Fault> {
        let mut reader = Reader::new(sender, MAX);
        let (mut frames, mut messages, mut held) = (Vec::new(), 0, Vec::new());
        for piece in pieces {
            held.extend_from_slice(piece);
            loop {
                let step = reader.next(&held)?;
                if step == Step::More {
                    break;
                }
                if let Step::Head(head) = &step {
                    frames.push((head.opcode, head.payload));
                    messages += usize::from(reader.begins(head));
                }
                reader.pass(&step);
                held.drain(..step.size());
            }
        }
        assert!(held.len() < 14, "only a header may wait");
        Ok((frames, messages))
    }

    fn conversation(masked: bool) -> Vec<u8> {
        [
            frame(0x81, masked, b"hello"),
            frame(0x02, masked, &[7; 200]),
            frame(0x89, masked, b"ping"),
            frame(0x00, masked, b""),
            frame(0x80, masked, &[8; 70_000]),
            frame(0x8a, masked, b""),
            frame(0x81, masked, b""),
            frame(0x88, masked, &[3, 232]),
        ]
        .concat()
    }

    #[test]
    fn every_split_reads_alike() {
        for (sender, masked) in [(Sender::Client, true), (Sender::Server, false)] {
            let bytes = conversation(masked);
            let whole = read(sender, &[&bytes]).expect("sound frames");
            assert_eq!(whole.1, 3, "a text, a binary in three fragments, an empty text");
            assert_eq!(whole.0.len(), 8);
            // The inside of the large payload is all alike.
            let borders = (0..300).chain(bytes.len() - 40..bytes.len());
            for split in borders {
                let (a, b) = bytes.split_at(split);
                assert_eq!(read(sender, &[a, b]), Ok(whole.clone()), "split at {split}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(read(sender, &single), Ok(whole));
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_a_fault_at_every_split() {
        let broken: [(&str, Sender, Vec<u8>); 13] = [
            ("a client that does not mask", Sender::Client, frame(0x81, false, b"x")),
            ("a server that masks", Sender::Server, frame(0x81, true, b"x")),
            ("a reserved bit", Sender::Server, frame(0xc1, false, b"x")),
            ("an unknown data opcode", Sender::Server, frame(0x83, false, b"x")),
            ("an unknown control opcode", Sender::Server, frame(0x8b, false, b"x")),
            ("a fragmented ping", Sender::Server, frame(0x09, false, b"x")),
            ("a long ping", Sender::Server, frame(0x89, false, &[0; 126])),
            ("a continuation of nothing", Sender::Server, frame(0x80, false, b"x")),
            (
                "a message inside a message",
                Sender::Server,
                [frame(0x01, false, b"x"), frame(0x81, false, b"y")].concat(),
            ),
            ("a length in two bytes that fits in one", Sender::Server, vec![0x81, 126, 0, 125]),
            (
                "a length in eight bytes that fits in two",
                Sender::Server,
                vec![0x81, 127, 0, 0, 0, 0, 0, 0, 255, 255],
            ),
            (
                "a length with its highest bit",
                Sender::Server,
                vec![0x81, 127, 128, 0, 0, 0, 0, 1, 0, 0],
            ),
            ("a close in two fragments", Sender::Server, frame(0x08, false, b"")),
        ];
        for (what, sender, bytes) in broken {
            for split in 0..bytes.len() {
                let (a, b) = bytes.split_at(split);
                assert_eq!(read(sender, &[a, b]), Err(Fault::Protocol), "{what}, at {split}");
            }
        }
    }

    #[test]
    fn a_message_is_measured_over_its_fragments_before_their_bytes_come() {
        let mut reader = Reader::new(Sender::Server, 10);
        let first = frame(0x01, false, b"123456");
        for step in [
            Step::Head(Head { length: 2, opcode: Opcode::Text, last: false, payload: 6 }),
            Step::Payload { bytes: 6, ends: true },
        ] {
            assert_eq!(reader.next(&first[if step.size() == 2 { 0 } else { 2 }..]), Ok(step));
            reader.pass(&step);
        }
        assert_eq!(reader.next(&[0x80, 5]), Err(Fault::TooLarge));
        assert!(matches!(reader.next(&[0x80, 4]), Ok(Step::Head(_))));
        assert!(matches!(reader.next(&[0x89, 0x7d]), Ok(Step::Head(_))), "no part of the message");
    }
}
