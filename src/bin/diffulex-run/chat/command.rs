//! Commands of a session: a line that begins with a slash becomes a [`Command`].

use super::settings::Change;
use diffulex::engine::Overrides;
use diffulex::engine::options::{DecodeOption, Kind};
use rustyline::completion::unescape;
use std::fmt::Write;
use std::path::PathBuf;
use std::str::FromStr;

/// What a line asks the session to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    Help,
    Quit,
    Clear,
    Config,
    Retry,
    Save(PathBuf),
    Load(PathBuf),
    Set(Change),
    /// Whether a line about every answer is printed.
    Stats(bool),
    /// Whether the canvas is shown live.
    Canvas(bool),
}

/// A command as it is written.
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    short: &'static str,
    /// The argument that follows it. Empty: none.
    argument: &'static str,
    help: &'static str,
    /// The decode option that it sets. Empty: none.
    option: &'static str,
}

const fn spec(name: &'static str, short: &'static str, argument: &'static str, help: &'static str) -> Spec {
    Spec { name, short, argument, help, option: "" }
}

/// A command that sets a decode option.
const fn sets(option: &'static str, spec: Spec) -> Spec {
    Spec { option, ..spec }
}

impl Spec {
    /// Whether a word means this command.
    pub(crate) fn is(&self, word: &str) -> bool {
        self.name == word || self.short == word || ALSO.contains(&(word, self.name))
    }
}

/// All commands, in the order of the help.
pub(crate) static COMMANDS: [Spec; 21] = [
    spec("/help", "/h", "", "this list"),
    spec("/quit", "/q", "", "end the session, as Ctrl-D does"),
    spec("/exit", "/x", "", "the same"),
    spec("/clear", "/c", "", "forget the conversation"),
    spec("/retry", "/r", "", "answer the last question again"),
    spec("/config", "/cfg", "", "show every setting in force"),
    sets("temperature", spec("/temp", "/t", "T", "temperature; 0 takes the most probable token")),
    sets("top-k", spec("/topk", "/k", "K", "draw from the K most probable tokens; 0 is off")),
    sets("top-p", spec("/topp", "/p", "P", "draw from the most probable tokens that make up P; 1 is off")),
    spec("/max", "/m", "N", "new tokens in an answer at most"),
    sets("steps-per-block", spec("/iter", "/i", "N", "denoise steps of a block")),
    sets("steps", spec("/steps", "/s", "N", "denoise steps: of a block, or of the answer (Dream, LLaDA)")),
    sets("threshold", spec("/conf", "/cf", "P", "confidence from which on a token is revealed, from 0 to 1")),
    sets("block", spec("/block", "/b", "N", "positions in a block")),
    sets("strategy", spec("/strategy", "/st", "NAME", "published sampler")),
    sets("cache", spec("/cache", "/ca", "PLAN", "what is kept between steps")),
    spec("/seed", "/sd", "N", "seed of every random number; answer n uses seed + n"),
    spec("/stats", "/ss", "on|off", "a line about every answer"),
    spec("/canvas", "/cv", "on|off", "show the block while it is denoised"),
    spec("/save", "/w", "FILE", "write conversation and settings"),
    spec("/load", "/l", "FILE", "continue what was saved"),
];

/// What other programs call some of them.
const ALSO: [(&str, &str); 2] = [("/?", "/help"), ("/bye", "/quit")];

/// Resets a setting.
const DEFAULT: &str = "default";

/// Reads a line that begins with a slash.
///
/// # Errors
/// What was given and what was expected.
pub(crate) fn parse(line: &str) -> Result<Command, String> {
    let line = line.trim();
    let (word, text) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let spec = COMMANDS.iter().find(|spec| spec.is(word)).ok_or_else(|| {
        format!("`{word}` given, a command expected; /help lists them (a question may begin with a space)")
    })?;
    let given = Argument { spec, text: text.trim() };
    match spec.name {
        "/help" => given.nothing(Command::Help),
        "/quit" | "/exit" => given.nothing(Command::Quit),
        "/clear" => given.nothing(Command::Clear),
        "/retry" => given.nothing(Command::Retry),
        "/config" => given.nothing(Command::Config),
        "/save" => given.path().map(Command::Save),
        "/load" => given.path().map(Command::Load),
        "/stats" => given.switch().map(Command::Stats),
        "/canvas" => given.switch().map(Command::Canvas),
        _ => given.change().map(Command::Set),
    }
}

