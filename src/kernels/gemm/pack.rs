//! [`Prepared`]: activations packed in the order in which a micro-kernel reads them.
//!
//! The kernels for panels go through k in steps and the rows of x in tiles, so x is packed as
//!
//! ```text
//! [tile][step][k / run][row of the tile][run]      zeros after the end of k, and in rows that only fill up a tile
//! ```
//!
//! A tile is one stream with constant offsets, whatever the stride of x; with a power of two between its rows, all of them
//! would fall into the same sets of the caches. How many rows a tile has and how many elements make a run is the micro-kernel's
//! [`Layout`].
//!
//! int8 activations have a scale for each row and step, `max |x| / 127`: outliers (there are some before the down
//! projection) cost precision in their own step only.

use super::round::Rounded;
use crate::bytes::{ALIGN, AlignedBuf};
use crate::dtype::{Bf16, Plain, as_slice, as_slice_mut};
use crate::exec::{Executor, split_pair};
use crate::kernels::level::Level;
use crate::kernels::simd::{RUN_16, Shape, Tile, TileOp};
use crate::quant::{K_UNIT, MAX_STEP};
use crate::tensor::Rows;

/// How a micro-kernel wants its rows of x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The tiles that the micro-kernel has, in ascending order of height. Without any, all rows are one tile.
    pub(crate) shapes: &'static [Shape],
    /// Consecutive elements of a row.
    pub(crate) run: usize,
}

/// What activations are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F32,
    Int8,
    Bf16,
}

/// A form of activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As they are.
    Rows,
    /// Rounded and packed.
    Packed { element: Element, step: usize, layout: Layout },
}

/// What a kernel needs to know about a row in a step, in addition to its elements.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    /// `x = scale * element`; 1 where nothing was rounded.
    pub(crate) scale: f32,
    /// Σ x, as rounded: what minima of weights are multiplied with.
    pub(crate) sum: f32,
    /// `-8 Σ element`, if elements are integers: what sums of int4 codes begin with, for codes from -8 to 7.
    pub(crate) begin_int4: i32,
    /// `-128 Σ element`: the same for int8 codes that were moved up by 128.
    pub(crate) begin_int8: i32,
    /// `-8 Σ element` in two halves of 16 bits, the low one of elements 0 and 1 of every four, the high one of elements 2 and 3; for
    /// each [`RUN_16`] elements.
    pub(crate) begin_halves: [i32; MAX_STEP / RUN_16],
}

/// Some consecutive rows of x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowTile {
    /// First row.
    pub(crate) first: usize,
    /// Rows that exist.
    pub(crate) rows: usize,
    /// Rows that are computed: the height of one of the shapes.
    pub(crate) height: usize,
}

/// Cuts `m` rows into as few tiles as possible, of about the same height.
fn tiles(m: usize, shapes: &[Shape], out: &mut Vec<RowTile>) {
    out.clear();
    let tallest = shapes.last().map_or(m.max(1), |shape| shape.height);
    let mut first = 0;
    while first < m {
        let left = m - first;
        let share = left.div_ceil(left.div_ceil(tallest));
        let height =
            shapes.iter().map(|shape| shape.height).find(|&height| height >= share).unwrap_or(tallest);
        // Whole tiles, unless the rest would be too few rows for a tile among others.
        let rest = left.saturating_sub(height);
        let next = shapes.iter().map(|shape| shape.height).find(|&height| height >= rest).unwrap_or(tallest);
        let rows = if rest == 0 || Shape::in_company(next, tallest) { height.min(left) } else { share };
        out.push(RowTile { first, rows, height });
        first += rows;
    }
}

/// One form of x.
struct Packed {
    form: Form,
    step: usize,
    steps: usize,
    /// Rows of the tallest tile: every tile and step has room for that many.
    pitch: usize,
    tiles: Vec<RowTile>,
    data: AlignedBuf,
    stats: Vec<Stats>,
}

/// Activations in the forms that the kernels of some weights read, and the memory for that.
#[derive(Default)]
pub struct Prepared {
    packed: Vec<Packed>,
    /// Those of the current x are the first `used`.
    used: usize,
}

/// Elements of type `T` as a kernel reads them.
#[derive(Clone, Copy)]
pub(crate) struct PackedRows<'a, T> {
    /// Elements in a step; the last one may be shorter.
    pub(crate) step: usize,
    /// The tiles, from the first row on.
    pub(crate) tiles: &'a [RowTile],
    steps: usize,
    pitch: usize,
    data: &'a [T],
    stats: &'a [Stats],
}

