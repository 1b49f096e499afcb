//! Weights as right operands: panels as they are opened, and any weights decoded to bf16.

use crate::dtype::Bf16;
use crate::kernels::simd::{AmxTiles, F32s, TILE_ROW, TILE_SIDE, Tile};
use crate::quant::{Code, Group, PANEL_ROWS, Panels};

/// Elements of k in a tile of bf16.
pub(in crate::kernels::gemm) const TILE_K: usize = TILE_ROW / size_of::<Bf16>();

/// Weights that are decoded to tiles of bf16.
pub(super) trait Weights: Copy {
    /// 16 rows.
    type Panel: Copy;

    /// Elements of a row.
    fn k(&self) -> usize;
    /// Rows `16 i ..`.
    ///
    /// # Panics
    /// If there are none.
    fn open(&self, i: usize) -> Self::Panel;
    /// Rounds elements `32 at .. 32 (at + 1)` of all rows of a panel to bf16, `[16 pairs of k][16 rows][2]`, zeros where the
    /// matrix ends.
    ///
    /// # Safety
    /// `out` is valid for writes of a tile.
    ///
    /// # Panics
    /// If `k` ends before.
    unsafe fn decode(&self, amx: impl AmxTiles, panel: Self::Panel, at: usize, out: *mut u32);
}

/// A matrix of bf16, row after row.
#[derive(Clone, Copy)]
pub(in crate::kernels::gemm) struct Bf16Rows<'a> {
    w: &'a [Bf16],
    n: usize,
    k: usize,
}

impl<'a> Bf16Rows<'a> {
    /// Rows of `k` elements.
    pub(in crate::kernels::gemm) fn new(w: &'a [Bf16], k: usize) -> Self {
        Self { w, n: w.len() / k.max(1), k }
    }
}

impl Weights for Bf16Rows<'_> {
    /// The first row.
    type Panel = usize;

    #[inline(always)]
    fn k(&self) -> usize {
        self.k
    }

    #[inline(always)]
    fn open(&self, i: usize) -> usize {
        assert!(i * PANEL_ROWS < self.n, "panel {i} of {} rows", self.n);
        i * PANEL_ROWS
    }

    #[inline(always)]
    unsafe fn decode(&self, amx: impl AmxTiles, row: usize, at: usize, out: *mut u32) {
        let k = at * TILE_K;
        if row + PANEL_ROWS <= self.n && k + TILE_K <= self.k {
            let w = &self.w[row * self.k + k..][..(PANEL_ROWS - 1) * self.k + TILE_K];
            // SAFETY: 16 rows of 64 bytes, k elements apart: sliced above. The caller's contract for `out`.
            unsafe { amx.transpose(w.as_ptr().cast(), self.k * size_of::<Bf16>(), out) };
        } else {
            let mut edge = [[Bf16(0); TILE_K]; PANEL_ROWS];
            let len = TILE_K.min(self.k - k);
            for (i, edge) in edge.iter_mut().take(self.n - row).enumerate() {
                edge[..len].copy_from_slice(&self.w[(row + i) * self.k + k..][..len]);
            }
            // SAFETY: `edge` is 16 rows of 64 bytes. The caller's contract for `out`.
            unsafe { amx.transpose(edge.as_ptr().cast(), TILE_ROW, out) };
        }
    }
}

/// A panel of quantized weights, its parts apart.
#[derive(Clone, Copy)]
pub(super) struct OpenPanel<'a> {
    pub(super) codes: &'a [u8],
    header: &'a [u8],
    code: Code,
    /// Element `k` is in group `k >> group_shift`.
    group_shift: u32,
    /// Where minima start, in bytes; none without zero points.
    minima: Option<usize>,
}

/// Bytes of the scales of a group.
const SCALES: usize = PANEL_ROWS * 2;

impl<'a> OpenPanel<'a> {
    /// Panel `i` of `w`.
    ///
    /// # Panics
    /// If there is none.
    #[inline(always)]
    pub(super) fn new(w: &Panels<'a>, i: usize) -> Self {
        let quant = w.quant();
        let (header, codes) = w.panel(i).split_at(quant.header_bytes(w.k()));
        let group_shift = match quant.group {
            Group::Of(len) => len.trailing_zeros(),
            Group::Row => usize::BITS - 1,
        };
        let minima = quant.zero_points.then_some(quant.groups(w.k()) * SCALES);
        Self { codes, header, code: quant.code, group_shift, minima }
    }

    /// Scales of all rows for element `k`.
    #[inline(always)]
    pub(super) fn scales<S: Tile>(&self, s: S, k: usize) -> S::V {
        self.halves(s, (k >> self.group_shift) * SCALES)
    }

