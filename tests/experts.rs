//! Feed-forward parts of experts against plain f64 loops: handmade models, whose routers are random, tied, or broken.

mod fixture;

use diffulex::bytes::Bytes;
use diffulex::cache::{KvDtype, KvPool, Visible};
use diffulex::dtype::{DType, as_bytes};
use diffulex::engine::ModelFiles;
use diffulex::exec::{Executor, Serial, Threads};
use diffulex::kernels::{Activations, Level, Rope};
use diffulex::model::{
    Architecture, Budget, Choice, Compute, Dims, GenerationConfig, Mixture, Names, Place, Probe, Role,
    Router, Scratch, Segment, Stage,
};
use diffulex::tensor::{Rows, TensorView, TokenId};
use diffulex::weights::{MemorySource, TensorSource};
use diffulex::{Engine, Error};
use fixture::golden;
use proptest::prelude::*;
use std::sync::Arc;

const HIDDEN: usize = 24;
const VOCAB: usize = 301;

/// One block of experts of an otherwise tiny SDAR.
fn architecture(experts: usize, per_token: usize, ffn: usize, normalized: bool) -> Architecture {
    let arch = Architecture::from_file(&golden("sdar-moe-f32").join("config.json")).unwrap();
    let dims = Dims { vocab: VOCAB, hidden: HIDDEN, layers: 1, head_dim: 8, ..arch.dims };
    let rope = Rope { rotated: dims.head_dim, ..arch.rope };
    let router = Router::Softmax { normalized };
    let mixture = Mixture { experts, per_token, ffn, shared: None, router, sparse: vec![true].into() };
    Architecture { dims, rope, mixture: Some(mixture), ..arch }
}

/// The same with the router of LLaDA2, and a shared expert of width `shared`.
fn grouped(
    experts: usize,
    per_token: usize,
    (groups, kept): (usize, usize),
    shared: Option<usize>,
) -> Architecture {
    let arch = architecture(experts, per_token, 5, true);
    let router = Router::Sigmoid { groups, kept, scale: 2.5, bias: true };
    let mixture = Mixture { shared, router, ..arch.mixture.clone().unwrap() };
    // Others in the family have no name for these.
    static NAMES: std::sync::OnceLock<Names> = std::sync::OnceLock::new();
    let names = NAMES.get_or_init(|| Names { router_bias: "mlp.gate.expert_bias", ..*arch.names });
    Architecture { mixture: Some(mixture), names, ..arch }
}

/// Random weights; those of the router are `router(expert, i)`.
fn weights(arch: &Architecture, seed: u64, router: impl Fn(usize, usize) -> f32) -> MemorySource {
    let mut source = MemorySource::new("made");
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    for slot in arch.tensors() {
        let values: Vec<f32> = match slot.role {
            Role::Router => (0..slot.elements()).map(|i| router(i / HIDDEN, i % HIDDEN)).collect(),
            Role::Norm => (0..slot.elements()).map(|_| 1.0 + next()).collect(),
            _ => (0..slot.elements()).map(|_| next()).collect(),
        };
        let bytes = Bytes::copy_aligned(as_bytes(&values));
        source.insert(slot.name, TensorView::new(DType::F32, slot.shape, bytes).unwrap());
    }
    source
}

fn engine(
    arch: &Architecture,
    source: &MemorySource,
    level: Level,
    exec: Arc<dyn Executor + Send + Sync>,
) -> Engine {
    let builder = Engine::builder().level(level).activations(Activations::F32).executor(exec);
    let files = ModelFiles { arch: arch.clone(), generation: GenerationConfig::default() };
    builder.kv(KvDtype::F32).context(1024).load(files, source).unwrap()
}

/// What a pass over `rows` rows shows at a stage of block 0.
fn seen(engine: &Engine, rows: usize, stages: &[Stage]) -> Vec<Vec<f32>> {
    let ids: Vec<TokenId> = (0..rows).map(|i| (i * 7 % VOCAB) as TokenId).collect();
    let mut found = vec![Vec::new(); stages.len()];
    let mut watch = |place: Place, rows: Rows<'_>| {
        if let Some(i) = stages.iter().position(|&stage| place == Place { layer: Some(0), stage }) {
            found[i] = rows.data().to_vec();
        }
    };
    let visible = Visible::by_rule(engine.arch().attention, 0..rows, 0, rows);
    engine.session().unwrap().forward(&ids, 0, &visible, &mut Probe::new(&mut watch)).unwrap();
    found
}

