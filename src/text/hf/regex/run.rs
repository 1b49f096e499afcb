//! Running an expression: a program of a few instructions, and a backtracking search with a stack of its own.

use super::class::Set;
use super::parse::{Assert, Greed, Node};
use regex_syntax::hir::ClassUnicode;
use std::collections::HashMap;

/// A program may have this many instructions.
const MAX_PROGRAM: usize = 1 << 16;

/// The sets of a program may have this many ranges together. `\p{L}` has 700.
const MAX_RANGES: usize = 1 << 16;

enum Inst {
    /// One character of a set.
    One(usize),
    /// `min` to `max` characters of a set, as many as there are; `keep` gives none back.
    Run {
        set: usize,
        min: usize,
        max: usize,
        keep: bool,
    },
    /// The first, and the second if that fails.
    Split(usize, usize),
    Jump(usize),
    Assert(Assert),
    /// Notes the position in a slot.
    Mark(usize),
    /// Leaves a loop (past the next instruction) whose round was empty.
    Turn(usize),
    /// What follows up to `end` has to match here, or must not.
    Ahead {
        not: bool,
        end: usize,
    },
    /// As `Ahead`, ending here, `min` to `max` characters before.
    Behind {
        not: bool,
        end: usize,
        min: usize,
        max: usize,
    },
    /// What follows up to `end`, without a way back into it.
    Atomic {
        end: usize,
    },
    Accept,
}

/// A compiled expression.
pub(super) struct Program {
    insts: Vec<Inst>,
    sets: Vec<Set>,
    /// The set for word boundaries.
    word: Set,
    slots: usize,
}

/// Compiles an expression.
///
/// # Errors
/// If the program gets too large, or a look-behind has no greatest length.
pub(super) fn compile(node: &Node) -> Result<Program, String> {
    let word = Set::new(&super::class::word());
    let program = Program { insts: Vec::new(), sets: Vec::new(), word, slots: 0 };
    let mut compiler = Compiler { program, known: HashMap::new(), ranges: 0 };
    compiler.emit(node)?;
    compiler.program.insts.push(Inst::Accept);
    Ok(compiler.program)
}

/// A program under construction.
struct Compiler {
    program: Program,
    /// The sets of nodes, by where these are: a repeated node is emitted several times.
    known: HashMap<*const ClassUnicode, usize>,
    ranges: usize,
}

impl Compiler {
    fn push(&mut self, inst: Inst) -> Result<usize, String> {
        if self.program.insts.len() >= MAX_PROGRAM {
            return Err(format!("too large: more than {MAX_PROGRAM} instructions"));
        }
        self.program.insts.push(inst);
        Ok(self.program.insts.len() - 1)
    }

    fn set(&mut self, class: &ClassUnicode) -> Result<usize, String> {
        if let Some(&set) = self.known.get(&std::ptr::from_ref(class)) {
            return Ok(set);
        }
        self.ranges += class.ranges().len();
        if self.ranges > MAX_RANGES {
            return Err(format!("too large: its classes have more than {MAX_RANGES} ranges"));
        }
        self.program.sets.push(Set::new(class));
        self.known.insert(class, self.program.sets.len() - 1);
        Ok(self.program.sets.len() - 1)
    }

    fn emit(&mut self, node: &Node) -> Result<(), String> {
        match node {
            Node::Set(class) => {
                let set = self.set(class)?;
                self.push(Inst::One(set))?;
            }
            Node::Concat(nodes) => return nodes.iter().try_for_each(|node| self.emit(node)),
            Node::Alternatives(nodes) => return self.alternatives(nodes),
            Node::Repeat { node, min, max, greed } => return self.repeat(node, *min, *max, *greed),
            Node::Look { node, behind, not } => {
                let at = self.push(Inst::Accept)?;
                self.emit(node)?;
                self.push(Inst::Accept)?;
                let (end, not) = (self.program.insts.len(), *not);
                self.program.insts[at] = if *behind {
                    let (min, max) = node.width().ok_or("a look-behind of any length is not supported")?;
                    Inst::Behind { not, end, min, max }
                } else {
                    Inst::Ahead { not, end }
                };
            }
            Node::Atomic(node) => self.atomic(|compiler| compiler.emit(node))?,
            Node::Assert(assert) => {
                self.push(Inst::Assert(*assert))?;
            }
        }
        Ok(())
    }

