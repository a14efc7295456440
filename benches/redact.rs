//! Measures compile time, table size and clean-text throughput of the redactor.
//! Each figure is the best of many short runs, so that other work on the machine counts little.
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use weir::sanitize::{Hits, Pack, Redactor, Rule, Stream};

fn main() {
    for packs in Pack::ALL.iter().map(std::slice::from_ref).chain([&Pack::ALL[..]]) {
        let time = best(20, || drop(black_box(Redactor::compile(packs, &[]))));
        let redactor = Redactor::compile(packs, &[]).expect("the packs compile");
        println!("{packs:?}: compiled in {time:?}, {} KiB", redactor.memory_usage() >> 10);
    }
    let own = Rule {
        name: "employee".into(),
        pattern: r"EMP-\d{6}".into(),
        replace: "[employee]".into(),
    };
    measure("packs", Redactor::compile(&Pack::ALL, &[]).expect("the packs compile"));
    measure(
        "packs and an own rule",
        Redactor::compile(&Pack::ALL, &[own]).expect("the rule compiles"),
    );
}

fn measure(name: &str, redactor: Redactor) {
    println!("{name}:");
    let redactor = Arc::new(redactor);
    let event = concat!(
        r#"data: {"id":"chatcmpl-9xK2","object":"chat.completion.chunk","choices":[{"delta":{"content":" quarter"}}]}"#,
        "\n\n"
    );
    let record = r#"{"name":"Ada Lovelace","tags":["math","poetry"],"score":0.97,"note":"The quick brown fox, jumps over 13 lazy dogs."},"#;
    let json = record.repeat(600);
    for (name, text) in [
        ("64 B", &json[..64]),
        ("1 KiB", &json[..1024]),
        ("64 KiB", &json[..65536]),
        ("SSE event", event),
    ] {
        let text = Bytes::copy_from_slice(text.as_bytes());
        let rounds = (1 << 18) / text.len();
        let mut stream = Stream::new(redactor.clone());
        let streamed = best(100, || {
            for _ in 0..rounds {
                black_box(stream.push(text.clone()));
            }
        });
        let mut hits = Hits::new();
        let whole = best(100, || {
            for _ in 0..rounds {
                black_box(redactor.redact(&text, &mut hits));
            }
        });
        let bytes = (rounds * text.len()) as f64;
        let rate = |time: Duration| bytes / time.as_secs_f64() / 1e6;
        println!(
            "  {name} ({} B): stream {:.0} MB/s ({:.0} ns), whole {:.0} MB/s; held {}, hits {}",
            text.len(),
            rate(streamed),
            streamed.as_nanos() as f64 / rounds as f64,
            rate(whole),
            stream.held(),
            hits.total()
        );
    }
}

fn best(runs: u32, mut run: impl FnMut()) -> Duration {
    let timed = (0..runs).map(|_| {
        let begin = Instant::now();
        run();
        begin.elapsed()
    });
    timed.min().unwrap_or_default()
}
