//! `[[identity]]`: who is calling, and in which tier.

use std::{path::PathBuf, time::Duration};

use http::{HeaderName, Uri};

use super::super::{
    diagnostic::Diagnostic,
    read::{At, Parsed, Table, Wrong, words},
};
use super::{
    Name,
    header::is_framing,
    identity_certificate::{self, CertificateIdentityFile},
    url::{self, Shape},
};

/// One source of identity.
#[derive(Debug, Clone)]
pub enum IdentityFile {
    /// `from = "api_key"`.
    ApiKey(ApiKeyFile),
    /// `from = "jwt"`.
    Jwt(Box<JwtFile>),
    /// `from = "trusted_proxy"`.
    TrustedProxy(Box<TrustedProxyFile>),
    /// `from = "path"`.
    Path(PathIdentityFile),
    /// `from = "client_certificate"`.
    ClientCertificate(CertificateIdentityFile),
    /// `from = "address"`: everyone, by client address.
    Address {
        /// The tier of everyone. Required.
        tier: At<Name>,
    },
}

impl IdentityFile {
    /// The word that `from` has.
    pub fn kind(&self) -> SourceKind {
        match self {
            Self::ApiKey(_) => SourceKind::ApiKey,
            Self::Jwt(_) => SourceKind::Jwt,
            Self::TrustedProxy(_) => SourceKind::TrustedProxy,
            Self::Path(_) => SourceKind::Path,
            Self::ClientCertificate(_) => SourceKind::ClientCertificate,
            Self::Address { .. } => SourceKind::Address,
        }
    }
}

/// X-API-Key, or a bearer that is not a JWT.
#[derive(Debug, Clone)]
pub struct ApiKeyFile {
    /// The file of hashed keys, relative to the policy's directory. Default `keys.toml`, where `weir keys new` writes.
    pub keys: At<PathBuf>,
}

/// A bearer of three dot-separated base64url parts.
#[derive(Debug, Clone)]
pub struct JwtFile {
    /// What the `iss` claim must be, exactly. Required.
    pub issuer: At<String>,
    /// Where the issuer's public keys are. Required.
    pub jwks: At<Jwks>,
    /// What the `aud` claim must contain. Default: not compared.
    pub audience: Option<At<String>>,
    /// The claim that names the subject. Default `sub`.
    pub subject_claim: At<String>,
    /// The claim that names the tier. Default `tier`.
    pub tier_claim: At<String>,
    /// The tier of tokens without that claim. Default: they are refused.
    pub tier: Option<At<Name>>,
    /// Put before the subject, so that subjects of two issuers differ. Default: nothing.
    pub subject_prefix: Option<At<String>>,
    /// How far the issuer's clock may differ, 0 s to 5 min. Default 60 s, which covers clocks that are set by hand.
    pub leeway: At<Duration>,
    /// How often keys at a URL are fetched, 10 s to 1 d. Default 5 min: so long a withdrawn key may live.
    pub refresh: At<Duration>,
    /// Certificates to trust at the URL, PEM, alone. Default: the system's, or else Mozilla's.
    pub ca: Option<At<PathBuf>>,
    /// How many verified tokens are remembered, 0 to 1 000 000. Default 10 000, about 2 MiB when full.
    pub cache: At<u32>,
    /// Whether the upstream gets the token too. Default false: a credential for us ends here.
    pub forward: At<bool>,
}

/// What a trusted proxy says of whom it has authenticated.
#[derive(Debug, Clone)]
pub struct TrustedProxyFile {
    /// The header that names the subject. Default `X-Authenticated-User`.
    pub header: At<HeaderName>,
    /// The header that names the tier. Default: none is read.
    pub tier_header: Option<At<HeaderName>>,
    /// The tier when no header names one. Required without `tier_header`.
    pub tier: Option<At<Name>>,
    /// Whether the upstream gets the headers too. Default false.
    pub forward: At<bool>,
}

