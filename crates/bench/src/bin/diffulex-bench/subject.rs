//! The model that is measured: a preset with random weights, or a checkpoint.

use crate::args::Cli;
use crate::check_activations;
use diffulex::engine::{EngineBuilder, ModelFiles};
use diffulex::exec::Threads;
use diffulex::model::{Architecture, GenerationConfig};
use diffulex::quant::Format;
use diffulex::tensor::TokenId;
use diffulex::{Engine, Error, Result};
use diffulex_bench::random;
use diffulex_cli::memory::{self, Need};
use diffulex_cli::{self as cli, ModelArgs};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// A model, ready to run.
pub(crate) struct Subject {
    /// What it is called.
    pub(crate) name: String,
    pub(crate) engine: Arc<Engine>,
    /// The threads of the engine.
    pub(crate) exec: Arc<Threads>,
    /// The prompt of a generation.
    pub(crate) prompt: Vec<TokenId>,
    /// Whether its weights are noise.
    pub(crate) is_random: bool,
    /// How long it took to open or to make, in seconds.
    pub(crate) seconds: f64,
}

/// Positions of a session that need no option: the engine's own default, less a block.
const PLENTY: usize = 3072;

impl Subject {
    /// Opens what the options name.
    ///
    /// # Errors
    /// Whatever is wrong with files or options.
    pub(crate) fn open(args: &Cli, exec: Arc<Threads>) -> Result<Self> {
        let start = Instant::now();
        let mut builder = Engine::builder()
            .level(args.machine.cpu.level()?)
            .activations(args.machine.activations()?)
            .executor(exec.clone())
            .kv(args.model.kv);
        if let Some(id) = args.model.mask_id {
            builder = builder.mask(id);
        }
        let positions = args.positions();
        if !args.generate.generate {
            builder = builder.context(positions);
        } else if positions > PLENTY {
            // Generations end at the end of a block.
            builder = builder.context(positions.saturating_add(args.decoding.overrides.block.unwrap_or(0)));
        }
        let mut subject = match (&args.model.weights, &args.model.preset) {
            (Some(path), _) => Self::checkpoint(args, path, builder, exec)?,
            (None, name) => Self::random(args, name.as_deref().unwrap_or_default(), builder, exec)?,
        };
        subject.seconds = start.elapsed().as_secs_f64();
        if args.generate.prompt.is_none() {
            subject.prompt = subject.ids(args.generate.prompt_tokens);
        }
        let max_pos = subject.engine.arch().dims.max_pos;
        // The length of a question is known only now, and is checked when it is asked.
        if positions > max_pos && args.generate.prompt.is_none() {
            let reason =
                format!("{positions} positions given, 1 to {max_pos} expected (the model's own limit)");
            return Err(Error::option("context", reason));
        }
        Ok(subject)
    }

    fn checkpoint(args: &Cli, path: &Path, builder: EngineBuilder, exec: Arc<Threads>) -> Result<Self> {
        let files = ModelArgs { mask_id: args.model.mask_id, ..ModelArgs::default() };
        let (model, note) = files.open_with(path, builder, !args.machine.no_memory_check)?;
        note.iter().for_each(|note| cli::note(note));
        check_activations(args.machine.activations()?, &model.engine.model().formats())?;
        let question = args.generate.prompt.as_deref().map(|text| model.prompt(text)).transpose()?;
        let prompt = question.map(|question| question.ids).unwrap_or_default();
        Ok(Self { prompt, name: model.origin, engine: model.engine, exec, is_random: false, seconds: 0.0 })
    }

    fn random(args: &Cli, name: &str, builder: EngineBuilder, exec: Arc<Threads>) -> Result<Self> {
        let preset = args.model.shape(name)?;
        let (blocks, head) = args.model.formats()?;
        check_activations(args.machine.activations()?, &[blocks, head])?;
        let arch = preset.architecture()?;
        check_memory(args, &arch, [blocks, head])?;
        let source = random::source(&arch, blocks, head, 0);
        let files = ModelFiles { arch, generation: GenerationConfig::default() };
        // Configurations of Fast-dLLM v2 do not name the mask.
        let mask = args.model.mask_id.unwrap_or(preset.id(preset.mask()) as TokenId);
        let engine = Arc::new(builder.mask(mask).load(files, &source)?);
        let layers =
            if args.model.layers.is_some() { format!(", {} layers", preset.layers) } else { String::new() };
        let name = format!("{name}{layers} (random weights)");
        Ok(Self { prompt: Vec::new(), name, engine, exec, is_random: true, seconds: 0.0 })
    }

    /// Some tokens, never the mask.
    pub(crate) fn ids(&self, count: usize) -> Vec<TokenId> {
        let (vocab, mask) = (self.engine.arch().dims.vocab, self.engine.mask().ok());
        let ids = (0..).map(|i: usize| (i.wrapping_mul(7919) % vocab) as TokenId);
        ids.filter(|&id| Some(id) != mask).take(count).collect()
    }
}

/// Refuses a model that is larger than what the system says is free: it would be killed, not refused.
fn check_memory(args: &Cli, arch: &Architecture, [blocks, head]: [Format; 2]) -> Result<()> {
    if args.machine.no_memory_check {
        return Ok(());
    }
    let context = args.positions().min(arch.dims.max_pos);
    let weights =
        memory::matrix_bytes(arch, blocks, head).saturating_add(memory::embedding_bytes(arch, head));
    let need = Need::new(weights, arch, args.model.kv, context);
    let advice = "what helps: --format int4, fewer --layers; --no-memory-check continues anyway";
    let note = memory::check("preset", &need, memory::available(), advice)?;
    note.iter().for_each(|note| cli::note(note));
    Ok(())
}
