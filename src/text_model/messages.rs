//! Conversations as ids, in which text is text.
//!
//! What a template prints itself is control, what came in through a message is not, whatever it says: messages may come from
//! strangers. Where a control token in the rendered text comes from is found out by rendering once more, with a character that
//! occurs nowhere else put into the messages. First it is put inside of every control token that a message could begin or end; if
//! the template prints the same text otherwise, every control token that is still whole is the template's. If it does not (a template
//! may look for words such as `</think>` in a message), only the control tokens that a message has from its first to its last
//! character are marked, and the template has to print the same control tokens as for the first marks. If that fails, too, the
//! conversation is refused.

use super::Model;
use crate::error::{Error, Result};
use crate::tensor::TokenId;
use crate::text::{Control, Message, unused};

/// Control tokens by what they are written as.
struct Tokens(Vec<(String, TokenId)>);

impl Model {
    /// The ids of a conversation, with the start of the assistant's turn at its end.
    ///
    /// # Errors
    /// As [`Self::conversation`].
    pub(super) fn encode_messages(&self, messages: &[Message]) -> Result<Vec<TokenId>> {
        // Without a tokenizer a template is of no use: that comes first.
        let tokenizer = self.tokenizer()?;
        let text = self.render(messages)?;
        let tokens = self.control_tokens()?;
        let control = self.control_of_template(messages, &text, &tokens)?;
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

    /// The control tokens in a rendered text that the template printed.
    fn control_of_template(&self, messages: &[Message], text: &str, tokens: &Tokens) -> Result<Vec<Control>> {
        let parts = || messages.iter().flat_map(|message| [&message.role, &message.content]);
        if !parts().any(|part| tokens.touch(part)) {
            return Ok(tokens.find(text));
        }
        let mark = unused(|c| text.contains(c) || parts().any(|part| part.contains(c)));
        let mark = mark.ok_or_else(|| self.undecided("the messages have every character for private use"))?;
        let render = |into: &dyn Fn(&str) -> String| {
            let marked =
                messages.iter().map(|message| Message::new(into(&message.role), into(&message.content)));
            self.render(&marked.collect::<Vec<_>>())
        };
        let same = |marked: &str| marked.chars().filter(|&c| c != mark).eq(text.chars());
        let all = render(&|part| tokens.mark_edges(part, mark));
        if let Some(marked) = all.as_ref().ok().filter(|marked| same(marked)) {
            return Ok(unmarked(tokens.find(marked), marked, mark));
        }
        let whole = render(&|part| tokens.mark_whole(part, mark))?;
        let ids = |text: &str| tokens.find(text).into_iter().map(|(_, id)| id).collect::<Vec<_>>();
        if same(&whole) && all.is_ok_and(|all| ids(&all) == ids(&whole)) {
            return Ok(unmarked(tokens.find(&whole), &whole, mark));
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
    /// Whether a token could begin or end in a text.
    fn touch(&self, text: &str) -> bool {
        let edges = self.edges();
        text.contains(|c| edges.0.contains(&c) || edges.1.contains(&c))
    }

    /// The first and the last characters of tokens.
    fn edges(&self) -> (Vec<char>, Vec<char>) {
        let (mut first, mut last): (Vec<_>, Vec<_>) = self
            .0
            .iter()
            .filter_map(|(text, _)| Some((text.chars().next()?, text.chars().next_back()?)))
            .unzip();
        for edge in [&mut first, &mut last] {
            edge.sort_unstable();
            edge.dedup();
        }
        (first, last)
    }

    /// The tokens in a text, from the left, the longest of those that begin at a place.
    fn find(&self, text: &str) -> Vec<Control> {
        let (first, _) = self.edges();
        let (mut found, mut end) = (Vec::new(), 0);
        for (at, _) in text.char_indices().filter(|(_, c)| first.contains(c)) {
            let rest = &text[at..];
            let token = self.0.iter().find(|(token, _)| at >= end && rest.starts_with(token.as_str()));
            if let Some((token, id)) = token {
                end = at + token.len();
                found.push((at..end, *id));
            }
        }
        found
    }

    /// The text with a mark in every token that it could begin or end.
    fn mark_edges(&self, text: &str, mark: char) -> String {
        let (first, last) = self.edges();
        let mut marked = String::with_capacity(text.len());
        for c in text.chars() {
            if last.contains(&c) {
                marked.push(mark);
            }
            marked.push(c);
            if first.contains(&c) {
                marked.push(mark);
            }
        }
        marked
    }

    /// The text with a mark in every token that it has.
    fn mark_whole(&self, text: &str, mark: char) -> String {
        let mut marked = text.to_owned();
        for (range, _) in self.find(text).into_iter().rev() {
            let first = text[range.start..].chars().next().map_or(0, char::len_utf8);
            marked.insert(range.start + first, mark);
        }
        marked
    }
}

/// Places in a text with marks as places in the text without them.
fn unmarked(found: Vec<Control>, text: &str, mark: char) -> Vec<Control> {
    let (mut marks, mut from) = (0, 0);
    let place = |(range, id): Control| {
        marks += text[from..range.start].matches(mark).count() * mark.len_utf8();
        from = range.start;
        (range.start - marks..range.end - marks, id)
    };
    found.into_iter().map(place).collect()
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
        assert!(tokens().touch("a>") || !tokens().touch("abc"));
    }

    #[test]
    fn marks_break_tokens_and_places_are_those_without_them() {
        let text = "a<|end|> é < > [M]";
        for marked in [tokens().mark_edges(text, '#'), tokens().mark_whole(text, '#')] {
            assert_eq!(marked.replace('#', ""), text);
            assert!(tokens().find(&marked).is_empty(), "{marked}");
        }
        let marked = "a#é<|end|>##[M]#";
        assert_eq!(unmarked(tokens().find(marked), marked, '#'), [(3..10, 1), (10..13, 2)]);
    }
}
