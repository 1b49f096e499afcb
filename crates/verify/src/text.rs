//! Recorded chat renderings, encodings and whole answers, from text to text.

use super::recorded;
use super::recording::{Recording, ids, text, whole};
use super::{Outcome, traces};
use diffulex::engine::Engine;
use diffulex::error::Result;
use diffulex::json::Value;
use diffulex::tensor::TokenId;
use diffulex::text::{Message, Template, Tokenizer};
use std::path::Path;

type Check<T> = std::result::Result<T, String>;

/// The tokenizer and the chat template of a checkpoint.
pub struct Text {
    /// Its tokenizer.
    pub tokenizer: Box<dyn Tokenizer>,
    /// The mask that the tokenizer names, which is used where the config names none.
    pub mask: Option<TokenId>,
    /// Its chat template, if it has one, or what is wrong with it.
    pub template: Result<Option<Box<dyn Template>>>,
}

/// Opens the [`Text`] of the checkpoint in a directory. The library of this crate cannot read a tokenizer by itself.
pub type OpenText = fn(&Path) -> Result<Text>;

/// Why an entry is not compared.
const WHY: &str = "this build reads no tokenizer";

pub(super) fn run(recording: &Recording, engine: &Engine, text: Option<&Text>, outcomes: &mut Vec<Outcome>) {
    let entries = ["chat", "encode", "end_to_end"].map(|key| (key, recording.entries(key)));
    for (kind, entries) in entries {
        for (i, entry) in entries.iter().enumerate() {
            let name = format!("{kind}.{i}");
            let Some(text) = text else {
                outcomes.push(Outcome::skipped(name, kind, WHY));
                continue;
            };
            let check = match kind {
                "chat" => text.chat(entry).map(|()| None),
                "encode" => text.encode(entry).map(|()| None),
                _ => text.end_to_end(engine, entry),
            };
            outcomes.push(match check {
                Ok(Some(why)) => Outcome::skipped(name, kind, why),
                other => Outcome::new(name, kind, other.map(|_| ())),
            });
        }
    }
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, ours: &T, theirs: &T) -> Check<()> {
    if ours == theirs { Ok(()) } else { Err(format!("{what} is {ours:?}, {theirs:?} recorded")) }
}

impl Text {
    fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Check<String> {
        let template = self.template.as_ref().map_err(ToString::to_string)?;
        let template = template.as_ref().ok_or("there is no chat template")?;
        template.render(messages, add_generation_prompt).map_err(|e| e.to_string())
    }

    fn ids_of(&self, text: &str) -> Check<Vec<TokenId>> {
        self.tokenizer.encode(text).map_err(|e| e.to_string())
    }

    fn decodes(&self, entry: &Value, ids: &[TokenId]) -> Check<()> {
        for (key, skip_special) in
            [("decoded_skip_special", true), ("decoded_keep_special", false), ("decoded", false)]
        {
            if entry.get(key).is_some() {
                let ours = self.tokenizer.decode(ids, skip_special).map_err(|e| e.to_string())?;
                equal(key, &ours.as_str(), &text(entry, key)?)?;
            }
        }
        Ok(())
    }

    fn chat(&self, entry: &Value) -> Check<()> {
        let messages = entry.get("messages").and_then(Value::as_array).ok_or("`messages` is missing")?;
        let message = |m: &Value| Ok(Message::new(text(m, "role")?, text(m, "content")?));
        let messages: Vec<Message> = messages.iter().map(message).collect::<Check<_>>()?;
        let generation_prompt = entry.get("add_generation_prompt").and_then(Value::as_bool).unwrap_or(false);
        let rendered = self.render(&messages, generation_prompt)?;
        equal("rendered", &rendered.as_str(), &text(entry, "rendered")?)?;
        let ids = ids(entry.get("token_ids"), "token_ids")?;
        equal("token_ids", &self.ids_of(&rendered)?, &ids)?;
        self.decodes(entry, &ids)
    }

    fn encode(&self, entry: &Value) -> Check<()> {
        let ids = ids(entry.get("token_ids"), "token_ids")?;
        equal("token_ids", &self.ids_of(text(entry, "text")?)?, &ids)?;
        self.decodes(entry, &ids)
    }

    /// From a question to an answer. A recording whose answer changes under noise in the logits may differ.
    fn end_to_end(&self, engine: &Engine, entry: &Value) -> Check<Option<String>> {
        let question = Message::new("user", text(entry, "text")?);
        let rendered = self.render(&[question], true)?;
        equal("rendered", &rendered.as_str(), &text(entry, "rendered")?)?;
        let prompt = self.ids_of(&rendered)?;
        equal("prompt_ids", &prompt, &ids(entry.get("prompt_ids"), "prompt_ids")?)?;
        let params = entry.get("params").ok_or("`params` is missing")?;
        let recorded = recorded::policy(text(entry, "function")?, params, prompt.len())?;
        let replayed = traces::replay(engine, &recorded, &prompt, 0, None, None)?;
        let theirs = ids(entry.get("new_ids"), "new_ids")?;
        let same = equal("new_ids", &replayed.returned[prompt.len()..].to_vec(), &theirs)
            .and_then(|()| equal("num_forwards", &replayed.passes, &whole(entry, "num_forwards")?));
        self.decodes(entry, &theirs)?;
        let robust = entry.get("robust_to_1e-3_logit_noise").and_then(Value::as_bool) != Some(false);
        match same {
            Err(error) if !robust => Ok(Some(format!("differs, but is recorded as not robust: {error}"))),
            other => other.map(|()| None),
        }
    }
}
