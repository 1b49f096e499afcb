//! Text to token ids and back: the [`Tokenizer`] that the caller brings, text as it becomes final ([`StreamDecoder`]) and
//! the strings that end it ([`StopStrings`]).
//!
//! The engine itself works on ids. Reading `tokenizer.json` is the feature `tokenizers` (`hf`); rendering the chat template
//! of a checkpoint is the feature `chat` (`chat`).
#![forbid(unsafe_code)]

#[cfg(feature = "chat")]
pub mod chat;
#[cfg(feature = "grammar")]
pub mod grammar;
#[cfg(feature = "tokenizers")]
pub mod hf;
mod stop;
mod stream;

pub use stop::StopStrings;
pub use stream::StreamDecoder;

use crate::error::{Error, Result};
use crate::json::Value;
use crate::tensor::TokenId;
use std::ops::Range;

/// A control token in a string: the bytes that it is written as, and its id.
pub type Control = (Range<usize>, TokenId);

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`. Templates make control tokens of it, so it must not come from untrusted sources.
    pub role: String,
    /// The text of the message.
    pub content: String,
    /// What else templates may know: `tool_calls`, `tool_call_id`, `name`. Its strings are text, as those of the content are.
    pub more: Vec<(String, Value)>,
}

impl Message {
    /// A turn.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), more: Vec::new() }
    }

    /// The same with what else a template may know.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.more.push((key.to_owned(), value));
        self
    }
}

/// Turns a conversation into the text that a chat model was trained on.
pub trait Template: Send + Sync {
    /// The text of a conversation. `add_generation_prompt` ends it with the start of the assistant's turn.
    ///
    /// # Errors
    /// If the template fails or refuses the conversation.
    fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String>;

    /// As [`Self::render`], with tools that the model may call, each as JSON describes it.
    ///
    /// # Errors
    /// As [`Self::render`]; here also for any tool.
    fn render_with(
        &self,
        messages: &[Message],
        tools: &[Value],
        add_generation_prompt: bool,
    ) -> Result<String> {
        match tools {
            [] => self.render(messages, add_generation_prompt),
            _ => Err(Error::option("tools", "given, but this template has no place for them")),
        }
    }
}

/// Text to ids and back.
pub trait Tokenizer: Send + Sync {
    /// The ids of `text`. Nothing is added at its ends: chat templates carry their special tokens, and the text of a special
    /// token becomes that token.
    ///
    /// # Errors
    /// If the tokenizer has no id for a part of the text.
    fn encode(&self, text: &str) -> Result<Vec<TokenId>>;

    /// The text of `ids`. Bytes that are not UTF-8 become U+FFFD. `skip_special` leaves out the tokens that are marked as
    /// special; ids that are not tokens are always left out.
    ///
    /// # Errors
    /// If the tokenizer's decoder refuses the tokens.
    fn decode(&self, ids: &[TokenId], skip_special: bool) -> Result<String>;

    /// Every id is below this number.
    fn size(&self) -> usize;

    /// The ids below [`Self::size`] that are not tokens, ascending. They must never be generated.
    fn holes(&self) -> &[TokenId];

    /// The id of the token that is written exactly so, special tokens included.
    fn id_of(&self, token: &str) -> Option<TokenId>;

    /// The control tokens: what they are written as, and their ids. Inside messages their spelling is plain text.
    fn control(&self) -> Vec<(String, TokenId)> {
        Vec::new()
    }

    /// The ids of a string in which, of `tokens`, only those in `control` are tokens: other places that are spelled the same are text.
    /// The ranges of `control` ascend and do not overlap. Here the parts between them are encoded one by one.
    ///
    /// # Errors
    /// As [`Self::encode`].
    fn encode_apart(&self, text: &str, control: &[Control], tokens: &[TokenId]) -> Result<Vec<TokenId>> {
        let _ = tokens;
        let (mut ids, mut from) = (Vec::new(), 0);
        for (range, id) in control {
            ids.extend(self.encode(&text[from..range.start])?);
            ids.push(*id);
            from = range.end;
        }
        ids.extend(self.encode(&text[from..])?);
        Ok(ids)
    }

    /// Whether the token is a byte whose text depends on the bytes around it: [`Self::decode`] judges a run of such tokens as a
    /// whole, and makes U+FFFD of all of them if one does not belong to a character.
    fn is_byte(&self, id: TokenId) -> bool {
        let _ = id;
        false
    }

    /// The bytes that each id below [`Self::size`] adds to the text that it continues; none for control tokens and holes. `None`
    /// if tokens do not map to bytes one by one. Grammars need this.
    fn bytes(&self) -> Option<Vec<Vec<u8>>> {
        None
    }
}

/// A private-use character that is not in `used`.
pub(crate) fn unused(used: impl Fn(char) -> bool) -> Option<char> {
    ('\u{f0000}'..='\u{ffffd}').find(|&c| !used(c))
}

/// The text of a special token that a tokenizer's configuration names: a string, or an object with `content`.
pub fn special_token<'a>(config: &'a Value, key: &str) -> Option<&'a str> {
    let value = config.get(key)?;
    value.as_str().or_else(|| value.get("content")?.as_str())
}
