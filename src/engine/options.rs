//! The decode options, in one table: [`OPTIONS`].
//!
//! The command line, the commands of a conversation, the text form of the C and Python interfaces and the table in docs/decoding.md all
//! come from it, so that an option is added by a field of [`Overrides`] and a row here.

use super::Overrides;
use crate::error::{Error, Result};
use crate::sampler::{CachePlan, Policy, Score};
use std::fmt;
use std::str::FromStr;

/// A decode option.
pub struct DecodeOption {
    /// Its name, in words joined by `-`.
    pub name: &'static str,
    /// The placeholder for its value in the help, such as `T`. Empty for a switch.
    pub value: &'static str,
    /// What values are in range, such as `from 0 to 1`. Whether a value is allowed for a model is known when a policy is made.
    pub range: &'static str,
    /// What it does, for the help of programs.
    pub help: &'static str,
    /// Options of one group mean different things for the same part: at most one of them can be given. Empty: no group.
    pub group: &'static str,
    slot: Slot,
}

/// What kind of value an option has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A 32-bit float.
    Real32,
    /// A 64-bit float.
    Real64,
    /// A whole number from 0 on.
    Whole,
    /// `true` or `false`; on a command line the name alone means `true`.
    Switch,
    /// One of a few words; see [`DecodeOption::choices`].
    Choice,
}

/// The field of [`Overrides`] that an option sets.
enum Slot {
    Strategy(fn(&mut Overrides) -> &mut Option<String>),
    Real32(fn(&mut Overrides) -> &mut Option<f32>),
    Real64(fn(&mut Overrides) -> &mut Option<f64>),
    Whole(fn(&mut Overrides) -> &mut Option<usize>),
    Switch(fn(&mut Overrides) -> &mut Option<bool>),
    Score(fn(&mut Overrides) -> &mut Option<Score>),
    Cache(fn(&mut Overrides) -> &mut Option<CachePlan>),
}

