//! Tokens as bytes: what each adds to the text that it continues.

use super::HfTokenizer;
use super::steps::Steps;
use crate::tensor::TokenId;
use crate::text::Tokenizer;

/// The byte that a character of a byte-level vocabulary means. Bytes that are printable in Latin-1 are themselves, the others are
/// the characters from U+0100 on, in order.
fn byte_of(c: char) -> Option<u8> {
    let printable = |byte: &u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    match u32::from(c) {
        code @ 0..=255 => u8::try_from(code).ok().filter(printable),
        code => (0..=255).filter(|byte| !printable(byte)).nth(code as usize - 256),
    }
}

/// The byte of a token such as `<0x0A>`.
pub(super) fn named_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let hexadecimal = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| hexadecimal)
}

/// All names that [`named_byte`] takes.
pub(super) fn byte_names() -> impl Iterator<Item = String> {
    let digits = || "0123456789abcdefABCDEF".chars();
    digits().flat_map(move |high| digits().map(move |low| format!("<0x{high}{low}>")))
}

/// What a token adds to text that it does not begin.
fn inside(steps: &Steps, token: String) -> Option<Vec<u8>> {
    let before = steps.decode(vec!["a".to_owned()]).ok()?;
    let both = steps.decode(vec!["a".to_owned(), token]).ok()?;
    Some(both.strip_prefix(&before)?.as_bytes().to_vec())
}

impl HfTokenizer {
    /// As [`Tokenizer::bytes`].
    pub(super) fn bytes_of_tokens(&self) -> Option<Vec<Vec<u8>>> {
        let mut control: Vec<TokenId> = self.control().into_iter().map(|(_, id)| id).collect();
        control.sort_unstable();
        let added = self.vocabulary.plain.get_added_tokens_decoder();
        let table: Vec<Option<u8>> = (0..512).map(|code| char::from_u32(code).and_then(byte_of)).collect();
        let bytes = |id: TokenId| {
            let token = self.token(id).filter(|_| control.binary_search(&id).is_err());
            let Some(token) = token.filter(|token| !self.vocabulary.plain.is_special_token(token)) else {
                return Some(Vec::new());
            };
            if added.contains_key(&id) {
                return Some(token.into_bytes());
            }
            if self.steps.is_byte_level() {
                let byte = |c: char| table.get(c as usize).copied().flatten();
                // A token with a character that means no byte never results from text.
                return Some(token.chars().map(byte).collect::<Option<_>>().unwrap_or_default());
            }
            match named_byte(&token).filter(|_| self.steps.joins_bytes()) {
                Some(byte) => Some(vec![byte]),
                None => inside(&self.steps, token),
            }
        };
        (0..self.size as TokenId).map(bytes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_the_bytes_of_gpt2() {
        for (c, byte) in
            [('!', 33), ('a', 97), ('Ġ', 32), ('Ċ', 10), ('ÿ', 255), ('Ā', 0), ('ł', 160), ('Ń', 173)]
        {
            assert_eq!(byte_of(c), Some(byte), "{c}");
        }
        for c in [' ', '\n', '\u{ad}', 'ń', '語'] {
            assert_eq!(byte_of(c), None, "{c:?}");
        }
        let mut all: Vec<u8> = (0..512).filter_map(|code| char::from_u32(code).and_then(byte_of)).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..=255), "every byte has one character");
    }

    #[test]
    fn only_whole_names_are_bytes() {
        assert_eq!((named_byte("<0x0A>"), named_byte("<0xff>")), (Some(10), Some(255)));
        for token in ["<0x0>", "<0x0AB>", "0x0A", "<0xGG>", "<0x+1>"] {
            assert_eq!(named_byte(token), None, "{token}");
        }
    }
}
