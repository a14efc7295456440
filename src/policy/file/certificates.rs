//! Certificates of `[listen]`: the default pair, one per tenant, and what clients must show.

use std::path::PathBuf;

use super::super::{
    diagnostic::Diagnostic,
    read::{At, Table},
};
use super::bind::HostName;

/// Everything that TLS needs; paths are relative to the policy's directory.
#[derive(Debug, Clone)]
pub struct CertificatesFile {
    /// For whoever asks for no name, or for one that no other pair has.
    pub default: Option<PairFile>,
    /// For the names that each has, in file order.
    pub others: Vec<PairFile>,
    /// What clients must show. Default: nothing.
    pub clients: Option<ClientCertificatesFile>,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct PairFile {
    /// PEM, the whole chain, the server's certificate first.
    pub certificate: At<PathBuf>,
    /// PEM, the private key.
    pub key: At<PathBuf>,
    /// The names that it is shown for. Default: those in the certificate.
    pub names: Vec<At<HostName>>,
}

/// What clients must show.
#[derive(Debug, Clone)]
pub struct ClientCertificatesFile {
    /// PEM, the CAs that clients' certificates must come from. Required.
    pub ca: At<PathBuf>,
    /// Whether a client without a certificate is turned away. Default true.
    pub required: At<bool>,
    /// PEM or DER, revocation lists, one for each CA of a chain. Default: none is looked at.
    pub crl: Option<At<PathBuf>>,
}

const CERTIFICATE: &str = "certificate = \"certs/server.crt\", the key's certificate";
const KEY: &str = "key = \"certs/server.key\", the certificate's private key";

/// Reads the keys of `[listen]` that are about TLS; beside `plaintext` there may be none.
pub(super) fn read(table: &mut Table<'_, '_>, plaintext: &At<bool>) -> Option<CertificatesFile> {
    let written = [
        table.value("certificate").map(|value| value.span()),
        table.value("key").map(|value| value.span()),
        table.value("certificates").map(|value| value.span()),
        table.value("client_certificates").map(|value| value.span()),
    ];
    let default = default_pair(table);
    let others = table.tables("certificates", pair);
    let clients = table.table("client_certificates", clients).flatten();
    if let (true, Some(place)) = (plaintext.value, written.into_iter().flatten().next()) {
        let error = Diagnostic::error("`listen` is both plaintext and TLS");
        let error = error.at(place, "this is for TLS").at(plaintext.span, "this is not");
        let help = "take `plaintext` out, or all certificates; a listener has one of them";
        table.reader().push(error.help(help));
        return None;
    }
    if default.is_none() && others.is_empty() {
        return None;
    }
    let names = others.iter().flat_map(|pair| &pair.names);
    let places = names.map(|name| (name.value.clone(), name.span));
    let message = "this name has two certificates";
    table.reader().refuse_repeated(places, message, "keep one of them");
    Some(CertificatesFile { default, others, clients })
}

fn default_pair(table: &mut Table<'_, '_>) -> Option<PairFile> {
    let wrote = (table.value("certificate").is_some(), table.value("key").is_some());
    let (certificate, key) = (table.optional("certificate"), table.optional("key"));
    match wrote {
        (true, false) => table.missing("key", KEY),
        (false, true) => table.missing("certificate", CERTIFICATE),
        _ => {}
    }
    Some(PairFile { certificate: certificate?, key: key?, names: Vec::new() })
}

fn pair(table: &mut Table<'_, '_>) -> Option<PairFile> {
    let certificate = table.required("certificate", CERTIFICATE);
    let key = table.required("key", KEY);
    let names = table.value("names").map_or_else(Vec::new, |value| {
        value.one_or_many().iter().filter_map(|name| name.at()).collect()
    });
    Some(PairFile { certificate: certificate?, key: key?, names })
}

fn clients(table: &mut Table<'_, '_>) -> Option<ClientCertificatesFile> {
    let ca = table.required("ca", "ca = \"certs/clients-ca.crt\"");
    let required = table.or("required", true);
    let crl = table.optional("crl");
    Some(ClientCertificatesFile { ca: ca?, required, crl })
}
