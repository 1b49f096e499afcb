//! Options that name a model and the machine it runs on, and opening what they name.

use super::memory::{self, Need};
use super::{Idle, hub};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use diffulex::cache::KvDtype;
use diffulex::engine::{Engine, EngineBuilder};
use diffulex::error::Result;
use diffulex::json::Value;
use diffulex::kernels::{Activations, Level};
use diffulex::model::{Architecture, GenerationConfig};
use diffulex::quant::{DEFAULT_GROUP, FormatName};
use diffulex::tensor::TokenId;
use diffulex::text_model::Model;
use diffulex::text_model::open::Parts;
use diffulex::weights::{Checkpoint, InUse, Storage, Stored, TensorSource, Weights};
use std::path::{Path, PathBuf};

/// Options about files, where there are none: the demo model is part of the program.
pub const FILES_OF_WEIGHTS: Idle = Idle::Without(
    &["weights"],
    &[
        "config",
        "tokenizer",
        "tokenizer_config",
        "chat_template",
        "generation_config",
        "no_mmap",
        "no_memory_check",
    ],
);

/// Reads the element type of cached keys and values.
pub fn kv() -> impl TypedValueParser<Value = KvDtype> {
    let value = |kv: KvDtype, help| PossibleValue::new(kv.name()).help(help);
    let values = [value(KvDtype::F32, "Exact"), value(KvDtype::F16, "Half the memory")];
    PossibleValuesParser::new(values).map(|name| KvDtype::from_name(&name).expect("one of the values"))
}

/// Threads and instructions.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Machine")]
pub struct CpuArgs {
    /// Threads [default: one for each physical core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Instruction set: scalar, avx2, avx512, amx, neon [default: the best of this CPU, or DIFFULEX_LEVEL]
    #[arg(long, value_name = "LEVEL")]
    pub level: Option<String>,
}

/// The machine.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Machine")]
pub struct MachineArgs {
    /// Threads and instructions.
    #[command(flatten)]
    pub cpu: CpuArgs,
    /// What weights are multiplied with: auto, f32, bf16, int8
    #[arg(long, value_name = "KIND", default_value = "auto")]
    pub activations: String,
    /// Continue although the model does not fit into the available memory
    #[arg(long)]
    pub no_memory_check: bool,
}

impl CpuArgs {
    /// The requested level.
    ///
    /// # Errors
    /// [`diffulex::Error::Option`] if it is unknown or not on this CPU.
    pub fn level(&self) -> Result<Level> {
        self.level.as_deref().map_or_else(Level::from_env, Level::from_name)
    }

    /// Threads to use.
    pub fn threads(&self) -> usize {
        self.threads.map_or_else(diffulex::exec::physical_cores, usize::from)
    }

    /// Says that there are more threads than CPUs for them.
    pub fn note(&self) -> Option<String> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.map(usize::from).filter(|&threads| threads > cpus)?;
        Some(format!("note: {threads} threads share {cpus} CPUs, which is slower than a thread for each"))
    }
}

impl MachineArgs {
    /// The requested kind of activations.
    ///
    /// # Errors
    /// [`diffulex::Error::Option`] if there is no such kind.
    pub fn activations(&self) -> Result<Activations> {
        Activations::from_name(&self.activations)
    }
}

/// The files of a model.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// Checkpoint: a directory, model.safetensors or model.safetensors.index.json; or the hub id of a downloaded one, such as
    /// JetLM/SDAR-1.7B-Chat, with @REVISION if wanted
    #[arg(long, short, value_name = "PATH")]
    pub weights: Option<PathBuf>,
    /// config.json, if it is not next to the weights
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// tokenizer.json, if it is not next to the weights
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// tokenizer_config.json, if it is not next to the weights
    #[arg(long, value_name = "FILE")]
    pub tokenizer_config: Option<PathBuf>,
    /// chat_template.jinja, if it is not next to the weights
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// generation_config.json, if it is not next to the weights
    #[arg(long, value_name = "FILE")]
    pub generation_config: Option<PathBuf>,
    /// Id of the mask token, if neither config.json nor the tokenizer names it
    #[arg(long, value_name = "ID")]
    pub mask_id: Option<TokenId>,
    /// Read the weights instead of mapping them
    #[arg(long)]
    pub no_mmap: bool,
    /// Positions of prompt and new tokens together [default: 4096, or what the model was made for]
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Element type of cached keys and values
    #[arg(long, value_parser = kv(), default_value = "f16")]
    pub kv: Option<KvDtype>,
    /// Quantize the weights while loading: int4 or int8, with a group as int4:128 or int8:row [default group: 64]
    #[arg(long, value_name = "FORMAT")]
    pub quantize: Option<FormatName>,
}

/// Says that a checkpoint has two sets of weights, and which one is read.
pub fn passed_over(files: &Checkpoint) -> Option<String> {
    let (index, Weights::File(read)) = (files.passed_over.as_ref()?, &files.weights) else { return None };
    Some(format!("note: reading {}; {} next to it is not read", read.display(), index.display()))
}

/// Says which keys of generation_config.json change what transformers generates and have no effect here.
fn without_effect(files: &Checkpoint) -> Result<Option<String>> {
    let Some(path) = &files.generation_config else { return Ok(None) };
    let file = path.display().to_string();
    let keys = GenerationConfig::without_effect(&file, &Value::read(path)?)?;
    Ok((!keys.is_empty()).then(|| format!("note: {file}: no effect here: {}", keys.join(", "))))
}

