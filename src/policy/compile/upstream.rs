//! Where requests go.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
};

use http::HeaderValue;

use super::{Compiler, transport::protocol};
use crate::policy::{
    file::UpstreamUrl,
    snapshot::{Endpoint, Target, Upstream, UpstreamProtocol},
};

impl Compiler<'_> {
    /// The upstream as run; `None` when it cannot be used. Paths are resolved against `directory`.
    pub(super) fn upstream(&mut self, directory: &Path) -> Option<Upstream> {
        let written = &self.file.upstream;
        let protocol = protocol(written.protocol.value);
        let transport = self.transport(directory, protocol)?;
        // Over TLS ALPN may agree on a protocol that knows no upgrade.
        let is_open = protocol == UpstreamProtocol::Auto && transport.tls.is_some();
        let tunnels = is_open.then(|| self.transport(directory, UpstreamProtocol::Http1));
        let url = &written.url;
        let endpoints: Option<Vec<_>> =
            written.urls().map(|url| endpoint(&url.value, directory).map(Arc::new)).collect();
        let endpoints = endpoints?;
        let resilience = self.resilience(endpoints.len());
        let header = |header: &crate::policy::file::HeaderFile<crate::secret::Secret>| {
            // Checked where it was read.
            let mut value = HeaderValue::from_str(header.value.value.expose()).ok()?;
            value.set_sensitive(true);
            Some((header.name.value.clone(), value))
        };
        let upstream = Upstream {
            endpoints,
            resilience,
            base: url.value.path().trim_end_matches('/').to_owned(),
            connect_timeout: written.connect_timeout.value,
            response_timeout: written.response_timeout.value,
            idle_timeout: written.idle_timeout.value,
            headers: written.headers.iter().filter_map(header).collect(),
            transport: Arc::new(transport),
            max_connections: written.max_connections.value as usize,
            min_idle: written.min_idle.value as usize,
            max_idle: written.max_idle.value as usize,
            pool_idle_timeout: written.pool_idle_timeout.value,
            tunnels: None,
        };
        let tunnels = match tunnels {
            None => None,
            Some(transport) => {
                let transport = Arc::new(transport?);
                Some(Box::new(Upstream { transport, min_idle: 0, ..upstream.clone() }))
            }
        };
        Some(Upstream { tunnels, ..upstream })
    }
}

/// One address, from its URL.
fn endpoint(url: &UpstreamUrl, directory: &Path) -> Option<Endpoint> {
    let authority = url.authority()?.clone();
    if let Some(socket) = &url.socket {
        let socket = directory.join(socket);
        let name = format!("unix:{}", socket.display()).into();
        return Some(Endpoint { name, authority, target: Target::Socket(socket), secure: false });
    }
    let secure = url.scheme_str() == Some("https");
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let target = match host.parse::<IpAddr>() {
        Ok(ip) => Target::Address(SocketAddr::new(ip, port)),
        Err(_) => Target::Name { host: host.to_owned(), port },
    };
    let name = format!("{}://{authority}", url.scheme_str()?).into();
    Some(Endpoint { name, authority, target, secure })
}
