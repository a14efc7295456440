//! A service that records what it gets and answers as the test says.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};

use crate::{client::Fed, door::Door};

type Given = UnsyncBoxBody<Bytes, Infallible>;

/// One request as the service saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub target: String,
    pub headers: HeaderMap,
    pub version: http::Version,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// How a path is answered.
enum Script {
    /// The same every time.
    Fixed(u16, Vec<(String, String)>, Bytes),
    /// A stream that the test paces; one request.
    Paced(Vec<(String, String)>, Option<mpsc::Receiver<Bytes>>),
    /// Never; the sender notices when the request is given up.
    Silent(Option<mpsc::Sender<()>>),
    /// Echo, and each piece of the body as it comes.
    Watched(mpsc::UnboundedSender<Bytes>),
    /// A connection that ends without an answer.
    HungUp,
    /// Whatever is made of the request's body.
    Made(Maker),
}

/// Makes an answer of a request's body.
pub type Maker = Box<dyn FnMut(&[u8]) -> Made + Send>;

/// An answer that was made: status, headers, body.
pub type Made = (u16, Vec<(String, String)>, Bytes);

#[derive(Default)]
struct State {
    seen: Mutex<Vec<Seen>>,
    scripts: Mutex<HashMap<String, Script>>,
    opened: AtomicUsize,
    open: AtomicUsize,
}

/// The service; it ends when dropped.
pub struct Origin {
    pub address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    /// A service on a free port; paths without a script echo the request's head as JSON.
    pub async fn start() -> Self {
        Self::at(([127, 0, 0, 1], 0).into()).await
    }

    /// A service on this address.
    pub async fn at(address: SocketAddr) -> Self {
        Self::behind(Door::tcp(address).await).await
    }

    /// A service behind this door.
    pub async fn behind(door: Door) -> Self {
        let (address, state) = (door.address(), Arc::new(State::default()));
        let task = tokio::spawn(accept(door, Arc::clone(&state)));
        Self { address, state, task }
    }

    /// Connections that were opened so far, and those that still are open.
    pub fn connections(&self) -> (usize, usize) {
        (self.state.opened.load(SeqCst), self.state.open.load(SeqCst))
    }

    /// Answers `path` with this, every time.
    pub fn answers(
        &self,
        path: &str,
        status: u16,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) {
        self.script(path, Script::Fixed(status, owned(headers), body.into()));
    }

    /// Answers the next request for `path` with an event stream; what is sent is the next piece,
    /// a dropped sender is the end, and `closed()` on it is the connection's end.
    pub fn paces(&self, path: &str) -> mpsc::Sender<Bytes> {
        self.paces_as(path, &[("content-type", "text/event-stream")])
    }

    pub fn paces_as(&self, path: &str, headers: &[(&str, &str)]) -> mpsc::Sender<Bytes> {
        let (sender, receiver) = mpsc::channel(1);
        self.script(path, Script::Paced(owned(headers), Some(receiver)));
        sender
    }

    /// Never answers `path`; the receiver ends when the request was given up.
    pub fn keeps_silent(&self, path: &str) -> mpsc::Receiver<()> {
        let (sender, receiver) = mpsc::channel(1);
        self.script(path, Script::Silent(Some(sender)));
        receiver
    }

    /// Shows the pieces of the bodies that come for `path`, as they come; an empty one says
    /// that a body was whole.
    pub fn watches(&self, path: &str) -> mpsc::UnboundedReceiver<Bytes> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.script(path, Script::Watched(sender));
        receiver
    }

    /// Closes the connection of each request for `path`.
    pub fn hangs_up(&self, path: &str) {
        self.script(path, Script::HungUp);
    }

    /// Answers `path` with what `maker` makes of each request's body.
    pub fn makes(&self, path: &str, maker: impl FnMut(&[u8]) -> Made + Send + 'static) {
        self.script(path, Script::Made(Box::new(maker)));
    }

    /// Everything that came so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// How many requests came for paths that begin so.
    pub fn count(&self, path: &str) -> usize {
        let seen = self.state.seen.lock().unwrap();
        seen.iter().filter(|seen| seen.target.starts_with(path)).count()
    }

    /// The last request.
    pub fn last(&self) -> Seen {
        let seen = self.state.seen.lock().unwrap();
        seen.last().expect("a request that reached the origin").clone()
    }

    fn script(&self, path: &str, script: Script) {
        self.state.scripts.lock().unwrap().insert(path.to_owned(), script);
    }
}

