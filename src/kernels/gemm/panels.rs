//! The loop over panels of quantized weights, the same for f32 and int8 activations.
//!
//! ```text
//! out[i, j] = Σ_steps scale[j] Σ_k x[i, k] code[j, k] + minimum[j] Σ_k x[i, k]      (+ bias[j])
//! ```
//!
//! A lane is an output row, so nothing is summed across lanes. A tile is `M` rows of x against `N` strips, a strip being as
//! many rows of weights as a vector has lanes. Within a step of k sums are unscaled; each step then adds to one chain per
//! output. The chain is the same for every shape of tile, so the bits of an output do not depend on the rows beside it.

use super::prepare::{StepRows, Steps};
use crate::exec::Columns;
use crate::kernels::simd::{F32s, Tile};
use crate::quant::{Code, PANEL_ROWS, Panels};

/// Some columns of a product with panels. `X`: an element of x.
pub(super) struct Strips<'a, X> {
    pub(super) w: Panels<'a>,
    pub(super) x: Steps<'a, X>,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) out: Columns<'a>,
}

/// A vector of the sums.
type V<A, X> = <<A as StepSums<X>>::Float as F32s>::V;

/// The sums of one step: what differs between kinds of activations.
pub(super) trait StepSums<X>: Copy {
    /// The token of the f32 vectors that hold the sums.
    type Float: Tile;
    /// Whether tiles have 8 rows where there are so many, not 4.
    const TALL: bool;

    /// How many strips a tile has if there are `rows` rows: 1, 2, 4 or 8. Few rows take many strips, for enough independent
    /// chains and streams from memory; with more rows a strip or two stay in L1 while all rows pass over them.
    fn strips(rows: usize) -> usize;

    /// The token.
    fn float(self) -> Self::Float;

    /// `Σ x code` over `len` elements of k, in units of x, for `M` rows and `N` strips of int4 or int8 codes.
    ///
    /// # Safety
    /// `x` holds `M` rows of `len` elements, a multiple of 32; behind every `w` are the codes of a strip for so many.
    unsafe fn sums<const INT4: bool, const M: usize, const N: usize>(
        self,
        w: [*const u8; N],
        x: StepRows<X>,
        len: usize,
    ) -> [[V<Self, X>; N]; M];
}

/// Where a strip lies.
#[derive(Clone, Copy)]
struct Strip {
    /// Scales of group 0.
    scales: *const u16,
    /// Codes of element 0 of k.
    codes: *const u8,
}

