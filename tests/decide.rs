//! Decisions: what is read is what a plain pass says, whatever else is asked, and what cannot be decided is refused by name.
#![cfg(all(feature = "tokenizers", feature = "chat"))]

#[path = "fixture/mod.rs"]
mod fixture;

use diffulex::cache::{Attention, Visible};
use diffulex::engine::{Event, Limits, OPEN, Place, Reader};
use diffulex::model::{Alignment, Probe};
use diffulex::sampler::log_probabilities;
use diffulex::tensor::TokenId;
use diffulex::text_model::decide::{Decision, Kind, MAX_LABELS, Prepared, Question, Verdict};
use diffulex::text_model::{Answer, Batch, Setup};
use diffulex::{Control, Engine, Model, Policy};
use fixture::{MODELS, golden, root};

fn open(name: &str) -> Model {
    let path = if name.starts_with("demo/") { root().join(name) } else { golden(name) };
    let context = if name.starts_with("nemotron") { 256 } else { 512 };
    Model::open_with(&path, Engine::builder().threads(1).context(context)).unwrap()
}

/// Ids that make no sense, as long as this.
fn ids(len: usize, seed: u32) -> Vec<TokenId> {
    (0..len as u32).map(|i| (i * 7 + seed * 31 + i * i % 11) % 97).collect()
}

/// The same by a pass over everything from the first position on.
fn plain(model: &Model, place: &Place<'_>) -> Vec<f64> {
    let (engine, arch) = (&model.engine, model.engine.arch());
    let mut ids = [place.prompt, place.rest].concat();
    let (len, mask) = (ids.len(), engine.mask().unwrap());
    let (attention, row) = match (arch.attention, arch.alignment) {
        (_, Alignment::Seeded) => (Attention::CAUSAL, len - 1),
        (attention, Alignment::Shifted) => (attention, len - 1),
        (attention, Alignment::Own) => (attention, len),
    };
    let end = match attention {
        Attention::Bidirectional => len + OPEN,
        Attention::BlockCausal { block } => (row / block + 1) * block,
    };
    ids.resize(end, mask);
    let mut session = engine.session().unwrap();
    let visible = Visible::by_rule(attention, 0..end, 0, end);
    session.forward(&ids, 0, &visible, &mut Probe::none()).unwrap();
    let mut logits = session.logits(&[row], &mut Probe::none()).data().to_vec();
    let tokenizer = model.tokenizer().unwrap();
    let unknown =
        tokenizer.holes().iter().copied().chain(tokenizer.size() as TokenId..logits.len() as TokenId);
    unknown.chain([mask]).for_each(|id| logits[id as usize] = f32::NEG_INFINITY);
    log_probabilities(engine.kernels(), &logits, place.tokens).unwrap()
}

fn bits(read: &[Vec<f64>]) -> Vec<Vec<u64>> {
    read.iter().map(|logs| logs.iter().map(|log| log.to_bits()).collect()).collect()
}

#[test]
fn what_is_read_is_what_a_plain_pass_says_in_every_family() {
    let tokens: Vec<TokenId> = (3..40).collect();
    for name in MODELS.into_iter().chain(["demo/sdar", "demo/llada"]) {
        let model = open(name);
        let policy = model.engine.default_policy();
        let prompts = [ids(130, 1), ids(11, 2)];
        let rests = [ids(0, 3), ids(1, 3), ids(3, 3)];
        let each = prompts.iter().flat_map(|prompt| rests.iter().map(move |rest| (prompt, rest)));
        let places: Vec<_> = each.map(|(prompt, rest)| Place { prompt, rest, tokens: &tokens }).collect();
        let mut reader = Reader::new(&model.engine).unwrap();
        let together = bits(&reader.read(&policy, &places).unwrap());
        let expected: Vec<_> = places.iter().map(|place| plain(&model, place)).collect();
        assert_eq!(together, bits(&expected), "{name}: all at once");
        let again = bits(&reader.read(&policy, &places).unwrap());
        assert_eq!(again, together, "{name}: with what is in memory");
        for (place, expected) in places.iter().zip(&together).skip(3) {
            let mut alone = Reader::new(&model.engine).unwrap();
            assert_eq!(&bits(&alone.read(&policy, &[*place]).unwrap())[0], expected, "{name}: alone");
        }
    }
}

#[test]
fn a_prompt_is_computed_once() {
    let model = open("demo/sdar");
    let (policy, mut reader) = (model.engine.default_policy(), Reader::new(&model.engine).unwrap());
    let (prompt, rests) = (ids(200, 1), [ids(1, 2), ids(2, 5), ids(3, 7)]);
    let places: Vec<_> = rests.iter().map(|rest| Place { prompt: &prompt, rest, tokens: &[5] }).collect();
    reader.read(&policy, &places).unwrap();
    assert_eq!(reader.passes(), 2, "the prompt, and all places");
    reader.read(&policy, &places).unwrap();
    assert_eq!(reader.passes(), 3, "all places");
}

