//! The settings that are compared: formats of the weights, rules of unmasking, cache plans.

use diffulex::cache::Attention;
use diffulex::engine::Overrides;
use diffulex::kernels::Activations;
use diffulex::model::Architecture;
use diffulex::quant::{Code, Format};
use diffulex::sampler::CachePlan;
use diffulex_cli::{DEFAULT_GROUP, FormatName};

/// A row of the table.
pub(crate) struct Setting {
    pub(crate) name: String,
    /// Weights converted on loading; as stored if `None`.
    pub(crate) quantize: Option<FormatName>,
    pub(crate) activations: Activations,
    pub(crate) decoding: Overrides,
}

/// Which rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Grid {
    /// All of them.
    All,
    /// Formats of the weights, and int8 activations.
    Formats,
    /// How many tokens a step reveals, and which.
    Decoding,
    /// What is kept between steps (bidirectional models).
    Caches,
}

/// The rows of a grid for a model. `given` are the options that hold in every row that does not set them itself.
pub(crate) fn settings(grid: Grid, arch: &Architecture, given: &Overrides) -> Vec<Setting> {
    let attention = arch.attention;
    let wanted = |part| grid == Grid::All || grid == part;
    let mut rows = Vec::new();
    if wanted(Grid::Formats) {
        rows.extend(formats(given));
    }
    if wanted(Grid::Decoding) {
        rows.extend(decoding(attention, given));
        rows.extend(unpublished(arch, given));
    }
    if wanted(Grid::Caches) && attention == Attention::Bidirectional {
        rows.extend(caches(given));
    }
    rows
}

fn formats(given: &Overrides) -> Vec<Setting> {
    let integers = |code| FormatName::Integers(code, Some(DEFAULT_GROUP));
    let f32 = Activations::F32;
    [
        ("f32", Some(FormatName::Exact(Format::F32)), f32),
        ("bf16", Some(FormatName::Exact(Format::Bf16)), f32),
        ("int8", Some(integers(Code::Int8)), f32),
        ("int4", Some(integers(Code::Int4)), f32),
        ("int8, int8 activations", Some(integers(Code::Int8)), Activations::Int8),
        ("int4, int8 activations", Some(integers(Code::Int4)), Activations::Int8),
    ]
    .map(|(name, quantize, activations)| Setting {
        name: name.to_string(),
        quantize,
        activations,
        decoding: given.clone(),
    })
    .into()
}

fn decoding(attention: Attention, given: &Overrides) -> Vec<Setting> {
    let one_at_a_time = match attention {
        Attention::BlockCausal { .. } => "sdar-static",
        Attention::Bidirectional => "llada-low-confidence",
    };
    let with = |name: &str, change: &dyn Fn(&mut Overrides)| {
        let mut decoding = given.clone();
        change(&mut decoding);
        Setting { name: name.to_string(), quantize: None, activations: Activations::F32, decoding }
    };
    let threshold = |tau| move |args: &mut Overrides| args.threshold = Some(tau);
    vec![
        with("schedule", &|args| args.strategy = Some(one_at_a_time.to_string())),
        with("threshold 0.95", &threshold(0.95)),
        with("threshold 0.9", &threshold(0.9)),
        with("threshold 0.8", &threshold(0.8)),
        with("factor 1", &|args| args.factor = Some(1.0)),
        with("entropy bound 0.1", &|args| args.entropy_bound = Some(0.1)),
    ]
}

/// Ways to decode that no model was published with, where the model supports them.
fn unpublished(arch: &Architecture, given: &Overrides) -> Vec<Setting> {
    let threshold = given.threshold.or(Some(0.9));
    let setting =
        |name: String, decoding| Setting { name, quantize: None, activations: Activations::F32, decoding };
    let ahead = [1, 2, 4].map(|blocks| {
        let decoding = Overrides { blocks_ahead: Some(blocks), threshold, ..given.clone() };
        setting(format!("blocks ahead {blocks}"), decoding)
    });
    let budget = [0.7, 0.9].map(|sure| {
        let decoding = Overrides { expert_budget: Some(sure), threshold, ..given.clone() };
        setting(format!("expert budget {sure}"), decoding)
    });
    let ahead = ahead.into_iter().filter(|_| matches!(arch.attention, Attention::BlockCausal { .. }));
    ahead.chain(budget.into_iter().filter(|_| arch.mixture.is_some())).collect()
}

fn caches(given: &Overrides) -> Vec<Setting> {
    // A block of 8: with one block, nothing would be left for a cache to be wrong about.
    let block = given.block.or(Some(8));
    [("cache none", CachePlan::None), ("cache prefix", CachePlan::Prefix), ("cache dual", CachePlan::Dual)]
        .map(|(name, cache)| {
            let threshold = given.threshold.or(Some(0.9));
            let decoding = Overrides { cache: Some(cache), threshold, block, ..given.clone() };
            Setting { name: name.to_string(), quantize: None, activations: Activations::F32, decoding }
        })
        .into()
}
