//! The command line.

use crate::cli::{self, CpuArgs, DEFAULT_GROUP, FormatName, Idle};
use clap::Parser;
use diffulex::model::Recipe;
use diffulex::quant::{Format, Group};
use diffulex::{Error, Result};
use std::path::PathBuf;

/// Options that would do nothing. Options that always exclude each other say so where they are declared.
pub(crate) const IDLE: &[Idle] = &[
    Idle::With("check_only", &["format", "group", "zero_points", "lm_head", "embed", "exclude", "no_check"]),
    Idle::With("no_check", &["level"]),
];

/// Quantize a checkpoint: floats in, int8 or int4 weights out.
///
/// The new directory is opened like any other (`diffulex-run --weights OUT`). Norms and biases stay as they are. At the end the
/// logits of both models are compared. Text goes to stdout, progress to stderr.
#[derive(Parser)]
#[command(name = "diffulex-quantize", version = cli::version(), long_version = cli::long_version())]
pub(crate) struct Args {
    /// Checkpoint of floats: a directory, model.safetensors or model.safetensors.index.json, or the hub id of a downloaded one
    #[arg(value_name = "SOURCE")]
    pub(crate) source: PathBuf,
    /// Directory to write into; created if it does not exist, else it must be empty
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Format of the weights: int4, int8, bf16, f16, or a name such as q4g64z
    #[arg(long, value_name = "FORMAT", required_unless_present = "check_only")]
    pub(crate) format: Option<FormatName>,
    /// Weights of a row that share a scale: 32, 64, 128, 256, or row (int8 only) [default: 64]
    #[arg(long, value_name = "SIZE", value_parser = cli::group)]
    group: Option<Group>,
    /// Give every group of int4 a minimum, too
    #[arg(long)]
    zero_points: bool,
    /// Format of the output matrix [default: int8 if the weights are int4, else theirs]
    #[arg(long, value_name = "FORMAT")]
    lm_head: Option<FormatName>,
    /// Format of the embedding [default: that of the output matrix]
    #[arg(long, value_name = "FORMAT")]
    embed: Option<FormatName>,
    /// Keep the tensors whose names match: `*` is any text, `?` any character. May be given several times
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Do not compare the logits at the end
    #[arg(long)]
    pub(crate) no_check: bool,
    /// Write nothing: check that the numbers in an existing output are finite, and compare the logits
    #[arg(long)]
    pub(crate) check_only: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) machine: CpuArgs,
}

impl Args {
    /// What to write, in `format`.
    ///
    /// # Errors
    /// [`Error::Option`] for options that do not fit together.
    pub(crate) fn recipe(&self, format: FormatName) -> Result<Recipe> {
        let names = [Some(format), self.lm_head, self.embed];
        let open_group = |name: &FormatName| matches!(name, FormatName::Integers(_, None));
        if self.group.is_some() && !names.iter().flatten().any(open_group) {
            return Err(Error::option("group", "no format that is given leaves it open"));
        }
        // The group of the weights is also that of the other matrices.
        let of_format = if let FormatName::Integers(_, group) = format { group } else { None };
        let group = self.group.or(of_format).unwrap_or(DEFAULT_GROUP);
        let resolve = |name: FormatName| name.resolve(group, self.zero_points);
        let mut recipe = Recipe::from(resolve(format)?);
        if let Some(name) = self.lm_head {
            recipe.lm_head = resolve(name)?;
        }
        recipe.embed = self.embed.map(resolve).transpose()?;
        recipe.exclude.clone_from(&self.exclude);
        let formats = [Some(recipe.format), Some(recipe.lm_head), recipe.embed];
        let with_minimum = |format: &Format| matches!(format, Format::Quant(quant) if quant.zero_points);
        if self.zero_points && !formats.iter().flatten().any(with_minimum) {
            return Err(Error::option(
                "zero-points",
                "they are for int4, and no format that is given is int4",
            ));
        }
        Ok(recipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_options_that_there_are() {
        assert_eq!(cli::unknown::<Args>(IDLE), Vec::<&str>::new());
    }
}