fn tensor(source: &MemorySource, name: &str) -> Vec<f64> {
    let view = source.tensor(name).unwrap();
    view.as_slice::<f32>().unwrap().iter().map(|&x| f64::from(x)).collect()
}

/// `w x` for a row-major `w`.
fn product(w: &[f64], x: &[f64]) -> Vec<f64> {
    w.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
}

/// The formula of a row, by what the engine chose: scores and weights of the experts, and the output.
fn oracle(source: &MemorySource, mixture: &Mixture, x: &[f32], chosen: &[usize]) -> [Vec<f64>; 3] {
    let x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    let logits = product(&tensor(source, "model.layers.0.mlp.gate.weight"), &x);
    let top = logits.iter().fold(f64::NEG_INFINITY, |top, &x| top.max(x));
    let all: f64 = logits.iter().map(|x| (x - top).exp()).sum();
    let score = |e: usize| match mixture.router {
        Router::Softmax { .. } => (logits[e] - top).exp() / all,
        Router::Sigmoid { .. } => 1.0 / (1.0 + (-logits[e]).exp()),
    };
    let sum: f64 = chosen.iter().map(|&e| score(e)).sum();
    let factor = match mixture.router {
        Router::Softmax { normalized: false } => 1.0,
        Router::Softmax { normalized: true } => 1.0 / sum,
        Router::Sigmoid { scale, .. } if mixture.per_token == 1 => f64::from(scale),
        Router::Sigmoid { scale, .. } => f64::from(scale) / sum,
    };
    let (mut weights, mut out) = (vec![0.0; mixture.experts], vec![0.0; HIDDEN]);
    let mut add = |prefix: &str, weight: f64| {
        let matrix = |name: &str| tensor(source, &format!("model.layers.0.{prefix}{name}_proj.weight"));
        let (gate, up) = (product(&matrix("gate"), &x), product(&matrix("up"), &x));
        let inner: Vec<f64> = gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
        out.iter_mut().zip(product(&matrix("down"), &inner)).for_each(|(out, y)| *out += weight * y);
    };
    for &e in chosen {
        weights[e] = score(e) * factor;
        add(&format!("mlp.experts.{e}."), weights[e]);
    }
    if mixture.shared.is_some() {
        add("shared_expert.", 1.0);
    }
    [(0..mixture.experts).map(score).collect(), weights, out]
}

/// The experts of the largest scores in the groups of the largest two; ties by their number.
fn best(scores: &[f32], mixture: &Mixture) -> Vec<usize> {
    let count = mixture.per_token;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    if let Router::Sigmoid { groups, kept, .. } = mixture.router
        && groups > 1
    {
        let size = scores.len() / groups;
        let sum_of = |group: usize| {
            let mut group = scores[group * size..][..size].to_vec();
            group.sort_by(|a, b| b.partial_cmp(a).unwrap());
            group[0] + group[1]
        };
        let mut all: Vec<usize> = (0..groups).collect();
        all.sort_by(|&a, &b| sum_of(b).partial_cmp(&sum_of(a)).unwrap().then(a.cmp(&b)));
        order.retain(|e| all[..kept].contains(&(e / size)));
    }
    order.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).unwrap().then(a.cmp(&b)));
    order.truncate(count);
    order
}

