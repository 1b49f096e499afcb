//! [`Recipe`]: which format every matrix of a model gets when it is quantized, on loading or by a program. One function, so that
//! both make the same model.

use super::slots::{Role, Slot};
use super::{Architecture, check_checkpoint};
use crate::error::{Error, Result};
use crate::quant::{Code, Format, Quant};
use crate::weights::TensorSource;

/// Formats for the matrices of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// For the matrices of the blocks.
    pub format: Format,
    /// For the output matrix.
    pub lm_head: Format,
    /// For the embedding; `None` means that of the output matrix. A tied model has one matrix for both.
    pub embed: Option<Format>,
    /// Patterns of tensor names that keep the format of the source: `*` is any text, `?` any character.
    pub exclude: Vec<String>,
}

impl From<Format> for Recipe {
    /// `format` everywhere, except that the output matrix and the embedding of an int4 model are int8 of the same group: an
    /// error there goes straight to the logits.
    fn from(format: Format) -> Self {
        let lm_head = match format {
            Format::Quant(Quant { code: Code::Int4, group, .. }) => {
                Format::Quant(Quant { code: Code::Int8, group, zero_points: false })
            }
            other => other,
        };
        Self { format, lm_head, embed: None, exclude: Vec::new() }
    }
}

/// A tensor and what becomes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The tensor.
    pub slot: Slot,
    /// Format in the source.
    pub from: Format,
    /// Format to store it in.
    pub to: Format,
}

impl Recipe {
    /// What becomes of every tensor of a float checkpoint, in the order of [`Architecture::tensors`]. Tensors that the model
    /// does not use are left out.
    ///
    /// # Errors
    /// Those of [`check_checkpoint`]; [`Error::Unsupported`] if the source is quantized already; [`Error::Option`] for an
    /// exclusion that matches nothing, or two formats for the one matrix of a tied model.
    pub fn plan(&self, arch: &Architecture, source: &dyn TensorSource) -> Result<Vec<Planned>> {
        let slots = check_checkpoint(arch, source)?;
        if let Some(embed) = self.embed.filter(|&embed| arch.tied && embed != self.lm_head) {
            let reason = format!(
                "{embed} given, and {} for lm_head; embedding and output matrix of this model are one",
                self.lm_head
            );
            return Err(Error::option("embed", reason));
        }
        let unused = |pattern: &&String| !slots.iter().any(|slot| matches(pattern, &slot.name));
        if let Some(pattern) = self.exclude.iter().find(unused) {
            return Err(Error::option("exclude", format!("no tensor of the model matches `{pattern}`")));
        }
        let planned = slots.into_iter().map(|slot| {
            let name = &slot.name;
            let from = source.stored(name)?.format().expect("check_checkpoint lets formats pass only");
            if let Format::Quant(quant) = from {
                let what = format!(
                    "{}: tensor `{name}` is quantized already, as {quant}; quantizing starts from floats",
                    source.origin(name),
                );
                return Err(Error::unsupported(what));
            }
            let to = self.format_of(&slot).unwrap_or(from);
            Ok(Planned { slot, from, to })
        });
        planned.collect()
    }

    /// The format of a tensor; `None` if it stays as it is.
    fn format_of(&self, slot: &Slot) -> Option<Format> {
        let format = match slot.role {
            Role::Norm | Role::Bias | Role::Router => return None,
            Role::Embedding => self.embed.unwrap_or(self.lm_head),
            Role::Head => self.lm_head,
            Role::Attention | Role::FeedForward => self.format,
        };
        (!self.exclude.iter().any(|pattern| matches(pattern, &slot.name))).then_some(format)
    }
}

/// Whether `name` is what `pattern` describes: `*` is any text, `?` any character.
fn matches(pattern: &str, name: &str) -> bool {
    let Some(first) = pattern.chars().next() else { return name.is_empty() };
    let rest = &pattern[first.len_utf8()..];
    match first {
        '*' => {
            matches(rest, name)
                || name.chars().next().is_some_and(|c| matches(pattern, &name[c.len_utf8()..]))
        }
        _ => name.strip_prefix(|c| first == '?' || c == first).is_some_and(|name| matches(rest, name)),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_whole_names() {
        let name = "model.layers.10.mlp.down_proj.weight";
        for pattern in
            [name, "*", "**", "*.down_proj.*", "model.layers.??.*", "*.weight", "model.*.10.*weight"]
        {
            assert!(matches(pattern, name), "{pattern}");
        }
        for pattern in ["", "model", "model.layers.?.*", "*.bias", "*.weight?", "down_proj", "*.1.*"] {
            assert!(!matches(pattern, name), "{pattern}");
        }
        assert!(matches("", "") && matches("*", "") && !matches("?", ""), "nothing");
    }
}
