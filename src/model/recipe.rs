//! [`Recipe`]: which format every matrix of a model gets when it is quantized, on loading or by a program. One function, so that
//! both make the same model.

use super::{Architecture, check_checkpoint};
use crate::error::{Error, Result};
use crate::quant::{Code, Format, Quant};
use crate::weights::TensorSource;

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The embedding, which is also the output matrix of a tied model.
    Embed,
    /// The output matrix.
    LmHead,
    /// Matrices of attention.
    Attention,
    /// Matrices of the feed-forward part.
    Mlp,
    /// Norms and biases. They always stay as they are.
    Vector,
}

impl Part {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embed => "embedding",
            Self::LmHead => "lm_head",
            Self::Attention => "attention",
            Self::Mlp => "mlp",
            Self::Vector => "norms and biases",
        }
    }
}

/// Formats for the matrices of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// For the matrices of the blocks.
    pub format: Format,
    /// For the output matrix.
    pub lm_head: Format,
    /// For the embedding; `None` is that of the output matrix. A tied model has one matrix for both.
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
    /// Its name.
    pub name: String,
    /// Its shape as a matrix or vector.
    pub shape: Vec<usize>,
    /// What it is for.
    pub part: Part,
    /// Format in the source.
    pub from: Format,
    /// Format to store it in.
    pub to: Format,
}

impl Recipe {
    /// What becomes of every tensor of a float checkpoint, in the order of [`Architecture::expected_tensors`]. Tensors that the
    /// model does not use are left out.
    ///
    /// # Errors
    /// Those of [`check_checkpoint`]; [`Error::Unsupported`] if the source is quantized already; [`Error::Option`] for an
    /// exclusion that matches nothing, or two formats for the one matrix of a tied model.
    pub fn plan(&self, arch: &Architecture, source: &dyn TensorSource) -> Result<Vec<Planned>> {
        check_checkpoint(arch, source)?;
        if let Some(embed) = self.embed.filter(|&embed| arch.tied && embed != self.lm_head) {
            let reason = format!(
                "{embed} given, and {} for lm_head; embedding and output matrix of this model are one",
                self.lm_head
            );
            return Err(Error::option("embed", reason));
        }
        let tensors = arch.expected_tensors();
        let unused = |pattern: &&String| !tensors.iter().any(|(name, _)| matches(pattern, name));
        if let Some(pattern) = self.exclude.iter().find(unused) {
            return Err(Error::option("exclude", format!("no tensor of the model matches `{pattern}`")));
        }
        let planned = tensors.into_iter().map(|(name, shape)| {
            if let Some(stored) = source.quant(&name) {
                let what = format!(
                    "{}: tensor `{name}` is quantized already, as {}; quantizing starts from floats",
                    source.origin(&name),
                    stored.quant
                );
                return Err(Error::unsupported(what));
            }
            let dtype = source.tensor(&name)?.dtype();
            let from = Format::from_dtype(dtype).expect("check_checkpoint lets floats pass only");
            let part = arch.part(&name, &shape);
            let to = self.format_of(&name, part).unwrap_or(from);
            Ok(Planned { name, shape, part, from, to })
        });
        planned.collect()
    }

    /// The format of a tensor; `None` if it stays as it is.
    fn format_of(&self, name: &str, part: Part) -> Option<Format> {
        let format = match part {
            Part::Vector => return None,
            Part::Embed => self.embed.unwrap_or(self.lm_head),
            Part::LmHead => self.lm_head,
            Part::Attention | Part::Mlp => self.format,
        };
        (!self.exclude.iter().any(|pattern| matches(pattern, name))).then_some(format)
    }
}

impl Architecture {
    /// What the expected tensor `name` of this shape is for.
    fn part(&self, name: &str, shape: &[usize]) -> Part {
        let names = self.names;
        let slot = name.strip_suffix(".weight").unwrap_or(name);
        if shape.len() < 2 {
            Part::Vector
        } else if slot == names.embed {
            Part::Embed
        } else if slot == names.lm_head {
            Part::LmHead
        } else if [names.q, names.k, names.v, names.out].iter().any(|end| slot.ends_with(end)) {
            Part::Attention
        } else {
            Part::Mlp
        }
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
