//! What a configuration says about RoPE.
//!
//! Older files have `rope_theta` and `rope_scaling`, newer ones have both inside `rope_parameters`. Scaled frequencies are those
//! of Hugging Face transformers (`modeling_rope_utils.py`), which the families with its key names share.

use super::arch::Dims;
use super::config::Config;
use crate::error::{Error, Result};
use crate::json::Value;
use crate::kernels::{Rope, RopeScaling, Yarn};
use std::ops::RangeInclusive;

const THETA: RangeInclusive<f64> = 1.0..=1e12;
/// By how much sequences may become longer, and other factors.
const FACTOR: RangeInclusive<f64> = 1.0..=1e6;

const SCALABLE: &[&str] = &["default", "linear", "yarn"];
/// How many elements of a head are rotated, as a part of it.
const PARTIAL: &str = "partial_rotary_factor";

/// RoPE of a family that scales as transformers does.
pub(super) fn scalable(config: &Config<'_>, dims: &Dims) -> Result<Rope> {
    read(config, dims, SCALABLE, Extra::None)
}

/// The same, for a family that may rotate a part of a head only.
pub(super) fn partial(config: &Config<'_>, dims: &Dims) -> Result<Rope> {
    read(config, dims, SCALABLE, Extra::Partial)
}

/// The same, for a family whose queries may grow with the position. Source: Ministral 3.
pub(super) fn scaled_queries(config: &Config<'_>, dims: &Dims) -> Result<Rope> {
    read(config, dims, SCALABLE, Extra::Queries)
}

/// RoPE of a family that does not scale.
pub(super) fn plain(config: &Config<'_>, dims: &Dims) -> Result<Rope> {
    read(config, dims, &["default"], Extra::None)
}

/// What only some families can do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extra {
    None,
    /// Rotate a part of a head.
    Partial,
    /// Scale queries ([`QUERIES`]).
    Queries,
}

/// The scaling types in `known` are allowed.
fn read(config: &Config<'_>, dims: &Dims, known: &[&str], extra: Extra) -> Result<Rope> {
    let (mut scaling, mut theta, mut factor) = (RopeScaling::None, None, None);
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(value) = config.get(key) else { continue };
        let inner = Config::new(config.file, value).map_err(|_| config.bad(key, "an object"))?;
        let found = Parameters { config, key, inner, dims, extra }.scaling(known)?;
        if scaling != RopeScaling::None && found != scaling {
            return Err(config.bad(key, "the same as in rope_scaling"));
        }
        scaling = found;
        theta = theta.or(inner.optional_real("rope_theta", THETA)?);
        factor = factor.or(inner.optional_real(PARTIAL, 0.0..=1.0)?);
    }
    let theta = match (config.optional_real("rope_theta", THETA)?, theta) {
        (Some(a), Some(b)) if a != b => {
            return Err(config.bad("rope_theta", &format!("{b}, as in rope_parameters")));
        }
        (Some(theta), _) | (None, Some(theta)) => theta,
        (None, None) => config.real("rope_theta", THETA)?,
    };
    let rotated = if extra == Extra::Partial { rotated(config, dims, factor)? } else { dims.head_dim };
    Ok(Rope { theta, rotated, scaling })
}

/// How many elements of a head are rotated; `inner` is the factor in `rope_parameters`.
fn rotated(config: &Config<'_>, dims: &Dims, inner: Option<f64>) -> Result<usize> {
    let factor = match (config.optional_real(PARTIAL, 0.0..=1.0)?, inner) {
        (Some(a), Some(b)) if a != b => {
            return Err(config.bad(PARTIAL, &format!("{b}, as in rope_parameters")));
        }
        (outer, inner) => outer.or(inner).unwrap_or(1.0),
    };
    let rotated = (dims.head_dim as f64 * factor) as usize;
    if rotated == 0 || !rotated.is_multiple_of(2) {
        let expected =
            format!("a factor that rotates an even number of the {} elements of a head", dims.head_dim);
        return Err(config.bad(PARTIAL, &expected));
    }
    Ok(rotated)
}

