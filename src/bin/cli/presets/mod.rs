//! Models by name, without their files: the published shapes, and tiny ones of the same families.
//!
//! Source: the `config.json` of the published checkpoints.

mod experts;
mod files;
mod later;
mod llada;
mod published;

pub use experts::Experts;
pub use published::{hub_id, table as published};

use diffulex::error::{Error, Result};
use diffulex::json;
use diffulex::model::Architecture;

/// The supported families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// SDAR.
    Sdar,
    /// Fast-dLLM v2.
    FastDllm,
    /// Dream, DiffuCoder.
    Dream,
    /// LLaDA.
    Llada,
    /// LLaDA-MoE.
    LladaMoe,
    /// LLaDA2.0 and 2.1.
    Llada2,
    /// The small models of the dLLM framework with the layers of Qwen2.
    A2dQwen2,
    /// The same with the layers of Qwen3.
    A2dQwen3,
    /// Open-dCoder.
    OpenDcoder,
    /// Stable-DiffCoder.
    StableDiffcoder,
    /// Nemotron-Labs-Diffusion.
    Nemotron,
}

/// Shape and identity of a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// The name in options.
    pub name: &'static str,
    /// The family.
    pub family: Family,
    /// Rows of the embedding.
    pub vocab: usize,
    /// Number of tokens that are bytes or words: the id of the first special token.
    pub words: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Inner width of the feed-forward part.
    pub ffn: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key/value heads.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Whether the output matrix is the embedding.
    pub tied: bool,
    /// Positions that the model was made for.
    pub max_pos: usize,
    /// Positions in a block, where the family says so in its files and models differ in it.
    pub block: usize,
    /// What takes the place of the feed-forward part, if the model is a mixture of experts.
    pub experts: Option<Experts>,
}

/// The published shapes, then the tiny ones.
pub const PRESETS: [Preset; 29] = [
    sdar("sdar-1.7b", 2048, 6144, 28, 16),
    sdar("sdar-4b", 2560, 9728, 36, 32),
    sdar("sdar-8b", 4096, 12288, 36, 32),
    Preset { block: 32, ..sdar("sdar-8b-b32", 4096, 12288, 36, 32) },
    SDAR_30B,
    Preset { name: "sdar-30b-a3b-b32", block: 32, ..SDAR_30B },
    Preset { name: "fast-dllm-1.5b", vocab: 151_936, tied: true, ..QWEN_1_5B },
    Preset { name: "fast-dllm-7b", ..QWEN_7B },
    Preset { name: "dream-7b", family: Family::Dream, max_pos: 131_072, ..QWEN_7B },
    Preset {
        name: "llada-8b",
        family: Family::Llada,
        vocab: 126_464,
        words: 126_080,
        hidden: 4096,
        ffn: 12_288,
        layers: 32,
        n_heads: 32,
        n_kv_heads: 32,
        head_dim: 128,
        tied: false,
        max_pos: 4096,
        block: 32,
        experts: None,
    },
    Preset {
        name: "llada-moe-7b",
        family: Family::LladaMoe,
        ffn: 8192,
        layers: 16,
        n_kv_heads: 16,
        max_pos: 8192,
        experts: Some(Experts { count: 64, per_token: 8, ffn: 1024 }),
        ..LLADA2_MINI
    },
    LLADA2_MINI,
    Preset {
        name: "llada2-flash",
        hidden: 4096,
        ffn: 9216,
        layers: 32,
        n_heads: 32,
        experts: Some(Experts { count: 256, per_token: 8, ffn: 1024 }),
        ..LLADA2_MINI
    },
    Preset { name: "a2d-qwen3-0.6b", ..A2D_QWEN3 },
    Preset { name: "a2d-qwen2-0.5b", family: Family::A2dQwen2, ..QWEN_CODER },
    Preset { name: "open-dcoder-0.5b", family: Family::OpenDcoder, ..QWEN_CODER },
    STABLE_DIFFCODER,
    Preset {
        name: "nemotron-8b",
        family: Family::Nemotron,
        vocab: 131_072,
        words: 131_064,
        layers: 34,
        max_pos: 262_144,
        block: 32,
        ..STABLE_DIFFCODER
    },
    // Query width 160 differs from hidden 128, as it may in this family.
    Preset { name: "tiny-sdar", family: Family::Sdar, n_heads: 5, n_kv_heads: 1, ..TINY },
    Preset { name: "tiny-sdar-moe", experts: Some(Experts { count: 8, per_token: 2, ffn: 96 }), ..TINY },
    Preset { name: "tiny-fast-dllm", family: Family::FastDllm, tied: true, block: 32, ..TINY },
    Preset { name: "tiny-dream", family: Family::Dream, ..TINY },
    Preset { name: "tiny-llada", family: Family::Llada, n_kv_heads: 4, max_pos: 4096, ..TINY },
    Preset { name: "tiny-llada-moe", family: Family::LladaMoe, n_kv_heads: 4, experts: TINY_EXPERTS, ..TINY },
    Preset { name: "tiny-llada2", family: Family::Llada2, experts: TINY_EXPERTS, ..TINY },
    Preset { name: "tiny-a2d", family: Family::A2dQwen3, tied: true, ..TINY },
    Preset { name: "tiny-open-dcoder", family: Family::OpenDcoder, tied: true, ..TINY },
    Preset { name: "tiny-stable-diffcoder", family: Family::StableDiffcoder, ..TINY },
    Preset { name: "tiny-nemotron", family: Family::Nemotron, block: 32, ..TINY },
];

