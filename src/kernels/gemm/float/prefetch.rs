//! [`Ahead`]: asking memory for what is decoded next.

use super::{Decode, NR, WeightRow};
use super::{FloatGemm, KC, KcBlock};
use crate::kernels::simd::Tile;

/// Bytes that a prefetch asks for.
const CACHE_LINE: usize = 64;

/// The weights that are decoded next. Memory would rest while a band is swept, and the sweep would wait while the next one is
/// decoded, so every tile asks for its share of them.
pub(super) struct Ahead {
    /// First weight row and first element of k.
    start: (usize, usize),
    /// Cache lines of a weight row.
    lines: usize,
    /// Weight rows times `lines`.
    all: usize,
    /// So many were asked for.
    asked: usize,
    /// Rows of x in the sweep.
    rows: usize,
}

impl Ahead {
    /// What comes after `block`, which `rows` rows pass over: the next elements of k, then the next band.
    #[inline(always)]
    pub(super) fn of<T>(block: &KcBlock<'_, '_, T>, rows: usize) -> Self {
        let (k, columns) = (block.piece.x.width(), block.piece.out.range());
        let last_rows = block.row + rows == block.piece.x.len();
        let (start, n) = match block.last {
            false => ((block.band.first, block.at + block.len), block.band.n),
            // Other rows of x pass over the same weights, which are in L2 by now.
            true if !last_rows => ((0, 0), 0),
            true => {
                let first = block.band.first + NR;
                ((first, 0), NR.min(columns.end.saturating_sub(first)))
            }
        };
        let lines = (KC.min(k - start.1) * size_of::<T>()).div_ceil(CACHE_LINE);
        Self { start, lines, all: n * lines, asked: 0, rows }
    }

    /// Asks for the share of a tile of `m` rows and `n` of `columns` columns.
    #[inline(always)]
    pub(super) fn ask<S: Tile, T>(&mut self, s: S, piece: &FloatGemm<'_, T>, [m, n, columns]: [usize; 3])
    where
        WeightRow<T>: Decode,
    {
        let tiles = self.rows.div_ceil(m) * columns.div_ceil(n);
        let until = self.all.min(self.asked + self.all.div_ceil(tiles));
        while self.asked < until {
            let (j, line) = (self.asked / self.lines, self.asked % self.lines);
            let at = (self.start.0 + j) * piece.x.width() + self.start.1;
            WeightRow::new(piece.w).prefetch(s, at + line * (CACHE_LINE / size_of::<T>()));
            self.asked += 1;
        }
    }
}
