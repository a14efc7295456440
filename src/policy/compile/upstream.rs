//! Where requests go.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{HeaderValue, Uri};

use super::Compiler;
use crate::policy::{
    diagnostic::Diagnostic,
    snapshot::{Endpoint, Target, Upstream},
};

impl Compiler<'_> {
    /// The upstream as run; `None` when it cannot be used.
    pub(super) fn upstream(&mut self) -> Option<Upstream> {
        let written = &self.file.upstream;
        let url = &written.url;
        if url.value.scheme_str() != Some("http") {
            let error = Diagnostic::error("only `http` upstreams are supported yet");
            self.error(error.at(url.span, "").help("write url = \"http://127.0.0.1:8000\""));
            return None;
        }
        let urls = std::iter::once(url).chain(&written.more_urls);
        let endpoints: Vec<_> =
            urls.map(|url| Some(Arc::new(endpoint(&url.value)?))).collect::<Option<_>>()?;
        let resilience = self.resilience(endpoints.len());
        let header = |header: &crate::policy::file::HeaderFile<crate::secret::Secret>| {
            // Checked where it was read.
            let mut value = HeaderValue::from_str(header.value.value.expose()).ok()?;
            value.set_sensitive(true);
            Some((header.name.value.clone(), value))
        };
        Some(Upstream {
            endpoints,
            resilience,
            base: url.value.path().trim_end_matches('/').to_owned(),
            connect_timeout: written.connect_timeout.value,
            response_timeout: written.response_timeout.value,
            idle_timeout: written.idle_timeout.value,
            headers: written.headers.iter().filter_map(header).collect(),
            max_idle: written.max_idle.value as usize,
            pool_idle_timeout: written.pool_idle_timeout.value,
        })
    }
}

/// One address, from its URL.
fn endpoint(url: &Uri) -> Option<Endpoint> {
    let authority = url.authority()?.clone();
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(80);
    let target = match host.parse::<IpAddr>() {
        Ok(ip) => Target::Address(SocketAddr::new(ip, port)),
        Err(_) => Target::Name { host: host.to_owned(), port },
    };
    let name = format!("{}://{authority}", url.scheme_str()?).into();
    Some(Endpoint { name, authority, target })
}