/// Every decode option, in the order of the help.
pub static OPTIONS: [DecodeOption; 23] = [
    DecodeOption {
        name: "strategy",
        value: "NAME",
        range: "a published sampler",
        help: "Published sampler by name; --list-strategies lists them [default: the model's own]",
        group: "",
        slot: Slot::Strategy(|o| &mut o.strategy),
    },
    DecodeOption {
        name: "temperature",
        value: "T",
        range: "from 0 to 100",
        help: "0 takes the most probable token [default: generation_config.json, else 0]",
        group: "",
        slot: Slot::Real32(|o| &mut o.temperature),
    },
    DecodeOption {
        name: "top-k",
        value: "K",
        range: "from 0 on",
        help: "Draw from the K most probable tokens; 0 is off [default: generation_config.json, else 0]",
        group: "",
        slot: Slot::Whole(|o| &mut o.top_k),
    },
    DecodeOption {
        name: "top-p",
        value: "P",
        range: "from 0 to 1",
        help: "Draw from the most probable tokens that make up P; 1 is off, 0 leaves one [default: generation_config.json, else 1]",
        group: "",
        slot: Slot::Real32(|o| &mut o.top_p),
    },
    DecodeOption {
        name: "repetition-penalty",
        value: "R",
        range: "above 0 and at most 100",
        help: "Makes tokens of the text less probable; 1 is off [default: generation_config.json, else 1]",
        group: "",
        slot: Slot::Real32(|o| &mut o.repetition_penalty),
    },
    DecodeOption {
        name: "steps",
        value: "N",
        range: "at least 1",
        help: "Denoise steps: of a block (SDAR, Fast-dLLM v2), of the whole generation (Dream, LLaDA)",
        group: "steps",
        slot: Slot::Whole(|o| &mut o.steps),
    },
    DecodeOption {
        name: "steps-per-block",
        value: "N",
        range: "at least 1",
        help: "Denoise steps of a block, in every family",
        group: "steps",
        slot: Slot::Whole(|o| &mut o.steps_per_block),
    },
    DecodeOption {
        name: "block",
        value: "N",
        range: "at least 1",
        help: "Positions in a block",
        group: "",
        slot: Slot::Whole(|o| &mut o.block),
    },
    DecodeOption {
        name: "sub-block",
        value: "N",
        range: "at least 1",
        help: "Positions in a sub-block",
        group: "",
        slot: Slot::Whole(|o| &mut o.sub_block),
    },
    DecodeOption {
        name: "threshold",
        value: "P",
        range: "from 0 to 1",
        help: "Reveal what is at least this sure (from 0 to 1)",
        group: "rule",
        slot: Slot::Real64(|o| &mut o.threshold),
    },
    DecodeOption {
        name: "factor",
        value: "F",
        range: "above 0",
        help: "Reveal as many as the factor rule allows",
        group: "rule",
        slot: Slot::Real64(|o| &mut o.factor),
    },
    DecodeOption {
        name: "entropy-bound",
        value: "NATS",
        range: "at least 0",
        help: "Reveal as many as this entropy budget allows, in nats",
        group: "rule",
        slot: Slot::Real64(|o| &mut o.entropy_bound),
    },
    DecodeOption {
        name: "edit-threshold",
        value: "P",
        range: "from 0 to 1",
        help: "Change revealed tokens of the active block where another one is surer than P (block-causal models)",
        group: "",
        slot: Slot::Real64(|o| &mut o.edit_threshold),
    },
    DecodeOption {
        name: "edit-passes",
        value: "N",
        range: "from 0 on",
        help: "Passes over a finished block at most, in which its tokens may change [default: 16]",
        group: "",
        slot: Slot::Whole(|o| &mut o.edit_passes),
    },
    DecodeOption {
        name: "expert-budget",
        value: "P",
        range: "from 0 to 1",
        help: "Masks less sure than P choose among the experts of the rest of their block (models with experts; not published with any)",
        group: "",
        slot: Slot::Real64(|o| &mut o.expert_budget),
    },
    DecodeOption {
        name: "blocks-ahead",
        value: "N",
        range: "from 0 on",
        help: "Work on up to N blocks ahead of the first one with masks, by a threshold (block-causal models; not published with any)",
        group: "",
        slot: Slot::Whole(|o| &mut o.blocks_ahead),
    },
    DecodeOption {
        name: "confidence",
        value: "CONFIDENCE",
        range: "one of the words",
        help: "How sure the model is of a token",
        group: "",
        slot: Slot::Score(|o| &mut o.confidence),
    },
    DecodeOption {
        name: "alg-temp",
        value: "T",
        range: "at least 0",
        help: "Randomness in the choice of positions; 0 is off",
        group: "",
        slot: Slot::Real64(|o| &mut o.alg_temp),
    },
    DecodeOption {
        name: "eps",
        value: "EPS",
        range: "above 0 and below 1",
        help: "Last time step of Dream's schedule",
        group: "",
        slot: Slot::Real32(|o| &mut o.eps),
    },
    DecodeOption {
        name: "cfg",
        value: "SCALE",
        range: "at least 0",
        help: "Classifier-free guidance; 0 is off",
        group: "",
        slot: Slot::Real32(|o| &mut o.cfg),
    },
    DecodeOption {
        name: "cache",
        value: "CACHE",
        range: "one of the words",
        help: "What is kept between steps; prefix, dual and sub-block are approximate",
        group: "",
        slot: Slot::Cache(|o| &mut o.cache),
    },
    DecodeOption {
        name: "right-shift",
        value: "",
        range: "true or false",
        help: "The row before a position predicts it, for models that were trained this way although their family was not",
        group: "",
        slot: Slot::Switch(|o| &mut o.right_shift),
    },
    DecodeOption {
        name: "no-merge",
        value: "",
        range: "true or false",
        help: "Commit every block in a forward pass of its own",
        group: "",
        slot: Slot::Switch(|o| &mut o.no_merge),
    },
];