const fn sdar(name: &'static str, hidden: usize, ffn: usize, layers: usize, n_heads: usize) -> Preset {
    Preset {
        name,
        family: Family::Sdar,
        vocab: 151_936,
        words: 151_643,
        hidden,
        ffn,
        layers,
        n_heads,
        n_kv_heads: 8,
        head_dim: 128,
        tied: false,
        max_pos: 32_768,
        block: 4,
        experts: None,
    }
}

/// Its own config.json was not seen: these are the values of the model that it was derived from, as SDAR has them.
const SDAR_30B: Preset = Preset {
    n_kv_heads: 4,
    experts: Some(Experts { count: 128, per_token: 8, ffn: 768 }),
    ..sdar("sdar-30b-a3b", 2048, 6144, 48, 32)
};

const A2D_QWEN3: Preset = Preset {
    name: "",
    family: Family::A2dQwen3,
    vocab: 151_936,
    words: 151_643,
    hidden: 1024,
    ffn: 3072,
    layers: 28,
    n_heads: 16,
    n_kv_heads: 8,
    head_dim: 128,
    tied: true,
    max_pos: 40_960,
    block: 32,
    experts: None,
};

const QWEN_CODER: Preset = Preset {
    hidden: 896,
    ffn: 4864,
    layers: 24,
    n_heads: 14,
    n_kv_heads: 2,
    head_dim: 64,
    max_pos: 32_768,
    ..A2D_QWEN3
};

const STABLE_DIFFCODER: Preset = Preset {
    name: "stable-diffcoder-8b",
    family: Family::StableDiffcoder,
    vocab: 155_136,
    words: 155_130,
    hidden: 4096,
    ffn: 14_336,
    layers: 32,
    n_heads: 32,
    n_kv_heads: 8,
    head_dim: 128,
    tied: false,
    max_pos: 8192,
    block: 4,
    experts: None,
};

const LLADA2_MINI: Preset = Preset {
    name: "llada2-mini",
    family: Family::Llada2,
    vocab: 157_184,
    words: 156_891,
    hidden: 2048,
    ffn: 5120,
    layers: 20,
    n_heads: 16,
    n_kv_heads: 4,
    head_dim: 128,
    tied: false,
    max_pos: 32_768,
    block: 32,
    experts: Some(Experts { count: 256, per_token: 8, ffn: 512 }),
};

const TINY_EXPERTS: Option<Experts> = Some(Experts { count: 16, per_token: 4, ffn: 96 });

const QWEN_1_5B: Preset = Preset {
    name: "",
    family: Family::FastDllm,
    vocab: 151_936,
    words: 151_643,
    hidden: 1536,
    ffn: 8960,
    layers: 28,
    n_heads: 12,
    n_kv_heads: 2,
    head_dim: 128,
    tied: true,
    max_pos: 32_768,
    block: 32,
    experts: None,
};

const QWEN_7B: Preset = Preset {
    vocab: 152_064,
    hidden: 3584,
    ffn: 18_944,
    n_heads: 28,
    n_kv_heads: 4,
    tied: false,
    ..QWEN_1_5B
};

const TINY: Preset = Preset {
    name: "",
    family: Family::Sdar,
    vocab: 1024,
    words: 980,
    hidden: 128,
    ffn: 352,
    layers: 4,
    n_heads: 4,
    n_kv_heads: 2,
    head_dim: 32,
    tied: false,
    max_pos: 32_768,
    block: 4,
    experts: None,
};

/// A token that text cannot be split into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Special {
    /// Its id.
    pub id: usize,
    /// Its spelling.
    pub content: String,
    /// Whether it is left out of decoded text.
    pub special: bool,
}

impl Preset {
    /// The preset of this name.
    ///
    /// # Errors
    /// [`Error::Option`] that lists the names.
    pub fn named(name: &str) -> Result<Self> {
        PRESETS.into_iter().find(|preset| preset.name == name).ok_or_else(|| {
            let known = PRESETS.map(|preset| preset.name).join(", ");
            Error::option("preset", format!("`{name}` given, one of {known} expected"))
        })
    }

    /// The model as data, read from [`Self::config`] as from any config.json.
    ///
    /// # Errors
    /// If changed sizes make no valid model.
    pub fn architecture(&self) -> Result<Architecture> {
        let config = self.config("bfloat16").to_string();
        Architecture::from_config(self.name, &json::Value::parse(self.name, config.as_bytes())?)
    }
}
