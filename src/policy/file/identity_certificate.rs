//! `[[identity]]` with `from = "client_certificate"`.

use super::super::read::{At, Table, words};
use super::Name;

/// What the client proved in the TLS handshake.
#[derive(Debug, Clone)]
pub struct CertificateIdentityFile {
    /// The part of the certificate that names the subject. Required: each CA has its own habit.
    pub field: At<CertificateField>,
    /// What it must match, whole, for this source to find it. Default: anything.
    pub pattern: Option<At<String>>,
    /// The tier of these subjects. Required.
    pub tier: At<Name>,
}

words! {
    /// A part of a certificate that names its holder.
    "a part of the certificate such as \"uri\""
    pub enum CertificateField {
        /// A URI of the subject's alternative names, such as a SPIFFE id.
        Uri = "uri",
        /// A DNS name of the subject's alternative names.
        Dns = "dns",
        /// An e-mail address of the subject's alternative names.
        Email = "email",
        /// The common name of the subject.
        CommonName = "common_name",
    }
}

pub(super) fn read(table: &mut Table<'_, '_>) -> Option<CertificateIdentityFile> {
    let example = "field = \"uri\", \"dns\", \"email\" or \"common_name\"";
    let field = table.required("field", example);
    let pattern = table.optional("pattern");
    let tier = table.required("tier", "tier = \"free\"");
    Some(CertificateIdentityFile { field: field?, pattern, tier: tier? })
}
