//! `[admin]`: the operators' listener.

use std::net::{Ipv4Addr, SocketAddr};

use super::{
    super::{
        diagnostic::Diagnostic,
        read::{At, Table},
    },
    bind::{FileMode, SocketPath},
};
use crate::secret::Secret;

/// Where it listens unless another address is written: nobody outside the machine reaches it.
pub(in crate::policy) const DEFAULT_ADMIN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

/// Who may open the socket unless other bits are written: the user that Weir runs as.
pub(in crate::policy) const DEFAULT_SOCKET_MODE: FileMode = FileMode(0o600);

/// The bit that lets everybody connect: Linux asks for the right to write.
const ANYBODY: u32 = 0o002;

/// The operators' listener: health, metrics, dashboard and API. Never on the public port.
#[derive(Debug, Clone)]
pub struct AdminFile {
    /// Address and port. Default `127.0.0.1:9901`: nobody outside the machine.
    pub address: At<SocketAddr>,
    /// What operators show as a bearer. Default: none, that is a loopback address is required, and changes are refused.
    pub token: Option<At<Secret>>,
    /// Where agents of this machine say what requests cost, without a token. Default: nowhere.
    pub socket: Option<At<SocketPath>>,
    /// Its permission bits, which decide who may. Default 0600: only the user that Weir runs as.
    pub socket_mode: At<FileMode>,
}

pub(super) fn read(table: &mut Table<'_, '_>) -> AdminFile {
    let address = table.or("address", DEFAULT_ADMIN);
    let token = table.value("token").and_then(|value| {
        let token = value.secret("a token, such as \"${WEIR_ADMIN_TOKEN}\"")?;
        if !token.value.expose().bytes().all(|b| b.is_ascii_graphic()) {
            value.refuse(
                "this token cannot be sent in a header",
                "write visible ASCII characters without spaces",
            );
        }
        Some(token).filter(|token| !token.value.is_empty())
    });
    if token.is_none() && !address.value.ip().is_loopback() {
        let error = Diagnostic::error(
            "`admin.address` is reachable from other machines, but `admin.token` is not set",
        );
        table.reader().push(
            error
                .at(address.span, "without a token this must be a loopback address")
                .help("write address = \"127.0.0.1:9901\" or token = \"${WEIR_ADMIN_TOKEN}\""),
        );
    }
    let (socket, socket_mode) =
        (table.optional("socket"), table.or("socket_mode", DEFAULT_SOCKET_MODE));
    if socket.is_some() && socket_mode.value.0 & ANYBODY != 0 {
        let warning = Diagnostic::warning(
            "with these `admin.socket_mode` everybody on this machine may say what requests cost",
        );
        let help = "write socket_mode = \"0660\" and give agents the group of the socket";
        table.reader().push(warning.at(socket_mode.span, "").help(help));
    }
    AdminFile { address, token, socket, socket_mode }
}
