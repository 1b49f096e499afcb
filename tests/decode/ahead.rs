//! Blocks that are denoised ahead of the first one with masks (`Policy::blocks_ahead`): against a plain loop over whole passes, and what callers
//! see of it.

use super::*;
use diffulex::cache::{Attention, Visible};
use diffulex::model::Probe;
use diffulex::sampler::{CachePlan, Commit, Floor, OPENS_AT};

/// What a pass saw, and what it revealed: positions and tokens.
type Pass = (Vec<TokenId>, Vec<(usize, TokenId)>);

fn ahead(block: usize, blocks_ahead: usize, tau: f64) -> Policy {
    let mut policy = policy("sdar-dynamic");
    policy.schedule.block = Some(block);
    policy.unmask = Unmask::Threshold { tau, strict: true, floor: Floor::Count(1), capped: false };
    Policy { blocks_ahead, ..policy }
}

/// The most probable token of every masked position up to `end`, with its probability, from one pass without a cache.
fn predictions(
    session: &mut Session<'_>,
    canvas: &[TokenId],
    end: usize,
    block: usize,
) -> Vec<(usize, TokenId, f64)> {
    let mask = session.engine().mask().unwrap();
    let rule = Attention::BlockCausal { block };
    session.rewind(0);
    session.forward(&canvas[..end], 0, &Visible::by_rule(rule, 0..end, 0, end), &mut Probe::none()).unwrap();
    let masked: Vec<usize> = (0..end).filter(|&pos| canvas[pos] == mask).collect();
    let logits = session.logits(&masked, &mut Probe::none());
    let predict = |(i, &pos): (usize, &usize)| {
        let mut row: Vec<f64> = logits.row(i).iter().map(|&x| f64::from(x)).collect();
        row[mask as usize] = f64::NEG_INFINITY;
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let token = row.iter().position(|&x| x == top).unwrap();
        (pos, token as TokenId, 1.0 / row.iter().map(|x| (x - top).exp()).sum::<f64>())
    };
    masked.iter().enumerate().map(predict).collect()
}

/// The loop as docs/decoding.md describes it, written in the plainest way.
fn plain(engine: &Engine, request: &Request<'_>, block: usize, tau: f64) -> Vec<Pass> {
    let mask = engine.mask().unwrap();
    let mut session = engine.session().unwrap();
    let len = (request.prompt.len() + request.max_new).div_ceil(block) * block;
    let mut canvas = request.prompt.to_vec();
    canvas.resize(len, mask);
    let masks =
        |canvas: &[TokenId], b: usize| canvas[b * block..][..block].iter().filter(|&&id| id == mask).count();
    let at_first: Vec<usize> = (0..len / block).map(|b| masks(&canvas, b)).collect();
    let mut passes = Vec::new();
    // Blocks that are open: those from the first one with masks on that were opened.
    let mut opened = 0;
    loop {
        let Some(first) = (0..len / block).find(|&b| masks(&canvas, b) > 0) else { return passes };
        let stop = canvas.iter().skip(request.prompt.len()).position(|id| request.stop.contains(id));
        let stop = stop.map(|at| at + request.prompt.len());
        if stop.is_some_and(|at| at < first * block) {
            return passes;
        }
        opened = opened.max(first);
        while opened < len / block - 1 && opened - first < request.policy.blocks_ahead {
            let share = (at_first[opened] - masks(&canvas, opened)) as f64 / at_first[opened].max(1) as f64;
            if (at_first[opened] > 0 && share < OPENS_AT) || stop.is_some_and(|at| at < (opened + 1) * block)
            {
                break;
            }
            opened += 1;
        }
        // Nothing beyond a stop id is needed.
        let last = stop.map_or(opened, |at| opened.min(at / block));
        let all = predictions(&mut session, &canvas, (last + 1) * block, block);
        let mut revealed = Vec::new();
        for b in first..=last {
            let own: Vec<_> = all.iter().filter(|p| p.0 / block == b).collect();
            let leads = b == first || masks(&canvas, b - 1) == 0;
            let sure: Vec<_> = own.iter().filter(|p| p.2 > tau).map(|p| (p.0, p.1)).collect();
            let mut best: Option<&(usize, TokenId, f64)> = None;
            for &p in &own {
                best = if best.is_none_or(|best| p.2 > best.2) { Some(p) } else { best };
            }
            match best.filter(|_| leads && sure.is_empty()) {
                Some(best) => revealed.push((best.0, best.1)),
                None => revealed.extend(sure),
            }
        }
        passes.push((canvas.clone(), revealed.clone()));
        revealed.iter().for_each(|&(pos, token)| canvas[pos] = token);
    }
}

/// The denoising passes of a run, in the same form.
fn seen(run: &Run) -> Vec<Pass> {
    let sorted = |pass: &SeenPass| {
        let mut revealed: Vec<_> = pass.revealed.iter().map(|c| (c.pos, c.token)).collect();
        revealed.sort_unstable();
        (pass.canvas.clone(), revealed)
    };
    run.passes_of(PassKind::Denoise).map(sorted).collect()
}

