//! `[[identity]]`: who is calling, and in which tier.

use std::path::PathBuf;

use http::Uri;

use super::super::{
    diagnostic::Diagnostic,
    read::{At, Parsed, Table, Wrong, words},
};
use super::{
    Name,
    url::{self, Shape},
};

/// One source of identity.
#[derive(Debug, Clone)]
pub enum IdentityFile {
    /// `from = "api_key"`.
    ApiKey(ApiKeyFile),
    /// `from = "jwt"`.
    Jwt(Box<JwtFile>),
    /// `from = "path"`.
    Path(PathIdentityFile),
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
            Self::Path(_) => SourceKind::Path,
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
    /// An https URL.
    Url(Uri),
}

impl Parsed for Jwks {
    const WANTED: &'static str = "a file or an https URL";

    fn parse(text: &str) -> Result<Self, Wrong> {
        if text.contains("://") {
            return url::parse(text, &["https"], Shape::Whole).map(Self::Url);
        }
        PathBuf::parse(text).map(Self::File)
    }
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
        /// A parameter of the path.
        Path = "path",
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
    let from: Option<At<SourceKind>> =
        table.required("from", "from = \"api_key\", \"jwt\", \"path\" or \"address\"");
    let Some(from) = from else {
        table.accept_all();
        return None;
    };
    let source = match from.value {
        SourceKind::ApiKey => Some(IdentityFile::ApiKey(ApiKeyFile {
            keys: table.or("keys", PathBuf::from("keys.toml")),
        })),
        SourceKind::Jwt => jwt(table, &from),
        SourceKind::Path => path(table),
        SourceKind::Address => {
            table.required("tier", "tier = \"free\"").map(|tier| IdentityFile::Address { tier })
        }
    };
    Some(At { value: source?, span: table.span(), from_reference: false })
}

fn jwt(table: &mut Table<'_, '_>, from: &At<SourceKind>) -> Option<IdentityFile> {
    let issuer = table.required("issuer", "issuer = \"https://auth.example.com/\"");
    let jwks = table.required("jwks", "jwks = \"certs/jwks.json\"");
    let audience = table.optional("audience");
    let subject_claim = table.or("subject_claim", "sub".to_owned());
    let tier_claim = table.or("tier_claim", "tier".to_owned());
    let tier = table.optional("tier");
    table.not_yet_at(from.span, "identity from = \"jwt\"");
    Some(IdentityFile::Jwt(Box::new(JwtFile {
        issuer: issuer?,
        jwks: jwks?,
        audience,
        subject_claim,
        tier_claim,
        tier,
    })))
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
