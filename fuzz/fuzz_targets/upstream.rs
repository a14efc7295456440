//! An upstream's answer over HTTP/1, and its first frame over HTTP/2.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir::upstream::fuzz::answer(bytes));
