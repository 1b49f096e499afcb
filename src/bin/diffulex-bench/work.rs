//! What a pass has to do at least: bytes to read, operations to compute.
//!
//! ```text
//! bytes = block matrices + output matrix + keys and values of the cached positions
//! operations = 2 rows n k of every matrix + 4 rows keys n_heads head_dim layers of attention
//! ```

use crate::machine::Machine;
use diffulex::Engine;
use diffulex::kernels::Kernels;
use diffulex::quant::{Format, Matrix};
use serde_json::{Value, json};

/// The work of a pass.
#[derive(Debug)]
pub(crate) struct Work {
    /// Bytes of the matrices that the pass multiplies with.
    pub(crate) weight_bytes: usize,
    /// Bytes of the cached keys and values.
    pub(crate) kv_bytes: usize,
    /// Operations by the format that is multiplied with; attention counts as f32.
    operations: Vec<(Format, f64)>,
}

impl Work {
    /// The work of `rows` rows over `context` cached positions, all of which see each other, with logits of some rows.
    pub(crate) fn of(engine: &Engine, rows: usize, context: usize, logit_rows: usize) -> Self {
        let (model, dims) = (engine.model(), engine.arch().dims);
        let attention = 4 * rows * (context + rows) * dims.q_width() * dims.layers;
        let mut work = Self {
            weight_bytes: 0,
            kv_bytes: context * model.kv_shape().bytes_per_token(engine.kv()),
            operations: vec![(Format::F32, attention as f64)],
        };
        model.block_matrices().for_each(|matrix| work.add(matrix, rows));
        if logit_rows > 0 {
            work.add(model.lm_head(), logit_rows);
        }
        work
    }

    fn add(&mut self, matrix: &Matrix, rows: usize) {
        self.weight_bytes += matrix.bytes();
        let operations = 2.0 * rows as f64 * matrix.n() as f64 * matrix.k() as f64;
        match self.operations.iter_mut().find(|(format, _)| *format == matrix.format()) {
            Some((_, sum)) => *sum += operations,
            None => self.operations.push((matrix.format(), operations)),
        }
    }

    /// All operations.
    pub(crate) fn operations(&self) -> f64 {
        self.operations.iter().map(|(_, operations)| operations).sum()
    }

    /// The least time that it can take.
    pub(crate) fn limit(&self, machine: &Machine, kernels: &Kernels) -> Limit {
        let compute =
            self.operations.iter().map(|&(format, operations)| operations / machine.peak(kernels, format));
        Limit {
            memory: (self.weight_bytes + self.kv_bytes) as f64 / machine.bandwidth,
            compute: compute.sum(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "weight_bytes": self.weight_bytes, "kv_bytes": self.kv_bytes, "operations": self.operations() })
    }
}

/// What memory and units take for some work, in seconds.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    memory: f64,
    compute: f64,
}

impl Limit {
    /// No pass is faster, in seconds.
    pub(crate) fn seconds(self) -> f64 {
        self.memory.max(self.compute)
    }

    /// Which of the two it is.
    pub(crate) fn name(self) -> &'static str {
        if self.memory >= self.compute { "memory" } else { "compute" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffulex::cli::presets::Preset;
    use diffulex::cli::random;
    use diffulex::engine::ModelFiles;
    use diffulex::model::GenerationConfig;

    fn engine(format: &str, head: &str) -> Engine {
        let arch = Preset::named("tiny-sdar").unwrap().architecture().unwrap();
        let [format, head] = [format, head].map(|name| Format::from_name(name).unwrap());
        let source = random::source(&arch, format, head, 1);
        let files = ModelFiles { arch, generation: GenerationConfig::default() };
        Engine::builder().load(files, &source).unwrap()
    }

    #[test]
    fn work_is_counted_from_the_shapes() {
        // tiny-sdar: hidden 128, ffn 352, 4 layers, 5 heads and 1 K/V head of 32, vocab 1024.
        let block = 2 * 160 * 128 + 2 * 32 * 128 + 3 * 352 * 128;
        let (head, attention) = (1024 * 128, 4 * 160 * 4);
        let bf16 = engine("bf16", "bf16");
        let work = Work::of(&bf16, 3, 10, 3);
        assert_eq!(work.weight_bytes, 2 * (4 * block + head));
        assert_eq!(work.kv_bytes, 10 * 4 * 2 * 32 * 2);
        assert_eq!(work.operations(), (2 * 3 * (4 * block + head) + attention * 3 * 13) as f64);
        let last = Work::of(&bf16, 3, 0, 1);
        assert_eq!(last.kv_bytes, 0);
        assert_eq!(last.operations(), (2 * 3 * 4 * block + 2 * head + attention * 9) as f64);
        let none = Work::of(&bf16, 3, 0, 0);
        assert_eq!(none.weight_bytes, 2 * 4 * block);
    }

    #[test]
    fn quantized_weights_are_fewer_bytes_and_the_same_operations() {
        let (bf16, int4) = (engine("bf16", "bf16"), engine("q4g64", "q8g64"));
        let [bf16, int4] = [&bf16, &int4].map(|engine| Work::of(engine, 4, 8, 4));
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
}