impl ModelArgs {
    /// The files of the checkpoint at `path` (or with this hub id); those with an option of their own are replaced.
    ///
    /// # Errors
    /// If there is no checkpoint.
    pub fn locate(&self, path: &Path) -> Result<Checkpoint> {
        let mut files = Checkpoint::locate(&hub::resolve(path)?)?;
        for (found, given) in [
            (&mut files.config, &self.config),
            (&mut files.tokenizer, &self.tokenizer),
            (&mut files.tokenizer_config, &self.tokenizer_config),
            (&mut files.chat_template, &self.chat_template),
            (&mut files.generation_config, &self.generation_config),
        ] {
            if given.is_some() {
                found.clone_from(given);
            }
        }
        Ok(files)
    }

    /// The files that are read from the checkpoint, as far as it can be found; none for the demo model.
    pub fn inputs(&self) -> Vec<PathBuf> {
        let Some(files) = self.weights.as_deref().and_then(|path| self.locate(path).ok()) else {
            return Vec::new();
        };
        let (Weights::File(weights) | Weights::Index(weights)) = &files.weights;
        let named = [
            &files.config,
            &files.tokenizer,
            &files.tokenizer_config,
            &files.chat_template,
            &files.generation_config,
            &files.special_tokens_map,
        ];
        let beside =
            ["vocab.json", "merges.txt", "added_tokens.json"].map(|name| files.directory().join(name));
        let shards = files.weight_files().unwrap_or_default();
        named.into_iter().flatten().chain([weights]).cloned().chain(shards).chain(beside).collect()
    }

    /// Opens the checkpoint at `path`.
    ///
    /// # Errors
    /// Whatever is wrong with the files or the options.
    pub fn open(&self, path: &Path, machine: &MachineArgs) -> Result<Model> {
        self.open_with(path, self.builder(machine)?, !machine.no_memory_check).map(|(model, _)| model)
    }

    /// Opens the checkpoint at `path` with the settings of `builder`; also returns what the user should know.
    /// `check_memory`: refuse a model that does not fit into memory before anything of it is read.
    ///
    /// # Errors
    /// Whatever is wrong with the files or the settings.
    pub fn open_with(
        &self,
        path: &Path,
        builder: EngineBuilder,
        check_memory: bool,
    ) -> Result<(Model, Vec<String>)> {
        let files = self.locate(path)?;
        let (parts, (in_use, mapped, notes)) = Parts::read_while(&files, |model| {
            let in_use = if self.no_mmap { InUse::default() } else { InUse::hold(&files)? };
            let mapped = files.open(Storage::Map);
            let mut notes: Vec<_> = passed_over(&files).into_iter().collect();
            notes.extend(without_effect(&files)?);
            notes.extend(match &mapped {
                Ok(source) if check_memory => self.check_memory(&builder, &model.arch, source)?,
                _ => None,
            });
            Ok((in_use, mapped, notes))
        })?;
        // What could not be mapped is read already.
        let source = match mapped {
            Ok(source) if !(self.no_mmap && source.is_mapped()) => source,
            _ if self.no_mmap => files.open(Storage::Read)?,
            outcome => outcome?,
        };
        let model = parts.load(&path.display().to_string(), builder, &source)?;
        in_use.check()?;
        Ok((Model { in_use, ..model }, notes))
    }

    /// Whether the model fits into memory, judged by what its files declare; a note if it barely does.
    fn check_memory(
        &self,
        builder: &EngineBuilder,
        arch: &Architecture,
        source: &dyn TensorSource,
    ) -> Result<Option<String>> {
        let (kv, context) = (builder.kv_dtype(), builder.context_for(arch));
        let recipe = builder.recipe();
        let weights = match recipe {
            Some(recipe) => memory::planned_bytes(&recipe.plan(arch, source)?),
            None if self.no_mmap => 0,
            None => memory::stored_bytes(arch, source),
        };
        let read = if self.no_mmap { memory::all_bytes(source) } else { 0 };
        let need = Need::new(weights.saturating_add(read), arch, kv, context);
        let panels = |name: &String| matches!(source.stored(name), Ok(Stored::Panels(..)));
        let floats = recipe.is_none() && !source.names().iter().any(panels);
        memory::check("weights", &need, memory::available(), &memory::advice(&need, floats, kv))
    }

    /// Engine settings that these options name.
    ///
    /// # Errors
    /// If the level is unknown or not on this CPU, or there is no such format.
    pub fn builder(&self, machine: &MachineArgs) -> Result<EngineBuilder> {
        let mut builder = Engine::builder()
            .level(machine.cpu.level()?)
            .activations(machine.activations()?)
            .threads(machine.cpu.threads());
        if let Some(id) = self.mask_id {
            builder = builder.mask(id);
        }
        if let Some(context) = self.context {
            builder = builder.context(context);
        }
        if let Some(kv) = self.kv {
            builder = builder.kv(kv);
        }
        if let Some(name) = self.quantize {
            builder = builder.quantize(name.resolve(DEFAULT_GROUP, false)?);
        }
        Ok(builder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_threads_than_cpus_are_noted() {
        let note = |threads| CpuArgs { threads, level: None }.note();
        assert_eq!((note(None), note(Some(1))), (None, None));
        let said = note(Some(u16::MAX)).unwrap();
        assert!(said.starts_with("note: 65535 threads share "), "{said}");
    }
}
