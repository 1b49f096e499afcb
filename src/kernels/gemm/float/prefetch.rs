//! [`Ahead`]: prefetches what is decoded next.

use super::{FloatGemm, KC, KcBlock, NR};
use crate::kernels::simd::Tile;

/// Bytes that a prefetch fetches.
const CACHE_LINE: usize = 64;

/// The weights that are decoded next. Memory would be idle while a band is swept, and the sweep would wait while the next one is
/// decoded, so they are prefetched along the way: a line or two with every vector of k, because a burst of them occupies the buffers
/// that the loads of the sweep need, too.
pub(super) struct Ahead {
    at: *const u8,
    /// Lines that are left in the weight row at `at`.
    left: usize,
    /// Weight rows after that one.
    rows: usize,
    /// Lines of a weight row, and bytes from one row to the next.
    lines: usize,
    stride: usize,
    /// Lines to prefetch at a time; 0 after the last one.
    share: usize,
}

impl Ahead {
    /// What comes after `block`, in which `vectors` vectors of k are read: the next elements of k, then the next band.
    #[inline(always)]
    pub(super) fn of<T>(block: &KcBlock<'_, '_, T>, rows: usize, vectors: usize) -> Self {
        let FloatGemm { x, w, out, .. } = &*block.piece;
        let (k, columns) = (x.width(), out.range());
        let last_rows = block.row + rows == x.len();
        let ((j, at), n) = match block.last {
            false => ((block.band.first, block.at + block.len), block.band.n),
            // Other rows of x pass over the same weights, which are in L2 by now.
            true if !last_rows => ((0, 0), 0),
            true => {
                let first = block.band.first + NR;
                ((first, 0), NR.min(columns.end.saturating_sub(first)))
            }
        };
        let lines = (KC.min(k - at) * size_of::<T>()).div_ceil(CACHE_LINE);
        Self {
            at: w.as_ptr().wrapping_add(j * k + at).cast(),
            left: if n > 0 { lines } else { 0 },
            rows: n.saturating_sub(1),
            lines,
            stride: k * size_of::<T>(),
            share: (n * lines).div_ceil(vectors.max(1)),
        }
    }

    /// Prefetches the share of a vector of k.
    #[inline(always)]
    pub(super) fn ask<S: Tile>(&mut self, s: S) {
        for _ in 0..self.share {
            if self.left == 0 {
                if self.rows == 0 {
                    self.share = 0;
                    return;
                }
                self.at = self.at.wrapping_add(self.stride).wrapping_sub(self.lines * CACHE_LINE);
                (self.rows, self.left) = (self.rows - 1, self.lines);
            }
            s.prefetch_l2(self.at);
            (self.at, self.left) = (self.at.wrapping_add(CACHE_LINE), self.left - 1);
        }
    }
}
