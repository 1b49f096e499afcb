//! The few lines of the README decode what `diffulex-run` decodes on the same directory.

use crate::MODELS;
use crate::fixture::{golden, root};
use crate::program::run;
use diffulex::engine::Overrides;
use diffulex::text_model::TextStream;
use diffulex::{Control, Engine, Event, Model, Request};
use std::path::{Path, PathBuf};

const QUESTION: &str = "What is the capital of the country?";

fn directories() -> Vec<PathBuf> {
    let demos = ["sdar", "llada"].map(|name| root().join("demo").join(name));
    MODELS.iter().map(|name| golden(name)).chain(demos).collect()
}

/// What the program prints, and its JSON.
fn program(dir: &Path, more: &[&str]) -> (String, serde_json::Value) {
    let weights = dir.display().to_string();
    let arguments = [&["-w", &weights, "--prompt", QUESTION, "--quiet"], more].concat();
    let text = run(&arguments).text().to_string();
    (text, run(&[&arguments[..], &["--json"]].concat()).json())
}

#[test]
fn a_model_answers_as_the_program_does() {
    for dir in directories() {
        let model = Model::open(&dir).unwrap();
        let answer = model.ask(&model.prompt(QUESTION).unwrap()).unwrap();
        let (printed, json) = program(&dir, &[]);
        let name = dir.display();
        assert_eq!(printed, format!("{}\n", answer.text), "{name}");
        assert_eq!(json["new_tokens"], answer.counted, "{name}");
        assert_eq!(json["finish_reason"], answer.reason(), "{name}");
        assert_eq!(json["nfe"], answer.generation.nfe, "{name}");
    }
}

#[test]
fn the_default_policy_is_the_one_in_force() {
    for dir in directories() {
        let engine = Engine::open(&dir);
        // The configurations of Fast-dLLM v2 name no mask, and an engine alone reads no tokenizer.
        let Ok(engine) = engine else { panic!("{}", dir.display()) };
        assert_eq!(
            engine.default_policy(),
            Overrides::default().policy(&engine).unwrap(),
            "{}",
            dir.display()
        );
        let (_, json) = program(&dir, &["--max-tokens", "4"]);
        let temperature = json["decoding"]["temperature"].as_f64().unwrap();
        assert_eq!(temperature as f32, engine.default_policy().draw.temperature, "{}", dir.display());
    }
}

#[test]
fn a_stream_that_is_fed_by_hand_has_the_text_of_the_answer() {
    for dir in directories() {
        let model = Model::open(&dir).unwrap();
        let prompt = model.prompt(QUESTION).unwrap();
        let whole = model.ask(&prompt).unwrap().text;
        // A stop string from the middle of the text, and none.
        let middle: String = whole.chars().skip(whole.chars().count() / 2).take(3).collect();
        for stop in [Vec::new(), vec![middle]] {
            let setup = diffulex::text_model::Setup { stop: stop.clone(), ..model.setup() };
            let request = Request { stop: &setup.stop_ids, ..Request::new(&prompt.ids, 128, &setup.policy) };
            let mut stream = TextStream::new(model.tokenizer.as_deref(), &setup, 128);
            let mut pieces = String::new();
            let mut session = model.engine.session().unwrap();
            let generation = session.generate(&request, &mut |event| {
                if let Event::Revealed { canvas, .. } = event {
                    pieces += &stream.push(canvas)?;
                }
                Ok(if stream.stopped() { Control::Stop } else { Control::Continue })
            });
            pieces += &stream.finish(&generation.unwrap()).unwrap();
            assert_eq!(pieces, stream.text(), "pieces make up the text");
            match stop.first().filter(|stop| !stop.is_empty()) {
                None => assert_eq!(pieces, whole, "{}", dir.display()),
                Some(stop) => assert_eq!(Some(pieces.as_str()), whole.split(stop.as_str()).next()),
            }
        }
    }
}
