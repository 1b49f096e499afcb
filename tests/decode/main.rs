//! Decoding through [`Engine`] and [`Session`], on the recorded models of every family: the rules that every mode keeps
//! (`rules`), what is the same bit for bit (`bits`, `batch`), what the cache may and may not change (`cache`), how blocks
//! become final (`commit`), tokens that change before that (`editing`), chats (`chat`), other probable tokens
//! (`alternatives`), what requests mean and which are refused (`requests`), where the text ends (`ends`), values that are
//! not finite (`not_finite`), what callers bring or share (`embedding`), where blocks lie and what becomes of them in later
//! families (`grids`), and how they depart from the model's defaults (`overrides`); what no model was published with: an
//! expert budget (`budget`), blocks ahead (`ahead`).

#[path = "../fixture/mod.rs"]
mod fixture;

mod ahead;
mod alternatives;
mod batch;
mod bits;
mod budget;
mod cache;
mod chat;
mod commit;
mod editing;
mod embedding;
mod ends;
mod grids;
mod not_finite;
mod overrides;
mod requests;
mod rules;

use diffulex::cache::KvDtype;
use diffulex::engine::PassKind;
use diffulex::exec::Serial;
use diffulex::kernels::Level;
use diffulex::sampler::{CachePlan, Candidate, Editing, Rng, Steps, Unmask};
use diffulex::tensor::TokenId;
use diffulex::text_model::{Setup, TextStream};
use diffulex::{Control, Engine, EngineBuilder, Event, Generation, Policy, Request, Result, Session};
use std::ops::Range;
use std::sync::Arc;

/// One recorded model of each family.
const FAMILIES: [&str; 4] = ["sdar-f32", "fastdllm2-f32", "llada-f32", "dream-f32"];
/// Those whose blocks see only themselves and earlier ones.
const BLOCK_CAUSAL: [&str; 2] = ["sdar-f32", "fastdllm2-f32"];
/// Those that see everything.
const BIDIRECTIONAL: [&str; 2] = ["llada-f32", "dream-f32"];

/// Those whose blocks lie elsewhere or may be short, of one bidirectional family that has block-causal models, and of two
/// block-causal ones.
const GRIDS: [&str; 3] = ["a2d-qwen3-f32", "stable-diffcoder-f32", "nemotron-diffusion-f32"];

/// Settings for a recorded model: exact cache, one thread, the best level. Some configs name no mask.
fn builder(name: &str) -> EngineBuilder {
    let mask = match name {
        "fastdllm2-f32" => Some(333),
        "fastdllm2-untied" => Some(283),
        "llada-moe-f32" => Some(303),
        "llada2-f32" | "a2d-qwen3-f32" => Some(305),
        "stable-diffcoder-f32" => Some(5),
        _ => None,
    };
    Engine::builder()
        .level(Level::detect())
        .executor(Arc::new(Serial))
        .kv(KvDtype::F32)
        .context(if name.starts_with("nemotron") { 256 } else { 2048 })
        .tokenizer_mask(mask)
}

