//! One case: a forward pass of some rows over some cached positions, again and again.

use crate::args::Cli;
use crate::subject::Subject;
use diffulex::cache::{KvPool, SlotId, Visible};
use diffulex::model::{Compute, LogitBuffers, Probe, Scratch, Segment, Transformer};
use diffulex::tensor::Rows;
use diffulex::{Engine, Error, Result};
use diffulex_cli::machine::Machine;
use diffulex_cli::work::{Limit, PassSize, Work};
use serde_json::{Value, json};
use std::time::Instant;

/// Repetitions of a case, unless they take too long.
const REPETITIONS: usize = 5;
/// Too long: this many times the requested time.
const PATIENCE: f64 = 4.0;

/// A measured case.
pub(crate) struct Case {
    pub(crate) rows: usize,
    pub(crate) context: usize,
    /// Distinct experts that each block with experts read.
    pub(crate) experts: Vec<usize>,
    pub(crate) work: Work,
    pub(crate) limit: Limit,
    /// Seconds of every repetition, ascending.
    times: Vec<f64>,
}

impl Case {
    /// Runs the pass once to warm up, then for as long as the options say.
    ///
    /// Keys and values of the cached positions are noise, which takes as long to read as any other; nothing is prefilled.
    /// Every repetition stages its own rows anew, as the steps of a block do.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the logits are not numbers: such a pass may be faster or slower than a real one.
    pub(crate) fn measure(
        args: &Cli,
        subject: &Subject,
        machine: &Machine,
        rows: usize,
        context: usize,
    ) -> Result<Self> {
        let (engine, model) = (&subject.engine, subject.engine.model());
        let logit_rows = args.cases.logits.of(rows);
        let experts = args.cases.choice(engine.arch(), rows)?;
        let ctx = Compute { kernels: engine.kernels(), exec: &*subject.exec };
        let (mut cache, slot) = cache(engine, context, rows)?;
        let rope = model.rope_table(context + rows);
        let (mut scratch, mut buffers) = (Scratch::default(), LogitBuffers::default());
        let ids = subject.ids(rows);
        let visible = Visible::all(context..context + rows, 0..context + rows);
        let batch = [Segment { slot, first: context, ids: &ids, visible: &visible, experts }];
        let wanted: Vec<usize> = (rows - logit_rows..rows).collect();
        let mut run = || -> Result<f64> {
            let start = Instant::now();
            model.forward(&ctx, &mut scratch, &rope, &mut cache, &batch, &mut Probe::none())?;
            model.logits(&ctx, model.hidden(&scratch), &wanted, &mut buffers, &mut Probe::none());
            Ok(start.elapsed().as_secs_f64())
        };
        run()?;
        let (mut times, mut total) = (Vec::new(), 0.0);
        let seconds = args.cases.seconds;
        while total < seconds || (times.len() < REPETITIONS && total < PATIENCE * seconds) {
            let time = run()?;
            total += time;
            times.push(time);
        }
        if !buffers.logits.iter().all(|x| x.is_finite()) {
            return Err(Error::NotFinite { place: format!("logits of {rows} rows") });
        }
        times.sort_by(f64::total_cmp);
        // The experts are the same ones in every repetition.
        let work = Work::of(engine, PassSize { rows, context, logit_rows }, Some(&scratch));
        let limit = work.limit(machine, engine.kernels());
        Ok(Self { rows, context, experts: touched(model, &scratch), work, limit, times })
    }

    /// The middle time, in seconds; of an even number of times, the mean of the two in the middle.
    pub(crate) fn median(&self) -> f64 {
        let n = self.times.len();
        (self.times[(n - 1) / 2] + self.times[n / 2]) / 2.0
    }

    /// The shortest time, in seconds.
    pub(crate) fn best(&self) -> f64 {
        self.times[0]
    }

    /// Number of repetitions.
    pub(crate) fn runs(&self) -> usize {
        self.times.len()
    }

    /// Distinct experts that a block read, on average; `None` without experts.
    pub(crate) fn mean_experts(&self) -> Option<f64> {
        let blocks = self.experts.len();
        (blocks > 0).then(|| self.experts.iter().sum::<usize>() as f64 / blocks as f64)
    }

    /// Bytes of weights per second.
    pub(crate) fn weight_rate(&self) -> f64 {
        self.work.weight_bytes as f64 / self.median()
    }

    /// Operations per second.
    pub(crate) fn rate(&self) -> f64 {
        self.work.operations() / self.median()
    }

    /// The share of the machine's limit that was reached: 1 is all.
    pub(crate) fn share(&self) -> f64 {
        self.limit.seconds() / self.median()
    }

    pub(crate) fn json(&self) -> Value {
        let mut json = json!({
            "rows": self.rows,
            "context": self.context,
            "experts": self.experts,
            "runs": self.runs(),
            "median_ms": self.median() * 1e3,
            "best_ms": self.best() * 1e3,
            "weights_gb_s": self.weight_rate() / 1e9,
            "gflop_s": self.rate() / 1e9,
            "limit_ms": self.limit.seconds() * 1e3,
            "limited_by": self.limit.name(),
            "share": self.share(),
        });
        if let (Value::Object(json), Value::Object(work)) = (&mut json, self.work.json()) {
            json.extend(work);
        }
        json
    }
}

/// Distinct experts that each block with experts has read in the latest pass.
fn touched(model: &Transformer, scratch: &Scratch) -> Vec<usize> {
    let layers = (0..model.arch().dims.layers).map(|layer| model.touched(scratch, layer));
    let sparse = layers.filter(|touched| !touched.is_empty());
    sparse.map(|touched| touched.iter().filter(|&&touched| touched).count()).collect()
}

/// A slot of `context` committed positions with room for `rows` more.
fn cache(engine: &Engine, context: usize, rows: usize) -> Result<(KvPool, SlotId)> {
    let shape = engine.model().kv_shape();
    let mut cache = KvPool::new(shape, engine.kv(), context + rows)?;
    let slot = cache.open(context + rows).expect("the pool has as many pages");
    if context > 0 {
        let width = shape.n_kv_heads * shape.head_dim;
        let number = |i: u32| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0;
        let noise: Vec<f32> = (0..(context * width) as u32).map(number).collect();
        cache.begin(slot, 0..context)?;
        for layer in 0..shape.layers {
            let noise = Rows::new(&noise, width);
            cache.stage(engine.kernels(), slot, layer, 0, noise, noise)?;
        }
        cache.commit(slot, context);
    }
    Ok((cache, slot))
}
