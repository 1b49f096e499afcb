//! [`KvPool`]: the pages, and the slots of the sequences that use them.

use super::pages::{Pages, Parent, Rule};
use super::store::{KvDtype, KvShape, PAGE, PageId, Store};
use super::visible::Blocks;
use crate::error::{Error, Result};
use crate::kernels::{Kernels, KvRows};
use crate::tensor::{Rows, TokenId};
use std::ops::Range;

/// The memory of one sequence in a [`KvPool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotId(usize);

struct Slot {
    /// Pages of the positions from 0 on.
    table: Vec<PageId>,
    /// Positions that the sequence may use.
    limit: usize,
    committed: usize,
    filled: usize,
    /// Whether whole pages can be found by others, and under which rule.
    rule: Option<Rule>,
    /// Pages at the beginning of the table that can be found by others, and are never written to again.
    published: usize,
}

/// Keys and values of every layer, in pages that are allocated once, and the slots of the sequences that hold them.
pub struct KvPool {
    store: Store,
    pages: Pages,
    slots: Vec<Option<Slot>>,
}

impl KvPool {
    /// Memory for `positions` positions, in whole pages. It is reserved now and touched when it is used.
    ///
    /// # Errors
    /// [`Error::Capacity`] if the size in bytes overflows, [`Error::Memory`] if there is not that much.
    pub fn new(shape: KvShape, dtype: KvDtype, positions: usize) -> Result<Self> {
        let pages = positions.div_ceil(PAGE);
        Ok(Self { store: Store::new(shape, dtype, pages)?, pages: Pages::new(pages), slots: Vec::new() })
    }

    /// Makes room for `positions` more positions, in whole pages. What is stored stays.
    ///
    /// # Errors
    /// As [`Self::new`]; nothing has changed then.
    pub fn grow(&mut self, positions: usize) -> Result<()> {
        let more = positions.div_ceil(PAGE);
        self.store.grow(more)?;
        self.pages.grow(more);
        Ok(())
    }

    /// What is stored for a position.
    pub fn shape(&self) -> KvShape {
        self.store.shape()
    }

    /// Element type.
    pub fn dtype(&self) -> KvDtype {
        self.store.dtype()
    }

    /// Positions of all pages.
    pub fn capacity(&self) -> usize {
        self.store.pages() * PAGE
    }

    /// Positions in pages that no slot holds. What was computed in some of them may still be useful to a later sequence.
    pub fn available(&self) -> usize {
        self.pages.available() * PAGE
    }

    /// Positions in pages that no slot holds and that [`Self::open_after`] can find.
    pub fn kept(&self) -> usize {
        self.pages.kept() * PAGE
    }

    /// A slot for `limit` positions that shares nothing, or `None` if there are too few free pages.
    pub fn open(&mut self, limit: usize) -> Option<SlotId> {
        let table = self.pages.take(limit.div_ceil(PAGE))?;
        Some(self.insert(Slot { table, limit, committed: 0, filled: 0, rule: None, published: 0 }))
    }

    /// A slot for `limit` positions of a block-causal sequence that begins with the final ids `known`, in whole `blocks`,
    /// and attends to nothing before `first_visible`. What other sequences have computed for such a beginning is committed in it already;
    /// its whole pages can be found by others, as soon as [`Self::publish`] says what they hold.
    ///
    /// `None` if there are too few free pages.
    pub fn open_after(
        &mut self,
        blocks: Blocks,
        first_visible: usize,
        known: &[TokenId],
        limit: usize,
    ) -> Option<SlotId> {
        let rule = Rule { blocks, first_visible };
        let (mut table, mut parent) = (Vec::new(), Parent::Root(rule));
        let partial = loop {
            let start = table.len() * PAGE;
            match self.pages.find(parent, &known[start.min(known.len())..]) {
                Some(found) if found.rows == PAGE => {
                    self.pages.hold(found.page);
                    table.push(found.page);
                    parent = Parent::Page(found.page);
                }
                // What agrees of the next page is copied, as far as it is whole blocks.
                other => {
                    let end = other.map_or(start, |found| blocks.floor(start + found.rows));
                    break other.filter(|_| end > start).map(|found| (found.page, end - start));
                }
            }
        };
        let published = table.len();
        let missing = limit.div_ceil(PAGE) - published;
        partial.iter().for_each(|&(page, _)| self.pages.hold(page));
        let taken = self.pages.take(missing);
        partial.iter().for_each(|&(page, _)| self.pages.release(page));
        // Where every page is needed, the one to copy from has to be written to.
        let (taken, partial) = match taken {
            Some(taken) => (Some(taken), partial),
            None => (self.pages.take(missing), None),
        };
        let Some(taken) = taken else {
            table.iter().for_each(|&page| self.pages.release(page));
            return None;
        };
        let mut committed = published * PAGE;
        if let Some((page, rows)) = partial {
            self.store.copy(page, taken[0], rows);
            committed += rows;
        }
        // A shared page may end inside a block; the rest of that block is computed by the first pass.
        table.extend(taken);
        Some(self.insert(Slot { table, limit, committed, filled: committed, rule: Some(rule), published }))
    }

