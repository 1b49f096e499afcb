//! [`Grammars`]: JSON schemas, regular expressions and Lark grammars as [`Grammar`]s over the tokens of a tokenizer.
//!
//! The llguidance crate decides what may come next; this module gives it the tokens and the engine its answers.

use super::Tokenizer;
use crate::error::{Error, Result};
use crate::sampler::{Grammar, Walk};
use crate::tensor::TokenId;
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The forms in which a grammar can be given.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// Any JSON object.
    JsonObject,
    /// A JSON schema, as JSON.
    JsonSchema(String),
    /// A regular expression that matches the whole answer (syntax of the regex crate).
    Regex(String),
    /// A grammar in Lark's syntax; the answer is what `start` matches.
    Lark(String),
}

impl Form {
    /// The option that gives it, for messages.
    pub fn option(&self) -> &'static str {
        match self {
            Self::JsonObject | Self::JsonSchema(_) => "schema",
            Self::Regex(_) => "regex",
            Self::Lark(_) => "grammar",
        }
    }

    /// A schema that says how JSON is written, as [`Form::JsonSchema`] has it unless it says so itself: for `%json` in a
    /// grammar.
    pub fn written(mut schema: Value) -> Value {
        if schema == Value::Bool(true) {
            schema = json!({});
        }
        if let Some(schema) = schema.as_object_mut() {
            schema.entry("x-guidance").or_insert_with(writing);
        }
        schema
    }
}

/// How JSON is written: as Python's `json.dumps` does, on one line. A single way of writing forces more tokens, which need no pass.
fn writing() -> Value {
    json!({ "item_separator": ", ", "key_separator": ": ", "whitespace_flexible": false })
}

fn of_schema(schema: Value) -> TopLevelGrammar {
    TopLevelGrammar::from_json_schema(Form::written(schema))
}

/// Makes grammars for the tokens of a tokenizer.
/// ```
/// use diffulex::Model;
/// use diffulex::text::grammar::{Form, Grammars};
/// use diffulex::text_model::Bound;
/// use std::sync::Arc;
///
/// let model = Model::open("demo/sdar")?;
/// let grammars = Grammars::new(model.tokenizer()?.clone())?;
/// let mut setup = model.setup();
/// setup.grammar = Some(Bound(Arc::new(grammars.compile(&Form::Regex("[0-9]+".to_owned()))?)));
/// let mut session = model.engine.session()?;
/// let prompt = model.prompt("What is 27 + 45?")?;
/// let answer = model.answer(&mut session, &prompt, &setup, &mut |_, _| Ok(diffulex::Control::Continue))?;
/// assert!(answer.text.parse::<u64>().is_ok(), "{}", answer.text);
/// # Ok::<(), diffulex::Error>(())
/// ```
pub struct Grammars {
    factory: ParserFactory,
    end: TokenId,
}

impl Grammars {
    /// Reads the whole vocabulary: make it once for a model, and compile every grammar with it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a tokenizer whose tokens cannot be told as bytes.
    pub fn new(tokenizer: Arc<dyn Tokenizer>) -> Result<Self> {
        let unknown = |why: &str| Error::unsupported(format!("grammars with this tokenizer, {why}"));
        let mut words =
            tokenizer.bytes().ok_or_else(|| unknown("whose decoder does not treat tokens one by one"))?;
        let marked = |name: &str| [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat();
        for (name, id) in tokenizer.control() {
            if let Some(word) = words.get_mut(id as usize) {
                *word = marked(&name);
            }
        }
        // The end of an answer, whichever ids stop it: a token of its own.
        let end = words.len() as TokenId;
        words.push(marked("<the end>"));
        let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, end), &words);
        let control = tokenizer.control().into_iter().map(|(_, id)| id).collect();
        let environment = Environment { trie, tokenizer, control };
        let sample = r#"{"name": "Zoë", "list": [1, -2.5e3, true, null]}"#;
        if environment.trie.decode(&environment.tokenize_bytes(sample.as_bytes())) != sample.as_bytes() {
            return Err(unknown("whose tokens do not spell what they were made of"));
        }
        let environment: TokEnv = Arc::new(environment);
        let able = InferenceCapabilities { ff_tokens: true, ..InferenceCapabilities::default() };
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let mut factory =
            ParserFactory::new(&environment, able, &slices).map_err(|error| unknown(&error.to_string()))?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(Self { factory, end })
    }

    /// The grammar that `form` describes.
    ///
    /// # Errors
    /// [`Error::Option`] for what is malformed, cannot be satisfied, or says more than can be enforced.
    pub fn compile(&self, form: &Form) -> Result<Compiled> {
        let wrong = |why: String| Error::option(form.option(), why);
        let grammar = match form {
            Form::JsonObject => of_schema(json!({ "type": "object" })),
            Form::JsonSchema(text) => of_schema(
                serde_json::from_str(text).map_err(|error| wrong(format!("it is not JSON: {error}")))?,
            ),
            Form::Regex(pattern) => TopLevelGrammar::from_regex(pattern),
            Form::Lark(text) => TopLevelGrammar::from_lark(text.clone()),
        };
        let mut matcher = Matcher::new(self.factory.create_parser(grammar));
        if let Some(error) = matcher.get_error() {
            return Err(wrong(error));
        }
        if let Some(warning) = matcher.grammar_warnings().into_iter().next() {
            return Err(wrong(format!("{warning}, so that answers could break it")));
        }
        Ok(Compiled { matcher: Mutex::new(matcher), end: self.end })
    }
}