/// The rows of a tile in one step.
pub(crate) struct StepRows<T> {
    /// `[k / run][height][run]` elements.
    pub(crate) data: *const T,
    /// Of every row.
    pub(crate) stats: *const Stats,
}

impl<T> Clone for StepRows<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for StepRows<T> {}

impl<T> PackedRows<'_, T> {
    /// Rows of x.
    pub(crate) fn rows(&self) -> usize {
        self.tiles.last().map_or(0, |tile| tile.first + tile.rows)
    }

    /// Tile `tile` in step `step`.
    ///
    /// # Panics
    /// If there is no such tile or step.
    #[inline(always)]
    pub(crate) fn at(&self, tile: usize, step: usize) -> StepRows<T> {
        assert!(step < self.steps, "step {step} of {}", self.steps);
        let at = (tile * self.steps + step) * self.pitch;
        StepRows {
            data: self.data[at * self.step..][..self.pitch * self.step].as_ptr(),
            stats: self.stats[at..][..self.pitch].as_ptr(),
        }
    }

    /// The same rows one step further; after the last step what it returns must not be read.
    #[inline(always)]
    pub(crate) fn next(&self, x: StepRows<T>) -> StepRows<T> {
        StepRows {
            data: x.data.wrapping_add(self.pitch * self.step),
            stats: x.stats.wrapping_add(self.pitch),
        }
    }

    /// Rows `first .. first + count` of x in the first step, where a layout without shapes has made all rows one tile and whole
    /// steps runs.
    ///
    /// # Panics
    /// If there are not that many.
    #[inline(always)]
    pub(crate) fn rows_from(&self, first: usize, count: usize) -> StepRows<T> {
        assert!(self.tiles.len() == 1, "rows are packed in {} tiles", self.tiles.len());
        assert!(first + count <= self.pitch, "rows {first} + {count} of {}", self.pitch);
        StepRows { data: self.data[first * self.step..].as_ptr(), stats: self.stats[first..].as_ptr() }
    }
}

impl Prepared {
    /// Forgets the activations, keeps the memory.
    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    /// Brings `x` into `form`, unless that was done since the last `clear`.
    pub(super) fn add(&mut self, level: Level, exec: &dyn Executor, x: Rows<'_>, form: Form) {
        let Form::Packed { element, step, layout } = form else { return };
        if self.packed[..self.used].iter().any(|packed| packed.form == form) {
            return;
        }
        if self.packed.len() == self.used {
            let (tiles, stats, data) = (Vec::new(), Vec::new(), AlignedBuf::zeroed(0));
            self.packed.push(Packed { form, step, steps: 0, pitch: 0, tiles, data, stats });
        }
        let packed = &mut self.packed[self.used];
        self.used += 1;
        packed.reshape(form, x);
        match element {
            Element::F32 => packed.pack::<f32>(level, exec, x, layout.run),
            Element::Int8 => packed.pack::<i8>(level, exec, x, layout.run),
            Element::Bf16 => packed.pack::<Bf16>(level, exec, x, layout.run),
        }
    }

    /// The activations in `form`.
    ///
    /// # Panics
    /// If they were not added.
    pub(super) fn get<T: Plain>(&self, form: Form) -> PackedRows<'_, T> {
        let packed = self.packed[..self.used].iter().find(|packed| packed.form == form);
        let packed = packed.expect("the form was added before the GEMM started");
        let &Packed { step, steps, pitch, ref tiles, ref data, ref stats, .. } = packed;
        let bytes = stats.len() * step * size_of::<T>();
        let data = as_slice(&data.as_ref()[..bytes]).expect("buffers are aligned");
        PackedRows { step, tiles, steps, pitch, data, stats }
    }
}

impl Packed {
    /// Makes room for `x` in `form`.
    fn reshape(&mut self, form: Form, x: Rows<'_>) {
        let Form::Packed { element, step, layout } = form else { return };
        let size = match element {
            Element::F32 => size_of::<f32>(),
            Element::Int8 => size_of::<i8>(),
            Element::Bf16 => size_of::<Bf16>(),
        };
        tiles(x.len(), layout.shapes, &mut self.tiles);
        (self.form, self.step) = (form, step);
        self.steps = x.width().next_multiple_of(K_UNIT).div_ceil(step);
        self.pitch = self.tiles.iter().map(|tile| tile.height).max().unwrap_or(0);
        self.stats.resize(self.tiles.len() * self.steps * self.pitch, Stats::default());
        let bytes = self.stats.len() * step * size;
        if self.data.as_ref().len() < bytes {
            self.data = AlignedBuf::zeroed(bytes.next_multiple_of(ALIGN));
        }
    }

