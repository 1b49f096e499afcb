//! Floats to a stored format: the choice of scales, minima and codes, and what is lost by it.
//!
//! Every group is fitted on its own for the least sum of squared errors *as stored*: candidates are rounded to f16 first, codes
//! follow from the rounded scale, and the error of exactly that is compared. Only plain f32 operations in a fixed order are
//! used, so the bytes do not depend on the machine or the number of threads.
//!
//! | scheme | candidates |
//! |---|---|
//! | all | round-to-max: the largest weight gets the largest code |
//! | int8, int4 | a grid of clipping ranges, the best of them refined by least squares: `scale = sum(w c) / sum(c c)` |
//! | int4 | both signs of the scale, because codes go from -8 to 7 |
//! | int4 with zero points | a grid of ranges with three anchors; scale and minimum refined by the line of least squares |

mod affine;
mod loss;
mod sums;
mod symmetric;

pub use loss::Loss;

use super::{Code, Elements, Format, Matrix, PANEL_ROWS, PanelsMut, Quant};
use crate::bytes::{ALIGN, AlignedBuf, Bytes, ask_for};
use crate::dtype::{Bf16, F16};
use crate::error::{Error, Result};
use crate::exec::{Executor, split_pair};
use affine::Affine;
use symmetric::Symmetric;

/// Scale and minimum of a group, and the sum of its squared errors.
#[derive(Clone, Copy)]
struct Fit {
    scale: F16,
    minimum: F16,
    error: f32,
}

/// `1 / scale`, or 0 for 0, whose codes are all zero.
fn inverse(scale: F16) -> f32 {
    if scale.0 & 0x7fff == 0 { 0.0 } else { 1.0 / scale.to_f32() }
}

/// Weights up to here become zero: even with the smallest scale, 2^-24, no code is closer to them.
const NEGLIGIBLE: f32 = f32::from_bits((127 - 25) << 23);

/// Why a row cannot be stored.
#[derive(Clone, Copy)]
enum Fault {
    NotFinite { k: usize },
    TooLarge { k: usize },
}

/// Why a piece of a matrix could not be stored: the first row, and what is wrong in it.
type Failure = (usize, Fault);

impl Matrix {
    /// The same weights in another format; `name` names them in errors.
    ///
    /// # Errors
    /// As [`Self::encode_into`]; [`Error::Unsupported`] if the result exceeds the address space.
    pub fn encode(&self, name: &str, format: Format, exec: &dyn Executor) -> Result<(Self, Loss)> {
        let (n, k) = (self.n, self.k);
        let bytes = format
            .bytes(n, k)
            .ok_or_else(|| Error::unsupported(format!("tensor `{name}` of shape [{n}, {k}] as {format}")))?;
        ask_for(format!("tensor `{name}` as {format}"), bytes.saturating_add(ALIGN))?;
        let mut buffer = AlignedBuf::zeroed(bytes);
        let loss = self.encode_into(name, format, buffer.as_mut(), exec)?;
        Ok((Self { n, k, format, data: Bytes::new(buffer) }, loss))
    }

    /// Writes the weights in another format to `out`, which is zeroed and has [`Format::bytes`] of the shape. Returns what was
    /// lost. `name` names the tensor in errors.
    ///
    /// The bytes depend on the weights and the format, not on `exec`.
    ///
    /// ```
    /// use diffulex::bytes::Bytes;
    /// use diffulex::dtype::DType;
    /// use diffulex::exec::Serial;
    /// use diffulex::quant::{Format, Matrix};
    /// use diffulex::tensor::TensorView;
    ///
    /// let weights: Vec<u8> = (0..64 * 64).flat_map(|i| ((i % 17) as f32 - 8.0).to_le_bytes()).collect();
    /// let view = TensorView::new(DType::F32, vec![64, 64], Bytes::new(weights)).expect("64 x 64 floats");
    /// let matrix = Matrix::from_tensor(&view).expect("floats in two dimensions");
    /// let int8 = Format::from_name("q8g64").expect("a format");
    /// let mut out = vec![0; int8.bytes(64, 64).expect("a size")];
    /// let loss = matrix.encode_into("weights", int8, &mut out, &Serial)?;
    /// assert!(loss.relative_rms() < 0.01);
    /// # Ok::<(), diffulex::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotFinite`] for NaN or infinity among the weights, [`Error::Unsupported`] for one too large for the format. Both
    /// name tensor, row and column.
    ///
    /// # Panics
    /// If `out` has another length, or the weights are quantized already.
    pub fn encode_into(
        &self,
        name: &str,
        format: Format,
        out: &mut [u8],
        exec: &dyn Executor,
    ) -> Result<Loss> {
        assert!(!self.format.is_quantized(), "weights are quantized already");
        assert_eq!(format.bytes(self.n, self.k), Some(out.len()), "encode_into: bytes of {format}");
        if out.is_empty() {
            return Ok(Loss::default());
        }
        let mut outcomes: Vec<std::result::Result<Loss, Failure>> =
            vec![Ok(Loss::default()); self.n.div_ceil(PANEL_ROWS)];
        let piece = format.bytes(PANEL_ROWS, self.k).expect("less than the whole matrix has");
        split_pair(exec, out, piece, &mut outcomes, 1, |i, out, outcome| {
            let rows = i * PANEL_ROWS..self.n.min((i + 1) * PANEL_ROWS);
            let mut row = vec![0.0; self.k];
            let mut panel = Encoder::new(format, self.k, rows.len(), out);
            outcome[0] = rows.clone().try_fold(Loss::default(), |loss, i| {
                self.decode_row(i, &mut row);
                let of_row = check(&row).and_then(|()| panel.encode_row(i - rows.start, &row));
                of_row.map(|of_row| loss.merge(of_row.in_row(i))).map_err(|fault| (i, fault))
            });
        });
        let total = outcomes.into_iter().try_fold(Loss::default(), |all, loss| Ok(all.merge(loss?)));
        total.map_err(|failure| self.report(name, format, failure))
    }

