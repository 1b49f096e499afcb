//! The BPE model of a `tokenizer.json`, from the values that are parsed already.
//!
//! The tokenizers crate can read it, too, but for that it parses the text a second time and makes two more trees of it, as it
//! finds out which kind of model it is. With 150 000 tokens that is most of the time that opening a model takes.

use crate::json::Value;
use crate::tensor::TokenId;
use tokenizers::models::bpe::{BPE, Merges, Vocab};

/// The model and the ids of its tokens; the tokens and merges are moved out of `model`. `None` where anything is not as in published files, or does not fit
/// together: then the crate has to read it, and says what is wrong.
pub(super) fn build(model: Value) -> Option<(BPE, Vec<TokenId>)> {
    let Value::Object(entries) = model else { return None };
    let (mut builder, mut is_bpe, mut vocab, mut merges) = (BPE::builder(), false, None, None);
    for (key, value) in entries {
        builder = match (key.as_str(), value) {
            ("type", value) => {
                is_bpe = value.as_str() == Some("BPE");
                builder
            }
            ("vocab", value) => {
                vocab = tokens(value);
                builder
            }
            ("merges", value) => {
                merges = pairs(value);
                builder
            }
            ("unk_token", Value::String(token)) => builder.unk_token(token),
            ("continuing_subword_prefix", Value::String(prefix)) => builder.continuing_subword_prefix(prefix),
            ("end_of_word_suffix", Value::String(suffix)) => builder.end_of_word_suffix(suffix),
            ("fuse_unk", Value::Bool(on)) => builder.fuse_unk(on),
            ("byte_fallback", Value::Bool(on)) => builder.byte_fallback(on),
            ("ignore_merges", Value::Bool(on)) => builder.ignore_merges(on),
            (key, value) if value.is_null() || !OPTIONS.contains(&key) => builder,
            _ => return None,
        };
    }
    let vocab = vocab.filter(|_| is_bpe)?;
    let ids = vocab.values().copied().collect();
    Some((builder.vocab_and_merges(vocab, merges?).build().ok()?, ids))
}

/// What the crate reads of a model in addition to its type, tokens and merges.
const OPTIONS: [&str; 7] = [
    "dropout",
    "unk_token",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "fuse_unk",
    "byte_fallback",
    "ignore_merges",
];

/// An object of tokens and their ids.
fn tokens(value: Value) -> Option<Vocab> {
    let Value::Object(entries) = value else { return None };
    entries.into_iter().map(|(token, id)| Some((token, id.as_number()?.text().parse().ok()?))).collect()
}

/// A list of pairs, or in older files of two tokens and a space between.
fn pairs(value: Value) -> Option<Merges> {
    let Value::Array(merges) = value else { return None };
    // The crate does not accept a mixture.
    let is_old = matches!(merges.first(), Some(Value::String(_)));
    let pair = |merge| match merge {
        Value::Array(pair) if !is_old => match <[Value; 2]>::try_from(pair) {
            Ok([Value::String(first), Value::String(second)]) => Some((first, second)),
            _ => None,
        },
        // A line that begins this way is a comment of an even older form.
        Value::String(line) if is_old && !line.starts_with("#version") => {
            let (first, second) = line.split_once(' ').filter(|(_, second)| !second.contains(' '))?;
            Some((first.to_owned(), second.to_owned()))
        }
        _ => None,
    };
    merges.into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::ModelWrapper;

    /// What is made of a model here, if anything, and what the crate makes of it.
    fn both(text: &str) -> (Option<ModelWrapper>, Option<ModelWrapper>) {
        let here = build(Value::parse("test", text.as_bytes()).unwrap());
        let here = here.map(|(model, mut ids)| {
            let mut known: Vec<_> = tokenizers::Model::get_vocab(&model).into_values().collect();
            known.sort_unstable();
            ids.sort_unstable();
            assert_eq!(ids, known);
            model.into()
        });
        (here, serde_json::from_str(text).ok())
    }

    #[test]
    fn a_model_is_the_one_that_the_crate_reads() {
        for name in ["dream-f32", "llada2-f32", "sdar-f32", "stable-diffcoder-f32"] {
            let text = std::fs::read(format!("tests/golden/{name}/tokenizer.json")).unwrap();
            let file = Value::parse(name, &text).unwrap();
            let model = file.get("model").unwrap().to_string();
            let (here, theirs) = both(&model);
            assert!(here.is_some() && here == theirs, "{name}");
        }
        let model = |rest: &str| format!(r#"{{"type":"BPE","vocab":{{"a":0,"b":1,"ab":2,"c d":3}},{rest}}}"#);
        let good = [
            r#""merges":[["a","b"]]"#,
            r#""merges":["a b"]"#,
            r#""merges":[]"#,
            r#""merges":[],"dropout":null,"unk_token":null,"fuse_unk":null,"more":[1]"#,
            r#""merges":[],"unk_token":"a","fuse_unk":true,"byte_fallback":true,"ignore_merges":true"#,
            r#""merges":[["a","b"]],"continuing_subword_prefix":"","end_of_word_suffix":"b""#,
        ];
        for rest in good {
            let (here, theirs) = both(&model(rest));
            assert!(here.is_some() && here == theirs, "{rest}");
        }
    }

    /// Then the crate reads it, or says what is wrong.
    #[test]
    fn what_is_unusual_is_left_to_the_crate() {
        let vocab = r#""vocab":{"a":0,"b":1,"ab":2}"#;
        let merges = r#""merges":[["a","b"]]"#;
        let unusual = [
            format!("{{{vocab},{merges}}}"),
            format!(r#"{{"type":"WordLevel",{vocab},"unk_token":"a"}}"#),
            format!(r#"{{"type":"BPE",{vocab}}}"#),
            format!(r#"{{"type":"BPE",{merges}}}"#),
            format!(r#"{{"type":"BPE",{vocab},"merges":[["a","x"]]}}"#),
            format!(r#"{{"type":"BPE",{vocab},"merges":[["a","b"],"a b"]}}"#),
            format!(r#"{{"type":"BPE",{vocab},"merges":["a b",["a","b"]]}}"#),
            format!(r#"{{"type":"BPE",{vocab},"merges":["a b b"]}}"#),
            format!(r#"{{"type":"BPE",{vocab},"merges":["ab"]}}"#),
            format!(r#"{{"type":"BPE",{vocab},"merges":[["a","b","a"]]}}"#),
            format!(r##"{{"type":"BPE",{vocab},"merges":["#version: 0.2","a b"]}}"##),
            format!(r#"{{"type":"BPE",{vocab},{merges},"dropout":0.1}}"#),
            format!(r#"{{"type":"BPE",{vocab},{merges},"unk_token":1}}"#),
            format!(r#"{{"type":"BPE",{vocab},{merges},"fuse_unk":"yes"}}"#),
            r#"{"type":"BPE","vocab":{"a":1.0},"merges":[]}"#.into(),
            r#"{"type":"BPE","vocab":{"a":-1},"merges":[]}"#.into(),
            r#"{"type":"BPE","vocab":[["a",1]],"merges":[]}"#.into(),
            "[]".into(),
        ];
        for text in unusual {
            assert!(both(&text).0.is_none(), "{text}");
        }
    }
}
