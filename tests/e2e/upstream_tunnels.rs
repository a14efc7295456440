//! WebSockets towards a service that speaks HTTP/2, or both, and `TE` on its way there.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, Version};
use http_body_util::Empty;
use hyper::{body::Incoming, ext::Protocol, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, sync::mpsc};

use crate::{
    bare_http2::HTTP2,
    door::Door,
    harness::{run, soon},
    origin::Origin,
    pki::Authority,
    plan::Plan,
    sidecar::Sidecar,
    talk::{self, CLOSE, Service, TEXT, Talk, try_open},
};

const TALK: &str = "[operations.talk]\nroutes = [\"GET /talk\"]\nupgrade = [\"websocket\"]\n\
                    [operations.rest]\nroutes = [\"* /**\"]\n";

/// A request as it came over HTTP/2.
struct Asked {
    method: Method,
    uri: String,
    protocol: Option<String>,
    headers: HeaderMap,
}

/// A service that speaks HTTP/2 and agrees to every WebSocket, if `offers`; what it was asked, and
/// its side of what it agreed to.
struct Modern {
    plan: Plan,
    asked: mpsc::UnboundedReceiver<Asked>,
    talks: mpsc::UnboundedReceiver<Talk>,
}

impl Modern {
    async fn start(offers: bool, agrees: StatusCode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, asked) = mpsc::unbounded_channel();
        let (opened, talks) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (seen, opened) = (seen.clone(), opened.clone());
                let answer = service_fn(move |request| {
                    let answer = answer(request, agrees, &seen, &opened);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                if offers {
                    builder.enable_connect_protocol();
                }
                tokio::spawn(builder.serve_connection(TokioIo::new(tcp), answer));
            }
        });
        let plan = Plan::new(TALK).upstream(HTTP2).before_address(address);
        Self { plan, asked, talks }
    }
}

fn answer(
    mut request: http::Request<Incoming>,
    agrees: StatusCode,
    seen: &mpsc::UnboundedSender<Asked>,
    opened: &mpsc::UnboundedSender<Talk>,
) -> Response<Empty<Bytes>> {
    let protocol = request.extensions().get::<Protocol>().map(|name| name.as_str().to_owned());
    let is_tunnel = protocol.is_some();
    let (method, headers) = (request.method().clone(), request.headers().clone());
    seen.send(Asked { method, uri: request.uri().to_string(), protocol, headers }).unwrap();
    if is_tunnel && agrees == StatusCode::OK {
        let (upgrade, opened) = (hyper::upgrade::on(&mut request), opened.clone());
        tokio::spawn(async move {
            let stream = TokioIo::new(upgrade.await.unwrap());
            opened.send(Talk::of(stream, String::new())).unwrap();
        });
    }
    let mut response = Response::new(Empty::new());
    if is_tunnel {
        *response.status_mut() = agrees;
    }
    response
}

#[test]
fn a_service_of_http2_is_asked_with_an_extended_connect() {
    run(async {
        let Modern { plan, mut asked, mut talks } = Modern::start(true, StatusCode::OK).await;
        let sidecar = plan.start().await;
        for h2 in [false, true] {
            let mut caller = match h2 {
                false => talk::open(&sidecar.client, "/talk?a=b", "").await,
                true => talk::open_h2(&sidecar.client, "/talk?a=b").await.expect("agreed"),
            };
            let mut upstream = soon("the service's side", talks.recv()).await.unwrap();
            let tunnel = loop {
                let asked = soon("a request", asked.recv()).await.unwrap();
                if asked.protocol.is_some() {
                    break asked;
                }
            };
            assert_eq!(
                (tunnel.method, &tunnel.protocol.unwrap()[..]),
                (Method::CONNECT, "websocket")
            );
            assert_eq!(tunnel.uri, "http://localhost/talk?a=b");
            assert_eq!(tunnel.headers["sec-websocket-version"], "13");
            for name in ["sec-websocket-key", "connection", "upgrade", "host"] {
                assert!(!tunnel.headers.contains_key(name), "{name}: {:?}", tunnel.headers);
            }

            caller.send(TEXT, "there").await;
            assert_eq!(upstream.next().await.text(), "there");
            upstream.send(TEXT, "and back").await;
            assert_eq!(caller.next().await.text(), "and back");
            caller.send(CLOSE, 1000_u16.to_be_bytes()).await;
            assert_eq!(upstream.next().await.close().0, 1000);
            upstream.send(CLOSE, 1000_u16.to_be_bytes()).await;
            assert_eq!(caller.next().await.close().0, 1000);
            caller.ended().await;
            sidecar.metric_is("weir_tunnels", 0.0).await;
        }
        // Streams of one connection.
        sidecar.metric_is("weir_upstream_connections{state=\"busy\"}", 0.0).await;
    });
}

