//! A token before its signature is looked at.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir::policy::jwt::fuzz::token(bytes));
