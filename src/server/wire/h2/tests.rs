//! What is counted and what is cut, at every split.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Connection, Stuck, frames::kind, goaway, reset};
use crate::telemetry::Violation;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const RATE: u64 = 240;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

fn update(stream: u32, octets: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &octets.to_be_bytes())
}

fn initial_window(octets: u32) -> Vec<u8> {
    frame(kind::SETTINGS, 0, 0, &[&[0, 4][..], &octets.to_be_bytes()].concat())
}

fn get(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, b"head")
}

fn answer(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS, stream, b"head")
}

/// Our answer, in whole.
fn whole(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, b"head")
}

struct Talk {
    connection: Connection,
    now: Instant,
}

impl Talk {
    fn begin() -> Self {
        let now = Instant::now();
        let mut connection = Connection::new(64 << 10, RATE, now);
        connection.received(PREFACE, now).expect("a preface");
        Self { connection, now }
    }

    fn hears(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        self.connection.received(bytes, self.now)
    }

    fn says(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        self.connection.sent(bytes, self.now)
    }

    fn waits(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// How many of these in a row pass, of at most `most`.
    fn bears(&mut self, most: usize, bytes: impl Fn(u32) -> Vec<u8>) -> (usize, Option<Violation>) {
        for n in 0..most {
            let id = u32::try_from(n).expect("few") * 2 + 1;
            if let Err(violation) = self.hears(&bytes(id)) {
                return (n, Some(violation));
            }
        }
        (most, None)
    }
}

#[test]
fn floods_of_control_frames_end_at_their_limits() {
    type Made = fn(u32) -> Vec<u8>;
    let floods: [(Violation, usize, Made); 9] = [
        (Violation::Pings, 100, |_| frame(kind::PING, 0, 0, &[0; 8])),
        (Violation::Settings, 50, |_| frame(kind::SETTINGS, 0, 0, &[])),
        (Violation::Settings, 50, |_| frame(kind::SETTINGS, 1, 0, &[])),
        (Violation::EmptyData, 100, |_| frame(kind::DATA, 0, 1, &[])),
        (Violation::Priorities, 100, |_| frame(kind::PRIORITY, 0, 1, &[0; 5])),
        (Violation::OtherFrames, 100, |_| frame(0xbe, 0, 0, &[])),
        (Violation::OtherFrames, 100, |_| frame(kind::GOAWAY, 0, 0, &[0; 8])),
        (Violation::WindowUpdates, 100, |_| update(0, 1_000)),
        (Violation::WindowUpdates, 100, |_| update(1, 1)),
    ];
    for (kind, most, made) in floods {
        let mut talk = Talk::begin();
        assert_eq!(talk.bears(1_000, made), (most, Some(kind)));
    }
}

#[test]
fn an_update_of_a_wrong_length_counts_the_same_however_it_is_cut() {
    let long = frame(kind::WINDOW_UPDATE, 0, 0, &[0; 8_000]);
    for piece in [1, 4, 8_009] {
        let mut talk = Talk::begin();
        for piece in long.chunks(piece) {
            talk.hears(piece).expect("one frame is no flood");
        }
    }
}

#[test]
fn what_comes_over_a_longer_time_is_no_flood() {
    let mut talk = Talk::begin();
    for _ in 0..20 {
        assert_eq!(talk.bears(50, |_| frame(kind::PING, 0, 0, &[0; 8])), (50, None));
        talk.waits(1);
    }
}

#[test]
fn rapid_resets_end_before_many_requests_began() {
    let mut talk = Talk::begin();
    let rapid = |id| [get(id), reset(id, super::Reason::Cancel).to_vec()].concat();
    assert_eq!(talk.bears(20_000, rapid), (50, Some(Violation::Resets)));
}

#[test]
fn a_client_that_takes_answers_may_give_up_on_some() {
    let mut talk = Talk::begin();
    for n in 0..2_000_u32 {
        let id = n * 2 + 1;
        talk.hears(&get(id)).expect("a request");
        match n % 8 {
            0 => talk.hears(&reset(id, super::Reason::Cancel)).expect("one of eight"),
            _ => talk.says(&whole(id)).expect("an answer"),
        }
        if n % 100 == 0 {
            talk.waits(1);
        }
    }
}

#[test]
fn resets_that_a_client_provokes_are_counted_and_ours_are_not() {
    let protocol_error = |id: u32| {
        let mut frame = reset(id, super::Reason::ProtocolError);
        frame[12] = 1;
        frame
    };
    let mut talk = Talk::begin();
    let provoked = (0..1_000_u32).find(|n| {
        let id = n * 2 + 1;
        talk.hears(&get(id)).expect("a request");
        talk.says(&protocol_error(id)).is_err()
    });
    assert_eq!(provoked, Some(500));

    let mut talk = Talk::begin();
    for n in 0..2_000_u32 {
        talk.hears(&get(n * 2 + 1)).expect("a request");
        talk.says(&reset(n * 2 + 1, super::Reason::Cancel)).expect("our own doing");
    }
}

#[test]
fn a_header_block_has_few_frames_and_octets() {
    let mut talk = Talk::begin();
    talk.hears(&frame(kind::HEADERS, END_STREAM, 1, b"a")).expect("a beginning");
    let more = |_| frame(kind::CONTINUATION, 0, 1, &[]);
    assert_eq!(talk.bears(100, more), (20, Some(Violation::HeaderBlock)));

    let mut talk = Talk::begin();
    talk.hears(&frame(kind::HEADERS, END_STREAM, 1, b"a")).expect("a beginning");
    let more = |_| frame(kind::CONTINUATION, 0, 1, &[0; 16_384]);
    assert_eq!(talk.bears(100, more), (3, Some(Violation::HeaderBlock)));
}

#[test]
fn streams_that_nobody_may_open_are_bounded() {
    let mut talk = Talk::begin();
    assert_eq!(talk.bears(5_000, get), (1_024, Some(Violation::Streams)));
}

#[test]
fn updates_that_our_data_may_have_caused_are_no_flood() {
    let mut talk = Talk::begin();
    talk.hears(&get(1)).expect("a request");
    talk.says(&answer(1)).expect("an answer");
    for _ in 0..1_000 {
        talk.says(&frame(kind::DATA, 0, 1, &[0; 1_000])).expect("data");
        talk.hears(&[update(0, 1_000), update(1, 1_000)].concat()).expect("taken");
    }
}

#[test]
fn a_client_that_does_not_speak_http2_is_found_at_its_first_octet() {
    let now = Instant::now();
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"PRI * HTTP/1.1\r\n", b"\0"] {
        let mut connection = Connection::new(64 << 10, RATE, now);
        assert_eq!(connection.received(bytes, now), Err(Violation::Preface));
    }
}

