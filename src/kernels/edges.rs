//! The tables of shapes that tests/kernels goes through hold every edge of the kernels: a constant that changes without its
//! table fails here.

#[path = "../../tests/oracle/cases.rs"]
mod cases;

use super::{attention, gemm};
use crate::quant::{MAX_STEP, PANEL_ROWS};
use cases::{ATTENTION, GEMM_COLUMNS, GEMM_DEPTHS, GEMM_ROWS};

/// Requires the sizes next to a boundary: the last one before it, where a block is full, and the first one after it.
#[track_caller]
fn covers(table: &[usize], boundary: usize) {
    for size in [boundary, boundary + 1] {
        assert!(table.contains(&size), "{size} is missing in {table:?}");
    }
}

#[test]
fn gemm_shapes_cover_the_blocks_of_every_kernel() {
    for boundary in gemm::edges::ROWS {
        covers(&GEMM_ROWS, boundary);
    }
    for boundary in gemm::edges::DEPTHS.into_iter().chain([MAX_STEP]) {
        covers(&GEMM_DEPTHS, boundary);
    }
    for boundary in [gemm::NR, PANEL_ROWS] {
        covers(&GEMM_COLUMNS, boundary);
    }
}

#[test]
fn attention_shapes_cover_the_tiles() {
    let keys = ATTENTION.map(|case| case.keys);
    for boundary in attention::edges::KEYS {
        covers(&keys, boundary);
    }
    let queries = ATTENTION.map(|case| case.rows * case.n_heads / case.n_kv_heads);
    assert!(queries.iter().any(|&queries| queries > attention::edges::QUERIES), "{queries:?}");
}
