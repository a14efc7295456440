//! Networks: addresses that begin with the same bits (CIDR, RFC 4632).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use super::UnitError;

/// Bits before the IPv4 address in an IPv6 address that stands for one (RFC 4291, 2.5.5.2).
const MAPPED: u8 = 96;

/// A network such as `10.0.0.0/8`, or a single address.
///
/// An IPv4 address is the same as its IPv4-mapped IPv6 address: a socket that
/// listens on both shows the latter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    /// Canonical; the bits behind the prefix are 0.
    first: IpAddr,
    /// How many bits are the same, 0 to 32 or 128.
    prefix: u8,
}

impl Network {
    /// The network of `prefix` bits around `ip`; `None` if there are fewer bits in the address.
    pub fn around(ip: IpAddr, prefix: u8) -> Option<Self> {
        let (ip, prefix) = match ip {
            IpAddr::V6(v6) if prefix >= MAPPED && v6.to_ipv4_mapped().is_some() => {
                (ip.to_canonical(), prefix - MAPPED)
            }
            _ => (ip, prefix),
        };
        let first = match ip {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32_u32.checked_sub(prefix.into())?).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128_u32.checked_sub(prefix.into())?).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
        };
        Some(Self { first, prefix })
    }

    /// Whether `ip` is in the network.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.first.is_ipv4() && Self::around(ip, self.prefix) == Some(*self)
    }

    /// Whether it is all of IPv4, or all of IPv6.
    pub fn is_everything(&self) -> bool {
        self.prefix == 0
    }
}

/// Reads `10.0.0.0/8`, `fd00::/8` or a single address.
impl FromStr for Network {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (ip, prefix) = split(text).ok_or(UnitError::NotNetwork)?;
        let network = Self::around(ip, prefix).ok_or(UnitError::NotNetwork)?;
        // `10.1.2.3/8` may mean the one address or the whole network: its author shall say.
        let whole = ip.to_canonical() == network.first || ip == network.first;
        whole.then_some(network).ok_or(UnitError::HostBits)
    }
}

fn split(text: &str) -> Option<(IpAddr, u8)> {
    let Some((ip, prefix)) = text.split_once('/') else {
        let ip: IpAddr = text.parse().ok()?;
        return Some((ip, if ip.is_ipv4() { 32 } else { 128 }));
    };
    let digits = (1..=3).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_digit());
    Some((ip.parse().ok()?, prefix.parse().ok().filter(|_| digits)?))
}

/// The network that `text` names if the bits behind its prefix are not counted.
pub(super) fn mended(text: &str) -> Option<String> {
    let (ip, prefix) = split(text)?;
    Network::around(ip, prefix).map(|network| network.to_string())
}

/// Writes the network as the policy would; a single address without a prefix.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.prefix) {
            (IpAddr::V4(ip), 32) => write!(f, "{ip}"),
            (IpAddr::V6(ip), 128) => write!(f, "{ip}"),
            (ip, prefix) => write!(f, "{ip}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, ip: &str) -> bool {
        let network: Network = network.parse().expect("a network");
        network.contains(ip.parse().expect("an address"))
    }

    #[test]
    fn networks_are_read_and_written() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "fd00::/8", "192.0.2.1", "::1"] {
            let network = text.parse::<Network>().map(|network| network.to_string());
            assert_eq!(network.as_deref(), Ok(text));
        }
        assert_eq!("192.0.2.1/32".parse(), "192.0.2.1".parse::<Network>());
        assert_eq!("::ffff:10.0.0.0/104".parse(), "10.0.0.0/8".parse::<Network>());
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/+8",
            "a/8",
            "10.0.0.0/8/8",
            "fe80::1%eth0",
            "10.0.0.0/0008",
            " 10.0.0.0/8",
        ] {
            assert_eq!(text.parse::<Network>(), Err(UnitError::NotNetwork), "{text}");
        }
        assert_eq!("10.0.0.1/8".parse::<Network>(), Err(UnitError::HostBits));
        assert_eq!(mended("10.0.0.1/8").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(mended("fd00::1/8").as_deref(), Some("fd00::/8"));
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_as_it_does() {
        for (network, ip, is_in) in [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "a00::", false),
            ("0.0.0.0/0", "255.0.0.1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("::/0", "192.0.2.1", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.0/31", "192.0.2.1", true),
        ] {
            assert_eq!(contains(network, ip), is_in, "{ip} in {network}");
        }
    }
}