/// What follows a command.
struct Argument<'a> {
    spec: &'static Spec,
    text: &'a str,
}

impl Argument<'_> {
    fn wrong<T>(&self, expected: &str) -> Result<T, String> {
        let given = if self.text.is_empty() { "nothing".to_string() } else { format!("`{}`", self.text) };
        Err(format!("{}: {given} given, {expected} expected", self.spec.name))
    }

    fn nothing(&self, command: Command) -> Result<Command, String> {
        if self.text.is_empty() { Ok(command) } else { self.wrong("nothing") }
    }

    fn path(&self) -> Result<PathBuf, String> {
        if self.text.is_empty() {
            return self.wrong("a file");
        }
        // Completion writes a space as shells do.
        Ok(PathBuf::from(&*unescape(self.text, cfg!(unix).then_some('\\'))))
    }

    fn number<T: FromStr>(&self, kind: &str) -> Result<Option<T>, String> {
        if self.text == DEFAULT {
            return Ok(None);
        }
        match self.text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => self.wrong(&format!("{kind} or `{DEFAULT}`")),
        }
    }

    /// A value of the decode option that the command sets.
    fn value(&self, option: &DecodeOption) -> Result<Option<String>, String> {
        if self.text == DEFAULT {
            return Ok(None);
        }
        let words = values(self.spec);
        let known = if words.is_empty() {
            option.set(&mut Overrides::default(), Some(self.text)).is_ok()
        } else {
            words.iter().any(|word| word == self.text)
        };
        match option.kind() {
            _ if known => Ok(Some(self.text.to_string())),
            Kind::Choice => self.wrong(&format!("one of {}", words.join(", "))),
            _ => self.wrong(&format!("{} or `{DEFAULT}`", option.expected())),
        }
    }

    fn switch(&self) -> Result<bool, String> {
        match self.text {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => self.wrong("on or off"),
        }
    }

    fn change(&self) -> Result<Change, String> {
        if let Some(option) = DecodeOption::named(self.spec.option) {
            return Ok(Change::Decoding(option.name, self.value(option)?));
        }
        Ok(match self.spec.name {
            "/max" => Change::MaxTokens(self.number("a whole number")?),
            "/seed" => Change::Seed(self.number("a whole number")?),
            other => unreachable!("{other} is a command of the table without a meaning"),
        })
    }
}

/// The words that may follow a command, if there are only a few.
pub(crate) fn values(spec: &Spec) -> Vec<String> {
    if matches!(spec.name, "/stats" | "/canvas") {
        return vec!["on".to_string(), "off".to_string()];
    }
    let choices = DecodeOption::named(spec.option).map(DecodeOption::choices).unwrap_or_default();
    let words = choices.into_iter().map(|(word, _)| word.to_string());
    let default = (words.len() > 0).then(|| DEFAULT.to_string());
    words.chain(default).collect()
}

