//! Requests that ask to switch protocols: what they want, and whether they may.
//!
//! A WebSocket is asked for with `Upgrade` on HTTP/1.1 (RFC 6455) or with an
//! extended CONNECT on HTTP/2 (RFC 8441); the latter becomes a GET here, so that
//! routes, rules and records see one thing. Towards the upstream it is an upgrade of
//! HTTP/1.1 with a key of our own, and only an answer that proves it has read that
//! key opens a tunnel (over HTTP/2, `upstream::version` makes it an extended CONNECT
//! again); what the caller sent early waits until then.
//!
//! `h2c` is offered by clients that do not need it: it is ignored, and never
//! passed on. Everything else is refused, in every mode of enforcement.
//!
//! No extension is ever agreed on, so that messages can be read.

mod key;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request::Parts,
};
use hyper::upgrade::OnUpgrade;

use super::{
    exchange::Exchange,
    forward::Reply,
    refusal::{Code, Refusal},
};
use crate::{server::Tunnel, telemetry::Protocol};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// A wish to switch protocols.
pub struct Upgrade {
    tunnel: Tunnel,
    wish: Wish,
    /// What is agreed on, once it may be.
    handshake: Option<Handshake>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    WebSocket,
    /// Nothing that anybody needs.
    Ignored,
    Other,
}

/// Both halves of the opening handshake.
struct Handshake {
    /// What the upstream gets, and what it must answer.
    key: HeaderValue,
    proof: HeaderValue,
    /// What the caller is owed, on HTTP/1.1.
    answer: Option<HeaderValue>,
    /// Subprotocols that the caller offers.
    offered: Vec<HeaderValue>,
}

/// What a tunnel is opened with.
pub struct Opened {
    /// The caller's side.
    pub tunnel: Tunnel,
    /// The upstream's side.
    pub upstream: OnUpgrade,
    /// Status of the answer.
    pub status: StatusCode,
    fields: [Option<(HeaderName, HeaderValue)>; 4],
}

/// Reads what a request with a way out of HTTP wants to become.
pub fn wish(head: &mut Parts, tunnel: Tunnel) -> Box<Upgrade> {
    let protocol = head.extensions.remove::<hyper::ext::Protocol>();
    let wish = match (&head.method, protocol) {
        (&Method::CONNECT, Some(protocol)) => {
            // RFC 8441, 5: where HTTP/1.1 has a GET.
            head.method = Method::GET;
            let websocket = protocol.as_str().eq_ignore_ascii_case("websocket");
            if websocket { Wish::WebSocket } else { Wish::Other }
        }
        (&Method::CONNECT, None) => Wish::Other,
        // RFC 9110, 7.8: without the option the field means nothing.
        _ if lists(&head.headers, &header::CONNECTION, "upgrade") => wish_of(&head.headers),
        _ => Wish::Ignored,
    };
    Box::new(Upgrade { tunnel, wish, handshake: None })
}

fn wish_of(headers: &HeaderMap) -> Wish {
    let mut wish = Wish::Ignored;
    for protocol in items(headers, &header::UPGRADE) {
        if protocol.eq_ignore_ascii_case("websocket") {
            return Wish::WebSocket;
        }
        if !protocol.eq_ignore_ascii_case("h2c") {
            wish = Wish::Other;
        }
    }
    wish
}

/// Decides whether the operation allows the switch, and checks the caller's half of the handshake.
///
/// # Errors
/// 403 when it is not allowed, 400 or 426 when the handshake is none.
pub fn judge(exchange: &mut Exchange, head: &mut Parts) -> Result<(), Box<Refusal>> {
    let Some(upgrade) = &mut exchange.upgrade else { return Ok(()) };
    match upgrade.wish {
        Wish::Ignored => {
            exchange.upgrade = None;
            return Ok(());
        }
        Wish::Other => return Err(Refusal::new(Code::UpgradeNotAllowed)),
        Wish::WebSocket => {}
    }
    let operation = exchange.operation.map(|id| exchange.policy.operation(id));
    if operation.is_none_or(|operation| operation.websocket.is_none()) {
        return Err(Refusal::new(Code::UpgradeNotAllowed));
    }
    if exchange.body.is_some() || head.headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(bad("an upgrade with a body"));
    }
    let http2 = exchange.peer.protocol == Protocol::Http2;
    upgrade.handshake = Some(Handshake::read(head, http2)?);
    Ok(())
}

fn bad(why: &'static str) -> Box<Refusal> {
    Refusal::new(Code::BadRequest).detail(why)
}