    fn atomic(&mut self, body: impl FnOnce(&mut Self) -> Result<(), String>) -> Result<(), String> {
        let at = self.push(Inst::Accept)?;
        body(self)?;
        self.push(Inst::Accept)?;
        self.program.insts[at] = Inst::Atomic { end: self.program.insts.len() };
        Ok(())
    }

    fn alternatives(&mut self, nodes: &[Node]) -> Result<(), String> {
        let mut jumps = Vec::new();
        for (i, node) in nodes.iter().enumerate() {
            if i + 1 == nodes.len() {
                self.emit(node)?;
                break;
            }
            let split = self.push(Inst::Accept)?;
            self.emit(node)?;
            jumps.push(self.push(Inst::Accept)?);
            self.program.insts[split] = Inst::Split(split + 1, self.program.insts.len());
        }
        let end = self.program.insts.len();
        jumps.into_iter().for_each(|at| self.program.insts[at] = Inst::Jump(end));
        Ok(())
    }

    fn repeat(&mut self, node: &Node, min: usize, max: Option<usize>, greed: Greed) -> Result<(), String> {
        if let (Node::Set(class), false) = (node, greed == Greed::Lazy) {
            let (set, max) = (self.set(class)?, max.unwrap_or(usize::MAX));
            self.push(Inst::Run { set, min, max, keep: greed == Greed::Possessive })?;
            return Ok(());
        }
        if greed == Greed::Possessive {
            return self.atomic(|compiler| compiler.repeat(node, min, max, Greed::Greedy));
        }
        for _ in 0..min {
            self.emit(node)?;
        }
        let split = |body, end| match greed {
            Greed::Lazy => Inst::Split(end, body),
            _ => Inst::Split(body, end),
        };
        let Some(max) = max else {
            let slot = self.program.slots;
            self.program.slots += 1;
            let at = self.push(Inst::Accept)?;
            self.push(Inst::Mark(slot))?;
            self.emit(node)?;
            self.push(Inst::Turn(slot))?;
            self.push(Inst::Jump(at))?;
            self.program.insts[at] = split(at + 1, self.program.insts.len());
            return Ok(());
        };
        let mut splits = Vec::new();
        for _ in min..max {
            splits.push(self.push(Inst::Accept)?);
            self.emit(node)?;
        }
        let end = self.program.insts.len();
        splits.into_iter().for_each(|at| self.program.insts[at] = split(at + 1, end));
        Ok(())
    }
}

/// What is tried when a branch fails.
enum Way {
    Branch {
        at: usize,
        pos: usize,
    },
    /// A run of characters that may end earlier, not before `low`.
    Shorter {
        at: usize,
        low: usize,
        pos: usize,
    },
    Restore {
        slot: usize,
        pos: usize,
    },
}

/// The search took more steps than it may.
pub(super) struct TooLong;

/// A search through a string.
pub(super) struct Search<'p, 't> {
    program: &'p Program,
    text: &'t str,
    slots: Vec<usize>,
    steps: u64,
}

impl<'p, 't> Search<'p, 't> {
    /// A search that takes at most `steps`, all matches together.
    pub(super) fn new(program: &'p Program, text: &'t str, steps: u64) -> Self {
        Self { program, text, slots: vec![usize::MAX; program.slots], steps }
    }

    /// The first match that begins at the byte `from` or after it.
    pub(super) fn find(&mut self, from: usize) -> Result<Option<(usize, usize)>, TooLong> {
        let starts = self.text[from..].char_indices().map(|(at, _)| from + at);
        for start in starts.chain([self.text.len()]) {
            if let Some(end) = self.run(0, start, None)? {
                return Ok(Some((start, end)));
            }
        }
        Ok(None)
    }

    fn spend(&mut self, steps: u64) -> Result<(), TooLong> {
        self.steps = self.steps.checked_sub(steps).ok_or(TooLong)?;
        Ok(())
    }

    fn next(&self, pos: usize) -> Option<char> {
        self.text[pos..].chars().next()
    }

    fn before(&self, pos: usize) -> Option<char> {
        self.text[..pos].chars().next_back()
    }

