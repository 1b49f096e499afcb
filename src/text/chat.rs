//! [`ChatTemplate`]: turns a conversation into the text that a chat model was trained on.
//!
//! Checkpoints ship a Jinja template, written for the Python library Jinja2 as the transformers library sets it up. `jinja` runs
//! it and prints what transformers prints, or says what is not supported; `tests/chat` checks that.
//!
//! Source: transformers, `chat_template_utils.py` and `apply_chat_template` (the variables).

pub use super::Message;
use super::Template;
use crate::error::{Error, Result};
use crate::json::Value;
use jinja::{Fault, Printed, Program, Variable};
use source::Specials;
use std::ops::Range;
use std::path::Path;

mod date;
mod jinja;
mod source;

pub use source::refuse_without_default;

/// A parsed chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    program: Program,
    origin: String,
    specials: Specials,
}

impl ChatTemplate {
    /// Parses a template. `origin` names it in errors; `specials` are pairs such as `("bos_token", "<|startoftext|>")`.
    ///
    /// # Errors
    /// [`Error::Text`] with the line, if the template is malformed, or not a template at all: text without a tag makes the same prompt of
    /// every conversation.
    pub fn from_source(origin: &str, template: &str, specials: Vec<(String, String)>) -> Result<Self> {
        Self::new(origin, template, Specials { tokens: specials, ..Specials::default() })
    }

    fn new(origin: &str, template: &str, specials: Specials) -> Result<Self> {
        source::check(origin, template)?;
        let program = Program::parse(template).map_err(|fault| text_error(origin, fault))?;
        Ok(Self { program, origin: origin.to_owned(), specials })
    }

    /// The template of a checkpoint: the file `template` if given, else `chat_template` in the file `tokenizer_config` (a string,
    /// or several by name, of which `default` counts). `None` if there is none. Special tokens come from `tokenizer_config`, and
    /// from the `special_tokens_map.json` that lies next to an old one.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be read, [`Error::Json`] or [`Error::Config`] if `tokenizer_config` is malformed,
    /// [`Error::Text`] if the template is.
    pub fn open(template: Option<&Path>, tokenizer_config: Option<&Path>) -> Result<Option<Self>> {
        let (config, specials) = source::config(tokenizer_config)?;
        if let Some(path) = template {
            let text = source::read(path)?;
            return Self::new(&path.display().to_string(), &text, specials).map(Some);
        }
        let origin = tokenizer_config.map_or_else(String::new, |path| path.display().to_string());
        let text = source::configured(&origin, &config)?;
        text.map(|text| Self::new(&origin, text, specials)).transpose()
    }

    /// The text of a conversation. `add_generation_prompt` ends it with the start of the assistant's turn.
    ///
    /// # Errors
    /// [`Error::Text`] with the line, if the template fails, refuses the conversation or uses what is not supported, or if it runs
    /// or prints forever.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        self.run(messages, &[], add_generation_prompt).map(|printed| printed.text)
    }

    /// As [`Self::render`], with the variable `tools`.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_with(
        &self,
        messages: &[Message],
        tools: &[Value],
        add_generation_prompt: bool,
    ) -> Result<String> {
        self.run(messages, tools, add_generation_prompt).map(|printed| printed.text)
    }

    /// As [`Self::render`], with the byte ranges of the text that come from a message's `content`: whatever the template did to
    /// them, each character knows where it came from.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_marked(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<(String, Vec<Range<usize>>)> {
        self.run(messages, &[], add_generation_prompt).map(|printed| (printed.text, printed.foreign))
    }

    fn run(&self, messages: &[Message], tools: &[Value], add_generation_prompt: bool) -> Result<Printed> {
        // Templates ask whether there are tools by `tools is not none`, too.
        let tools = if tools.is_empty() { Variable::None } else { Variable::Json(tools) };
        let mut variables = vec![
            ("messages", Variable::Messages(messages)),
            ("tools", tools),
            ("documents", Variable::None),
            ("add_generation_prompt", Variable::Bool(add_generation_prompt)),
        ];
        variables
            .extend(self.specials.tokens.iter().map(|(name, token)| (name.as_str(), Variable::Text(token))));
        if !self.specials.additional.is_empty() {
            variables.push(("additional_special_tokens", Variable::Texts(&self.specials.additional)));
        }
        self.program.render(&variables, &date::now).map_err(|fault| text_error(&self.origin, fault))
    }
}

impl Template for ChatTemplate {
    fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        Self::render(self, messages, add_generation_prompt)
    }

    fn render_with(
        &self,
        messages: &[Message],
        tools: &[Value],
        add_generation_prompt: bool,
    ) -> Result<String> {
        Self::render_with(self, messages, tools, add_generation_prompt)
    }
}

fn text_error(origin: &str, fault: Fault) -> Error {
    let Fault { line, what } = fault;
    Error::Text { file: origin.to_owned(), what: format!("chat template, line {line}: {what}") }
}
