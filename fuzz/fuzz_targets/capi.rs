#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| diffulex_fuzz::capi::check(data));
