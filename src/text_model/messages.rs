//! Conversations as ids, in which text is only text.
//!
//! What a template prints itself is control, what came in through a message is not, whatever it says: messages may come from
//! anyone. Where a control token in the rendered text comes from is determined by rendering once more, with other characters, which
//! occur nowhere else, in the messages. First they take the places of all characters that begin or end a control token; if the
//! template otherwise prints the same text, every control token that is still whole is the template's. If it does not (a template
//! may look for words such as `</think>` in a message), only the control tokens that a message has from their first to their last
//! character are changed, and the template has to print the same control tokens as for the first change. If that fails, too, the
//! conversation is refused.

use super::Model;
use crate::error::{Error, Result};
use crate::json::Value;
use crate::tensor::TokenId;
use crate::text::{Control, Message, unused};

/// What a template makes a prompt from.
#[derive(Clone, Copy)]
pub(super) struct Talk<'a> {
    pub(super) messages: &'a [Message],
    /// What the model may call.
    pub(super) tools: &'a [Value],
}

impl Talk<'_> {
    /// All the strings in it.
    fn parts(&self) -> Vec<&str> {
        let mut parts = Vec::new();
        for message in self.messages {
            parts.extend([&*message.role, &message.content]);
            message.more.iter().for_each(|(_, value)| strings(value, &mut parts));
        }
        self.tools.iter().for_each(|tool| strings(tool, &mut parts));
        parts
    }

    /// The same with other strings in it.
    fn map(&self, into: &dyn Fn(&str) -> String) -> (Vec<Message>, Vec<Value>) {
        let message = |message: &Message| Message {
            role: into(&message.role),
            content: into(&message.content),
            more: message.more.iter().map(|(key, value)| (key.clone(), mapped(value, into))).collect(),
        };
        let tools = self.tools.iter().map(|tool| mapped(tool, into)).collect();
        (self.messages.iter().map(message).collect(), tools)
    }
}

/// The strings of a value, keys included.
fn strings<'v>(value: &'v Value, parts: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => parts.push(text),
        Value::Array(values) => values.iter().for_each(|value| strings(value, parts)),
        Value::Object(entries) => entries.iter().for_each(|(key, value)| {
            parts.push(key);
            strings(value, parts);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Surrogates(_) => {}
    }
}

fn mapped(value: &Value, into: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(into(text)),
        Value::Array(values) => Value::Array(values.iter().map(|value| mapped(value, into)).collect()),
        Value::Object(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (into(key), mapped(value, into))).collect())
        }
        other => other.clone(),
    }
}

/// Control tokens by what they are written as.
struct Tokens(Vec<(String, TokenId)>);

impl Model {
    /// The ids of a conversation, with the start of the assistant's turn at its end.
    ///
    /// # Errors
    /// As [`Self::conversation`].
    pub(super) fn encode_talk(&self, talk: Talk<'_>) -> Result<Vec<TokenId>> {
        // Without a tokenizer a template is useless: that is checked first.
        let tokenizer = self.tokenizer()?;
        let tokens = self.control_tokens()?;
        let mut text = self.render_with(talk.messages, talk.tools)?;
        let mut control = self.control_of_template(talk, &text, &tokens);
        // A template may print the time, which may differ for the marked messages.
        for _ in 0..3 {
            if control.is_ok() {
                break;
            }
            let again = self.render_with(talk.messages, talk.tools)?;
            if again == text {
                break;
            }
            control = self.control_of_template(talk, &again, &tokens);
            text = again;
        }
        let control = control?;
        let ids = tokenizer.encode(&text)?;
        let known =
            |ids: &[TokenId]| ids.iter().filter(|id| tokens.0.iter().any(|(_, known)| known == *id)).count();
        if known(&ids) == control.len() && tokens.find(&text).len() == control.len() {
            return Ok(ids);
        }
        let list: Vec<_> = tokens.0.iter().map(|(_, id)| *id).collect();
        let ids = tokenizer.encode_apart(&text, &control, &list)?;
        if known(&ids) == control.len() {
            return Ok(ids);
        }
        Err(self.undecided("the tokenizer makes a control token of a message's text"))
    }

    /// The ids of words in which nothing is control, whatever they look like.
    ///
    /// # Errors
    /// No tokenizer, or one that cannot encode them that way.
    pub(super) fn encode_words(&self, words: &str) -> Result<Vec<TokenId>> {
        let tokenizer = self.tokenizer()?;
        let list: Vec<_> = self.control_tokens()?.0.into_iter().map(|(_, id)| id).collect();
        let has_control = |ids: &[TokenId]| ids.iter().any(|id| list.contains(id));
        let ids = tokenizer.encode(words)?;
        if !has_control(&ids) {
            return Ok(ids);
        }
        let ids = tokenizer.encode_apart(words, &[], &list)?;
        if has_control(&ids) {
            return Err(self.undecided("the tokenizer makes a control token of plain text"));
        }
        Ok(ids)
    }

    /// What the tokenizer calls control, and the mask.
    fn control_tokens(&self) -> Result<Tokens> {
        let tokenizer = self.tokenizer()?;
        let mut tokens = tokenizer.control();
        if let Ok(mask) = self.engine.mask()
            && tokens.iter().all(|(_, id)| *id != mask)
        {
            tokens.push((tokenizer.decode(&[mask], false)?, mask));
        }
        tokens.retain(|(text, _)| !text.is_empty());
        // The longest first: that is the one that a tokenizer takes.
        tokens.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        Ok(Tokens(tokens))
    }

