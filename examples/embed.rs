//! A whole program on the core alone: no dependency, token ids in and out.
//!
//! ```text
//! cargo run --release --no-default-features --example embed                       the demo model, from bytes in memory
//! cargo run --release --no-default-features --example embed -- DIR 151644 872     a directory, and the ids of a prompt
//! ```
//!
//! Text needs a tokenizer: implement `diffulex::text::Tokenizer` over yours, or switch on the feature `tokenizers`.

use diffulex::bytes::Bytes;
use diffulex::engine::ModelFiles;
use diffulex::json::Value;
use diffulex::model::GenerationConfig;
use diffulex::tensor::TokenId;
use diffulex::weights::SafeTensors;
use diffulex::{Architecture, Control, Engine, Error, Event, Request, Result};
use std::process::ExitCode;

/// Weights may be part of a program; the engine reads them where they are.
static WEIGHTS: &[u8] = include_bytes!("../demo/sdar/model.safetensors");
static CONFIG: &[u8] = include_bytes!("../demo/sdar/config.json");
static GENERATION_CONFIG: &[u8] = include_bytes!("../demo/sdar/generation_config.json");

/// "What is 27 + 45?" in the demo model's chat format.
const QUESTION: &[TokenId] =
    &[685, 574, 198, 302, 281, 220, 17, 22, 292, 220, 19, 20, 30, 686, 198, 685, 620, 198];

/// New tokens at most.
const NEW: usize = 64;

fn from_memory() -> Result<Engine> {
    let name = "demo";
    let arch = Architecture::from_config(name, &Value::parse(name, CONFIG)?)?;
    let generation = GenerationConfig::from_json(name, &Value::parse(name, GENERATION_CONFIG)?)?;
    let weights = SafeTensors::from_bytes(name, &Bytes::new(WEIGHTS))?;
    Engine::builder().load(ModelFiles { arch, generation }, &weights)
}

fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (engine, ids) = match arguments.next() {
        None => (from_memory()?, QUESTION.to_vec()),
        Some(directory) => {
            let id = |text: String| {
                text.parse::<TokenId>()
                    .map_err(|_| Error::option("ids", format!("`{text}` is not a token id")))
            };
            (Engine::open(directory)?, arguments.map(id).collect::<Result<_>>()?)
        }
    };
    let policy = engine.default_policy();
    let request = Request { stop: engine.stop(), ..Request::new(&ids, NEW, &policy) };
    let answer = engine.session()?.generate(&request, &mut |event| {
        if let Event::Block { range, canvas } = event {
            eprintln!("final: positions {range:?}, ids {:?}", &canvas.ids()[range.clone()]);
        }
        // `Control::Stop` ends the generation with what there is.
        Ok(Control::Continue)
    })?;
    println!("{:?}", answer.tokens);
    eprintln!("{} tokens in {} forward passes", answer.new_tokens(), answer.nfe);
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
