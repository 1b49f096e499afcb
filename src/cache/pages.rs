//! Who holds which page, and which pages can be found again: [`Pages`].
//!
//! The keys and values of a committed position in a block-causal model follow from the ids up to the end of its block, where the
//! blocks lie, and the padding. So the pages that sequences have computed form trees, one for every [`Rule`]: below the
//! page of the positions `0..96` lie all pages of `96..192` that were computed after it, and so on. Ids are compared, not
//! hashed, so a page that is found is the right one.
//!
//! A page that no slot holds stays in its tree until the memory is needed; then the least recently used one goes
//! first, leaves before the pages that they continue.

use super::store::{PAGE, PageId};
use super::visible::Blocks;
use crate::tensor::TokenId;

/// What else, in addition to the ids, decides the keys and values of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// The blocks, of which a position sees its own and those before it.
    pub(super) blocks: Blocks,
    /// The first position that may be attended to.
    pub(super) first_visible: usize,
}

/// What a page continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parent {
    /// Nothing: its first position is 0.
    Root(Rule),
    /// Another page of the tree.
    Page(PageId),
}

/// Place and contents of a page in a tree.
struct Node {
    parent: Parent,
    /// Ids of its positions, and of those up to the end of the block of the last one.
    ids: Vec<TokenId>,
    /// Positions that hold keys and values; [`PAGE`] but for the last page of a sequence that has ended.
    rows: usize,
    /// Pages that continue this one.
    children: usize,
}

#[derive(Default)]
struct Page {
    /// Slots that hold it.
    holders: usize,
    /// When it was held last.
    used: u64,
    /// Where it can be found.
    node: Option<Node>,
}

/// A page whose ids begin with the given ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) page: PageId,
    /// Positions that agree and hold keys and values, from the first of the page on.
    pub(super) rows: usize,
}

/// The state of every page.
pub(super) struct Pages {
    pages: Vec<Page>,
    clock: u64,
}

impl Pages {
    pub(super) fn new(count: usize) -> Self {
        let mut pages = Self { pages: Vec::new(), clock: 0 };
        pages.grow(count);
        pages
    }

    pub(super) fn grow(&mut self, more: usize) {
        self.pages.extend((0..more).map(|_| Page::default()));
    }

    /// Pages that [`Self::take`] can hand out. The children of a page that no slot holds are not held either, so all of these can go.
    pub(super) fn available(&self) -> usize {
        self.pages.iter().filter(|page| page.holders == 0).count()
    }

    /// Pages that no slot holds and that can be found.
    pub(super) fn kept(&self) -> usize {
        self.pages.iter().filter(|page| page.holders == 0 && page.node.is_some()).count()
    }

    /// Hands out `count` pages, each held once, or none if there are fewer.
    pub(super) fn take(&mut self, count: usize) -> Option<Vec<PageId>> {
        if count > self.available() {
            return None;
        }
        let taken = (0..count).map(|_| {
            let page = self.next_free().expect("that many pages are free");
            self.forget(page);
            self.hold(page);
            page
        });
        Some(taken.collect())
    }

    /// A page with nothing in it, else the least recently used leaf of a tree.
    fn next_free(&self) -> Option<PageId> {
        let free = self.pages.iter().enumerate().filter(|(_, page)| page.holders == 0);
        let rank = |page: &Page| match &page.node {
            None => Some(0),
            Some(node) => (node.children == 0).then_some(page.used),
        };
        let ranked = free.filter_map(|(i, page)| Some((rank(page)?, i as PageId)));
        ranked.min().map(|(_, page)| page)
    }

    /// Removes a leaf from its tree.
    fn forget(&mut self, page: PageId) {
        let Some(node) = self.pages[page as usize].node.take() else { return };
        if let Parent::Page(parent) = node.parent {
            self.node_mut(parent).children -= 1;
        }
    }

    fn node_mut(&mut self, page: PageId) -> &mut Node {
        self.pages[page as usize].node.as_mut().expect("parents are in the tree of their children")
    }

    pub(super) fn hold(&mut self, page: PageId) {
        self.clock += 1;
        let page = &mut self.pages[page as usize];
        page.holders += 1;
        page.used = self.clock;
    }

    pub(super) fn release(&mut self, page: PageId) {
        self.clock += 1;
        let page = &mut self.pages[page as usize];
        page.holders -= 1;
        page.used = self.clock;
    }

    /// The pages that continue `parent`, with their nodes.
    fn children(&self, parent: Parent) -> impl Iterator<Item = (PageId, &Node)> {
        let nodes = (0..).zip(&self.pages).filter_map(|(i, page)| Some((i, page.node.as_ref()?)));
        nodes.filter(move |(_, node)| node.parent == parent)
    }