fn question(name: &str, kind: Kind) -> Question {
    Question { name: name.into(), ask: None, kind, lead: None }
}

fn options(options: &[&str]) -> Kind {
    Kind::Options(options.iter().map(|&option| option.into()).collect())
}

fn decision(state: &str, questions: Vec<Question>) -> Decision {
    Decision { state: state.into(), questions, prompt: None, again: false }
}

/// A question that the demo models were trained on.
fn known(state: &str, lead: &str, kind: Kind) -> Decision {
    let question = Question { lead: Some(lead.into()), ..question("q", kind) };
    Decision { prompt: Some("{state}".into()), ..decision(state, vec![question]) }
}

const COLORS: [&str; 4] = ["red", "blue", "white", "golden"];

fn decide(model: &Model, decisions: &[Decision]) -> Vec<Vec<Verdict>> {
    let prepared: Vec<Prepared> = decisions.iter().map(|own| model.prepare(own).unwrap()).collect();
    let mut reader = Reader::new(&model.engine).unwrap();
    model.decide(&mut reader, &model.engine.default_policy(), &prepared).unwrap()
}

#[test]
fn the_demos_decide_what_they_know() {
    for name in ["demo/sdar", "demo/llada"] {
        let model = open(name);
        let color = known("Mia has a red kite. What color is the kite?", "The kite is ", options(&COLORS));
        let sum = known("What is 27 + 45?", "27 + 45 = ", Kind::Score { min: 0, max: 198 });
        let [color, sum] = decide(&model, &[color, sum]).map_first();
        assert_eq!((color.best, color.labels[color.best].as_str(), color.tokens), (0, "red", 1), "{name}");
        assert_eq!((sum.best, sum.tokens), (72, 3), "{name}");
        for verdict in [&color, &sum] {
            let total: f64 = verdict.probabilities.iter().sum();
            assert!((total - 1.0).abs() < 1e-12 && verdict.mass > 0.9 && verdict.mass <= 1.0, "{verdict:?}");
        }
        assert!((sum.mean().unwrap() - 72.0).abs() < 1.0 && color.mean().is_none(), "{name}");
    }
}

trait First {
    fn map_first(self) -> [Verdict; 2];
}

impl First for Vec<Vec<Verdict>> {
    /// The first verdict of each of two decisions.
    fn map_first(self) -> [Verdict; 2] {
        let all: Vec<_> = self.into_iter().map(|own| own[0].clone()).collect();
        all.try_into().expect("two decisions")
    }
}

#[test]
fn several_tokens_are_the_chain_of_their_probabilities() {
    let model = open("demo/sdar");
    let own = known("What is 27 + 45?", "27 + 45 = ", Kind::Score { min: 6, max: 78 });
    let verdict = decide(&model, std::slice::from_ref(&own))[0][0].clone();
    // Every digit is a token, after a space that all labels begin with.
    let prompt = model.prompt("What is 27 + 45?").unwrap().ids;
    let token = |text: &str| model.tokenizer().unwrap().encode(text).unwrap();
    let after = |text: &str, next: &[TokenId]| {
        plain(&model, &Place { prompt: &prompt, rest: &token(text), tokens: next })
    };
    let digits: Vec<TokenId> = (0..10).map(|digit| *token(&format!("= {digit}")).last().unwrap()).collect();
    let lead = "27 + 45 = 7";
    let common = token(lead)[..token(lead).len() - 1].to_vec();
    let first = plain(&model, &Place { prompt: &prompt, rest: &common, tokens: &digits });
    let second = after(lead, &digits[..9]);
    let raw = |label: usize| match label {
        // 79 is not among the labels, so its share counts for 7.
        7 => first[7] + (1.0 - second.iter().map(|log| log.exp()).sum::<f64>()).ln(),
        70.. => first[7] + second[label - 70],
        8 | 9 => first[label],
        _ => f64::NAN,
    };
    for (a, b) in [(72, 7), (70, 72), (8, 72), (9, 78)] {
        let [pa, pb] = [a, b].map(|label| verdict.probabilities[label - 6].ln());
        assert!((pa - pb - (raw(a) - raw(b))).abs() < 1e-9, "{a} {b}: {pa} {pb}");
    }
}

