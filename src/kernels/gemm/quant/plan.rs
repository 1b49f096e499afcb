//! Where things are for the loops over blocks: strips, panels to prefetch, and the tiles that are ever made.

use super::codes::LINE;
use super::{Codes, PanelGemm};
use crate::kernels::simd::Shape;
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

/// Cache lines that are prefetched along the way.
pub(super) struct Ahead {
    pub(super) at: *const u8,
    /// In every step of every tile.
    pub(super) lines: usize,
}

/// Steps of k that a tile works off, and where they are.
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
        // A lane is a row: 2 bytes of every scale, 4 bytes of every run of codes. Both offsets lie inside of the panel.
        Strip { scales: panel[2 * lane..].as_ptr().cast(), codes: panel[header + 4 * lane..].as_ptr() }
    }

    /// The panels of `width` columns from `column` on, to be prefetched in `parts` parts; nothing if they are not this task's.
    ///
    /// One or two panels are a short stream, in which the hardware's prefetcher starts late: measured from 8 rows on, on a CPU of
    /// Intel, prefetching is worth 15 to 50 %. With more panels at once it keeps up by itself, and asking twice costs 10 to 30 %.
    #[inline(always)]
    pub(super) fn ahead(&self, column: usize, width: usize, parts: usize) -> Ahead {
        if column >= self.out.range().end || width > 2 * PANEL_ROWS {
            return Ahead { at: std::ptr::null(), lines: 0 };
        }
        let width = width.min((self.out.range().end - column).next_multiple_of(PANEL_ROWS));
        let bytes = self.w.quant().panel_bytes(self.w.k()) * width / PANEL_ROWS;
        Ahead { at: self.w.panel(column / PANEL_ROWS).as_ptr(), lines: bytes.div_ceil(LINE * parts.max(1)) }
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