/// A parameter of the path, for a service that has no login yet.
#[derive(Debug, Clone)]
pub struct PathIdentityFile {
    /// Which paths, such as `/api/user/{user_id}/**`. Begins with a slash and contains `{parameter}`. Required.
    pub pattern: At<String>,
    /// The parameter that names the subject. Required.
    pub parameter: At<String>,
    /// The tier of these subjects. Required.
    pub tier: At<Name>,
}

/// Where public keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Jwks {
    /// A file, relative to the policy's directory.
    File(PathBuf),
    /// An https URL, or an http URL on this machine.
    Url(Uri),
}

impl Parsed for Jwks {
    const WANTED: &'static str = "a file or an https URL";

    fn parse(text: &str) -> Result<Self, Wrong> {
        if text.contains("://") {
            return url::parse(text, &["https", "http"], Shape::Whole)
                .and_then(safe)
                .map(Self::Url);
        }
        PathBuf::parse(text).map(Self::File)
    }
}

/// Over plain HTTP anybody on the way could put keys of their own in.
fn safe(url: Uri) -> Result<Uri, Wrong> {
    let host = url.host().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    let local = host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
    if url.scheme_str() == Some("http") && !local {
        let hint = "write an https URL; http is for 127.0.0.1, [::1] and localhost only";
        return Err(Wrong::new("keys may not come over plain HTTP", hint));
    }
    Ok(url)
}

impl Parsed for PathBuf {
    const WANTED: &'static str = "the path of a file";

    fn parse(text: &str) -> Result<Self, Wrong> {
        if text.is_empty() || text.contains('\0') {
            return Err(Wrong::new(
                "this is not a path",
                "write a path relative to the policy's directory",
            ));
        }
        Ok(Self::from(text))
    }
}

words! {
    /// Where an identity comes from.
    "a source such as \"api_key\""
    pub enum SourceKind {
        /// A hashed key.
        ApiKey = "api_key",
        /// A signed token.
        Jwt = "jwt",
        /// A header of a trusted proxy.
        TrustedProxy = "trusted_proxy",
        /// A parameter of the path.
        Path = "path",
        /// What the client proved in the TLS handshake.
        ClientCertificate = "client_certificate",
        /// The client's address.
        Address = "address",
    }
}

pub(super) fn read(root: &mut Table<'_, '_>) -> Vec<At<IdentityFile>> {
    let wrote = root.value("identity").is_some();
    let sources = root.tables("identity", source);
    if !wrote {
        let warning = Diagnostic::warning(
            "the policy has no [[identity]]: every request is refused as unauthenticated",
        );
        root.reader()
            .push_shape(warning.help("add [[identity]] with from = \"address\" and a tier"));
    }
    sources
}

fn source(table: &mut Table<'_, '_>) -> Option<At<IdentityFile>> {
    let from: Option<At<SourceKind>> = table.required(
        "from",
        "from = \"api_key\", \"jwt\", \"trusted_proxy\", \"path\" or \"address\"",
    );
    let Some(from) = from else {
        table.accept_all();
        return None;
    };
    let source = match from.value {
        SourceKind::ApiKey => Some(IdentityFile::ApiKey(ApiKeyFile {
            keys: table.or("keys", PathBuf::from("keys.toml")),
        })),
        SourceKind::Jwt => jwt(table),
        SourceKind::TrustedProxy => trusted_proxy(table),
        SourceKind::Path => path(table),
        SourceKind::ClientCertificate => {
            identity_certificate::read(table).map(IdentityFile::ClientCertificate)
        }
        SourceKind::Address => {
            table.required("tier", "tier = \"free\"").map(|tier| IdentityFile::Address { tier })
        }
    };
    Some(At { value: source?, span: table.span(), from_reference: false })
}

