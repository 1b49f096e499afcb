//! The families: what a `config.json` means as an [`Architecture`].
//!
//! The only module that knows families by name. A key that requires other maths than the engine's is refused by name, a
//! size that is impossible is an error; nothing is guessed.
//!
//! # Source
//! The configuration classes published with the checkpoints of each family.

mod dense;
mod experts;
mod names;
mod sizes;

use super::arch::Architecture;
use super::config::Config;
use super::refused;
use crate::json::Value;
use crate::{Error, Result};
use std::path::Path;

/// How a family is recognised and read.
struct Family {
    /// Its entry in `architectures`, which decides if there is one.
    class: &'static str,
    /// What `model_type` may say. Other families may have the same.
    model_types: &'static [&'static str],
    /// A key of its files that tells it from the others of its model type where no class is given. Empty: its model type says
    /// nothing, so a class must be given.
    sign: &'static str,
    /// Keys that other families do not have maths for ([`refused`]), and that `read` reads.
    keys: &'static [&'static str],
    /// The entry of `auto_map` that a checkpoint must have, if its class is one of models that are read from left to right.
    code: &'static str,
    read: fn(&Config<'_>) -> Result<Architecture>,
}

impl Family {
    /// Whether a file of this class is one of the family.
    fn has_code(&self, config: &Config<'_>) -> bool {
        let code = config.get("auto_map").and_then(|map| map.get("AutoModelForCausalLM"));
        self.code.is_empty() || code.and_then(Value::as_str) == Some(self.code)
    }
}

const FAMILIES: [Family; 13] = [
    Family {
        class: "SDARForCausalLM",
        model_types: &["sdar"],
        sign: "hidden_size",
        keys: &[],
        code: "",
        read: dense::sdar,
    },
    Family {
        class: "SDARMoeForCausalLM",
        model_types: &["sdar_moe"],
        sign: "num_experts",
        keys: &["num_experts", "moe_intermediate_size"],
        code: "",
        read: experts::sdar_moe,
    },
    Family {
        class: "Fast_dLLM_QwenForCausalLM",
        model_types: &["Fast_dLLM_Qwen"],
        sign: "hidden_size",
        keys: &[],
        code: "",
        read: dense::fast_dllm_v2,
    },
    Family {
        class: "DreamModel",
        model_types: &["Dream"],
        sign: "hidden_size",
        keys: &[],
        code: "",
        read: dense::dream,
    },
    Family {
        class: "LLaDAModelLM",
        model_types: &["llada"],
        sign: "d_model",
        keys: &[],
        code: "",
        read: dense::llada,
    },
    Family {
        class: "LLaDAMoEModelLM",
        model_types: &["llada", "lladamoe"],
        sign: "num_experts",
        keys: &["num_experts", "qk_layernorm", "partial_rotary_factor"],
        code: "",
        read: experts::llada_moe,
    },
    Family {
        class: "LLaDA2MoeModelLM",
        model_types: &["llada2_moe"],
        sign: "num_experts",
        keys: &["num_experts", "moe_intermediate_size", "use_qk_norm", "partial_rotary_factor"],
        code: "",
        read: experts::llada2,
    },
    Family {
        class: "A2DQwen2LMHeadModel",
        model_types: &["a2d-qwen2"],
        sign: "hidden_size",
        keys: &[],
        code: "",
        read: dense::a2d_qwen2,
    },
    Family {
        class: "A2DQwen3LMHeadModel",
        model_types: &["a2d-qwen3"],
        sign: "hidden_size",
        keys: &[],
        code: "",
        read: dense::a2d_qwen3,
    },
    Family {
        class: "A2DLlamaLMHeadModel",
        model_types: &["a2d-llama"],
        sign: "hidden_size",
        keys: &[],
        code: "",
        read: dense::a2d_llama,
    },
    Family {
        class: "StableDiffcoderForCausalLM",
        model_types: &["llama"],
        sign: "",
        keys: &[],
        code: "",
        read: dense::stable_diffcoder,
    },
    Family {
        class: "NemotronLabsDiffusionModel",
        model_types: &["nemotron_labs_diffusion"],
        sign: "hidden_size",
        keys: &[],
        code: "",
        read: dense::nemotron,
    },
    Family {
        class: "Qwen2ForCausalLM",
        model_types: &["qwen2"],
        sign: "",
        keys: &[],
        code: "modeling_qwen2.Qwen2ForCausalLM",
        read: dense::open_dcoder,
    },
];

