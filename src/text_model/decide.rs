//! Decisions: questions about a state, each with the answers that it may have, and how probable the model finds every one of them.
//!
//! ```text
//! prompt: the state, and all questions with their answers       | once for all questions, where the model is block-causal
//! answer: mood: ___                                             | a line of its own for every question, with a gap at its end
//! ```
//!
//! The probability of an answer is that of text which begins with it, decoded from the left: the product of the probabilities of
//! its tokens, each given those before it, and, where a longer answer begins with it, of not continuing to that one. What that
//! requires are the probabilities after every beginning that several answers share, and all beginnings of all questions are read in
//! one pass ([`Reader`]). A gap is at the end of its text: one between known words would reveal how long the answer is.

mod batch;
mod tree;

pub use batch::Decided;
pub(super) use batch::Deciding;

use self::tree::Tree;
use super::Model;
use crate::engine::{Place, Reader};
use crate::error::{Error, Result};
use crate::sampler::Policy;
use crate::tensor::TokenId;
use crate::text::Message;

/// Answers that a question may have, at most.
pub const MAX_LABELS: usize = 1000;
/// Answers that all questions of a decision may have together, at most.
pub const MAX_ANSWERS: usize = 10 * MAX_LABELS;
/// Questions of a decision, at most.
pub const MAX_QUESTIONS: usize = 256;
/// The placeholders in a prompt that are replaced: the state, and the list of questions.
pub const PLACES: [&str; 2] = ["{state}", "{questions}"];
/// The prompt of a decision that brings none.
pub const PROMPT: &str = "{state}\n\nAnswer these questions about the text above, each on a line of its own, with nothing else:\n{questions}";
/// The answers of [`Kind::Boolean`]: true, false.
pub const BOOLEAN: [&str; 2] = ["yes", "no"];

/// The answers that a question may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of these.
    Options(Vec<String>),
    /// Yes or no.
    Boolean,
    /// A whole number in this range, its ends included.
    Score {
        /// The lowest.
        min: i64,
        /// The highest.
        max: i64,
    },
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its name, unique in its decision.
    pub name: String,
    /// The wording of the question. `None`: the name is enough.
    pub ask: Option<String>,
    /// What the answer may be.
    pub kind: Kind,
    /// The words of the answer up to the gap. `None`: the name, a colon and a space.
    pub lead: Option<String>,
}

/// A state, and questions about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What the questions are about.
    pub state: String,
    /// The questions, in the order in which the model reads them.
    pub questions: Vec<Question>,
    /// What the model reads, with [`PLACES`] in it. `None`: [`PROMPT`].
    pub prompt: Option<String>,
    /// Whether every question is asked a second time, with the answers of the others before it.
    pub again: bool,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Which question.
    pub name: String,
    /// What the answer may be.
    pub kind: Kind,
    /// The answers that it may have, as they are written.
    pub labels: Vec<String>,
    /// How probable each is, if one of them is given: these add up to 1.
    pub probabilities: Vec<f64>,
    /// The most probable one; of equal ones the first.
    pub best: usize,
    /// How probable it is that any of them is given.
    pub mass: f64,
    /// Tokens of the longest label, after what all labels begin with. With 1, a single row of logits has the probabilities of all.
    pub tokens: usize,
}

/// A decision as ids, ready to be read.
#[derive(Clone, Debug)]
pub struct Prepared {
    prompt: Vec<TokenId>,
    questions: Vec<Question>,
    trees: Vec<Tree>,
    again: bool,
}

impl Kind {
    /// The answers as they are written.
    pub fn labels(&self) -> Vec<String> {
        match self {
            Self::Options(options) => options.clone(),
            Self::Boolean => BOOLEAN.map(str::to_owned).to_vec(),
            Self::Score { min, max } => (*min..=*max).map(|score| score.to_string()).collect(),
        }
    }

    /// What a prompt says about the answers.
    fn words(&self) -> String {
        match self {
            Self::Options(options) => format!("one of: {}", options.join(", ")),
            Self::Boolean => BOOLEAN.join(" or "),
            Self::Score { min, max } => format!("a whole number from {min} to {max}"),
        }
    }

    /// # Errors
    /// As [`Model::prepare`], without the name of the question.
    fn check(&self) -> std::result::Result<(), String> {
        match self {
            Self::Options(options) => {
                if !(2..=MAX_LABELS).contains(&options.len()) {
                    return Err(format!("{} options given, 2 to {MAX_LABELS} expected", options.len()));
                }
                if let Some(at) = options.iter().position(|option| option.trim().is_empty()) {
                    return Err(format!("option {} of {} is empty", at + 1, options.len()));
                }
                let twice = options.iter().enumerate().find(|(at, option)| options[..*at].contains(option));
                twice.map_or(Ok(()), |(_, option)| Err(format!("option `{option}` is given twice")))
            }
            Self::Boolean => Ok(()),
            Self::Score { min, max } if min >= max => {
                Err(format!("score from {min} to {max} given, a min below max expected"))
            }
            Self::Score { min, max } if max.abs_diff(*min) >= MAX_LABELS as u64 => {
                Err(format!("score from {min} to {max} given, at most {MAX_LABELS} numbers expected"))
            }
            Self::Score { .. } => Ok(()),
        }
    }
}

