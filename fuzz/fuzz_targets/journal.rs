//! Frames and records of the journal, names of the checkpoint.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir::ledger::fuzz::journal(bytes));
