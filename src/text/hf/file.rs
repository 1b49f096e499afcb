//! [`Parts`]: a tokenizer's files, read.

use super::bpe;
use super::bytes::{byte_names, named_byte};
use super::guard::guarded;
use super::steps::Steps;
use super::vocabulary::{Vocabulary, named};
use super::{HfTokenizer, MAX_SIZE, text_error};
use crate::error::{Error, Result};
use crate::files::beside;
use crate::json::Value;
use crate::tensor::TokenId;
use std::collections::HashSet;
use std::path::Path;
use tokenizers::{AddedToken, Model, ModelWrapper};

/// A tokenizer under construction.
pub(super) struct Parts {
    model: ModelWrapper,
    /// Those of the model's tokens, if they are known: the model gives them only with a copy of all tokens.
    ids: Option<Vec<TokenId>>,
    steps: Steps,
    vocabulary: Vocabulary,
}

/// The part of a `tokenizer.json` that is read in one go.
#[derive(serde::Deserialize)]
struct ModelOnly {
    model: ModelWrapper,
}

/// Reads the contents of a `tokenizer.json`.
pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Parts> {
    // Our own reader first: it says where malformed JSON breaks.
    let mut json = Value::parse(file, bytes)?;
    match json.get("version").map(Value::as_str) {
        None | Some(Some("1.0")) => {}
        Some(_) => return Err(text_error(file, "`version` is not \"1.0\"")),
    }
    check_merges(file, &json)?;
    check_post_processor(&json).map_err(|what| text_error(file, format!("post_processor: {what}")))?;
    let steps = Steps::read(file, &json)?;
    let (model, ids) = guarded(file, "", || match take(&mut json, "model").and_then(bpe::build) {
        Some((model, ids)) => Ok((model.into(), Some(ids))),
        None => Ok((serde_json::from_slice::<ModelOnly>(bytes)?.model, None)),
    })?;
    let mut parts = Parts { ids, ..Parts::new(model, steps) };
    let added = json.get("added_tokens").filter(|value| !value.is_null());
    let added = added.map_or(Some(&[][..]), Value::as_array);
    let added = added.ok_or_else(|| text_error(file, "`added_tokens` is not a list"))?;
    let read = |value: &Value| -> Result<_> {
        let token =
            guarded(file, "added_tokens", || Ok(serde_json::from_str::<AddedToken>(&value.to_string())?))?;
        let id = value.get("id").and_then(Value::as_u64).and_then(|id| TokenId::try_from(id).ok());
        let id = id.ok_or_else(|| text_error(file, format!("added token `{}` has no id", token.content)))?;
        Ok((id, token))
    };
    let listed: Vec<_> = added.iter().map(read).collect::<Result<_>>()?;
    parts.vocabulary.add(file, listed, &parts.model, &parts.steps)?;
    Ok(parts)
}

/// Moves the value of `key` out of an object.
fn take(json: &mut Value, key: &str) -> Option<Value> {
    let Value::Object(entries) = json else { return None };
    let at = entries.iter().position(|(found, _)| found == key)?;
    Some(entries.swap_remove(at).1)
}

impl Parts {
    pub(super) fn new(mut model: ModelWrapper, steps: Steps) -> Self {
        // Randomness is meant for training.
        if let ModelWrapper::BPE(model) = &mut model {
            model.dropout = None;
        }
        Self { model, ids: None, steps, vocabulary: Vocabulary::new() }
    }

    /// Takes what the files next to `tokenizer.json` say about its tokens: added ones with their flags, and special ones. A token
    /// stays special if one of the files calls it so. Only where tokenizer_config.json lists no added tokens, the older files
    /// count: added_tokens.json and special_tokens_map.json.
    ///
    /// Source: transformers, `PreTrainedTokenizerBase._from_pretrained` and `PreTrainedTokenizerFast.__init__`.
    pub(super) fn configure(&mut self, dir: &Path) -> Result<()> {
        let read = |name: &str| -> Result<Option<(String, Value)>> {
            let Some(path) = beside(dir, name)? else { return Ok(None) };
            Ok(Some((path.display().to_string(), Value::read(&path)?)))
        };
        let (config, map) = (read("tokenizer_config.json")?, read("special_tokens_map.json")?);
        let listed = config.as_ref().and_then(|(file, value)| {
            Some((file, value.get("added_tokens_decoder").and_then(Value::entries)?))
        });
        if let Some((file, tokens)) = listed {
            self.add_listed(file, tokens)?;
        } else if let Some((file, value)) = read("added_tokens.json")? {
            let special = [&config, &map].into_iter().flatten().flat_map(|(_, value)| named(value)).collect();
            self.add_by_name(&file, &value, &special)?;
        }
        if let Some((file, value)) = &config {
            self.vocabulary.add_named(file, value, &self.model, &self.steps)?;
            let flag = |key: &str| value.get(key).and_then(Value::as_bool);
            self.vocabulary.plain.set_encode_special_tokens(flag("split_special_tokens").unwrap_or(false));
            flag("add_prefix_space").into_iter().for_each(|space| self.steps.set_first_space(space));
        }
        if let (Some((file, value)), None) = (&map, listed) {
            self.vocabulary.add_named(file, value, &self.model, &self.steps)?;
        }
        Ok(())
    }