/// Compares a pass with the oracle, and returns the experts of every row.
fn check(arch: &Architecture, source: &MemorySource, rows: usize) -> Vec<Vec<usize>> {
    let mixture = arch.mixture.as_ref().unwrap();
    let mut first: Option<Vec<Vec<usize>>> = None;
    for level in Level::available() {
        let engine = engine(arch, source, level, Arc::new(Serial));
        let stages = [Stage::MlpNorm, Stage::RouterScores, Stage::ExpertWeights, Stage::Mlp];
        let [x, scores, weights, out] = seen(&engine, rows, &stages).try_into().unwrap();
        let biased = matches!(mixture.router, Router::Sigmoid { bias: true, .. });
        let keys =
            if biased { seen(&engine, rows, &[Stage::RouterBiased]).remove(0) } else { scores.clone() };
        let bias = if biased { tensor(source, "model.layers.0.mlp.gate.expert_bias") } else { Vec::new() };
        for (i, bias) in bias.iter().cycle().enumerate().take(keys.len()) {
            assert_eq!(keys[i], scores[i] + *bias as f32, "score {i} with its bias");
        }
        let mut choices = Vec::new();
        for row in 0..rows {
            let row_of = |data: &[f32], width: usize| data[row * width..][..width].to_vec();
            let chosen = best(&row_of(&keys, mixture.experts), mixture);
            let [p, w, sum] = oracle(source, mixture, &row_of(&x, HIDDEN), &chosen);
            for (data, expected, what) in [(&scores, &p, "score"), (&weights, &w, "weight")] {
                for (e, (&found, &expected)) in row_of(data, mixture.experts).iter().zip(expected).enumerate()
                {
                    let near = (f64::from(found) - expected).abs() <= 1e-5 * expected;
                    assert!(near, "{}: {what} of expert {e}, row {row}: {found}, {expected}", level.name());
                }
            }
            let scale = sum.iter().fold(0.0f64, |top, x| top.max(x.abs()));
            for (found, expected) in row_of(&out, HIDDEN).iter().zip(&sum) {
                let error = (f64::from(*found) - expected).abs();
                assert!(error <= 1e-5 * scale, "{}: row {row}: {found}, expected {expected}", level.name());
            }
            choices.push(chosen);
        }
        first.get_or_insert(choices);
    }
    first.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn experts_compute_the_formula(
        experts in 1usize..12,
        pick in any::<proptest::sample::Index>(),
        ffn in 1usize..20,
        normalized in any::<bool>(),
        rows in 1usize..20,
        seed in any::<u64>(),
    ) {
        let arch = architecture(experts, pick.index(experts) + 1, ffn, normalized);
        let source = weights(&arch, seed, |e, i| ((e * 31 + i * 17 + seed as usize % 97) % 23) as f32 / 23.0 - 0.5);
        check(&arch, &source, rows);
    }

    #[test]
    fn groups_of_experts_compute_the_formula(
        groups in 1usize..5,
        size in 2usize..6,
        picks in any::<[proptest::sample::Index; 2]>(),
        shared in proptest::option::of(1usize..9),
        rows in 1usize..20,
        seed in any::<u64>(),
    ) {
        let kept = picks[0].index(groups) + 1;
        let arch = grouped(groups * size, picks[1].index(kept * size) + 1, (groups, kept), shared);
        let source = weights(&arch, seed, |e, i| ((e * 31 + i * 17 + seed as usize % 97) % 23) as f32 / 23.0 - 0.5);
        check(&arch, &source, rows);
    }
}

/// Replaces a tensor of `source`.
fn replace(source: &mut MemorySource, name: &str, values: &[f32]) {
    let bytes = Bytes::copy_aligned(as_bytes(values));
    source.insert(name, TensorView::new(DType::F32, vec![values.len()], bytes).unwrap());
}

const BIAS: &str = "model.layers.0.mlp.gate.expert_bias";

#[test]
fn a_bias_chooses_and_does_not_weigh() {
    let arch = grouped(8, 2, (4, 2), Some(3));
    let mut source = weights(&arch, 3, |_, _| 0.0);
    // All experts are equal: the lowest numbers of the lowest groups.
    replace(&mut source, BIAS, &[0.0; 8]);
    assert_eq!(check(&arch, &source, 2), [[0, 1], [0, 1]]);
    // Group 1 has the largest bias, groups 2 and 3 the largest sums, and the two best of these are 5 and 6.
    replace(&mut source, BIAS, &[0.0, 0.0, 0.9, -0.9, 0.4, 0.5, 0.5, 0.4]);
    assert_eq!(check(&arch, &source, 2), [[5, 6], [5, 6]]);
    // Sums that are equal: the lower groups.
    replace(&mut source, BIAS, &[0.125, 0.375, 0.5, 0.0, 0.25, 0.25, 0.375, 0.125]);
    assert_eq!(check(&arch, &source, 1), [[2, 1]]);
}

#[test]
fn one_expert_of_a_group_router_is_not_divided() {
    let arch = grouped(6, 1, (1, 1), None);
    let source = weights(&arch, 5, |e, i| (e + i) as f32 / 40.0 - 0.3);
    check(&arch, &source, 3);
}

#[test]
fn equal_experts_are_chosen_by_their_number() {
    let arch = architecture(6, 2, 5, true);
    let choices = check(&arch, &weights(&arch, 1, |_, _| 0.0), 3);
    assert_eq!(choices, [[0, 1], [0, 1], [0, 1]]);
    // Experts 1, 3 and 5 are alike; whichever side of the others a row puts them, 5 is never taken before 3.
    let choices =
        check(&arch, &weights(&arch, 1, |e, i| if e % 2 == 1 { i as f32 - 12.0 } else { e as f32 }), 16);
    assert!(choices.iter().all(|chosen| !chosen.contains(&5)), "{choices:?}");
    assert!(choices.contains(&vec![1, 3]), "{choices:?}");
}

