//! [`Steps`]: what a tokenizer does to text before its model, and to tokens after it.
//!
//! The tokenizers crate runs most steps. Those with a regular expression are run here, and every step is bounded: a file may list
//! steps that double the text forty times.

use super::guard::{Failure, guarded};
use super::regex::{Pieces, Regex};
use crate::error::Result;
use crate::json::Value;
use serde::de::DeserializeOwned;
use std::sync::{Mutex, PoisonError};
use tokenizers::pattern::{Invert, Pattern};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    Decoder, DecoderWrapper, NormalizedString, Normalizer, NormalizerWrapper, PreTokenizedString,
    PreTokenizer, PreTokenizerWrapper, SplitDelimiterBehavior,
};

type Outcome<T> = std::result::Result<T, Failure>;

/// Steps may lengthen a string to this many bytes, and by this factor. The longest compatibility decomposition has 11 times the
/// bytes of its character.
const GROWTH: (usize, usize) = (1 << 20, 32);

/// Pre-tokenizers that make text longer. Each makes at most 4 bytes of one; published files have one.
const MAX_GROWING: usize = 3;

/// Steps that a section may list.
const MAX_STEPS: usize = 256;

/// How GPT-2 splits text into words, which `ByteLevel` does unless the file says otherwise.
const GPT2_WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

fn limit(bytes: usize) -> usize {
    GROWTH.0.saturating_add(GROWTH.1.saturating_mul(bytes))
}

fn within(bytes: usize, limit: usize) -> Outcome<()> {
    if bytes <= limit {
        return Ok(());
    }
    Err(format!("a step makes the text longer than {limit} bytes, {} times what was given", GROWTH.1).into())
}

/// The steps of a tokenizer.
pub(super) struct Steps {
    normalizers: Vec<Normalize>,
    cuts: Vec<Cut>,
    /// Whether the pre-tokenizer is one step, in no list.
    alone: bool,
    /// `None` joins tokens with spaces.
    decoders: Option<Vec<Decode>>,
}

enum Normalize {
    Replace { pattern: Regex, content: String },
    Other(NormalizerWrapper),
}

enum Cut {
    Split { pattern: Regex, invert: bool, behavior: SplitDelimiterBehavior },
    Bytes { prefix: bool, words: Option<Regex> },
    Other(PreTokenizerWrapper),
}

enum Decode {
    Replace { pattern: Regex, content: String },
    Other(DecoderWrapper),
}

impl Steps {
    /// Reads the steps of a `tokenizer.json`, which `name` names in errors.
    pub(super) fn read(name: &str, file: &Value) -> Result<Self> {
        let steps = Self {
            normalizers: section(name, file, "normalizer", "normalizers", Normalize::read)?
                .unwrap_or_default(),
            cuts: section(name, file, "pre_tokenizer", "pretokenizers", Cut::read)?.unwrap_or_default(),
            alone: file.get("pre_tokenizer").is_some_and(|step| step.get("pretokenizers").is_none()),
            decoders: section(name, file, "decoder", "decoders", Decode::read)?,
        };
        let growing = steps.cuts.iter().filter(|cut| cut.grows()).count();
        guarded(name, "pre_tokenizer", || match growing {
            0..=MAX_GROWING => Ok(steps),
            _ => {
                Err(format!("{growing} steps that lengthen the text, at most {MAX_GROWING} expected").into())
            }
        })
    }

    /// The steps of Qwen2's tokenizer, whose words `words` cuts.
    pub(super) fn byte_level(words: &str) -> Outcome<Self> {
        let pattern = Regex::new(words)?;
        let split = Cut::Split { pattern, invert: false, behavior: SplitDelimiterBehavior::Isolated };
        Ok(Self {
            normalizers: vec![Normalize::Other(NormalizerWrapper::NFC(tokenizers::normalizers::NFC))],
            cuts: vec![split, Cut::Bytes { prefix: false, words: None }],
            alone: false,
            decoders: Some(vec![Decode::Other(DecoderWrapper::ByteLevel(ByteLevel::default()))]),
        })
    }

    /// Sets whether a byte-level pre-tokenizer puts a space before the text, where it is the only one.
    ///
    /// Source: transformers, `PreTrainedTokenizerFast.__init__`.
    pub(super) fn set_first_space(&mut self, first_space: bool) {
        if let ([Cut::Bytes { prefix, .. }], true) = (&mut self.cuts[..], self.alone) {
            *prefix = first_space;
        }
    }