/// The object under `rope_scaling` or `rope_parameters`.
struct Parameters<'a> {
    config: &'a Config<'a>,
    key: &'static str,
    inner: Config<'a>,
    dims: &'a Dims,
    extra: Extra,
}

impl Parameters<'_> {
    fn scaling(&self, known: &[&str]) -> Result<RopeScaling> {
        let Self { config, key, inner, .. } = self;
        let kind = inner.text("rope_type")?.or(inner.text("type")?);
        // Newer files name the type only where something is scaled.
        let kind = kind.or((*key == "rope_parameters").then_some("default"));
        let Some(kind) = kind.filter(|kind| known.contains(kind)) else {
            return Err(config.unsupported(key, &format!("null or the type \"{}\"", known.join("\", \""))));
        };
        if self.extra != Extra::Partial
            && inner.optional_real(PARTIAL, 0.0..=1.0)?.is_some_and(|factor| factor != 1.0)
        {
            return Err(inner.unsupported(PARTIAL, "1"));
        }
        let (keys, scaling): (&[&str], _) = match kind {
            "linear" => (&["factor"], RopeScaling::Linear { factor: inner.real("factor", FACTOR)? }),
            "yarn" => (YARN, RopeScaling::Yarn(self.yarn()?)),
            _ => (&[], RopeScaling::None),
        };
        let general = ["rope_theta", "rope_type", "type", PARTIAL];
        let mut entries = config.get(key).and_then(Value::entries).unwrap_or_default().iter();
        let scales_queries = self.extra == Extra::Queries && kind == "yarn";
        let known =
            |key: &str| general.contains(&key) || keys.contains(&key) || (scales_queries && key == QUERIES);
        match entries.find(|(key, _)| !known(key)) {
            None => Ok(scaling),
            Some((unknown, _)) => {
                Err(Error::unsupported(format!("{}: key `{unknown}` in `{key}`", config.file)))
            }
        }
    }

    fn yarn(&self) -> Result<Yarn> {
        let inner = &self.inner;
        let factor = inner.real("factor", FACTOR)?;
        let magnitude = |scale: f64| if factor > 1.0 { 0.1 * scale * factor.ln() + 1.0 } else { 1.0 };
        let scales = [inner.optional_real("mscale", FACTOR)?, inner.optional_real("mscale_all_dim", FACTOR)?];
        let attention = match (inner.optional_real("attention_factor", 1e-3..=1e3)?, scales) {
            (Some(attention), _) => attention,
            (None, [Some(scale), Some(all)]) => magnitude(scale) / magnitude(all),
            (None, _) => magnitude(1.0),
        };
        if !inner.flag("truncate", true)? {
            return Err(inner.unsupported("truncate", "true"));
        }
        let positions = self.dims.max_pos;
        Ok(Yarn {
            factor,
            original: inner
                .optional_size("original_max_position_embeddings", positions)?
                .unwrap_or(positions),
            beta_fast: inner.optional_real("beta_fast", FACTOR)?.unwrap_or(32.0),
            beta_slow: inner.optional_real("beta_slow", FACTOR)?.unwrap_or(1.0),
            attention,
            queries: if self.extra == Extra::Queries {
                inner.optional_real(QUERIES, 0.0..=1e3)?.unwrap_or(0.0)
            } else {
                0.0
            },
        })
    }
}

/// How fast queries grow beyond the positions that the model was first trained for.
const QUERIES: &str = "llama_4_scaling_beta";

/// The keys of YaRN.
const YARN: &[&str] = &[
    "factor",
    "original_max_position_embeddings",
    "beta_fast",
    "beta_slow",
    "attention_factor",
    "mscale",
    "mscale_all_dim",
    "truncate",
];
