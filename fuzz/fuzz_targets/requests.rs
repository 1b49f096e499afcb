#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| diffulex_fuzz::requests::check(data));
