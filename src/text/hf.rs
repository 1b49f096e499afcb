//! [`HfTokenizer`]: the tokenizer of a checkpoint, from `tokenizer.json` or from the older pair `vocab.json` and `merges.txt`.
//!
//! Published Dream checkpoints have only the pair, and code in another language that puts it together; what that code builds
//! is Qwen2's byte-level BPE, written here in `byte_level_bpe`.

use super::{Control, Tokenizer, special_token};
use crate::error::{Error, Result};
use crate::files::{beside, read_text};
use crate::json::Value;
use crate::tensor::TokenId;
use guard::{Failure, guarded};
use std::collections::HashMap;
use std::path::Path;
use steps::Steps;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::{AddedVocabulary, Model, ModelWrapper, OffsetType, PreTokenizedString};
use vocabulary::Vocabulary;

mod bpe;
mod bytes;
mod file;
mod guard;
mod regex;
mod steps;
mod vocabulary;

/// How Qwen2 splits a string into words before BPE: contractions, words with one character before them, single digits,
/// punctuation, line ends, spaces.
pub const QWEN2_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Ids at and above this number are refused: no vocabulary is this large, and tables are sized by the highest id.
const MAX_SIZE: usize = 1 << 24;

/// A tokenizer in the Hugging Face format.
///
/// It gives the ids and the text that Python's tokenizers package gives. Settings of the file that are meant for training
/// (truncation, padding, dropout) have no effect, and neither do the tokens that a post-processor adds nor
/// `clean_up_tokenization_spaces`, which versions of transformers treat differently.
pub struct HfTokenizer {
    file: String,
    model: ModelWrapper,
    steps: Steps,
    vocabulary: Vocabulary,
    size: usize,
    holes: Vec<TokenId>,
    /// Tokens of one byte that are text only together with their neighbours, ascending.
    bytes: Vec<TokenId>,
}

impl HfTokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Format`] if it cannot be read, [`Error::Text`] if it is not a tokenizer.
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::from_bytes(&path.display().to_string(), &read_text(path)?)
    }

    /// Takes the contents of a `tokenizer.json`; `file` names it in errors.
    ///
    /// # Errors
    /// [`Error::Text`] if it is not a tokenizer.
    pub fn from_bytes(file: &str, bytes: &[u8]) -> Result<Self> {
        file::read(file, bytes)?.finish(file)
    }

    /// The tokenizer of a checkpoint directory: `tokenizer.json`, else `vocab.json` with `merges.txt`, with the added tokens of
    /// `tokenizer_config.json` and the tokens that it, or `special_tokens_map.json`, calls special.
    ///
    /// # Errors
    /// [`Error::Text`] if neither is there or one is malformed, or if an added token cannot have the id that it is listed with.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let lists = || Ok((beside(dir, "vocab.json")?, beside(dir, "merges.txt")?));
        let (file, mut parts) = if let Some(json) = beside(dir, "tokenizer.json")? {
            let file = json.display().to_string();
            let parts = file::read(&file, &read_text(&json)?)?;
            (file, parts)
        } else if let (Some(vocab), Some(merges)) = lists()? {
            (vocab.display().to_string(), byte_level_bpe(&vocab, &merges)?)
        } else {
            let what = "no tokenizer.json, and no vocab.json with merges.txt";
            return Err(text_error(&dir.display().to_string(), what));
        };
        parts.configure(dir)?;
        parts.finish(&file)
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
            // A name that this tokenizer does not know says nothing; the next source may still name it.
            if let Some(id) = special_token(config, "mask_token").and_then(|token| self.id_of(token)) {
                return Ok(Some(id));
            }
        }
        let added = self.vocabulary.plain.get_added_tokens_decoder();
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

    /// The ids of a string whose added tokens `added` finds.
    fn ids(&self, added: &AddedVocabulary, text: &str) -> std::result::Result<Vec<TokenId>, Failure> {
        let normalizer = self.steps.normalizer(text.len());
        let mut pieces: PreTokenizedString = added.extract_and_normalize(Some(&normalizer), text);
        normalizer.finish()?;
        self.steps.cut(&mut pieces)?;
        pieces.tokenize(|word| self.model.tokenize(word.get()))?;
        Ok(pieces.into_encoding(None, 0, OffsetType::None)?.get_ids().to_vec())
    }

    /// The spelling of the token with this id, if there is one.
    fn token(&self, id: TokenId) -> Option<String> {
        let added = self.vocabulary.plain.get_added_tokens_decoder().get(&id);
        added.map(|token| token.content.clone()).or_else(|| self.model.id_to_token(id))
    }
}

impl Tokenizer for HfTokenizer {
    fn encode(&self, text: &str) -> Result<Vec<TokenId>> {
        guarded(&self.file, "", || self.ids(&self.vocabulary.plain, text))
    }

    fn decode(&self, ids: &[TokenId], skip_special: bool) -> Result<String> {
        let shown = |token: &String| !skip_special || !self.vocabulary.plain.is_special_token(token);
        let tokens = ids.iter().filter_map(|&id| self.token(id)).filter(shown).collect();
        guarded(&self.file, "decoder", || self.steps.decode(tokens))
    }

    fn size(&self) -> usize {
        self.size
    }

    fn holes(&self) -> &[TokenId] {
        &self.holes
    }

    fn id_of(&self, token: &str) -> Option<TokenId> {
        self.vocabulary.plain.token_to_id(token, &self.model)
    }

    fn control(&self) -> Vec<(String, TokenId)> {
        self.vocabulary.control(is_mask)
    }

    fn encode_apart(&self, text: &str, control: &[Control], tokens: &[TokenId]) -> Result<Vec<TokenId>> {
        guarded(&self.file, "", || {
            let find = |added: &AddedVocabulary, text: &str, ids: &HashMap<TokenId, TokenId>| {
                let found = self.ids(added, text)?;
                Ok(found.into_iter().map(|id| ids.get(&id).copied().unwrap_or(id)).collect())
            };
            self.vocabulary.apart(text, control, tokens, &self.model, &self.steps, find)
        })
    }

    fn is_byte(&self, id: TokenId) -> bool {
        self.bytes.binary_search(&id).is_ok()
    }

    fn bytes(&self) -> Option<Vec<Vec<u8>>> {
        self.bytes_of_tokens()
    }
}

impl std::fmt::Debug for HfTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HfTokenizer({}, {} ids)", self.file, self.size)
    }
}

fn text_error(file: &str, what: impl ToString) -> Error {
    Error::Text { file: file.to_owned(), what: what.to_string() }
}

/// Whether a token is enclosed in markers and has "mask" as a word of its own.
fn is_mask(token: &str) -> bool {
    let inner = token.trim_matches(['<', '>', '|', '[', ']']);
    inner.len() + 2 <= token.len() && inner.split(['_', '▁']).any(|word| word.eq_ignore_ascii_case("mask"))
}

/// Qwen2's tokenizer from its two files, which may lie at any path: NFC, words by [`QWEN2_WORDS`], BPE on bytes.
fn byte_level_bpe(vocab: &Path, merges: &Path) -> Result<file::Parts> {
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
    guarded(&file, "", || {
        let model = BPE::builder().vocab_and_merges(tokens, pairs).build()?;
        Ok(file::Parts::new(model.into(), Steps::byte_level(QWEN2_WORDS)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_told_from_other_tokens() {
        for token in
            ["<|mask|>", "<|MASK|>", "|<MASK>|", "<|mdm_mask|>", "[MASK]", "<mask>", "<[MASK▁TOKEN]>"]
        {
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
            error.contains("added token `<x>` is listed with id 6, but the next free id is 3"),
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