#[test]
fn a_head_that_is_not_complete_is_owed_and_a_body_is_not() {
    let mut talk = Talk::begin();
    let began = Some(talk.now);
    for owed in [
        frame(kind::HEADERS, END_STREAM, 1, b"block"),
        get(1)[..11].to_vec(),
        get(1)[..4].to_vec(),
        frame(kind::PING, 0, 0, &[0; 8])[..12].to_vec(),
    ] {
        let mut talk = Talk { now: talk.now, ..Talk::begin() };
        talk.hears(&owed).expect("a beginning");
        assert_eq!(talk.connection.owes_since(), began, "{owed:?}");
        assert!(!talk.connection.may_be_told());
    }
    talk.hears(&frame(kind::HEADERS, 0, 1, b"block")).expect("a beginning");
    talk.waits(1);
    talk.hears(&frame(kind::CONTINUATION, END_HEADERS, 1, b"end")).expect("its end");
    assert_eq!(talk.connection.owes_since(), None);
    talk.hears(&frame(kind::DATA, 0, 1, b"body")[..10]).expect("a beginning");
    assert_eq!(talk.connection.owes_since(), None);
}

#[test]
fn a_stream_without_a_window_is_given_up_and_others_are_not() {
    let mut talk = Talk::begin();
    talk.hears(&initial_window(0)).expect("settings");
    talk.hears(&[get(1), get(3), get(5), update(3, 1_000)].concat()).expect("requests");
    talk.says(&[answer(1), answer(3)].concat()).expect("answers");
    talk.waits(9);
    assert_eq!(talk.connection.stuck(talk.now), None);
    talk.waits(2);
    assert_eq!(talk.connection.stuck(talk.now), Some(Stuck::Stream(1)));
    talk.connection.forget(1);
    talk.waits(3_600);
    assert_eq!(talk.connection.stuck(talk.now), None, "3 has room, 5 has no answer");
    assert_eq!(talk.connection.patience_ends(), None);
}

#[test]
fn a_window_that_drips_is_given_up_and_one_that_flows_is_not() {
    for (octets, gives_up) in [(1, true), (500, false)] {
        let mut talk = Talk::begin();
        talk.hears(&initial_window(0)).expect("settings");
        talk.hears(&get(1)).expect("a request");
        talk.says(&answer(1)).expect("an answer");
        let stuck = (0..120).find(|_| {
            talk.waits(1);
            let stuck = talk.connection.stuck(talk.now).is_some();
            talk.hears(&update(1, octets)).expect("an update");
            talk.says(&frame(kind::DATA, 0, 1, &vec![0; octets as usize])).expect("data");
            stuck
        });
        assert_eq!(stuck.is_some(), gives_up, "{octets}: {stuck:?}");
    }
}

#[test]
fn a_connection_without_a_window_is_given_up_a_little_later() {
    let mut talk = Talk::begin();
    talk.hears(&[initial_window(1 << 20), get(1)].concat()).expect("a request");
    talk.says(&answer(1)).expect("an answer");
    for _ in 0..5 {
        talk.says(&frame(kind::DATA, 0, 1, &[0; 13_107])).expect("data");
    }
    talk.waits(13);
    assert_eq!(talk.connection.stuck(talk.now), None);
    talk.waits(1);
    assert_eq!(talk.connection.stuck(talk.now), Some(Stuck::Connection));
}

#[test]
fn our_own_frames_are_what_the_standard_says() {
    assert_eq!(goaway(7, super::Reason::EnhanceYourCalm).to_vec(), {
        frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 7, 0, 0, 0, 0xb])
    });
    assert_eq!(reset(9, super::Reason::Cancel).to_vec(), {
        frame(kind::RST_STREAM, 0, 9, &[0, 0, 0, 8])
    });
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..20);
    (0..12_u8, prop::sample::select(vec![0, 1, 4, 5]), 0..8_u32, payload)
        .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload))
}

proptest! {
    #[test]
    fn it_makes_no_difference_how_the_frames_come(
        input in prop::collection::vec(any_frame(), 0..40),
        output in prop::collection::vec(any_frame(), 0..40),
    ) {
        let (mut whole, mut split) = (Talk::begin(), Talk::begin());
        split.now = whole.now;
        for (input, output) in input.iter().zip(&output) {
            prop_assert_eq!(whole.says(output), output.iter().try_for_each(|o| split.says(&[*o])));
            let heard = whole.hears(input);
            prop_assert_eq!(heard, input.iter().try_for_each(|o| split.hears(&[*o])));
            let later = whole.now + Duration::from_secs(20);
            prop_assert_eq!(whole.connection.stuck(later), split.connection.stuck(later));
            prop_assert!(whole.connection.may_speak() && split.connection.may_speak());
            if heard.is_err() {
                break;
            }
        }
    }
}
