//! [`Server`]: what every request needs, and how a prompt gets its answer.

use crate::bound::{Wish, Words};
use crate::error::ApiError;
use crate::queue::{Job, Queue, Refused, Task};
use crate::update::{Outcome, Update};
use axum::http::StatusCode;
use diffulex::cache::Attention;
use diffulex::engine::Overrides;
use diffulex::engine::options::OPTIONS;
use diffulex::sampler::Score;
use diffulex::text_model::{Prompt, Setup};
use diffulex::{Model, Result};
use metrics::counter;
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::Arc;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The most new tokens where neither the request nor the operator gives a number. A bidirectional model computes them all in every
/// pass; a block-causal one only those that it generates.
const MAX_TOKENS: [usize; 2] = [1024, 256];

/// What the operator decided.
pub(crate) struct Config {
    /// What the model is called in requests and answers.
    pub(crate) name: String,
    /// How to decode unless a request says otherwise.
    pub(crate) defaults: Overrides,
    pub(crate) max_tokens: Option<usize>,
    /// How long a request may take.
    pub(crate) timeout: Option<Duration>,
    /// Sequences in a pass.
    pub(crate) parallel: usize,
    /// Whether prompts are written to the log.
    pub(crate) log_prompts: bool,
}

/// The server.
pub(crate) struct Server {
    pub(crate) model: Arc<Model>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) config: Config,
    pub(crate) keys: crate::keys::Keys,
    pub(crate) words: Words,
    pub(crate) metrics: PrometheusHandle,
    /// When the server was started.
    pub(crate) started: OffsetDateTime,
}

/// What a request says about decoding.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) overrides: Overrides,
    pub(crate) seed: u64,
    pub(crate) stop: Vec<String>,
    pub(crate) max_tokens: Option<usize>,
    pub(crate) grammar: Option<Wish>,
}

/// Puts what is given in `over` in place of what is in `base`.
pub(crate) fn merge(base: &Overrides, over: &Overrides) -> Result<Overrides> {
    let mut merged = base.clone();
    for option in &OPTIONS {
        if let Some(value) = option.get(over) {
            // If options exclude each other, that of the request counts.
            let rivals =
                OPTIONS.iter().filter(|other| !other.group.is_empty() && other.group == option.group);
            for rival in rivals {
                rival.set(&mut merged, None)?;
            }
            option.set(&mut merged, Some(&value))?;
        }
    }
    Ok(merged)
}

impl Server {
    /// How a prompt is decoded.
    ///
    /// # Errors
    /// Settings that make no sense, and a prompt that leaves no room in the context.
    pub(crate) fn setup(&self, prompt: &Prompt, wishes: &Wishes) -> std::result::Result<Setup, ApiError> {
        let engine = &self.model.engine;
        let policy = merge(&self.config.defaults, &wishes.overrides)?.policy(engine)?;
        engine.check(&policy)?;
        let fills_gaps = self.model.fills_gaps(prompt)?;
        let context = engine.context();
        let room = context.saturating_sub(prompt.ids.len());
        let default = match engine.arch().attention {
            Attention::BlockCausal { .. } => MAX_TOKENS[0],
            Attention::Bidirectional => MAX_TOKENS[1],
        };
        let default = self.config.max_tokens.unwrap_or(default).min(room);
        let asked = wishes.max_tokens.unwrap_or(if fills_gaps { 0 } else { default });
        if asked > room || (room == 0 && !fills_gaps) {
            let message = format!(
                "the prompt has {} tokens and {asked} new ones are requested, but the context has {context} positions",
                prompt.ids.len()
            );
            let code = Some("context_length_exceeded");
            return Err(ApiError { code, ..ApiError::field("max_tokens", message) });
        }
        let (stop_ids, stop) = (engine.stop().to_vec(), wishes.stop.clone());
        let grammar = match &wishes.grammar {
            Some(wish) => Some(self.words.bind(&self.model, wish)?),
            None => None,
        };
        let (seed, alternatives) = (wishes.seed, 0);
        Ok(Setup { policy, stop_ids, stop, seed, grammar, alternatives, max_tokens: Some(asked) })
    }

