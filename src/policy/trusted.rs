//! The proxies in front of Weir whose word counts.
//!
//! What they say of whoever called them (its address, its name) is believed;
//! from everybody else the same header fields are spoofing, and go.

use std::net::IpAddr;

use crate::units::Network;

/// Who may speak for others. By default nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted {
    /// Networks of trusted proxies.
    pub networks: Vec<Network>,
    /// Whether whoever reaches the unix socket is trusted.
    pub unix: bool,
}

impl Trusted {
    /// Whether the proxy at `ip` is trusted.
    pub fn has(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_trusted_unless_the_policy_says_so() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let nobody = Trusted::default();
        assert!(!nobody.has(loopback));
        let networks = vec!["127.0.0.0/8".parse().expect("a network")];
        let local = Trusted { networks, unix: false };
        assert!(local.has(loopback) && !local.has([10, 0, 0, 1].into()));
    }
}
