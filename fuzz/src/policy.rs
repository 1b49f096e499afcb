//! Decoding policies made of bytes: published ones, and ones of arbitrary parts.

use arbitrary::{Result, Unstructured};
use diffulex::Policy;
use diffulex::sampler::{
    Basis, CachePlan, Commit, Draw, DrawKind, EarlyStop, Editing, FilterOrder, Filters, Floor, Grid, Pace,
    Schedule, Score, Steps, Unmask,
};

/// A number that a user might give, or any.
fn real(u: &mut Unstructured<'_>) -> Result<f32> {
    let usual = [0.0, 1.0, 0.5, 0.9, 0.95, 0.1, 2.0, 1e-3, 100.0, 1.3];
    if u.ratio(3, 4)? { u.choose(&usual).copied() } else { u.arbitrary() }
}

/// A small size, or any.
fn size(u: &mut Unstructured<'_>) -> Result<usize> {
    if u.ratio(7, 8)? { u.int_in_range(0..=12) } else { u.arbitrary() }
}

fn optional_size(u: &mut Unstructured<'_>) -> Result<Option<usize>> {
    if u.arbitrary()? { size(u).map(Some) } else { Ok(None) }
}

/// A policy, in range or not.
pub(crate) fn policy(u: &mut Unstructured<'_>) -> Result<Policy> {
    if u.ratio(1, 4)? {
        let names: Vec<_> = Policy::names().map(|(name, _)| name).collect();
        return Ok(Policy::named(u.choose(&names)?).expect("a listed name"));
    }
    let plans = [CachePlan::None, CachePlan::Prefix, CachePlan::Dual, CachePlan::Block, CachePlan::SubBlock];
    Ok(Policy {
        schedule: schedule(u)?,
        draw: draw(u)?,
        score: *u.choose(&[Score::Probability, Score::Margin, Score::NegEntropy, Score::Random])?,
        unmask: unmask(u)?,
        cache: *u.choose(&plans)?,
        guidance: if u.arbitrary()? { real(u)? } else { 0.0 },
        early_stop: *u.choose(&[EarlyStop::Never, EarlyStop::Settled, EarlyStop::Revealed])?,
        editing: match u.arbitrary()? {
            true => Some(Editing { tau: real(u)?.into(), passes: u.int_in_range(0..=4)? }),
            false => None,
        },
        commit: *u.choose(&[Commit::Model, Commit::Full, Commit::Verified])?,
        right_shift: u.ratio(1, 4)?,
        expert_budget: u.arbitrary()?,
        blocks_ahead: usize::from(u.int_in_range(0..=3u8)?),
        merge_commit: u.arbitrary()?,
    })
}

fn schedule(u: &mut Unstructured<'_>) -> Result<Schedule> {
    let steps = match u.int_in_range(0..=3)? {
        0 => Steps::PerPosition,
        1 => Steps::PerBlock(size(u)?),
        2 => Steps::Total(size(u)?),
        _ => Steps::Unlimited,
    };
    let pace = match u.int_in_range(0..=4)? {
        0 => Pace::EvenMasks,
        1 => Pace::EvenBlock,
        2 => Pace::Timesteps { eps: real(u)? },
        3 => Pace::Rounded,
        _ => Pace::Carry,
    };
    Ok(Schedule { block: optional_size(u)?, sub_block: optional_size(u)?, steps, pace, grid: *u.choose(&[Grid::Whole, Grid::Cut, Grid::Open])? })
}

fn draw(u: &mut Unstructured<'_>) -> Result<Draw> {
    let order = *u.choose(&[FilterOrder::TopKThenTopP, FilterOrder::TopPThenTopK])?;
    let bases = [Basis::Raw, Basis::Tempered, Basis::Filtered, Basis::AlwaysFiltered];
    Ok(Draw {
        temperature: real(u)?,
        filters: Filters { top_k: size(u)?, top_p: real(u)?, order },
        kind: *u.choose(&[DrawKind::Multinomial, DrawKind::Gumbel])?,
        basis: *u.choose(&bases)?,
        repetition_penalty: real(u)?,
    })
}

fn unmask(u: &mut Unstructured<'_>) -> Result<Unmask> {
    Ok(match u.int_in_range(0..=5)? {
        0 => Unmask::TopK { alg_temp: real(u)?.into() },
        1 => Unmask::Threshold {
            tau: real(u)?.into(),
            strict: u.arbitrary()?,
            floor: *u.choose(&[Floor::Count(1), Floor::Count(3), Floor::Quota])?,
            capped: u.arbitrary()?,
        },
        2 => Unmask::Factor { factor: real(u)?.into() },
        3 => Unmask::LeftToRight,
        4 => Unmask::EntropyBudget { bound: real(u)?.into() },
        _ => Unmask::Independent,
    })
}
