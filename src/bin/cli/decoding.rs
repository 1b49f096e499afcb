//! Decoding options as a command line and as JSON, and the settings that follow from them.

use clap::builder::{PossibleValue, PossibleValuesParser, ValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Args, Command, FromArgMatches, value_parser};
use diffulex::engine::options::{DecodeOption, Kind, OPTIONS};
use diffulex::engine::{Engine, Overrides};
use diffulex::sampler::{Commit, Editing, FilterOrder, Floor, Grid, Pace, Policy, Steps, Unmask};
use diffulex::tensor::TokenId;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use std::fmt;

/// How to decode: every option of [`OPTIONS`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecodingArgs {
    /// What was given.
    pub overrides: Overrides,
}

/// The option on a command line. Numbers are parsed here only so that bad ones are refused in the command line's own words.
fn arg(option: &'static DecodeOption) -> Arg {
    let arg = Arg::new(option.name).long(option.name).help(option.help).help_heading("Decoding");
    let words = || option.choices().into_iter().map(|(word, help)| PossibleValue::new(word).help(help));
    let parser: ValueParser = match option.kind() {
        Kind::Switch => return arg.action(ArgAction::SetTrue),
        Kind::Real32 => value_parser!(f32).into(),
        Kind::Real64 => value_parser!(f64).into(),
        Kind::Whole => value_parser!(usize).into(),
        // Too many to list in the help; an unknown one is refused when the policy is made.
        Kind::Choice if option.name == "strategy" => value_parser!(String),
        Kind::Choice => PossibleValuesParser::new(words()).into(),
    };
    let others = OPTIONS.iter().filter(|other| other.name != option.name && !option.group.is_empty());
    let others = others.filter(|other| other.group == option.group).map(|other| other.name);
    // clap does not recognize -1e-9 as a number.
    let arg = arg.allow_hyphen_values(matches!(option.kind(), Kind::Real32 | Kind::Real64));
    arg.value_name(option.value).value_parser(parser).conflicts_with_all(others)
}

impl Args for DecodingArgs {
    fn augment_args(command: Command) -> Command {
        let names = OPTIONS.iter().map(|option| option.name);
        command.args(OPTIONS.iter().map(arg)).group(ArgGroup::new("DecodingArgs").multiple(true).args(names))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for DecodingArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for option in &OPTIONS {
            let value = match option.kind() {
                Kind::Switch => matches.get_flag(option.name).then_some("true"),
                _ => matches.get_raw(option.name).and_then(|mut values| values.next()?.to_str()),
            };
            if value.is_some() {
                let set = option.set(&mut self.overrides, value);
                set.map_err(|error| clap::Error::raw(ErrorKind::InvalidValue, error))?;
            }
        }
        Ok(())
    }
}

/// The name of an option as a key of JSON: `top_k`.
pub fn key(option: &DecodeOption) -> String {
    option.name.replace('-', "_")
}

/// An object with the options that are given.
impl Serialize for DecodingArgs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for option in &OPTIONS {
            let Some(text) = option.get(&self.overrides) else { continue };
            let value = match option.kind() {
                Kind::Choice => Value::from(text),
                // Written as Rust writes it, which is valid JSON.
                _ => serde_json::from_str(&text).map_err(serde::ser::Error::custom)?,
            };
            map.serialize_entry(&key(option), &value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for DecodingArgs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Given;

        impl<'de> Visitor<'de> for Given {
            type Value = DecodingArgs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of decoding options")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DecodingArgs, A::Error> {
                let mut args = DecodingArgs::default();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    let option = OPTIONS.iter().find(|option| key(option) == name);
                    let option = option.ok_or_else(|| A::Error::custom(format!("unknown field `{name}`")))?;
                    let text = match (&value, option.kind()) {
                        (Value::Null, _) => None,
                        (Value::String(text), Kind::Choice) => Some(text.clone()),
                        (Value::Bool(_), Kind::Switch) => Some(value.to_string()),
                        (Value::Number(_), Kind::Real32 | Kind::Real64 | Kind::Whole) => {
                            Some(value.to_string())
                        }
                        _ => {
                            let what =
                                format!("field `{name}`: {value} found, {} expected", option.expected());
                            return Err(A::Error::custom(what));
                        }
                    };
                    option.set(&mut args.overrides, text.as_deref()).map_err(A::Error::custom)?;
                }
                Ok(args)
            }
        }

        deserializer.deserialize_map(Given)
    }
}