    /// A normalizer for strings of `bytes` bytes in total.
    pub(super) fn normalizer(&self, bytes: usize) -> Normalizers<'_> {
        Normalizers { steps: &self.normalizers, left: Mutex::new(Ok(limit(bytes))) }
    }

    /// Cuts normalized text into words.
    pub(super) fn cut(&self, text: &mut PreTokenizedString) -> Outcome<()> {
        self.cuts.iter().try_for_each(|cut| cut.apply(text))
    }

    /// The text of tokens.
    pub(super) fn decode(&self, mut tokens: Vec<String>) -> Outcome<String> {
        let Some(decoders) = &self.decoders else { return Ok(tokens.join(" ")) };
        let total = |tokens: &[String]| tokens.iter().map(String::len).sum::<usize>();
        let limit = limit(total(&tokens));
        for decoder in decoders {
            tokens = decoder.apply(tokens, limit)?;
            within(total(&tokens), limit)?;
        }
        Ok(tokens.concat())
    }

    /// Whether the characters of tokens are bytes.
    pub(super) fn is_byte_level(&self) -> bool {
        let bytes = |step: &Decode| matches!(step, Decode::Other(DecoderWrapper::ByteLevel(_)));
        self.decoders.iter().flatten().any(bytes)
    }

    /// Whether a run of byte tokens is judged as a whole.
    pub(super) fn joins_bytes(&self) -> bool {
        let joins = |step: &Decode| matches!(step, Decode::Other(DecoderWrapper::ByteFallback(_)));
        self.decoders.iter().flatten().any(joins)
    }
}

/// The normalizers, as one, with what is left of the bytes that they may make, or what went wrong. The tokenizers crate drops
/// errors of a normalizer, so its user calls [`Self::finish`].
pub(super) struct Normalizers<'s> {
    steps: &'s [Normalize],
    left: Mutex<Outcome<usize>>,
}

impl Normalizers<'_> {
    /// What went wrong, if anything.
    pub(super) fn finish(self) -> Outcome<()> {
        self.left.into_inner().unwrap_or_else(PoisonError::into_inner).map(|_| ())
    }
}

impl Normalizer for Normalizers<'_> {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(limit) = *left else { return Err("an earlier text failed".into()) };
        let done = self.steps.iter().try_for_each(|step| step.apply(text, limit));
        *left = done
            .and_then(|()| limit.checked_sub(text.len()).ok_or_else(|| "it makes the text too long".into()));
        left.as_ref().map(|_| ()).map_err(|error| error.to_string().into())
    }
}

impl Normalize {
    fn read(value: &Value) -> Outcome<Self> {
        Ok(match replacement(value)? {
            Some((pattern, content)) => Self::Replace { pattern, content },
            None => Self::Other(leaf(value)?),
        })
    }

    fn apply(&self, text: &mut NormalizedString, limit: usize) -> Outcome<()> {
        match self {
            Self::Replace { pattern, content } => {
                let pieces = pattern.pieces(text.get())?;
                within(replaced(&pieces, content), limit)?;
                text.replace(Found(pieces), content)?;
            }
            Self::Other(step) => {
                if let NormalizerWrapper::Precompiled(_) = step {
                    measure(step, text.get(), limit)?;
                }
                step.normalize(text)?;
            }
        }
        within(text.len(), limit)
    }
}

/// Refuses a string that a table of replacements makes too long, a piece at a time: one character may become a large part of the file.
fn measure(step: &NormalizerWrapper, text: &str, limit: usize) -> Outcome<()> {
    let (mut total, mut rest) = (0, text);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(rest.len().min(1024)));
        let mut piece = NormalizedString::from(piece);
        step.normalize(&mut piece)?;
        total += piece.len();
        within(total, limit)?;
        rest = after;
    }
    Ok(())
}

impl Cut {
    fn read(value: &Value) -> Outcome<Self> {
        if kind(value) == Some("Split") {
            let (Some(behavior), Some(invert)) =
                (value.get("behavior"), value.get("invert").and_then(Value::as_bool))
            else {
                return Err("Split: `behavior` and `invert` expected".into());
            };
            return Ok(Self::Split { pattern: pattern(value)?, invert, behavior: leaf(behavior)? });
        }
        Ok(match leaf(value)? {
            PreTokenizerWrapper::ByteLevel(step) => {
                let words = step.use_regex.then(|| Regex::new(GPT2_WORDS)).transpose()?;
                Self::Bytes { prefix: step.add_prefix_space, words }
            }
            other => Self::Other(other),
        })
    }

    fn grows(&self) -> bool {
        matches!(self, Self::Bytes { .. } | Self::Other(PreTokenizerWrapper::Metaspace(_)))
    }

