//! An [`Executor`] on a rayon pool that the caller owns.

use super::Executor;
use ::rayon::ThreadPool;
use ::rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use std::sync::Arc;

/// Runs tasks on a rayon pool.
///
/// Entering the pool from outside costs rayon about 20 microseconds each time, two hundred times per forward pass: call the
/// engine from inside the pool (`pool.install(|| ..)`), or use [`super::Threads`] when nothing else needs the pool.
#[derive(Clone, Debug)]
pub struct Rayon(Arc<ThreadPool>);

impl Rayon {
    /// Uses this pool.
    pub fn new(pool: Arc<ThreadPool>) -> Self {
        Self(pool)
    }
}

impl Executor for Rayon {
    fn width(&self) -> usize {
        self.0.current_num_threads()
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.0.install(|| (0..tasks).into_par_iter().with_max_len(1).for_each(task));
    }
}
