//! A byte-level BPE vocabulary of pronounceable words, of any size, in the format of `tokenizer.json`.
//!
//! ```text
//! 256 bytes   then   ka (k+a)   then   _ka (_+ka)   then   _kalo (_ka+lo)   then   _kalomi (_kalo+mi)   ...
//! ```
//!
//! `_` is the space before a word. A merge joins a consonant and a vowel, or puts a syllable at the end of a word's
//! start; no other pair merges, so every word is reached and encodes to one token.

use diffulex_cli::presets::Special;
use serde_json::{Value, json};

const CONSONANTS: &[u8] = b"bcdfghjklmnpqrstvwyz";
const VOWELS: &[u8] = b"aeiou";
const SYLLABLES: usize = CONSONANTS.len() * VOWELS.len();

/// How byte-level BPE writes a space.
const SPACE: char = '\u{120}';

/// Words of equal length appear in steps of this prime, so that few of them share their start.
const STRIDE: usize = 7919;

/// A merge: the spellings of its two parts.
type Merge = (String, String);

/// How a byte is written in the vocabulary: itself if printable, else one of the characters from U+0100 on.
fn byte_chars() -> Vec<char> {
    let printable = |b: &u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let plain = (0..=u8::MAX).filter(printable).map(char::from);
    // The order of ids in every such vocabulary: printable bytes first.
    let shifted = (0..=u8::MAX).filter(|b| !printable(b)).zip('\u{100}'..).map(|(_, c)| c);
    plain.chain(shifted).collect()
}

/// Syllable number `i`.
fn syllable(i: usize) -> String {
    let (consonant, vowel) = (CONSONANTS[i / VOWELS.len()], VOWELS[i % VOWELS.len()]);
    [char::from(consonant), char::from(vowel)].iter().collect()
}

/// The first `count` merges in order of rank.
fn merges(count: usize) -> Vec<Merge> {
    let parts = (0..SYLLABLES).map(|i| {
        let syllable = syllable(i);
        (syllable[..1].to_owned(), syllable[1..].to_owned())
    });
    let starts = (0..SYLLABLES).map(|i| (SPACE.to_string(), syllable(i)));
    let mut merges: Vec<Merge> = parts.chain(starts).take(count).collect();
    // Every generation of words is a syllable longer than the last.
    let mut words: Vec<String> = (0..SYLLABLES).map(|i| format!("{SPACE}{}", syllable(i))).collect();
    while merges.len() < count {
        let total = words.len() * SYLLABLES;
        let wanted = total.min(count - merges.len());
        // The stride shares no factor with the total, a power of SYLLABLES, so no word comes twice.
        let longer = (0..wanted).map(|i| i * STRIDE % total);
        let new: Vec<Merge> =
            longer.map(|i| (words[i / SYLLABLES].clone(), syllable(i % SYLLABLES))).collect();
        words = new.iter().map(|(start, end)| format!("{start}{end}")).collect();
        merges.extend(new);
    }
    merges
}

/// `tokenizer.json` with `words` ids of bytes and words, followed by `specials`. `qwen` selects how text is cut into words.
///
/// # Panics
/// If `words` is below 256: there is a token for every byte.
pub(crate) fn tokenizer_json(words: usize, specials: &[Special], qwen: bool) -> Value {
    assert!(words >= 256, "{words} tokens are not enough for every byte");
    let merges = merges(words - 256);
    let mut vocab = serde_json::Map::new();
    let bytes = byte_chars().into_iter().map(String::from);
    let joined = merges.iter().map(|(left, right)| format!("{left}{right}"));
    for (id, token) in bytes.chain(joined).enumerate() {
        vocab.insert(token, id.into());
    }
    let added: Vec<Value> = specials
        .iter()
        .map(|special| {
            json!({
                "id": special.id, "content": special.content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": special.special,
            })
        })
        .collect();
    let byte_level = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    let split = json!({
        "type": "Split",
        "pattern": {"Regex": diffulex::text::hf::QWEN2_WORDS},
        "behavior": "Isolated",
        "invert": false,
    });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": if qwen { json!({"type": "NFC"}) } else { Value::Null },
        "pre_tokenizer": if qwen {
            json!({"type": "Sequence", "pretokenizers": [split, byte_level(false)]})
        } else {
            byte_level(true)
        },
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": vocab,
            "merges": merges,
        },
    })
}
