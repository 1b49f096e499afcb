//! What the line editor knows: how a command continues, and when an entry is complete.

use super::command::{COMMANDS, values};
use super::input::{is_command, is_open};
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper, Result};

/// Completion and the end of an entry.
#[derive(Default)]
pub(crate) struct Assist {
    files: FilenameCompleter,
}

impl Helper for Assist {}
impl Highlighter for Assist {}

impl Hinter for Assist {
    type Hint = String;
}

impl Validator for Assist {
    fn validate(&self, ctx: &mut ValidationContext<'_>) -> Result<ValidationResult> {
        Ok(if is_open(ctx.input()) { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

impl Completer for Assist {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _ctx: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        let typed = &line[..pos];
        if !is_command(typed) {
            return Ok((pos, Vec::new()));
        }
        let Some((word, text)) = typed.split_once(' ') else {
            let names = COMMANDS.iter().map(|spec| spec.name.to_string());
            return Ok((0, beginning_with(typed, names)));
        };
        match COMMANDS.iter().find(|spec| spec.is(word)) {
            Some(spec) if ["/save", "/load"].contains(&spec.name) => self.files.complete_path(line, pos),
            Some(spec) => Ok((pos - text.len(), beginning_with(text, values(spec)))),
            None => Ok((pos, Vec::new())),
        }
    }
}

fn beginning_with(typed: &str, words: impl IntoIterator<Item = String>) -> Vec<Pair> {
    let fitting = words.into_iter().filter(|word| word.starts_with(typed));
    fitting.map(|word| Pair { display: word.clone(), replacement: word + " " }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustyline::history::MemHistory;

    fn completed(line: &str) -> (usize, Vec<String>) {
        let history = MemHistory::new();
        let (start, found) = Assist::default().complete(line, line.len(), &Context::new(&history)).unwrap();
        (start, found.into_iter().map(|pair| pair.replacement).collect())
    }

    #[test]
    fn commands_and_their_values_are_completed() {
        let words = |words: &[&str]| words.iter().map(|word| format!("{word} ")).collect::<Vec<_>>();
        assert_eq!(completed("/te"), (0, words(&["/temp"])));
        assert_eq!(completed("/sta"), (0, words(&["/stats"])));
        assert_eq!(completed("/top"), (0, words(&["/topk", "/topp"])));
        assert_eq!(completed("/").1.len(), COMMANDS.len());
        assert_eq!(completed("/stats o"), (7, words(&["on", "off"])));
        assert_eq!(completed("/cache d"), (7, words(&["dual", "default"])));
        assert_eq!(completed("/ca pre"), (4, words(&["prefix"])));
        assert_eq!(completed("/strategy sdar-st"), (10, words(&["sdar-static"])));
        for line in ["te", "what /te", "/temp 0", "/what o", "/help "] {
            assert_eq!(completed(line).1, Vec::<String>::new(), "{line}");
        }
    }

    #[test]
    fn files_are_completed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("talk.json"), "").unwrap();
        let (_, found) = completed(&format!("/load {}/ta", dir.path().display()));
        assert!(found.len() == 1 && found[0].ends_with("talk.json"), "{found:?}");
    }
}
