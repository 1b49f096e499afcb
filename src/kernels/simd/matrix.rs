//! Units that multiply small matrices: [`AmxTiles`] of x86-64 and [`PairDots`] of 64-bit Arm.

use super::{Dots, F32s, Parts, Shape, Tile};

/// A kernel for the matrix unit.
pub(crate) trait AmxOp {
    /// Runs it. Must be `#[inline(always)]`.
    fn run<A: AmxTiles>(self, amx: A);
}

/// Bytes of a row of a tile.
pub(crate) const TILE_ROW: usize = 64;
/// Lanes of 32 bits in a row of a tile, and rows of a tile.
pub(crate) const TILE_SIDE: usize = 16;
/// Lanes of 32 bits in a tile.
pub(crate) const TILE_LANES: usize = TILE_SIDE * TILE_SIDE;

/// The shapes of all tiles, as `ldtilecfg` reads them.
#[repr(C, align(64))]
pub(crate) struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl TileConfig {
    /// Shapes for blocks of two by two tile multiplications. Tiles 0 to 3 are the outputs `[2][2]`, tiles 4 and 5 the left operands, with
    /// `rows` rows (0 counts as 1) of `depth` bytes, tiles 6 and 7 the right ones.
    ///
    /// # Panics
    /// If there are more than 16 rows, or `depth` is not a multiple of 4 from 4 to 64.
    pub(crate) fn blocks(rows: [usize; 2], depth: usize) -> Self {
        assert!(rows.iter().all(|&rows| rows <= TILE_SIDE), "{rows:?} rows in tiles of 16");
        assert!(
            (4..=TILE_ROW).contains(&depth) && depth.is_multiple_of(4),
            "rows of {depth} bytes in a tile"
        );
        let mut config =
            Self { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        for tile in 0..8 {
            let (height, width) = match tile {
                0..4 => (rows[tile / 2], TILE_ROW),
                4..6 => (rows[tile - 4], depth),
                _ => (depth / 4, TILE_ROW),
            };
            config.rows[tile] = height.max(1) as u8;
            config.row_bytes[tile] = width as u16;
        }
        config
    }
}

/// The operations of AMX, and of the vectors of 512 bits that every CPU with AMX has.
///
/// There are eight tile registers, each of up to 16 rows of 64 bytes. A product reads two of them and adds to a third:
///
/// ```text
/// int8:  C[i][j] += Σ_k Σ_t A[i][4 k + t] B[k][4 j + t]      t < 4, C: i32, exact
/// bf16:  C[i][j] += Σ_k Σ_t A[i][2 k + t] B[k][2 j + t]      t < 2, C: f32, subnormal numbers count as zero
/// ```
///
/// Tiles are numbered from 0 to 7. They must be configured, and the three of a product must fit each other and be distinct;
/// else the processor raises an exception (as for an illegal instruction), so this does not affect memory safety.
pub(crate) trait AmxTiles: Copy {
    /// The token of f32 vectors of 16 lanes.
    type Float: Tile;
    /// The token of integer vectors of 16 lanes.
    type Dots: Dots<Float = Self::Float>;

    /// The token of f32 vectors.
    fn float(self) -> Self::Float;
    /// The token of integer vectors.
    fn dots(self) -> Self::Dots;

    /// Sets the shapes of all tiles, and zeroes them.
    fn configure(self, config: &TileConfig);
    /// Zeroes a tile.
    fn zero<const T: usize>(self);
    /// Loads a tile whose rows are `stride` bytes apart.
    ///
    /// # Safety
    /// `p` is valid for reads of all rows of the tile.
    unsafe fn load<const T: usize>(self, p: *const u8, stride: usize);
    /// Stores a tile, one row after the other.
    ///
    /// # Safety
    /// `p` is valid for writes of all rows of the tile.
    unsafe fn store<const T: usize>(self, p: *mut u8);
    /// Adds the product of tiles `A` and `B` of signed bytes to tile `C`.
    fn dot_int8<const C: usize, const A: usize, const B: usize>(self);
    /// Adds the product of tiles `A` and `B` of bf16 to tile `C`.
    fn dot_bf16<const C: usize, const A: usize, const B: usize>(self);

    /// Stores pairs of bf16: `even` in the low halves of the lanes, `odd` in the high ones, both rounded to nearest, ties to
    /// even.
    ///
    /// # Safety
    /// `p` is valid for writes of 16 lanes.
    unsafe fn store_pairs(self, even: <Self::Float as F32s>::V, odd: <Self::Float as F32s>::V, p: *mut u32);
    /// Unpacks 64 bytes of int4 codes: the low halves of all bytes, then the high ones, as bytes.
    ///
    /// # Safety
    /// `codes` is valid for reads of 64 bytes, `to` for writes of 128.
    unsafe fn unpack(self, codes: *const u8, to: *mut u8);
    /// Transposes a tile of 16 x 16 lanes of 32 bits. Rows of `from` are `stride` bytes apart, those of `to` lie one after the
    /// other.
    ///
    /// # Safety
    /// `from` is valid for reads of 16 rows of 64 bytes, `to` for writes of as many.
    unsafe fn transpose(self, from: *const u8, stride: usize, to: *mut u32);
}

/// Dot products of pairs: the product of 2 by 8 and 8 by 2 bytes, on vectors of four lanes.
pub(crate) trait PairDots: Parts {
    /// A vector of integers.
    type I: Copy;
    /// The token of everything but matrix products.
    type Dots: Dots<I = Self::I>;
    /// The tiles that its micro-kernels compute, as [`Dots::SHAPES`].
    const SHAPES: &'static [Shape];

    /// The token of everything but matrix products.
    fn dots(self) -> Self::Dots;
    /// Eight bytes of one row of x, then eight of another: a factor of [`Self::mmla`].
    ///
    /// # Safety
    /// Both pointers are valid for reads of 8 bytes.
    unsafe fn load_pair(self, first: *const i8, second: *const i8) -> Self::I;
    /// From the bytes 0 to 3 and 4 to 7 of four rows of codes, a row to a lane: eight bytes of rows 0 and 1, then of rows 2
    /// and 3, each a factor of [`Self::mmla`].
    fn pairs(self, first: Self::I, second: Self::I) -> [Self::I; 2];
    /// Adds the dot products of two rows of x and two rows of codes: `[x0 w0, x0 w1, x1 w0, x1 w1]`.
    fn mmla(self, acc: Self::I, x: Self::I, codes: Self::I) -> Self::I;
    /// From such sums of rows 0 and 1 of codes, and of rows 2 and 3: all four of the first row of x, then of the second.
    fn rows(self, acc: [Self::I; 2]) -> [Self::I; 2];
}
