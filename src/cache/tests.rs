use super::*;
use crate::dtype::F16;
use crate::kernels::Level;
use proptest::collection::vec;
use proptest::prelude::*;

const SHAPE: KvShape = KvShape { layers: 2, n_kv_heads: 3, head_dim: 5 };
const WIDTH: usize = 15;
/// More than a page, and not a multiple of one.
const CAPACITY: usize = 110;

fn kernels() -> Kernels {
    Kernels::new(Level::detect())
}

/// The value of element `e` of position `pos` as written in `round`.
fn value(round: usize, pos: usize, e: usize) -> f32 {
    (round * 1000 + pos * 20 + e) as f32
}

fn rows(round: usize, positions: Range<usize>) -> Vec<f32> {
    positions.flat_map(|pos| (0..WIDTH).map(move |e| value(round, pos, e))).collect()
}

/// What a cache must hold: for each position the round that wrote it.
#[derive(Default)]
struct Model {
    rounds: Vec<usize>,
    committed: usize,
}

impl Model {
    fn check(&self, cache: &KvPool, slot: SlotId) {
        assert_eq!((cache.committed(slot), cache.filled(slot)), (self.committed, self.rounds.len()));
        for layer in 0..SHAPE.layers {
            for (pos, &round) in self.rounds.iter().enumerate() {
                let [keys, values] = cache.position(slot, layer, pos);
                for e in 0..WIDTH {
                    assert_eq!(keys[e], value(round, pos, e) + layer as f32, "key {e} of position {pos}");
                    assert_eq!(
                        values[e],
                        -value(round, pos, e) - layer as f32,
                        "value {e} of position {pos}"
                    );
                }
            }
        }
    }
}

/// A pool with one slot of [`CAPACITY`] positions, whose pages are not in order.
fn pool() -> (KvPool, SlotId) {
    let mut cache = KvPool::new(SHAPE, KvDtype::F32, CAPACITY + PAGE).unwrap();
    let first = cache.open(1).unwrap();
    cache.close(first, &[]);
    let (first, second) = (cache.open(1).unwrap(), cache.open(1).unwrap());
    cache.close(first, &[]);
    cache.close(second, &[]);
    let slot = cache.open(CAPACITY).unwrap();
    (cache, slot)
}

fn stage(cache: &mut KvPool, slot: SlotId, round: usize, positions: Range<usize>) {
    cache.begin(slot, positions.clone()).expect("the positions fit");
    for layer in 0..SHAPE.layers {
        let keys: Vec<f32> = rows(round, positions.clone()).iter().map(|x| x + layer as f32).collect();
        let values: Vec<f32> = keys.iter().map(|x| -x).collect();
        let (keys, values) = (Rows::new(&keys, WIDTH), Rows::new(&values, WIDTH));
        cache.stage(&kernels(), slot, layer, positions.start, keys, values).unwrap();
    }
}

proptest! {
    #[test]
    fn any_sequence_of_stage_commit_rewind_matches_the_model(ops in vec((0..3u8, 0..CAPACITY, 1..60usize), 1..40)) {
        let (mut cache, slot) = pool();
        let mut model = Model::default();
        for (round, (op, at, n)) in ops.into_iter().enumerate() {
            match op {
                0 => {
                    let start = at.clamp(model.committed, model.rounds.len());
                    let positions = start..(start + n).min(CAPACITY);
                    stage(&mut cache, slot, round, positions.clone());
                    model.rounds.resize(model.rounds.len().max(positions.end), 0);
                    positions.for_each(|pos| model.rounds[pos] = round);
                }
                1 => {
                    let n = n.min(model.rounds.len() - model.committed);
                    cache.commit(slot, n);
                    model.committed += n;
                }
                _ => {
                    let to = at.min(model.committed);
                    cache.rewind(slot, to);
                    model.rounds.truncate(to);
                    model.committed = to;
                }
            }
            model.check(&cache, slot);
        }
    }
}

#[test]
fn rows_beyond_the_capacity_are_an_error_before_anything_changes() {
    let (mut cache, slot) = pool();
    stage(&mut cache, slot, 1, 0..CAPACITY);
    let error = cache.begin(slot, 20..CAPACITY + 1).unwrap_err();
    assert!(matches!(error, Error::Capacity { limit: CAPACITY, asked: 111, .. }), "{error}");
    assert_eq!(cache.filled(slot), CAPACITY);
}

