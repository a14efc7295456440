//! Frames of a WebSocket, from either side.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir::proxy::fuzz::websocket(bytes));