    /// Runs from an instruction up to its `Accept`, and returns where the match ends: at `target` if one is given.
    fn run(&mut self, at: usize, pos: usize, target: Option<usize>) -> Result<Option<usize>, TooLong> {
        let (mut at, mut pos) = (at, pos);
        let mut ways = Vec::new();
        loop {
            self.spend(1)?;
            let next = match &self.program.insts[at] {
                Inst::Accept if target.is_none_or(|target| target == pos) => return Ok(Some(pos)),
                Inst::Accept => None,
                Inst::One(set) => {
                    let c = self.next(pos).filter(|&c| self.program.sets[*set].has(c));
                    c.map(|c| (at + 1, pos + c.len_utf8()))
                }
                Inst::Run { set, min, max, keep } => {
                    let found = self.count(*set, pos, *min, *max)?;
                    found.map(|(low, end)| {
                        if end > low && !keep {
                            ways.push(Way::Shorter { at: at + 1, low, pos: end });
                        }
                        (at + 1, end)
                    })
                }
                Inst::Split(first, second) => {
                    ways.push(Way::Branch { at: *second, pos });
                    Some((*first, pos))
                }
                Inst::Jump(to) => Some((*to, pos)),
                Inst::Assert(assert) => self.holds(*assert, pos).then_some((at + 1, pos)),
                Inst::Mark(slot) => {
                    ways.push(Way::Restore { slot: *slot, pos: self.slots[*slot] });
                    self.slots[*slot] = pos;
                    Some((at + 1, pos))
                }
                Inst::Turn(slot) => Some((at + if self.slots[*slot] == pos { 2 } else { 1 }, pos)),
                &Inst::Ahead { not, end } => {
                    (self.run(at + 1, pos, None)?.is_some() != not).then_some((end, pos))
                }
                &Inst::Behind { not, end, min, max } => {
                    (self.behind(at + 1, pos, min, max)? != not).then_some((end, pos))
                }
                &Inst::Atomic { end } => self.run(at + 1, pos, None)?.map(|pos| (end, pos)),
            };
            let Some(next) = next.or_else(|| self.back(&mut ways)) else { return Ok(None) };
            (at, pos) = next;
        }
    }

    /// The next branch, if there is one.
    fn back(&mut self, ways: &mut Vec<Way>) -> Option<(usize, usize)> {
        loop {
            match ways.pop()? {
                Way::Branch { at, pos } => return Some((at, pos)),
                Way::Shorter { at, low, pos } => {
                    let pos = pos - self.before(pos).map_or(1, char::len_utf8);
                    if pos > low {
                        ways.push(Way::Shorter { at, low, pos });
                    }
                    return Some((at, pos));
                }
                Way::Restore { slot, pos } => self.slots[slot] = pos,
            }
        }
    }

    /// Where `min` and where at most `max` characters of a set end.
    fn count(
        &mut self,
        set: usize,
        pos: usize,
        min: usize,
        max: usize,
    ) -> Result<Option<(usize, usize)>, TooLong> {
        let set = &self.program.sets[set];
        let (mut n, mut end, mut low) = (0, pos, pos);
        for c in self.text[pos..].chars().take_while(|&c| set.has(c)).take(max) {
            end += c.len_utf8();
            n += 1;
            if n == min {
                low = end;
            }
        }
        self.spend(n as u64)?;
        Ok((n >= min).then_some((low, end)))
    }

    /// Whether a match of `min` to `max` characters ends at `pos`.
    fn behind(&mut self, at: usize, pos: usize, min: usize, max: usize) -> Result<bool, TooLong> {
        let mut start = pos;
        for length in 0..=max {
            if length >= min && self.run(at, start, Some(pos))?.is_some() {
                return Ok(true);
            }
            let Some(c) = self.before(start) else { break };
            start -= c.len_utf8();
        }
        Ok(false)
    }

    fn holds(&self, assert: Assert, pos: usize) -> bool {
        let (before, next) = (self.before(pos), self.next(pos));
        let word = |c: Option<char>| c.is_some_and(|c| self.program.word.has(c));
        match assert {
            Assert::LineStart => before.is_none() || (before == Some('\n') && next.is_some()),
            Assert::LineEnd => next.is_none_or(|c| c == '\n'),
            Assert::TextStart => before.is_none(),
            Assert::TextEnd => next.is_none(),
            Assert::LastLineEnd => next.is_none() || &self.text[pos..] == "\n",
            Assert::Word => word(before) != word(next),
            Assert::NoWord => word(before) == word(next),
        }
    }
}
