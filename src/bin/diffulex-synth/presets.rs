//! What can be generated: the published shapes, and tiny ones of the same families.
//!
//! Source: the `config.json` of the published checkpoints.

/// The supported families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Sdar,
    FastDllm,
    Dream,
    Llada,
}

/// Shape and identity of a checkpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Preset {
    pub(crate) name: &'static str,
    pub(crate) family: Family,
    /// Rows of the embedding.
    pub(crate) vocab: usize,
    /// Tokens that are bytes or words: the id of the first special token.
    pub(crate) words: usize,
    pub(crate) hidden: usize,
    pub(crate) ffn: usize,
    pub(crate) layers: usize,
    pub(crate) n_heads: usize,
    pub(crate) n_kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) tied: bool,
    pub(crate) max_pos: usize,
}

/// The published shapes, then the tiny ones.
pub(crate) const PRESETS: [Preset; 11] = [
    sdar("sdar-1.7b", 2048, 6144, 28, 16),
    sdar("sdar-4b", 2560, 9728, 36, 32),
    sdar("sdar-8b", 4096, 12288, 36, 32),
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
    },
    // Query width 160 differs from hidden 128, as it may in this family.
    Preset { name: "tiny-sdar", family: Family::Sdar, n_heads: 5, n_kv_heads: 1, ..TINY },
    Preset { name: "tiny-fast-dllm", family: Family::FastDllm, tied: true, ..TINY },
    Preset { name: "tiny-dream", family: Family::Dream, ..TINY },
    Preset { name: "tiny-llada", family: Family::Llada, n_kv_heads: 4, max_pos: 4096, ..TINY },
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
    }
}

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
};

impl Preset {
    /// The preset of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        PRESETS.into_iter().find(|preset| preset.name == name)
    }
}
