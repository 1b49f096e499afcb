//! Answers bound by a grammar are valid: every one that ends by itself, from any model, with any policy.
#![cfg(all(feature = "grammar", feature = "chat"))]

mod bounds;
mod schemas;

use diffulex::engine::{Limits, StopReason};
use diffulex::text::grammar::{Form, Grammars};
use diffulex::text_model::{Answer, Bound, Setup};
use diffulex::{Control, Engine, Model, Policy};
use std::path::Path;
use std::sync::Arc;

/// Trained models, and models of random weights whose logits of the next token come out of the row before.
const MODELS: [&str; 5] = [
    "demo/sdar",
    "demo/llada",
    "tests/golden/sdar-f32",
    "tests/golden/dream-f32",
    "tests/golden/fastdllm2-f32",
];

/// A model, and grammars over its tokens.
struct Subject {
    name: &'static str,
    model: Model,
    grammars: Grammars,
}

impl Subject {
    fn open(name: &'static str) -> Self {
        let builder = Engine::builder().threads(1).context(512);
        let model = Model::open_with(Path::new(name), builder).unwrap();
        let grammars = Grammars::new(Arc::clone(model.tokenizer.as_ref().unwrap())).unwrap();
        Self { name, model, grammars }
    }

    fn bound(&self, form: &Form) -> Bound {
        let grammar = self.grammars.compile(form);
        Bound(Arc::new(grammar.unwrap_or_else(|error| panic!("{form:?}: {error}"))))
    }

    /// How this model decodes, at temperature 1, so that seeds differ.
    fn setup(&self, form: &Form, seed: u64, max_tokens: usize) -> Setup {
        let mut setup = self.model.setup();
        setup.policy.draw.temperature = 1.0;
        if setup.stop_ids.is_empty() {
            setup.stop_ids.push(self.model.tokenizer().unwrap().id_of("<|endoftext|>").unwrap());
        }
        Setup { grammar: Some(self.bound(form)), seed, max_tokens: Some(max_tokens), ..setup }
    }

    fn answer(&self, setup: &Setup) -> diffulex::Result<Answer> {
        let prompt = self.model.prompt_with("What is 27 + 45?", None, true)?;
        let mut session = self.model.engine.session()?;
        self.model.answer(&mut session, &prompt, setup, &mut |_, _| Ok(Control::Continue))
    }

    /// The answer, and whether it came to its end.
    fn text(&self, setup: &Setup) -> (String, bool) {
        let answer = self.answer(setup).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        (answer.text, matches!(answer.generation.stop, StopReason::Stop(_)))
    }
}
