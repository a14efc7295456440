//! A policy and the directory that a sidecar with this policy needs.

use std::{fs, net::SocketAddr, path::Path};

use tempfile::TempDir;

use crate::{harness::weir_in, origin::Origin, sidecar::Sidecar};

/// A policy in the making: what a test does not write has a harmless value.
#[derive(Clone, Debug)]
pub struct Plan {
    tables: String,
    listen: String,
    admin: String,
    upstream: String,
    url: String,
    replaced: Vec<(String, String)>,
    urls: Vec<SocketAddr>,
    pub environment: Vec<(String, String)>,
}

impl Plan {
    /// A policy with these tables, before nothing.
    pub fn new(tables: &str) -> Self {
        Self {
            tables: tables.to_owned(),
            listen: String::new(),
            admin: String::new(),
            upstream: String::new(),
            url: "http://127.0.0.1:9".to_owned(),
            replaced: Vec::new(),
            urls: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// More lines of `[listen]`.
    pub fn listen(mut self, lines: &str) -> Self {
        self.listen = lines.to_owned();
        self
    }

    /// More lines of `[admin]`.
    pub fn admin(mut self, lines: &str) -> Self {
        self.admin = lines.to_owned();
        self
    }

    /// More lines of `[upstream]`.
    pub fn upstream(mut self, lines: &str) -> Self {
        self.upstream = lines.to_owned();
        self
    }

    /// A variable of the sidecar's environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another text in place of one in the finished policy.
    pub fn replacing(mut self, text: &str, other: &str) -> Self {
        self.replaced.push((text.to_owned(), other.to_owned()));
        self
    }

    /// The service behind it.
    pub fn before(self, origin: &Origin) -> Self {
        self.before_address(origin.address)
    }

    /// The service behind it, by URL.
    pub fn before_url(mut self, url: &str) -> Self {
        url.clone_into(&mut self.url);
        self
    }

    /// The service behind it, by address.
    pub fn before_address(mut self, address: SocketAddr) -> Self {
        self.url = format!("http://{address}");
        self
    }

    /// The service behind it, at several addresses.
    pub fn before_all(mut self, addresses: &[SocketAddr]) -> Self {
        self.urls = addresses.to_vec();
        self
    }

    fn place(&self) -> String {
        match &*self.urls {
            [] => format!("url = \"{}\"", self.url),
            urls => {
                let urls: Vec<_> = urls.iter().map(|url| format!("\"http://{url}\"")).collect();
                format!("urls = [{}]", urls.join(", "))
            }
        }
    }

    /// The policy as text.
    pub fn text(&self) -> String {
        let usual = |marker: &str, text: &'static str| {
            if self.tables.contains(marker) { "" } else { text }
        };
        // Hundreds of handshakes at once take their time on a busy machine.
        let patience: String = ["handshake_timeout", "header_timeout"]
            .into_iter()
            .filter(|key| !self.listen.contains(key))
            .map(|key| format!("{key} = \"60s\"\n"))
            .collect();
        let text = format!(
            "[listen]\naddress = \"127.0.0.1:0\"\ncertificate = \"certs/server.crt\"\n\
             key = \"certs/server.key\"\n{patience}{}\n[admin]\naddress = \"127.0.0.1:0\"\n{}\n\
             [upstream]\n{}\n{}\n{}\n{}{}{}{}",
            self.listen,
            self.admin,
            self.place(),
            self.upstream,
            self.tables,
            usual("[[identity]]", "[[identity]]\nfrom = \"address\"\ntier = \"free\"\n"),
            usual("[operations.", "[operations.general]\nroutes = [\"* /**\"]\n"),
            usual("[tiers.", "[tiers.free]\nquotas = { \"*\" = \"100000/hour\" }\n"),
            usual("[sanitize]", "[sanitize]\nredact = []\n"),
        );
        self.replaced.iter().fold(text, |text, (from, to)| {
            assert!(text.contains(from), "{from} is not in {text}");
            text.replacen(from, to, 1)
        })
    }

    /// The same, with other tables.
    pub fn with(&self, tables: &str) -> Self {
        Self { tables: tables.to_owned(), ..self.clone() }
    }

    /// Makes the directory with certificates, an empty `keys.toml` and the policy.
    pub fn furnish(self) -> Home {
        let directory = tempfile::Builder::new().prefix("weir-e2e-").tempdir().unwrap();
        let made = weir_in(directory.path(), &["cert", "dev", "--dir", "certs"]);
        assert_eq!(made.code, Some(0), "{made:?}");
        fs::write(directory.path().join("keys.toml"), "").unwrap();
        fs::write(directory.path().join("policy.toml"), self.text()).unwrap();
        Home { directory, plan: self }
    }

    /// Starts the sidecar and waits until it serves.
    pub async fn start(self) -> Sidecar {
        self.furnish().start().await
    }
}

/// A directory with everything that a sidecar needs.
#[derive(Debug)]
pub struct Home {
    directory: TempDir,
    pub plan: Plan,
}

impl Home {
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The directory alone; it is removed when dropped.
    pub fn into_directory(self) -> TempDir {
        self.directory
    }

    /// Starts a sidecar in it and waits until it serves.
    pub async fn start(self) -> Sidecar {
        Sidecar::of(self).await
    }
}
