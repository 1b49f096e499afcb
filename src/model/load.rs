//! From a checkpoint to a [`Transformer`]. What the checkpoint holds is checked first, completely; then the matrices are taken
//! where they lie, and norms and biases are widened.

use super::linear::{Linear, Vector};
use super::slots::{Make, Role, Slot, Weights};
use super::{Architecture, Recipe, Transformer, check_checkpoint};
use crate::bytes::Bytes;
use crate::dtype::{Bf16, DType, F16, as_bytes};
use crate::error::{Error, Result};
use crate::exec::Executor;
use crate::quant::{Format, Matrix};
use crate::tensor::TensorView;
use crate::weights::TensorSource;
use std::collections::HashMap;
use std::ops::Range;

/// Takes checked weights out of a source.
struct Loader<'a> {
    source: &'a dyn TensorSource,
    /// Absent where matrices stay as they are.
    encode: Option<Encode<'a>>,
    /// All matrices so far. A copy shares the bytes.
    matrices: Vec<(Slot, Matrix)>,
}

/// What becomes of every tensor that changes, the executor, and the callback for the progress.
struct Encode<'a> {
    formats: HashMap<String, Format>,
    exec: &'a dyn Executor,
    progress: &'a dyn Fn(usize, usize),
    /// Elements that are encoded, and that will be.
    done: usize,
    all: usize,
}

impl Encode<'_> {
    fn matrix(&mut self, name: &str, matrix: Matrix) -> Result<Matrix> {
        let Some(&format) = self.formats.get(name) else { return Ok(matrix) };
        let encoded = matrix.encode(name, format, self.exec)?.0;
        self.done += matrix.n() * matrix.k();
        (self.progress)(self.done, self.all);
        Ok(encoded)
    }
}

impl Make for Loader<'_> {
    type Matrix = Matrix;
    type Vector = Vector;

    fn matrix(&mut self, slot: Slot, rows: Range<usize>) -> Result<Matrix> {
        let name = &slot.name;
        let matrix = self.source.stored(name)?.matrix();
        let matrix = matrix.expect("element type and dimensions were checked before");
        let Some(mut matrix) = matrix.rows(rows.clone()) else {
            let what = format!("rows {rows:?} of tensor `{name}` as a matrix of its own: panels are not cut");
            return Err(Error::unsupported(format!("{}: {what}", self.source.origin(name))));
        };
        if slot.role == Role::Router {
            matrix = widened(&matrix);
        } else if let Some(encode) = &mut self.encode {
            matrix = encode.matrix(name, matrix)?;
        }
        self.matrices.push((slot, matrix.clone()));
        Ok(matrix)
    }

    /// A small vector as f32: norms and biases are read in every row of every pass.
    fn vector(&mut self, slot: Slot, rows: Range<usize>) -> Result<Vector> {
        let view = self.source.tensor(&slot.name)?;
        let size = view.dtype().size();
        let bytes = &view.bytes()[rows.start * size..rows.end * size];
        let halves = || bytes.as_chunks::<2>().0.iter().map(|&b| u16::from_le_bytes(b));
        Ok(match view.dtype() {
            DType::F32 => bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            DType::F16 => halves().map(|bits| F16(bits).to_f32()).collect(),
            _ => halves().map(|bits| Bf16(bits).to_f32()).collect(),
        })
    }
}

/// The same matrix in f32.
fn widened(matrix: &Matrix) -> Matrix {
    let mut values = vec![0.0; matrix.n() * matrix.k()];
    values.chunks_mut(matrix.k()).enumerate().for_each(|(i, row)| matrix.decode_row(i, row));
    let bytes = Bytes::copy_aligned(as_bytes(&values));
    let view = TensorView::new(DType::F32, vec![matrix.n(), matrix.k()], bytes);
    view.as_ref().and_then(Matrix::from_tensor).expect("a number for every element")
}

impl Transformer {
    /// Takes the weights of `arch` out of `source`. Matrices stay where they are; norms and biases are widened to f32.
    ///
    /// # Errors
    /// Those of [`check_checkpoint`]; [`Error::Unsupported`] where several weights share a quantized tensor and one of them
    /// does not begin and end with a panel.
    pub fn load(arch: Architecture, source: &dyn TensorSource) -> Result<Self> {
        check_checkpoint(&arch, source)?;
        Self::assemble(arch, Loader { source, encode: None, matrices: Vec::new() })
    }

    /// As [`Self::load`], with the matrices of a float checkpoint in the formats of `recipe`: the weights that a checkpoint
    /// written by that recipe holds. `progress` is told after each matrix how many elements are encoded, and of how many.
    ///
    /// # Errors
    /// Those of [`Recipe::plan`] and of [`Matrix::encode`].
    pub fn load_as(
        arch: Architecture,
        source: &dyn TensorSource,
        recipe: &Recipe,
        exec: &dyn Executor,
        progress: &dyn Fn(usize, usize),
    ) -> Result<Self> {
        let mut changing = recipe.plan(&arch, source)?;
        changing.retain(|planned| planned.to != planned.from);
        let all = changing.iter().map(|planned| planned.slot.elements()).sum();
        let formats = changing.into_iter().map(|planned| (planned.slot.name, planned.to)).collect();
        let encode = Encode { formats, exec, progress, done: 0, all };
        Self::assemble(arch, Loader { source, encode: Some(encode), matrices: Vec::new() })
    }

    fn assemble(arch: Architecture, mut loader: Loader<'_>) -> Result<Self> {
        let Weights { embed, blocks, norm, lm_head } = Weights::new(&arch, &mut loader)?;
        let lm_head = Linear { weight: lm_head.unwrap_or_else(|| embed.clone()), bias: None };
        Ok(Self { arch, embed, blocks, norm, lm_head, matrices: loader.matrices })
    }
}