impl Question {
    /// The words of the answer up to the gap.
    pub fn lead(&self) -> String {
        self.lead.clone().unwrap_or_else(|| format!("{}: ", self.name))
    }

    /// The line of the prompt.
    fn line(&self) -> String {
        let ask = self.ask.as_ref().map_or_else(String::new, |ask| format!("{ask} "));
        format!("{}: {ask}({})", self.name, self.kind.words())
    }

    fn wrong(&self, what: impl std::fmt::Display) -> Error {
        Error::option("questions", format!("`{}`: {what}", self.name))
    }
}

impl Decision {
    /// # Errors
    /// As [`Model::prepare`].
    fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::option("questions", what));
        if !(1..=MAX_QUESTIONS).contains(&self.questions.len()) {
            return wrong(format!("{} given, 1 to {MAX_QUESTIONS} expected", self.questions.len()));
        }
        for (at, question) in self.questions.iter().enumerate() {
            if question.name.is_empty() {
                return wrong(format!("question {} has an empty name", at + 1));
            }
            if self.questions[..at].iter().any(|other| other.name == question.name) {
                return wrong(format!("`{}` is given twice", question.name));
            }
            question.kind.check().map_err(|what| question.wrong(what))?;
        }
        let answers: usize = self.questions.iter().map(|question| question.kind.labels().len()).sum();
        if answers > MAX_ANSWERS {
            return wrong(format!("{answers} answers in all, at most {MAX_ANSWERS} expected"));
        }
        if self.state.is_empty() {
            return Err(Error::option("state", "it is empty, text expected"));
        }
        match &self.prompt {
            Some(prompt) if !prompt.contains(PLACES[0]) => Err(Error::option(
                "prompt",
                format!("no `{}` in it, which the state takes the place of", PLACES[0]),
            )),
            _ => Ok(()),
        }
    }

    /// What the model reads.
    fn words(&self) -> String {
        let lines: Vec<_> = self.questions.iter().map(Question::line).collect();
        let values = [self.state.clone(), lines.join("\n")];
        let (mut words, mut rest) = (String::new(), self.prompt.as_deref().unwrap_or(PROMPT));
        // The state is not searched for places.
        loop {
            let next = PLACES
                .iter()
                .zip(&values)
                .filter_map(|(place, value)| Some((rest.find(place)?, place, value)));
            let Some((at, place, value)) = next.min_by_key(|(at, ..)| *at) else { break };
            words = words + &rest[..at] + value;
            rest = &rest[at + place.len()..];
        }
        words + rest
    }
}

impl Model {
    /// Checks a decision, and converts it to ids.
    ///
    /// # Errors
    /// [`Error::Option`] for questions without a name or with that of another one, for fewer than two answers, empty and equal ones, a
    /// range of scores that holds less than two numbers or more than [`MAX_LABELS`], answers that the tokenizer cannot tell apart,
    /// and a prompt without a place for the state; [`Error::Capacity`] if the context has no room for it; no tokenizer; a chat
    /// template that refuses the prompt.
    pub fn prepare(&self, decision: &Decision) -> Result<Prepared> {
        decision.check()?;
        let words = decision.words();
        let prompt = match self.template {
            Some(_) => self.conversation(&[Message::new("user", words)])?.ids,
            None => self.encode_words(&(words + "\n"))?,
        };
        let questions = decision.questions.clone();
        let trees = questions.iter().map(|question| self.tree(question, "")).collect::<Result<Vec<_>>>()?;
        let lines = if decision.again { trees.iter().map(Tree::longest).sum() } else { 0 };
        let asked = prompt.len() + trees.iter().map(Tree::longest).max().unwrap_or(0).max(lines) + 1;
        let (what, limit) =
            ("positions of the state, the questions and an answer (option `context`)", self.engine.context());
        if asked > limit {
            return Err(Error::Capacity { what, limit, asked });
        }
        Ok(Prepared { prompt, questions, trees, again: decision.again })
    }

