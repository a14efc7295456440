//! The PROXY protocol, versions 1 and 2: who really connected, as a balancer in
//! front of us says before anything else.
//!
//! [`parse`] is pure: it looks at the bytes so far and knows whether they are a
//! whole header, the beginning of one, or none. Type-length-value parts are
//! skipped. Only [`Senders`] that the policy names are asked at all, and those
//! must send one.
//!
//! # Failure
//! Anything else than a well-formed header is an error at its first wrong byte.
//!
//! # Limits
//! Version 1 has at most 107 bytes (the specification's figure), version 2 at
//! most [`MAX_LENGTH`] behind its fixed part.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{policy::file::TrustedFile, units::Network};

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V1_LONGEST: usize = 107;
/// The fixed part of version 2.
const V2_FIXED: usize = 16;
/// The longest variable part of version 2. Balancers send addresses and a few hundred bytes.
pub(super) const MAX_LENGTH: usize = 4 << 10;

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// How many bytes it has.
    pub(super) length: usize,
    /// Who connected; `None` when the sender speaks for itself or does not know.
    pub(super) source: Option<SocketAddr>,
}

/// This is no PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The header that `bytes` begin with; `None` when they are only the beginning of one.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let begins = |mark: &[u8]| bytes.iter().zip(mark).all(|(a, b)| a == b);
    if begins(V1) {
        return version_1(bytes);
    }
    if begins(V2) { version_2(bytes) } else { Err(Malformed) }
}

fn version_1(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let line = &bytes[..bytes.len().min(V1_LONGEST)];
    let Some(end) = line.windows(2).position(|two| two == b"\r\n") else {
        // Text only, so that a client that speaks something else is not waited for.
        let plain = line.iter().all(|byte| (b' '..=b'~').contains(byte) || *byte == b'\r');
        return if plain && line.len() < V1_LONGEST { Ok(None) } else { Err(Malformed) };
    };
    let text = std::str::from_utf8(&line[V1.len()..end]).map_err(|_| Malformed)?;
    Ok(Some(Header { length: end + 2, source: addresses(text)? }))
}

/// `TCP4 192.0.2.1 192.0.2.2 1234 443`, `TCP6 …` or `UNKNOWN …`.
fn addresses(text: &str) -> Result<Option<SocketAddr>, Malformed> {
    let words: Vec<&str> = text.split(' ').collect();
    let [family, source, target, port, target_port] = words[..] else {
        return if words.first() == Some(&"UNKNOWN") { Ok(None) } else { Err(Malformed) };
    };
    let address = |text: &str| -> Result<IpAddr, Malformed> {
        match family {
            "TCP4" => text.parse().map(Ipv4Addr::into).map_err(|_| Malformed),
            "TCP6" => text.parse().map(Ipv6Addr::into).map_err(|_| Malformed),
            _ => Err(Malformed),
        }
    };
    if family == "UNKNOWN" {
        return Ok(None);
    }
    let (source, _) = (address(source)?, address(target)?);
    let (port, _) = (number(port)?, number(target_port)?);
    Ok(Some(SocketAddr::new(source, port)))
}

/// A port, without signs and leading zeros.
fn number(text: &str) -> Result<u16, Malformed> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || (text.len() > 1 && text.starts_with('0')) {
        return Err(Malformed);
    }
    text.parse().map_err(|_| Malformed)
}

fn version_2(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let command = bytes.get(12).copied();
    if command.is_some_and(|byte| byte != 0x20 && byte != 0x21) {
        return Err(Malformed);
    }
    let Some((fixed, rest)) = bytes.split_at_checked(V2_FIXED) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > MAX_LENGTH {
        return Err(Malformed);
    }
    let is_local = command == Some(0x20);
    // Only streams over IP have an address that means something to us.
    let needed = match fixed[13] {
        0x11 => 12,
        0x21 => 36,
        _ => 0,
    };
    if !is_local && length < needed {
        return Err(Malformed);
    }
    let Some(block) = rest.get(..length) else { return Ok(None) };
    let source = if is_local { None } else { source(fixed[13], block) };
    Ok(Some(Header { length: V2_FIXED + length, source }))
}

