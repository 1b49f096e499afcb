//! Where the prompt comes from and what ids it becomes.

use crate::args::PromptArgs;
use crate::cli::{Opened, gaps};
use diffulex::tensor::TokenId;
use diffulex::text::chat::Message;
use diffulex::text::hf::HfTokenizer;
use diffulex::{Engine, Error, Result};
use std::io::{IsTerminal, Read};
use std::ops::Range;

/// A prompt, ready to be decoded from.
pub(crate) struct Prompt {
    /// Token ids, masks included.
    pub(crate) ids: Vec<TokenId>,
    /// Whether the user gave ids and wants ids.
    pub(crate) as_ids: bool,
    /// The gap before a suffix: only what fills it is the answer.
    pub(crate) gap: Option<Range<usize>>,
}

impl Prompt {
    /// Reads the prompt that the options name, else stdin, else `fallback`. A gap before a suffix has `max_tokens` masks.
    ///
    /// # Errors
    /// An empty prompt, ids that are no numbers, a text without a tokenizer.
    pub(crate) fn read(
        args: &PromptArgs,
        max_tokens: Option<usize>,
        opened: &Opened,
        fallback: Option<&str>,
    ) -> Result<Self> {
        if let (Some(suffix), Some(masks)) = (&args.suffix, max_tokens) {
            return Self::around_gap(&text(args, fallback)?, masks, suffix, opened);
        }
        let Some(list) = &args.ids else {
            return Self::of_text(&text(args, fallback)?, args.system.as_deref(), args.raw, opened);
        };
        let ids = parse_ids(list)?;
        check_ids("ids", &ids, &opened.engine)?;
        Ok(Self { as_ids: true, ..Self::of_ids(ids)? })
    }

    /// A question, through the chat template unless it is to be `raw` or there is no template.
    ///
    /// # Errors
    /// An empty text, a gap that makes no sense, `system` without a template to put it into, no tokenizer.
    pub(crate) fn of_text(text: &str, system: Option<&str>, raw: bool, opened: &Opened) -> Result<Self> {
        if text.is_empty() {
            return Err(empty());
        }
        if !raw && opened.template.is_some() {
            let system = system.map(|text| Message::new("system", text));
            let messages: Vec<_> = system.into_iter().chain([Message::new("user", text)]).collect();
            return Self::of_messages(&messages, opened);
        }
        if system.is_some() {
            let reason =
                if raw { "a raw prompt has no" } else { "the checkpoint has no chat template with a" };
            return Err(Error::option("system", format!("{reason} place to put it into")));
        }
        Self::of_ids(gaps::encode(text, tokenizer(opened)?, &opened.engine)?)
    }

    /// Raw text before and after a gap of `masks` tokens.
    ///
    /// # Errors
    /// A gap without a token or longer than the context, no tokenizer, a model without a mask.
    fn around_gap(before: &str, masks: usize, after: &str, opened: &Opened) -> Result<Self> {
        let (engine, tokenizer) = (&opened.engine, tokenizer(opened)?);
        if !(1..=engine.context()).contains(&masks) {
            let reason =
                format!("{masks} given, 1 to {} expected for the gap before --suffix", engine.context());
            return Err(Error::option("max-tokens", reason));
        }
        let mut ids = gaps::encode(before, tokenizer, engine)?;
        let gap = ids.len()..ids.len() + masks;
        ids.extend(std::iter::repeat_n(engine.mask()?, masks));
        ids.extend(gaps::encode(after, tokenizer, engine)?);
        Ok(Self { gap: Some(gap), ..Self::of_ids(ids)? })
    }

    /// A conversation, through the chat template, for an answer to follow.
    ///
    /// # Errors
    /// No template, no tokenizer, a template that refuses the conversation, a gap that makes no sense.
    pub(crate) fn of_messages(messages: &[Message], opened: &Opened) -> Result<Self> {
        let tokenizer = tokenizer(opened)?;
        let Some(template) = &opened.template else {
            let what = "the checkpoint has no chat template, which messages need; a prompt works without";
            return Err(Error::format(&opened.origin, what));
        };
        Self::of_ids(gaps::encode(&template.render(messages, true)?, tokenizer, &opened.engine)?)
    }

    fn of_ids(ids: Vec<TokenId>) -> Result<Self> {
        if ids.is_empty() { Err(empty()) } else { Ok(Self { ids, as_ids: false, gap: None }) }
    }
}

fn tokenizer(opened: &Opened) -> Result<&HfTokenizer> {
    opened.tokenizer.as_ref().ok_or_else(|| {
        let what = "no tokenizer.json beside the weights, and none was given; ids work without: --ids 1,2,3";
        Error::format(&opened.origin, what)
    })
}

fn empty() -> Error {
    Error::option("prompt", "it is empty, at least one token expected")
}

fn text(args: &PromptArgs, fallback: Option<&str>) -> Result<String> {
    if let Some(text) = &args.prompt {
        Ok(text.clone())
    } else if let Some(path) = &args.prompt_file {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        utf8(bytes, &path.display().to_string())
    } else {
        stdin(fallback)
    }
}

/// What is piped in. A person at a terminal is not waited for without a word.
fn stdin(fallback: Option<&str>) -> Result<String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        let missing =
            || Error::option("prompt", "none given: use --prompt TEXT, --prompt-file FILE, --ids, or a pipe");
        return fallback.map(str::to_string).ok_or_else(missing);
    }
    let mut bytes = Vec::new();
    stdin.lock().read_to_end(&mut bytes).map_err(|e| Error::io("standard input", e))?;
    let text = utf8(bytes, "standard input")?;
    // The line end belongs to the pipe, not to the question.
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    // The demo answers its own question if nothing is piped in.
    Ok(fallback.filter(|_| line.is_empty()).unwrap_or(line).to_string())
}

/// Bytes as text; `file` names them in the error.
///
/// # Errors
/// [`Error::Format`] with the first byte that is not UTF-8.
pub(crate) fn utf8(bytes: Vec<u8>, file: &str) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::format(file, format!("not UTF-8 from byte {at} on"))
    })
}

fn parse_ids(list: &str) -> Result<Vec<TokenId>> {
    let id = |word: &str| {
        let wrong = || Error::option("ids", format!("`{word}` given, a token id expected"));
        word.parse::<TokenId>().map_err(|_| wrong())
    };
    list.split([',', ' ']).map(str::trim).filter(|word| !word.is_empty()).map(id).collect()
}

/// Refuses ids that the model has no row for, under the name of the option that they came from.
///
/// # Errors
/// [`Error::Option`] for the first such id.
pub(crate) fn check_ids(option: &'static str, ids: &[TokenId], engine: &Engine) -> Result<()> {
    let vocab = engine.arch().dims.vocab;
    let outside = ids.iter().find(|&&id| id as usize >= vocab);
    outside.map_or(Ok(()), |id| {
        Err(Error::option(option, format!("{id} given, a token id from 0 to {} expected", vocab - 1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_numbers() {
        assert_eq!(parse_ids("1, 2 3,").unwrap(), [1, 2, 3]);
        for list in ["1,x", "-1", "4294967296", "1.5"] {
            assert!(parse_ids(list).unwrap_err().to_string().contains("a token id expected"), "{list}");
        }
    }
}
