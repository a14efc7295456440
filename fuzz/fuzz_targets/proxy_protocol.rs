//! The header of the PROXY protocol, both versions.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir::server::fuzz::proxy_protocol(bytes));
