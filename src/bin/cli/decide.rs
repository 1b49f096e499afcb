//! Decisions as JSON: what is asked, and what is answered.

use super::input::{Object, some};
use diffulex::error::{Error, Result};
use diffulex::text_model::decide::{Decision, Kind, Prepared, Question, Verdict};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use std::fmt;

/// What the questions are about: a string, or JSON that the model reads as text.
#[derive(Clone, Debug)]
pub struct State(String);

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            value @ (Value::Object(_) | Value::Array(_)) => Ok(Self(value.to_string())),
            other => {
                let words = format!("{other} found, a string, an object or a list expected");
                Err(serde::de::Error::custom(words))
            }
        }
    }
}

/// Questions by name, in the order in which they are written.
#[derive(Clone, Debug)]
pub struct Questions(Vec<Question>);

impl<'de> Deserialize<'de> for Questions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct ByName;

        impl<'de> Visitor<'de> for ByName {
            type Value = Questions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of questions by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Questions, A::Error> {
                let mut questions = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let Object(record) = map.next_value::<Object<Record>>()?;
                    let wrong = |what| serde::de::Error::custom(format!("`{name}`: {what}"));
                    let (kind, ask, lead) = record.read().map_err(wrong)?;
                    questions.push(Question { name, ask, kind, lead });
                }
                Ok(Questions(questions))
            }
        }

        deserializer.deserialize_map(ByName)
    }
}

/// A question: one of `options`, `boolean` and `score`, and what may be said about it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    #[serde(default, deserialize_with = "some")]
    options: Option<Vec<String>>,
    #[serde(default, deserialize_with = "some")]
    boolean: Option<bool>,
    #[serde(default, deserialize_with = "some")]
    score: Option<Object<Range>>,
    #[serde(default, deserialize_with = "some")]
    ask: Option<String>,
    #[serde(default, deserialize_with = "some")]
    lead: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    min: i64,
    max: i64,
}

impl Record {
    /// What the answer may be, the question in words, and the words of the answer before its gap.
    fn read(self) -> std::result::Result<(Kind, Option<String>, Option<String>), String> {
        let kind = match (self.options, self.boolean, self.score) {
            (Some(options), None, None) => Kind::Options(options),
            (None, Some(true), None) => Kind::Boolean,
            (None, Some(false), None) => return Err("`boolean`: false found, true expected".into()),
            (None, None, Some(Object(Range { min, max }))) => Kind::Score { min, max },
            _ => return Err("one of `options`, `boolean` and `score` expected".into()),
        };
        Ok((kind, self.ask, self.lead))
    }
}

/// The decision that these keys describe.
///
/// # Errors
/// A number of passes that is neither 1 nor 2.
pub fn decision(
    state: State,
    questions: Questions,
    prompt: Option<String>,
    passes: Option<u64>,
) -> Result<Decision> {
    let again = match passes.unwrap_or(1) {
        1 => false,
        2 => true,
        other => return Err(Error::option("passes", format!("{other} given, 1 or 2 expected"))),
    };
    Ok(Decision { state: state.0, questions: questions.0, prompt, again })
}

/// What was decided, for programs.
pub fn answers(prepared: &Prepared, verdicts: &[Verdict]) -> Map<String, Value> {
    let each = verdicts.iter().map(|verdict| (verdict.name.clone(), answer(verdict)));
    let mut whole = Map::new();
    whole.insert("answers".into(), each.collect::<Map<_, _>>().into());
    whole.insert("prompt_tokens".into(), prepared.prompt().len().into());
    whole
}

fn answer(verdict: &Verdict) -> Value {
    let Verdict { labels, probabilities, best, .. } = verdict;
    let value = match verdict.kind {
        Kind::Options(_) => json!(labels[*best]),
        Kind::Boolean => json!(*best == 0),
        Kind::Score { min, .. } => json!(min + *best as i64),
    };
    let each: Map<String, Value> =
        labels.iter().cloned().zip(probabilities.iter().map(|&p| p.into())).collect();
    let mut answer = json!({ "answer": value, "probability": probabilities[*best] });
    if let Some(mean) = verdict.mean() {
        answer["mean"] = mean.into();
    }
    answer["probabilities"] = each.into();
    answer["mass"] = verdict.mass.into();
    answer["scored"] = if verdict.tokens == 1 { "token" } else { "chain" }.into();
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn questions(json: &str) -> std::result::Result<Questions, String> {
        super::super::input::json_line(format!("{{\"questions\": {json}}}").as_bytes())
            .map(|Whole { questions }| questions)
    }

    #[derive(Deserialize)]
    struct Whole {
        questions: Questions,
    }

    #[test]
    fn questions_keep_their_order_and_kinds() {
        let all = r#"{"b": {"options": ["x", "y"]}, "a": {"boolean": true, "ask": "Is it?"},
                      "c": {"score": {"min": -1, "max": 5}, "lead": "c = "}}"#;
        let Questions(all) = questions(all).unwrap();
        let kinds: Vec<_> = all.iter().map(|question| (&*question.name, question.kind.clone())).collect();
        let options = Kind::Options(vec!["x".into(), "y".into()]);
        assert_eq!(kinds, [("b", options), ("a", Kind::Boolean), ("c", Kind::Score { min: -1, max: 5 })]);
        assert_eq!(all[2].lead.as_deref(), Some("c = "));
    }

    #[test]
    fn what_is_no_question_is_refused_with_its_key() {
        for (json, reason) in [
            (r#"{"a": {}}"#, "one of `options`, `boolean` and `score` expected"),
            (r#"{"a": {"options": ["x"], "boolean": true}}"#, "one of `options`"),
            (r#"{"a": {"boolean": false}}"#, "`boolean`: false found"),
            (r#"{"a": {"score": {"min": 1}}}"#, "`questions.a.score`: missing field `max`"),
            (r#"{"a": {"score": {"min": 1, "max": 2, "step": 1}}}"#, "unknown field `step`"),
            (r#"{"a": {"score": [1, 2]}}"#, "`questions.a.score`: invalid type: sequence"),
            (r#"{"a": {"options": "x"}}"#, "`questions.a.options`: invalid type"),
            (r#"{"a": {"options": [1]}}"#, "`questions.a.options[0]`: invalid type"),
            (r#"{"a": {"option": ["x"]}}"#, "unknown field `option`"),
            (r#"{"a": {"options": null}}"#, "`questions.a.options`: invalid type: null"),
            (r#"[{"options": ["x"]}]"#, "`questions`: invalid type: sequence"),
            (r#"{"a": ["x"]}"#, "expected an object"),
        ] {
            let error = questions(json).err().unwrap_or_default();
            assert!(error.contains(reason), "{json}: {error}");
        }
    }
}