#[test]
fn a_run_is_the_plain_loop() {
    for model in ["sdar-f32", "sdar-moe-f32", "llada2-f32"] {
        let engine = engine(model);
        let mut several = 0;
        for (len, block, blocks_ahead, tau) in [
            (9, 8, 1, 0.2),
            (9, 8, 2, 0.1),
            (16, 4, 3, 0.15),
            (3, 4, 2, 0.05),
            (0, 8, 9, 0.3),
            (7, 8, 0, 0.2),
        ] {
            let prompt = prompt(&engine, len, 5);
            let policy = ahead(block, blocks_ahead, tau);
            for merge_commit in [true, false] {
                let policy = Policy { merge_commit, ..policy.clone() };
                let request = Request::new(&prompt, 40 - len, &policy);
                let run = fresh(&engine, &request);
                let expected = plain(&engine, &request, block, tau);
                assert_eq!(seen(&run), expected, "{model}: {len} {block} {blocks_ahead} {tau}");
                let wide = |pass: &&SeenPass| {
                    pass.revealed.iter().any(|c| c.pos / block > pass.revealed[0].pos / block)
                };
                several += run.passes_of(PassKind::Denoise).filter(wide).count();
            }
        }
        assert!(several > 0, "{model}: no pass revealed something in two blocks");
    }
}

#[test]
fn a_stop_id_ends_the_text_and_nothing_beyond_it_is_worked_on() {
    let engine = engine("sdar-f32");
    let prompt = prompt(&engine, 9, 5);
    let policy = ahead(8, 3, 0.1);
    let all = fresh(&engine, &Request::new(&prompt, 31, &policy));
    for at in [0, 5, 12, 20] {
        let stop = [all.generation.tokens[at]];
        let request = Request { stop: &stop, ..Request::new(&prompt, 31, &policy) };
        let run = fresh(&engine, &request);
        assert_eq!(seen(&run), plain(&engine, &request, 8, 0.1), "stop {stop:?}");
        assert!(!run.generation.tokens.contains(&stop[0]));
        let end = prompt.len() + run.generation.tokens.len();
        let beyond = run.passes.iter().flat_map(|pass| {
            let stopped = pass.canvas[prompt.len()..].iter().position(|id| stop.contains(id));
            let last = stopped.map_or(usize::MAX, |at| (prompt.len() + at) / 8);
            pass.revealed.iter().filter(move |c| c.pos / 8 > last)
        });
        assert_eq!(beyond.count(), 0, "work on what is never read");
        assert_eq!(run.generation.canvas[end], stop[0]);
    }
}

/// What is printed is final: it is the beginning of the text, whatever comes later.
#[test]
fn text_is_final_when_it_is_printed() {
    let engine = engine("sdar-f32");
    let prompt = prompt(&engine, 9, 5);
    let policy = ahead(8, 3, 0.1);
    let all = fresh(&engine, &Request::new(&prompt, 31, &policy)).generation.tokens;
    for stop in [vec![], vec![all[18]], vec![all[18], all[7]]] {
        let generation = streamed(&engine, &prompt, 31, &policy, &stop);
        let cut = all.iter().position(|id| stop.contains(id)).unwrap_or(all.len());
        assert_eq!(generation.tokens, all[..cut], "{stop:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |model: &str, policy: &Policy, reason: &str| {
        let engine = engine(model);
        let prompt = prompt(&engine, 4, 1);
        let error = engine
            .session()
            .unwrap()
            .generate(&Request::new(&prompt, 8, policy), &mut |_| Ok(Control::Continue));
        let text = error.unwrap_err().to_string();
        assert!(text.starts_with("option `blocks-ahead`: ") && text.contains(reason), "{model}: {text}");
    };
    let with = |name: &str| Policy { blocks_ahead: 2, ..policy(name) };
    refused("sdar-f32", &with("sdar-static"), "needs a threshold");
    refused("llada-f32", &with("llada-threshold"), "needs the cache plan block");
    refused("dream-f32", &with("dream-threshold"), "needs a threshold");
    refused("llada2-f32", &with("llada2-editing"), "does not support tokens that change");
    let whole = |name: &str| {
        let mut policy = with(name);
        policy.schedule.sub_block = None;
        policy
    };
    refused("fastdllm2-f32", &with("fast-dllm-v2"), "does not support sub-blocks");
    refused("fastdllm2-f32", &whole("fast-dllm-v2"), "begins with what the one before it predicts");
    refused(
        "nemotron-diffusion-f32",
        &whole("nemotron-diffusion"),
        "begins with what the one before it predicts",
    );
    refused(
        "nemotron-diffusion-f32",
        &Policy { commit: Commit::Full, ..whole("nemotron-diffusion") },
        "from themselves alone",
    );
    refused(
        "fastdllm2-f32",
        &Policy { cache: CachePlan::SubBlock, ..with("fast-dllm-v2") },
        "cache plan block",
    );
}
