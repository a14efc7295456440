//! `[listen]`: the public listener.

use std::{net::SocketAddr, time::Duration};

use super::super::{
    diagnostic::Diagnostic,
    read::{At, Parsed, Table, Wrong},
};
use super::{
    bind::{FileMode, ListenAddress},
    certificates::{self, CertificatesFile},
};
use crate::units::{Bytes, Network, Rate};

/// The public listener. What is here needs a restart, except the certificates.
#[derive(Debug, Clone)]
pub struct ListenFile {
    /// Where it listens; at least one. Required.
    pub addresses: Vec<At<ListenAddress>>,
    /// Permission bits of unix sockets. Default 0660: the owner and its group.
    pub socket_mode: At<FileMode>,
    /// Certificates, and what clients show. Default: none, which is an error without `plaintext`.
    pub tls: Option<CertificatesFile>,
    /// Whether requests come without TLS. Default false; true excludes certificates.
    pub plaintext: At<bool>,
    /// Whose word about a caller's real address is taken. Default: nobody's.
    pub proxy_protocol: Vec<At<TrustedFile>>,
    /// Where plain HTTP is sent on to https. Default: nowhere.
    pub redirect: Option<At<SocketAddr>>,
    /// The https port that redirects name, 1 to 65 535. Default: that of the first address.
    pub redirect_port: Option<At<u32>>,
    /// How long a TLS handshake may take, 100 ms to 1 min. Default 5 s: a slow phone needs less.
    pub handshake_timeout: At<Duration>,
    /// How long a request's head may take from its first byte, 100 ms to 1 min. Default 5 s, against slow senders.
    pub header_timeout: At<Duration>,
    /// How long a request's body may take in all, 1 s to 1 h. Default 60 s: judged in total, so that drips end too.
    pub body_timeout: At<Duration>,
    /// How many bytes a second a client must take and send while it is waited for, 0 B/s to 1 MB/s. Default 240 B/s,
    /// against drips; 0 B/s is for ever. A client that stands still is given up after 10 s.
    pub min_rate: At<Rate>,
    /// How long a connection may wait for its next request, 1 s to 1 h. Default 5 min.
    pub idle_timeout: At<Duration>,
    /// How many connections are open at once, 1 to 1 000 000. Default 10 000; past it new ones are turned away.
    pub max_connections: At<u32>,
    /// How many of them one address may have, 1 to 1 000 000. Default: as many as there are, since a
    /// balancer in front is one address.
    pub max_connections_per_address: Option<At<u32>>,
    /// Memory at which new work is refused, 16 MiB to 1 TiB. Default: the limit of the cgroup, if it has one.
    pub max_memory: Option<At<Bytes>>,
    /// How long new connections are still taken after a stop was asked for, 0 s to 10 min. Default 0 s;
    /// balancers that poll readiness need as long as they take to notice.
    pub drain_delay: At<Duration>,
    /// How long requests in flight may take after that, 0 s to 1 h. Default 30 s, the grace of Kubernetes.
    pub drain_timeout: At<Duration>,
    /// Proxies in front of Weir whose `X-Forwarded-For` and `Forwarded` are believed. Default: none.
    pub trusted_proxies: Vec<At<TrustedFile>>,
}

/// One entry of `trusted_proxies` or `proxy_protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustedFile {
    /// Whoever is in this network.
    Network(Network),
    /// `"unix"`: whoever reaches the unix socket.
    Unix,
}

impl Parsed for TrustedFile {
    const WANTED: &'static str = "a network such as \"10.0.0.0/8\", or \"unix\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        match text {
            "unix" => Ok(Self::Unix),
            _ => Network::parse(text).map(Self::Network),
        }
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const TENTH: Duration = Duration::from_millis(100);
const MANY: u32 = 1_000_000;
const SMALLEST_MEMORY: Bytes = Bytes(16 << 20);
const LARGEST_MEMORY: Bytes = Bytes(1 << 40);
const DEFAULT_MODE: FileMode = FileMode(0o660);

