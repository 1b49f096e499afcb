//! How much memory there is, and whether a model fits.
//!
//! ```text
//! needed    = weights + keys and values of the context + logits
//! weights   = matrices that a pass multiplies with, at their size in the file (mapped pages are needed in every pass); of a
//!             separate embedding only rows are looked up
//! available = the smaller of what Linux could give without swapping and what the control groups leave
//! ```

use super::readable;
use diffulex::cache::{Attention, KvDtype, PAGE};
use diffulex::engine::{Engine, LOGIT_ROWS};
use diffulex::error::{Error, Result};
use diffulex::model::{Architecture, Planned, Role, Slot};
use diffulex::quant::Format;
use diffulex::weights::TensorSource;
use std::fs;
use std::path::{Path, PathBuf};

/// Share of the available memory from which on a run may get slow.
const CLOSE: f64 = 0.9;

/// What a session needs, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Matrices that are multiplied with.
    pub weights: u64,
    /// Keys and values of the whole context.
    pub kv: u64,
    /// Logits that are held at a time.
    pub logits: u64,
    /// Positions of the context.
    pub context: usize,
}

/// Whether something fits into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// With room to spare.
    Fits,
    /// With less than a tenth to spare.
    Close,
    /// It does not fit.
    TooLarge,
}

impl Need {
    /// For a session of `context` positions with weights of this size.
    pub fn new(weights: u64, arch: &Architecture, kv: KvDtype, context: usize) -> Self {
        let dims = arch.dims;
        let rows = match arch.attention {
            Attention::BlockCausal { block } => block.min(LOGIT_ROWS),
            Attention::Bidirectional => LOGIT_ROWS,
        };
        let product = |a: usize, b: usize| (a as u64).saturating_mul(b as u64);
        Self {
            weights,
            kv: product(arch.kv_shape().bytes_per_token(kv), context),
            logits: product(rows.min(context) * size_of::<f32>(), dims.vocab),
            context,
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.kv).saturating_add(self.logits)
    }

    /// Whether it fits into `available` bytes.
    pub fn fit(&self, available: u64) -> Fit {
        match self.total() {
            total if total > available => Fit::TooLarge,
            total if total as f64 > CLOSE * available as f64 => Fit::Close,
            _ => Fit::Fits,
        }
    }

    fn text(&self) -> String {
        format!(
            "about {} of memory are needed (weights {}, keys and values of {} positions {}, logits {})",
            readable(self.total()),
            readable(self.weights),
            self.context,
            readable(self.kv),
            readable(self.logits)
        )
    }
}

/// Bytes of the matrices that passes of `arch` multiply with: block matrices in the format `blocks`, the output matrix in `head`.
pub fn matrix_bytes(arch: &Architecture, blocks: Format, head: Format) -> u64 {
    let bytes = |slot: Slot| {
        slot.matrix().map_or(0, |[n, k]| slot.format(blocks, head).bytes(n, k).unwrap_or(usize::MAX) as u64)
    };
    multiplied(arch).map(bytes).fold(0, u64::saturating_add)
}

/// Bytes of an embedding in the format `head`; 0 if it is the output matrix, too.
pub fn embedding_bytes(arch: &Architecture, head: Format) -> u64 {
    let bytes = head.bytes(arch.dims.vocab, arch.dims.hidden).unwrap_or(usize::MAX);
    if arch.tied { 0 } else { bytes as u64 }
}

/// Bytes of the tensors in `source` that passes of `arch` multiply with, as they are stored. What is missing there counts as
/// nothing.
pub fn stored_bytes(arch: &Architecture, source: &dyn TensorSource) -> u64 {
    let bytes = |slot: Slot| source.tensor(&slot.name).map_or(0, |tensor| tensor.bytes().len() as u64);
    multiplied(arch).map(bytes).sum()
}

/// Bytes of all tensors in `source`.
pub fn all_bytes(source: &dyn TensorSource) -> u64 {
    let bytes = |name: String| source.tensor(&name).map_or(0, |tensor| tensor.bytes().len() as u64);
    source.names().into_iter().map(bytes).sum()
}

/// Bytes of all tensors once they are made by a plan: those are in memory, used or not.
pub fn planned_bytes(plan: &[Planned]) -> u64 {
    let bytes = |planned: &Planned| match planned.slot.matrix() {
        Some([n, k]) => planned.to.bytes(n, k),
        None => planned.to.bytes(1, planned.slot.elements()),
    };
    plan.iter().map(|planned| bytes(planned).unwrap_or(usize::MAX) as u64).fold(0, u64::saturating_add)
}

/// The tensors that a pass reads as a whole. An embedding that is not also the output matrix is only indexed.
fn multiplied(arch: &Architecture) -> impl Iterator<Item = Slot> {
    let tied = arch.tied;
    arch.tensors().into_iter().filter(move |slot| tied || slot.role != Role::Embedding)
}

