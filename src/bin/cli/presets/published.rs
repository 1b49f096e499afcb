//! The published checkpoints: the table of `diffulex-run --list-models`, which docs/models.md has, too.
//!
//! Source of the shapes: the `config.json` of the checkpoints, where they were seen.

use super::super::memory::{embedding_bytes, matrix_bytes};
use super::super::readable;
use super::Preset;
use diffulex::error::Result;
use diffulex::model::{Architecture, Slot};
use diffulex::quant::Format;

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
    paper("Open-dCoder", &["fredzzp/open-dcoder-0.5B"], Shape::Preset("open-dcoder-0.5b"), "Dream"),
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
        Shape::Preset("llada2-flash"),
    ),
    recorded(
        "A2D",
        &["dllm-hub/Qwen3-0.6B-diffusion-mdlm-v0.1", "dllm-hub/Qwen3-0.6B-diffusion-bd3lm-v0.1"],
        Shape::Preset("a2d-qwen3-0.6b"),
    ),
    recorded(
        "A2D",
        &[
            "dllm-hub/Qwen2.5-Coder-0.5B-Instruct-diffusion-mdlm-v0.1",
            "dllm-hub/Qwen2.5-Coder-0.5B-Instruct-diffusion-bd3lm-v0.1",
        ],
        Shape::Preset("a2d-qwen2-0.5b"),
    ),
    paper("A2D", &["models of the class A2DLlamaLMHeadModel"], Shape::Unseen, "A2D"),
    recorded(
        "Stable-DiffCoder",
        &["ByteDance-Seed/Stable-DiffCoder-8B-Instruct", "ByteDance-Seed/Stable-DiffCoder-8B-Base"],
        Shape::Preset("stable-diffcoder-8b"),
    ),
    rebuilt(&["nvidia/Nemotron-Labs-Diffusion-3B"], Shape::Unseen),
    rebuilt(&["nvidia/Nemotron-Labs-Diffusion-8B"], Shape::Preset("nemotron-8b")),
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

impl Published {
    fn architecture(&self) -> Result<Option<Architecture>> {
        match self.shape {
            Shape::Preset(name) => Preset::named(name)?.architecture().map(Some),
            Shape::Unseen => Ok(None),
        }
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

/// The id of the published model that is called `name` in any letter case: its id, the name without the organisation, or the short name of
/// its shape, which is the first model of that shape in the table.
pub fn hub_id(name: &str) -> Option<&'static str> {
    let all = || PUBLISHED.iter().flat_map(|published| published.ids).copied();
    let called = |id: &&str| {
        let word = id.split_once('/').map(|(_, word)| word);
        word.is_some_and(|word| [*id, word].iter().any(|known| known.eq_ignore_ascii_case(name)))
    };
    let short = |published: &&Published| matches!(published.shape, Shape::Preset(preset) if preset.eq_ignore_ascii_case(name));
    all().find(called).or_else(|| PUBLISHED.iter().find(short).map(|published| published.ids[0]))
}

/// Bytes of all weights in memory, except for the vectors, which are few.
fn weight_bytes(arch: &Architecture, pair: [&str; 2]) -> u64 {
    let [blocks, head] = pair.map(|name| Format::from_name(name).expect("the table names formats"));
    matrix_bytes(arch, blocks, head) + embedding_bytes(arch, head)
}

/// The table, as Markdown.
///
/// # Errors
/// Never: every shape makes a model, as a test checks.
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
    fn models_are_known_by_what_people_call_them() {
        for name in
            ["JetLM/SDAR-1.7B-Chat", "jetlm/sdar-1.7b-chat", "SDAR-1.7B-Chat", "sdar-1.7b-chat", "sdar-1.7b"]
        {
            assert_eq!(hub_id(name), Some("JetLM/SDAR-1.7B-Chat"), "{name}");
        }
        assert_eq!(hub_id("llada2.1-mini"), Some("inclusionAI/LLaDA2.1-mini"));
        assert_eq!(hub_id("Dream-7B"), Some("Dream-org/Dream-v0-Instruct-7B"));
        // A row that describes a class has no id.
        for name in ["sdar", "SDAR-1.7B", "models of the class A2DLlamaLMHeadModel", ""] {
            let expected = (name == "SDAR-1.7B").then_some("JetLM/SDAR-1.7B-Chat");
            assert_eq!(hub_id(name), expected, "{name}");
        }
    }

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