// Flat: one line per key.
pub(super) fn read(table: &mut Table<'_, '_>) -> Option<ListenFile> {
    let addresses = addresses(table);
    let plaintext = table.or("plaintext", false);
    let tls = certificates::read(table, &plaintext);
    let file = ListenFile {
        addresses: Vec::new(),
        socket_mode: table.or("socket_mode", DEFAULT_MODE),
        tls,
        plaintext,
        proxy_protocol: table.optional("proxy_protocol").map_or_else(Vec::new, |list| list.value),
        redirect: table.optional("redirect"),
        redirect_port: table.optional_within("redirect_port", 1..=65_535),
        handshake_timeout: table.within("handshake_timeout", seconds(5), TENTH..=seconds(60)),
        header_timeout: table.within("header_timeout", seconds(5), TENTH..=seconds(60)),
        body_timeout: table.within("body_timeout", seconds(60), seconds(1)..=seconds(3_600)),
        min_rate: table.within("min_rate", Rate(240), Rate(0)..=Rate(1_000_000)),
        idle_timeout: table.within("idle_timeout", seconds(300), seconds(1)..=seconds(3_600)),
        max_connections: table.within("max_connections", 10_000, 1..=MANY),
        max_connections_per_address: table.optional_within("max_connections_per_address", 1..=MANY),
        max_memory: table.optional_within("max_memory", SMALLEST_MEMORY..=LARGEST_MEMORY),
        drain_delay: table.within("drain_delay", seconds(0), seconds(0)..=seconds(600)),
        drain_timeout: table.within("drain_timeout", seconds(30), seconds(0)..=seconds(3_600)),
        trusted_proxies: trusted(table),
    };
    check_redirect(table, &file);
    Some(ListenFile { addresses: addresses?, ..file })
}

/// One address, or a list of them.
fn addresses(table: &mut Table<'_, '_>) -> Option<Vec<At<ListenAddress>>> {
    let Some(value) = table.value("address") else {
        table.missing("address", "address = \"0.0.0.0:8443\"");
        return None;
    };
    let written = value.one_or_many();
    if written.is_empty() {
        value.refuse("this list is empty", "write address = \"0.0.0.0:8443\"");
        return None;
    }
    // Read all before giving up, so that every bad one is reported.
    let read: Vec<_> = written.iter().map(|value| value.at::<ListenAddress>()).collect();
    let addresses: Vec<_> = read.into_iter().collect::<Option<_>>()?;
    let fixed = addresses.iter().filter(|address| !is_any_port(&address.value));
    let places = fixed.map(|address| (address.value.clone(), address.span));
    let message = "this address is listened on twice";
    table.reader().refuse_repeated(places, message, "keep one of them");
    Some(addresses)
}

/// Port 0 is another port each time.
fn is_any_port(address: &ListenAddress) -> bool {
    matches!(address, ListenAddress::Ip(address) if address.port() == 0)
}

fn trusted(table: &mut Table<'_, '_>) -> Vec<At<TrustedFile>> {
    let written: Option<At<Vec<At<TrustedFile>>>> = table.optional("trusted_proxies");
    let trusted = written.map(|list| list.value).unwrap_or_default();
    for entry in &trusted {
        if matches!(entry.value, TrustedFile::Network(network) if network.is_everything()) {
            let warning = Diagnostic::warning("every address is trusted to name the caller");
            let help = "name the networks of your own proxies: anybody could claim any address";
            table.reader().push(warning.at(entry.span, "").help(help));
        }
    }
    trusted
}

fn check_redirect(table: &Table<'_, '_>, file: &ListenFile) {
    if let (Some(redirect), true) = (&file.redirect, file.plaintext.value) {
        let error = Diagnostic::error("`listen.redirect` leads to https, which is not served here");
        let error = error.at(redirect.span, "").at(file.plaintext.span, "no TLS");
        table.reader().push(error.help("take `redirect` out, or give [listen] a certificate"));
    }
    if let (None, Some(port)) = (&file.redirect, &file.redirect_port) {
        let error = Diagnostic::error("`listen.redirect_port` has no `redirect` beside it");
        table.reader().push(error.at(port.span, "").help("write redirect = \"0.0.0.0:8080\""));
    }
}
