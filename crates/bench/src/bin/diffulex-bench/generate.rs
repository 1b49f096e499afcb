//! A whole generation, as in `diffulex-run`.

use crate::args::Cli;
use crate::subject::Subject;
use diffulex::engine::StopReason;
use diffulex::{Control, Generation, Policy, Request, Result};
use diffulex_cli::decoding;
use serde_json::{Value, json};

/// A measured generation.
pub(crate) struct Run {
    generation: Generation,
    prompt_tokens: usize,
    policy: Value,
    is_random: bool,
    /// Whether the prompt is random tokens.
    of_tokens: bool,
    /// Experts of a block, if the model has any.
    experts_of: Option<usize>,
}

/// Generates once to warm up, at most a block, and once to measure, in a session of its own.
pub(crate) fn measure(args: &Cli, subject: &Subject) -> Result<Run> {
    let engine = &subject.engine;
    let policy: Policy = args.decoding.overrides.policy(engine)?;
    let prompt = &subject.prompt;
    let stop = if args.generate.ignore_eos { &[] } else { engine.stop() };
    let request = Request { stop, ..Request::new(prompt, args.generate.max_tokens, &policy) };
    let warm_up = Request { max_new: request.max_new.min(1), ..request };
    engine.session()?.generate(&warm_up, &mut |_| Ok(Control::Continue))?;
    let generation = engine.session()?.generate(&request, &mut |_| Ok(Control::Continue))?;
    Ok(Run {
        generation,
        prompt_tokens: prompt.len(),
        policy: decoding::describe(&policy, stop, engine),
        is_random: subject.is_random,
        of_tokens: args.generate.prompt.is_none(),
        experts_of: engine.arch().mixture.as_ref().map(|mixture| mixture.experts),
    })
}

impl Run {
    fn ended_by(&self) -> &'static str {
        match self.generation.stop {
            StopReason::Stop(_) => "stop id",
            StopReason::Length => "length",
            StopReason::Cancelled => "cancelled",
        }
    }

    pub(crate) fn json(&self) -> Value {
        let generation = &self.generation;
        let Generation { timings, prefill_passes, cache, .. } = generation;
        json!({
            "prompt_tokens": self.prompt_tokens,
            "prefill_s": timings.prefill.as_secs_f64(),
            "prefill_passes": prefill_passes,
            "decode_s": timings.decode.as_secs_f64(),
            "nfe": self.generation.decode_passes(),
            "new_tokens": self.generation.new_tokens(),
            "tokens_per_forward": self.generation.tokens_per_forward(),
            "tokens_per_second": self.generation.tokens_per_second(),
            "experts": generation.experts,
            "ended_by": self.ended_by(),
            "cache": cache.name(),
            "approximate": cache.is_approximate(),
            "decoding": self.policy,
        })
    }

    /// How many experts the passes read, if the model has any.
    fn experts_text(&self) -> Option<String> {
        let experts = &self.generation.experts;
        let of = self.experts_of.filter(|_| !experts.is_empty())?;
        let mean = experts.iter().sum::<f64>() / experts.len() as f64;
        let (least, most) = experts.iter().fold((f64::MAX, 0.0f64), |(a, b), &x| (a.min(x), b.max(x)));
        let blocks = experts.len();
        Some(format!(
            "experts      {mean:.1} of {of} read by a block in a forward pass, on average ({least:.1} to {most:.1} by block, {blocks} blocks)\n"
        ))
    }

    /// Lines for people.
    pub(crate) fn text(&self) -> String {
        let generation = &self.generation;
        let (prefill, decode) = (generation.timings.prefill, generation.timings.decode);
        let passes = self.generation.decode_passes();
        let mut text = format!(
            "prefill      {} tokens in {:.3} s, {} forward passes\n\
             decode       {:.3} s, {passes} forward passes, {:.1} ms each\n\
             tokens       {} new ones up to the stop ({}), {:.2} per forward pass, {:.2} per second\n\
             cache        {} ({})\n",
            self.prompt_tokens,
            prefill.as_secs_f64(),
            generation.prefill_passes,
            decode.as_secs_f64(),
            decode.as_secs_f64() * 1e3 / passes.max(1) as f64,
            generation.new_tokens(),
            self.ended_by(),
            generation.tokens_per_forward(),
            generation.tokens_per_second(),
            generation.cache.name(),
            if generation.cache.is_approximate() { "approximate" } else { "exact" },
        );
        if let Some(experts) = self.experts_text() {
            text += &experts;
        }
        if self.of_tokens && !self.is_random {
            text += "note         the prompt is random tokens: what a trained model reveals in a forward pass after them says little;\n\
                     \x20            --prompt TEXT asks it something\n";
        }
        if self.is_random {
            text += "note         random weights are never sure of a token: what they reveal in a forward pass, and where\n\
                     \x20            they stop, says nothing about the trained model; the time of a forward pass does\n";
        }
        text
    }
}