/// More rows than go through the feed-forward part at a time, and experts that no row chooses.
#[test]
fn many_rows_and_experts_without_rows() {
    let arch = architecture(5, 2, 7, false);
    let rank = |e: usize| [3.0, -3.0, 2.0, -2.0, 1.0][e];
    // The sign of one number of a row decides between {0, 2} and {1, 3}; expert 4 is never among the best two.
    let source = weights(&arch, 9, |e, i| if i == 0 { rank(e) } else { 0.0 });
    let choices = check(&arch, &source, 600);
    assert!(choices.iter().all(|chosen| !chosen.contains(&4)), "an expert without rows");
    assert!(choices.contains(&vec![0, 2]) && choices.contains(&vec![1, 3]), "both sides are there");
}

#[test]
fn bits_do_not_depend_on_threads_or_on_other_rows() {
    let arch = architecture(8, 3, 9, true);
    let source = weights(&arch, 4, |e, i| ((e * 5 + i * 3) % 11) as f32 / 11.0);
    let bits = |rows: usize, exec: Arc<dyn Executor + Send + Sync>| -> Vec<u32> {
        let found = seen(&engine(&arch, &source, Level::detect(), exec), rows, &[Stage::Mlp]);
        found[0].iter().map(|x| x.to_bits()).collect()
    };
    let serial = bits(40, Arc::new(Serial));
    for threads in 2..5 {
        assert!(bits(40, Arc::new(Threads::new(threads))) == serial, "{threads} threads");
    }
    // Blocks of 4 see nothing of later ones.
    for rows in [4, 8, 36] {
        assert!(bits(rows, Arc::new(Serial)) == serial[..rows * HIDDEN], "{rows} rows");
    }
}

#[test]
fn a_router_that_is_not_finite_is_named() {
    for (bad, sigmoid) in [(f32::NAN, false), (f32::NAN, true), (f32::INFINITY, true), (f32::INFINITY, false)]
    {
        let arch = if sigmoid { grouped(4, 2, (2, 1), None) } else { architecture(4, 2, 5, true) };
        let source = weights(&arch, 2, |e, i| if (e, i) == (3, 1) { bad } else { 0.1 });
        not_finite(&arch, &source, "layer 0, router logits");
    }
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let arch = grouped(4, 2, (2, 1), None);
        let mut source = weights(&arch, 2, |_, _| 0.1);
        replace(&mut source, BIAS, &[0.0, bad, 0.0, 0.0]);
        not_finite(&arch, &source, "layer 0, router scores with bias");
    }
}

/// Every weight is NaN, and a generation ends with an error that names the place.
fn not_finite(arch: &Architecture, source: &MemorySource, place: &str) {
    let engine = engine(arch, source, Level::detect(), Arc::new(Serial));
    let [weights] = seen(&engine, 2, &[Stage::ExpertWeights]).try_into().unwrap();
    assert_eq!(weights.iter().filter(|x| x.is_nan()).count(), 2 * 2, "two experts of each of two rows");
    let policy = engine.default_policy();
    let request = diffulex::Request::new(&[1, 2, 3, 4], 4, &policy);
    let mut session = engine.session().unwrap();
    let error = session.generate(&request, &mut |_| Ok(diffulex::Control::Continue)).expect_err("an error");
    assert!(matches!(error, Error::NotFinite { .. }), "{error}");
    assert!(error.to_string().ends_with(place), "{error}");
}

