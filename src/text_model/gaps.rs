//! Gaps in a prompt: `<mask:N>` means N masks that the model fills in.

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::tensor::TokenId;
use crate::text::Tokenizer;

/// The ids of a string, with N of the model's masks for every `<mask:N>` in it.
///
/// # Errors
/// [`Error::Option`] for a gap without a number or longer than the context, [`Error::Text`] from the tokenizer, or no mask id.
pub(super) fn encode(text: &str, tokenizer: &dyn Tokenizer, engine: &Engine) -> Result<Vec<TokenId>> {
    let mut ids = Vec::new();
    for piece in pieces(text, engine.context())? {
        match piece {
            Piece::Text(text) => ids.extend(tokenizer.encode(text)?),
            Piece::Masks(n) => ids.extend(std::iter::repeat_n(engine.mask()?, n)),
        }
    }
    Ok(ids)
}

/// Whether a string has gaps.
///
/// # Errors
/// As [`encode`].
pub(super) fn any(text: &str, engine: &Engine) -> Result<bool> {
    Ok(pieces(text, engine.context())?.iter().any(|piece| matches!(piece, Piece::Masks(_))))
}

/// A run of text, or of masks to fill in.
#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Text(&'a str),
    Masks(usize),
}

/// Splits a string at every `<mask:N>`.
fn pieces(text: &str, limit: usize) -> Result<Vec<Piece<'_>>> {
    const OPEN: &str = "<mask:";
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some(start) = rest.find(OPEN) {
        let after = &rest[start + OPEN.len()..];
        let digits = after.split('>').next().filter(|digits| digits.len() < after.len()).unwrap_or("");
        let n = digits.parse().ok().filter(|n| (1..=limit).contains(n)).ok_or_else(|| {
            Error::option(
                "prompt",
                format!("`{OPEN}{digits}` given, <mask:N> with N from 1 to {limit} expected"),
            )
        })?;
        pieces.push(Piece::Text(&rest[..start]));
        pieces.push(Piece::Masks(n));
        rest = &after[digits.len() + 1..];
    }
    pieces.push(Piece::Text(rest));
    pieces.retain(|piece| *piece != Piece::Text(""));
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_split_out() {
        let all = pieces("The <mask:6> home.<mask:1>", 10).unwrap();
        assert_eq!(all, [Piece::Text("The "), Piece::Masks(6), Piece::Text(" home."), Piece::Masks(1)]);
        assert_eq!(pieces("plain", 10).unwrap(), [Piece::Text("plain")]);
    }

    #[test]
    fn malformed_masks_are_refused() {
        for text in [
            "<mask:>",
            "<mask:0>",
            "<mask:11>",
            "<mask:-1>",
            "<mask:x>",
            "<mask:5",
            "<mask:99999999999999999999>",
        ] {
            let error = pieces(text, 10).unwrap_err().to_string();
            assert!(error.contains("<mask:N> with N from 1 to 10 expected"), "{text}: {error}");
        }
    }
}