    fn insert(&mut self, slot: Slot) -> SlotId {
        let free = self.slots.iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[at] = Some(slot);
        SlotId(at)
    }

    fn slot(&self, id: SlotId) -> &Slot {
        self.slots[id.0].as_ref().expect("a slot that is open")
    }

    fn slot_mut(&mut self, id: SlotId) -> &mut Slot {
        self.slots[id.0].as_mut().expect("a slot that is open")
    }

    /// Gives the pages of a slot back. What a slot of [`Self::open_after`] has committed can be found until the memory is needed;
    /// `ids` are the ids of the committed positions.
    ///
    /// # Panics
    /// If the slot is not open, or there are fewer ids than committed positions.
    pub fn close(&mut self, id: SlotId, ids: &[TokenId]) {
        self.publish(id, ids);
        let slot = self.slots[id.0].take().expect("a slot that is open");
        let start = slot.published * PAGE;
        if let Some(rule) = slot.rule.filter(|_| slot.committed > start) {
            let (parent, rows) = (parent(rule, &slot.table[..slot.published]), slot.committed - start);
            if rows < PAGE {
                self.pages.publish(slot.table[slot.published], parent, &ids[start..slot.committed], rows);
            }
        }
        slot.table.iter().for_each(|&page| self.pages.release(page));
    }

    /// Lets others find the whole pages that are committed; `ids` are the ids of the committed positions. Does nothing for a
    /// slot of [`Self::open`].
    ///
    /// # Panics
    /// If the slot is not open, or there are fewer ids than committed positions.
    pub fn publish(&mut self, id: SlotId, ids: &[TokenId]) {
        let slot = self.slots[id.0].as_mut().expect("a slot that is open");
        let Some(rule) = slot.rule else { return };
        loop {
            let start = slot.published * PAGE;
            let end = rule.blocks.ceil(start + PAGE);
            if end > slot.committed {
                return;
            }
            let parent = parent(rule, &slot.table[..slot.published]);
            let page = &mut slot.table[slot.published];
            *page = self.pages.publish(*page, parent, &ids[start..end], PAGE);
            slot.published += 1;
        }
    }

    /// Positions `0..committed` of a slot are final.
    ///
    /// # Panics
    /// If the slot is not open, as in every method that takes one.
    pub fn committed(&self, id: SlotId) -> usize {
        self.slot(id).committed
    }

    /// Positions `0..filled` of a slot hold keys and values, final or staged.
    pub fn filled(&self, id: SlotId) -> usize {
        self.slot(id).filled
    }

    /// Positions that a slot may use.
    pub fn limit(&self, id: SlotId) -> usize {
        self.slot(id).limit
    }

    /// Changes how many positions a slot may use, within the pages that it has.
    ///
    /// # Panics
    /// If it has fewer pages, or holds more positions already.
    pub fn set_limit(&mut self, id: SlotId, limit: usize) {
        let slot = self.slot_mut(id);
        assert!(limit <= slot.table.len() * PAGE && limit >= slot.filled, "a limit of {limit} positions");
        slot.limit = limit;
    }

    /// The pages of a slot, in the order of its positions.
    pub fn table(&self, id: SlotId) -> &[u32] {
        &self.slot(id).table
    }