    /// Rounds and packs `x`, some steps of a tile as a task.
    fn pack<T: Rounded>(&mut self, level: Level, exec: &dyn Executor, x: Rows<'_>, run: usize) {
        let Self { step, steps, pitch, ref tiles, ref mut data, ref mut stats, .. } = *self;
        let data = &mut data.as_mut()[..stats.len() * step * size_of::<T>()];
        let data: &mut [T] = as_slice_mut(data).expect("buffers are aligned, and sized in whole elements");
        let all = tiles.len() * steps;
        let task = all.div_ceil(exec.width()).max(MIN_TASK.div_ceil(pitch * step)).max(1);
        let room = pitch * step;
        split_pair(exec, data, task * room, stats, task * pitch, |i, data, stats| {
            let parts = data.chunks_exact_mut(room).zip(stats.chunks_exact_mut(pitch));
            for (j, (data, stats)) in parts.enumerate() {
                let part = i * task + j;
                let (tile, at) = (tiles[part / steps], part % steps * step);
                level.run_tile(Pack { x, tile, at, step, run, data, stats });
            }
        });
    }
}

/// Elements below which another task costs more than it saves: about a microsecond of work.
const MIN_TASK: usize = 8 * 1024;

/// One step of a tile.
struct Pack<'a, T> {
    x: Rows<'a>,
    tile: RowTile,
    /// First element of k.
    at: usize,
    step: usize,
    run: usize,
    data: &'a mut [T],
    stats: &'a mut [Stats],
}

impl<T: Rounded> TileOp for Pack<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run<S: Tile>(self, s: S) {
        let Self { x, tile, at, step, run, data, stats } = self;
        let (start, end) = (at.min(x.width()), (at + step).min(x.width()));
        let mut flat = [T::ZERO; MAX_STEP];
        let mut padded = [0.0; MAX_STEP];
        for row in 0..tile.height {
            if row < tile.rows {
                let mut x = &x.row(tile.first + row)[start..end];
                if x.len() < step {
                    padded[..x.len()].copy_from_slice(x);
                    x = &padded[..step];
                }
                stats[row] = T::round(s, x, &mut flat);
            } else {
                stats[row] = Stats::default();
                flat = [T::ZERO; MAX_STEP];
            }
            let flat = &flat[..step];
            match run {
                1 => scatter::<T, 1>(flat, row, tile.height, data),
                4 => scatter::<T, 4>(flat, row, tile.height, data),
                8 => scatter::<T, 8>(flat, row, tile.height, data),
                _ => {
                    assert_eq!(run, step, "a run is 1, 4, 8 elements or a step");
                    data[row * step..][..step].copy_from_slice(flat);
                }
            }
        }
    }
}

/// Puts the runs of row `row` where they belong in a tile of `height` rows.
#[inline(always)]
fn scatter<T: Copy, const RUN: usize>(flat: &[T], row: usize, height: usize, data: &mut [T]) {
    for (from, to) in
        flat.as_chunks::<RUN>().0.iter().zip(data.as_chunks_mut::<RUN>().0.chunks_exact_mut(height))
    {
        to[row] = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_every_row_once_with_few_rows_to_spare() {
        for heights in [
            &[1, 4][..],
            &[1, 2, 3, 4],
            &[1, 2, 4, 6],
            &[1, 2, 4, 8],
            &[1, 2, 4, 8, 12],
            &[1, 2, 4, 8, 12, 16],
            &[],
        ] {
            let shapes: Vec<_> = heights.iter().map(|&height| Shape::new(height, 2)).collect();
            let tallest = heights.last().copied().unwrap_or(usize::MAX);
            let mut all = Vec::new();
            for m in 1..400 {
                tiles(m, &shapes, &mut all);
                let mut next = 0;
                for tile in &all {
                    assert_eq!(tile.first, next, "{m} rows: {all:?}");
                    assert!((1..=tile.height).contains(&tile.rows), "{m} rows: {all:?}");
                    assert!(heights.is_empty() || heights.contains(&tile.height), "{m} rows: {all:?}");
                    // What micro-kernels are compiled for, in addition to tiles that are alone.
                    assert!(all.len() == 1 || Shape::in_company(tile.height, tallest), "{m} rows: {all:?}");
                    next += tile.rows;
                }
                assert_eq!(next, m, "{all:?}");
                assert_eq!(all.len(), m.div_ceil(tallest), "{m} rows: {all:?}");
                let spare: usize = all.iter().map(|tile| tile.height - tile.rows).sum();
                assert!(spare <= 3 * all.len(), "{m} rows: {all:?}");
            }
        }
    }
}
