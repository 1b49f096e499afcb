//! Where the prompt comes from.

use crate::args::PromptArgs;
use crate::cli::input;
use diffulex::tensor::TokenId;
use diffulex::text_model::Prompt;
use diffulex::{Error, Model, Result};
use std::io::IsTerminal;

/// Reads the prompt that the options name, else stdin, else `fallback`. A gap before a suffix has `max_tokens` masks.
///
/// # Errors
/// An empty prompt, ids that are not numbers, text without a tokenizer.
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
        Ok(input::without_line_end(&input::read(path)?).to_string())
    } else {
        stdin(fallback)
    }
}

/// What is piped in. At a terminal an error says what is missing, instead of waiting silently.
fn stdin(fallback: Option<&str>) -> Result<String> {
    if std::io::stdin().is_terminal() {
        let missing =
            || Error::option("prompt", "none given: use --prompt TEXT, --prompt-file FILE, --ids, or a pipe");
        return fallback.map(str::to_string).ok_or_else(missing);
    }
    let text = input::read_stdin()?;
    let text = input::without_line_end(&text);
    // The demo answers its own question if nothing is piped in.
    Ok(fallback.filter(|_| text.is_empty()).unwrap_or(text).to_string())
}

/// Ids with commas or spaces between them; a comma may end the list, but two in a row have an id missing between them.
fn parse_ids(list: &str) -> Result<Vec<TokenId>> {
    let id = |word: &str| {
        let wrong = || Error::option("ids", format!("`{word}` given, a token id expected"));
        word.parse::<TokenId>().map_err(|_| wrong())
    };
    let list = list.trim();
    let list = list.strip_suffix(',').unwrap_or(list);
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let part = |part| if str::trim(part).is_empty() { vec![""] } else { part.split_whitespace().collect() };
    list.split(',').flat_map(part).map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_numbers() {
        assert_eq!(parse_ids("1, 2 3,").unwrap(), [1, 2, 3]);
        assert!([" ", ","].iter().all(|list| parse_ids(list).unwrap().is_empty()));
        for list in ["1,x", "-1", "4294967296", "1.5", "1,,2", ",1", "1,,"] {
            assert!(parse_ids(list).unwrap_err().to_string().contains("a token id expected"), "{list}");
        }
    }
}