fn jwt(table: &mut Table<'_, '_>) -> Option<IdentityFile> {
    let issuer = table.required("issuer", "issuer = \"https://auth.example.com/\"");
    let jwks = table.required("jwks", "jwks = \"certs/jwks.json\"");
    let audience = table.optional("audience");
    let subject_claim = table.or("subject_claim", "sub".to_owned());
    let tier_claim = table.or("tier_claim", "tier".to_owned());
    let tier = table.optional("tier");
    let subject_prefix = table.optional("subject_prefix");
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let leeway = table.within("leeway", minute, Duration::ZERO..=5 * minute);
    let refresh = table.within("refresh", 5 * minute, 10 * second..=24 * 60 * minute);
    let ca = table.optional("ca");
    let cache = table.within("cache", 10_000, 0..=1_000_000);
    let forward = table.or("forward", false);
    Some(IdentityFile::Jwt(Box::new(JwtFile {
        issuer: issuer?,
        jwks: jwks?,
        audience,
        subject_claim,
        tier_claim,
        tier,
        subject_prefix,
        leeway,
        refresh,
        ca,
        cache,
        forward,
    })))
}

fn trusted_proxy(table: &mut Table<'_, '_>) -> Option<IdentityFile> {
    let usual = HeaderName::from_static("x-authenticated-user");
    let header = table.or("header", usual);
    let tier_header: Option<At<HeaderName>> = table.optional("tier_header");
    let tier = table.optional("tier");
    let forward = table.or("forward", false);
    if tier.is_none() && tier_header.is_none() {
        table.missing("tier", "tier = \"free\", or tier_header = \"X-Authenticated-Tier\"");
    }
    for name in [Some(&header), tier_header.as_ref()].into_iter().flatten() {
        if !may_name_a_caller(&name.value) {
            let error = Diagnostic::error("this header cannot say who is calling");
            let help = "write a header of its own, with dashes, such as \"X-Authenticated-User\"";
            table.reader().push(error.at(name.span, "").help(help));
        }
    }
    if forward.value && always_removed(&header.value) {
        let error = Diagnostic::error("this header never reaches the upstream");
        let help = "leave out forward = true, or let the proxy send another header";
        table.reader().push(error.at(header.span, "").help(help));
    }
    let file = TrustedProxyFile { header, tier_header, tier, forward };
    Some(IdentityFile::TrustedProxy(Box::new(file)))
}

/// Headers that frame or address a message, or that another source reads, are taken.
fn may_name_a_caller(name: &HeaderName) -> bool {
    const TAKEN: [&str; 12] = [
        "host",
        "cookie",
        "authorization",
        "x-api-key",
        "x-request-id",
        "expect",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-real-ip",
    ];
    !TAKEN.contains(&name.as_str()) && !name.as_str().contains('_') && !is_framing(name)
}

/// Names of which the upstream shall only ever get what Weir itself says.
fn always_removed(name: &HeaderName) -> bool {
    ["x-forwarded-", "x-user-tier"].iter().any(|start| name.as_str().starts_with(start))
}

fn path(table: &mut Table<'_, '_>) -> Option<IdentityFile> {
    let pattern: Option<At<String>> =
        table.required("pattern", "pattern = \"/api/user/{user_id}/**\"");
    let parameter: Option<At<String>> = table.required("parameter", "parameter = \"user_id\"");
    let tier = table.required("tier", "tier = \"free\"");
    let (pattern, parameter) = (pattern?, parameter?);
    if !pattern.value.starts_with('/') {
        let error = Diagnostic::error("`identity.pattern` does not begin with a slash");
        table.reader().push(
            error
                .at(pattern.span, "")
                .help("write the whole path, such as \"/api/user/{user_id}/**\""),
        );
    }
    if !pattern.value.contains(&format!("{{{}}}", parameter.value)) {
        let error = Diagnostic::error("`identity.parameter` does not occur in the pattern");
        let error = error.at(parameter.span, "this name").at(pattern.span, "is not here in braces");
        table.reader().push(error.help("write the name that stands in braces in the pattern"));
    }
    Some(IdentityFile::Path(PathIdentityFile { pattern, parameter, tier: tier? }))
}
