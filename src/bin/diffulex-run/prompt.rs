//! Where the prompt comes from and what ids it becomes.

use crate::args::PromptArgs;
use diffulex::cli::{Opened, gaps};
use diffulex::tensor::TokenId;
use diffulex::text::chat::Message;
use diffulex::{Engine, Error, Result};
use std::io::{IsTerminal, Read};

/// A prompt, ready to be decoded from.
pub(crate) struct Prompt {
    /// Token ids, masks included.
    pub(crate) ids: Vec<TokenId>,
    /// Whether the user gave ids and wants ids.
    pub(crate) as_ids: bool,
}

impl Prompt {
    /// Reads the prompt that the options name, else stdin, else `fallback`.
    ///
    /// # Errors
    /// An empty prompt, ids that are no numbers, a text without a tokenizer.
    pub(crate) fn read(args: &PromptArgs, opened: &Opened, fallback: Option<&str>) -> Result<Self> {
        let prompt = if let Some(list) = &args.ids {
            let ids = parse_ids(list)?;
            check_ids("ids", &ids, &opened.engine)?;
            Self { ids, as_ids: true }
        } else {
            let text = text(args, fallback)?;
            Self { ids: encode(&text, args, opened)?, as_ids: false }
        };
        if prompt.ids.is_empty() {
            return Err(empty());
        }
        Ok(prompt)
    }
}

fn empty() -> Error {
    Error::option("prompt", "it is empty, at least one token expected")
}

fn text(args: &PromptArgs, fallback: Option<&str>) -> Result<String> {
    let text = if let Some(text) = &args.prompt {
        text.clone()
    } else if let Some(path) = &args.prompt_file {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        utf8(bytes, &path.display().to_string())?
    } else {
        stdin(fallback)?
    };
    if text.is_empty() { Err(empty()) } else { Ok(text) }
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

fn encode(text: &str, args: &PromptArgs, opened: &Opened) -> Result<Vec<TokenId>> {
    let Some(tokenizer) = &opened.tokenizer else {
        let what = "no tokenizer.json beside the weights, and none was given; ids work without: --ids 1,2,3";
        return Err(Error::format(&opened.origin, what));
    };
    let rendered = match &opened.template {
        _ if args.raw => text.to_string(),
        Some(template) => {
            let system = args.system.iter().map(|text| Message::new("system", text.as_str()));
            let messages: Vec<_> = system.chain([Message::new("user", text)]).collect();
            template.render(&messages, true)?
        }
        None if args.system.is_some() => {
            let reason = "the checkpoint has no chat template to put it into";
            return Err(Error::option("system", reason));
        }
        None => text.to_string(),
    };
    gaps::encode(&rendered, tokenizer, &opened.engine)
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
