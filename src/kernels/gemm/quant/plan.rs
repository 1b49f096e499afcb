//! Where things are for the loops over blocks: strips, panels to prefetch, and the tiles that ever occur.

use super::codes::LINE;
use super::{Codes, PanelGemm};
use crate::kernels::simd::{Shape, Tile};
use crate::quant::PANEL_ROWS;
use std::ops::Range;

/// Where a strip lies.
#[derive(Clone, Copy)]
pub(super) struct Strip {
    /// Scales of group 0.
    pub(super) scales: *const u16,
    /// Codes of element 0 of k, or of the first one that is unpacked.
    pub(super) codes: *const u8,
}

/// Elements of k in a round of a micro-kernel. Whole steps, unrolled, need long displacements, and the front end cannot keep up.
pub(super) const ROUND: usize = 16;

/// Cache lines that are prefetched along the way: a few in every round, because a burst of them occupies the buffers that the
/// loads of the micro-kernel need, too. With many tiles there is less than a line for a round: then rounds prefetch nothing, which is one
/// comparison, and what is left over is prefetched as a step starts.
pub(in crate::kernels::gemm) struct Ahead {
    at: *const u8,
    /// At the start of every step of every tile: those that rounds leave over.
    start: usize,
    /// In every round.
    round: usize,
}

impl Ahead {
    /// `lines` lines from `at` on in every step of `rounds` rounds.
    fn new(at: *const u8, lines: usize, rounds: usize) -> Self {
        let round = lines / rounds;
        Self { at, start: lines - round * rounds, round }
    }

    /// Prefetches the lines for the start of a step.
    #[inline(always)]
    pub(super) fn start<S: Tile>(&mut self, s: S) {
        self.lines(s, self.start);
    }

    /// Prefetches the lines for a round.
    #[inline(always)]
    pub(super) fn round<S: Tile>(&mut self, s: S) {
        self.lines(s, self.round);
    }

    #[inline(always)]
    fn lines<S: Tile>(&mut self, s: S, count: usize) {
        for _ in 0..count {
            s.prefetch_l2(self.at);
            self.at = self.at.wrapping_add(LINE);
        }
    }
}

/// Steps of k that a tile goes through, and where they are.
pub(super) struct Depth {
    pub(super) steps: Range<usize>,
    /// The step that the codes of the strips begin with.
    pub(super) origin: usize,
}

impl<X> PanelGemm<'_, X> {
    /// Column `column`, or `first` if it is not this task's.
    #[inline(always)]
    pub(super) fn or_first(&self, column: usize, first: usize) -> usize {
        if column < self.out.range().end { column } else { first }
    }

    /// The strip whose first row is column `column` of the output.
    #[inline(always)]
    pub(super) fn strip(&self, column: usize) -> Strip {
        let panel = self.w.panel(column / PANEL_ROWS);
        let (lane, header) = (column % PANEL_ROWS, self.w.quant().header_bytes(self.w.k()));
        // A lane is a row: 2 bytes of every scale, 4 bytes of every run of codes. Both offsets lie inside the panel.
        Strip { scales: panel[2 * lane..].as_ptr().cast(), codes: panel[header + 4 * lane..].as_ptr() }
    }

    /// The panels of `width` columns from `column` on, to be prefetched in `parts` parts; nothing if they are not this task's.
    ///
    /// One or two panels are a short stream, in which the hardware's prefetcher starts late: measured from 8 rows on, on an
    /// Intel CPU, prefetching is worth 15 to 50 %. With more panels at once it keeps up by itself, and prefetching twice costs 10 to 30 %.
    #[inline(always)]
    pub(super) fn ahead(&self, column: usize, width: usize, parts: usize) -> Ahead {
        if column >= self.out.range().end || width > 2 * PANEL_ROWS {
            return Ahead::new(std::ptr::null(), 0, 1);
        }
        let width = width.min((self.out.range().end - column).next_multiple_of(PANEL_ROWS));
        let bytes = self.w.quant().panel_bytes(self.w.k()) * width / PANEL_ROWS;
        let at = self.w.panel(column / PANEL_ROWS).as_ptr();
        Ahead::new(at, bytes.div_ceil(LINE * parts.max(1)), self.x.step / ROUND)
    }
}

/// The largest height of all shapes.
pub(super) fn tallest(shapes: &[Shape]) -> usize {
    shapes.last().map_or(0, |shape| shape.height)
}

/// Strips of the tiles of this height.
pub(super) fn strips<C: Codes>(shapes: &[Shape], height: usize) -> usize {
    let shape = shapes.iter().find(|shape| shape.height == height);
    let shape = shape.expect("x is packed in tiles of these heights");
    if C::INT4 { shape.int4_strips } else { shape.strips }
}

/// Whether `m` rows and `n` strips are ever a tile: alone, or among several, as unpacked codes always are.
pub(super) const fn fits(shapes: &[Shape], int4: bool, unpacked: bool, m: usize, n: usize) -> bool {
    let tallest = &shapes[shapes.len() - 1];
    let mut i = 0;
    while i < shapes.len() {
        let shape = &shapes[i];
        if shape.height == m {
            let alone = if int4 { shape.int4_strips } else { shape.strips };
            let several = if int4 { tallest.int4_strips } else { tallest.strips };
            return several == n && Shape::in_company(m, tallest.height) || alone == n && !unpacked;
        }
        i += 1;
    }
    false
}
