//! The published checkpoints: the table of `diffulex-run --list-models`, which docs/models.md has, too.
//!
//! Source of the shapes: the `config.json` of the checkpoints, where they were seen.

use super::super::memory::{embedding_bytes, matrix_bytes};
use super::super::readable;
use super::Preset;
use diffulex::error::Result;
use diffulex::json;
use diffulex::model::{Architecture, Slot};
use diffulex::quant::Format;
use serde_json::{Value, json};

/// What the maths and the decoding of a family were compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checked {
    /// Recordings of the published code.
    Recordings,
    /// Recordings of the published decoding loop on a network that was rebuilt from parts, because its own file was not at hand.
    Rebuilt,
    /// Documents only: the same maths as a family that was recorded, with other keys or ids.
    Paper(&'static str),
}

/// Where the shape of a checkpoint is written down.
#[derive(Clone, Copy)]
enum Shape {
    /// In a preset of this name.
    Preset(&'static str),
    /// Here: a configuration without what has no part in the sizes.
    Config(fn() -> Value),
    /// Nowhere: its configuration was not seen.
    Unseen,
}

/// Checkpoints of one family and one shape, by their hub ids.
struct Published {
    family: &'static str,
    ids: &'static [&'static str],
    shape: Shape,
    checked: Checked,
}

/// The formats of the table, as diffulex-quantize writes them: those of the blocks, and of output matrix and embedding.
const FORMATS: [[&str; 2]; 3] = [["bf16", "bf16"], ["q8g64", "q8g64"], ["q4g64", "q8g64"]];

const PUBLISHED: [Published; 24] = [
    recorded("SDAR", &["JetLM/SDAR-1.7B-Chat"], Shape::Preset("sdar-1.7b")),
    recorded("SDAR", &["JetLM/SDAR-4B-Chat"], Shape::Preset("sdar-4b")),
    recorded("SDAR", &["JetLM/SDAR-8B-Chat"], Shape::Preset("sdar-8b")),
    paper("SDAR", &["Gen-Verse/TraDo-4B-Instruct"], Shape::Preset("sdar-4b"), "SDAR"),
    paper(
        "SDAR",
        &["Gen-Verse/TraDo-8B-Instruct", "Gen-Verse/TraDo-8B-Thinking"],
        Shape::Preset("sdar-8b"),
        "SDAR",
    ),
    recorded("SDAR-MoE", &["JetLM/SDAR-30B-A3B-Chat"], Shape::Preset("sdar-30b-a3b")),
    recorded("Fast-dLLM v2", &["Efficient-Large-Model/Fast_dLLM_v2_1.5B"], Shape::Preset("fast-dllm-1.5b")),
    recorded("Fast-dLLM v2", &["Efficient-Large-Model/Fast_dLLM_v2_7B"], Shape::Preset("fast-dllm-7b")),
    recorded("Dream", &["Dream-org/Dream-v0-Instruct-7B"], Shape::Preset("dream-7b")),
    paper(
        "Dream",
        &["Dream-org/Dream-Coder-v0-Instruct-7B", "apple/DiffuCoder-7B-Instruct"],
        Shape::Preset("dream-7b"),
        "Dream",
    ),
    paper(
        "Dream",
        &["Dream-org/DreamOn-v0-7B"],
        Shape::Preset("dream-7b"),
        "Dream, without changes of length",
    ),
    paper("Open-dCoder", &["fredzzp/open-dcoder-0.5B"], Shape::Config(open_dcoder), "Dream"),
    recorded("LLaDA", &["GSAI-ML/LLaDA-8B-Instruct", "GSAI-ML/LLaDA-1.5"], Shape::Preset("llada-8b")),
    paper("LLaDA", &["GSAI-ML/iLLaDA-8B-Instruct"], Shape::Unseen, "LLaDA"),
    recorded("LLaDA-MoE", &["inclusionAI/LLaDA-MoE-7B-A1B-Instruct"], Shape::Preset("llada-moe-7b")),
    recorded(
        "LLaDA2",
        &["inclusionAI/LLaDA2.0-mini", "inclusionAI/LLaDA2.1-mini"],
        Shape::Preset("llada2-mini"),
    ),
    recorded(
        "LLaDA2",
        &["inclusionAI/LLaDA2.0-flash", "inclusionAI/LLaDA2.1-flash"],
        Shape::Config(llada2_flash),
    ),
    recorded(
        "A2D",
        &["dllm-hub/Qwen3-0.6B-diffusion-mdlm-v0.1", "dllm-hub/Qwen3-0.6B-diffusion-bd3lm-v0.1"],
        Shape::Config(a2d_qwen3),
    ),
    recorded(
        "A2D",
        &[
            "dllm-hub/Qwen2.5-Coder-0.5B-Instruct-diffusion-mdlm-v0.1",
            "dllm-hub/Qwen2.5-Coder-0.5B-Instruct-diffusion-bd3lm-v0.1",
        ],
        Shape::Config(a2d_qwen2),
    ),
    paper("A2D", &["models of the class A2DLlamaLMHeadModel"], Shape::Unseen, "A2D"),
    recorded(
        "Stable-DiffCoder",
        &["ByteDance-Seed/Stable-DiffCoder-8B-Instruct", "ByteDance-Seed/Stable-DiffCoder-8B-Base"],
        Shape::Config(stable_diffcoder),
    ),
    rebuilt(&["nvidia/Nemotron-Labs-Diffusion-3B"], Shape::Unseen),
    rebuilt(&["nvidia/Nemotron-Labs-Diffusion-8B"], Shape::Config(nemotron)),
    rebuilt(&["nvidia/Nemotron-Labs-Diffusion-14B"], Shape::Unseen),
];