fn owned(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn accept(door: Door, state: Arc<State>) {
    // Dropped with this task: its connections end with the service.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let entering = door.knock().await;
        let state = Arc::clone(&state);
        connections.spawn(async move {
            // Whoever does not get through the door is looked at from the other side.
            let Ok(visitor) = entering.enter().await else { return };
            let _open = Open::count(Arc::clone(&state));
            let service = service_fn(move |request| answer(Arc::clone(&state), request));
            let io = TokioIo::new(visitor.stream);
            // How a connection ends is looked at from the other side.
            if visitor.http2 {
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                drop(server.serve_connection(io, service).await);
            } else {
                let server = hyper::server::conn::http1::Builder::new();
                drop(server.serve_connection(io, service).await);
            }
        });
    }
}

/// A connection, as long as it is served.
struct Open(Arc<State>);

impl Open {
    fn count(state: Arc<State>) -> Self {
        state.opened.fetch_add(1, SeqCst);
        state.open.fetch_add(1, SeqCst);
        Self(state)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Given>, String> {
    let (head, body) = request.into_parts();
    state.seen.lock().unwrap().push(Seen {
        method: head.method.clone(),
        target: head.uri.to_string(),
        headers: head.headers.clone(),
        version: head.version,
    });
    match turn(&state, head.uri.path()) {
        Turn::Respond(response) => Ok(response),
        // A body that nobody reads would hide that the connection ends.
        Turn::Pace(response) => read(body, None).await.map(|_| response),
        Turn::Wait(_given_up) => std::future::pending().await,
        Turn::Echo(watcher) => {
            let body = read(body, watcher).await?;
            Ok(echo(&head, &body))
        }
        Turn::HangUp => Err("as the test says".to_owned()),
        Turn::Make => {
            let body = read(body, None).await?;
            let mut scripts = state.scripts.lock().unwrap();
            let Some(Script::Made(maker)) = scripts.get_mut(head.uri.path()) else {
                return Err("the script changed meanwhile".to_owned());
            };
            let (status, headers, body) = maker(&body);
            Ok(respond(status, &headers, Full::new(body).boxed_unsync()))
        }
    }
}

/// What to do with one request.
enum Turn {
    Respond(Response<Given>),
    Pace(Response<Given>),
    Wait(mpsc::Sender<()>),
    Echo(Option<mpsc::UnboundedSender<Bytes>>),
    Make,
    HangUp,
}

fn turn(state: &State, path: &str) -> Turn {
    match state.scripts.lock().unwrap().get_mut(path) {
        Some(Script::Fixed(status, headers, body)) => {
            Turn::Respond(respond(*status, headers, Full::new(body.clone()).boxed_unsync()))
        }
        Some(Script::Paced(headers, receiver)) => {
            let receiver = receiver.take().expect("one request for each paced stream");
            Turn::Pace(respond(200, headers, Fed(receiver).boxed_unsync()))
        }
        Some(Script::Silent(sender)) => Turn::Wait(sender.take().expect("one request")),
        Some(Script::Watched(sender)) => Turn::Echo(Some(sender.clone())),
        Some(Script::Made(_)) => Turn::Make,
        Some(Script::HungUp) => Turn::HangUp,
        None => Turn::Echo(None),
    }
}

fn echo(head: &http::request::Parts, body: &[u8]) -> Response<Given> {
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])
    };
    let headers: Vec<_> = head.headers.iter().map(pair).collect();
    let echo = json!({"method": head.method.as_str(), "target": head.uri.to_string(),
                      "headers": headers, "body": String::from_utf8_lossy(body)});
    let media = [("content-type".to_owned(), "application/json".to_owned())];
    respond(200, &media, Full::new(echo.to_string().into()).boxed_unsync())
}

async fn read(
    mut body: Incoming,
    watcher: Option<mpsc::UnboundedSender<Bytes>>,
) -> Result<Vec<u8>, String> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        let Ok(data) = frame.into_data() else { continue };
        whole.extend_from_slice(&data);
        if let Some(watcher) = &watcher {
            // The test may have seen enough.
            drop(watcher.send(data));
        }
    }
    if let Some(watcher) = &watcher {
        drop(watcher.send(Bytes::new()));
    }
    Ok(whole)
}

fn respond(status: u16, headers: &[(String, String)], body: Given) -> Response<Given> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(body).unwrap()
}

/// A service that reads one head per connection, writes `bytes` as they are and hangs up.
pub async fn blurts(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            read_head(&mut stream).await;
            // Whoever is not there any more needs no answer.
            drop(stream.write_all(bytes).await);
            drop(stream.shutdown().await);
        }
    });
    address
}

async fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
}
