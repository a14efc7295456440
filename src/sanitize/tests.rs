//! Tests of the whole: every pack, every split, caps and hostile rules.

mod hostile;
mod negatives;
mod positives;
mod samples;
mod splits;

use std::sync::Arc;

use bytes::Bytes;

use super::{Hits, Pack, Redactor, Rule, Stream};

fn all_packs() -> Arc<Redactor> {
    Arc::new(Redactor::compile(&Pack::ALL, &[]).expect("the packs compile"))
}

fn rule(pattern: &str, replace: &str) -> Rule {
    Rule {
        name: format!("own {pattern}"),
        pattern: pattern.to_owned(),
        replace: replace.to_owned(),
    }
}

fn with_rules(packs: &[Pack], rules: &[Rule]) -> Arc<Redactor> {
    Arc::new(Redactor::compile(packs, rules).expect("the rules compile"))
}

fn whole(redactor: &Redactor, text: &[u8]) -> Vec<u8> {
    redactor.redact(text, &mut Hits::new()).into_owned()
}

fn streamed<'t>(
    redactor: &Arc<Redactor>,
    chunks: impl IntoIterator<Item = &'t [u8]>,
) -> (Vec<u8>, Hits) {
    let mut stream = Stream::new(redactor.clone());
    let mut text = Vec::new();
    for chunk in chunks {
        text.extend_from_slice(&stream.push(Bytes::copy_from_slice(chunk)));
    }
    text.extend_from_slice(&stream.finish());
    (text, stream.hits().clone())
}

/// The text as people see it in a failed test.
fn show(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}
