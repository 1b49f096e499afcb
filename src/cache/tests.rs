use super::*;
use crate::kernels::Level;
use proptest::prelude::*;

const SHAPE: KvShape = KvShape { layers: 2, n_kv_heads: 3, head_dim: 5 };
const WIDTH: usize = 15;
const CAPACITY: usize = 24;

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
    fn check(&self, cache: &KvCache) {
        assert_eq!((cache.committed(), cache.filled()), (self.committed, self.rounds.len()));
        for layer in 0..SHAPE.layers {
            let (KvRows::F32(keys), KvRows::F32(values)) = (cache.keys(layer), cache.values(layer)) else {
                panic!("an f32 cache was made");
            };
            for (pos, &round) in self.rounds.iter().enumerate() {
                for e in 0..WIDTH {
                    let at = (e / SHAPE.head_dim * CAPACITY + pos) * SHAPE.head_dim + e % SHAPE.head_dim;
                    assert_eq!(keys[at], value(round, pos, e) + layer as f32, "key {e} of position {pos}");
                    assert_eq!(
                        values[at],
                        -value(round, pos, e) - layer as f32,
                        "value {e} of position {pos}"
                    );
                }
            }
        }
    }
}

fn stage(cache: &mut KvCache, round: usize, positions: Range<usize>) {
    cache.begin(positions.clone()).expect("the positions fit");
    for layer in 0..SHAPE.layers {
        let keys: Vec<f32> = rows(round, positions.clone()).iter().map(|x| x + layer as f32).collect();
        let values: Vec<f32> = keys.iter().map(|x| -x).collect();
        cache.stage(&kernels(), layer, positions.start, Rows::new(&keys, WIDTH), Rows::new(&values, WIDTH));
    }
}

proptest! {
    #[test]
    fn any_sequence_of_stage_commit_rewind_matches_the_model(ops in prop::collection::vec((0..3u8, 0..CAPACITY, 1..9usize), 1..40)) {
        let mut cache = KvCache::new(SHAPE, KvDtype::F32, CAPACITY).unwrap();
        let mut model = Model::default();
        for (round, (op, at, n)) in ops.into_iter().enumerate() {
            match op {
                0 => {
                    let start = at.clamp(model.committed, model.rounds.len());
                    let positions = start..(start + n).min(CAPACITY);
                    stage(&mut cache, round, positions.clone());
                    model.rounds.resize(model.rounds.len().max(positions.end), 0);
                    positions.for_each(|pos| model.rounds[pos] = round);
                }
                1 => {
                    let n = n.min(model.rounds.len() - model.committed);
                    cache.commit(n);
                    model.committed += n;
                }
                _ => {
                    let to = at.min(model.committed);
                    cache.rewind(to);
                    model.rounds.truncate(to);
                    model.committed = to;
                }
            }
            model.check(&cache);
        }
    }
}

#[test]
fn rows_beyond_the_capacity_are_an_error_before_anything_changes() {
    let mut cache = KvCache::new(SHAPE, KvDtype::F32, CAPACITY).unwrap();
    stage(&mut cache, 1, 0..CAPACITY);
    let error = cache.begin(20..CAPACITY + 1).unwrap_err();
    assert!(matches!(error, Error::Capacity { limit: CAPACITY, asked: 25, .. }), "{error}");
    assert_eq!(cache.filled(), CAPACITY);
}

#[test]
fn a_size_that_overflows_is_an_error() {
    for capacity in [usize::MAX, usize::MAX / 64, isize::MAX as usize / 100] {
        assert!(KvCache::new(SHAPE, KvDtype::F16, capacity).is_err(), "{capacity}");
    }
}

#[test]
#[should_panic(expected = "are committed up to 4")]
fn committed_rows_cannot_be_staged_again() {
    let mut cache = KvCache::new(SHAPE, KvDtype::F32, CAPACITY).unwrap();
    stage(&mut cache, 1, 0..8);
    cache.commit(4);
    let _ = cache.begin(3..8);
}

#[test]
#[should_panic(expected = "leave a hole after 8")]
fn a_hole_cannot_be_left() {
    let mut cache = KvCache::new(SHAPE, KvDtype::F32, CAPACITY).unwrap();
    stage(&mut cache, 1, 0..8);
    let _ = cache.begin(9..10);
}

#[test]
fn halves_are_the_rounded_values() {
    let mut cache = KvCache::new(SHAPE, KvDtype::F16, CAPACITY).unwrap();
    let keys: Vec<f32> = (0..WIDTH).map(|e| 0.1 + e as f32 / 3.0).collect();
    cache.begin(0..1).unwrap();
    cache.stage(&kernels(), 1, 0, Rows::new(&keys, WIDTH), Rows::new(&keys, WIDTH));
    let KvRows::F16(stored) = cache.values(1) else { panic!("an f16 cache was made") };
    for (e, x) in keys.iter().enumerate() {
        let at = e / SHAPE.head_dim * CAPACITY * SHAPE.head_dim + e % SHAPE.head_dim;
        assert_eq!(stored[at], F16::from_f32(*x), "element {e}");
    }
}