    fn apply(&self, text: &mut PreTokenizedString) -> Outcome<()> {
        match self {
            Self::Split { pattern, invert, behavior } => text.split(|_, word| {
                let found = Found(pattern.pieces(word.get())?);
                if *invert { word.split(Invert(found), *behavior) } else { word.split(found, *behavior) }
            }),
            Self::Bytes { prefix, words } => {
                text.split(|_, mut word| {
                    if *prefix && !word.get().starts_with(' ') {
                        word.prepend(" ");
                    }
                    let Some(words) = words else { return Ok(vec![word]) };
                    word.split(Found(words.pieces(word.get())?), SplitDelimiterBehavior::Isolated)
                })?;
                ByteLevel::new(false, true, false).pre_tokenize(text)
            }
            Self::Other(step) => step.pre_tokenize(text),
        }
    }
}

impl Decode {
    fn read(value: &Value) -> Outcome<Self> {
        Ok(match replacement(value)? {
            Some((pattern, content)) => Self::Replace { pattern, content },
            None => Self::Other(leaf(value)?),
        })
    }

    fn apply(&self, mut tokens: Vec<String>, limit: usize) -> Outcome<Vec<String>> {
        let Self::Replace { pattern, content } = self else {
            let Self::Other(step) = self else { unreachable!("the other kind") };
            // Some steps assume that there is a token.
            return if tokens.is_empty() { Ok(tokens) } else { step.decode_chain(tokens) };
        };
        let mut total = 0;
        for token in &mut tokens {
            let pieces = pattern.pieces(token)?;
            total += replaced(&pieces, content);
            within(total, limit)?;
            let text = |&((start, end), found): &_| if found { content.as_str() } else { &token[start..end] };
            let new = pieces.iter().map(text).collect();
            *token = new;
        }
        Ok(tokens)
    }
}

/// The length of a string whose matches are replaced.
fn replaced(pieces: &Pieces, content: &str) -> usize {
    let length =
        |&((start, end), found): &((usize, usize), bool)| if found { content.len() } else { end - start };
    pieces.iter().map(length).fold(0, usize::saturating_add)
}

/// Matches that were found already.
struct Found(Pieces);

impl Pattern for Found {
    fn find_matches(&self, _: &str) -> tokenizers::Result<Pieces> {
        Ok(self.0.clone())
    }
}

/// The name of a step's kind. Older files leave it out.
fn kind(value: &Value) -> Option<&str> {
    let has = |key| value.get(key).is_some();
    match value.get("type").and_then(Value::as_str) {
        None if has("pattern") && has("content") => Some("Replace"),
        None if has("pattern") && has("behavior") => Some("Split"),
        kind => kind,
    }
}

/// The steps of a section, whose sequences name theirs under `list`.
fn leaves<'v>(value: &'v Value, list: &str) -> Outcome<Vec<&'v Value>> {
    let Some(steps) = value.get(list).filter(|_| matches!(kind(value), None | Some("Sequence"))) else {
        return Ok(vec![value]);
    };
    let steps = steps.as_array().ok_or_else(|| format!("`{list}` is not a list"))?;
    let nested: Outcome<Vec<_>> = steps.iter().map(|step| leaves(step, list)).collect();
    Ok(nested?.concat())
}

/// The steps of the section `key`, if there is one.
fn section<T>(
    name: &str,
    file: &Value,
    key: &str,
    list: &str,
    read: impl Fn(&Value) -> Outcome<T>,
) -> Result<Option<Vec<T>>> {
    let Some(value) = file.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
    guarded(name, key, || {
        let steps = leaves(value, list)?;
        if steps.len() > MAX_STEPS {
            return Err(format!("{} steps, at most {MAX_STEPS} expected", steps.len()).into());
        }
        steps.into_iter().map(read).collect::<Outcome<_>>().map(Some)
    })
}

/// A step as the tokenizers crate reads it.
fn leaf<T: DeserializeOwned>(value: &Value) -> Outcome<T> {
    let what = kind(value).map(|kind| format!("{kind}: ")).unwrap_or_default();
    serde_json::from_str(&value.to_string()).map_err(|error| format!("{what}{error}").into())
}

/// Pattern and content of a step that replaces, if it is one.
fn replacement(value: &Value) -> Outcome<Option<(Regex, String)>> {
    if kind(value) != Some("Replace") {
        return Ok(None);
    }
    let content = value.get("content").and_then(Value::as_str).ok_or("Replace: `content` expected")?;
    Ok(Some((pattern(value)?, content.to_owned())))
}

/// The pattern of a step: a string or a regular expression.
fn pattern(value: &Value) -> Outcome<Regex> {
    let pattern = value.get("pattern").and_then(Value::entries);
    Ok(match pattern {
        Some([(key, value)]) if key == "String" => {
            Regex::literal(value.as_str().ok_or("a string expected")?)?
        }
        Some([(key, value)]) if key == "Regex" => Regex::new(value.as_str().ok_or("a string expected")?)?,
        _ => return Err("`pattern` with `String` or `Regex` expected".into()),
    })
}
