//! [`Prompt`]: the ids of text, of a conversation, or of text with a gap.

use super::messages::Talk;
use super::{Model, gaps};
use crate::error::{Error, Result};
use crate::json::Value;
use crate::tensor::TokenId;
use crate::text::Message;
use std::ops::Range;

/// The key of a message that names what the model called.
const CALLS: &str = "tool_calls";

/// A prompt, ready to be decoded from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids, masks included.
    pub ids: Vec<TokenId>,
    /// Whether the answer is written as ids, too.
    pub as_ids: bool,
    /// The gap before a suffix, as positions: only what fills it is the answer.
    pub gap: Option<Range<usize>>,
}

impl Prompt {
    /// Ids as they are; the answer is written as ids.
    ///
    /// # Errors
    /// [`Error::Option`] if there are none.
    pub fn of_ids(ids: Vec<TokenId>) -> Result<Self> {
        Ok(Self { as_ids: true, ..Self::new(ids)? })
    }

    fn new(ids: Vec<TokenId>) -> Result<Self> {
        if ids.is_empty() { Err(empty()) } else { Ok(Self { ids, as_ids: false, gap: None }) }
    }
}

fn empty() -> Error {
    Error::option("prompt", "it is empty, at least one token expected")
}

impl Model {
    /// A question, through the chat template if there is one. Text with `<mask:N>` in it is not a question: it is taken as it is, and
    /// each of these is a gap of N tokens to fill in.
    ///
    /// # Errors
    /// Empty text, an invalid gap, no tokenizer, a template that refuses the question.
    pub fn prompt(&self, text: &str) -> Result<Prompt> {
        self.prompt_with(text, None, false)
    }

    /// As [`Self::prompt`], with a system message before it; `raw` leaves the template out.
    ///
    /// # Errors
    /// As [`Self::prompt`], and `system` where no template puts it into the prompt.
    pub fn prompt_with(&self, text: &str, system: Option<&str>, raw: bool) -> Result<Prompt> {
        if text.is_empty() {
            return Err(empty());
        }
        let gaps = gaps::any(text, &self.engine)?;
        if !raw && !gaps && self.template.is_some() {
            let system = system.map(|text| Message::new("system", text));
            let messages: Vec<_> = system.into_iter().chain([Message::new("user", text)]).collect();
            return self.conversation(&messages);
        }
        if system.is_some() {
            let reason = match raw {
                true => "a raw prompt has no",
                false if gaps => "a prompt with <mask:N> is taken as it is and has no",
                false => "the checkpoint has no chat template with a",
            };
            return Err(Error::option("system", format!("{reason} place to put it into")));
        }
        Prompt::new(self.encode_with_gaps(text)?)
    }

    /// A conversation, through the chat template, for an answer to follow. The text of messages is only text: control tokens, the mask and
    /// `<mask:N>` that are written in it have no effect. Only what the template prints itself is control.
    ///
    /// # Errors
    /// No template, no tokenizer, a template that refuses the conversation or with which it cannot be told what the messages' text is.
    pub fn conversation(&self, messages: &[Message]) -> Result<Prompt> {
        self.conversation_with(messages, &[])
    }

    /// As [`Self::conversation`], with tools that the model may call, each as JSON describes it.
    ///
    /// # Errors
    /// As [`Self::conversation`]; [`Error::Option`] where the template has no place for tools, or for the calls of a message.
    pub fn conversation_with(&self, messages: &[Message], tools: &[Value]) -> Result<Prompt> {
        let called = |message: &Message| message.more.iter().any(|(key, _)| key == CALLS);
        if !tools.is_empty() && self.render_with(messages, tools)? == self.render_with(messages, &[])? {
            return Err(Error::option("tools", "given, but the chat template has no place for them"));
        }
        if messages.iter().any(called) {
            let mut without = messages.to_vec();
            without.iter_mut().for_each(|message| message.more.retain(|(key, _)| key != CALLS));
            if self.render_with(messages, tools)? == self.render_with(&without, tools)? {
                let reason = format!("`{CALLS}` given, but the chat template has no place for them");
                return Err(Error::option("messages", reason));
            }
        }
        let ids = self.encode_talk(Talk { messages, tools })?;
        if ids.is_empty() {
            let what = "the chat template prints nothing for these messages, at least one token expected";
            return Err(Error::Text { file: self.origin.clone(), what: what.to_owned() });
        }
        Prompt::new(ids)
    }

    /// Raw text before and after a gap of `masks` tokens.
    ///
    /// # Errors
    /// A gap without a token or longer than the context, no tokenizer, a model without a mask.
    pub fn prompt_around(&self, before: &str, masks: usize, after: &str) -> Result<Prompt> {
        self.tokenizer()?;
        let context = self.engine.context();
        if !(1..=context).contains(&masks) {
            let reason = format!("{masks} given, 1 to {context} expected for the gap before --suffix");
            return Err(Error::option("max-tokens", reason));
        }
        let mut ids = self.encode_with_gaps(before)?;
        let gap = ids.len()..ids.len() + masks;
        ids.extend(std::iter::repeat_n(self.engine.mask()?, masks));
        ids.extend(self.encode_with_gaps(after)?);
        Ok(Prompt { gap: Some(gap), ..Prompt::new(ids)? })
    }

    /// A conversation as the text that the template makes of it, with the start of the assistant's turn at its end.
    ///
    /// # Errors
    /// No template, or one that refuses the conversation.
    pub fn render(&self, messages: &[Message]) -> Result<String> {
        self.render_with(messages, &[])
    }

    /// As [`Self::render`], with tools that the model may call.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_with(&self, messages: &[Message], tools: &[Value]) -> Result<String> {
        let Some(template) = &self.template else {
            let what = "the checkpoint has no chat template, which messages need; a prompt works without";
            return Err(Error::format(&self.origin, what));
        };
        template.render_with(messages, tools, true)
    }

    /// The ids of a string, with N of the model's masks for every `<mask:N>` in it.
    ///
    /// # Errors
    /// [`Error::Option`] for a gap without a number or longer than the context, [`Error::Text`] from the tokenizer, or no mask id.
    pub fn encode_with_gaps(&self, text: &str) -> Result<Vec<TokenId>> {
        gaps::encode(text, &**self.tokenizer()?, &self.engine)
    }

    /// Whether gaps of the prompt are filled in.
    ///
    /// # Errors
    /// If the model has no mask.
    pub fn fills_gaps(&self, prompt: &Prompt) -> Result<bool> {
        Ok(prompt.ids.contains(&self.engine.mask()?))
    }
}