#[test]
fn a_size_that_overflows_is_an_error() {
    for capacity in [usize::MAX, usize::MAX / 64, isize::MAX as usize / 100] {
        assert!(KvPool::new(SHAPE, KvDtype::F16, capacity).is_err(), "{capacity}");
    }
}

#[test]
#[should_panic(expected = "are committed up to 4")]
fn committed_rows_cannot_be_staged_again() {
    let (mut cache, slot) = pool();
    stage(&mut cache, slot, 1, 0..8);
    cache.commit(slot, 4);
    let _ = cache.begin(slot, 3..8);
}

#[test]
#[should_panic(expected = "leave a hole after 8")]
fn a_hole_cannot_be_left() {
    let (mut cache, slot) = pool();
    stage(&mut cache, slot, 1, 0..8);
    let _ = cache.begin(slot, 9..10);
}

#[test]
fn halves_are_the_rounded_values() {
    let mut cache = KvPool::new(SHAPE, KvDtype::F16, CAPACITY).unwrap();
    let slot = cache.open(CAPACITY).unwrap();
    let keys: Vec<f32> = (0..WIDTH).map(|e| 0.1 + e as f32 / 3.0).collect();
    cache.begin(slot, 0..1).unwrap();
    cache.stage(&kernels(), slot, 1, 0, Rows::new(&keys, WIDTH), Rows::new(&keys, WIDTH)).unwrap();
    let [_, stored] = cache.position(slot, 1, 0);
    for (e, x) in keys.iter().enumerate() {
        assert_eq!(stored[e], F16::from_f32(*x).to_f32(), "element {e}");
    }
}

#[test]
fn numbers_that_would_become_infinite_are_refused() {
    let mut numbers = vec![0.5; 2 * WIDTH];
    let mut outcome = |dtype, at: usize, x: f32, which| {
        let mut cache = KvPool::new(SHAPE, dtype, 2).unwrap();
        let slot = cache.open(2).unwrap();
        cache.begin(slot, 0..2).unwrap();
        let (good, old) = (vec![1.0; 2 * WIDTH], std::mem::replace(&mut numbers[at], x));
        let [keys, values] = if which == "key" { [&numbers, &good] } else { [&good, &numbers] };
        let outcome = cache.stage(&kernels(), slot, 1, 0, Rows::new(keys, WIDTH), Rows::new(values, WIDTH));
        numbers[at] = old;
        outcome.map_err(|error| error.to_string())
    };
    for at in [0, 1, WIDTH, 2 * WIDTH - 1] {
        for which in ["key", "value"] {
            for x in [65520.0, -65520.0, 80_000.0, f32::MAX, f32::MIN] {
                let error = outcome(KvDtype::F16, at, x, which).unwrap_err();
                let start = format!("option `kv`: f16 given, but a {which} of layer 1 is {x} and");
                assert!(error.starts_with(&start) && error.contains("--kv f32"), "{error}");
                assert_eq!(outcome(KvDtype::F32, at, x, which), Ok(()));
            }
            for x in [65519.99, -65519.99, 65504.0, 0.0, f32::NAN] {
                assert_eq!(outcome(KvDtype::F16, at, x, which), Ok(()), "{x}");
            }
            for (x, dtype) in [(f32::INFINITY, KvDtype::F32), (f32::NEG_INFINITY, KvDtype::F16)] {
                let error = outcome(dtype, at, x, which).unwrap_err();
                assert_eq!(error, format!("a value is NaN or infinite: layer 1, a {which} for the cache"));
            }
        }
    }
}

/// What a block-causal model would store: a number that all ids up to the end of the block decide.
fn content(ids: &[TokenId], block: usize, pos: usize) -> f32 {
    let end = (pos / block + 1) * block;
    let mix = |sum: u32, id: &TokenId| (sum ^ id).wrapping_mul(0x0100_0193);
    (ids[..end].iter().fold(pos as u32 + 17, mix) >> 9) as f32
}

