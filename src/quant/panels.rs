//! [`Panels`]: the layout of quantized weights, and the scalar code that defines what it means.
//!
//! A panel holds 16 rows of the matrix, zeros where the matrix ends:
//!
//! ```text
//! panel = scales | minima | zeros up to 64 bytes | codes
//! scales: [groups][16 rows] f16        minima: the same, only with zero points
//! codes:  int8  [padded k / 4][16 rows][4 k]   one byte each, two's complement
//!         int4  [padded k / 8][16 rows][4 bytes]   byte b: k + b in the low half, k + 4 + b in the high one
//! ```
//!
//! So 64 bytes hold a run of k for all 16 rows, in the order in which every instruction set multiplies: a lane of 32 bits is
//! a row. One step of k is contiguous, a panel is one stream, and nothing is repacked when a file is opened.

use super::{Code, Quant};
use crate::dtype::F16;

/// Rows of a panel.
pub const PANEL_ROWS: usize = 16;
/// The codes of a panel start at a multiple of this, in bytes: 16 lanes of 32 bits.
pub(super) const SECTION: usize = 64;

/// A quantized matrix of shape `[n, k]`.
#[derive(Clone, Copy)]
pub struct Panels<'a> {
    n: usize,
    k: usize,
    quant: Quant,
    data: &'a [u8],
}

impl<'a> Panels<'a> {
    /// `None` if `data` is not as long as the shape requires.
    pub fn new(n: usize, k: usize, quant: Quant, data: &'a [u8]) -> Option<Self> {
        (quant.bytes(n, k) == Some(data.len())).then_some(Self { n, k, quant, data })
    }

    /// Number of rows.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Elements of a row.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The scheme.
    pub fn quant(&self) -> Quant {
        self.quant
    }

    /// Number of panels.
    pub fn len(&self) -> usize {
        self.n.div_ceil(PANEL_ROWS)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// The bytes of panel `i`: scales, minima, codes.
    ///
    /// # Panics
    /// If there is no such panel.
    pub fn panel(&self, i: usize) -> &'a [u8] {
        let bytes = self.quant.panel_bytes(self.k);
        &self.data[i * bytes..][..bytes]
    }

    /// Scale and minimum of group `group` of row `row`: `value = scale * code + minimum`.
    ///
    /// # Panics
    /// If there is no such row or group.
    pub fn scale(&self, row: usize, group: usize) -> (f32, f32) {
        let panel = self.panel(row / PANEL_ROWS);
        let scale = half(panel, group * PANEL_ROWS + row % PANEL_ROWS);
        let minimum = match (self.quant.code, self.quant.zero_points) {
            (Code::Int8, _) => 0.0,
            (Code::Int4, false) => -8.0 * scale,
            (Code::Int4, true) => {
                half(panel, (self.quant.groups(self.k) + group) * PANEL_ROWS + row % PANEL_ROWS)
            }
        };
        (scale, minimum)
    }

    /// Row and group of the first scale or minimum that is NaN or infinite.
    pub fn first_not_finite(&self) -> Option<(usize, usize)> {
        let groups = self.quant.groups(self.k);
        (0..self.n).flat_map(|row| (0..groups).map(move |group| (row, group))).find(|&(row, group)| {
            let (scale, minimum) = self.scale(row, group);
            !scale.is_finite() || !minimum.is_finite()
        })
    }

    /// The code of element `k` of row `row`, zeros after the end of the row included.
    ///
    /// # Panics
    /// If there is no such element.
    pub fn code(&self, row: usize, k: usize) -> i32 {
        let (byte, high) = place(self.quant.code, row % PANEL_ROWS, k);
        let byte = self.panel(row / PANEL_ROWS)[self.quant.header_bytes(self.k) + byte];
        match (self.quant.code, high) {
            (Code::Int8, _) => i32::from(byte as i8),
            (Code::Int4, false) => i32::from(byte & 15),
            (Code::Int4, true) => i32::from(byte >> 4),
        }
    }

