//! libFuzzer's entry to [`crossdock_fuzz::fields`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| crossdock_fuzz::fields(data));
