//! What a pass has to do at least: bytes to read, operations to compute.
//!
//! ```text
//! bytes = block matrices + output matrix + keys and values of the cached positions
//! operations = 2 rows n k of every matrix + 4 rows keys n_heads head_dim layers of attention
//! ```

use super::machine::Machine;
use crate::cache::KvDtype;
use crate::engine::Engine;
use crate::kernels::Kernels;
use crate::model::Architecture;
use crate::quant::Format;
use serde_json::{Value, json};

/// How large a pass is.
#[derive(Clone, Copy, Debug)]
pub struct PassSize {
    /// Positions that are computed; all of them see each other and the cached ones.
    pub rows: usize,
    /// Cached positions.
    pub context: usize,
    /// Rows whose logits are computed.
    pub logit_rows: usize,
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
    /// The work of a pass of a model that is there.
    pub fn of(engine: &Engine, size: PassSize) -> Self {
        let model = engine.model();
        let mut work = Self::without_matrices(engine.arch(), engine.kv(), size);
        for matrix in model.block_matrices() {
            work.add((matrix.n(), matrix.k()), matrix.format(), matrix.bytes(), size.rows);
        }
        if size.logit_rows > 0 {
            let head = model.lm_head();
            work.add((head.n(), head.k()), head.format(), head.bytes(), size.logit_rows);
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
        let mut add = |n: usize, k: usize, format: Format, rows: usize| {
            work.add((n, k), format, format.bytes(n, k).expect("a matrix that fits the address space"), rows);
        };
        for (name, shape) in arch.expected_tensors() {
            if let ([n, k], true) = (&shape[..], name.starts_with(arch.names.block)) {
                add(*n, *k, blocks, size.rows);
            }
        }
        if size.logit_rows > 0 {
            add(arch.dims.vocab, arch.dims.hidden, head, size.logit_rows);
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

    fn add(&mut self, (n, k): (usize, usize), format: Format, bytes: usize, rows: usize) {
        self.weight_bytes += bytes;
        let operations = 2.0 * rows as f64 * n as f64 * k as f64;
        match self.operations.iter_mut().find(|(known, _)| *known == format) {
            Some((_, sum)) => *sum += operations,
            None => self.operations.push((format, operations)),
        }
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
    /// No pass is faster, in seconds.
    pub fn seconds(self) -> f64 {
        self.memory.max(self.compute)
    }

    /// Which of the two it is.
    pub fn name(self) -> &'static str {
        if self.memory >= self.compute { "memory" } else { "compute" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::presets::Preset;
    use crate::cli::random;
    use crate::engine::ModelFiles;
    use crate::model::GenerationConfig;

    fn engine(format: &str, head: &str) -> Engine {
        let arch = Preset::named("tiny-sdar").unwrap().architecture().unwrap();
        let [format, head] = [format, head].map(|name| Format::from_name(name).unwrap());
        let source = random::source(&arch, format, head, 1);
        let files = ModelFiles { arch, generation: GenerationConfig::default() };
        Engine::builder().load(files, &source).unwrap()
    }

    fn size(rows: usize, context: usize, logit_rows: usize) -> PassSize {
        PassSize { rows, context, logit_rows }
    }

    #[test]
    fn work_is_counted_from_the_shapes() {
        // tiny-sdar: hidden 128, ffn 352, 4 layers, 5 heads and 1 K/V head of 32, vocab 1024.
        let block = 2 * 160 * 128 + 2 * 32 * 128 + 3 * 352 * 128;
        let (head, attention) = (1024 * 128, 4 * 160 * 4);
        let bf16 = engine("bf16", "bf16");
        let work = Work::of(&bf16, size(3, 10, 3));
        assert_eq!(work.weight_bytes, 2 * (4 * block + head));
        assert_eq!(work.kv_bytes, 10 * 4 * 2 * 32 * 2);
        assert_eq!(work.operations(), (2 * 3 * (4 * block + head) + attention * 3 * 13) as f64);
        let last = Work::of(&bf16, size(3, 0, 1));
        assert_eq!(last.kv_bytes, 0);
        assert_eq!(last.operations(), (2 * 3 * 4 * block + 2 * head + attention * 9) as f64);
        let none = Work::of(&bf16, size(3, 0, 0));
        assert_eq!(none.weight_bytes, 2 * 4 * block);
    }

    #[test]
    fn quantized_weights_are_fewer_bytes_and_the_same_operations() {
        let (bf16, int4) = (engine("bf16", "bf16"), engine("q4g64", "q8g64"));
        let [bf16, int4] = [&bf16, &int4].map(|engine| Work::of(engine, size(4, 8, 4)));
        assert_eq!(bf16.operations(), int4.operations());
        assert!(int4.weight_bytes * 2 < bf16.weight_bytes, "{} and {}", int4.weight_bytes, bf16.weight_bytes);
        assert_eq!(int4.operations.len(), 3, "f32 of attention, int4, int8");
    }

    #[test]
    fn the_limit_is_the_slower_of_memory_and_units() {
        let limit = |memory, compute| Limit { memory, compute };
        assert_eq!((limit(2.0, 1.0).seconds(), limit(2.0, 1.0).name()), (2.0, "memory"));
        assert_eq!((limit(2.0, 3.0).seconds(), limit(2.0, 3.0).name()), (3.0, "compute"));
    }

    #[test]
    fn shapes_alone_say_the_same_as_a_model() {
        for (format, head) in [("bf16", "bf16"), ("q4g64", "q8g64"), ("q8row", "f32")] {
            let engine = engine(format, head);
            let formats = [format, head].map(|name| Format::from_name(name).unwrap());
            for size in [size(1, 0, 1), size(32, 100, 32), size(3, 7, 0)] {
                let shapes = Work::of_shapes(engine.arch(), formats, engine.kv(), size);
                let model = Work::of(&engine, size);
                assert_eq!((shapes.weight_bytes, shapes.kv_bytes), (model.weight_bytes, model.kv_bytes));
                assert_eq!(shapes.operations, model.operations, "{format}, {head}");
            }
        }
    }
}
