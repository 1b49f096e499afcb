//! [`ChatTemplate`]: turns a conversation into the text that a chat model was trained on.
//!
//! Checkpoints ship a Jinja template, written for the Python library Jinja2 as the transformers library sets it up: blocks do
//! not leave their line end behind, nothing is escaped, undefined variables are empty, strings and lists have Python's
//! methods. The differences between that and minijinja's defaults are settled here.
//!
//! Source: transformers, `chat_template_utils.py` (the environment) and `apply_chat_template` (the variables).

pub use super::Message;
use super::{Template, special_token};
use crate::error::{Error, Result};
use crate::files::read_text;
use crate::json::Value as Json;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{AutoEscape, Environment, ErrorKind, context};
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

mod date;

/// Template instructions that one rendering may run. A conversation of a thousand messages takes some 100 000.
const MAX_INSTRUCTIONS: u64 = 10_000_000;

/// The longest text that a template may print, in bytes. A million tokens take some 4 MB.
const MAX_TEXT: usize = 64 << 20;

/// Special tokens that templates print, by the names that templates know.
const SPECIALS: [&str; 4] = ["bos_token", "eos_token", "pad_token", "unk_token"];

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    origin: String,
    /// Names and texts of special tokens.
    specials: Vec<(String, String)>,
}

impl ChatTemplate {
    /// Compiles a template. `origin` names it in errors; `specials` are pairs such as `("bos_token", "<|startoftext|>")`.
    ///
    /// # Errors
    /// [`Error::Text`] with the line, if the template is malformed.
    pub fn from_source(origin: &str, template: &str, specials: Vec<(String, String)>) -> Result<Self> {
        let mut environment = environment();
        environment
            .add_template_owned(origin.to_owned(), without_generation_tags(template))
            .map_err(|e| text_error(origin, &e))?;
        Ok(Self { environment, origin: origin.to_owned(), specials })
    }

    /// The template of a checkpoint: the file `template` if given, else `chat_template` in the file `tokenizer_config` (a text, or a
    /// list of named ones, of which `default` counts). `None` if there is none. Special tokens come from `tokenizer_config`.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be read, [`Error::Json`] or [`Error::Config`] if `tokenizer_config` is malformed,
    /// [`Error::Text`] if the template is.
    pub fn open(template: Option<&Path>, tokenizer_config: Option<&Path>) -> Result<Option<Self>> {
        let config = tokenizer_config.map_or(Ok(Json::Null), Json::read)?;
        let special = |&key: &&str| Some((key.to_owned(), special_token(&config, key)?.to_owned()));
        let specials = SPECIALS.iter().filter_map(special).collect();
        if let Some(path) = template {
            let text = String::from_utf8(read_text(path)?)
                .map_err(|e| Error::format(path.display(), format!("not UTF-8: {}", e.utf8_error())))?;
            return Self::from_source(&path.display().to_string(), &text, specials).map(Some);
        }
        let origin = tokenizer_config.map_or_else(String::new, |path| path.display().to_string());
        let text = configured(&origin, &config)?;
        text.map(|text| Self::from_source(&origin, text, specials)).transpose()
    }

    /// The text of a conversation. `add_generation_prompt` ends it with the start of the assistant's turn.
    ///
    /// # Errors
    /// [`Error::Text`] with the line, if the template fails or refuses the conversation, or prints more than 64 MB.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let messages: Value = messages
            .iter()
            .map(|m| context! { role => m.role.as_str(), content => m.content.as_str() })
            .collect();
        let specials =
            Value::from_pairs(self.specials.iter().map(|(name, token)| (name.as_str(), token.as_str())));
        let variables = context! {
            messages, add_generation_prompt, tools => (), documents => (), ..specials
        };
        let template =
            self.environment.get_template(&self.origin).map_err(|e| text_error(&self.origin, &e))?;
        let mut out = Bounded::default();
        match template.render_captured_to(variables, &mut out) {
            Ok(_) => Ok(String::from_utf8(out.text).expect("templates print text")),
            Err(_) if out.full => {
                let what = format!("chat template: it prints more than {MAX_TEXT} bytes");
                Err(Error::Text { file: self.origin.clone(), what })
            }
            Err(error) => Err(text_error(&self.origin, &error)),
        }
    }
}

impl Template for ChatTemplate {
    fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        Self::render(self, messages, add_generation_prompt)
    }
}

/// What a template prints, up to [`MAX_TEXT`] bytes: a loop over a long text would fill the memory.
#[derive(Default)]
struct Bounded {
    text: Vec<u8>,
    full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if piece.len() > MAX_TEXT - self.text.len() {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Jinja2 as transformers sets it up.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the default delimiters are distinct"));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_fuel(Some(MAX_INSTRUCTIONS));
    environment.add_filter("tojson", tojson);
    environment.add_function(
        "raise_exception",
        |message: String| -> std::result::Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        },
    );
    environment.add_function("strftime_now", |format: String| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        date::strftime(&format, now)
    });
    environment
}

/// JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it: minijinja's, without its escapes for HTML.
fn tojson(value: &Value, options: Kwargs) -> std::result::Result<String, minijinja::Error> {
    let indent: Option<Value> = options.get("indent")?;
    // Accepted because transformers accepts it; text is never escaped to ASCII here.
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let json = minijinja::filters::tojson(value, indent, Kwargs::from_iter(Vec::<(String, Value)>::new()))?;
    Ok(without_html_escapes(json.as_str().unwrap_or_default()))
}

/// Turns the escapes of `<`, `>`, `&` and `'` in a JSON text back into the characters.
fn without_html_escapes(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at..];
        let html = [("\\u003c", '<'), ("\\u003e", '>'), ("\\u0026", '&'), ("\\u0027", '\'')];
        if let Some((code, c)) = html.into_iter().find(|(code, _)| escape.starts_with(code)) {
            out.push(c);
            rest = &escape[code.len()..];
        } else {
            // A backslash and what it escapes, an escaped backslash among others, are one unit.
            out.push_str(&escape[..2]);
            rest = &escape[2..];
        }
    }
    out + rest
}

/// Replaces `{% generation %}` and its end, which mark the assistant's words for training, by a condition that always holds.
fn without_generation_tags(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find("{%") {
        let (head, tag) = rest.split_at(at + 2);
        out.push_str(head);
        let word = tag.trim_start_matches(['-', '+']).trim_start();
        out.push_str(&tag[..tag.len() - word.len()]);
        let end = word.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(word.len());
        out.push_str(match &word[..end] {
            "generation" => "if true",
            "endgeneration" => "endif",
            other => other,
        });
        rest = &word[end..];
    }
    out + rest
}

/// The template in a `tokenizer_config.json`.
fn configured<'a>(file: &str, config: &'a Json) -> Result<Option<&'a str>> {
    let Some(value) = config.get("chat_template").filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let named = |list: &'a [Json]| {
        list.iter()
            .find(|entry| entry.get("name").and_then(Json::as_str) == Some("default"))?
            .get("template")?
            .as_str()
    };
    match value.as_str().or_else(|| named(value.as_array()?)) {
        Some(template) => Ok(Some(template)),
        None => Err(Error::config(
            file,
            "chat_template",
            "expected a text, or a list with a template named default",
        )),
    }
}

fn text_error(origin: &str, error: &minijinja::Error) -> Error {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let what = match error.line() {
        Some(line) => format!("chat template, line {line}: {detail}"),
        None => format!("chat template: {detail}"),
    };
    Error::Text { file: origin.to_owned(), what }
}
