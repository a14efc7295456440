//! A small sample agent: what `weir demo` stands in front of.
//!
//! Speaks enough of the OpenAI dialect for official SDKs, answers the routes of
//! the project's policy, leaks on purpose and streams slowly. It has no limits,
//! no CORS and no TLS: those are Weir's work.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::time::Interval;

/// The largest body that the agent reads.
const MAX_BODY: usize = 4 << 20;
const TOKEN_PACE: Duration = Duration::from_millis(40);
const SLOW_PACE: Duration = Duration::from_secs(1);

/// Starts the agent on a free port of the loopback interface, on a thread that ends with the process.
///
/// # Errors
/// When the system refuses a socket or a thread.
pub(super) fn start() -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("agent".into());
    thread.spawn(move || {
        runtime.block_on(async move {
            // The socket was made for this runtime a moment ago.
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let service =
                        service_fn(|request| async { Ok::<_, Infallible>(answer(request).await) });
                    let server = hyper::server::conn::http1::Builder::new();
                    // How a connection ends is no news for a sample.
                    drop(server.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
    })?;
    Ok(address)
}

async fn answer(request: Request<Incoming>) -> Response<Events> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let body = match Limited::new(request.into_body(), MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return whole(StatusCode::PAYLOAD_TOO_LARGE, &json!({"error": "too large"})),
    };
    let asked: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let last = path.rsplit('/').next().unwrap_or_default();
    match (&method, path.as_str(), last) {
        (&Method::POST, "/v1/chat/completions", _) => chat(&asked),
        (_, _, "leak") => leak(StatusCode::OK),
        (_, _, "crash") => leak(StatusCode::INTERNAL_SERVER_ERROR),
        (_, _, "slow") => slow(),
        (&Method::POST, _, "analyze" | "generate") => whole(
            StatusCode::OK,
            &json!({"status": "success", "kind": last, "path": path, "advice": "Drink some water."}),
        ),
        _ => whole(StatusCode::OK, &json!({"status": "ok", "path": path})),
    }
}

fn chat(asked: &Value) -> Response<Events> {
    let model = asked["model"].as_str().unwrap_or("sample");
    let words = ["Hello", " from", " the", " sample", " agent", "."];
    let usage = json!({"prompt_tokens": 8, "completion_tokens": 6, "total_tokens": 14});
    let frame = |object: &str, choice: Value| {
        json!({"id": "chatcmpl-sample", "object": object, "created": 1_767_225_600,
               "model": model, "choices": [choice]})
    };
    if asked["stream"] != Value::Bool(true) {
        let message = json!({"role": "assistant", "content": words.concat()});
        let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
        let mut answer = frame("chat.completion", choice);
        answer["usage"] = usage;
        return whole(StatusCode::OK, &answer);
    }
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        event(&frame("chat.completion.chunk", choice).to_string())
    };
    let mut events = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
    events.extend(words.iter().map(|word| chunk(json!({"content": word}), Value::Null)));
    events.push(chunk(json!({}), json!("stop")));
    events.push(event("[DONE]"));
    stream(events, TOKEN_PACE)
}

/// What a careless service says when its database is away.
fn leak(status: StatusCode) -> Response<Events> {
    let trace = "Traceback (most recent call last):\n  File \"/app/agents/memory.py\", line 41, in load\n    \
                 await pool.connect()\nConnectionError: could not connect to 10.0.12.7:5432";
    let answer = json!({
        "status": "success",
        "advice": "Drink some water.",
        "debug": trace,
        "database": "postgresql://coach:hunter2@10.0.12.7:5432/health",
        "key": format!("sk-{}", "demo0123456789abcdefghijklmnopqrstuvwxyz"),
    });
    whole(status, &answer)
}

fn slow() -> Response<Events> {
    stream((1..=10).map(|n| event(&format!("{{\"tick\":{n}}}"))).collect(), SLOW_PACE)
}

fn event(data: &str) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

fn whole(status: StatusCode, answer: &Value) -> Response<Events> {
    let mut response = Response::new(Events { left: vec![answer.to_string().into()], pace: None });
    *response.status_mut() = status;
    let media = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    let server = http::HeaderValue::from_static("sample-agent/1.0 (leaky)");
    response.headers_mut().insert(header::SERVER, server);
    response
}

fn stream(mut events: Vec<Bytes>, pace: Duration) -> Response<Events> {
    events.reverse();
    let body = Events { left: events, pace: Some(tokio::time::interval(pace)) };
    let mut response = Response::new(body);
    let media = http::HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    response
}

/// Pieces of a body, last first, one per tick.
struct Events {
    left: Vec<Bytes>,
    pace: Option<Interval>,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(pace) = &mut self.pace {
            ready!(pace.poll_tick(cx));
        }
        Poll::Ready(self.left.pop().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &self.pace {
            Some(_) => http_body::SizeHint::default(),
            None => http_body::SizeHint::with_exact(self.left.iter().map(|b| b.len() as u64).sum()),
        }
    }
}
