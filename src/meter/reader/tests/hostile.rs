//! Answers that want to hurt, and numbers that are none.

use proptest::prelude::*;

use super::{Answer, Format, Framing, Reader, Usage};

const FRAMINGS: [Framing; 4] = [Framing::Json, Framing::Events, Framing::Lines, Framing::Frames];

/// What hostile answers are put together from.
const SCRAPS: &[&[u8]] = &[
    b"{\"usage\":{",
    b"\"prompt_tokens\":",
    b"\"choices\":[{",
    b"\"delta\":{\"content\":\"",
    b"\"type\":\"message_delta\",",
    b"data: ",
    b"\n\n",
    b"}",
    b"]",
    b"\"",
    b"12",
    b",",
    b":",
    b"\\ud83d",
    b"\\",
    b"\xf0\x9f",
    b"\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2\x48\xeb",
    b"\x7d\x98\xc8\xff",
    b"\"index\":4294967295",
    b"[DONE]",
    b"\r",
];

#[test]
fn numbers_that_are_none_are_as_if_they_were_not_there() {
    let read = |tokens: &str| {
        let body = format!(r#"{{"usage":{{"prompt_tokens":5,"completion_tokens":{tokens}}}}}"#);
        Answer::plain(Format::OpenAiChat, &body).read_at_every_split().reading.usage
    };
    let long = "9".repeat(10_000);
    for tokens in
        ["-1", "null", "true", "\"many\"", "{}", "[3]", "1e99", "NaN", "1000000000001", &long]
    {
        assert_eq!(read(tokens), Some(Usage { input: 5, ..Usage::default() }), "{tokens}");
    }
    for tokens in ["7", "7.0", "\"7\"", "70e-1", "6.1"] {
        assert_eq!(
            read(tokens),
            Some(Usage { input: 5, output: 7, ..Usage::default() }),
            "{tokens}"
        );
    }
}

#[test]
fn a_mark_before_a_document_hides_nothing() {
    let body = "\u{feff}{\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":4}}";
    let reading = Answer::plain(Format::OpenAiChat, body).read_at_every_split().reading;
    assert_eq!(reading.usage, Some(Usage { input: 5, output: 4, ..Usage::default() }));
    assert!(reading.complete);
}

#[test]
fn of_two_reports_under_one_key_the_last_counts_alone() {
    let body = r#"{"usage":{"prompt_tokens":9,"completion_tokens":9,"prompt_tokens_details":{"cached_tokens":3},"completion_tokens_details":{"reasoning_tokens":3}},"usage":{"prompt_tokens":5,"completion_tokens":4}}"#;
    let usage = Answer::plain(Format::OpenAiChat, body).read_at_every_split().reading.usage;
    assert_eq!(usage, Some(Usage { input: 5, output: 4, ..Usage::default() }));
}

#[test]
fn parts_that_contradict_their_whole_still_add_up_to_it() {
    let body = r#"{"usage":{"prompt_tokens":5,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":900000000000,"audio_tokens":3},"completion_tokens_details":{"reasoning_tokens":3,"audio_tokens":3}}}"#;
    let usage = Answer::plain(Format::OpenAiChat, body).read_at_every_split().reading.usage;
    let expected = Usage { cache_read: 5, reasoning: 3, output_audio: 1, ..Usage::default() };
    assert_eq!(usage, Some(expected));
}

#[test]
fn a_body_of_any_size_is_read_without_being_kept() {
    let mut reader = Reader::new(Format::OpenAiChat, Framing::Json);
    let mut told = 0_usize;
    let mut push = |bytes: &[u8]| reader.push(bytes, &mut |delta| told += delta.text.len());
    push(br#"{"choices":[{"message":{"content":""#);
    let text = vec![b'x'; 64 * 1024];
    (0..256).for_each(|_| push(&text));
    push(br#""}}],"deep":"#);
    let deep = vec![b'['; 64 * 1024];
    (0..64).for_each(|_| push(&deep));
    let up = vec![b']'; 64 * 1024];
    (0..64).for_each(|_| push(&up));
    push(br#","usage":{"prompt_tokens":1,"completion_tokens":2}}"#);
    assert_eq!(told, 16 * 1024 * 1024);
    let reading = reader.finish();
    assert_eq!(reading.usage, Some(Usage { input: 1, output: 2, ..Usage::default() }));
    assert!(reading.complete);
}

#[test]
fn bytes_that_are_no_utf_8_are_replaced_and_hide_nothing() {
    let body = b"{\"model\":\"\xff\",\"choices\":[{\"message\":{\"content\":\"a\xff\xfeb\"}}],\"usage\":{\"prompt_tokens\":3}}";
    let answer = Answer { format: Format::OpenAiChat, framing: Framing::Json, body: body.to_vec() };
    let read = answer.read_at_every_split();
    assert_eq!((read.text.as_str(), read.reading.model), ("a\u{fffd}\u{fffd}b", None));
    assert_eq!(read.reading.usage, Some(Usage { input: 3, ..Usage::default() }));
}

proptest! {
    #[test]
    fn nothing_panics_and_every_split_agrees(
        body in proptest::collection::vec(
            proptest::sample::select(SCRAPS),
            0..24,
        ),
        at in 0_usize..400,
    ) {
        let body = body.concat();
        for format in Format::ALL {
            for framing in FRAMINGS {
                let answer = Answer { format, framing, body: body.clone() };
                let (left, right) = body.split_at(at.min(body.len()));
                let whole = answer.read(&[&body]);
                prop_assert_eq!(&answer.read(&[left, right]), &whole);
            }
        }
    }

    #[test]
    fn classes_add_up_to_what_the_service_says(
        prompt in 0_u64..2_000, completion in 0_u64..2_000, cached in 0_u64..2_000, written in 0_u64..500,
        audio in 0_u64..500, reasoning in 0_u64..2_000, spoken in 0_u64..500, beyond in 0_u64..500,
    ) {
        let total = prompt + completion + beyond;
        let chat = format!(r#"{{"usage":{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":{cached},"cache_write_tokens":{written},"audio_tokens":{audio}}},"completion_tokens_details":{{"reasoning_tokens":{reasoning},"audio_tokens":{spoken}}}}}}}"#);
        let anthropic = format!(r#"{{"type":"message","usage":{{"input_tokens":{prompt},"output_tokens":{completion},"cache_read_input_tokens":{cached},"cache_creation_input_tokens":{written}}}}}"#);
        let gemini = format!(r#"{{"usageMetadata":{{"promptTokenCount":{prompt},"candidatesTokenCount":{completion},"cachedContentTokenCount":{cached},"thoughtsTokenCount":{reasoning},"toolUsePromptTokenCount":{beyond},"promptTokensDetails":[{{"modality":"AUDIO","tokenCount":{audio}}}]}}}}"#);
        for (format, body, sum) in [
            (Format::OpenAiChat, chat, total),
            (Format::Anthropic, anthropic, prompt + completion + cached + written),
            (Format::Gemini, gemini, prompt + completion + reasoning + beyond),
        ] {
            let usage = Answer::plain(format, &body).read(&[body.as_bytes()]).reading.usage;
            prop_assert_eq!(usage.map(|usage| usage.total()), Some(sum), "{}", body);
        }
    }
}
