//! The redactor: a stream that is cut anywhere reads like the whole, and a clean text stays as it is.
#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use weir::sanitize::{Hits, Pack, Redactor, Rule, Stream};

static REDACTOR: LazyLock<Arc<Redactor>> = LazyLock::new(|| {
    let own = Rule {
        name: "employee".into(),
        pattern: r"EMP-\d{6}".into(),
        replace: "[employee]".into(),
    };
    Arc::new(Redactor::compile(&Pack::ALL, &[own]).expect("the rules compile"))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&first, text)) = bytes.split_first() else { return };
    let mut hits = Hits::new();
    let whole = REDACTOR.redact(text, &mut hits);
    for piece in [1, usize::from(first).max(1)] {
        let mut stream = Stream::new(Arc::clone(&REDACTOR));
        let mut out = Vec::new();
        for piece in text.chunks(piece) {
            out.extend_from_slice(&stream.push(Bytes::copy_from_slice(piece)));
        }
        out.extend_from_slice(&stream.finish());
        assert_eq!(out, *whole, "in pieces of {piece}");
        assert_eq!(stream.hits().total(), hits.total(), "in pieces of {piece}");
    }
});
