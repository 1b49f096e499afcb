//! The expert budget (`Policy::expert_budget`): against a plain loop that decides itself which masks are unsure, and alone as in a batch.

use super::*;
use diffulex::cache::{Attention, KvPool, Visible};
use diffulex::engine::{Limits, Scheduler};
use diffulex::model::{Budget, Choice, Compute, LogitBuffers, Probe, Scratch, Segment};
use diffulex::sampler::Floor;

fn budget(block: usize, sure: f64, name: &str) -> Policy {
    let mut policy = policy(name);
    policy.schedule.block = Some(block);
    policy.unmask = Unmask::Threshold { tau: 0.9, strict: true, floor: Floor::Count(1), capped: false };
    Policy { expert_budget: Some(sure), ..policy }
}

/// Token and probability of every masked position of `rows`, after a pass over all positions up to `end` with this budget.
fn predictions(
    engine: &Engine,
    canvas: &[TokenId],
    visible: &Visible,
    budget: &Budget,
) -> Vec<(usize, TokenId, f64)> {
    let (model, mask) = (engine.model(), engine.mask().unwrap());
    let compute = Compute { kernels: engine.kernels(), exec: &Serial };
    let mut cache = KvPool::new(model.kv_shape(), KvDtype::F32, canvas.len()).unwrap();
    let slot = cache.open(canvas.len()).unwrap();
    let (mut scratch, mut buffers) = (Scratch::default(), LogitBuffers::default());
    let batch = [Segment { slot, first: 0, ids: canvas, visible, experts: Choice::Budget(budget) }];
    let rope = model.rope_table(canvas.len());
    model.forward(&compute, &mut scratch, &rope, &mut cache, &batch, &mut Probe::none()).unwrap();
    let masked: Vec<usize> = (0..canvas.len()).filter(|&pos| canvas[pos] == mask).collect();
    model.logits(&compute, model.hidden(&scratch), &masked, &mut buffers, &mut Probe::none());
    let rows = buffers.logits.chunks(engine.arch().dims.vocab);
    let predict = |(&pos, row): (&usize, &[f32])| {
        let mut row: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
        row[mask as usize] = f64::NEG_INFINITY;
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let token = row.iter().position(|&x| x == top).unwrap();
        (pos, token as TokenId, 1.0 / row.iter().map(|x| (x - top).exp()).sum::<f64>())
    };
    masked.iter().zip(rows).map(predict).collect()
}

/// One token a pass, the surest of the block; before every pass but the first of a block, masks below `sure` are unsure.
fn plain(engine: &Engine, prompt: &[TokenId], len: usize, block: usize, sure: f64) -> Vec<TokenId> {
    let mask = engine.mask().unwrap();
    let causal = engine.arch().attention != Attention::Bidirectional;
    let mut canvas = prompt.to_vec();
    canvas.resize(len, mask);
    let mut start = if causal { prompt.len() / block * block } else { prompt.len() };
    while start < len {
        let range = start..(start + block).min(len);
        let end = if causal { range.end } else { len };
        let rule = if causal { Attention::BlockCausal { block } } else { Attention::Bidirectional };
        let visible = Visible::by_rule(rule, 0..end, 0, end);
        let mut unsure = vec![false; end];
        while canvas[range.clone()].contains(&mask) {
            let budget = Budget { blocks: vec![range.clone()], unsure: unsure.clone() };
            let mut all = predictions(engine, &canvas[..end], &visible, &budget);
            all.retain(|p| range.contains(&p.0));
            unsure.fill(false);
            all.iter().filter(|p| p.2 < sure).for_each(|p| unsure[p.0] = true);
            let surest = all.iter().rev().max_by(|a, b| a.2.total_cmp(&b.2)).unwrap();
            canvas[surest.0] = surest.1;
            unsure[surest.0] = false;
        }
        start = range.end;
    }
    canvas
}

#[test]
fn a_run_is_the_plain_loop() {
    for (model, name) in [
        ("sdar-moe-f32", "sdar-dynamic"),
        ("llada2-f32", "llada2-threshold"),
        ("llada-moe-f32", "llada-threshold"),
    ] {
        let engine = engine(model);
        let (prompt, mut reads, mut differ) = (prompt(&engine, 11, 3), Vec::new(), false);
        for sure in [0.0, 0.3, 1.0] {
            let policy = budget(8, sure, name);
            let found = fresh(&engine, &Request::new(&prompt, 21, &policy)).generation;
            assert_eq!(found.canvas, plain(&engine, &prompt, 32, 8, sure), "{model}, {sure}");
            let off = Policy { expert_budget: None, ..policy };
            let without = fresh(&engine, &Request::new(&prompt, 21, &off)).generation;
            assert!(sure > 0.0 || found.canvas == without.canvas, "{model}: 0 limits nothing");
            differ |= found.canvas != without.canvas;
            reads.push(found.experts.iter().sum::<f64>());
        }
        assert!(differ, "{model}: a budget that changes nothing");
        // A bidirectional pass reads the experts of the whole canvas.
        assert!(reads[2] < reads[0] || model == "llada-moe-f32", "{model}: {reads:?} experts are read");
    }
}

#[test]
fn a_sequence_has_the_same_text_in_every_batch_and_on_every_number_of_threads() {
    for model in ["sdar-moe-f32", "llada2-f32"] {
        let one = engine(model);
        let three = builder(model).executor(Arc::new(diffulex::exec::Threads::new(3)));
        let three = three.open(fixture::golden(model)).unwrap();
        let mut policy = budget(8, 0.5, "sdar-dynamic");
        policy.unmask = Unmask::Threshold { tau: 0.2, strict: true, floor: Floor::Count(1), capped: false };
        for blocks_ahead in [0, 2] {
            policy.blocks_ahead = blocks_ahead;
            let prompts: Vec<_> = (0..4).map(|i| prompt(&one, 3 + 5 * i, i as u64)).collect();
            let requests: Vec<_> = prompts.iter().map(|prompt| Request::new(prompt, 20, &policy)).collect();
            let alone: Vec<_> =
                requests.iter().map(|request| fresh(&one, request).generation.canvas).collect();
            for (request, canvas) in requests.iter().zip(&alone) {
                assert_eq!(fresh(&three, request).generation.canvas, *canvas, "{model}: three threads");
            }
            let mut scheduler = Scheduler::new(&one, Limits::for_engine(&one, 4)).unwrap();
            let ids: Vec<_> = requests.iter().map(|request| scheduler.add(request).unwrap()).collect();
            let mut found = vec![Vec::new(); 4];
            while !scheduler.is_idle() {
                for finished in scheduler.step(&mut |_, _| Ok(Control::Continue)) {
                    let at = ids.iter().position(|id| *id == finished.id).unwrap();
                    found[at] = finished.result.unwrap().canvas;
                }
            }
            assert_eq!(found, alone, "{model}: in a batch, {blocks_ahead} ahead");
        }
    }
}

#[test]
fn models_without_experts_and_entropies_are_refused() {
    for (model, policy, reason) in [
        ("sdar-f32", budget(8, 0.5, "sdar-dynamic"), "given, but SDAR models have no experts"),
        (
            "sdar-moe-f32",
            Policy { expert_budget: Some(0.5), ..policy("sdar-entropy") },
            "an expert budget needs probability or margin",
        ),
        ("sdar-moe-f32", budget(8, 1.5, "sdar-dynamic"), "1.5 given, a number from 0 to 1 expected"),
    ] {
        let engine = engine(model);
        let error = engine.check(&policy).unwrap_err().to_string();
        assert!(error.contains(reason), "{model}: {error}");
    }
}
