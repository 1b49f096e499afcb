//! Who runs the parts of a kernel: the [`Executor`] that the caller brings, and the safe ways to split an output over it.
//!
//! Work is split over rows, output columns or heads, never over the reduction, so results do not depend on the number of
//! threads. The two `split` functions are the only place where several tasks write into one buffer.

mod cores;
mod threads;
mod turns;

#[cfg(feature = "rayon")]
pub mod rayon;

pub use cores::physical_cores;
pub use threads::Threads;

pub(crate) use turns::{OwnTurns, Turns};

use std::marker::PhantomData;
use std::ops::Range;

/// Runs independent tasks, on one thread or several. Object safe, so that an embedder can bring its own pool.
pub trait Executor: Sync {
    /// How many threads take part at most; at least 1. Work is cut into a small multiple of this.
    fn width(&self) -> usize;

    /// Calls `task(i)` once for every `i` below `tasks`, in any order and on any thread, and returns when all are done.
    ///
    /// # Panics
    /// If a task panics.
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync));
}

/// Runs every task on the calling thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

impl Executor for Serial {
    fn width(&self) -> usize {
        1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(task);
    }
}

/// A pointer that tasks may share because each of them touches a different part of what it points to.
struct Shared<T>(*mut T);

// SAFETY: the `split` functions below give every task a part of its own, and T: Send.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// A method, so that closures capture the wrapper and not the bare pointer.
    fn get(&self) -> *mut T {
        self.0
    }
}

/// Cuts `data` into pieces of `piece` elements (the last may be shorter) and calls `task(index, piece)` for each.
///
/// # Panics
/// If `piece` is 0, or a task panics.
pub fn split<T: Send>(
    exec: &dyn Executor,
    data: &mut [T],
    piece: usize,
    task: impl Fn(usize, &mut [T]) + Sync,
) {
    assert!(piece > 0, "pieces of no element");
    let (len, base) = (data.len(), Shared(data.as_mut_ptr()));
    exec.run(len.div_ceil(piece), &|i| {
        let start = i * piece;
        // SAFETY: [start, start + piece) clipped to `len` lies inside `data`, is disjoint from that of every other index, each
        // index is run once, and `data` stays mutably borrowed until `run` returns.
        let part = unsafe { std::slice::from_raw_parts_mut(base.get().add(start), piece.min(len - start)) };
        task(i, part);
    });
}

/// The columns of a row-major matrix that one task owns.
pub struct Columns<'a> {
    base: *mut f32,
    rows: usize,
    width: usize,
    range: Range<usize>,
    lifetime: PhantomData<&'a mut [f32]>,
}

impl Columns<'_> {
    /// The columns, as a range of the full row.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The owned part of row `i`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        // SAFETY: i < rows and range.end <= width (checked by `split_outputs`), so the part lies inside the matrix; no other
        // task owns these columns, and &mut self keeps a second part of this task from existing meanwhile.
        unsafe {
            std::slice::from_raw_parts_mut(self.base.add(i * self.width + self.range.start), self.range.len())
        }
    }
}

/// Cuts two slices in lockstep, into pieces of `piece_a` and `piece_b` elements (the last may be shorter), and calls
/// `task(index, piece of a, piece of b)` for each pair.
///
/// # Panics
/// If a piece is 0, the slices do not have equally many pieces, or a task panics.
pub fn split_pair<A: Send, B: Send>(
    exec: &dyn Executor,
    a: &mut [A],
    piece_a: usize,
    b: &mut [B],
    piece_b: usize,
    task: impl Fn(usize, &mut [A], &mut [B]) + Sync,
) {
    assert!(piece_b > 0, "pieces of no element");
    let (len, base) = (b.len(), Shared(b.as_mut_ptr()));
    assert_eq!(
        a.len().div_ceil(piece_a.max(1)),
        len.div_ceil(piece_b),
        "slices of different numbers of pieces"
    );
    split(exec, a, piece_a, |i, a| {
        let start = i * piece_b;
        // SAFETY: as in `split`; the number of pieces is the same, so start <= len.
        let part = unsafe { std::slice::from_raw_parts_mut(base.get().add(start), piece_b.min(len - start)) };
        task(i, a, part);
    });
}

/// A row-major matrix that [`split_outputs`] cuts.
pub struct Output<'a> {
    /// Numbers in a row; at least 1.
    pub width: usize,
    /// Row after row.
    pub data: &'a mut [f32],
}

/// Cuts the columns of each of some row-major matrices into pieces and calls `task(matrix, columns)` for each of them.
///
/// Pieces are whole units of `unit` columns, apart from the last of a matrix. The first ones are long, so that a task stays with its
/// stream of weights, and they become shorter, so that no thread has much left to do when the others are done: each is half of what a
/// thread's share of the rest would be.
///
/// # Panics
/// If `unit` or a width is 0, a width does not divide its length, or a task panics.
pub fn split_outputs(
    exec: &dyn Executor,
    outputs: Vec<Output<'_>>,
    unit: usize,
    task: impl Fn(usize, Columns<'_>) + Sync,
) {
    assert!(unit > 0, "pieces of no column");
    let mut left: usize = outputs.iter().map(|output| output.width).sum();
    let shares = if exec.width() == 1 { 1 } else { 2 * exec.width() };
    let mut pieces = Vec::new();
    for (matrix, Output { width, data }) in outputs.into_iter().enumerate() {
        assert!(
            width > 0 && data.len().is_multiple_of(width),
            "{} numbers are not rows of {width}",
            data.len()
        );
        let (rows, base) = (data.len() / width, data.as_mut_ptr());
        let mut start = 0;
        while start < width {
            let len = (left / shares / unit * unit).max(unit).min(width - start);
            pieces.push((matrix, rows, width, start..start + len, Shared(base)));
            (start, left) = (start + len, left - len);
        }
    }
    exec.run(pieces.len(), &|i| {
        let (matrix, rows, width, range, base) = &pieces[i];
        let (base, range) = (base.get(), range.clone());
        // Pieces of one matrix are disjoint, `outputs` keeps the matrices borrowed, and each index is run once.
        task(*matrix, Columns { base, rows: *rows, width: *width, range, lifetime: PhantomData });
    });
}

#[cfg(test)]
mod tests;