    /// The labels of a question as ids, after these words.
    fn tree(&self, question: &Question, before: &str) -> Result<Tree> {
        let lead = format!("{before}{}", question.lead());
        let labels = question.kind.labels();
        let encode = |label: &String| self.encode_words(&format!("{lead}{label}"));
        let ids = labels.iter().map(encode).collect::<Result<Vec<_>>>()?;
        for (at, own) in ids.iter().enumerate() {
            if let Some(same) = ids[..at].iter().position(|other| other == own) {
                let [first, second] = [&labels[same], &labels[at]];
                return Err(
                    question.wrong(format!("the tokenizer cannot tell `{first}` and `{second}` apart"))
                );
            }
        }
        Ok(Tree::new(ids))
    }

    /// Answers decisions, all in the same forward passes. The answers to one do not depend on the others. Of the policy only what
    /// positions see matters.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn decide(
        &self,
        reader: &mut Reader<'_>,
        policy: &Policy,
        decisions: &[Prepared],
    ) -> Result<Vec<Vec<Verdict>>> {
        let mut read = |asked: &[(&Prepared, &[Tree])]| -> Result<Vec<Vec<Verdict>>> {
            let places: Vec<_> = asked.iter().flat_map(|(own, trees)| own.places(trees)).collect();
            let mut read = reader.read(policy, &places)?.into_iter();
            asked.iter().map(|(own, trees)| own.verdicts(trees, &mut read)).collect()
        };
        let first = read(&decisions.iter().map(|own| (own, &*own.trees)).collect::<Vec<_>>())?;
        let mut second = Vec::new();
        for (own, verdicts) in decisions.iter().zip(&first).filter(|(own, _)| own.again) {
            second.push((own, self.trees_again(own, verdicts)?));
        }
        let asked: Vec<_> = second.iter().map(|(own, trees)| (*own, &**trees)).collect();
        let mut again = read(&asked)?.into_iter();
        self.in_use.check()?;
        let last = |(own, first): (&Prepared, Vec<Verdict>)| {
            if own.again { again.next().expect("one for each") } else { first }
        };
        Ok(decisions.iter().zip(first).map(last).collect())
    }

    /// The questions with the answers to the others before them.
    fn trees_again(&self, own: &Prepared, verdicts: &[Verdict]) -> Result<Vec<Tree>> {
        let lines: Vec<String> = own
            .questions
            .iter()
            .zip(verdicts)
            .map(|(question, verdict)| format!("{}{}\n", question.lead(), verdict.labels[verdict.best]))
            .collect();
        let others = |at: usize| {
            lines.iter().enumerate().filter(move |(other, _)| *other != at).map(|(_, line)| &**line)
        };
        let asked = own.questions.iter().enumerate();
        asked.map(|(at, question)| self.tree(question, &others(at).collect::<String>())).collect()
    }
}

impl Verdict {
    /// # Errors
    /// If the model gives none of the answers a probability.
    fn new(question: &Question, tree: &Tree, logs: &[Vec<f64>]) -> Result<Self> {
        let logs = tree.labels(logs);
        let max = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if max == f64::NEG_INFINITY {
            return Err(question.wrong("the model finds every answer impossible"));
        }
        let best = logs.iter().position(|&log| log == max).unwrap_or_default();
        let weights: Vec<f64> = logs.iter().map(|log| (log - max).exp()).collect();
        let sum: f64 = weights.iter().sum();
        Ok(Self {
            name: question.name.clone(),
            kind: question.kind.clone(),
            labels: question.kind.labels(),
            probabilities: weights.iter().map(|weight| weight / sum).collect(),
            best,
            mass: (max + sum.ln()).exp().min(1.0),
            tokens: tree.depth(),
        })
    }

    /// The mean of the scores, weighted by their probabilities. `None` for other kinds.
    pub fn mean(&self) -> Option<f64> {
        let Kind::Score { min, .. } = self.kind else { return None };
        // From the lowest one on, so that large numbers keep their digits.
        let above: f64 = self.probabilities.iter().enumerate().map(|(i, p)| p * i as f64).sum();
        Some(min as f64 + above)
    }
}

impl Prepared {
    /// The ids of the prompt, which all questions share.
    pub fn prompt(&self) -> &[TokenId] {
        &self.prompt
    }

    /// The places whose next tokens say how probable the labels are.
    fn places<'a>(&'a self, trees: &'a [Tree]) -> impl Iterator<Item = Place<'a>> {
        let places = trees.iter().flat_map(Tree::places);
        places.map(|(rest, tokens)| Place { prompt: &self.prompt, rest, tokens })
    }

    /// The answers, given what was read at [`Self::places`].
    ///
    /// # Errors
    /// If the model gives none of the answers to a question a probability.
    fn verdicts(&self, trees: &[Tree], read: &mut dyn Iterator<Item = Vec<f64>>) -> Result<Vec<Verdict>> {
        let each = self.questions.iter().zip(trees).map(|(question, tree)| {
            let logs: Vec<_> = read.take(tree.places().count()).collect();
            Verdict::new(question, tree, &logs)
        });
        each.collect()
    }
}