impl Handshake {
    /// The caller's half (RFC 6455, 4.2.1); its fields are taken out of the head.
    fn read(head: &mut Parts, http2: bool) -> Result<Self, Box<Refusal>> {
        if head.method != Method::GET {
            return Err(bad("a WebSocket that is not asked for with GET"));
        }
        let fields = &mut head.headers;
        if only(fields, &header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
            let mut refusal = bad("an unknown version of the WebSocket protocol");
            refusal.status = Some(StatusCode::UPGRADE_REQUIRED);
            refusal.field = Some((header::SEC_WEBSOCKET_VERSION, VERSION));
            return Err(refusal);
        }
        let answer = match only(fields, &header::SEC_WEBSOCKET_KEY) {
            _ if http2 => None,
            Some(key) if key::is_sound(key) => Some(key::proof(key)),
            _ => return Err(bad("no usable Sec-WebSocket-Key")),
        };
        let offered = items(fields, &header::SEC_WEBSOCKET_PROTOCOL);
        let offered = offered.filter_map(|name| HeaderValue::from_str(name).ok()).collect();
        for name in [
            header::SEC_WEBSOCKET_KEY,
            header::SEC_WEBSOCKET_VERSION,
            header::SEC_WEBSOCKET_EXTENSIONS,
            header::SEC_WEBSOCKET_ACCEPT,
        ] {
            fields.remove(name);
        }
        let key = key::mint();
        Ok(Self { proof: key::proof(&key), key, answer, offered })
    }
}

impl Handshake {
    /// What an upstream must say over HTTP/1.1.
    fn check(&self, fields: &HeaderMap) -> Result<(), &'static str> {
        let mut protocols = items(fields, &header::UPGRADE);
        let first = protocols.next().is_some_and(|name| name.eq_ignore_ascii_case("websocket"));
        let alone = first && protocols.next().is_none();
        if !alone || !lists(fields, &header::CONNECTION, "upgrade") {
            return Err("a switch to another protocol");
        }
        if only(fields, &header::SEC_WEBSOCKET_ACCEPT) != Some(&self.proof) {
            return Err("a switch of protocols that proves nothing");
        }
        Ok(())
    }
}

impl Upgrade {
    /// Whether the caller goes on as if it had been granted: then nothing else can follow.
    pub fn is_meant(&self) -> bool {
        self.wish != Wish::Ignored
    }

    /// Asks the upstream, in the fields of a request that has been cleaned.
    pub fn ask(&self, fields: &mut HeaderMap) {
        let Some(handshake) = &self.handshake else { return };
        fields.insert(header::CONNECTION, UPGRADE);
        fields.insert(header::UPGRADE, WEBSOCKET);
        fields.insert(header::SEC_WEBSOCKET_VERSION, VERSION);
        fields.insert(header::SEC_WEBSOCKET_KEY, handshake.key.clone());
    }

    /// Checks the upstream's half of the handshake (RFC 6455, 4.1) and takes what a tunnel needs.
    ///
    /// # Errors
    /// The answer proves nothing, or agrees to what nobody offered.
    pub fn open(self, reply: &mut Reply) -> Result<Opened, &'static str> {
        let handshake = self.handshake.ok_or("an unasked switch of protocols")?;
        let fields = &reply.head.headers;
        // Over HTTP/2 the status is all that there is (RFC 8441, 5).
        if reply.head.version != Version::HTTP_2 {
            handshake.check(fields)?;
        }
        if fields.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
            return Err("an extension that was not offered");
        }
        let chosen = only(fields, &header::SEC_WEBSOCKET_PROTOCOL).cloned();
        let offered = |chosen| handshake.offered.contains(chosen);
        if fields.contains_key(header::SEC_WEBSOCKET_PROTOCOL)
            && !chosen.as_ref().is_some_and(offered)
        {
            return Err("a subprotocol that was not offered");
        }
        let upstream = reply.head.extensions.remove::<OnUpgrade>();
        let chosen = chosen.map(|chosen| (header::SEC_WEBSOCKET_PROTOCOL, chosen));
        let (status, fields) = match handshake.answer {
            None => (StatusCode::OK, [chosen, None, None, None]),
            Some(answer) => (
                StatusCode::SWITCHING_PROTOCOLS,
                [
                    chosen,
                    Some((header::CONNECTION, UPGRADE)),
                    Some((header::UPGRADE, WEBSOCKET)),
                    Some((header::SEC_WEBSOCKET_ACCEPT, answer)),
                ],
            ),
        };
        Ok(Opened {
            tunnel: self.tunnel,
            upstream: upstream.ok_or("a connection that does not switch")?,
            status,
            fields,
        })
    }
}

impl Opened {
    /// Puts our half of the handshake on an answer that has been cleaned.
    pub fn answer(&mut self, fields: &mut HeaderMap) {
        for name in
            [header::SEC_WEBSOCKET_ACCEPT, header::SEC_WEBSOCKET_PROTOCOL, header::CONTENT_LENGTH]
        {
            fields.remove(name);
        }
        for (name, value) in self.fields.iter_mut().filter_map(Option::take) {
            fields.insert(name, value);
        }
    }
}

/// The items of a list field.
fn items<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|item| !item.is_empty())
}

fn lists(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    items(headers, name).any(|item| item.eq_ignore_ascii_case(wanted))
}

/// A field that must not occur twice.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).into_iter();
    let first = values.next();
    first.filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_caller_needs_is_a_wish() {
        let wish = |upgrade: &'static str| {
            wish_of(&HeaderMap::from_iter([(header::UPGRADE, HeaderValue::from_static(upgrade))]))
        };
        assert!(wish("h2c") == Wish::Ignored);
        assert!(wish("WebSocket") == Wish::WebSocket);
        assert!(wish("h2c, websocket") == Wish::WebSocket);
        assert!(wish("h2c, foo/1") == Wish::Other);
        assert!(wish("TLS/1.0") == Wish::Other);
    }
}
