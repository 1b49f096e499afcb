//! Where a chat template comes from, as transformers looks for it, and what is not one.

use crate::error::{Error, Result};
use crate::files::{beside, read_text};
use crate::json::Value;
use crate::text::special_token;
use std::path::Path;

/// Special tokens that templates print, by the names that templates know.
const NAMES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Larger templates are refused, in bytes. Published ones have some 10 000.
const MAX_TEMPLATE: usize = 4 << 20;

/// The folder of templates that have names.
const NAMED: &str = "additional_chat_templates";

/// The tokens that a template may print by name.
#[derive(Debug, Default)]
pub(super) struct Specials {
    /// Names and contents.
    pub(super) tokens: Vec<(String, String)>,
    /// `additional_special_tokens`
    pub(super) additional: Vec<String>,
}

/// A `tokenizer_config.json` and the special tokens that it names.
pub(super) fn config(path: Option<&Path>) -> Result<(Value, Specials)> {
    let Some(path) = path else { return Ok((Value::Null, Specials::default())) };
    let config = Value::read(path)?;
    // Where added tokens are not listed, transformers lets the older file decide.
    let directory = path.parent().unwrap_or(Path::new(""));
    let old = match config.get("added_tokens_decoder") {
        None => beside(directory, "special_tokens_map.json")?.map(|path| Value::read(&path)).transpose()?,
        Some(_) => None,
    };
    let sources = [old.as_ref(), Some(&config)];
    let mut specials = Specials::default();
    for name in NAMES {
        let found =
            sources.iter().flatten().find(|source| source.get(name).is_some_and(|value| !value.is_null()));
        if let Some(token) =
            found.and_then(|source| special_token(source, name)).filter(|token| !token.is_empty())
        {
            specials.tokens.push((name.to_owned(), token.to_owned()));
        }
    }
    let content =
        |value: &Value| value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned);
    for (name, value) in config.get("extra_special_tokens").and_then(Value::entries).unwrap_or(&[]) {
        specials.tokens.extend(content(value).map(|token| (name.clone(), token)));
    }
    let additional =
        sources.iter().flatten().find_map(|source| source.get("additional_special_tokens")?.as_array());
    specials.additional = additional.unwrap_or(&[]).iter().filter_map(content).collect();
    Ok((config, specials))
}

/// The text of a template's file.
pub(super) fn read(path: &Path) -> Result<String> {
    let bytes = read_text(path)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::Text {
            file: path.display().to_string(),
            what: format!("chat template: not UTF-8 at byte {at}"),
        }
    })
}

/// The template in a `tokenizer_config.json`.
pub(super) fn configured<'a>(file: &str, config: &'a Value) -> Result<Option<&'a str>> {
    let Some(value) = config.get("chat_template").filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let named = |list: &'a [Value]| {
        // Of two with one name the last counts.
        list.iter()
            .rfind(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))?
            .get("template")?
            .as_str()
    };
    let listed = || named(value.as_array()?);
    match value.as_str().or_else(|| value.get("default")?.as_str()).or_else(listed) {
        Some(template) => Ok(Some(template)),
        None => {
            let reason = "expected a string, or several by name with one that is named default";
            Err(Error::config(file, "chat_template", reason))
        }
    }
}

/// Refuses what servers and version control leave in place of a template. Any text is a template, but one without a tag makes
/// the same prompt of every conversation.
pub(super) fn check(origin: &str, template: &str) -> Result<()> {
    let start = template.trim_start_matches(['\u{feff}', ' ', '\n', '\r', '\t']);
    let begins = |word: &str| start.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
    let what = if start.is_empty() {
        "the template is empty"
    } else if begins("version https://git-lfs") {
        "a Git LFS pointer, not the template itself: `git lfs pull` fetches it"
    } else if begins("<!doctype") || begins("<html") || begins("<?xml") {
        "a page for a browser, not a template"
    } else if template.len() > MAX_TEMPLATE {
        "more than 4 MB are not supported"
    } else if !template.contains("{{") && !template.contains("{%") {
        "no tag of a template in it: every conversation would become the same prompt"
    } else {
        return Ok(());
    };
    Err(Error::Text { file: origin.to_owned(), what: format!("chat template: {what}") })
}

/// Refuses a directory whose templates all have names, none of them `default`: transformers does not use any of them, not even
/// the one in tokenizer_config.json.
///
/// # Errors
/// [`Error::Text`] with the file, or [`Error::Io`] if the directory cannot be read.
pub fn refuse_without_default(directory: &Path) -> Result<()> {
    let Some(folder) = beside(directory, NAMED)?.filter(|folder| folder.is_dir()) else { return Ok(()) };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(|error| Error::io(&folder, error))? {
        let name = entry.map_err(|error| Error::io(&folder, error))?.file_name();
        if Path::new(&name).extension().is_some_and(|extension| extension == "jinja") {
            names.push(name);
        }
    }
    names.sort();
    match names.first() {
        None => Ok(()),
        Some(name) => {
            let what = "a chat template with a name, and none is named default: chat_template.jinja expected";
            Err(Error::Text { file: folder.join(name).display().to_string(), what: what.to_owned() })
        }
    }
}