    /// Minima of all rows for element `k`, of which `scales` are the scales. Only of int4 codes.
    #[inline(always)]
    pub(super) fn minima<S: Tile>(&self, s: S, k: usize, scales: S::V) -> S::V {
        match self.minima {
            Some(minima) => self.halves(s, minima + (k >> self.group_shift) * SCALES),
            None => s.mul(scales, s.splat(-8.0)),
        }
    }

    /// Minima of all rows for element `k` where codes mean -8 to 7; none without zero points.
    #[inline(always)]
    pub(super) fn centred_minima<S: Tile>(&self, s: S, k: usize, scales: S::V) -> Option<S::V> {
        let minima = self.halves(s, self.minima? + (k >> self.group_shift) * SCALES);
        Some(s.mul_add(scales, s.splat(8.0), minima))
    }

    /// 16 numbers from byte `at` of the header on.
    #[inline(always)]
    fn halves<S: Tile>(&self, s: S, at: usize) -> S::V {
        const { assert!(S::LANES == PANEL_ROWS, "vectors of AMX have a lane for each row of a panel") };
        let halves = &self.header[at..][..SCALES];
        // SAFETY: 16 elements, sliced above; vectors are loaded unaligned.
        unsafe { s.load_f16(halves.as_ptr().cast()) }
    }
}

impl<'a> Weights for Panels<'a> {
    type Panel = OpenPanel<'a>;

    #[inline(always)]
    fn k(&self) -> usize {
        Panels::k(self)
    }

    #[inline(always)]
    fn open(&self, i: usize) -> OpenPanel<'a> {
        OpenPanel::new(self, i)
    }

    #[inline(always)]
    unsafe fn decode(&self, amx: impl AmxTiles, panel: OpenPanel<'a>, at: usize, out: *mut u32) {
        let (s, k) = (amx.float(), at * TILE_K);
        let scales = panel.scales(s, k);
        let bytes = TILE_K * PANEL_ROWS * panel.code.bits() / 8;
        let codes = &panel.codes[at * bytes..][..bytes];
        match panel.code {
            // SAFETY: these are the codes of a tile, sliced above; the caller's contract for `out`.
            Code::Int8 => unsafe { int8_tile(amx, codes.as_ptr(), scales, out) },
            Code::Int4 => {
                let minima = panel.minima(s, k, scales);
                // SAFETY: as above.
                unsafe { int4_tile(amx, codes.as_ptr(), scales, minima, out) }
            }
        }
    }
}

/// Rounds `scale * code` of a tile to bf16.
///
/// # Safety
/// `codes` is valid for reads of the codes of 32 k, `out` for writes of a tile.
#[inline(always)]
unsafe fn int8_tile<U: AmxTiles>(amx: U, codes: *const u8, scales: <U::Float as F32s>::V, out: *mut u32) {
    let s = amx.float();
    for line in 0..TILE_K / 4 {
        // SAFETY: the codes of 32 k are 8 lines, the caller's contract.
        let codes = unsafe { s.load_codes(codes.add(line * TILE_ROW)) };
        for pair in 0..2 {
            let even = s.mul(s.byte(codes, 2 * pair), scales);
            let odd = s.mul(s.byte(codes, 2 * pair + 1), scales);
            // SAFETY: 2 of the 16 pairs of the tile, the caller's contract.
            unsafe { amx.store_pairs(even, odd, out.add((line * 2 + pair) * TILE_SIDE)) };
        }
    }
}

/// Rounds `scale * code + minimum` of a tile to bf16.
///
/// # Safety
/// As [`int8_tile`].
#[inline(always)]
unsafe fn int4_tile<U: AmxTiles>(
    amx: U,
    codes: *const u8,
    scales: <U::Float as F32s>::V,
    minima: <U::Float as F32s>::V,
    out: *mut u32,
) {
    let s = amx.float();
    for line in 0..TILE_K / 8 {
        // SAFETY: the codes of 32 k are 4 lines, the caller's contract.
        let codes = unsafe { s.load_codes(codes.add(line * TILE_ROW)) };
        for pair in 0..4 {
            // Low halves of the four bytes are the first four k, high ones the others.
            let first = 4 * (pair % 2) + pair / 2;
            let even = s.mul_add(s.nibble(codes, first), scales, minima);
            let odd = s.mul_add(s.nibble(codes, first + 2), scales, minima);
            // SAFETY: 4 of the 16 pairs of the tile, the caller's contract.
            unsafe { amx.store_pairs(even, odd, out.add((line * 4 + pair) * TILE_SIDE)) };
        }
    }
}
