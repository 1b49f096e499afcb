//! [`Conversation`]: what was said. [`Saved`]: the same in a file, with the settings.

use super::settings::Settings;
use crate::cli::{self, input};
use diffulex::text::chat::Message;
use diffulex::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Version of the file format. A program reads its own and no other.
const VERSION: u32 = 1;

/// A question with its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Turn {
    pub(crate) question: String,
    pub(crate) answer: String,
    /// Whether the answer was stopped before its end.
    pub(crate) cut: bool,
}

/// What was said so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Conversation {
    pub(crate) system: Option<String>,
    pub(crate) turns: Vec<Turn>,
    /// Answers made so far, repeated ones included. Each has a seed of its own.
    pub(crate) asked: u64,
}

impl Conversation {
    /// The first `turns` turns and a question after them.
    pub(crate) fn messages(&self, turns: usize, question: &str) -> Vec<Message> {
        let system = self.system.iter().map(|text| Message::new("system", text.as_str()));
        let said = self.turns[..turns].iter().flat_map(|turn| {
            [Message::new("user", turn.question.as_str()), Message::new("assistant", turn.answer.as_str())]
        });
        system.chain(said).chain([Message::new("user", question)]).collect()
    }
}

/// A conversation in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Saved {
    version: u32,
    /// The family of the model that answered.
    pub(crate) family: String,
    pub(crate) settings: Settings,
    pub(crate) conversation: Conversation,
}

/// The only part that every version has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl Saved {
    pub(crate) fn new(family: &str, settings: Settings, conversation: Conversation) -> Self {
        Self { version: VERSION, family: family.to_string(), settings, conversation }
    }

    /// Reads a file that [`Self::write`] wrote.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Format`] with the place if it is not a conversation of this version.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let wrong = |what: String| Error::format(path.display(), what);
        let text = input::read(path)?;
        let Version { version } = serde_json::from_str(&text)
            .map_err(|e| wrong(format!("not a saved conversation: {}", input::for_people(&e.to_string()))))?;
        if version != VERSION {
            return Err(wrong(format!("a conversation of version {version}, expected {VERSION}")));
        }
        serde_json::from_str(&text)
            .map_err(|e| wrong(format!("not a saved conversation: {}", input::for_people(&e.to_string()))))
    }

    /// Writes a new file, or replaces an earlier conversation.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Format`] if there is a file that is something else.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        // Other files are left alone; a pipe or a device has nothing to lose.
        if path.is_file() {
            Self::read(path)?;
        }
        cli::replace(path, |out| {
            serde_json::to_writer_pretty(&mut *out, self)?;
            out.write_all(b"\n")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::LengthArgs;
    use crate::cli::decoding::DecodingArgs;
    use diffulex::engine::Overrides;
    use diffulex::sampler::{CachePlan, Score};

    fn saved() -> Saved {
        let overrides = Overrides {
            strategy: Some("sdar-static".to_string()),
            temperature: Some(0.7),
            threshold: Some(0.1),
            confidence: Some(Score::Margin),
            cache: Some(CachePlan::SubBlock),
            ..Overrides::default()
        };
        let length = LengthArgs { seed: u64::MAX, stop: vec!["\n".to_string()], ..LengthArgs::default() };
        let turns = vec![Turn { question: "a\nb".to_string(), answer: "\"c\"".to_string(), cut: true }];
        let conversation = Conversation { system: Some("Be brief.".to_string()), turns, asked: 3 };
        Saved::new("sdar", Settings { decoding: DecodingArgs { overrides }, length }, conversation)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a conversation.json");
        for _ in 0..2 {
            saved().write(&path).unwrap();
            let read = Saved::read(&path).unwrap();
            assert_eq!(
                (read.family.as_str(), read.settings, read.conversation),
                ("sdar", saved().settings, saved().conversation)
            );
        }
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "no temporary file is left: {left:?}");
    }

    #[test]
    fn other_files_are_neither_read_nor_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let good = serde_json::to_string(&saved()).unwrap();
        for (text, expected) in [
            ("precious", "not a saved conversation: expected value at line 1"),
            ("{}", "missing field `version`"),
            (&good.replace("\"version\":1", "\"version\":2"), "of version 2, expected 1"),
            (&good.replace("\"cut\":true", "\"cut\":1"), "invalid type: integer `1`, expected a boolean"),
            (&good.replace("\"cut\"", "\"cat\""), "unknown field `cat`"),
            (&good.replace("\"seed\"", "\"sead\""), "unknown field `sead`"),
            (
                &good.replace("sub-block", "super-block"),
                "`super-block` given, one of none, prefix, dual, block, sub-block expected",
            ),
            (&good[..good.len() - 1], "EOF while parsing"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Saved::read(&path).err().expect(text).to_string();
            assert!(error.contains(expected) && error.contains("file"), "{error}");
            assert!(saved().write(&path).is_err(), "{text}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn messages_alternate_after_the_system() {
        let conversation = saved().conversation;
        let roles = |turns| conversation.messages(turns, "?").into_iter().map(|m| m.role).collect::<Vec<_>>();
        assert_eq!(roles(0), ["system", "user"]);
        assert_eq!(roles(1), ["system", "user", "assistant", "user"]);
    }
}