const fn recorded(family: &'static str, ids: &'static [&'static str], shape: Shape) -> Published {
    Published { family, ids, shape, checked: Checked::Recordings }
}

const fn paper(
    family: &'static str,
    ids: &'static [&'static str],
    shape: Shape,
    as_what: &'static str,
) -> Published {
    Published { family, ids, shape, checked: Checked::Paper(as_what) }
}

const fn rebuilt(ids: &'static [&'static str], shape: Shape) -> Published {
    Published { family: "Nemotron-Labs-Diffusion", ids, shape, checked: Checked::Rebuilt }
}

/// The keys that families with the names of Hugging Face transformers share: vocabulary, width, layers, inner width, heads,
/// key/value heads, width of a head.
fn decoder(class: &str, model_type: &str, sizes: [usize; 7], tied: bool) -> Value {
    let [vocab, hidden, layers, ffn, heads, kv_heads, head_dim] = sizes;
    json!({
        "architectures": [class],
        "model_type": model_type,
        "vocab_size": vocab,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "intermediate_size": ffn,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "tie_word_embeddings": tied,
        "max_position_embeddings": 32_768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
    })
}

fn a2d_qwen3() -> Value {
    decoder("A2DQwen3LMHeadModel", "a2d-qwen3", [151_936, 1024, 28, 3072, 16, 8, 128], true)
}

fn a2d_qwen2() -> Value {
    decoder("A2DQwen2LMHeadModel", "a2d-qwen2", [151_936, 896, 24, 4864, 14, 2, 64], true)
}

fn open_dcoder() -> Value {
    let mut config = decoder("Qwen2ForCausalLM", "qwen2", [151_936, 896, 24, 4864, 14, 2, 64], true);
    config["auto_map"] = json!({ "AutoModelForCausalLM": "modeling_qwen2.Qwen2ForCausalLM" });
    config["trust_remote_code"] = true.into();
    config
}

fn stable_diffcoder() -> Value {
    decoder("StableDiffcoderForCausalLM", "llama", [155_136, 4096, 32, 14_336, 32, 8, 128], false)
}

fn nemotron() -> Value {
    let sizes = [131_072, 4096, 34, 14_336, 32, 8, 128];
    decoder("NemotronLabsDiffusionModel", "nemotron_labs_diffusion", sizes, false)
}

/// LLaDA2 mini with the sizes of flash.
fn llada2_flash() -> Value {
    let mini = Preset::named("llada2-mini").expect("there is such a preset");
    let mut config = mini.config("bfloat16");
    for (key, size) in [
        ("hidden_size", 4096),
        ("num_hidden_layers", 32),
        ("num_attention_heads", 32),
        ("intermediate_size", 9216),
        ("moe_intermediate_size", 1024),
    ] {
        config[key] = size.into();
    }
    config
}

impl Published {
    fn architecture(&self) -> Result<Option<Architecture>> {
        let config = match self.shape {
            Shape::Preset(name) => return Preset::named(name)?.architecture().map(Some),
            Shape::Config(config) => config().to_string(),
            Shape::Unseen => return Ok(None),
        };
        let name = self.ids[0];
        Architecture::from_config(name, &json::Value::parse(name, config.as_bytes())?).map(Some)
    }

    fn line(&self) -> Result<String> {
        let arch = self.architecture()?;
        let checked = match self.checked {
            Checked::Recordings => "recordings of its code".to_owned(),
            Checked::Rebuilt => "recordings of its loop on a network rebuilt from parts".to_owned(),
            Checked::Paper(family) => format!("on paper, as {family}"),
        };
        let sizes = match &arch {
            None => ["–"; 4].join(" | "),
            Some(arch) => {
                let parameters: usize = arch.tensors().iter().map(Slot::elements).sum();
                let bytes = FORMATS.map(|pair| readable(weight_bytes(arch, pair)));
                format!("{:.1} B | {}", parameters as f64 / 1e9, bytes.join(" | "))
            }
        };
        Ok(format!("| {} | {} | {sizes} | {checked} |", self.family, self.ids.join(", ")))
    }
}

/// Bytes of all weights in memory, the vectors apart, which are few.
fn weight_bytes(arch: &Architecture, pair: [&str; 2]) -> u64 {
    let [blocks, head] = pair.map(|name| Format::from_name(name).expect("the table names formats"));
    matrix_bytes(arch, blocks, head) + embedding_bytes(arch, head)
}

/// The table, as Markdown.
///
/// # Errors
/// Never: every shape makes a model, which a test holds.
pub fn table() -> Result<String> {
    let mut text = String::from(
        "| family | checkpoints | parameters | bf16 | int8 | int4 | checked against |\n|---|---|---|---|---|---|---|\n",
    );
    for published in &PUBLISHED {
        text += &published.line()?;
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_one_of_its_family_and_as_large_as_its_name_says() {
        for published in &PUBLISHED {
            let Some(arch) = published.architecture().unwrap() else { continue };
            let id = published.ids[0];
            assert_eq!(arch.family, published.family, "{id}");
            let parameters: usize = arch.tensors().iter().map(Slot::elements).sum();
            let billions = match id {
                id if id.contains("flash") => 102.9,
                id if id.contains("LLaDA2") => 16.3,
                id if id.contains("30B") => 30.5,
                id if id.contains("1.7B") => 2.0,
                id if id.contains("7B") => 7.5,
                id if id.contains("8B") => 8.2,
                id if id.contains("4B") => 4.4,
                id if id.contains("1.5B") => 1.5,
                id if id.contains("0.6B") => 0.6,
                _ => 0.5,
            };
            let found = parameters as f64 / 1e9;
            assert!((found / billions - 1.0).abs() < 0.06, "{id}: {found} billion parameters");
        }
    }
}