    /// The control tokens in the rendered text that the template printed.
    fn control_of_template(&self, talk: Talk<'_>, text: &str, tokens: &Tokens) -> Result<Vec<Control>> {
        let parts = talk.parts();
        let edges = tokens.edges();
        if !parts.iter().any(|part| part.contains(&edges[..])) {
            return Ok(tokens.find(text));
        }
        let marks = Marks::new(&edges, |c| text.contains(c) || parts.iter().any(|part| part.contains(c)));
        let marks =
            marks.ok_or_else(|| self.undecided("the messages have every character for private use"))?;
        let render = |into: &dyn Fn(&str) -> String| {
            let (messages, tools) = talk.map(into);
            self.render_with(&messages, &tools)
        };
        let same = |marked: &str| marked.chars().map(|c| marks.back(c)).eq(text.chars());
        let all = render(&|part| marks.everywhere(part));
        if let Some(marked) = all.as_ref().ok().filter(|marked| same(marked)) {
            return Ok(marks.places(tokens.find(marked), marked));
        }
        let whole = render(&|part| marks.first(part, tokens.find(part)))?;
        let ids = |text: &str| tokens.find(text).into_iter().map(|(_, id)| id).collect::<Vec<_>>();
        if same(&whole) && all.is_ok_and(|all| ids(&all) == ids(&whole)) {
            return Ok(marks.places(tokens.find(&whole), &whole));
        }
        Err(self.undecided(
            "the chat template prints other things for a message because of a control token in it",
        ))
    }

    fn undecided(&self, why: &str) -> Error {
        let what = format!("messages: {why}, so that it cannot be told what is text");
        Error::Text { file: self.origin.clone(), what }
    }
}

impl Tokens {
    /// The first and the last characters of tokens.
    fn edges(&self) -> Vec<char> {
        let ends = |(text, _): &(String, TokenId)| [text.chars().next(), text.chars().next_back()];
        let mut edges: Vec<_> = self.0.iter().flat_map(ends).flatten().collect();
        edges.sort_unstable();
        edges.dedup();
        edges
    }

    /// The tokens in a string, from the left, the longest of those that begin at a place.
    fn find(&self, text: &str) -> Vec<Control> {
        let edges = self.edges();
        let (mut found, mut end) = (Vec::new(), 0);
        for (at, _) in text.char_indices().filter(|(_, c)| edges.contains(c)) {
            let rest = &text[at..];
            let token = self.0.iter().find(|(token, _)| at >= end && rest.starts_with(token.as_str()));
            if let Some((token, id)) = token {
                end = at + token.len();
                found.push((at..end, *id));
            }
        }
        found
    }
}

/// Characters, and those that replace them in messages.
struct Marks(Vec<(char, char)>);

impl Marks {
    /// Marks that are not in `used`. `None` if there are too few.
    fn new(edges: &[char], used: impl Fn(char) -> bool) -> Option<Self> {
        let mut marks: Vec<(char, char)> = Vec::new();
        for &edge in edges {
            let taken = |c| used(c) || marks.iter().any(|(_, mark)| *mark == c);
            marks.push((edge, unused(taken)?));
        }
        Some(Self(marks))
    }

    fn mark(&self, c: char) -> char {
        self.0.iter().find(|(edge, _)| *edge == c).map_or(c, |(_, mark)| *mark)
    }

    fn back(&self, c: char) -> char {
        self.0.iter().find(|(_, mark)| *mark == c).map_or(c, |(edge, _)| *edge)
    }

    /// The text with a mark in every token that it could begin or end.
    fn everywhere(&self, text: &str) -> String {
        text.chars().map(|c| self.mark(c)).collect()
    }

    /// The text with a mark in each of these tokens.
    fn first(&self, text: &str, tokens: Vec<Control>) -> String {
        let mut marked = text.to_owned();
        for (range, _) in tokens.into_iter().rev() {
            if let Some(c) = text[range.start..].chars().next() {
                marked.replace_range(
                    range.start..range.start + c.len_utf8(),
                    self.mark(c).encode_utf8(&mut [0; 4]),
                );
            }
        }
        marked
    }

    /// Positions in text with marks as positions in the text without them.
    fn places(&self, found: Vec<Control>, text: &str) -> Vec<Control> {
        let (mut here, mut from) = (0, 0);
        let place = |(range, id): Control| {
            here += text[from..range.start].chars().map(|c| self.back(c).len_utf8()).sum::<usize>();
            from = range.start;
            // A token that was found has no marks.
            (here..here + range.len(), id)
        };
        found.into_iter().map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        let list = [("<|end|>x", 3), ("<|end|>", 1), ("[M]", 2)];
        Tokens(list.map(|(text, id)| (text.to_owned(), id)).to_vec())
    }

    #[test]
    fn the_longest_token_is_found_at_every_place() {
        assert_eq!(tokens().find("é<<|end|>x[M]<|end|>"), [(3..11, 3), (11..14, 2), (14..21, 1)]);
        assert_eq!(tokens().edges(), ['<', '>', '[', ']', 'x']);
    }

    #[test]
    fn marks_break_tokens_and_places_are_those_without_them() {
        let (tokens, text) = (tokens(), "a<|end|> é < > [M]");
        let marks = Marks::new(&tokens.edges(), |c| c == '\u{f0000}').unwrap();
        for marked in [marks.everywhere(text), marks.first(text, tokens.find(text))] {
            assert!(tokens.find(&marked).is_empty() && !marked.contains('\u{f0000}'), "{marked}");
            assert_eq!(marked.chars().map(|c| marks.back(c)).collect::<String>(), text);
        }
        let marked = marks.everywhere("<é>") + "<|end|>" + &marks.everywhere("[x") + "[M]";
        assert_eq!(marks.places(tokens.find(&marked), &marked), [(4..11, 1), (13..16, 2)]);
    }
}
