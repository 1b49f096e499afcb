//! [`Grammar`]: which answers are valid, for answers that have to be.
//!
//! The engine asks what may come next at the first position that has no token, and takes tokens to the right of it only as long as
//! the answer so far can still be completed. `text::grammar` makes grammars from JSON schemas, regular expressions and Lark
//! grammars.

use crate::error::Result;
use crate::tensor::TokenId;

/// The answers that are valid.
pub trait Grammar: Send + Sync {
    /// The beginning of an answer, whose end is one of the ids `stop`.
    ///
    /// # Errors
    /// What is wrong with the grammar.
    fn begin(&self, stop: &[TokenId]) -> Result<Box<dyn Walk>>;
}

/// An answer so far. It can always be completed.
pub trait Walk: Send {
    /// The tokens that may come next: token `i` is bit `i % 32` of word `i / 32`, and what is beyond the words may not. A stop id may if
    /// the answer is complete.
    ///
    /// # Errors
    /// If that would take too much work.
    fn allowed(&mut self, tokens: &mut Vec<u32>) -> Result<()>;

    /// Takes the next token, if it may come next.
    ///
    /// # Errors
    /// If that would take too much work.
    fn accept(&mut self, token: TokenId) -> Result<bool>;

    /// Takes the forced tokens, each the only one that can come next, and returns them.
    ///
    /// # Errors
    /// If that would take too much work.
    fn forced(&mut self) -> Result<Vec<TokenId>>;

    /// Whether only a stop id can follow.
    fn is_over(&mut self) -> bool;
}
