//! bf16 activations: weights of any kind are decoded to bf16, and sums stay f32 over all of k.
//!
//! Work is a walk over blocks of 512 k of one or two panels. While the matrix unit multiplies a piece with all rows of x, the
//! vector units decode the next one, a tile now and then. Sums rest in memory between pieces, which rounds nothing.
//!
//! Within a tile of 32 k the unit adds up even and odd elements apart, then both to the sum; subnormal numbers count as
//! zero. So an output errs by less than one rounding for every element of k.

use super::super::pack::StepRows;
use super::super::stack::StackBuffer;
use super::weights::{TILE_K, Weights};
use super::{AmxGemm, BLOCK_LANES, BLOCK_ROWS, output, store_outputs, tile_rows, zero_outputs};
use crate::dtype::Bf16;
use crate::exec::Columns;
use crate::kernels::simd::{AmxOp, AmxTiles, TILE_LANES, TILE_ROW, TILE_SIDE, TileConfig};
use crate::quant::PANEL_ROWS;

/// Tiles of k in a piece: moving the sums then costs a tenth of the multiplications, and the decoded piece of two panels has 32 KiB.
const PIECE: usize = 16;
/// Lanes of the decoded tiles of a piece.
const PIECE_LANES: usize = 2 * PIECE * TILE_LANES;
/// Blocks of rows that pass over a decoded piece: with 16 tiles of rows multiplying takes several times as long as decoding,
/// and x (256 KiB) and the sums (32 KiB) stay in L2.
const BLOCKS: usize = 8;

impl<W: Weights> AmxOp for AmxGemm<'_, W, Bf16> {
    #[inline(always)]
    fn run<U: AmxTiles>(mut self, amx: U) {
        let walk = Walk::new(&self.out, self.x.rows(), self.w.k());
        let mut decoded = StackBuffer::<{ 2 * PIECE_LANES }>::new();
        let mut sums = StackBuffer::<{ BLOCKS * BLOCK_LANES }>::new();
        let (decoded, sums) = (decoded.get(0), sums.get(0));
        let mut configured = None;
        let mut piece = walk.piece(0);
        // SAFETY: `decoded` has room for two pieces.
        unsafe { Decoder::new(self.w, piece, decoded, 1) }.advance(amx);
        for i in 0..walk.pieces() {
            // SAFETY: `decoded` has room for two pieces.
            let (now, later) =
                unsafe { (decoded.add(i % 2 * PIECE_LANES), decoded.add((i + 1) % 2 * PIECE_LANES)) };
            // After the last piece there is nothing to decode.
            let next = if i + 1 < walk.pieces() { walk.piece(i + 1) } else { KBlock { tiles: 0, ..piece } };
            let blocks = piece.rows.div_ceil(BLOCK_ROWS);
            // SAFETY: as above.
            let mut decoder = unsafe { Decoder::new(self.w, next, later, blocks * piece.tiles) };
            for block in 0..blocks {
                let count = BLOCK_ROWS.min(piece.rows - block * BLOCK_ROWS);
                if configured != Some(count) {
                    amx.configure(&TileConfig::blocks(tile_rows(count), TILE_ROW));
                    configured = Some(count);
                }
                let row = piece.row + block * BLOCK_ROWS;
                // SAFETY: there is room for the sums of BLOCKS blocks.
                let sums = unsafe { sums.add(block * BLOCK_LANES) };
                let operands = Operands {
                    x: self.x.rows_from(row, count),
                    x_step: self.x.rows() * TILE_K,
                    w: now,
                    sums,
                };
                // SAFETY: the tiles are configured for `count` rows; the decoder wrote all tiles of this piece, and the
                // multiplications by the one before it wrote the sums, unless this is the first one.
                unsafe {
                    match (count > TILE_SIDE, piece.panels == 2) {
                        (false, false) => multiply::<W, 1, 1>(amx, &operands, piece, &mut decoder),
                        (false, true) => multiply::<W, 1, 2>(amx, &operands, piece, &mut decoder),
                        (true, false) => multiply::<W, 2, 1>(amx, &operands, piece, &mut decoder),
                        (true, true) => multiply::<W, 2, 2>(amx, &operands, piece, &mut decoder),
                    }
                    if piece.last {
                        self.put(amx, row, piece.panel * PANEL_ROWS, piece.panels, sums);
                    }
                }
            }
            piece = next;
        }
    }
}

/// Some k of one or two panels, and the rows of x to be multiplied with them.
#[derive(Clone, Copy)]
struct KBlock {
    panel: usize,
    panels: usize,
    row: usize,
    rows: usize,
    /// First tile of k.
    at: usize,
    /// Tiles of k.
    tiles: usize,
    /// Whether k ends with it.
    last: bool,
}

/// The order of pieces: k innermost, then blocks of rows, then panels, so that panels are read from memory once.
struct Walk {
    panels: std::ops::Range<usize>,
    rows: usize,
    tiles: usize,
}

impl Walk {
    fn new(out: &Columns<'_>, rows: usize, k: usize) -> Self {
        let columns = out.range();
        let panels = columns.start / PANEL_ROWS..columns.end.div_ceil(PANEL_ROWS);
        Self { panels, rows, tiles: k.div_ceil(TILE_K) }
    }