/// Refuses what does not fit into the available memory, under the name of the option that requested it. `advice` is what would
/// help. Returns a note if it is close. Nothing is refused where the system does not say how much there is.
///
/// # Errors
/// [`Error::Option`] with what is needed, what is there, and the advice.
pub fn check(
    option: &'static str,
    need: &Need,
    available: Option<u64>,
    advice: &str,
) -> Result<Option<String>> {
    let Some(available) = available else { return Ok(None) };
    let text = || format!("{}, {} are available", need.text(), readable(available));
    match need.fit(available) {
        Fit::Fits => Ok(None),
        Fit::Close => Ok(Some(format!("note: {}: it may get slow", text()))),
        Fit::TooLarge => Err(Error::option(option, format!("{}; {advice}", text()))),
    }
}

/// What helps where `need` is too much: `floats` says that the weights are not quantized.
pub fn advice(need: &Need, floats: bool, kv: KvDtype) -> String {
    let mut advice = Vec::new();
    if floats {
        advice.push("--quantize int4 or a checkpoint that diffulex-quantize wrote");
    }
    // Freeing less than a tenth of what is needed does not help.
    if need.kv >= need.total() / 10 {
        advice.push("a smaller --context");
        if kv == KvDtype::F32 {
            advice.push("--kv f16");
        }
    }
    if advice.is_empty() {
        advice.push("a smaller model");
    }
    format!("what helps: {}; --no-memory-check continues anyway", advice.join(", "))
}

/// Sequences at a time, unless the user says otherwise: a pass over blocks of some positions of each is about as fast as matrices
/// can be read.
const MAX_SEQUENCES: usize = 8;

/// How many sequences of an engine are decoded at a time unless the user says otherwise: as many as half of the free memory holds
/// the keys and values of, from 1 to 8.
pub fn sequences(engine: &Engine) -> usize {
    let positions = engine.context().next_multiple_of(PAGE);
    let each = engine.model().kv_shape().bytes_per_token(engine.kv()) * positions;
    let fit = available().map_or(usize::MAX, |free| (free / 2) as usize / each.max(1));
    fit.clamp(1, MAX_SEQUENCES)
}

/// Bytes that this process can still use without swapping. `None` where the system does not tell: only Linux does.
pub fn available() -> Option<u64> {
    let machine = kilobytes(Path::new("/proc/meminfo"), "MemAvailable")?;
    Some(
        control_groups(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"))
            .map_or(machine, |left| left.min(machine)),
    )
}

/// Bytes of memory that the machine has. `None` where the system does not tell.
pub fn total() -> Option<u64> {
    kilobytes(Path::new("/proc/meminfo"), "MemTotal")
}

/// Largest resident set of this process so far, in bytes, mapped pages included. `None` where the system does not tell.
pub fn peak() -> Option<u64> {
    kilobytes(Path::new("/proc/self/status"), "VmHWM")
}

/// A line such as `MemTotal:   123 kB`, in bytes.
fn kilobytes(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What the control groups of this process leave, in bytes; `None` without a limit. `groups` names them (version 2: `0::PATH`,
/// version 1: `N:memory:PATH`), `root` is where they are mounted.
fn control_groups(groups: &Path, root: &Path) -> Option<u64> {
    let text = fs::read_to_string(groups).ok()?;
    let left = text.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or(""), fields.next().unwrap_or("/"));
        let (base, files) = match controllers {
            "" => (root.to_path_buf(), ["memory.max", "memory.current", ""]),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                (root.join("memory"), ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_"])
            }
            _ => return Vec::new(),
        };
        // The limits of all groups above count, too. Inside a container the path may be missing, but the root is there.
        let group = base.join(path.trim_start_matches('/'));
        let up: Vec<PathBuf> =
            group.ancestors().take_while(|dir| dir.starts_with(&base)).map(Path::to_path_buf).collect();
        up.into_iter().filter_map(|dir| group_left(&dir, files)).collect()
    });
    left.min()
}

/// What one group leaves: its limit minus its use. Cached file pages are given back when memory is needed.
fn group_left(dir: &Path, [limit, usage, prefix]: [&str; 3]) -> Option<u64> {
    let number = |file: &str| fs::read_to_string(dir.join(file)).ok()?.trim().parse::<u64>().ok();
    // Without a limit, version 2 says `max`, which is not a number; version 1 has a number near 2^63, which is never the smallest.
    let (limit, usage) = (number(limit)?, number(usage)?);
    let statistics = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
    let cached = ["inactive_file", "active_file"].into_iter().filter_map(|name| {
        let line = statistics
            .lines()
            .find_map(|line| line.strip_prefix(prefix)?.strip_prefix(name)?.strip_prefix(' '));
        line?.trim().parse::<u64>().ok()
    });
    Some(limit.saturating_sub(usage.saturating_sub(cached.sum())))
}

#[cfg(test)]
mod tests;