fn source(family: u8, block: &[u8]) -> Option<SocketAddr> {
    let port = |at: usize| Some(u16::from_be_bytes([*block.get(at)?, *block.get(at + 1)?]));
    match family {
        0x11 => {
            let octets: [u8; 4] = block.get(..4)?.try_into().ok()?;
            Some(SocketAddr::new(Ipv4Addr::from(octets).into(), port(8)?))
        }
        0x21 => {
            let octets: [u8; 16] = block.get(..16)?.try_into().ok()?;
            Some(SocketAddr::new(Ipv6Addr::from(octets).into(), port(32)?))
        }
        _ => None,
    }
}

/// Who must send a header; nobody else may.
#[derive(Clone, Debug, Default)]
pub struct Senders {
    networks: Vec<Network>,
    unix: bool,
}

impl Senders {
    /// Those that the policy names.
    pub fn new(written: &[TrustedFile]) -> Self {
        let network = |sender: &TrustedFile| match sender {
            TrustedFile::Network(network) => Some(*network),
            TrustedFile::Unix => None,
        };
        Self {
            networks: written.iter().filter_map(network).collect(),
            unix: written.contains(&TrustedFile::Unix),
        }
    }

    /// Whether whoever connects from `address` (`None` for a unix socket) must send one.
    pub(super) fn include(&self, address: Option<SocketAddr>) -> bool {
        match address {
            None => self.unix,
            Some(address) => self.networks.iter().any(|network| network.contains(address.ip())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let mut bytes = V2.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(block.len()).expect("short").to_be_bytes());
        bytes.extend(block);
        bytes
    }

    /// Addresses, ports, and a TLV of four bytes.
    const FOUR: [u8; 16] = [192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x34, 1, 0xbb, 4, 0, 1, 0];

    #[test]
    fn whole_headers_are_read_at_every_split_and_no_byte_behind_them() {
        let mut six = [0_u8; 36];
        (six[15], six[33]) = (7, 80);
        let cases: [(Vec<u8>, Option<&str>); 9] = [
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 4660 443\r\n".into(), Some("192.0.2.1:4660")),
            (b"PROXY TCP6 2001:db8::1 ::1 1 443\r\n".into(), Some("[2001:db8::1]:1")),
            (b"PROXY UNKNOWN\r\n".into(), None),
            (b"PROXY UNKNOWN a b c d\r\n".into(), None),
            (v2(0x21, 0x11, &FOUR), Some("192.0.2.1:4660")),
            (v2(0x21, 0x21, &six), Some("[::7]:80")),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &FOUR), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ];
        for (bytes, source) in cases {
            for split in 0..bytes.len() {
                assert_eq!(parse(&bytes[..split]), Ok(None), "{split} of {bytes:?}");
            }
            let source = source.map(|text| text.parse().expect("an address"));
            let wanted = Ok(Some(Header { length: bytes.len(), source }));
            assert_eq!(parse(&bytes), wanted, "{bytes:?}");
            let more = [&bytes[..], b"\x16\x03\x01PROXY"].concat();
            assert_eq!(parse(&more), wanted, "{bytes:?} and more");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat();
        let huge = [V2, &[0x21, 0x11, 0xff, 0xff]].concat();
        for bytes in [
            b"\x16\x03\x01\x02\x00".to_vec(),
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 4660\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 04660 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 +466 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 66000 443\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 ::1 1 443\r\n".to_vec(),
            b"PROXY TCP4  192.0.2.1 192.0.2.2 1 443\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.1 192.0.2.2 1 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1\n192.0.2.2 1 443".to_vec(),
            long,
            huge,
            v2(0x22, 0x11, &FOUR),
            v2(0x11, 0x11, &FOUR),
            v2(0x21, 0x11, &FOUR[..11]),
            v2(0x21, 0x21, &FOUR),
        ] {
            assert_eq!(parse(&bytes), Err(Malformed), "{:?}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn senders_are_known_by_their_network_also_over_a_dual_stack_socket() {
        let network = |text: &str| TrustedFile::Network(text.parse().expect("a network"));
        let senders = Senders::new(&[network("10.0.0.0/8"), network("fd00::/8")]);
        for (address, is) in [
            ("10.1.2.3:1", true),
            ("[::ffff:10.1.2.3]:1", true),
            ("[fd00::1]:1", true),
            ("11.0.0.1:1", false),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(senders.include(Some(address)), is, "{address}");
        }
        assert!(!senders.include(None));
        assert!(Senders::new(&[TrustedFile::Unix]).include(None));
    }
}