    /// Opens the positions `rows` for staging by one forward pass.
    ///
    /// # Errors
    /// [`Error::Capacity`] if they do not fit.
    ///
    /// # Panics
    /// If they touch committed rows or would leave a hole of empty rows before them.
    pub fn begin(&mut self, id: SlotId, rows: Range<usize>) -> Result<()> {
        let slot = self.slot_mut(id);
        if rows.end > slot.limit {
            return Err(Error::Capacity {
                what: "positions in the key/value cache",
                limit: slot.limit,
                asked: rows.end,
            });
        }
        assert!(rows.start >= slot.committed, "rows {rows:?} are committed up to {}", slot.committed);
        assert!(rows.start <= slot.filled, "rows {rows:?} leave a hole after {}", slot.filled);
        slot.filled = slot.filled.max(rows.end);
        Ok(())
    }

    /// Writes the keys and values of the positions from `first` on. `keys`, `values`: `[rows, n_kv_heads * head_dim]`.
    ///
    /// # Errors
    /// [`Error::Option`] for a number that the element type does not hold, [`Error::NotFinite`] for an infinite one: a key of minus
    /// infinity would hide its position unnoticed. A NaN is stored, and found in the results that it makes NaN. Nothing is
    /// written then.
    ///
    /// # Panics
    /// If the rows were not opened by [`Self::begin`] or have another width.
    pub fn stage(
        &mut self,
        kernels: &Kernels,
        id: SlotId,
        layer: usize,
        first: usize,
        keys: Rows<'_>,
        values: Rows<'_>,
    ) -> Result<()> {
        let KvShape { n_kv_heads, head_dim, .. } = self.shape();
        let width = n_kv_heads * head_dim;
        assert!(keys.width() == width && values.width() == width, "rows of {width} numbers expected");
        assert!(keys.len() == values.len(), "{} keys, {} values", keys.len(), values.len());
        let slot = self.slots[id.0].as_ref().expect("a slot that is open");
        assert!(
            first >= slot.committed && first + keys.len() <= slot.filled,
            "rows from {first} were not opened"
        );
        for (what, rows) in [("key", keys), ("value", values)] {
            self.dtype().check(rows.data(), what, layer)?;
        }
        self.store.write(kernels, layer, &slot.table, first, [keys, values]);
        Ok(())
    }

    /// Declares the next `rows` positions final.
    ///
    /// # Panics
    /// If they were not staged.
    pub fn commit(&mut self, id: SlotId, rows: usize) {
        let slot = self.slot_mut(id);
        assert!(
            slot.committed + rows <= slot.filled,
            "commit of {rows} rows, of which some were never staged"
        );
        slot.committed += rows;
    }

    /// Forgets everything after the first `length` positions.
    ///
    /// # Panics
    /// If they are not all committed, or others can find what would be written to.
    pub fn rewind(&mut self, id: SlotId, length: usize) {
        let slot = self.slot_mut(id);
        assert!(
            length <= slot.committed,
            "rewind to {length}, but only {} positions are committed",
            slot.committed
        );
        assert!(length >= slot.published * PAGE, "rewind to {length}, into pages that are shared");
        slot.committed = length;
        slot.filled = length;
    }

    /// All keys of a layer, `[pages, n_kv_heads, PAGE, head_dim]`.
    pub fn keys(&self, layer: usize) -> KvRows<'_> {
        self.store.keys(layer)
    }

    /// All values of a layer, `[pages, n_kv_heads, PAGE, head_dim]`.
    pub fn values(&self, layer: usize) -> KvRows<'_> {
        self.store.values(layer)
    }

    /// Key and value of one position of a slot, for inspection: `[n_kv_heads * head_dim]` each.
    ///
    /// # Panics
    /// If the position holds nothing.
    pub fn position(&self, id: SlotId, layer: usize, pos: usize) -> [Vec<f32>; 2] {
        let slot = self.slot(id);
        assert!(pos < slot.filled, "position {pos} of {}", slot.filled);
        let KvShape { n_kv_heads, head_dim, .. } = self.shape();
        let page = slot.table[pos / PAGE] as usize;
        [self.keys(layer), self.values(layer)].map(|all| {
            let head = |head| ((page * n_kv_heads + head) * PAGE + pos % PAGE) * head_dim;
            (0..n_kv_heads).flat_map(|h| head(h)..head(h) + head_dim).map(|i| all.get(i)).collect()
        })
    }
}

/// What the page after those of `table` continues.
fn parent(rule: Rule, table: &[PageId]) -> Parent {
    table.last().map_or(Parent::Root(rule), |&page| Parent::Page(page))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
