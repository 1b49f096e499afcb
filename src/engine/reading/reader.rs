//! [`Reader`]: a reading with memory of its own.

use super::{OPEN, Place, Probabilities, Reading, Room};
use crate::cache::{KvPool, PAGE};
use crate::engine::Engine;
use crate::engine::driver::Driver;
use crate::engine::sequence::PREFILL_ROWS;
use crate::engine::session::Held;
use crate::error::Result;
use crate::sampler::Policy;
use std::sync::Arc;

/// Rows of a pass over several places, unless one of them needs more.
const ROWS: usize = 2 * PREFILL_ROWS;

/// Reads probabilities, in as few forward passes as its memory allows.
pub struct Reader<'e> {
    engine: Held<'e>,
    pool: KvPool,
    driver: Driver,
    passes: usize,
}

impl<'e> Reader<'e> {
    /// A reader with memory for twice the context of `engine`.
    ///
    /// # Errors
    /// [`Capacity`](crate::Error::Capacity) or [`Memory`](crate::Error::Memory) if there is not enough.
    pub fn new(engine: &'e Engine) -> Result<Self> {
        Self::with(Held::Borrowed(engine))
    }

    /// As [`Self::new`], for a reader that keeps its engine alive.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn shared(engine: &Arc<Engine>) -> Result<Reader<'static>> {
        Reader::with(Held::Shared(Arc::clone(engine)))
    }

    fn with(engine: Held<'e>) -> Result<Self> {
        let positions = (2 * engine.room().max(OPEN)).next_multiple_of(PAGE) + PAGE;
        let pool = KvPool::new(engine.model.kv_shape(), engine.kv, positions)?;
        Ok(Self { driver: Driver::new(&engine)?, pool, engine, passes: 0 })
    }

    /// Forward passes so far.
    pub fn passes(&self) -> usize {
        self.passes
    }

    /// The logarithms of the probabilities that the model gives to [`Place::tokens`] at each place, in their order, at temperature 1.
    /// The mask and ids that are not tokens have none. Of the policy only what positions see matters. The numbers of a place do not depend on
    /// the others, nor on what was read before.
    ///
    /// # Errors
    /// As [`crate::Session::generate`]; those about the places come before any work.
    pub fn read(&mut self, policy: &Policy, places: &[Place<'_>]) -> Result<Probabilities> {
        let Self { engine, pool, driver, .. } = self;
        let mut reading = Reading::new(engine, policy, places)?;
        while !reading.is_done() {
            let rows = reading.sit(pool, Room { rows: ROWS, alone: true, piece: PREFILL_ROWS, keep: 0 });
            assert!(rows > 0, "the pool has room for more than the context");
            if let Err(error) = driver.run(engine, pool, &mut [], &mut [&mut reading], &mut |_, _| {}) {
                reading.fail(pool, error);
            }
        }
        self.passes += reading.passes();
        reading.finish()
    }
}
