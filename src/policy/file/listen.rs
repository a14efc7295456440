//! `[listen]`: the public listener.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::super::{
    diagnostic::Diagnostic,
    read::{At, Parsed, Table, Wrong},
};
use crate::units::{Network, Rate};

/// The public listener. What is here needs a restart, except the content of the two files.
#[derive(Debug, Clone)]
pub struct ListenFile {
    /// Address and port. Required.
    pub address: At<SocketAddr>,
    /// Certificate and key. Default: none, that is HTTP without TLS, with a warning unless the address is a loopback one.
    pub tls: Option<TlsFile>,
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
    /// How many connections are open at once, 1 to 1 000 000. Default 10 000; past it new ones wait or are closed.
    pub max_connections: At<u32>,
    /// How long requests in flight may take after a stop, 0 s to 1 h. Default 30 s, the grace of Kubernetes.
    pub drain_timeout: At<Duration>,
    /// Proxies in front of Weir whose `X-Forwarded-For` and `Forwarded` are believed. Default: none.
    pub trusted_proxies: Vec<At<TrustedFile>>,
}

/// One entry of `trusted_proxies`.
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

/// The files of the listener's identity, relative to the policy's directory.
#[derive(Debug, Clone)]
pub struct TlsFile {
    /// PEM, the whole chain, the server's certificate first.
    pub certificate: At<PathBuf>,
    /// PEM, the private key.
    pub key: At<PathBuf>,
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const TENTH: Duration = Duration::from_millis(100);

pub(super) fn read(table: &mut Table<'_, '_>) -> Option<ListenFile> {
    let address: Option<At<SocketAddr>> = table.required("address", "address = \"0.0.0.0:8443\"");
    let tls = tls(table, address.as_ref());
    let handshake_timeout = table.within("handshake_timeout", seconds(5), TENTH..=seconds(60));
    let header_timeout = table.within("header_timeout", seconds(5), TENTH..=seconds(60));
    let body_timeout = table.within("body_timeout", seconds(60), seconds(1)..=seconds(3_600));
    let min_rate = table.within("min_rate", Rate(240), Rate(0)..=Rate(1_000_000));
    let idle_timeout = table.within("idle_timeout", seconds(300), seconds(1)..=seconds(3_600));
    let max_connections = table.within("max_connections", 10_000, 1..=1_000_000);
    let drain_timeout = table.within("drain_timeout", seconds(30), seconds(0)..=seconds(3_600));
    let trusted_proxies = trusted(table);
    Some(ListenFile {
        address: address?,
        tls,
        handshake_timeout,
        header_timeout,
        body_timeout,
        min_rate,
        idle_timeout,
        max_connections,
        drain_timeout,
        trusted_proxies,
    })
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

fn tls(table: &mut Table<'_, '_>, address: Option<&At<SocketAddr>>) -> Option<TlsFile> {
    let wrote = (table.value("certificate").is_some(), table.value("key").is_some());
    let (certificate, key) = (table.optional("certificate"), table.optional("key"));
    match wrote {
        (true, false) => {
            table.missing("key", "key = \"certs/server.key\", the certificate's private key")
        }
        (false, true) => table
            .missing("certificate", "certificate = \"certs/server.crt\", the key's certificate"),
        (false, false) => warn_of_plain_text(table, address?),
        (true, true) => {}
    }
    Some(TlsFile { certificate: certificate?, key: key? })
}

fn warn_of_plain_text(table: &Table<'_, '_>, address: &At<SocketAddr>) {
    if !address.value.ip().is_loopback() {
        let warning = Diagnostic::warning(
            "`listen` has no certificate: requests and credentials travel unencrypted",
        );
        table.reader().push(
            warning
                .at(address.span, "reachable from other machines")
                .help("write certificate = \"certs/server.crt\" and key = \"certs/server.key\""),
        );
    }
}