#[test]
fn decisions_do_not_depend_on_their_neighbours() {
    for name in ["demo/sdar", "dream-f32", "fastdllm2-f32", "nemotron-diffusion-f32"] {
        let model = open(name);
        let mut all = vec![
            decision(
                "The lamp is broken.",
                vec![
                    question("mood", options(&["angry", "very angry", "glad"])),
                    question("refund", Kind::Boolean),
                    question("urgency", Kind::Score { min: -2, max: 11 }),
                ],
            ),
            known("Mia has a red kite. What color is the kite?", "The kite is ", options(&COLORS)),
            decision(&"A long story. ".repeat(9), vec![question("end", options(&["a", "b", "ab"]))]),
        ];
        all[0].again = true;
        let together = decide(&model, &all);
        for (own, expected) in all.iter().zip(&together) {
            assert_eq!(&decide(&model, std::slice::from_ref(own))[0], expected, "{name}");
        }
        let first = Decision { again: false, ..all[0].clone() };
        let probabilities =
            |verdicts: &[Verdict]| verdicts.iter().map(|v| v.probabilities.clone()).collect::<Vec<_>>();
        let once = &decide(&model, &[first])[0];
        assert_ne!(
            probabilities(once),
            probabilities(&together[0]),
            "{name}: the answers of others are read"
        );
    }
}

/// Decisions and answers in common passes.
fn together(batch: &mut Batch<'_>) -> (Vec<(usize, Vec<Verdict>)>, Vec<Answer>) {
    let (mut decided, mut answers) = (Vec::new(), Vec::new());
    while !batch.scheduler().is_idle() {
        let step = batch.step(&mut |_, _, _| Ok(Control::Continue));
        answers.extend(step.into_iter().map(|own| (own.id, own.result.unwrap())));
        decided.extend(batch.take_decided().into_iter().map(|own| (own.id, own.passes, own.result.unwrap())));
    }
    decided.sort_by_key(|(id, ..)| *id);
    answers.sort_by_key(|(id, _)| *id);
    let decided = decided.into_iter().map(|(_, passes, verdicts)| (passes, verdicts)).collect();
    (decided, answers.into_iter().map(|(_, answer)| answer).collect())
}

fn setup(policy: &Policy) -> Setup {
    let (stop_ids, stop, grammar) = (Vec::new(), Vec::new(), None);
    let policy = policy.clone();
    Setup { policy, stop_ids, stop, seed: 1, grammar, alternatives: 0, max_tokens: Some(40) }
}

#[test]
fn decisions_and_answers_in_common_passes_are_those_alone() {
    for name in ["demo/sdar", "dream-f32", "fastdllm2-f32", "nemotron-diffusion-f32"] {
        let model = open(name);
        let policy = model.engine.default_policy();
        let mood = question("mood", options(&["angry", "very angry", "glad"]));
        let urgency = question("urgency", Kind::Score { min: -2, max: 21 });
        let mut all = vec![
            decision("The lamp is broken.", vec![mood.clone(), urgency.clone()]),
            decision(&"A long story. ".repeat(6), vec![urgency]),
            decision("The lamp is broken.", vec![mood, question("refund", Kind::Boolean)]),
        ];
        all[2].again = true;
        let alone = decide(&model, &all);
        let prompt = model.prompt_with("The lamp", None, true).unwrap();
        let mut session = model.engine.session().unwrap();
        let mut go_on = |_: &Event<'_>, _: &str| Ok(Control::Continue);
        let answer = model.answer(&mut session, &prompt, &setup(&policy), &mut go_on).unwrap();
        // With room for all, and with so little that they wait for each other.
        let room = Limits::for_engine(&model.engine, 1);
        let small = Limits { sequences: 3, rows: 40, prefill_rows: 32, ..room };
        for limits in [Limits::for_engine(&model.engine, 6), small] {
            let mut batch = model.batch(limits).unwrap();
            for own in &all {
                batch.decide(model.prepare(own).unwrap(), policy.clone()).unwrap();
                batch.add(prompt.clone(), setup(&policy)).unwrap();
            }
            let free = batch.scheduler().cache().available();
            let (decided, answers) = together(&mut batch);
            let verdicts: Vec<_> = decided.iter().map(|(_, verdicts)| verdicts.clone()).collect();
            assert_eq!(verdicts, alone, "{name} {limits:?}");
            assert!(answers.len() == 3 && answers.iter().all(|own| own.text == answer.text), "{name}");
            assert_eq!(batch.scheduler().cache().available(), free, "{name}: all memory is given back");
        }
    }
}