    /// Adds the tokens of added_tokens.json, an object of tokens and their ids.
    fn add_by_name(&mut self, file: &str, listed: &Value, special: &HashSet<String>) -> Result<()> {
        let token = |(content, id): &(String, Value)| {
            let id = id.as_u64().and_then(|id| TokenId::try_from(id).ok())?;
            let special = special.contains(content);
            Some((id, AddedToken::from(content.as_str(), special).normalized(!special)))
        };
        let tokens: Option<Vec<_>> = listed.entries().and_then(|all| all.iter().map(token).collect());
        let mut tokens =
            tokens.ok_or_else(|| text_error(file, "expected an object of tokens and their ids"))?;
        // Those that tokenizer.json has added stay as they are.
        let known = self.vocabulary.plain.get_added_tokens_decoder();
        tokens.retain(|(_, token)| known.values().all(|known| known.content != token.content));
        tokens.sort_by_key(|(id, _)| *id);
        self.vocabulary.add(file, tokens, &self.model, &self.steps)
    }

    /// Adds the tokens of `added_tokens_decoder`, whose flags count.
    fn add_listed(&mut self, file: &str, listed: &[(String, Value)]) -> Result<()> {
        let mut tokens = Vec::new();
        for (id, token) in listed {
            let id: TokenId = id
                .parse()
                .map_err(|_| Error::config(file, "added_tokens_decoder", format!("`{id}` is not an id")))?;
            let flag = |key: &str| token.get(key).and_then(Value::as_bool);
            let content = token.get("content").and_then(Value::as_str).unwrap_or("");
            let special = flag("special").unwrap_or(false);
            let added = AddedToken::from(content, special)
                .single_word(flag("single_word").unwrap_or(false))
                .lstrip(flag("lstrip").unwrap_or(false))
                .rstrip(flag("rstrip").unwrap_or(false))
                .normalized(flag("normalized").unwrap_or(!special));
            tokens.push((id, added));
        }
        // Ids are given out in the order of addition, so that order must be the listed one, without gaps.
        tokens.sort_by_key(|(id, _)| *id);
        self.vocabulary.add(file, tokens, &self.model, &self.steps)
    }

    pub(super) fn finish(self, file: &str) -> Result<HfTokenizer> {
        let Self { model, ids, steps, vocabulary } = self;
        let mut known = ids.unwrap_or_else(|| model.get_vocab().into_values().collect());
        let added = vocabulary.plain.get_vocab();
        known.extend(added.values());
        known.sort_unstable();
        let size = known.last().map_or(0, |id| *id as usize + 1);
        if size > MAX_SIZE {
            return Err(text_error(file, format!("token id {}, expected ids below {MAX_SIZE}", size - 1)));
        }
        let mut bytes = Vec::new();
        if steps.joins_bytes() {
            bytes = byte_names().filter_map(|name| model.token_to_id(&name)).collect();
            bytes.extend(added.iter().filter(|(token, _)| named_byte(token).is_some()).map(|(_, id)| id));
            bytes.sort_unstable();
        }
        let mut known = known.into_iter().peekable();
        let mut holes = Vec::new();
        for id in 0..size as TokenId {
            match known.peek() {
                Some(&next) if next == id => while known.next_if_eq(&id).is_some() {},
                _ => holes.push(id),
            }
        }
        Ok(HfTokenizer { file: file.to_owned(), model, steps, vocabulary, size, holes, bytes })
    }
}

/// Refuses merges whose second part does not hold the prefix that is cut off it: the tokenizers crate cuts bytes, whatever they are.
fn check_merges(file: &str, json: &Value) -> Result<()> {
    let Some(model) = json.get("model") else { return Ok(()) };
    let prefix = model.get("continuing_subword_prefix").and_then(Value::as_str).unwrap_or("");
    let merges = model.get("merges").and_then(Value::as_array).unwrap_or(&[]);
    for merge in merges.iter().filter(|_| !prefix.is_empty()) {
        let second = match merge.as_array() {
            Some(pair) => pair.get(1).and_then(Value::as_str),
            None => merge.as_str().and_then(|pair| pair.split_once(' ')).map(|(_, second)| second),
        };
        // Others are the reader's to refuse.
        let Some(second) = second else { continue };
        if second.len() < prefix.len() || !second.is_char_boundary(prefix.len()) {
            let what = format!(
                "model: the merge {merge} has a second part without the continuing_subword_prefix `{prefix}`"
            );
            return Err(text_error(file, what));
        }
    }
    Ok(())
}

/// Refuses a post-processor that does more than add tokens, which ours leaves out: one that drops or repeats the text.
fn check_post_processor(json: &Value) -> std::result::Result<(), String> {
    fn check(value: &Value) -> std::result::Result<(), String> {
        match value.get("type").and_then(Value::as_str) {
            Some("Sequence") => {
                let steps = value.get("processors").and_then(Value::as_array);
                steps.ok_or("a sequence without `processors`")?.iter().try_for_each(check)
            }
            Some("TemplateProcessing") => {
                let pieces =
                    value.get("single").and_then(Value::as_array).ok_or("a template without `single`")?;
                let texts: Vec<_> =
                    pieces.iter().filter_map(|piece| piece.get("Sequence")?.get("id")?.as_str()).collect();
                if texts == ["A"] {
                    Ok(())
                } else {
                    Err(format!("the template holds the text {} times", texts.len()))
                }
            }
            Some("BertProcessing" | "RobertaProcessing" | "ByteLevel") => Ok(()),
            Some(other) => Err(format!("the type `{other}` is not supported")),
            None => Err("it has no type".into()),
        }
    }
    json.get("post_processor").filter(|value| !value.is_null()).map_or(Ok(()), check)
}