impl Architecture {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Json`], and those of [`Architecture::from_config`].
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::from_config(&path.display().to_string(), &Value::read(path)?)
    }

    /// The model that a configuration describes; `file` names it in errors.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an unknown family and for maths that the engine does not do, [`Error::Config`] for a
    /// value that is missing, impossible, or contradicts another, [`Error::Format`] if `json` is not an object.
    pub fn from_config(file: &str, json: &Value) -> Result<Self> {
        let config = Config::new(file, json)?;
        let family = recognise(&config)?;
        refused::check(&config, family.keys)?;
        (family.read)(&config)
    }
}

impl Architecture {
    /// The same model, with the policy that the name of its directory implies, where its files do not say how it was trained: the
    /// last part of the path that names the training of the dLLM framework decides.
    #[must_use]
    pub fn named_by(mut self, directory: &Path) -> Self {
        let says = |name: &str| ["bd3lm", "mdlm"].into_iter().find(|policy| name.contains(policy));
        let mut parts = directory.components().rev();
        let named = parts.find_map(|part| says(&part.as_os_str().to_string_lossy().to_lowercase()));
        if let (Some(_), Some(policy)) = (self.trained_block, named) {
            self.policy = policy;
        }
        self
    }
}

/// By the class, because two families may share a model type; a file without a class is identified by its model type, and then by its
/// keys. A known model type with another class has another head.
fn recognise(config: &Config<'_>) -> Result<&'static Family> {
    let class = match config.get("architectures") {
        None => None,
        Some(classes) => {
            let first = classes.as_array().and_then(|classes| classes.first()).and_then(Value::as_str);
            Some(first.ok_or_else(|| config.bad("architectures", "a list of strings"))?)
        }
    };
    let model_type = config.text("model_type")?;
    let Some(class) = class else {
        let of_type = || {
            let named = FAMILIES.iter().filter(|family| !family.sign.is_empty());
            named.filter(|family| model_type.is_some_and(|name| family.model_types.contains(&name)))
        };
        let signed = of_type().find(|family| config.get(family.sign).is_some());
        return signed.or_else(|| of_type().next()).ok_or_else(|| unknown(config, "(none)", model_type));
    };
    let family = FAMILIES.iter().find(|family| family.class == class && family.has_code(config));
    let family = family.ok_or_else(|| unknown(config, class, model_type))?;
    match model_type {
        Some(name) if !family.model_types.contains(&name) && is_known(name) => {
            Err(config.bad("model_type", &format!("`{}`", family.model_types.join("` or `"))))
        }
        Some(name) if !family.model_types.contains(&name) => Err(unknown(config, class, model_type)),
        _ => Ok(family),
    }
}

/// Whether this model type means a family.
fn is_known(model_type: &str) -> bool {
    FAMILIES.iter().any(|family| !family.sign.is_empty() && family.model_types.contains(&model_type))
}

fn unknown(config: &Config<'_>, class: &str, model_type: Option<&str>) -> Error {
    let known = FAMILIES.map(|family| {
        let code =
            if family.code.is_empty() { String::new() } else { format!(" with auto_map {}", family.code) };
        format!("{} / {}{code}", family.class, family.model_types.join(" or "))
    });
    Error::unsupported(format!(
        "{}: architecture {class} with model_type {}; known are {}",
        config.file,
        model_type.unwrap_or("(none)"),
        known.join(", ")
    ))
}
