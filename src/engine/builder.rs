//! [`EngineBuilder`]: settings for opening a model.

use super::Engine;
use crate::bytes::ask_for;
use crate::cache::KvDtype;
use crate::error::{Error, Result};
use crate::exec::{Executor, Threads};
use crate::json::Value;
use crate::kernels::{Activations, Kernels, Level};
use crate::model::{Architecture, GenerationConfig, Recipe, Transformer};
use crate::tensor::TokenId;
use crate::weights::{Checkpoint, Storage, TensorSource, Weights};
use std::path::Path;
use std::sync::Arc;

/// Positions of a session unless the caller says otherwise (and the model was made for that many).
const DEFAULT_CONTEXT: usize = 4096;

/// The opened files of a model, before it is loaded.
pub struct ModelFiles {
    /// The model as data.
    pub arch: Architecture,
    /// What generation_config.json says.
    pub generation: GenerationConfig,
}

/// Settings for opening a model. Everything has a default.
///
/// ```
/// use diffulex::Engine;
/// use diffulex::quant::Format;
///
/// let int4 = Format::from_name("q4g64").expect("a format");
/// let engine = Engine::builder().threads(1).context(256).quantize(int4).open("demo/sdar")?;
/// assert!(engine.model().is_quantized());
/// # Ok::<(), diffulex::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct EngineBuilder {
    level: Option<Level>,
    activations: Activations,
    exec: Option<Arc<dyn Executor + Send + Sync>>,
    threads: Option<usize>,
    kv: Option<KvDtype>,
    context: Option<usize>,
    mask: Option<TokenId>,
    tokenizer_mask: Option<TokenId>,
    token_limit: Option<usize>,
    banned: Vec<TokenId>,
    stop: Option<Vec<TokenId>>,
    storage: Storage,
    quantize: Option<Recipe>,
    progress: Option<Progress>,
}

/// See [`EngineBuilder::progress`].
type Progress = Arc<dyn Fn(usize, usize) + Send + Sync>;

impl EngineBuilder {
    /// The instruction set to use. Default: `DIFFULEX_LEVEL` if set, else the best of this CPU.
    #[must_use]
    pub fn level(mut self, level: Level) -> Self {
        self.level = Some(level);
        self
    }

    /// What quantized weights are multiplied with. Default: [`Activations::Auto`].
    #[must_use]
    pub fn activations(mut self, activations: Activations) -> Self {
        self.activations = activations;
        self
    }

    /// The caller's own threads. Default: a pool as wide as the machine.
    #[must_use]
    pub fn executor(mut self, exec: Arc<dyn Executor + Send + Sync>) -> Self {
        self.exec = Some(exec);
        self
    }

    /// Width of the engine's own pool, if the caller brings none.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Element type of cached keys and values. Default: [`KvDtype::F16`].
    #[must_use]
    pub fn kv(mut self, kv: KvDtype) -> Self {
        self.kv = Some(kv);
        self
    }

    /// Positions that a session holds. Default: 4096, or fewer if the model was made for fewer.
    #[must_use]
    pub fn context(mut self, positions: usize) -> Self {
        self.context = Some(positions);
        self
    }

    /// The mask id, whatever config and tokenizer say.
    #[must_use]
    pub fn mask(mut self, id: TokenId) -> Self {
        self.mask = Some(id);
        self
    }

    /// The mask id of the tokenizer, used if the config names none.
    #[must_use]
    pub fn tokenizer_mask(mut self, id: Option<TokenId>) -> Self {
        self.tokenizer_mask = id;
        self
    }

    /// Ids from `limit` on, and those in `banned`, are not tokens and are never produced.
    #[must_use]
    pub fn tokens(mut self, limit: usize, banned: Vec<TokenId>) -> Self {
        self.token_limit = Some(limit);
        self.banned = banned;
        self
    }

    /// Ids that end the text. Default: those of generation_config.json, else those of config.json.
    #[must_use]
    pub fn stop(mut self, ids: Vec<TokenId>) -> Self {
        self.stop = Some(ids);
        self
    }

    /// Whether weights are mapped or read.
    #[must_use]
    pub fn storage(mut self, storage: Storage) -> Self {
        self.storage = storage;
        self
    }

    /// Quantizes the matrices of a float checkpoint while it is loaded, into the weights that `diffulex-quantize` writes. A
    /// [`Format`](crate::quant::Format) is a recipe, too. Default: weights stay as they are stored.
    #[must_use]
    pub fn quantize(mut self, recipe: impl Into<Recipe>) -> Self {
        self.quantize = Some(recipe.into());
        self
    }