    /// The page after `parent` that agrees with most of `ids`. All of its [`PAGE`] rows agree only if the ids to the end of
    /// the last block do.
    pub(super) fn find(&self, parent: Parent, ids: &[TokenId]) -> Option<Found> {
        let agree = |node: &Node| {
            let alike = node.ids.iter().zip(ids).take_while(|(a, b)| a == b).count();
            // A block that continues in the next page counts only if it agrees as a whole.
            if alike == node.ids.len() { node.rows } else { alike.min(node.rows.min(PAGE - 1)) }
        };
        let found = self.children(parent).map(|(page, node)| Found { page, rows: agree(node) });
        found.filter(|found| found.rows > 0).max_by_key(|found| found.rows)
    }

    /// Puts a page into the tree: `rows` committed positions after `parent`, whose ids, to the end of the block of the last one,
    /// are `ids`. Returns the page to use: if another one holds the same already, that one, held instead of `page`.
    pub(super) fn publish(&mut self, page: PageId, parent: Parent, ids: &[TokenId], rows: usize) -> PageId {
        let same = self.children(parent).find(|(_, node)| node.rows >= rows && node.ids.starts_with(ids));
        if let Some((other, node)) = same {
            // A longer one holds the same; only whole pages may take each other's place in a table.
            if rows == PAGE && node.ids.len() == ids.len() {
                self.hold(other);
                self.release(page);
                return other;
            }
            return page;
        }
        if let Parent::Page(parent) = parent {
            self.node_mut(parent).children += 1;
        }
        self.pages[page as usize].node = Some(Node { parent, ids: ids.to_vec(), rows, children: 0 });
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Parent = Parent::Root(Rule { blocks: Blocks { len: 4, offset: 0 }, first_visible: 0 });

    fn ids(seed: u32, len: usize) -> Vec<TokenId> {
        (0..len as u32).map(|i| i * 7 + seed).collect()
    }

    /// A page of the tree that no slot holds.
    fn publish(pages: &mut Pages, parent: Parent, ids: &[TokenId], rows: usize) -> PageId {
        let page = pages.take(1).expect("a free page")[0];
        let used = pages.publish(page, parent, ids, rows);
        pages.release(used);
        used
    }

    #[test]
    fn a_page_is_found_by_its_ids_and_what_it_continues() {
        let mut pages = Pages::new(4);
        let first = publish(&mut pages, RULE, &ids(1, PAGE), PAGE);
        let second = publish(&mut pages, Parent::Page(first), &ids(2, PAGE), PAGE);
        assert_eq!(pages.find(RULE, &ids(1, 200)), Some(Found { page: first, rows: PAGE }));
        assert_eq!(pages.find(Parent::Page(first), &ids(2, 96)), Some(Found { page: second, rows: PAGE }));
        assert_eq!(pages.find(RULE, &ids(2, 200)), None);
        let other = Parent::Root(Rule { blocks: Blocks { len: 8, offset: 0 }, first_visible: 0 });
        assert_eq!(pages.find(other, &ids(1, 200)), None, "blocks of another size");
        let mut changed = ids(1, 200);
        changed[40] += 1;
        assert_eq!(pages.find(RULE, &changed), Some(Found { page: first, rows: 40 }));
    }

    #[test]
    fn a_block_that_crosses_the_end_of_a_page_must_agree_as_a_whole() {
        let mut pages = Pages::new(2);
        // Blocks of 64: the keys of 64..96 depend on the ids up to 128.
        let page = publish(&mut pages, RULE, &ids(1, 128), PAGE);
        assert_eq!(pages.find(RULE, &ids(1, 128)), Some(Found { page, rows: PAGE }));
        let mut changed = ids(1, 128);
        changed[120] += 1;
        let found = pages.find(RULE, &changed).expect("the first block agrees");
        assert!((64..PAGE).contains(&found.rows), "{found:?}");
        assert!(pages.find(RULE, &ids(1, 100)).expect("the first block agrees").rows < PAGE);
    }

    #[test]
    fn the_same_page_is_kept_once() {
        let mut pages = Pages::new(3);
        let first = publish(&mut pages, RULE, &ids(1, PAGE), PAGE);
        let again = pages.take(1).expect("a free page")[0];
        assert_eq!(pages.publish(again, RULE, &ids(1, PAGE), PAGE), first);
        pages.release(first);
        assert_eq!((pages.available(), pages.kept()), (3, 1));
    }

    #[test]
    fn the_leaf_that_was_not_used_for_longest_goes_first_and_held_pages_stay() {
        let mut pages = Pages::new(4);
        let root = publish(&mut pages, RULE, &ids(1, PAGE), PAGE);
        let old = publish(&mut pages, Parent::Page(root), &ids(2, PAGE), PAGE);
        let new = publish(&mut pages, Parent::Page(root), &ids(3, PAGE), PAGE);
        let held = publish(&mut pages, RULE, &ids(4, PAGE), PAGE);
        pages.hold(held);
        assert_eq!(pages.take(4), None, "one is held");
        assert_eq!(pages.take(1), Some(vec![old]));
        assert_eq!(pages.take(2), Some(vec![new, root]), "a parent goes after its children");
        assert!(pages.find(RULE, &ids(4, PAGE)).is_some());
        assert_eq!(pages.find(RULE, &ids(1, PAGE)), None);
    }
}