impl DecodeOption {
    /// The option with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        OPTIONS.iter().find(|option| option.name == name)
    }

    /// What kind of value it has.
    pub fn kind(&self) -> Kind {
        match self.slot {
            Slot::Real32(_) => Kind::Real32,
            Slot::Real64(_) => Kind::Real64,
            Slot::Whole(_) => Kind::Whole,
            Slot::Switch(_) => Kind::Switch,
            Slot::Strategy(_) | Slot::Score(_) | Slot::Cache(_) => Kind::Choice,
        }
    }

    /// The words that are its values, each with what it means; empty unless the kind is [`Kind::Choice`].
    pub fn choices(&self) -> Vec<(&'static str, &'static str)> {
        match self.slot {
            Slot::Strategy(_) => Policy::names().collect(),
            Slot::Score(_) => Score::ALL.map(|score| (score.name(), score.help())).into(),
            Slot::Cache(_) => CachePlan::ALL.map(|plan| (plan.name(), plan.help())).into(),
            _ => Vec::new(),
        }
    }

    /// What a value of it looks like, for messages: `a number`, `a whole number`, `true or false`, `one of a, b`.
    pub fn expected(&self) -> String {
        match self.kind() {
            Kind::Real32 | Kind::Real64 => "a number".into(),
            Kind::Whole => "a whole number".into(),
            Kind::Switch => "true or false".into(),
            Kind::Choice => {
                let words: Vec<_> = self.choices().into_iter().map(|(word, _)| word).collect();
                format!("one of {}", words.join(", "))
            }
        }
    }

    /// Puts a value, written as text, into `overrides`; `None` removes the option. Numbers are written as Rust writes them.
    ///
    /// # Errors
    /// [`Error::Option`] with what was given and what was expected. `overrides` is unchanged then.
    pub fn set(&self, overrides: &mut Overrides, value: Option<&str>) -> Result<()> {
        match self.slot {
            // An unknown name is found when the policy is made, with the message of `Policy::named`.
            Slot::Strategy(field) => *field(overrides) = value.map(str::to_string),
            Slot::Real32(field) => *field(overrides) = self.parsed(value)?,
            Slot::Real64(field) => *field(overrides) = self.parsed(value)?,
            Slot::Whole(field) => *field(overrides) = self.parsed(value)?,
            Slot::Switch(field) => *field(overrides) = self.parsed(value)?,
            Slot::Score(field) => *field(overrides) = value.map(Score::from_name).transpose()?,
            Slot::Cache(field) => *field(overrides) = value.map(CachePlan::from_name).transpose()?,
        }
        Ok(())
    }

    fn parsed<T: FromStr>(&self, value: Option<&str>) -> Result<Option<T>> {
        let wrong =
            |value: &str| Error::option(self.name, format!("`{value}` given, {} expected", self.expected()));
        value.map(|value| value.parse().map_err(|_| wrong(value))).transpose()
    }

    /// The value in `overrides` as [`Self::set`] reads it; `None` if the option is not given.
    pub fn get(&self, overrides: &Overrides) -> Option<String> {
        // Fields are reached by one function each, and this copy is a few hundred bytes.
        let mut copy = overrides.clone();
        match self.slot {
            Slot::Strategy(field) => field(&mut copy).take(),
            Slot::Real32(field) => field(&mut copy).map(|value| value.to_string()),
            Slot::Real64(field) => field(&mut copy).map(|value| value.to_string()),
            Slot::Whole(field) => field(&mut copy).map(|value| value.to_string()),
            Slot::Switch(field) => field(&mut copy).map(|value| value.to_string()),
            Slot::Score(field) => field(&mut copy).map(|score| score.name().to_string()),
            Slot::Cache(field) => field(&mut copy).map(|plan| plan.name().to_string()),
        }
    }
}

/// A name and changes, separated by white space: `sdar-dynamic threshold=0.9 steps=2`.
impl FromStr for Overrides {
    type Err = Error;

    /// # Errors
    /// [`Error::Option`] for an unknown key, a value that its key does not have, and a key that is given twice.
    fn from_str(text: &str) -> Result<Self> {
        let mut overrides = Self::default();
        for word in text.split_ascii_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or(("strategy", word));
            let option =
                DecodeOption::named(key).filter(|option| option.name != "strategy" || !word.contains('='));
            let option = option.ok_or_else(|| {
                let reason = format!("`{key}` is not a key of a policy; docs/decoding.md lists them");
                Error::option("policy", reason)
            })?;
            let before = option.get(&overrides);
            option.set(&mut overrides, Some(value))?;
            if before.is_some() {
                return Err(Error::option(option.name, "given twice"));
            }
        }
        Ok(overrides)
    }
}

/// The text that [`FromStr`] reads.
impl fmt::Display for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = OPTIONS.iter().filter_map(|option| Some((option.name, option.get(self)?)));
        for (i, (name, value)) in given.enumerate() {
            let space = if i > 0 { " " } else { "" };
            match name {
                "strategy" => write!(f, "{space}{value}")?,
                _ => write!(f, "{space}{name}={value}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