    /// Number of pieces for the same outputs; of no k, one without tiles.
    fn along_k(&self) -> usize {
        self.tiles.div_ceil(PIECE).max(1)
    }

    fn along_rows(&self) -> usize {
        self.rows.div_ceil(BLOCKS * BLOCK_ROWS)
    }

    fn pieces(&self) -> usize {
        self.panels.len().div_ceil(2) * self.along_rows() * self.along_k()
    }

    /// Block `i`.
    fn piece(&self, i: usize) -> KBlock {
        let (outputs, at) = (i / self.along_k(), i % self.along_k() * PIECE);
        let panel = self.panels.start + outputs / self.along_rows() * 2;
        let row = outputs % self.along_rows() * BLOCKS * BLOCK_ROWS;
        KBlock {
            panel,
            panels: (self.panels.end - panel).min(2),
            row,
            rows: (self.rows - row).min(BLOCKS * BLOCK_ROWS),
            at,
            tiles: PIECE.min(self.tiles - at),
            last: at + PIECE >= self.tiles,
        }
    }
}

/// Decodes a piece in even portions.
struct Decoder<W: Weights> {
    w: W,
    panels: [Option<W::Panel>; 2],
    piece: KBlock,
    /// `[tiles of k][2 panels]` tiles
    to: *mut f32,
    /// Portions begun, and how many there are.
    portion: usize,
    portions: usize,
    /// Tiles decoded.
    done: usize,
}

impl<W: Weights> Decoder<W> {
    /// # Safety
    /// `to` is valid for writes of a piece while the decoder lives.
    #[inline(always)]
    unsafe fn new(w: W, piece: KBlock, to: *mut f32, portions: usize) -> Self {
        let second = if piece.panels == 2 { Some(w.open(piece.panel + 1)) } else { None };
        Self { w, panels: [Some(w.open(piece.panel)), second], piece, to, portion: 0, portions, done: 0 }
    }

    /// Decodes the next portion; after the last one the piece is complete.
    #[inline(always)]
    fn advance(&mut self, amx: impl AmxTiles) {
        self.portion += 1;
        let end = self.piece.tiles * self.piece.panels * self.portion / self.portions;
        while self.done < end {
            let (k, b) = (self.done / self.piece.panels, self.done % self.piece.panels);
            if let Some(panel) = self.panels[b] {
                // SAFETY: k < PIECE and b < 2, and there is room for a piece, by the contract of `new`.
                unsafe {
                    let to = self.to.add((2 * k + b) * TILE_LANES);
                    self.w.decode(amx, panel, self.piece.at + k, to.cast());
                }
            }
            self.done += 1;
        }
    }
}

/// What a block multiplies.
struct Operands {
    /// Rows of 32 elements.
    x: StepRows<Bf16>,
    /// From a tile of k to the next one, in elements of x.
    x_step: usize,
    /// The decoded piece.
    w: *const f32,
    sums: *mut f32,
}

/// Multiplies `A` tiles of x by `B` panels over a piece and adds to the sums, which start at zero with k.
///
/// # Safety
/// Tiles are configured for the rows of x. `w` holds the tiles of `piece`, x its steps; `sums` is valid for a block, and holds
/// the sums before this piece.
#[inline(always)]
unsafe fn multiply<W: Weights, const A: usize, const B: usize>(
    amx: impl AmxTiles,
    operands: &Operands,
    piece: KBlock,
    decoder: &mut Decoder<W>,
) {
    let &Operands { x, x_step, w, sums } = operands;
    if piece.at == 0 {
        zero_outputs(amx);
    } else {
        // SAFETY: the sums of a block, the caller's contract.
        unsafe {
            amx.load::<0>(sums.add(output(0, 0)).cast(), TILE_ROW);
            if B == 2 {
                amx.load::<1>(sums.add(output(0, 1)).cast(), TILE_ROW);
            }
            if A == 2 {
                amx.load::<2>(sums.add(output(1, 0)).cast(), TILE_ROW);
            }
            if A == 2 && B == 2 {
                amx.load::<3>(sums.add(output(1, 1)).cast(), TILE_ROW);
            }
        }
    }
    for k in 0..piece.tiles {
        // SAFETY: tile k of the piece, and of x, whose rows are 64 bytes: the caller's contract.
        unsafe {
            let x = x.data.add((piece.at + k) * x_step);
            let w = w.add(2 * k * TILE_LANES);
            amx.load::<4>(x.cast(), TILE_ROW);
            amx.load::<6>(w.cast(), TILE_ROW);
            amx.dot_bf16::<0, 4, 6>();
            if B == 2 {
                amx.load::<7>(w.add(TILE_LANES).cast(), TILE_ROW);
                amx.dot_bf16::<1, 4, 7>();
            }
            if A == 2 {
                amx.load::<5>(x.add(TILE_SIDE * TILE_K).cast(), TILE_ROW);
                amx.dot_bf16::<2, 5, 6>();
                if B == 2 {
                    amx.dot_bf16::<3, 5, 7>();
                }
            }
        }
        decoder.advance(amx);
    }
    // SAFETY: room for the sums of a block, the caller's contract.
    unsafe { store_outputs::<A, B>(amx, sums) };
}
