//! The families: what a `config.json` means as an [`Architecture`].
//!
//! The only room that knows families by name. A key that asks for other maths than the engine's is refused by name, a
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
    /// Its entry in `architectures`, which decides where it is given.
    class: &'static str,
    /// What `model_type` may say. Other families may have the same.
    model_types: &'static [&'static str],
    /// A key of its files that tells it from the others of its model type where no class is given.
    sign: &'static str,
    /// Keys that other families do not have maths for ([`refused`]), and that `read` reads.
    keys: &'static [&'static str],
    read: fn(&Config<'_>) -> Result<Architecture>,
}

const FAMILIES: [Family; 7] = [
    Family {
        class: "SDARForCausalLM",
        model_types: &["sdar"],
        sign: "hidden_size",
        keys: &[],
        read: dense::sdar,
    },
    Family {
        class: "SDARMoeForCausalLM",
        model_types: &["sdar_moe"],
        sign: "num_experts",
        keys: &["num_experts", "moe_intermediate_size"],
        read: experts::sdar_moe,
    },
    Family {
        class: "Fast_dLLM_QwenForCausalLM",
        model_types: &["Fast_dLLM_Qwen"],
        sign: "hidden_size",
        keys: &[],
        read: dense::fast_dllm_v2,
    },
    Family {
        class: "DreamModel",
        model_types: &["Dream"],
        sign: "hidden_size",
        keys: &[],
        read: dense::dream,
    },
    Family { class: "LLaDAModelLM", model_types: &["llada"], sign: "d_model", keys: &[], read: dense::llada },
    Family {
        class: "LLaDAMoEModelLM",
        model_types: &["llada", "lladamoe"],
        sign: "num_experts",
        keys: &["num_experts", "qk_layernorm", "partial_rotary_factor"],
        read: experts::llada_moe,
    },
    Family {
        class: "LLaDA2MoeModelLM",
        model_types: &["llada2_moe"],
        sign: "num_experts",
        keys: &["num_experts", "moe_intermediate_size", "use_qk_norm", "partial_rotary_factor"],
        read: experts::llada2,
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
    /// value that is missing, impossible, or contradicts another, [`Error::Format`] if `json` is no object.
    pub fn from_config(file: &str, json: &Value) -> Result<Self> {
        let config = Config::new(file, json)?;
        let family = recognise(&config)?;
        refused::check(&config, family.keys)?;
        (family.read)(&config)
    }
}

/// By the class, because two families may share a model type; a file without a class is told by its model type, and then by its
/// keys. A known model type with another class has another head.
fn recognise(config: &Config<'_>) -> Result<&'static Family> {
    let class = match config.get("architectures") {
        None => None,
        Some(classes) => {
            let first = classes.as_array().and_then(|classes| classes.first()).and_then(Value::as_str);
            Some(first.ok_or_else(|| config.bad("architectures", "a list of texts"))?)
        }
    };
    let model_type = config.text("model_type")?;
    let Some(class) = class else {
        let of_type = || {
            FAMILIES.iter().filter(|family| model_type.is_some_and(|name| family.model_types.contains(&name)))
        };
        let signed = of_type().find(|family| config.get(family.sign).is_some());
        return signed.or_else(|| of_type().next()).ok_or_else(|| unknown(config, "(none)", model_type));
    };
    let family = FAMILIES.iter().find(|family| family.class == class);
    let family = family.ok_or_else(|| unknown(config, class, model_type))?;
    match model_type {
        Some(name) if !family.model_types.contains(&name) && is_known(name) => {
            Err(config.bad("model_type", &format!("`{}`", family.model_types.join("` or `"))))
        }
        Some(name) if !family.model_types.contains(&name) => Err(unknown(config, class, model_type)),
        _ => Ok(family),
    }
}

/// Whether some family has this model type.
fn is_known(model_type: &str) -> bool {
    FAMILIES.iter().any(|family| family.model_types.contains(&model_type))
}

fn unknown(config: &Config<'_>, class: &str, model_type: Option<&str>) -> Error {
    let known = FAMILIES.map(|family| format!("{} / {}", family.class, family.model_types.join(" or ")));
    Error::unsupported(format!(
        "{}: architecture {class} with model_type {}; known are {}",
        config.file,
        model_type.unwrap_or("(none)"),
        known.join(", ")
    ))
}
