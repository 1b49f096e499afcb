//! Where the prompt comes from.

use crate::args::PromptArgs;
use diffulex::tensor::TokenId;
use diffulex::text_model::Prompt;
use diffulex::{Error, Model, Result};
use std::io::{IsTerminal, Read};

/// Reads the prompt that the options name, else stdin, else `fallback`. A gap before a suffix has `max_tokens` masks.
///
/// # Errors
/// An empty prompt, ids that are no numbers, a text without a tokenizer.
pub(crate) fn read(
    args: &PromptArgs,
    max_tokens: Option<usize>,
    model: &Model,
    fallback: Option<&str>,
) -> Result<Prompt> {
    if let (Some(suffix), Some(masks)) = (&args.suffix, max_tokens) {
        return model.prompt_around(&text(args, fallback)?, masks, suffix);
    }
    let Some(list) = &args.ids else {
        return model.prompt_with(&text(args, fallback)?, args.system.as_deref(), args.raw);
    };
    let ids = parse_ids(list)?;
    model.check_ids("ids", &ids)?;
    Prompt::of_ids(ids)
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
