//! Many sequences: one after the other, each on a thread of its own, and all in one batch.

use crate::args::Cli;
use crate::subject::Subject;
use diffulex::engine::{Limits, Scheduler};
use diffulex::tensor::TokenId;
use diffulex::{Control, Engine, Error, Policy, Request, Result};
use serde_json::{Value, json};
use std::time::Instant;

/// A measured way to decode the sequences.
struct Way {
    name: &'static str,
    seconds: f64,
    /// What was generated, in the order of the sequences.
    tokens: Vec<Vec<TokenId>>,
    /// Forward passes over the weights.
    passes: usize,
}

/// Times of all ways.
pub(crate) struct Throughput {
    sequences: usize,
    ways: Vec<Way>,
}

/// Decodes `sequences` prompts in every way: random tokens that begin differently, or the question, with a seed for each. The order is the same in every run, and the first way runs warm,
/// after the single generation that the report shows as well.
///
/// # Errors
/// As the generation, and [`Error::Unsupported`] if two ways differ in a token, which is a bug.
pub(crate) fn measure(args: &Cli, subject: &Subject, sequences: usize) -> Result<Throughput> {
    let engine = &subject.engine;
    let policy: Policy = args.decoding.overrides.policy(engine)?;
    let ids = &subject.prompt;
    let prompts: Vec<Vec<TokenId>> = (0..sequences)
        .map(|i| {
            let mut ids = ids.clone();
            if args.generate.prompt.is_none() {
                let at = i % ids.len();
                ids.rotate_left(at);
            }
            ids
        })
        .collect();
    let stop = if args.generate.ignore_eos { &[] } else { engine.stop() };
    let request = |i: usize| Request {
        stop,
        seed: i as u64,
        ..Request::new(&prompts[i], args.generate.max_tokens, &policy)
    };
    let requests: Vec<Request<'_>> = (0..sequences).map(request).collect();
    let ways = vec![alone(engine, &requests)?, threads(engine, &requests)?, batch(engine, &requests)?];
    if ways.iter().any(|way| way.tokens != ways[0].tokens) {
        return Err(Error::unsupported("sequences whose tokens depend on how they are decoded: a bug"));
    }
    Ok(Throughput { sequences, ways })
}

fn alone(engine: &Engine, requests: &[Request<'_>]) -> Result<Way> {
    let mut session = engine.session()?;
    let (start, mut tokens, mut passes) = (Instant::now(), Vec::new(), 0);
    for request in requests {
        session.rewind(0);
        let generation = session.generate(request, &mut |_| Ok(Control::Continue))?;
        passes += generation.nfe;
        tokens.push(generation.tokens);
    }
    Ok(Way { name: "one after the other", seconds: start.elapsed().as_secs_f64(), tokens, passes })
}

fn threads(engine: &Engine, requests: &[Request<'_>]) -> Result<Way> {
    let sessions = requests.iter().map(|_| engine.session()).collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    let generations = std::thread::scope(|scope| {
        let spawned: Vec<_> = sessions
            .into_iter()
            .zip(requests)
            .map(|(mut session, request)| {
                scope.spawn(move || session.generate(request, &mut |_| Ok(Control::Continue)))
            })
            .collect();
        let joined = spawned.into_iter().map(|thread| thread.join().expect("generating does not panic"));
        joined.collect::<Result<Vec<_>>>()
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let passes = generations.iter().map(|generation| generation.nfe).sum();
    let tokens = generations.into_iter().map(|generation| generation.tokens).collect();
    Ok(Way { name: "a thread each", seconds, tokens, passes })
}

fn batch(engine: &Engine, requests: &[Request<'_>]) -> Result<Way> {
    let mut scheduler = Scheduler::new(engine, Limits::for_engine(engine, requests.len()))?;
    let (start, mut passes) = (Instant::now(), 0);
    let ids = requests.iter().map(|request| scheduler.add(request)).collect::<Result<Vec<_>>>()?;
    let mut tokens = vec![Vec::new(); requests.len()];
    while !scheduler.is_idle() {
        let finished = scheduler.step(&mut |_, _| Ok(Control::Continue));
        passes += 1;
        for finished in finished {
            let at = ids.iter().position(|id| *id == finished.id).expect("it was added");
            tokens[at] = finished.result?.tokens;
        }
    }
    Ok(Way { name: "one batch", seconds: start.elapsed().as_secs_f64(), tokens, passes })
}

impl Way {
    fn tokens(&self) -> usize {
        self.tokens.iter().map(Vec::len).sum()
    }

    fn rate(&self) -> f64 {
        self.tokens() as f64 / self.seconds.max(1e-9)
    }
}

impl Throughput {
    pub(crate) fn json(&self) -> Value {
        let way = |way: &Way| {
            json!({
                "name": way.name,
                "seconds": way.seconds,
                "passes": way.passes,
                "new_tokens": way.tokens(),
                "tokens_per_second": way.rate(),
                "speedup": self.ways[0].seconds / way.seconds,
            })
        };
        json!({ "sequences": self.sequences, "ways": self.ways.iter().map(way).collect::<Vec<_>>() })
    }

    /// Lines for people.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("\n{} sequences, prefill included\n", self.sequences);
        for way in &self.ways {
            text += &format!(
                "{:<20} {:.3} s, {} forward passes, {:.2} tokens per second, {:.2} times the first\n",
                way.name,
                way.seconds,
                way.passes,
                way.rate(),
                self.ways[0].seconds / way.seconds
            );
        }
        text
    }
}
