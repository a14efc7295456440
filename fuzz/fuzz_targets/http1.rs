//! Requests of HTTP/1: heads, lengths, chunks.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir::server::fuzz::http1(bytes));