impl<X> Strips<'_, X> {
    /// Computes all columns.
    #[inline(always)]
    pub(super) fn run<A: StepSums<X>>(&mut self, a: A) {
        match self.w.quant().code {
            Code::Int8 => self.all::<A, false>(a),
            Code::Int4 => self.all::<A, true>(a),
        }
    }

    #[inline(always)]
    fn all<A: StepSums<X>, const INT4: bool>(&mut self, a: A) {
        match A::strips(self.x.rows) {
            8 => self.columns::<A, INT4, 8>(a),
            4 => self.columns::<A, INT4, 4>(a),
            2 => self.columns::<A, INT4, 2>(a),
            _ => self.columns::<A, INT4, 1>(a),
        }
    }

    /// All columns, `N` strips at a time.
    #[inline(always)]
    fn columns<A: StepSums<X>, const INT4: bool, const N: usize>(&mut self, a: A) {
        let columns = self.out.range();
        let mut first = columns.start;
        while first < columns.end {
            if first + N * A::Float::LANES <= columns.end {
                self.rows::<A, INT4, N>(a, first);
                first += N * A::Float::LANES;
            } else {
                self.rows::<A, INT4, 1>(a, first);
                first += A::Float::LANES;
            }
        }
    }

    /// All rows of x against `N` strips from column `first` on.
    #[inline(always)]
    fn rows<A: StepSums<X>, const INT4: bool, const N: usize>(&mut self, a: A, first: usize) {
        let mut i = 0;
        while i < self.x.rows {
            // Shapes that `strips` never asks for are left out of the program.
            match self.x.rows - i {
                1 => self.tile::<A, INT4, 1, N>(a, i, first),
                2 if N <= 4 => self.tile::<A, INT4, 2, N>(a, i, first),
                3 if N <= 4 => self.tile::<A, INT4, 3, N>(a, i, first),
                8.. if A::TALL && N <= 2 => {
                    self.tile::<A, INT4, 8, N>(a, i, first);
                    i += 4;
                }
                4.. if N <= 2 || A::Float::WIDE && N <= 4 => self.tile::<A, INT4, 4, N>(a, i, first),
                rows => unreachable!("{rows} rows against {N} strips"),
            }
            i += 4;
        }
    }

    /// The strip whose first row is column `column` of the output.
    #[inline(always)]
    fn strip(&self, column: usize) -> Strip {
        let panel = self.w.panel(column / PANEL_ROWS);
        let (lane, header) = (column % PANEL_ROWS, self.w.quant().header_bytes(self.w.k()));
        // A lane is a row: 2 bytes of every scale, 4 bytes of every run of codes. Both offsets lie inside of the panel.
        Strip { scales: panel[2 * lane..].as_ptr().cast(), codes: panel[header + 4 * lane..].as_ptr() }
    }

    /// `M` rows of x from row `i` on, against `N` strips from column `first` on, over all of k.
    #[inline(always)]
    fn tile<A: StepSums<X>, const INT4: bool, const M: usize, const N: usize>(
        &mut self,
        a: A,
        i: usize,
        first: usize,
    ) {
        let (s, quant, k) = (a.float(), self.w.quant(), self.w.k());
        let (padded, group, step) = (quant.padded_k(k), quant.group_len(k), self.x.step);
        let bytes_per_k = PANEL_ROWS * quant.code.bits() / 8;
        let minima = quant.zero_points.then_some(quant.groups(k) * PANEL_ROWS);
        let mut strips = [self.strip(first); N];
        for b in 1..N {
            strips[b] = self.strip(first + b * A::Float::LANES);
        }
        let mut x = self.x.rows_from(i, M);
        let mut acc = [[s.splat(0.0); N]; M];
        let (mut at, mut at_group) = (0, 0);
        while at < padded {
            let len = step.min(padded - at);
            let mut w = [strips[0].codes; N];
            for b in 0..N {
                // SAFETY: `at` is less than the padded k of the panel, so the offset lies inside of its codes.
                w[b] = unsafe { strips[b].codes.add(at * bytes_per_k) };
            }
            // SAFETY: `x` holds M rows of `step` elements, and at + len is at most the padded k of the panel.
            let sums = unsafe { a.sums::<INT4, M, N>(w, x, len) };
            for b in 0..N {
                // SAFETY: the group has a scale, and a minimum if there are zero points, for every row of the panel.
                let scales = unsafe { strips[b].scales.add(at_group) };
                // SAFETY: as above.
                let scale = unsafe { s.load_f16(scales) };
                for row in 0..M {
                    acc[row][b] = s.mul_add(sums[row][b], scale, acc[row][b]);
                }
                if INT4 {
                    let minimum = match minima {
                        // SAFETY: as above.
                        Some(minima) => unsafe { s.load_f16(scales.add(minima)) },
                        None => s.mul(scale, s.splat(-8.0)),
                    };
                    for row in 0..M {
                        // SAFETY: `x` has the stats of M rows.
                        let sum = s.splat(unsafe { (*x.stats.add(row)).sum });
                        acc[row][b] = s.mul_add(sum, minimum, acc[row][b]);
                    }
                }
            }
            at += len;
            // Groups are whole steps, or one step is a group.
            at_group = if at.is_multiple_of(group) { at_group + PANEL_ROWS } else { at_group };
            x = self.x.next(x);
        }
        for (row, acc) in acc.iter().enumerate() {
            for (b, &acc) in acc.iter().enumerate() {
                self.put(s, i + row, first + b * A::Float::LANES, acc);
            }
        }
    }

    /// Writes the outputs of a strip, those that exist.
    #[inline(always)]
    fn put<S: Tile>(&mut self, s: S, row: usize, column: usize, acc: S::V) {
        let range = self.out.range();
        let len = S::LANES.min(range.end - column);
        let out = &mut self.out.row_mut(row)[column - range.start..][..len];
        let acc = match self.bias {
            None => acc,
            Some(bias) => s.add(acc, s.load_partial(&bias[column..][..len])),
        };
        if len == S::LANES { s.store(acc, out) } else { s.store_partial(acc, out) }
    }
}
