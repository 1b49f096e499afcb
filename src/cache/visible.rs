//! Which keys a query row sees: the attention rule of a model, and the spans that follow from it for a forward pass.
//!
//! Every rule of the supported families lets a row see one contiguous run of keys, so visibility is a list of
//! (rows, keys) pairs and never an `[n, n]` mask.

use std::ops::Range;

/// The attention rule of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// Every position sees every position.
    Bidirectional,
    /// Position `q` sees position `k` iff `k / block <= q / block`, on absolute positions.
    BlockCausal {
        /// Positions in a block.
        block: usize,
    },
}

impl Attention {
    /// Every position sees itself and those before it: blocks of one position.
    pub const CAUSAL: Self = Self::BlockCausal { block: 1 };
}

/// Blocks that positions lie in: position `p` is in block `(p + offset) / len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Positions in a block, at least 1.
    pub len: usize,
    /// How much of the first block is before position 0; below `len`.
    pub offset: usize,
}

impl Blocks {
    /// Blocks of one position: every position sees itself and those before it.
    pub const CAUSAL: Self = Self { len: 1, offset: 0 };

    /// Blocks of `len` positions, of which one begins at `start`.
    pub fn from(start: usize, len: usize) -> Self {
        Self { len, offset: (len - start % len) % len }
    }

    /// The last position up to `pos` where a block begins; 0 in a first block that begins before it.
    pub fn floor(self, pos: usize) -> usize {
        ((pos + self.offset) / self.len * self.len).saturating_sub(self.offset)
    }

    /// The first position from `pos` on where a block begins.
    pub fn ceil(self, pos: usize) -> usize {
        (pos + self.offset).next_multiple_of(self.len) - self.offset
    }

    /// Where the last of `blocks` blocks ends, of which the first holds `pos`.
    pub fn end(self, pos: usize, blocks: usize) -> usize {
        ((pos + self.offset) / self.len + blocks) * self.len - self.offset
    }
}

/// Consecutive rows of a pass that see the same keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Rows, counted from the first row of the pass.
    pub rows: Range<usize>,
    /// Visible keys, as absolute positions.
    pub keys: Range<usize>,
}

/// The keys that the rows of one forward pass see, in row order and without gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visible(Vec<Span>);

impl Visible {
    /// Rows at the absolute positions `rows` all see the keys `keys`.
    pub fn all(rows: Range<usize>, keys: Range<usize>) -> Self {
        let mut visible = Self::default();
        visible.set_all(rows, keys);
        visible
    }

    /// What `attention` lets rows at the absolute positions `rows` see of the positions `first..end`.
    ///
    /// Rows before `first` (padding) see the same keys as the others, or those of their own block if it holds nothing else;
    /// their output means nothing.
    pub fn by_rule(attention: Attention, rows: Range<usize>, first: usize, end: usize) -> Self {
        let mut visible = Self::default();
        visible.set_by_rule(attention, rows, first, end);
        visible
    }

    /// Becomes [`Self::all`], in the memory that it has.
    pub fn set_all(&mut self, rows: Range<usize>, keys: Range<usize>) {
        self.0.clear();
        self.0.push(Span { rows: 0..rows.len(), keys });
    }

    /// Becomes [`Self::by_rule`], in the memory that it has.
    pub fn set_by_rule(&mut self, attention: Attention, rows: Range<usize>, first: usize, end: usize) {
        match attention {
            Attention::Bidirectional => self.set_all(rows, first..end),
            Attention::BlockCausal { block } => {
                self.set_by_blocks(Blocks { len: block, offset: 0 }, rows, first, end);
            }
        }
    }

    /// As [`Self::set_by_rule`], for a position that sees its own block and those before it.
    pub fn set_by_blocks(&mut self, blocks: Blocks, rows: Range<usize>, first: usize, end: usize) {
        self.0.clear();
        let mut pos = rows.start;
        while pos < rows.end {
            let block_end = blocks.end(pos, 1);
            let next = block_end.min(rows.end);
            let keys_end = block_end.min(end);
            let keys = if first < keys_end { first } else { pos }..keys_end;
            self.0.push(Span { rows: pos - rows.start..next - rows.start, keys });
            pos = next;
        }
    }

    /// The spans, in row order.
    pub fn spans(&self) -> &[Span] {
        &self.0
    }

    /// Number of query rows.
    pub fn rows(&self) -> usize {
        self.0.last().map_or(0, |span| span.rows.end)
    }

    /// One past the last visible key.
    pub fn end(&self) -> usize {
        self.0.iter().map(|span| span.keys.end).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_seen_by_blocks_of_padding_only() {
        let rule = Attention::BlockCausal { block: 4 };
        for first in 0..10 {
            for span in Visible::by_rule(rule, 0..12, first, 12).spans() {
                let inside = span.rows.end <= first;
                let expected = if inside { span.rows.clone() } else { first..span.rows.end };
                assert_eq!(span.keys, expected, "padding {first}, rows {:?}", span.rows);
            }
        }
    }

    #[test]
    fn blocks_may_begin_before_the_first_position() {
        for len in 1..6 {
            for start in 0..12 {
                let blocks = Blocks::from(start, len);
                assert!(blocks.offset < len && blocks.floor(start) == start && blocks.ceil(start) == start);
                let of = |pos: usize| (pos + blocks.offset) / len;
                for pos in 0..20 {
                    assert!(blocks.floor(pos) <= pos && of(blocks.floor(pos)) == of(pos));
                    assert!(blocks.floor(pos) == 0 || of(blocks.floor(pos) - 1) + 1 == of(pos));
                    let end = blocks.end(pos, 1);
                    assert!(end > pos && of(end) == of(pos) + 1 && of(end - 1) == of(pos));
                    assert_eq!(blocks.end(pos, 3), end + 2 * len);
                    assert_eq!(
                        blocks.ceil(pos),
                        if blocks.floor(pos) == pos && of(pos) * len == pos + blocks.offset {
                            pos
                        } else {
                            end
                        }
                    );
                    let mut visible = Visible::default();
                    visible.set_by_blocks(blocks, pos..pos + 7, 0, pos + 7);
                    for span in visible.spans() {
                        for row in span.rows.clone() {
                            let sees = |k: usize| of(k) <= of(pos + row);
                            assert!((0..pos + 7).all(|k| span.keys.contains(&k) == sees(k)));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn block_causal_spans_follow_the_rule_for_every_pair() {
        for block in [1, 3, 4, 8] {
            for start in 0..10 {
                for end in start + 1..24 {
                    let visible = Visible::by_rule(Attention::BlockCausal { block }, start..end, 0, end);
                    assert_eq!(visible.rows(), end - start, "block {block}, rows {start}..{end}");
                    for span in visible.spans() {
                        for row in span.rows.clone() {
                            let q = start + row;
                            for k in 0..end {
                                let sees = span.keys.contains(&k);
                                assert_eq!(sees, k / block <= q / block, "block {block}, q {q}, k {k}");
                            }
                        }
                    }
                }
            }
        }
    }
}