/// The tokens, in the form that llguidance needs.
struct Environment {
    trie: TokTrie,
    tokenizer: Arc<dyn Tokenizer>,
    /// The control tokens, whose spelling is plain text in an answer.
    control: Vec<TokenId>,
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    /// The tokens that the tokenizer makes of the bytes, as far as they spell them.
    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.trie.tokenize_with_greedy_fallback(bytes, |text| {
            let ids = self.tokenizer.encode_apart(text, &[], &self.control).unwrap_or_default();
            let spelled = self.trie.decode(&ids) == text.as_bytes();
            if spelled { ids } else { self.trie.greedy_tokenize(text.as_bytes()) }
        })
    }
}

/// A grammar, ready to bind answers.
pub struct Compiled {
    /// At its beginning. Answers have copies of their own; nobody waits for the lock longer than a copy takes.
    matcher: Mutex<Matcher>,
    end: TokenId,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compiled(..)")
    }
}

impl Grammar for Compiled {
    fn begin(&self, stop: &[TokenId]) -> Result<Box<dyn Walk>> {
        let matcher = self.matcher.lock().unwrap_or_else(PoisonError::into_inner).deep_clone();
        Ok(Box::new(Answer { matcher, end: self.end, stop: stop.to_vec() }))
    }
}

struct Answer {
    matcher: Matcher,
    end: TokenId,
    stop: Vec<TokenId>,
}

fn too_much(error: impl fmt::Display) -> Error {
    Error::unsupported(format!("a grammar that takes this much work: {error}"))
}

impl Walk for Answer {
    fn allowed(&mut self, tokens: &mut Vec<u32>) -> Result<()> {
        let set = self.matcher.compute_mask_or_eos().map_err(too_much)?;
        tokens.clear();
        tokens.extend_from_slice(set.as_slice());
        let ends = set.is_allowed(self.end);
        let mut set = |id: TokenId, on: bool| {
            if let Some(word) = tokens.get_mut(id as usize / 32) {
                *word = *word & !(1 << (id % 32)) | u32::from(on) << (id % 32);
            }
        };
        set(self.end, false);
        self.stop.iter().for_each(|&id| set(id, ends));
        Ok(())
    }

    fn accept(&mut self, token: TokenId) -> Result<bool> {
        let token = if self.stop.contains(&token) { self.end } else { token };
        Ok(self.matcher.try_consume_tokens(&[token]).map_err(too_much)? == 1)
    }

    fn forced(&mut self) -> Result<Vec<TokenId>> {
        if self.matcher.is_stopped() {
            return Ok(Vec::new());
        }
        let tokens = self.matcher.consume_ff_tokens();
        match self.matcher.get_error() {
            Some(error) => Err(too_much(error)),
            None => Ok(tokens),
        }
    }

    fn is_over(&mut self) -> bool {
        self.matcher.is_stopped()
    }
}
