//! [`Reading`]: how probable tokens are at the next position of several sequences, as a value that says which pass it needs next.
//!
//! A common beginning is computed once. Of several places the first one goes ahead, with all that the others share with it, and they
//! follow in the next pass: their numbers have the same bits as without it, because keys and values of whole blocks depend on
//! nothing after them.

mod reader;
mod view;

pub use reader::Reader;

use self::view::View;
use super::Engine;
use crate::cache::{KvPool, PAGE, SlotId, Visible};
use crate::error::{Error, Result};
use crate::model::{Choice, Segment};
use crate::sampler::Policy;
use crate::tensor::TokenId;
use std::ops::Range;

/// Masks after the text in a bidirectional model, as far as the context has room for them: with one alone the model would know that
/// the text ends there.
pub const OPEN: usize = 32;

/// Rows that must be saved by letting one place go ahead of others. An extra pass costs about as much as this many.
const WORTH_A_PASS: usize = 16;

/// A place in a sequence whose next token is of interest.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The beginning of the text.
    pub prompt: &'a [TokenId],
    /// The text between that and the place.
    pub rest: &'a [TokenId],
    /// The tokens whose probabilities are wanted.
    pub tokens: &'a [TokenId],
}

/// What a reading found: for each place the logarithms of the probabilities of its tokens.
pub type Probabilities = Vec<Vec<f64>>;

/// How much of a pass a reading may take.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// Rows in all.
    pub(super) rows: usize,
    /// Whether one place may have more, because no other has any.
    pub(super) alone: bool,
    /// Rows of a piece of a long sequence.
    pub(super) piece: usize,
    /// Positions of the memory that others need.
    pub(super) keep: usize,
}

/// A place with its memory.
struct Seat {
    view: usize,
    slot: SlotId,
    /// Positions that the next pass computes.
    rows: Range<usize>,
    visible: Visible,
}

/// Places that are read.
pub(super) struct Reading {
    views: Vec<View>,
    read: Vec<Option<Vec<f64>>>,
    /// Those of the next pass. The first one is held until its place is read, so that there is always memory for one.
    seats: Vec<Seat>,
    passes: usize,
    failed: Option<Error>,
}

