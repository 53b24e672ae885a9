//! libFuzzer's entry to [`crossdock_fuzz::guard`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| crossdock_fuzz::guard(data));