fn engine(name: &str) -> Engine {
    builder(name).open(fixture::golden(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A named policy whose thresholds suit models that are never sure: some positions pass, others do not.
fn policy(name: &str) -> Policy {
    let mut policy = Policy::named(name).unwrap();
    match &mut policy.unmask {
        Unmask::Threshold { tau, .. } => *tau = 0.3,
        Unmask::Factor { factor } => *factor = 2.0,
        Unmask::EntropyBudget { bound } => *bound = 6.0,
        _ => {}
    }
    policy
}

/// The policy of LLaDA2.1, for models that are never sure.
fn editing(tau: f64, passes: usize) -> Policy {
    Policy { editing: Some(Editing { tau, passes }), ..policy("llada2-editing") }
}

/// The policy of a recorded model, with blocks of 8 positions.
fn policy_of(model: &str) -> Policy {
    let mut policy = match model.split('-').next() {
        Some("sdar") => policy("sdar-dynamic"),
        Some("fastdllm2") => policy("fast-dllm-v2"),
        Some("llada2") => editing(0.6, 4),
        Some("a2d") => policy("bd3lm"),
        Some("stable") => policy("stable-diffcoder"),
        Some("nemotron") => policy("nemotron-diffusion"),
        Some("llada") => policy("llada-low-confidence"),
        _ => policy("dream-entropy"),
    };
    policy.schedule.block = Some(8);
    policy.schedule.sub_block = policy.schedule.sub_block.map(|_| 4);
    policy
}

/// Random ids that are not the mask, the same for the same seed.
fn prompt(engine: &Engine, len: usize, seed: u64) -> Vec<TokenId> {
    let (vocab, mask) = (engine.arch().dims.vocab, engine.mask().unwrap());
    let id = |pos| (Rng::new(seed).stream(0, pos).uniform() * vocab as f64) as TokenId;
    (0..len).map(id).map(|id| if id == mask { 1 } else { id }).collect()
}

/// A generation whose text is shown as it becomes final: what was shown is the text.
fn streamed(
    engine: &Engine,
    prompt: &[TokenId],
    new: usize,
    policy: &Policy,
    stop: &[TokenId],
) -> Generation {
    let setup = Setup {
        policy: policy.clone(),
        stop_ids: stop.to_vec(),
        stop: Vec::new(),
        seed: 0,
        grammar: None,
        max_tokens: None,
        alternatives: 0,
    };
    let request = Request { stop, ..Request::new(prompt, new, policy) };
    let (mut stream, mut shown) = (TextStream::new(None, &setup, new), String::new());
    let mut session = engine.session().unwrap();
    let run = watch(&mut session, &request, &mut |event| {
        if let Event::Revealed { canvas, .. } | Event::Block { canvas, .. } = event {
            shown += &stream.push(canvas)?;
        }
        Ok(Control::Continue)
    });
    let generation = run.unwrap().generation;
    shown += &stream.finish(&generation).unwrap();
    let words: Vec<_> = generation.tokens.iter().map(TokenId::to_string).collect();
    assert_eq!(shown, words.join(","), "{stop:?}");
    generation
}

/// A forward pass and what was revealed after it (a carried token belongs to the pass that predicted it).
#[derive(Clone, Debug)]
struct SeenPass {
    kind: PassKind,
    rows: Range<usize>,
    canvas: Vec<TokenId>,
    revealed: Vec<Candidate>,
}

/// A generation and how it was made.
#[derive(Clone, Debug)]
struct Run {
    generation: Generation,
    passes: Vec<SeenPass>,
    blocks: Vec<Range<usize>>,
}

impl Run {
    /// Everything that was decided, with the bits of the scores: equal only if the logits are.
    fn decisions(&self) -> (Vec<TokenId>, Vec<(usize, TokenId, u64)>) {
        let revealed = self.passes.iter().flat_map(|pass| &pass.revealed);
        let bits = revealed.map(|c| (c.pos, c.token, c.score.to_bits())).collect();
        (self.generation.canvas.clone(), bits)
    }

    fn passes_of(&self, kind: PassKind) -> impl Iterator<Item = &SeenPass> {
        self.passes.iter().filter(move |pass| pass.kind == kind)
    }

    /// How many positions were computed for the prompt.
    fn prefilled(&self) -> usize {
        self.passes_of(PassKind::Prefill).map(|pass| pass.rows.len()).sum()
    }
}

/// Generates and notes everything; `control` is asked at every event.
fn watch(
    session: &mut Session<'_>,
    request: &Request<'_>,
    control: &mut dyn FnMut(&Event<'_>) -> Result<Control>,
) -> Result<Run> {
    let (mut passes, mut blocks) = (Vec::<SeenPass>::new(), Vec::new());
    let generation = session.generate(request, &mut |event| {
        match event {
            Event::Pass { kind, index, rows, canvas, .. } => {
                assert_eq!(index, passes.len(), "passes are counted from 0");
                let canvas = canvas.ids().to_vec();
                passes.push(SeenPass { kind, rows: rows.clone(), canvas, revealed: Vec::new() });
            }
            Event::Revealed { tokens, .. } => {
                passes.last_mut().expect("a pass comes first").revealed.extend_from_slice(tokens);
            }
            Event::Block { range, canvas } => {
                assert_eq!(canvas.masks(range.clone()).count(), 0, "a block is finished with masks in it");
                blocks.push(range.clone());
            }
        }
        control(&event)
    })?;
    assert_eq!(generation.nfe, passes.len(), "every pass is announced");
    let prefills = passes.iter().filter(|pass| pass.kind == PassKind::Prefill).count();
    assert_eq!(generation.prefill_passes, prefills, "prefill passes");
    Ok(Run { generation, passes, blocks })
}

/// A run of a request that must succeed.
fn run(session: &mut Session<'_>, request: &Request<'_>) -> Run {
    watch(session, request, &mut |_| Ok(Control::Continue)).unwrap()
}

/// The same in a session of its own.
fn fresh(engine: &Engine, request: &Request<'_>) -> Run {
    run(&mut engine.session().unwrap(), request)
}