impl Reading {
    /// # Errors
    /// As [`super::Session::generate`]: what concerns the policy and the places.
    pub(super) fn new(engine: &Engine, policy: &Policy, places: &[Place<'_>]) -> Result<Self> {
        let views =
            places.iter().map(|place| View::new(engine, policy, place)).collect::<Result<Vec<_>>>()?;
        let read = views.iter().map(|_| None).collect();
        Ok(Self { views, read, seats: Vec::new(), passes: 0, failed: None })
    }

    /// Positions of memory, in whole pages, that a place needs at most.
    pub(super) fn need(&self) -> usize {
        let most = self.views.iter().map(|view| view.ids.len()).max().unwrap_or(0);
        most.next_multiple_of(PAGE)
    }

    /// Positions that have to be left to it so that it can continue.
    pub(super) fn reserved(&self) -> usize {
        if self.seats.is_empty() && !self.is_done() { self.need() } else { 0 }
    }

    /// Whether all is read, or it has failed.
    pub(super) fn is_done(&self) -> bool {
        self.failed.is_some() || self.read.iter().all(Option::is_some)
    }

    /// Prepares the next pass, and returns its rows; 0 if there is no room.
    pub(super) fn sit(&mut self, pool: &mut KvPool, room: Room) -> usize {
        if self.seats.is_empty() {
            let Some(first) = self.read.iter().position(Option::is_none) else { return 0 };
            let Some(seat) = self.seat(pool, first) else { return 0 };
            self.seats.push(seat);
        }
        let (view, start) = (&self.views[self.seats[0].view], pool.committed(self.seats[0].slot));
        let piece = match view.blocks {
            Some(blocks) if view.ids.len() - start > room.piece && start < view.until => {
                blocks.end(start, (room.piece / blocks.len).max(1)).min(view.until)
            }
            _ => view.ids.len(),
        };
        let rows = start..piece;
        let (count, is_whole) = (rows.len(), piece == view.ids.len());
        self.seats[0].visible = view.visible(rows.clone());
        self.seats[0].rows = rows;
        if count > room.rows && !room.alone {
            return 0;
        }
        if is_whole { self.sit_others(pool, room, count) } else { count }
    }

    /// Takes more places into the pass, as far as they fit, and returns the rows of all.
    fn sit_others(&mut self, pool: &mut KvPool, room: Room, first: usize) -> usize {
        let (mut rows, mut later, mut saved) = (first, Vec::new(), 0);
        let others = self.seats[0].view + 1..self.views.len();
        for other in others.filter(|&other| self.read[other].is_none()).collect::<Vec<_>>() {
            let ahead = self.seats.iter().map(|seat| {
                let shared = self.views[other].shared(&self.views[seat.view]);
                shared.saturating_sub(seat.rows.start)
            });
            match ahead.max().unwrap_or(0) {
                0 => match self.add(pool, room, other, rows) {
                    Some(own) => rows += own,
                    None => break,
                },
                rows => {
                    saved += rows;
                    later.push(other);
                }
            }
        }
        if saved < WORTH_A_PASS {
            for other in later {
                match self.add(pool, room, other, rows) {
                    Some(own) => rows += own,
                    None => break,
                }
            }
        }
        rows
    }

    /// Takes a place into the pass, if it fits, and returns its rows.
    fn add(&mut self, pool: &mut KvPool, room: Room, view: usize, rows: usize) -> Option<usize> {
        let need = self.views[view].ids.len().next_multiple_of(PAGE);
        if rows >= room.rows || pool.available() < room.keep + need {
            return None;
        }
        let seat = self.seat(pool, view)?;
        let own = seat.rows.len();
        if rows + own > room.rows {
            self.close(pool, &seat);
            return None;
        }
        self.seats.push(seat);
        Some(own)
    }

    /// Memory for a place, if there is some.
    fn seat(&self, pool: &mut KvPool, at: usize) -> Option<Seat> {
        let view = &self.views[at];
        let len = view.ids.len();
        let slot = match view.blocks {
            Some(blocks) => pool.open_after(blocks, 0, &view.ids[..view.until], len)?,
            None => pool.open(len)?,
        };
        let rows = pool.committed(slot)..len;
        Some(Seat { view: at, slot, visible: view.visible(rows.clone()), rows })
    }

    /// What the pass computes.
    pub(super) fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        self.seats.iter().map(|seat| Segment {
            slot: seat.slot,
            first: seat.rows.start,
            ids: &self.views[seat.view].ids[seat.rows.clone()],
            visible: &seat.visible,
            experts: Choice::Router,
        })
    }

    /// The rows of the pass that predict a next token, counted from its first, and the tokens that are of interest there.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (usize, &[TokenId])> {
        let mut before = 0;
        self.seats.iter().filter_map(move |seat| {
            let first = before;
            before += seat.rows.len();
            let view = &self.views[seat.view];
            seat.rows.contains(&view.row).then(|| (first + view.row - seat.rows.start, &*view.tokens))
        })
    }

    /// Continues after the pass: `logs` are the logarithms of the probabilities of [`Self::wanted`].
    pub(super) fn take(&mut self, pool: &mut KvPool, logs: Result<Probabilities>) {
        self.passes += 1;
        let mut logs = match logs {
            Ok(logs) => logs.into_iter(),
            Err(error) => return self.fail(pool, error),
        };
        for seat in std::mem::take(&mut self.seats) {
            let view = &self.views[seat.view];
            pool.commit(seat.slot, view.until.min(seat.rows.end).saturating_sub(seat.rows.start));
            if seat.rows.contains(&view.row) {
                self.read[seat.view] = logs.next();
                self.close(pool, &seat);
            } else {
                self.seats.push(seat);
            }
        }
    }

    /// Ends it.
    pub(super) fn fail(&mut self, pool: &mut KvPool, error: Error) {
        self.release(pool);
        self.failed = Some(error);
    }

    /// Gives its memory back.
    pub(super) fn release(&mut self, pool: &mut KvPool) {
        std::mem::take(&mut self.seats).iter().for_each(|seat| self.close(pool, seat));
    }

    /// What is committed can be found by others.
    fn close(&self, pool: &mut KvPool, seat: &Seat) {
        let committed = pool.committed(seat.slot);
        pool.close(seat.slot, &self.views[seat.view].ids[..committed]);
    }

    /// Forward passes that it took part in.
    pub(super) fn passes(&self) -> usize {
        self.passes
    }

    /// What was read.
    ///
    /// # Errors
    /// What went wrong.
    pub(super) fn finish(self) -> Result<Probabilities> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok(self.read.into_iter().map(|logs| logs.expect("all is read")).collect()),
        }
    }
}
