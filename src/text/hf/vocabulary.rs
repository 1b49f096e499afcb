//! [`Vocabulary`]: the tokens that were added to a model's own, found in the text before anything else.

use super::guard::Failure;
use super::steps::Steps;
use crate::error::{Error, Result};
use crate::json::Value;
use crate::tensor::TokenId;
use crate::text::{Control, unused};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokenizers::{AddedToken, AddedVocabulary, Model, ModelWrapper};

/// The names under which `tokenizer_config.json` and `special_tokens_map.json` call a token special.
const NAMES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The added tokens of a tokenizer.
pub(super) struct Vocabulary {
    /// As the reference has them.
    pub(super) plain: AddedVocabulary,
    /// The last one that was made for text with marked control tokens.
    marked: Mutex<Option<Arc<Marked>>>,
}

/// The same tokens, but some of them under names that do not occur in text.
struct Marked {
    tokens: Vec<TokenId>,
    /// Begins and ends each of these names.
    mark: char,
    added: AddedVocabulary,
    /// Its own ids, and those of the tokenizer.
    ids: HashMap<TokenId, TokenId>,
}

impl Vocabulary {
    pub(super) fn new() -> Self {
        Self { plain: AddedVocabulary::new(), marked: Mutex::new(None) }
    }

    /// Adds tokens with the ids that they are listed with.
    ///
    /// # Errors
    /// If a token gets another id: ids are given out in the order of addition, without gaps.
    pub(super) fn add(
        &mut self,
        file: &str,
        listed: Vec<(TokenId, AddedToken)>,
        model: &ModelWrapper,
        steps: &Steps,
    ) -> Result<()> {
        super::guard::guarded(file, "added tokens", || {
            let tokens = listed.iter().map(|(_, token)| token.clone());
            add(&mut self.plain, tokens.collect(), model, steps)
        })?;
        for (id, token) in listed.iter().filter(|(_, token)| !token.content.is_empty()) {
            let content = &token.content;
            let found = self.plain.token_to_id(content, model);
            if found != Some(*id) {
                let found = found.map_or_else(|| "none".into(), |id| id.to_string());
                let what = format!(
                    "added token `{content}` is listed with id {id}, but the next free id is {found}: ids are given out without a gap"
                );
                return Err(Error::Text { file: file.to_owned(), what });
            }
        }
        Ok(())
    }

    /// Gives the tokens that `config` calls special that flag.
    pub(super) fn add_named(
        &mut self,
        file: &str,
        config: &Value,
        model: &ModelWrapper,
        steps: &Steps,
    ) -> Result<()> {
        let known = |name: String| {
            let id = self.plain.token_to_id(&name, model)?;
            let added = self.plain.get_added_tokens_decoder().get(&id).cloned();
            Some((id, added.unwrap_or_else(|| AddedToken::from(name, true)).special(true)))
        };
        let tokens = named(config).into_iter().filter_map(known).collect();
        self.add(file, tokens, model, steps)
    }

    /// The special tokens and those that `also` takes, by id.
    pub(super) fn control(&self, also: impl Fn(&str) -> bool) -> Vec<(String, TokenId)> {
        let added = self.plain.get_added_tokens_decoder().iter();
        let control = |content: &str| self.plain.is_special_token(content) || also(content);
        let mut tokens: Vec<_> = added
            .filter(|(_, token)| control(&token.content))
            .map(|(&id, token)| (token.content.clone(), id))
            .collect();
        tokens.sort_by_key(|(_, id)| *id);
        tokens
    }

    /// Finds the added tokens in a string, of `tokens` only those in `control`: gives `find` a string, the vocabulary for it and the
    /// ids that this vocabulary has others for.
    pub(super) fn apart<T>(
        &self,
        text: &str,
        control: &[Control],
        tokens: &[TokenId],
        model: &ModelWrapper,
        steps: &Steps,
        find: impl FnOnce(&AddedVocabulary, &str, &HashMap<TokenId, TokenId>) -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        let marked = self.marked(text, tokens, model, steps)?;
        let (mut named, mut from) = (String::with_capacity(text.len()), 0);
        for (range, id) in control {
            named.push_str(&text[from..range.start]);
            named.push_str(&name(marked.mark, *id));
            from = range.end;
        }
        named.push_str(&text[from..]);
        find(&marked.added, &named, &marked.ids)
    }

    fn marked(
        &self,
        text: &str,
        tokens: &[TokenId],
        model: &ModelWrapper,
        steps: &Steps,
    ) -> std::result::Result<Arc<Marked>, Failure> {
        let mut kept = self.marked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.tokens == tokens && !text.contains(kept.mark)) {
            return Ok(Arc::clone(kept));
        }
        let mark = unused(|c| text.contains(c)).ok_or("the text has every character for private use")?;
        let plain = self.plain.get_added_tokens_decoder();
        let mut all: Vec<_> = plain.iter().map(|(&id, token)| (id, token.clone())).collect();
        all.sort_by_key(|(id, _)| *id);
        for (id, token) in all.iter_mut().filter(|(id, _)| tokens.contains(id)) {
            token.content = name(mark, *id);
        }
        let mut added = AddedVocabulary::new();
        add(&mut added, all.iter().map(|(_, token)| token.clone()).collect(), model, steps)?;
        let mut ids = HashMap::new();
        for (id, token) in all {
            let new = added.token_to_id(&token.content, model).ok_or("a token was not added")?;
            // An id of the model's own would be taken for the added token's.
            if new != id && model.id_to_token(new).is_some() {
                return Err("its ids have gaps that hide a token of the model".into());
            }
            ids.insert(new, id);
        }
        let marked = Arc::new(Marked { tokens: tokens.to_vec(), mark, added, ids });
        *kept = Some(Arc::clone(&marked));
        Ok(marked)
    }
}

/// The tokens that `config` calls special, by name or in a list.
pub(super) fn named(config: &Value) -> Vec<String> {
    let content = |value: &Value| Some(value.as_str().or_else(|| value.get("content")?.as_str())?.to_owned());
    let mut names: Vec<_> = NAMES.iter().filter_map(|name| content(config.get(name)?)).collect();
    let lists = ["additional_special_tokens", "extra_special_tokens"].map(|key| config.get(key));
    for list in lists.into_iter().flatten() {
        names.extend(list.as_array().unwrap_or(&[]).iter().filter_map(content));
        names.extend(list.entries().unwrap_or(&[]).iter().filter_map(|(_, value)| content(value)));
    }
    names
}

/// A name for a token that does not occur in text without `mark`.
fn name(mark: char, id: TokenId) -> String {
    format!("{mark}{id}{mark}")
}

fn add(
    added: &mut AddedVocabulary,
    tokens: Vec<AddedToken>,
    model: &ModelWrapper,
    steps: &Steps,
) -> std::result::Result<(), Failure> {
    let normalizer = steps.normalizer(tokens.iter().map(|token| token.content.len()).sum());
    let done = added.add_tokens(tokens, model, Some(&normalizer));
    normalizer.finish()?;
    done.map(|_| ())
}
