//! The model that runs when no weights are given: a tiny SDAR checkpoint of our own (demo/), part of the program.

use super::{MachineArgs, ModelArgs};
use diffulex::bytes::Bytes;
use diffulex::engine::ModelFiles;
use diffulex::json::Value;
use diffulex::model::GenerationConfig;
use diffulex::text::chat::ChatTemplate;
use diffulex::text::hf::HfTokenizer;
use diffulex::text_model::open::Parts;
use diffulex::weights::SafeTensors;
use diffulex::{Model, Result};

/// Questions to ask. The first one is used if nothing is asked.
pub const SUGGESTIONS: [&str; 3] =
    ["Tell a story about Mia the fox.", "What is 27 + 45?", "Sort these numbers: 7 3 9 1."];
/// What the user must know.
pub const NOTICE: &str = "\
no --weights given: this is the built-in demo model, which knows sums, lists, facts that it was told and small stories;
--weights DIR runs a checkpoint of SDAR, Fast-dLLM v2, Dream or LLaDA";

/// Milliseconds that a step of the live canvas stays visible: the demo is faster than the eye.
pub const DELAY_MS: u64 = 50;

const ORIGIN: &str = "built-in demo model";
static WEIGHTS: &[u8] = include_bytes!("../../../demo/sdar/model.safetensors");
static CONFIG: &[u8] = include_bytes!("../../../demo/sdar/config.json");
static GENERATION_CONFIG: &[u8] = include_bytes!("../../../demo/sdar/generation_config.json");
static TOKENIZER: &[u8] = include_bytes!("../../../demo/sdar/tokenizer.json");
static TOKENIZER_CONFIG: &[u8] = include_bytes!("../../../demo/sdar/tokenizer_config.json");

/// Whether a model is the demo model.
pub fn is(model: &Model) -> bool {
    model.origin == ORIGIN
}

/// Opens the demo model with what the options say about machine and engine.
///
/// # Errors
/// Invalid options.
pub fn open(model: &ModelArgs, machine: &MachineArgs) -> Result<Model> {
    let config = Value::parse(ORIGIN, TOKENIZER_CONFIG)?;
    let template = config.get("chat_template").and_then(Value::as_str);
    let template = template.map(|text| ChatTemplate::from_source(ORIGIN, text, Vec::new())).transpose()?;
    let generation = GenerationConfig::from_json(ORIGIN, &Value::parse(ORIGIN, GENERATION_CONFIG)?)?;
    let source = SafeTensors::from_bytes(ORIGIN, &Bytes::new(WEIGHTS))?;
    let parts = Parts {
        files: ModelFiles::from_json(ORIGIN, Value::parse(ORIGIN, CONFIG)?, generation)?,
        tokenizer: Some(HfTokenizer::from_bytes(ORIGIN, TOKENIZER)?),
        template,
        tokenizer_config: Some(config),
        special_tokens_map: None,
    };
    parts.load(ORIGIN, model.builder(machine)?, &source)
}