#[test]
fn a_service_of_http2_that_offers_none_is_not_even_asked() {
    run(async {
        let Modern { plan, mut asked, .. } = Modern::start(false, StatusCode::OK).await;
        let sidecar = plan.start().await;

        let caller = try_open(&sidecar.client, "/talk", "").await;

        assert!(caller.head.starts_with("HTTP/1.1 502 "), "{}", caller.head);
        let refused = |line: &serde_json::Value| line["error_code"] == "upstream_invalid";
        let record = sidecar.logged("why", refused).await;
        assert_eq!(record["detail"], "the upstream does not offer WebSockets over HTTP/2");
        assert_eq!(record["cost_nano_usd"], 0, "nothing left");
        assert!(asked.try_recv().is_err());
        assert_eq!(sidecar.client.get("/x").send().await.status, 200);
    });
}

#[test]
fn what_a_service_of_http2_says_instead_is_an_answer() {
    run(async {
        let Modern { plan, asked: _asked, .. } = Modern::start(true, StatusCode::IM_A_TEAPOT).await;
        let sidecar = plan.start().await;
        let caller = try_open(&sidecar.client, "/talk", "").await;
        assert!(caller.head.starts_with("HTTP/1.1 418 "), "{}", caller.head);
        assert!(talk::open_h2(&sidecar.client, "/talk").await.is_err_and(|status| status == 418));
    });
}

#[test]
fn where_both_are_spoken_a_websocket_takes_a_connection_of_http1() {
    run(async {
        let authority = Authority::new();
        let door = Door::free().await;
        let door = door.tls(authority.server(&["localhost"]).config(&["h2", "http/1.1"]));
        let origin = Origin::behind(door).await;
        let url = format!("https://localhost:{}", origin.address.port());
        let tables = format!("[upstream.tls]\nca = \"upstream.pem\"\n{TALK}");
        let home = Plan::new(&tables).before_url(&url).furnish();
        std::fs::write(home.path().join("upstream.pem"), authority.pem()).unwrap();
        let sidecar = home.start().await;
        // Connections to the service belong to a worker, and so does this connection.
        let mut connection = sidecar.client.h2().await;
        assert_eq!(sidecar.client.get("/x").on(&mut connection).await.status, 200);
        assert_eq!(origin.last().version, Version::HTTP_2);

        let caller = try_open(&sidecar.client, "/talk", "").await;

        // This service knows no WebSockets, but it was asked for one.
        assert!(caller.head.starts_with("HTTP/1.1 200 "), "{}", caller.head);
        let seen = origin.last();
        assert_eq!((seen.version, seen.header("upgrade")), (Version::HTTP_11, Some("websocket")));
        assert_eq!(sidecar.client.get("/x").on(&mut connection).await.status, 200);
        assert_eq!(origin.last().version, Version::HTTP_2);
        sidecar.metric_is("weir_upstream_connects_total{result=\"ok\"}", 2.0).await;
    });
}

#[test]
fn a_wish_for_trailers_reaches_either_http() {
    run(async {
        let Modern { plan, mut asked, .. } = Modern::start(true, StatusCode::OK).await;
        let sidecar = plan.start().await;
        let mut connection = sidecar.client.h2().await;
        sidecar.client.get("/x").header("te", "trailers").on(&mut connection).await;
        let seen = soon("a request", asked.recv()).await.unwrap().headers;
        assert_eq!(seen["te"], "trailers");
        assert!(!seen.contains_key("connection"));
        sidecar.client.get("/x").on(&mut connection).await;
        let seen = soon("a request", asked.recv()).await.unwrap().headers;
        assert!(!seen.contains_key("te"), "nobody asked: {seen:?}");

        let service = Service::start().await;
        let sidecar = Sidecar::with("").before_address(service.address).start().await;
        let mut connection = sidecar.client.h2().await;
        let ask = sidecar.client.post("/call", "x").header("te", "trailers");
        let ask = ask.header("content-type", "application/grpc");
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 0\r\n\
                      content-length: 0\r\nconnection: close\r\n\r\n";
        let (_, talk) = tokio::join!(ask.on(&mut connection), service.answers(answer));
        assert!(talk.head.contains("te: trailers\r\n"), "{}", talk.head);
        assert!(talk.head.contains("connection: te\r\n"), "{}", talk.head);
    });
}
