//! libFuzzer's entry to [`crossdock_fuzz::gro`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| crossdock_fuzz::gro(data));
