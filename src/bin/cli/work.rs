//! The least that a pass has to do: bytes to read, operations to compute.
//!
//! ```text
//! bytes = block matrices (of the experts, those read, or as many as the rows can be expected to choose) + output matrix + cached keys and values
//! operations = 2 rows n k of every matrix + 4 rows keys n_heads head_dim layers of attention
//! ```

use super::machine::Machine;
use diffulex::cache::KvDtype;
use diffulex::engine::Engine;
use diffulex::kernels::Kernels;
use diffulex::model::{Architecture, Scratch, Slot};
use diffulex::quant::Format;
use serde_json::{Value, json};

/// How large a pass is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassSize {
    /// Positions that are computed; all of them see each other and the cached ones.
    pub rows: usize,
    /// Cached positions.
    pub context: usize,
    /// Rows whose logits are computed.
    pub logit_rows: usize,
}

/// How much of a matrix a pass uses.
#[derive(Clone, Copy)]
struct Share {
    /// Of its bytes, from 0 to 1.
    bytes: f64,
    /// Rows that it is multiplied with.
    rows: f64,
}

impl Share {
    /// Everything: all bytes, and `rows` rows.
    fn all(rows: usize) -> Self {
        Self { bytes: 1.0, rows: rows as f64 }
    }

    /// For a pass over `rows` rows. Of the experts, the share to be expected if the rows choose independently.
    fn new(arch: &Architecture, slot: &Slot, rows: usize) -> Self {
        let mixture = arch.mixture.as_ref().filter(|_| slot.expert.is_some());
        mixture.map_or(Self::all(rows), |mixture| Self {
            bytes: mixture.touched(rows),
            rows: rows as f64 * mixture.per_token as f64 / mixture.experts as f64,
        })
    }
}

/// The work of a pass.
#[derive(Debug)]
pub struct Work {
    /// Bytes of the matrices that the pass multiplies with.
    pub weight_bytes: usize,
    /// Bytes of the cached keys and values.
    pub kv_bytes: usize,
    /// Operations by the format that is multiplied with; attention counts as f32.
    operations: Vec<(Format, f64)>,
}

impl Work {
    /// The work of a pass of a loaded model; of the experts, those count that the latest pass with `read` has read.
    pub fn of(engine: &Engine, size: PassSize, read: Option<&Scratch>) -> Self {
        let model = engine.model();
        let mut work = Self::without_matrices(engine.arch(), engine.kv(), size);
        for (slot, matrix) in model.matrices().filter(|(slot, _)| slot.layer.is_some()) {
            let mut share = Share::new(engine.arch(), slot, size.rows);
            if let (Some(scratch), Some(layer), Some(expert)) = (read, slot.layer, slot.expert) {
                share.bytes = f64::from(u8::from(model.touched(scratch, layer)[expert]));
            }
            work.add([matrix.n(), matrix.k()], matrix.format(), matrix.bytes(), share);
        }
        if size.logit_rows > 0 {
            let head = model.lm_head();
            work.add([head.n(), head.k()], head.format(), head.bytes(), Share::all(size.logit_rows));
        }
        work
    }

    /// The work of a pass of a model with block matrices in the format `blocks` and an output matrix in `head`, without its
    /// weights.
    ///
    /// # Panics
    /// If a matrix exceeds the address space.
    pub fn of_shapes(arch: &Architecture, [blocks, head]: [Format; 2], kv: KvDtype, size: PassSize) -> Self {
        let mut work = Self::without_matrices(arch, kv, size);
        let mut add = |[n, k]: [usize; 2], format: Format, share: Share| {
            let bytes = format.bytes(n, k).expect("a matrix that fits the address space");
            work.add([n, k], format, bytes, share);
        };
        for slot in arch.tensors().iter().filter(|slot| slot.layer.is_some()) {
            if let Some(shape) = slot.matrix() {
                add(shape, slot.format(blocks, head), Share::new(arch, slot, size.rows));
            }
        }
        if size.logit_rows > 0 {
            add([arch.dims.vocab, arch.dims.hidden], head, Share::all(size.logit_rows));
        }
        work
    }

    fn without_matrices(arch: &Architecture, kv: KvDtype, PassSize { rows, context, .. }: PassSize) -> Self {
        let attention = 4 * rows * (context + rows) * arch.dims.q_width() * arch.dims.layers;
        Self {
            weight_bytes: 0,
            kv_bytes: context * arch.kv_shape().bytes_per_token(kv),
            operations: vec![(Format::F32, attention as f64)],
        }
    }

    fn add(&mut self, [n, k]: [usize; 2], format: Format, bytes: usize, share: Share) {
        self.weight_bytes += (bytes as f64 * share.bytes).round() as usize;
        let operations = 2.0 * share.rows * n as f64 * k as f64;
        match self.operations.iter_mut().find(|(known, _)| *known == format) {
            Some((_, sum)) => *sum += operations,
            None => self.operations.push((format, operations)),
        }
    }

    /// Operations by the format that is multiplied with; attention counts as f32.
    pub fn by_format(&self) -> &[(Format, f64)] {
        &self.operations
    }

    /// All operations.
    pub fn operations(&self) -> f64 {
        self.operations.iter().map(|(_, operations)| operations).sum()
    }

    /// The least time that it can take.
    pub fn limit(&self, machine: &Machine, kernels: &Kernels) -> Limit {
        let compute =
            self.operations.iter().map(|&(format, operations)| operations / machine.peak(kernels, format));
        Limit {
            memory: (self.weight_bytes + self.kv_bytes) as f64 / machine.bandwidth,
            compute: compute.sum(),
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({ "weight_bytes": self.weight_bytes, "kv_bytes": self.kv_bytes, "operations": self.operations() })
    }
}

/// What memory and units take for some work, in seconds.
#[derive(Clone, Copy)]
pub struct Limit {
    memory: f64,
    compute: f64,
}

impl Limit {
    /// The time below which no pass can be, in seconds.
    pub fn seconds(self) -> f64 {
        self.memory.max(self.compute)
    }

    /// Which of the two limits it is.
    pub fn name(self) -> &'static str {
        if self.memory >= self.compute { "memory" } else { "compute" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_slower_of_memory_and_units() {
        let limit = |memory, compute| Limit { memory, compute };
        assert_eq!((limit(2.0, 1.0).seconds(), limit(2.0, 1.0).name()), (2.0, "memory"));
        assert_eq!((limit(2.0, 3.0).seconds(), limit(2.0, 3.0).name()), (3.0, "compute"));
    }
}
