//! What a configuration says about RoPE.

use super::config::Config;
use super::refused;
use crate::error::{Error, Result};

/// `rope_theta`, or the same key inside `rope_parameters` in newer files.
pub(super) fn rope_theta(config: &Config<'_>) -> Result<f64> {
    const RANGE: std::ops::RangeInclusive<f64> = 1.0..=1e12;
    let Some(parameters) = config.get("rope_parameters") else {
        return config.real("rope_theta", RANGE);
    };
    let inner =
        Config::new(config.file, parameters).map_err(|_| config.bad("rope_parameters", "an object"))?;
    refused::one_of(&inner, "rope_type", "default")?;
    refused::one_of(&inner, "type", "default")?;
    for (key, _) in parameters.entries().unwrap_or_default() {
        if !["rope_theta", "rope_type", "type", "partial_rotary_factor"].contains(&key.as_str()) {
            return Err(Error::unsupported(format!("{}: key `{key}` in `rope_parameters`", config.file)));
        }
    }
    if inner.optional_real("partial_rotary_factor", 0.0..=1.0)?.is_some_and(|factor| factor != 1.0) {
        return Err(inner.unsupported("partial_rotary_factor", "1"));
    }
    let outer = config.optional_real("rope_theta", RANGE)?;
    match (outer, inner.optional_real("rope_theta", RANGE)?) {
        (Some(a), Some(b)) if a != b => Err(config.bad("rope_theta", &format!("{b}, as in rope_parameters"))),
        (Some(theta), _) | (None, Some(theta)) => Ok(theta),
        (None, None) => config.real("rope_theta", RANGE),
    }
}
