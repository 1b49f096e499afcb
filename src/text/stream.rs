//! [`StreamDecoder`]: the text of ids as they become final, never half a character.
//!
//! In a byte-level vocabulary one character may span several tokens, so the text of the ids so far may end in U+FFFD that the
//! next id completes: that tail is held back. Only a window of the last ids is decoded again with each push, so the cost per
//! token does not grow with the text. The window keeps some ids that are printed already, because decoders treat the first
//! token in a special way (they drop the space before the first word).

use super::Tokenizer;
use crate::error::Result;
use crate::tensor::TokenId;

/// The window is cut when it is longer than this.
const WINDOW: usize = 64;
/// Ids that stay in the window when it is cut. More tokens than an incomplete character has bytes.
const CONTEXT: usize = 16;
/// U+FFFD characters that may still change: an incomplete character has at most this many bytes, and a decoder may show each.
const UNSURE: usize = 4;

/// Turns ids into text piece by piece: the pieces together are the text of all ids decoded at once.
///
/// A run of byte tokens, which a decoder judges as a whole ([`Tokenizer::is_byte`]), is held back until it ends.
#[derive(Clone)]
pub struct StreamDecoder<'a> {
    tokenizer: &'a dyn Tokenizer,
    skip_special: bool,
    /// The last ids.
    window: Vec<TokenId>,
    /// How many ids at the window's end are a run of byte tokens that may continue.
    run: usize,
    /// What the caller has of the window's text.
    printed: String,
}

impl<'a> StreamDecoder<'a> {
    /// A decoder at the start of the text. `skip_special` leaves out special tokens.
    pub fn new(tokenizer: &'a dyn Tokenizer, skip_special: bool) -> Self {
        Self { tokenizer, skip_special, window: Vec::new(), run: 0, printed: String::new() }
    }

    /// Takes the next ids and returns the text that is certain by now.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, ids: &[TokenId]) -> Result<String> {
        let before = self.window.len();
        for &id in ids {
            self.take(id)?;
        }
        if self.run >= ids.len() {
            return Ok(String::new());
        }
        let text = self.decode_sure()?;
        if text == self.printed && !text.is_empty() && self.run == 0 && self.textless(ids)? {
            // Nothing was open and nothing came: the new ids must not push context out of the window. (Before the first text they
            // stay: a first space without text is still the first token.)
            self.window.truncate(before);
            return Ok(String::new());
        }
        let piece = after(&self.printed, &text[..sure_len(&text)]).to_owned();
        self.printed.push_str(&piece);
        if self.window.len() > WINDOW + self.run {
            self.cut(text.len() - self.printed.len().min(text.len()))?;
        }
        Ok(piece)
    }

    /// Puts an id into the window. Ids without text do not end a run of bytes.
    fn take(&mut self, id: TokenId) -> Result<()> {
        self.window.push(id);
        let goes_on = self.tokenizer.is_byte(id) || (self.run > 0 && self.textless(&[id])?);
        self.run = if goes_on { self.run + 1 } else { 0 };
        Ok(())
    }

    /// Whether ids have no text wherever they are. Some decoders leave out a part of the last token only, so each is asked twice.
    fn textless(&self, ids: &[TokenId]) -> Result<bool> {
        for &id in ids {
            if !self.tokenizer.decode(&[id, id], self.skip_special)?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The text of the window up to a run of bytes that may continue.
    fn decode_sure(&self) -> Result<String> {
        self.tokenizer.decode(&self.window[..self.window.len() - self.run], self.skip_special)
    }

    /// The text that was held back, and the end of this text: the decoder starts over.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn finish(&mut self) -> Result<String> {
        let text = self.tokenizer.decode(&self.window, self.skip_special)?;
        let rest = after(&self.printed, &text).to_owned();
        self.window.clear();
        self.run = 0;
        self.printed.clear();
        Ok(rest)
    }

    /// Drops ids from the window's front. `held` is the number of bytes at the end of its text that are not printed.
    fn cut(&mut self, held: usize) -> Result<()> {
        self.window.drain(..self.window.len() - CONTEXT - self.run);
        self.printed = self.decode_sure()?;
        let keep = self.printed.len().saturating_sub(held);
        self.printed.truncate(self.printed.floor_char_boundary(keep));
        Ok(())
    }
}

/// What `text` has after `printed`. If a decoder changed its mind about printed text: what it has after the part that stayed, so that
/// nothing is lost.
fn after<'t>(printed: &str, text: &'t str) -> &'t str {
    let same = printed.chars().zip(text.chars()).take_while(|(a, b)| a == b);
    &text[same.map(|(c, _)| c.len_utf8()).sum()..]
}

