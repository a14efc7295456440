//! The answer that ends HTTP: `Reply` → 101, or 200 on HTTP/2, and a tunnel behind it.
//!
//! The upstream's head is cleaned like any other; its half of the handshake is
//! checked and replaced by ours. From here on the session owns exchange, permit
//! and upstream connection, and ends them exactly once.

use http::Response;

use super::{
    clean,
    download::Download,
    exchange::Exchange,
    forward::Reply,
    refusal::{Code, Refusal},
    respond,
    settle::Permit,
    upgrade::Opened,
    websocket::{self, Session},
};

/// Opens the tunnel that was asked for.
pub fn protocols(
    mut exchange: Box<Exchange>,
    permit: Box<Permit>,
    mut reply: Reply,
) -> Response<Download> {
    let rules = exchange.operation.and_then(|id| exchange.policy.operation(id).websocket);
    let upgrade = exchange.upgrade.take().zip(rules).ok_or("an unasked switch of protocols");
    let opened = upgrade.and_then(|(upgrade, rules)| Ok((upgrade.open(&mut reply)?, rules)));
    let (mut opened, rules) = match opened {
        Ok(opened) => opened,
        Err(why) => {
            permit.settle(&mut exchange);
            return respond::refuse(exchange, Refusal::new(Code::UpstreamInvalid).detail(why));
        }
    };
    exchange.closes = false;
    let mut fields = std::mem::take(&mut reply.head.headers);
    clean::head(&mut exchange, &mut fields);
    opened.answer(&mut fields);
    let Opened { tunnel, upstream, status, .. } = opened;
    respond::finish(exchange, status, fields, |exchange| {
        let session = Session::new(exchange, permit, reply.lease, rules);
        tunnel.enter(move |caller, drain| websocket::carry(session, caller, upstream, drain));
        Download::nothing()
    })
}