    /// Whether the scores of a policy are probabilities.
    pub(crate) fn check_probabilities(
        &self,
        setup: &Setup,
        param: &str,
    ) -> std::result::Result<(), ApiError> {
        if setup.policy.score == Score::Probability {
            return Ok(());
        }
        let message = format!(
            "the policy measures its confidence as {}, probabilities need `confidence` to be {}",
            setup.policy.score.name(),
            Score::Probability.name()
        );
        Err(ApiError::unsupported(param, message))
    }

    /// Queues answers; all of them or none.
    ///
    /// # Errors
    /// If the queue is full, or the server is shutting down.
    pub(crate) fn start(
        &self,
        asked: Vec<(Prompt, Setup)>,
        owner: usize,
        wants_steps: bool,
    ) -> std::result::Result<Vec<Updates>, ApiError> {
        let count = asked.len() as u64;
        let tasks = asked.into_iter().map(|asked| Task::Answer(Box::new(asked)));
        let outcome = self.submit(tasks, owner, Instant::now(), wants_steps);
        let refused = if outcome.is_err() { "yes" } else { "no" };
        counter!("diffulex_requests_total", "refused" => refused).increment(count);
        Ok(outcome?)
    }

    /// Queues tasks of a request that arrived then; all of them or none.
    ///
    /// # Errors
    /// If the queue is full, or the server is shutting down.
    pub(crate) fn submit(
        &self,
        tasks: impl IntoIterator<Item = Task>,
        owner: usize,
        arrived: Instant,
        wants_steps: bool,
    ) -> std::result::Result<Vec<Updates>, Refused> {
        let deadline = self.config.timeout.map(|timeout| arrived + timeout);
        let job = |task| {
            let (updates, receiver) = unbounded_channel();
            (Job { task, owner, arrived, deadline, wants_steps, updates }, Updates(receiver))
        };
        let (jobs, receivers): (Vec<_>, Vec<_>) = tasks.into_iter().map(job).unzip();
        self.queue.submit(jobs)?;
        Ok(receivers)
    }

    /// Writes a prompt to the log, if the operator wants that.
    pub(crate) fn log_prompt(&self, prompt: &Prompt) {
        if self.config.log_prompts {
            let text = self.model.tokenizer().and_then(|tokenizer| tokenizer.decode(&prompt.ids, false));
            tracing::info!(prompt = text.unwrap_or_default(), "prompt");
        }
    }

    /// Requires that the requested model is the one that is served.
    ///
    /// # Errors
    /// 404 with both names.
    pub(crate) fn check_model(&self, asked: Option<&str>) -> std::result::Result<(), ApiError> {
        // Clients of Ollama add a tag.
        let name = &self.config.name;
        match asked.map(|asked| asked.strip_suffix(":latest").unwrap_or(asked)) {
            None | Some("") => Ok(()),
            Some(asked) if asked == name => Ok(()),
            Some(asked) => Err(ApiError {
                param: Some("model".into()),
                code: Some("model_not_found"),
                ..ApiError::new(StatusCode::NOT_FOUND, format!("`{asked}` is not served here, `{name}` is"))
            }),
        }
    }
}

/// What happens to one job. Dropping it cancels the job.
pub(crate) struct Updates(UnboundedReceiver<Update>);

impl Updates {
    /// The next update; an error if the engine is gone.
    pub(crate) async fn next(&mut self) -> Update {
        match self.0.recv().await {
            Some(update) => update,
            None => Update::Gone,
        }
    }

    /// The finished answer.
    ///
    /// # Errors
    /// What went wrong.
    pub(crate) async fn whole(mut self) -> std::result::Result<Box<Outcome>, ApiError> {
        loop {
            match self.next().await {
                Update::Done(outcome) => return Ok(outcome),
                Update::Failed(error) => return Err(ApiError::from(&*error)),
                Update::TimedOut => return Err(ApiError::timed_out()),
                Update::Gone => return Err(ApiError::gone()),
                Update::Pass { .. }
                | Update::Revealed(..)
                | Update::Block(_)
                | Update::Text(_)
                | Update::Decided(..) => {}
            }
        }
    }
}
