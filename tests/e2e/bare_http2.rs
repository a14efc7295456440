//! An HTTP/2 upstream in the hands of the test: stream by stream, or frame by frame.

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use http::{Request, Response};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
};

use crate::{harness::soon, plan::Plan};

pub const HTTP2: &str = "protocol = \"http2\"";

pub type Served = Connection<TcpStream, Bytes>;
pub type Asked = (Request<h2::RecvStream>, SendResponse<Bytes>);

/// A server of which the test has every connection in its hands, settings sent.
pub struct Bare {
    pub listener: TcpListener,
    pub builder: h2::server::Builder,
}

impl Bare {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, builder: h2::server::Builder::new() }
    }

    pub fn plan(&self) -> Plan {
        let address = self.listener.local_addr().unwrap();
        Plan::new("").upstream(HTTP2).before_address(address)
    }

    /// The next connection that speaks HTTP/2; probes of the health check only open one.
    pub async fn next(&self) -> Served {
        loop {
            let (tcp, _) = soon("a connection", self.listener.accept()).await.unwrap();
            if let Ok(served) = self.builder.handshake(tcp).await {
                return served;
            }
        }
    }
}

pub async fn request(served: &mut Served) -> Asked {
    soon("a request", served.accept()).await.unwrap().unwrap()
}

pub fn reply(asked: &mut Asked, text: &'static str) {
    let mut body = asked.1.send_response(Response::new(()), false).unwrap();
    body.send_data(Bytes::from_static(text.as_bytes()), true).unwrap();
}

/// Lets a connection work until it ends.
pub fn drive(mut served: Served) {
    tokio::spawn(async move { while let Some(Ok(_)) = served.accept().await {} });
}

/// Reads frames up to the HEADERS of so many streams.
pub async fn read_requests(stream: &mut TcpStream, streams: usize) {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    let mut begun = 0;
    while begun < streams {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        begun += usize::from(head[3] == 1);
    }
}

/// The next connection that says something: probes of the health check do not.
pub async fn speaker(listener: &TcpListener) -> TcpStream {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        if stream.peek(&mut [0]).await.is_ok_and(|read| read > 0) {
            return stream;
        }
    }
}

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0, 0, 0, stream];
    frame.extend_from_slice(payload);
    frame
}

pub const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