/// Scores, weights of the choice, and which experts were read, of a pass over segments of these lengths with these choices.
fn chosen(engine: &Engine, segments: &[(usize, Choice<'_>)]) -> ([Vec<f32>; 2], Vec<bool>) {
    let model = engine.model();
    let compute = Compute { kernels: engine.kernels(), exec: &Serial };
    let mut cache = KvPool::new(model.kv_shape(), KvDtype::F32, 96 * segments.len()).unwrap();
    let slots: Vec<_> = segments.iter().map(|_| cache.open(96).unwrap()).collect();
    let ids: Vec<Vec<TokenId>> = segments
        .iter()
        .enumerate()
        .map(|(s, &(rows, _))| (0..rows).map(|i| ((s * 41 + i * 7) % VOCAB) as TokenId).collect())
        .collect();
    let visible: Vec<_> = segments.iter().map(|&(rows, _)| Visible::all(0..rows, 0..rows)).collect();
    let batch: Vec<_> = segments
        .iter()
        .enumerate()
        .map(|(i, &(_, experts))| Segment {
            slot: slots[i],
            first: 0,
            ids: &ids[i],
            visible: &visible[i],
            experts,
        })
        .collect();
    let mut found = [Vec::new(), Vec::new()];
    let stages = [Stage::RouterBiased, Stage::ExpertWeights];
    let mut watch = |place: Place, rows: Rows<'_>| {
        if let Some(i) = stages.iter().position(|&stage| stage == place.stage) {
            found[i] = rows.data().to_vec();
        } else if place.stage == Stage::RouterScores {
            found[0] = rows.data().to_vec();
        }
    };
    let mut scratch = Scratch::default();
    let rope = model.rope_table(96);
    model.forward(&compute, &mut scratch, &rope, &mut cache, &batch, &mut Probe::new(&mut watch)).unwrap();
    let read = model.touched(&scratch, 0).to_vec();
    (found, read)
}

/// The experts of a row, by its weights.
fn experts_of(weights: &[f32]) -> Vec<usize> {
    (0..weights.len()).filter(|&e| weights[e] != 0.0).collect()
}

/// A row that is unsure takes the best of what the sure rows of its block took, whatever group they are in; others choose as usual.
#[test]
fn a_budget_is_the_plain_loop() {
    for arch in [architecture(12, 3, 5, true), grouped(12, 3, (4, 2), None)] {
        let source = weights(&arch, 4, |e, i| ((e * 31 + i * 17) % 23) as f32 / 23.0 - 0.5);
        let engine = engine(&arch, &source, Level::detect(), Arc::new(Serial));
        let mut limited = 0;
        for seed in 0..8usize {
            let unsure: Vec<bool> = (0..14).map(|i| (i * i + seed * 5 + i * seed) % 3 > 0).collect();
            // Row 0 and rows 11 to 13 are in no block.
            let budget = Budget { blocks: vec![1..6, 6..11], unsure };
            let segments = [(9, Choice::Router), (14, Choice::Budget(&budget))];
            let ([keys, weights], read) = chosen(&engine, &segments);
            let ([_, free], _) = chosen(&engine, &[(9, Choice::Router), (14, Choice::Router)]);
            let row = |of: &[f32], i: usize| of[i * 12..][..12].to_vec();
            let mut all = vec![false; 12];
            for i in 0..23 {
                let own = experts_of(&row(&free, i));
                let block =
                    i.checked_sub(9).and_then(|i| budget.blocks.iter().find(|block| block.contains(&i)));
                let mut pool: Vec<usize> = Vec::new();
                for other in block.into_iter().flat_map(Clone::clone).filter(|&j| !budget.unsure[j]) {
                    pool.extend(experts_of(&row(&free, 9 + other)));
                }
                let expected = if pool.is_empty() || !budget.unsure[i - 9] {
                    own
                } else {
                    pool.sort_by(|&a, &b| {
                        let keys = row(&keys, i);
                        keys[b].partial_cmp(&keys[a]).unwrap().then(a.cmp(&b))
                    });
                    pool.dedup();
                    let mut best = pool[..3].to_vec();
                    best.sort_unstable();
                    limited += usize::from(best != own);
                    best
                };
                assert_eq!(experts_of(&row(&weights, i)), expected, "seed {seed}, row {i}");
                expected.iter().for_each(|&e| all[e] = true);
            }
            assert_eq!(read, all, "seed {seed}: what was read");
            // The same alone: other segments do not matter.
            let ([_, alone], _) = chosen(&engine, &[(14, Choice::Budget(&budget))]);
            let ([_, first], _) = chosen(&engine, &[(14, Choice::Budget(&budget)), (9, Choice::Router)]);
            assert_eq!(alone, first[..alone.len()]);
        }
        assert!(limited > 10, "{limited} rows chose otherwise");
    }
}

#[test]
fn rows_take_turns_through_as_many_experts_as_asked_for() {
    let arch = architecture(12, 3, 5, true);
    let source = weights(&arch, 4, |e, i| ((e * 31 + i * 17) % 23) as f32 / 23.0 - 0.5);
    let engine = engine(&arch, &source, Level::detect(), Arc::new(Serial));
    for count in 3..=12 {
        let ([_, weights], read) = chosen(&engine, &[(8, Choice::Among(count))]);
        assert_eq!(read.iter().filter(|&&read| read).count(), count);
        for row in weights.chunks(12) {
            assert_eq!(experts_of(row).len(), 3, "{count}: {row:?}");
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6, "weighted as the router does");
        }
    }
}