    /// Row `row` as f32.
    ///
    /// # Panics
    /// If there is no such row, or `out` is not `k` long.
    pub fn decode_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.n, "row {row} of {}", self.n);
        assert_eq!(out.len(), self.k, "decode_row: length of out and k");
        let group = self.quant.group_len(self.k);
        for (i, out) in out.chunks_mut(group).enumerate() {
            let (scale, minimum) = self.scale(row, i);
            for (j, x) in out.iter_mut().enumerate() {
                *x = scale * self.code(row, i * group + j) as f32 + minimum;
            }
        }
    }
}

/// Number `i` of the f16 at the start of a panel.
fn half(panel: &[u8], i: usize) -> f32 {
    F16(u16::from_le_bytes([panel[2 * i], panel[2 * i + 1]])).to_f32()
}

/// Where the code of element `k` of row `row` of a panel lies: its byte, and whether it is the high half.
fn place(code: Code, row: usize, k: usize) -> (usize, bool) {
    match code {
        Code::Int8 => (k / 4 * SECTION + row * 4 + k % 4, false),
        Code::Int4 => (k / 8 * SECTION + row * 4 + k % 4, k % 8 >= 4),
    }
}

/// Panels being written.
pub struct PanelsMut<'a> {
    k: usize,
    quant: Quant,
    data: &'a mut [u8],
}

impl<'a> PanelsMut<'a> {
    /// Takes zeroed bytes. `None` if there are not as many as the shape requires.
    pub fn new(n: usize, k: usize, quant: Quant, data: &'a mut [u8]) -> Option<Self> {
        (quant.bytes(n, k) == Some(data.len())).then_some(Self { k, quant, data })
    }

    /// Writes group `group` of row `row`: its scale, its minimum if the scheme has zero points, and its codes (as many as
    /// the row has in that group).
    ///
    /// # Panics
    /// If there is no such row or group, there are more codes than it has, or a code is out of range.
    pub fn put(&mut self, row: usize, group: usize, scale: F16, minimum: F16, codes: &[i8]) {
        let bytes = self.quant.panel_bytes(self.k);
        let (quant, header, groups) =
            (self.quant, self.quant.header_bytes(self.k), self.quant.groups(self.k));
        let panel = &mut self.data[row / PANEL_ROWS * bytes..][..bytes];
        let lane = row % PANEL_ROWS;
        let mut put_half = |i: usize, x: F16| panel[2 * i..][..2].copy_from_slice(&x.0.to_le_bytes());
        assert!(group < groups, "group {group} of {groups}");
        let length = quant.group_len(self.k);
        assert!(codes.len() <= length, "{} codes in a group of {length}", codes.len());
        put_half(group * PANEL_ROWS + lane, scale);
        if quant.zero_points {
            put_half((groups + group) * PANEL_ROWS + lane, minimum);
        }
        // Groups begin at multiples of 32, so a run of codes begins with its first byte.
        let (first, run) = (group * length, 32 / quant.code.bits());
        for (i, codes) in codes.chunks(run).enumerate() {
            let bytes = match quant.code {
                Code::Int8 => int8_run(codes),
                Code::Int4 => int4_run(codes),
            };
            let at = header + (first / run + i) * SECTION + lane * 4;
            panel[at..at + 4].copy_from_slice(&bytes);
        }
    }
}

/// The bytes of up to four int8 codes.
fn int8_run(codes: &[i8]) -> [u8; 4] {
    let mut bytes = [0; 4];
    for (byte, &code) in bytes.iter_mut().zip(codes) {
        assert!(code != i8::MIN, "an int8 code of -128");
        *byte = code as u8;
    }
    bytes
}

/// The bytes of up to eight int4 codes: the first four in the low halves, the others in the high ones.
fn int4_run(codes: &[i8]) -> [u8; 4] {
    let mut bytes = [0; 4];
    for (i, &code) in codes.iter().enumerate() {
        assert!((0..16).contains(&code), "an int4 code of {code}");
        bytes[i % 4] |= (code as u8) << (i / 4 * 4);
    }
    bytes
}