/// What `/help` prints.
pub(crate) fn help() -> String {
    let mut text = String::new();
    for Spec { name, short, argument, help, .. } in &COMMANDS {
        let usage = format!("{name} {argument}");
        writeln!(text, "  {usage:17}{short:6}{help}").expect("a string can be written to");
    }
    text + "`default` in place of a value takes a setting back.\n\
            A line that ends with \\ goes on in the next, and text between two \"\"\" is one message.\n\
            Ctrl-C stops an answer or clears the line; twice at the prompt, or Ctrl-D, ends the session."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(line: &str) -> Change {
        match parse(line) {
            Ok(Command::Set(change)) => change,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn to(option: &'static str, value: &str) -> Change {
        Change::Decoding(option, Some(value.to_string()))
    }

    #[test]
    fn every_command_has_a_name_and_a_short_form_of_its_own() {
        for (i, spec) in COMMANDS.iter().enumerate() {
            let argument = match spec.argument {
                "" => "",
                "NAME" => "sdar-static",
                "PLAN" => "block",
                "on|off" => "on",
                _ => "1",
            };
            let long = parse(&format!("{} {argument}", spec.name)).unwrap();
            assert_eq!(long, parse(&format!("  {}   {argument} ", spec.short)).unwrap(), "{}", spec.name);
            for other in &COMMANDS[i + 1..] {
                assert!(![other.name, other.short].contains(&spec.short), "{}", spec.short);
                assert_ne!(other.name, spec.name);
            }
            assert!(help().contains(spec.help) && help().contains(spec.name), "{}", spec.name);
        }
    }

    #[test]
    fn words_without_an_argument() {
        let simple = [
            ("/help", Command::Help),
            ("/quit", Command::Quit),
            ("/?", Command::Help),
            ("/bye", Command::Quit),
            ("/exit", Command::Quit),
            ("/clear", Command::Clear),
            ("/retry", Command::Retry),
            ("/config", Command::Config),
        ];
        for (word, command) in simple {
            assert_eq!(parse(word), Ok(command));
            let error = parse(&format!("{word} 1")).unwrap_err();
            assert!(error.ends_with(": `1` given, nothing expected"), "{error}");
        }
    }

    #[test]
    fn numbers_are_read_in_the_type_of_their_setting() {
        assert_eq!(set("/temp 0.7"), to("temperature", "0.7"));
        assert_eq!(set("/topk 40"), to("top-k", "40"));
        assert_eq!(set("/topp .9"), to("top-p", ".9"));
        assert_eq!(set("/max 12"), Change::MaxTokens(Some(12)));
        assert_eq!(set("/iter 4"), to("steps-per-block", "4"));
        assert_eq!(set("/steps 5"), to("steps", "5"));
        assert_eq!(set("/conf 0.9"), to("threshold", "0.9"));
        assert_eq!(set("/block 8"), to("block", "8"));
        assert_eq!(set("/seed 18446744073709551615"), Change::Seed(Some(u64::MAX)));
        for word in ["/temp", "/topp", "/conf"] {
            let wrong = |given: &str| Err(format!("{word}: {given} given, a number or `default` expected"));
            assert_eq!(parse(word), wrong("nothing"));
            assert_eq!(parse(&format!("{word} warm")), wrong("`warm`"));
            assert_eq!(parse(&format!("{word} 1 2")), wrong("`1 2`"));
        }
        for word in ["/topk", "/max", "/iter", "/steps", "/block", "/seed"] {
            for given in ["-1", "1.5", "x", "99999999999999999999999"] {
                let message = format!("{word}: `{given}` given, a whole number or `default` expected");
                assert_eq!(parse(&format!("{word} {given}")), Err(message));
            }
        }
    }

    #[test]
    fn default_takes_a_setting_back() {
        assert_eq!(set("/temp default"), Change::Decoding("temperature", None));
        assert_eq!(set("/strategy default"), Change::Decoding("strategy", None));
        assert_eq!(set("/cache default"), Change::Decoding("cache", None));
        assert_eq!(set("/seed default"), Change::Seed(None));
        assert!(parse("/stats default").unwrap_err().contains("on or off expected"));
    }

    #[test]
    fn choices_name_what_there_is_to_choose_from() {
        assert_eq!(set("/cache sub-block"), to("cache", "sub-block"));
        assert_eq!(set("/strategy dream-origin"), to("strategy", "dream-origin"));
        assert_eq!(parse("/stats on"), Ok(Command::Stats(true)));
        assert_eq!(parse("/canvas off"), Ok(Command::Canvas(false)));
        let error = parse("/cache all").unwrap_err();
        assert_eq!(
            error,
            "/cache: `all` given, one of none, prefix, dual, block, sub-block, default expected"
        );
        let error = parse("/strategy").unwrap_err();
        assert!(error.starts_with("/strategy: nothing given, one of sdar-dynamic, "), "{error}");
        assert_eq!(parse("/stats 1"), Err("/stats: `1` given, on or off expected".to_string()));
    }

    #[test]
    fn paths_may_have_spaces() {
        assert_eq!(parse("/save a b.json "), Ok(Command::Save("a b.json".into())));
        #[cfg(unix)]
        assert_eq!(parse("/load a\\ b.json"), Ok(Command::Load("a b.json".into())));
        assert_eq!(parse("/save"), Err("/save: nothing given, a file expected".to_string()));
    }

    #[test]
    fn what_is_no_command_is_named() {
        for word in ["/", "/what", "/HELP", "/hel"] {
            assert!(parse(word).unwrap_err().starts_with(&format!("`{word}` given, a command expected")));
        }
    }
}