/// Bytes of `text` that no further id can change: all but the last U+FFFD characters.
fn sure_len(text: &str) -> usize {
    let mut sure = text;
    for _ in 0..UNSURE {
        match sure.strip_suffix('\u{fffd}') {
            Some(rest) => sure = rest,
            None => break,
        }
    }
    sure.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// One token for each byte; 256 is a special token, and `space` drops the first space of the text.
    #[derive(Default)]
    struct ByteTokens {
        space: bool,
        longest: AtomicUsize,
    }

    impl Tokenizer for ByteTokens {
        fn encode(&self, text: &str) -> Result<Vec<TokenId>> {
            Ok(text.bytes().map(TokenId::from).collect())
        }

        fn decode(&self, ids: &[TokenId], skip_special: bool) -> Result<String> {
            self.longest.fetch_max(ids.len(), Ordering::Relaxed);
            let mut bytes = Vec::new();
            for &id in ids {
                match u8::try_from(id) {
                    Ok(byte) => bytes.push(byte),
                    Err(_) if skip_special => {}
                    Err(_) => bytes.extend_from_slice(b"<|end|>"),
                }
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Ok(match text.strip_prefix(' ') {
                Some(rest) if self.space => rest.to_owned(),
                _ => text,
            })
        }

        fn size(&self) -> usize {
            257
        }

        fn holes(&self) -> &[TokenId] {
            &[]
        }

        fn id_of(&self, _: &str) -> Option<TokenId> {
            None
        }
    }

    fn stream(tokenizer: &ByteTokens, skip_special: bool, chunks: &[&[TokenId]]) -> Vec<String> {
        let mut decoder = StreamDecoder::new(tokenizer, skip_special);
        let mut pieces: Vec<String> = chunks.iter().map(|ids| decoder.push(ids).unwrap()).collect();
        pieces.push(decoder.finish().unwrap());
        pieces
    }

    #[test]
    fn a_character_appears_with_its_last_byte() {
        let ids = ByteTokens::default().encode("né🙂語").unwrap();
        let chunks: Vec<&[TokenId]> = ids.chunks(1).collect();
        let pieces = stream(&ByteTokens::default(), true, &chunks);
        assert_eq!(
            pieces,
            ["n", "", "é", "", "", "", "🙂", "", "", "語", ""],
            "one piece per byte, then the rest"
        );
    }

    #[test]
    fn an_incomplete_end_is_printed_by_finish_only() {
        let pieces = stream(&ByteTokens::default(), true, &[&[0x61], &[0xf0], &[0x9f]]);
        assert_eq!(pieces, ["a", "", "", "\u{fffd}"]);
    }

    #[test]
    fn finish_starts_a_new_text() {
        let tokenizer = ByteTokens { space: true, ..Default::default() };
        let mut decoder = StreamDecoder::new(&tokenizer, true);
        for _ in 0..2 {
            assert_eq!(decoder.push(&[0x20, 0x61]).unwrap(), "a");
            assert_eq!(decoder.finish().unwrap(), "");
        }
    }

    #[test]
    fn the_window_is_bounded_and_the_first_space_is_dropped_once() {
        let tokenizer = ByteTokens { space: true, ..Default::default() };
        // Runs of special tokens longer than the window are between the words.
        let mut ids = tokenizer.encode(" one two").unwrap();
        for _ in 0..40 {
            ids.extend([256; 3 * CONTEXT]);
            ids.extend(tokenizer.encode(" three 語").unwrap());
        }
        let whole = tokenizer.decode(&ids, true).unwrap();
        tokenizer.longest.store(0, Ordering::Relaxed);
        let chunks: Vec<&[TokenId]> = ids.chunks(1).collect();
        assert_eq!(stream(&tokenizer, true, &chunks).concat(), whole);
        assert!(tokenizer.longest.load(Ordering::Relaxed) <= WINDOW + 1, "more than a window was decoded");
    }

    #[test]
    fn any_bytes_in_any_pieces_give_the_text_of_all() {
        use proptest::prelude::*;
        let longest = Cell::new(0);
        // Bytes that start, continue and break characters, far more often than random bytes do.
        let byte = prop_oneof![
            Just(0x20u32),
            Just(0x61),
            0x80u32..0xc0,
            Just(0xc3),
            Just(0xe8),
            Just(0xaa),
            Just(0x9e),
            Just(0xf0),
            Just(0x9f),
            Just(0x99),
            Just(0x82),
            Just(0xff),
            Just(256),
            0u32..256
        ];
        let chunks = prop::collection::vec(prop::collection::vec(byte, 0..9), 0..60);
        proptest!(ProptestConfig::with_cases(2000), |(chunks in chunks, skip in any::<bool>(), space in any::<bool>())| {
            let tokenizer = ByteTokens { space, ..Default::default() };
            let chunks: Vec<&[TokenId]> = chunks.iter().map(Vec::as_slice).collect();
            let whole = tokenizer.decode(&chunks.concat(), skip).unwrap();
            longest.set(longest.get().max(whole.len()));
            prop_assert_eq!(stream(&tokenizer, skip, &chunks).concat(), whole);
        });
        assert!(longest.get() > 4 * WINDOW, "the cases never left the window");
    }
}