    fn report(&self, name: &str, format: Format, (row, fault): Failure) -> Error {
        let place = |k: usize| format!("tensor `{name}`, row {row}, column {k}");
        match fault {
            Fault::NotFinite { k } => Error::NotFinite { place: place(k) },
            Fault::TooLarge { k } => {
                let mut values = vec![0.0; self.k];
                self.decode_row(row, &mut values);
                Error::unsupported(format!("{:e} in {} is too large for {format}", values[k], place(k)))
            }
        }
    }

    /// Row `row` as f32.
    ///
    /// # Panics
    /// If there is no such row, or `out` is not `k` long.
    pub fn decode_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.n, "row {row} of {}", self.n);
        assert_eq!(out.len(), self.k, "decode_row: length of out and k");
        fn widen<T: Copy>(row: &[T], out: &mut [f32], to_f32: impl Fn(T) -> f32) {
            row.iter().zip(out).for_each(|(&x, out)| *out = to_f32(x));
        }
        let range = row * self.k..(row + 1) * self.k;
        match self.elements() {
            Elements::F32(x) => out.copy_from_slice(&x[range]),
            Elements::Bf16(x) => widen(&x[range], out, Bf16::to_f32),
            Elements::F16(x) => widen(&x[range], out, F16::to_f32),
            Elements::Panels(panels) => panels.decode_row(row, out),
        }
    }
}

fn check(row: &[f32]) -> std::result::Result<(), Fault> {
    match row.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(k) => Err(Fault::NotFinite { k }),
    }
}

/// At most 16 rows of the output.
enum Encoder<'a> {
    Floats { format: Format, out: &'a mut [u8] },
    Panel { quant: Quant, panel: PanelsMut<'a>, codes: Vec<i8> },
}

impl<'a> Encoder<'a> {
    fn new(format: Format, k: usize, rows: usize, out: &'a mut [u8]) -> Self {
        match format {
            Format::Quant(quant) => {
                let panel = PanelsMut::new(rows, k, quant, out).expect("pieces are whole panels");
                Self::Panel { quant, panel, codes: vec![0; quant.group_len(k).min(k)] }
            }
            format => Self::Floats { format, out },
        }
    }

    fn encode_row(&mut self, row: usize, w: &[f32]) -> std::result::Result<Loss, Fault> {
        match self {
            Self::Floats { format: Format::F32, out } => {
                let out = out[row * w.len() * 4..].as_chunks_mut::<4>().0;
                out.iter_mut().zip(w).for_each(|(out, x)| *out = x.to_le_bytes());
                Ok(Loss::of_group(0, 0.0, sums::energy(w)))
            }
            Self::Floats { format, out } => {
                let out = &mut out[row * w.len() * 2..][..w.len() * 2];
                match format {
                    Format::Bf16 => narrow(w, out, |x| Bf16::from_f32(x).0, |bits| Bf16(bits).to_f32()),
                    _ => narrow(w, out, |x| F16::from_f32(x).0, |bits| F16(bits).to_f32()),
                }
            }
            Self::Panel { quant, panel, codes } => encode_groups(*quant, panel, row, w, codes),
        }
    }
}

/// Rounds a row to 16-bit floats.
fn narrow(
    w: &[f32],
    out: &mut [u8],
    round: impl Fn(f32) -> u16,
    widen: impl Fn(u16) -> f32,
) -> std::result::Result<Loss, Fault> {
    let mut error = 0.0f64;
    for (k, (&x, out)) in w.iter().zip(out.as_chunks_mut::<2>().0).enumerate() {
        let bits = round(x);
        let stored = widen(bits);
        if stored.is_infinite() {
            return Err(Fault::TooLarge { k });
        }
        error += f64::from(x - stored).powi(2);
        *out = bits.to_le_bytes();
    }
    Ok(Loss::of_group(0, error, sums::energy(w)))
}

fn encode_groups(
    quant: Quant,
    panel: &mut PanelsMut<'_>,
    row: usize,
    w: &[f32],
    codes: &mut [i8],
) -> std::result::Result<Loss, Fault> {
    let length = quant.group_len(w.len());
    let mut loss = Loss::default();
    for (group, w) in w.chunks(length).enumerate() {
        let codes = &mut codes[..w.len()];
        let fit = match (quant.code, quant.zero_points) {
            (Code::Int8, _) => Symmetric::INT8.encode(w, codes),
            (Code::Int4, false) => Symmetric::INT4.encode(w, codes),
            (Code::Int4, true) => Affine::encode(w, codes),
        };
        let fit = fit.ok_or_else(|| Fault::TooLarge { k: group * length + sums::largest(w) })?;
        panel.put(row, group, fit.scale, fit.minimum, codes);
        loss = loss.merge(Loss::of_group(group, f64::from(fit.error), sums::energy(w)));
    }
    Ok(loss)
}
