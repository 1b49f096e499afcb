//! Does the output still compute what the source does? Logits of both on random tokens, and numbers that are not finite.

use crate::cli::{self, CpuArgs};
use crate::convert::matrix;
use diffulex::cache::{KvDtype, Visible};
use diffulex::engine::ModelFiles;
use diffulex::kernels::Activations;
use diffulex::model::{Architecture, Probe};
use diffulex::quant::Panels;
use diffulex::sampler::Rng;
use diffulex::tensor::TokenId;
use diffulex::weights::{Checkpoint, Storage, Stored, TensorSource};
use diffulex::{Engine, Error, Result, Session};
use std::path::Path;
use std::time::{Duration, Instant};

/// Prompts, and positions in each.
const PROMPTS: usize = 4;
const POSITIONS: usize = 32;

/// How well the logits of the output agree with those of the source.
pub(crate) struct Agreement {
    /// What the output was computed with.
    pub(crate) activations: Activations,
    pub(crate) mean_cosine: f64,
    pub(crate) least_cosine: f64,
    /// Share of the positions whose most probable token is the same.
    pub(crate) top1: f64,
}

/// The outcome.
pub(crate) struct Check {
    pub(crate) positions: usize,
    pub(crate) agreements: Vec<Agreement>,
    pub(crate) time: Duration,
}

/// Compares the checkpoint in `output` with `source`, on tokens that depend on nothing but the vocabulary.
pub(crate) fn compare(source: &Checkpoint, output: &Path, machine: &CpuArgs) -> Result<Check> {
    let start = Instant::now();
    let output = Checkpoint::locate(output)?;
    let arch = ModelFiles::read(source)?.arch;
    if ModelFiles::read(&output)?.arch != arch {
        let what = "its config.json describes another model than that of the source";
        return Err(Error::format(output.directory().display(), what));
    }
    let positions = POSITIONS.min(arch.dims.max_pos);
    let open = |files: &Checkpoint, activations| {
        let builder = Engine::builder().level(machine.level()?).threads(machine.threads());
        let builder = builder.activations(activations).kv(KvDtype::F32).context(positions);
        builder.open_checkpoint(files)
    };
    let reference = open(source, Activations::F32)?;
    let weight_only = open(&output, Activations::F32)?;
    let integer = weight_only.model().is_quantized().then(|| open(&output, Activations::Int8)).transpose()?;
    let engines = [Some((Activations::F32, weight_only)), integer.map(|engine| (Activations::Int8, engine))];
    let mut tallies: Vec<_> = engines
        .iter()
        .flatten()
        .map(|(activations, engine)| Tally::new(*activations, engine))
        .collect::<Result<_>>()?;

    let mut session = reference.session()?;
    for prompt in 0..PROMPTS {
        let mut stream = Rng::new(0).stream(prompt, 0);
        let vocab = arch.dims.vocab;
        let ids: Vec<_> = (0..positions).map(|_| (stream.uniform() * vocab as f64) as TokenId).collect();
        let expected = logits(&mut session, &arch, &ids)?;
        for tally in &mut tallies {
            if cli::interrupted() {
                return Err(Error::io(output.directory(), std::io::ErrorKind::Interrupted.into()));
            }
            tally.add(&expected, &ids, vocab)?;
        }
    }
    let agreements = tallies.into_iter().map(Tally::finish).collect();
    Ok(Check { positions: PROMPTS * positions, agreements, time: start.elapsed() })
}

fn logits(session: &mut Session<'_>, arch: &Architecture, ids: &[TokenId]) -> Result<Vec<f32>> {
    let all = 0..ids.len();
    let visible = Visible::by_rule(arch.attention, all.clone(), 0, ids.len());
    session.rewind(0);
    session.forward(ids, 0, &visible, &mut Probe::none())?;
    let rows: Vec<usize> = all.collect();
    let logits = session.logits(&rows, &mut Probe::none()).data().to_vec();
    match logits.iter().all(|x| x.is_finite()) {
        true => Ok(logits),
        false => Err(Error::NotFinite { place: "logits on random tokens".into() }),
    }
}

/// Sums over the positions so far.
struct Tally<'e> {
    session: Session<'e>,
    arch: &'e Architecture,
    activations: Activations,
    positions: f64,
    cosines: f64,
    least: f64,
    same: f64,
}

impl<'e> Tally<'e> {
    fn new(activations: Activations, engine: &'e Engine) -> Result<Self> {
        let (session, arch) = (engine.session()?, engine.arch());
        Ok(Self { session, arch, activations, positions: 0.0, cosines: 0.0, least: 1.0, same: 0.0 })
    }

    fn add(&mut self, expected: &[f32], ids: &[TokenId], vocab: usize) -> Result<()> {
        let found = logits(&mut self.session, self.arch, ids)?;
        for (expected, found) in expected.chunks_exact(vocab).zip(found.chunks_exact(vocab)) {
            let cosine = cosine(expected, found);
            self.positions += 1.0;
            self.cosines += cosine;
            self.least = self.least.min(cosine);
            self.same += f64::from(u8::from(best(expected) == best(found)));
        }
        Ok(())
    }

    fn finish(self) -> Agreement {
        Agreement {
            activations: self.activations,
            mean_cosine: self.cosines / self.positions,
            least_cosine: self.least,
            top1: self.same / self.positions,
        }
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE)
}

/// The most probable token, the first one on a tie.
fn best(logits: &[f32]) -> usize {
    (1..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best })
}

/// Looks at every number that a kernel would multiply with: scales, minima, floats.
pub(crate) fn refuse_not_finite(output: &Path) -> Result<()> {
    let source = Checkpoint::locate(output)?.open(Storage::Map)?;
    for name in source.names() {
        let place = match source.stored(&name)? {
            Stored::Panels(stored, bytes) => {
                let panels = Panels::new(stored.n, stored.k, stored.quant, &bytes);
                let found = panels.expect("the reader checked the length").first_not_finite();
                found.map(|(row, group)| format!("row {row}, scale of group {group}"))
            }
            Stored::Plain(_) => {
                let matrix = matrix(&source, &name)?;
                let mut row = vec![0.0; matrix.k()];
                (0..matrix.n()).find_map(|i| {
                    matrix.decode_row(i, &mut row);
                    let k = row.iter().position(|x| !x.is_finite())?;
                    Some(format!("row {i}, column {k}"))
                })
            }
        };
        if let Some(place) = place {
            let file = source.origin(&name);
            return Err(Error::NotFinite { place: format!("{file}, tensor `{name}`, {place}") });
        }
    }
    Ok(())
}