/// Computes the positions from what is committed to `until`, a multiple of the block.
fn compute(cache: &mut KvPool, slot: SlotId, ids: &[TokenId], block: usize, until: usize) {
    let first = cache.committed(slot);
    if first >= until {
        return;
    }
    cache.begin(slot, first..until).expect("the positions fit");
    let rows: Vec<f32> = (first..until).flat_map(|pos| [content(ids, block, pos); WIDTH]).collect();
    for layer in 0..SHAPE.layers {
        cache
            .stage(&kernels(), slot, layer, first, Rows::new(&rows, WIDTH), Rows::new(&rows, WIDTH))
            .unwrap();
    }
    cache.commit(slot, until - first);
    cache.publish(slot, &ids[..until]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Sequences of few different ids, so that many begin alike, come and go in a pool that is too small for all of them.
    #[test]
    fn shared_pages_hold_what_each_sequence_would_have_computed(
        block in prop::sample::select(vec![1usize, 4, 5, 32, 64, 96, 100, 192]),
        ops in vec((0..4u8, 0..4usize, 0..3u32, 1..500usize, 0..500usize), 1..40),
    ) {
        let mut cache = KvPool::new(SHAPE, KvDtype::F32, 14 * PAGE).unwrap();
        let mut open: Vec<(SlotId, Vec<TokenId>)> = Vec::new();
        let mut reused = 0;
        for (op, which, seed, len, change) in ops {
            match op {
                0 | 1 => {
                    let len = len.div_ceil(block) * block;
                    let mut ids: Vec<TokenId> = (0..len as u32).map(|i| i / 7).collect();
                    ids.iter_mut().skip(change).for_each(|id| *id += seed);
                    let known = &ids[..len - block];
                    if let Some(slot) = cache.open_after(Blocks { len: block, offset: 0 }, 0, known, len) {
                        reused += cache.committed(slot);
                        assert!(cache.committed(slot) <= known.len(), "more than what is known");
                        open.push((slot, ids));
                    }
                }
                2 if which < open.len() => {
                    let (slot, ids) = &open[which];
                    let until = (cache.committed(*slot) / block + 1 + change / block) * block;
                    compute(&mut cache, *slot, ids, block, until.min(ids.len()));
                }
                3 if which < open.len() => {
                    let (slot, ids) = open.swap_remove(which);
                    cache.close(slot, &ids[..cache.committed(slot)]);
                }
                _ => {}
            }
            for (slot, ids) in &open {
                for pos in 0..cache.committed(*slot) {
                    let expected = vec![content(ids, block, pos); WIDTH];
                    assert_eq!(cache.position(*slot, 1, pos), [expected.clone(), expected], "position {pos}");
                }
            }
        }
        let held: usize = open.iter().map(|(_, ids)| ids.len().div_ceil(PAGE)).sum();
        prop_assert!(cache.available() >= cache.capacity().saturating_sub(held * PAGE), "pages are lost");
        open.drain(..).for_each(|(slot, ids)| cache.close(slot, &ids[..cache.committed(slot)]));
        prop_assert_eq!(cache.available(), cache.capacity(), "{} positions were reused", reused);
    }
}

#[test]
fn the_beginning_of_an_earlier_sequence_is_not_computed_again() {
    let mut cache = KvPool::new(SHAPE, KvDtype::F32, 8 * PAGE).unwrap();
    let ids: Vec<TokenId> = (0..300).collect();
    let first = cache.open_after(Blocks { len: 4, offset: 0 }, 0, &[], 300).unwrap();
    assert_eq!(cache.committed(first), 0);
    compute(&mut cache, first, &ids, 4, 252);
    let beside = cache.open_after(Blocks { len: 4, offset: 0 }, 0, &ids[..252], 300).unwrap();
    assert_eq!(cache.committed(beside), 192, "whole pages of a sequence that still runs");
    assert_eq!(cache.table(beside)[..2], cache.table(first)[..2], "they are the same memory");
    cache.close(first, &ids[..252]);
    cache.close(beside, &ids[..192]);
    let after = cache.open_after(Blocks { len: 4, offset: 0 }, 0, &ids[..280], 300).unwrap();
    assert_eq!(cache.committed(after), 252, "and the rest of one that has ended");
    cache.close(after, &ids[..252]);
    let other = cache.open_after(Blocks { len: 4, offset: 0 }, 3, &ids[..280], 300).unwrap();
    assert_eq!(cache.committed(other), 0, "with other padding nothing is the same");
}

#[test]
fn a_full_pool_refuses_and_a_grown_one_keeps_what_it_holds() {
    let mut cache = KvPool::new(SHAPE, KvDtype::F32, 2 * PAGE).unwrap();
    let slot = cache.open(2 * PAGE).unwrap();
    stage(&mut cache, slot, 3, 0..150);
    assert!(
        cache.open(1).is_none()
            && cache.open_after(Blocks { len: 4, offset: 0 }, 0, &[1, 2, 3, 4], 8).is_none()
    );
    cache.grow(1).unwrap();
    assert!(cache.open(PAGE).is_some());
    for pos in [0, 95, 96, 149] {
        assert_eq!(cache.position(slot, 0, pos)[0][4], value(3, pos, 4), "position {pos}");
    }
}
