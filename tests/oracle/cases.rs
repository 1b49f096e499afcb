//! The shapes that tests and benches share. Tests take the edges, benches the shapes of real models.
#![allow(dead_code, reason = "every program that includes this file uses another part")]

/// Rows of a GEMM around the heights of the tiles (16 at most), the numbers of tiles from which codes are unpacked once (2 to 5), the
/// 8 and 16 rows up to which floats are decoded in registers, and the blocks of 64 and 144 rows.
pub(crate) const GEMM_ROWS: [usize; 19] =
    [1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 17, 25, 33, 64, 65, 130, 144, 145];

/// Outputs around the widths of the tiles and the panel.
pub(crate) const GEMM_COLUMNS: [usize; 19] =
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 17, 23, 24, 25, 61];

/// Reduction lengths around the vectors of every level, the steps of 128, and the blocks of 512 and, of codes of one panel, 1024.
pub(crate) const GEMM_DEPTHS: [usize; 19] =
    [1, 2, 7, 8, 9, 15, 16, 17, 75, 127, 128, 129, 256, 257, 511, 512, 513, 1024, 1025];

/// Widths of rows around the vectors of every level.
pub(crate) const WIDTHS: [usize; 15] = [1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 75, 101, 520];

/// An attention call: query rows, heads, K/V heads, numbers in a head, keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionCase {
    pub(crate) rows: usize,
    pub(crate) n_heads: usize,
    pub(crate) n_kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) keys: usize,
}

/// `[rows, n_heads, n_kv_heads, head_dim, keys]` as an [`AttentionCase`].
pub(crate) const fn attention(shape: [usize; 5]) -> AttentionCase {
    let [rows, n_heads, n_kv_heads, head_dim, keys] = shape;
    AttentionCase { rows, n_heads, n_kv_heads, head_dim, keys }
}

/// Heads and keys around the tiles: groups of 1 to 7, head sizes that are not a multiple of a vector, keys around 24, 48 and 96,
/// more pairs than a task takes.
pub(crate) const ATTENTION: [AttentionCase; 17] = [
    attention([1, 1, 1, 8, 1]),
    attention([1, 1, 1, 16, 47]),
    attention([3, 4, 2, 16, 48]),
    attention([5, 7, 1, 16, 49]),
    attention([2, 3, 3, 20, 97]),
    attention([3, 2, 1, 16, 24]),
    attention([6, 2, 2, 128, 25]),
    attention([4, 4, 2, 32, 33]),
    attention([9, 6, 1, 16, 96]),
    attention([7, 2, 1, 80, 50]),
    attention([8, 2, 2, 128, 145]),
    attention([1, 16, 1, 64, 200]),
    attention([17, 3, 1, 128, 64]),
    attention([2, 40, 2, 32, 20]),
    attention([1, 2, 1, 256, 60]),
    attention([13, 14, 2, 64, 193]),
    attention([45, 1, 1, 128, 98]),
];

/// Rows, columns and depths of GEMMs with several tiles, panels and blocks of k at once: the last panel of a task alone, and the
/// last rows of a tile missing.
pub(crate) const GEMM_BLOCKS: [[usize; 3]; 4] =
    [[13, 45, 513], [25, 33, 1025], [17, 61, 520], [146, 29, 640]];

/// `[n, k]` of SDAR-1.7B: gate, down, an eighth of the output matrix.
pub(crate) const MODEL_GEMM: [(usize, usize); 3] = [(6144, 2048), (2048, 6144), (151_936 / 8, 2048)];

/// Rows of a denoise step: one token, a block of SDAR, a block of Fast-dLLM v2, a prompt.
pub(crate) const MODEL_ROWS: [usize; 5] = [1, 4, 16, 32, 128];

/// SDAR-1.7B, Dream-7B and LLaDA-8B: one token and blocks over a cache, then canvases (the largest with one head alone).
pub(crate) const MODEL_ATTENTION: [AttentionCase; 9] = [
    attention([1, 16, 8, 128, 4096]),
    attention([4, 16, 8, 128, 512]),
    attention([32, 16, 8, 128, 2048]),
    attention([4, 28, 4, 128, 512]),
    attention([32, 28, 4, 128, 1024]),
    attention([32, 32, 32, 128, 512]),
    attention([256, 32, 32, 128, 256]),
    attention([1024, 7, 1, 128, 1024]),
    attention([4096, 1, 1, 128, 4096]),
];

/// Formats to time: those of checkpoints, and one scheme of each width as `diffulex-quantize` chooses it.
pub(crate) const MODEL_FORMATS: [&str; 5] = ["f32", "bf16", "f16", "q8g64", "q4g64"];