/// Every setting in force, as JSON; `stop_ids` are those that end the text.
pub fn describe(policy: &Policy, stop_ids: &[TokenId], engine: &Engine) -> Value {
    let Policy { schedule, draw, score, unmask, cache, guidance, editing, commit, right_shift, .. } = policy;
    let steps = match schedule.steps {
        Steps::PerPosition => json!("one for each position of a block"),
        Steps::PerBlock(n) => json!({ "per_block": n }),
        Steps::Total(n) => json!({ "total": n }),
        Steps::Unlimited => json!("as many as the rule takes"),
    };
    let own = engine.arch().block().filter(|_| cache.keeps_blocks());
    let block = schedule.block.or(own);
    let mut settings = json!({
        "block": block,
        "sub_block": schedule.sub_block,
        "steps": steps,
        "pace": pace(schedule.pace),
        "temperature": decimal(draw.temperature),
        "top_k": draw.filters.top_k,
        "top_p": decimal(draw.filters.top_p),
        "filter_order": match draw.filters.order {
            FilterOrder::TopKThenTopP => "top-k, top-p",
            FilterOrder::TopPThenTopK => "top-p, top-k",
        },
        "repetition_penalty": decimal(draw.repetition_penalty),
        "confidence": score.name(),
        "unmask": unmask_name(unmask),
        "cache": cache.name(),
        "cfg": decimal(*guidance),
        "stop_ids": stop_ids,
        "mask_id": engine.mask().ok(),
    });
    match schedule.grid {
        Grid::Whole => {}
        Grid::Cut => settings["blocks"] = json!("from position 0, the last one as short as the text"),
        Grid::Open => settings["blocks"] = json!("from the first mask, the last one as short as the text"),
    }
    match commit {
        Commit::Model => {}
        Commit::Full => settings["commit"] = json!("from a pass in which a block sees all of itself"),
        Commit::Verified => settings["commit"] = json!("as much of a draft as a causal pass predicts"),
    }
    if *right_shift {
        settings["right_shift"] = json!(true);
    }
    if let Some(Editing { tau, passes }) = editing {
        settings["editing"] = json!({ "threshold": tau, "passes": passes });
    }
    if let Some(sure) = policy.expert_budget {
        settings["expert_budget"] = json!(sure);
    }
    if policy.blocks_ahead > 0 {
        settings["blocks_ahead"] = json!(policy.blocks_ahead);
    }
    settings
}

/// A number as a person would write it: 0.7, not the digits of the nearest f32.
fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

fn pace(pace: Pace) -> Value {
    match pace {
        Pace::EvenMasks => json!("even over the masks"),
        Pace::EvenBlock => json!("even over the block"),
        Pace::Timesteps { eps } => json!({ "time_steps_to": decimal(eps) }),
        Pace::Carry => json!("even, what is rejected is carried on"),
        Pace::Rounded => json!("what is left, rounded"),
    }
}

fn unmask_name(unmask: &Unmask) -> Value {
    match *unmask {
        Unmask::TopK { alg_temp } => json!({ "rule": "top-k", "alg_temp": alg_temp }),
        Unmask::Threshold { tau, strict, floor, capped } => json!({
            "rule": "threshold", "threshold": tau, "strict": strict, "capped": capped,
            "floor": match floor {
                Floor::Count(1) => json!("one"),
                Floor::Count(count) => json!(count),
                Floor::Quota => json!("the schedule"),
            },
        }),
        Unmask::Factor { factor } => json!({ "rule": "factor", "factor": factor }),
        Unmask::LeftToRight => json!({ "rule": "left to right" }),
        Unmask::EntropyBudget { bound } => json!({ "rule": "entropy budget", "bound": bound }),
        Unmask::Independent => json!({ "rule": "every position for itself" }),
    }
}
