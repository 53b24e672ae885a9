//! libFuzzer's entry to [`crossdock_fuzz::parse`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| crossdock_fuzz::parse(data));