#[test]
fn a_decision_that_is_forgotten_gives_its_memory_back() {
    let model = open("demo/sdar");
    let policy = model.engine.default_policy();
    let limits = Limits { prefill_rows: 32, ..Limits::for_engine(&model.engine, 1) };
    let mut batch = model.batch(limits).unwrap();
    let free = batch.scheduler().cache().available();
    let own = decision(&"word ".repeat(90), vec![question("q", Kind::Score { min: 0, max: 99 })]);
    let prepared = model.prepare(&own).unwrap();
    let first = batch.decide(prepared.clone(), policy.clone()).unwrap();
    let second = batch.decide(prepared, policy).unwrap();
    assert!(batch.step(&mut |_, _, _| Ok(Control::Continue)).is_empty());
    assert!(batch.scheduler().cache().available() < free, "the prompt is being read");
    batch.cancel(first);
    batch.cancel(second);
    assert!(batch.scheduler().is_idle() && batch.take_decided().is_empty());
    assert_eq!(batch.scheduler().cache().available(), free);
}

#[test]
fn control_tokens_in_states_and_answers_are_text() {
    let model = open("demo/sdar");
    let control = &model.tokenizer().unwrap().control()[0].0;
    let own = decision(control, vec![question("q", options(&[control, "other"]))]);
    assert!(model.prepare(&own).is_ok());
    // What is in a state is not replaced.
    let [plain, tricky] = ["x", "{questions}"].map(|state| {
        let own = decision(state, vec![question("q", Kind::Boolean)]);
        model.prepare(&own).unwrap().prompt().len()
    });
    assert!(tricky < plain + 20, "{plain} {tricky}");
}

#[test]
fn what_cannot_be_decided_is_refused_by_name() {
    let model = open("demo/sdar");
    let refused = |own: &Decision| model.prepare(own).map(|_| ()).unwrap_err().to_string();
    let many: Vec<String> = (0..=MAX_LABELS).map(|i| i.to_string()).collect();
    for (kind, words) in [
        (options(&[]), "`q`: 0 options given, 2 to 1000 expected"),
        (options(&["a"]), "`q`: 1 options given"),
        (Kind::Options(many), "`q`: 1001 options given"),
        (options(&["a", "b", "a"]), "`q`: option `a` is given twice"),
        (options(&["a", ""]), "`q`: option 2 of 2 is empty"),
        (options(&[" \n", "a"]), "`q`: option 1 of 2 is empty"),
        (Kind::Score { min: 2, max: 1 }, "`q`: score from 2 to 1 given"),
        (Kind::Score { min: 2, max: 2 }, "`q`: score from 2 to 2 given"),
        (Kind::Score { min: 0, max: 1000 }, "at most 1000 numbers expected"),
        (Kind::Score { min: i64::MIN, max: i64::MAX }, "at most 1000 numbers expected"),
    ] {
        let error = refused(&decision("x", vec![question("q", kind)]));
        assert!(error.contains(words), "{error}");
    }
    let boolean = |name: &str| question(name, Kind::Boolean);
    for (own, words) in [
        (decision("x", vec![]), "`questions`: 0 given, 1 to 256 expected"),
        (decision("x", (0..300).map(|i| boolean(&i.to_string())).collect()), "300 given"),
        (decision("x", vec![boolean("")]), "question 1 has an empty name"),
        (decision("x", vec![boolean("a"), boolean("a")]), "`a` is given twice"),
        (decision("", vec![boolean("a")]), "option `state`: it is empty"),
        (
            Decision { prompt: Some("no place".into()), ..decision("x", vec![boolean("a")]) },
            "option `prompt`: no `{state}` in it",
        ),
        (decision(&"word ".repeat(600), vec![boolean("a")]), "512 is the limit"),
        (decision("x", (0..200).map(|i| boolean(&format!("question {i}"))).collect()), "512 is the limit"),
    ] {
        let error = refused(&own);
        assert!(error.contains(words), "{error}");
    }
}

/// A tokenizer that reads letters without their case.
struct Blind(std::sync::Arc<dyn diffulex::text::Tokenizer>);

impl diffulex::text::Tokenizer for Blind {
    fn encode(&self, text: &str) -> diffulex::Result<Vec<TokenId>> {
        self.0.encode(&text.to_lowercase())
    }

    fn decode(&self, ids: &[TokenId], skip_special: bool) -> diffulex::Result<String> {
        self.0.decode(ids, skip_special)
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn holes(&self) -> &[TokenId] {
        self.0.holes()
    }

    fn id_of(&self, token: &str) -> Option<TokenId> {
        self.0.id_of(token)
    }
}

#[test]
fn answers_that_the_tokenizer_cannot_tell_apart_are_refused() {
    let mut model = open("demo/sdar");
    model.tokenizer = model.tokenizer.take().map(|tokenizer| std::sync::Arc::new(Blind(tokenizer)) as _);
    let error = model.prepare(&decision("x", vec![question("q", options(&["Red", "blue", "red"]))]));
    let error = error.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("`q`: the tokenizer cannot tell `Red` and `red` apart"), "{error}");
}
