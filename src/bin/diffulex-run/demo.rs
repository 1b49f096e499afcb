//! The model that runs when no weights are given. For now it is one of the recorded test models: random weights, so it
//! shows that everything works and not what a trained model writes.

use diffulex::bytes::Bytes;
use diffulex::cli::{MachineArgs, ModelArgs, Opened};
use diffulex::engine::ModelFiles;
use diffulex::json::Value;
use diffulex::model::GenerationConfig;
use diffulex::text::Tokenizer;
use diffulex::text::chat::ChatTemplate;
use diffulex::text::hf::HfTokenizer;
use diffulex::weights::SafeTensors;
use diffulex::{Architecture, Result};

/// What may be asked. The first one is, if nobody asks anything.
pub(crate) const SUGGESTIONS: [&str; 3] =
    ["What is 27 + 45?", "Sort these numbers: 7 3 9 1.", "Tell me a story about a fox."];
/// What the user must know.
pub(crate) const NOTICE: &str = "\
no --weights given: running the built-in test model (SDAR layout, random weights). Its text is gibberish by nature;
give --weights DIR with a checkpoint of SDAR, Fast-dLLM v2, Dream or LLaDA for real answers.";

const ORIGIN: &str = "built-in test model";
static WEIGHTS: &[u8] = include_bytes!("../../../tests/golden/sdar-f32/model.safetensors");
static CONFIG: &[u8] = include_bytes!("../../../tests/golden/sdar-f32/config.json");
static TOKENIZER: &[u8] = include_bytes!("../../../tests/golden/sdar-f32/tokenizer.json");
static TOKENIZER_CONFIG: &[u8] = include_bytes!("../../../tests/golden/sdar-f32/tokenizer_config.json");

pub(crate) fn open(model: &ModelArgs, machine: &MachineArgs) -> Result<Opened> {
    let tokenizer = HfTokenizer::from_bytes(ORIGIN, TOKENIZER)?;
    let config = Value::parse(ORIGIN, TOKENIZER_CONFIG)?;
    let template = config.get("chat_template").and_then(Value::as_str);
    let template = template.map(|text| ChatTemplate::from_source(ORIGIN, text, Vec::new())).transpose()?;
    let generation = GenerationConfig::default();
    let arch = Architecture::from_config(ORIGIN, &Value::parse(ORIGIN, CONFIG)?)?;
    let source = SafeTensors::from_bytes(ORIGIN, &Bytes::new(WEIGHTS))?;
    let builder = model.builder(machine)?.tokens(tokenizer.size(), tokenizer.holes().to_vec());
    let engine = builder.load(ModelFiles { arch, generation: generation.clone() }, &source)?;
    Ok(Opened {
        engine,
        tokenizer: Some(tokenizer),
        template,
        generation,
        origin: ORIGIN.to_string(),
        note: None,
    })
}
