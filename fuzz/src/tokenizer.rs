//! tokenizer.json from anywhere: an error, or a tokenizer whose ids are below its size and no holes, and that decodes any id.

use diffulex::Error;
use diffulex::text::Tokenizer;
use diffulex::text::hf::HfTokenizer;
use std::sync::Once;

/// Strings that reach most of what a tokenizer can do.
const TEXTS: [&str; 4] =
    ["", "a b", "Hello, <|mask|> w\u{f6}rld!\n\n 12 it's", "\u{1f600}\u{0}\u{feff}e\u{301}"];

/// See the module.
pub fn check(data: &[u8]) {
    expect_panics();
    let tokenizer = match HfTokenizer::from_bytes("tokenizer.json", data) {
        Ok(tokenizer) => tokenizer,
        Err(error) => return assert!(matches!(error, Error::Text { .. } | Error::Json { .. }), "{error}"),
    };
    let holes = tokenizer.holes();
    assert!(holes.is_sorted() && holes.iter().all(|&id| (id as usize) < tokenizer.size()), "{holes:?}");
    let _ = tokenizer.mask_id(None, None);
    for text in TEXTS {
        let Ok(ids) = tokenizer.encode(text) else { continue };
        for &id in &ids {
            assert!((id as usize) < tokenizer.size(), "id {id} of {} ids", tokenizer.size());
            assert!(holes.binary_search(&id).is_err(), "id {id} is not a token");
        }
        let _ = tokenizer.decode(&ids, false);
    }
    let _ = tokenizer.decode(&[0, 1, 2, u32::MAX], true);
}

/// The fuzzer's hook ends the process at every panic; the tokenizers crate has some that our loader catches. Those that
/// nobody catches still end the run.
fn expect_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|info| eprintln!("{info}"))));
}
