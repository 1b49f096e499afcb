//! [`HfTokenizer`]: the tokenizer of a checkpoint, from `tokenizer.json` or from the older pair `vocab.json` and `merges.txt`.
//!
//! Published Dream checkpoints have only the pair, and code for another language that puts it together; what that code builds
//! is Qwen2's byte-level BPE, written here in `byte_level_bpe`.

use super::{Tokenizer, special_token};
use crate::error::{Error, Result};
use crate::files::{beside, read_text};
use crate::json::Value;
use crate::tensor::TokenId;
use std::path::Path;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

/// How Qwen2 cuts a text into words before BPE: contractions, words with one character before them, single digits,
/// punctuation, line ends, spaces.
pub const QWEN2_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Ids at and above this number are refused: no vocabulary is this large, and tables are sized by the highest id.
const MAX_SIZE: usize = 1 << 24;

/// A tokenizer in the Hugging Face format.
pub struct HfTokenizer {
    file: String,
    inner: tokenizers::Tokenizer,
    size: usize,
    holes: Vec<TokenId>,
}

impl HfTokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Format`] if it cannot be read, [`Error::Text`] if it is no tokenizer.
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::from_bytes(&path.display().to_string(), &read_text(path)?)
    }

    /// Takes the contents of a `tokenizer.json`; `file` names it in errors.
    ///
    /// # Errors
    /// [`Error::Text`] if it is no tokenizer.
    pub fn from_bytes(file: &str, bytes: &[u8]) -> Result<Self> {
        Self::new(file.to_owned(), parse(file, bytes)?)
    }

    /// The tokenizer of a checkpoint directory: `tokenizer.json`, else `vocab.json` with `merges.txt`, and the added tokens of
    /// `tokenizer_config.json`.
    ///
    /// # Errors
    /// [`Error::Text`] if neither is there or one is malformed, or if an added token cannot have the id that it is listed with.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let lists = || Ok((beside(dir, "vocab.json")?, beside(dir, "merges.txt")?));
        let (file, mut inner) = if let Some(json) = beside(dir, "tokenizer.json")? {
            let file = json.display().to_string();
            let inner = parse(&file, &read_text(&json)?)?;
            (file, inner)
        } else if let (Some(vocab), Some(merges)) = lists()? {
            (vocab.display().to_string(), byte_level_bpe(&vocab, &merges)?)
        } else {
            let what = "no tokenizer.json, and no vocab.json with merges.txt";
            return Err(text_error(&dir.display().to_string(), what));
        };
        if let Some(config) = beside(dir, "tokenizer_config.json")? {
            add_listed(&mut inner, &config)?;
        }
        Self::new(file, inner)
    }

    fn new(file: String, mut inner: tokenizers::Tokenizer) -> Result<Self> {
        // A file may ask for cut or padded encodings, which are meant for training.
        inner.with_truncation(None).map_err(|e| text_error(&file, e))?.with_padding(None);
        let mut ids: Vec<TokenId> = inner.get_vocab(true).into_values().collect();
        ids.sort_unstable();
        let size = ids.last().map_or(0, |&id| id as usize + 1);
        if size > MAX_SIZE {
            return Err(text_error(&file, format!("token id {}, expected ids below {MAX_SIZE}", size - 1)));
        }
        let mut known = ids.into_iter().peekable();
        let mut holes = Vec::new();
        for id in 0..size as TokenId {
            match known.peek() {
                Some(&next) if next == id => while known.next_if_eq(&id).is_some() {},
                _ => holes.push(id),
            }
        }
        Ok(Self { file, inner, size, holes })
    }

    /// The mask token: what `special_tokens_map.json` names, else what `tokenizer_config.json` names, else the one added token
    /// that is written like a mask, such as `<|mask|>`, `|<MASK>|` or `[MASK]`. `None` if there is none of these.
    ///
    /// # Errors
    /// [`Error::Text`] if several added tokens are written like a mask.
    pub fn mask_id(
        &self,
        tokenizer_config: Option<&Value>,
        special_tokens_map: Option<&Value>,
    ) -> Result<Option<TokenId>> {
        for config in [special_tokens_map, tokenizer_config].into_iter().flatten() {
            // A name that this tokenizer does not know says nothing; the next source may still do.
            if let Some(id) = special_token(config, "mask_token").and_then(|token| self.id_of(token)) {
                return Ok(Some(id));
            }
        }
        let added = self.inner.get_added_tokens_decoder();
        let mut masks: Vec<_> = added.iter().filter(|(_, token)| is_mask(&token.content)).collect();
        masks.sort_by_key(|(id, _)| **id);
        match masks[..] {
            [] => Ok(None),
            [(&id, _)] => Ok(Some(id)),
            _ => {
                let names: Vec<_> =
                    masks.iter().map(|(id, token)| format!("`{}` ({id})", token.content)).collect();
                Err(text_error(
                    &self.file,
                    format!("several tokens look like the mask token: {}", names.join(", ")),
                ))
            }
        }
    }
}

impl Tokenizer for HfTokenizer {
    fn encode(&self, text: &str) -> Result<Vec<TokenId>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|e| text_error(&self.file, e))?;
        Ok(encoding.get_ids().to_vec())
    }

    fn decode(&self, ids: &[TokenId], skip_special: bool) -> Result<String> {
        self.inner.decode(ids, skip_special).map_err(|e| text_error(&self.file, e))
    }

    fn size(&self) -> usize {
        self.size
    }

    fn holes(&self) -> &[TokenId] {
        &self.holes
    }

    fn id_of(&self, token: &str) -> Option<TokenId> {
        self.inner.token_to_id(token)
    }
}

impl std::fmt::Debug for HfTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HfTokenizer({}, {} ids)", self.file, self.size)
    }
}

/// Reads the contents of a `tokenizer.json`.
fn parse(file: &str, bytes: &[u8]) -> Result<tokenizers::Tokenizer> {
    // Our own reader first: it says where a malformed text breaks.
    let json = Value::parse(file, bytes)?;
    let tokenizer = guarded(file, || tokenizers::Tokenizer::from_bytes(bytes))?;
    // The tokenizers crate numbers added tokens itself, whatever id is listed, unless the model knows them too.
    for token in json.get("added_tokens").and_then(Value::as_array).unwrap_or(&[]) {
        let content = token.get("content").and_then(Value::as_str).unwrap_or("");
        let (listed, found) = (token.get("id").and_then(Value::as_u64), tokenizer.token_to_id(content));
        if !content.is_empty() && listed != found.map(u64::from) {
            let [listed, found] =
                [listed, found.map(u64::from)].map(|id| id.map_or("none".into(), |id| id.to_string()));
            let what = format!(
                "added token `{content}` is listed with id {listed}, but ids without a gap give it {found}"
            );
            return Err(text_error(file, what));
        }
    }
    Ok(tokenizer)
}

/// Runs a loader of the tokenizers crate, which panics on some malformed files (it unwraps parts of them).
fn guarded(
    file: &str,
    load: impl FnOnce() -> tokenizers::Result<tokenizers::Tokenizer>,
) -> Result<tokenizers::Tokenizer> {
    // Unwind safe: what a panic leaves half built is dropped with the closure.
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(load)) {
        Ok(loaded) => loaded.map_err(|e| text_error(file, e)),
        Err(_) => Err(text_error(file, "malformed tokenizer")),
    }
}

fn text_error(file: &str, what: impl ToString) -> Error {
    Error::Text { file: file.to_owned(), what: what.to_string() }
}

/// Whether a token stands between markers and has "mask" as a word of its own.
fn is_mask(token: &str) -> bool {
    let inner = token.trim_matches(['<', '>', '|', '[', ']']);
    inner.len() + 2 <= token.len() && inner.split('_').any(|word| word.eq_ignore_ascii_case("mask"))
}

/// Qwen2's tokenizer from its two files, which may lie at any path.
fn byte_level_bpe(vocab: &Path, merges: &Path) -> Result<tokenizers::Tokenizer> {
    let file = vocab.display().to_string();
    let json = Value::parse(&file, &read_text(vocab)?)?;
    let id = |(token, id): &(String, Value)| Some((token.clone(), TokenId::try_from(id.as_u64()?).ok()?));
    let tokens: Option<Vocab> = json.entries().and_then(|all| all.iter().map(id).collect());
    let tokens = tokens.ok_or_else(|| text_error(&file, "expected an object of tokens and their ids"))?;

    let file = merges.display().to_string();
    let text = String::from_utf8(read_text(merges)?).map_err(|e| text_error(&file, e.utf8_error()))?;
    let mut pairs = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with("#version")) {
        let pair = line.split_once(' ').filter(|(_, second)| !second.contains(' '));
        let (first, second) = pair.ok_or_else(|| {
            text_error(&file, format!("line {number}: expected two tokens and a space between"))
        })?;
        pairs.push((first.to_string(), second.to_string()));
    }
    guarded(&file, || qwen2(tokens, pairs))
}

/// NFC, words by [`QWEN2_WORDS`], BPE on bytes.
fn qwen2(vocab: Vocab, merges: Vec<(String, String)>) -> tokenizers::Result<tokenizers::Tokenizer> {
    let bpe = BPE::builder().vocab_and_merges(vocab, merges).build()?;
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    let words = Split::new(SplitPattern::Regex(QWEN2_WORDS.into()), SplitDelimiterBehavior::Isolated, false)?;
    tokenizer.with_normalizer(Some(NFC))?;
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![
        words.into(),
        ByteLevel::new(false, true, false).into(),
    ])));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    Ok(tokenizer)
}

/// Adds the tokens of `added_tokens_decoder` that the tokenizer does not have yet.
fn add_listed(tokenizer: &mut tokenizers::Tokenizer, config: &Path) -> Result<()> {
    let (file, value) = (config.display().to_string(), Value::read(config)?);
    let Some(listed) = value.get("added_tokens_decoder").and_then(Value::entries) else {
        return Ok(());
    };
    let flag = |token: &Value, key: &str| token.get(key).and_then(Value::as_bool).unwrap_or(false);
    let mut tokens = Vec::new();
    for (id, token) in listed {
        let id: TokenId = id
            .parse()
            .map_err(|_| Error::config(&file, "added_tokens_decoder", format!("`{id}` is no id")))?;
        let content = token.get("content").and_then(Value::as_str).unwrap_or("");
        if tokenizer.token_to_id(content).is_none() {
            let added = AddedToken::from(content, flag(token, "special"))
                .single_word(flag(token, "single_word"))
                .lstrip(flag(token, "lstrip"))
                .rstrip(flag(token, "rstrip"))
                .normalized(flag(token, "normalized"));
            tokens.push((id, added));
        }
    }
    // Ids are given out in the order of addition, so that order must be the listed one, without gaps.
    tokens.sort_by_key(|(id, _)| *id);
    for (id, token) in tokens {
        let content = token.content.clone();
        tokenizer.add_tokens([token]).map_err(|e| text_error(&file, e))?;
        let found = tokenizer.token_to_id(&content);
        if found != Some(id) {
            let what =
                format!("added token `{content}` is listed with id {id}, but the next free id is {found:?}");
            return Err(text_error(&file, what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_told_from_other_tokens() {
        for token in ["<|mask|>", "<|MASK|>", "|<MASK>|", "<|mdm_mask|>", "[MASK]", "<mask>"] {
            assert!(is_mask(token), "{token}");
        }
        for token in ["mask", "<|unmask|>", "<|im_end|>", "<|masking|>", "|mask", "<>", ""] {
            assert!(!is_mask(token), "{token}");
        }
    }

    /// Three words and these added tokens, which the model knows, too.
    fn tokenizer(added: &[(TokenId, &str)]) -> Result<HfTokenizer> {
        let known: String = added.iter().map(|(id, token)| format!(r#","{token}":{id}"#)).collect();
        with_vocabulary(&known, added)
    }

    fn with_vocabulary(known: &str, added: &[(TokenId, &str)]) -> Result<HfTokenizer> {
        let added: Vec<_> = added
            .iter()
            .map(|(id, token)| {
                format!(
                    r#"{{"id":{id},"content":"{token}","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}}"#
                )
            })
            .collect();
        let text = format!(
            r#"{{"version":"1.0","added_tokens":[{}],"normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":null,
            "truncation":{{"direction":"Right","max_length":1,"strategy":"LongestFirst","stride":0}},
            "model":{{"type":"WordLevel","vocab":{{"a":0,"b":1,"c":4{known}}},"unk_token":"a"}}}}"#,
            added.join(",")
        );
        HfTokenizer::from_bytes("test", text.as_bytes())
    }

    #[test]
    fn size_is_one_past_the_highest_id_and_holes_are_known() {
        let tokenizer = tokenizer(&[(6, "<x>")]).unwrap();
        assert_eq!((tokenizer.size(), tokenizer.holes()), (7, &[2, 3, 5][..]));
        assert_eq!(tokenizer.id_of("<x>"), Some(6));
        assert_eq!(tokenizer.id_of("<y>"), None);
    }

    #[test]
    fn truncation_in_the_file_is_ignored() {
        assert_eq!(tokenizer(&[(5, "<x>")]).unwrap().encode("b<x>c").unwrap(), [1, 5, 4]);
    }

    #[test]
    fn an_added_token_has_its_listed_id_or_is_an_error() {
        assert_eq!(with_vocabulary("", &[(3, "<x>")]).unwrap().id_of("<x>"), Some(3));
        let error = with_vocabulary("", &[(6, "<x>")]).unwrap_err().to_string();
        assert!(
            error.contains("added token `<x>` is listed with id 6, but") && error.ends_with(" 3"),
            "{error}"
        );
    }

    #[test]
    fn an_absurd_id_is_an_error() {
        let error = tokenizer(&[(4_000_000_000, "<x>")]).unwrap_err().to_string();
        assert!(error.starts_with("test: token id 4000000000"), "{error}");
    }

    #[test]
    fn the_mask_is_looked_up_in_order() {
        let json = |text: &str| Value::parse("test", text.as_bytes()).unwrap();
        let two = tokenizer(&[(5, "<|mask|>"), (6, "[MASK]"), (7, "<m>")]).unwrap();
        let map = json(r#"{"mask_token": {"content": "[MASK]"}}"#);
        let config = json(r#"{"mask_token": "<m>"}"#);
        let unknown = json(r#"{"mask_token": "<other>"}"#);
        let none = json(r#"{"mask_token": null}"#);
        assert_eq!(two.mask_id(Some(&config), Some(&map)).unwrap(), Some(6));
        assert_eq!(two.mask_id(Some(&config), None).unwrap(), Some(7));
        assert_eq!(two.mask_id(Some(&config), Some(&unknown)).unwrap(), Some(7));
        let error = two.mask_id(Some(&none), Some(&unknown)).unwrap_err().to_string();
        assert!(
            error.ends_with("several tokens look like the mask token: `<|mask|>` (5), `[MASK]` (6)"),
            "{error}"
        );
        let one = tokenizer(&[(5, "<|mdm_mask|>")]).unwrap();
        assert_eq!(one.mask_id(None, None).unwrap(), Some(5));
        assert_eq!(tokenizer(&[(5, "<x>")]).unwrap().mask_id(None, None).unwrap(), None);
    }
}