    /// Told while the weights are quantized ([`Self::quantize`]), after each matrix: how many elements are done, and of how many.
    #[must_use]
    pub fn progress(mut self, told: impl Fn(usize, usize) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(told));
        self
    }

    /// The mask id that the caller gave.
    pub fn given_mask(&self) -> Option<TokenId> {
        self.mask
    }

    /// Whether weights will be mapped or read.
    pub fn storage_kind(&self) -> Storage {
        self.storage
    }

    /// Positions that a session of a model will hold.
    pub fn context_for(&self, arch: &Architecture) -> usize {
        self.context.unwrap_or(DEFAULT_CONTEXT.min(arch.dims.max_pos))
    }

    /// Element type that cached keys and values will have.
    pub fn kv_dtype(&self) -> KvDtype {
        self.kv.unwrap_or(KvDtype::F16)
    }

    /// What matrices will be quantized to while they are loaded, if they will.
    pub fn recipe(&self) -> Option<&Recipe> {
        self.quantize.as_ref()
    }

    /// Opens a checkpoint: a directory, a `.safetensors` file, or an index file with everything else in its directory.
    ///
    /// # Errors
    /// Any [`Error`] about the files, [`Error::Option`] about the settings.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Engine> {
        self.open_checkpoint(&Checkpoint::locate(path.as_ref())?)
    }

    /// Opens a checkpoint whose files were already located.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_checkpoint(self, checkpoint: &Checkpoint) -> Result<Engine> {
        let files = ModelFiles::read(checkpoint)?;
        let source = checkpoint.open(self.storage)?;
        self.load(files, &source)
    }

    /// Loads a model from the caller's own tensors.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn load(self, files: ModelFiles, source: &dyn TensorSource) -> Result<Engine> {
        let ModelFiles { arch, generation } = files;
        let level = match self.level {
            Some(level) => level,
            None => Level::from_env()?,
        };
        let (context, kv) = (self.context_for(&arch), self.kv_dtype());
        if context == 0 || context > arch.dims.max_pos {
            let reason = format!(
                "{context} positions given, 1 to {} expected (the model's own limit)",
                arch.dims.max_pos
            );
            return Err(Error::option("context", reason));
        }
        let mask = self.mask.or(arch.tokens.mask).or(self.tokenizer_mask);
        if let Some(id) = mask.filter(|&id| id as usize >= arch.dims.vocab) {
            let reason = format!("{id} given, a token id from 0 to {} expected", arch.dims.vocab - 1);
            return Err(Error::option("mask-id", reason));
        }
        let (stop, stop_origin) = match (self.stop, &generation.eos) {
            (Some(given), _) => (given, "given"),
            (None, Some(ids)) => {
                // An id that the model cannot produce ends nothing.
                let ids = ids.iter().copied().filter(|&id| (id as usize) < arch.dims.vocab);
                (ids.collect(), "generation_config.json")
            }
            (None, None) if arch.tokens.eos.is_empty() => (Vec::new(), "none"),
            (None, None) => (arch.tokens.eos.clone(), "config.json"),
        };
        let token_limit = self.token_limit.unwrap_or(arch.dims.vocab);
        let exec = self.exec.unwrap_or_else(|| match self.threads {
            Some(threads) => Arc::new(Threads::new(threads)),
            None => Arc::new(Threads::for_machine()),
        });
        let model = match &self.quantize {
            Some(recipe) => {
                let progress = |done, all| self.progress.iter().for_each(|told| told(done, all));
                Transformer::load_as(arch, source, recipe, &*exec, &progress)?
            }
            None => Transformer::load(arch, source)?,
        };
        let room = super::in_whole_blocks(model.arch(), context);
        check_memory(&model, kv, room)?;
        let kernels = match self.activations {
            // Then the name of the activations is what runs.
            Activations::Auto if !model.is_quantized() => Kernels::new(level),
            activations => Kernels::new(level).with_activations(activations)?,
        };
        let rope = model.rope_table(room);
        Ok(Engine {
            model,
            rope,
            kernels,
            exec,
            kv,
            context,
            mask,
            stop,
            stop_origin,
            defaults: generation,
            token_limit,
            banned: self.banned,
            turns: Default::default(),
        })
    }
}

/// Requests all memory that grows with the context at once, so that too large a context is a wrong option now and not a crash later.
fn check_memory(model: &Transformer, kv: KvDtype, context: usize) -> Result<()> {
    // Cosines and sines of half a head each.
    let rope = model.arch().dims.head_dim * size_of::<f32>();
    let each = model.kv_shape().bytes_per_token(kv) + rope;
    let granted = each.checked_mul(context).is_some_and(|all| ask_for("the context", all).is_ok());
    if granted {
        return Ok(());
    }
    let reason = format!("{context} positions given, they need {each} bytes each, more memory than there is");
    Err(Error::option("context", reason))
}

impl ModelFiles {
    /// Reads config.json and, if it is there, generation_config.json.
    ///
    /// # Errors
    /// [`Error::Format`] if there is no config, else what is wrong with the files.
    pub fn read(checkpoint: &Checkpoint) -> Result<Self> {
        let Some(config) = &checkpoint.config else {
            let (Weights::File(weights) | Weights::Index(weights)) = &checkpoint.weights;
            return Err(Error::format(
                weights.display(),
                "no config.json next to the weights, and none was given",
            ));
        };
        let generation = match &checkpoint.generation_config {
            Some(path) => GenerationConfig::from_file(path)?,
            None => GenerationConfig::default(),
        };
        let files = Self::from_json(&config.display().to_string(), Value::read(config)?, generation)?;
        let directory = checkpoint.directory();
        // A relative path alone may lack the directory name that tells more.
        let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_path_buf());
        Ok(Self { arch: files.arch.named_by(&directory), ..files })
    }

    /// Takes a parsed config.json, which `file` names in errors. Where `generation` names the ids that end the text, those of the config
    /// are not read.
    ///
    /// # Errors
    /// As [`Architecture::from_config`].
    pub fn from_json(file: &str, mut config: Value, generation: GenerationConfig) -> Result<Self> {
        if let (Value::Object(entries), Some(_)) = (&mut config, &generation.eos) {
            entries.retain(|(key, _)| key != "eos_token_id");
        }
        Ok(Self { arch: Architecture::from_config(file, &config)?, generation })
    }
}
