//! Regular expressions and grammars; where an answer ends; what it costs; what else is in the batch.

use super::*;
use diffulex::engine::{Event, Request};

fn regex(pattern: &str) -> Form {
    Form::Regex(pattern.into())
}

#[test]
fn a_regular_expression_matches_the_whole_answer() {
    for name in MODELS {
        let subject = Subject::open(name);
        for seed in 0..4 {
            let (text, ended) = subject.text(&subject.setup(&regex("[a-c]{2,4}-(x|yz)é"), seed, 40));
            let (head, tail) = text.split_once('-').unwrap();
            assert!(ended && (2..=4).contains(&head.len()), "{name}: {text}");
            assert!(head.bytes().all(|byte| (b'a'..=b'c').contains(&byte)), "{name}: {text}");
            assert!(tail == "xé" || tail == "yzé", "{name}: {text}");
        }
    }
}

#[test]
fn a_grammar_in_larks_syntax() {
    let form = Form::Lark(
        "start: greeting \" \" name\ngreeting: \"hi\" | \"hello\"\nname: /[A-Z][a-z]{1,3}/".into(),
    );
    for name in ["demo/sdar", "tests/golden/fastdllm2-f32"] {
        let subject = Subject::open(name);
        let (text, ended) = subject.text(&subject.setup(&form, 5, 40));
        let (greeting, person) = text.split_once(' ').unwrap();
        assert!(ended && ["hi", "hello"].contains(&greeting), "{text}");
        assert!((2..=4).contains(&person.len()) && person.as_bytes()[0].is_ascii_uppercase(), "{text}");
    }
}

#[test]
fn what_is_forced_needs_no_pass() {
    for name in MODELS {
        let subject = Subject::open(name);
        let text = "There is only this one answer, whatever was asked.";
        let setup = subject.setup(&regex(&text.replace('.', "\\.")), 0, 80);
        let answer = subject.answer(&setup).unwrap();
        assert_eq!(answer.text, text, "{name}");
        assert!(matches!(answer.generation.stop, StopReason::Stop(_)));
        let (made, blocks) = (answer.generation.decode_passes(), answer.generation.canvas.len());
        // Models whose commits predict store their blocks; no pass denoises.
        assert!(made < answer.counted / 2, "{name}: {made} passes for {} tokens of {blocks}", answer.counted);
    }
}

#[test]
fn an_answer_that_finds_no_room_ends_by_its_length() {
    let subject = Subject::open("demo/sdar");
    let (text, ended) = subject.text(&subject.setup(&regex("[ab]{100}"), 0, 20));
    assert!(!ended && !text.is_empty() && text.bytes().all(|byte| b"ab".contains(&byte)), "{text}");
}

#[test]
fn every_policy_of_a_family_answers_within_the_grammar() {
    let sdar = ["sdar-static", "sdar-dynamic", "sdar-sequential"];
    let llada = ["llada-low-confidence", "llada-random"];
    for (name, policies) in [("demo/sdar", &sdar[..]), ("demo/llada", &llada[..])] {
        let subject = Subject::open(name);
        for strategy in policies {
            for changes in ["", "temperature=0", "temperature=1.5 steps=3", "temperature=0 cfg=1.5"] {
                let overrides: Result<diffulex::engine::Overrides, _> =
                    format!("{strategy} {changes}").parse();
                let policy = overrides.and_then(|overrides| overrides.policy(&subject.model.engine));
                let policy: Policy = policy.unwrap_or_else(|error| panic!("{strategy} {changes}: {error}"));
                let setup = Setup { policy, ..subject.setup(&regex("(12|34){3} [x-z]+!"), 2, 64) };
                let (text, ended) = subject.text(&setup);
                let (digits, rest) = text.split_at(6);
                assert!(digits.as_bytes().chunks(2).all(|pair| pair == b"12" || pair == b"34"), "{text}");
                let letters = rest.trim_end_matches('!');
                assert!(
                    letters.starts_with(' ') && letters[1..].bytes().all(|c| (b'x'..=b'z').contains(&c)),
                    "{text}"
                );
                assert!(!ended || rest.ends_with('!'), "{text}");
            }
        }
    }
}

#[test]
fn in_a_batch_an_answer_is_what_it_is_alone() {
    for name in MODELS {
        let subject = Subject::open(name);
        let forms = [regex("[0-9]{3,9}"), Form::JsonObject, regex("(yes|no), because [a-z ]{5,20}\\.")];
        let mut setups: Vec<Setup> =
            (0..6).map(|seed| subject.setup(&forms[seed as usize % 3], seed, 48)).collect();
        // Some without a grammar are among them.
        setups[4].grammar = None;
        let alone: Vec<String> = setups.iter().map(|setup| subject.answer(setup).unwrap().text).collect();
        let mut batch = subject.model.batch(Limits::for_engine(&subject.model.engine, 3)).unwrap();
        let prompt = subject.model.prompt_with("What is 27 + 45?", None, true).unwrap();
        let ids: Vec<_> =
            setups.iter().map(|setup| batch.add(prompt.clone(), setup.clone()).unwrap()).collect();
        let mut together = vec![String::new(); ids.len()];
        while batch.open() > 0 {
            for answered in batch.step(&mut |_, _, _| Ok(Control::Continue)) {
                let at = ids.iter().position(|id| *id == answered.id).unwrap();
                together[at] = answered.result.unwrap().text;
            }
        }
        assert_eq!(together, alone, "{name}");
    }
}

#[test]
fn tokens_are_told_from_the_left() {
    let subject = Subject::open("demo/llada");
    let prompt = subject.model.prompt_with("What is 27 + 45?", None, true).unwrap();
    let setup = subject.setup(&Form::JsonObject, 3, 64);
    let grammar = setup.grammar.clone().unwrap();
    let request = Request {
        stop: &setup.stop_ids,
        grammar: Some(&*grammar.0),
        ..Request::new(&prompt.ids, 64, &setup.policy)
    };
    let mut next = prompt.ids.len();
    let mut session = subject.model.engine.session().unwrap();
    session
        .generate(&request, &mut |event| {
            if let Event::Revealed { tokens, .. } = event {
                for token in tokens {
                    assert_eq!(token.pos, next, "no token before one that is missing");
                    next += 1;
                }
            }
            Ok(Control::Continue)
        })
        .unwrap();
    assert!(next > prompt.ids.len() + 2);
}

#[test]
fn what_no_grammar_can_bind_is_refused_before_any_work() {
    let subject = Subject::open("demo/llada");
    let model = &subject.model;
    let refuse = |text: &str, change: &dyn Fn(&mut Setup)| {
        let mut setup = subject.setup(&regex("a+"), 0, 8);
        change(&mut setup);
        let prompt = model.prompt_with(text, None, true).unwrap();
        let mut session = model.engine.session().unwrap();
        let passes = &mut |_: &Event<'_>, _: &str| panic!("a pass was made");
        model.answer(&mut session, &prompt, &setup, passes).err().unwrap().to_string()
    };
    assert!(refuse("a <mask:2> b", &|_| {}).contains("gaps"));
    assert!(refuse("a", &|setup| setup.stop_ids.clear()).contains("stop id"));
    assert!(refuse("a", &|setup| setup.stop.push("b".into())).contains("ends when it is complete"));
    for (pattern, form) in [("(", regex("(")), ("start", Form::Lark("start: nothing".into()))] {
        let error = subject.grammars.compile(&form).unwrap_err().to_string();
        assert!(error.contains(pattern), "{error}");
    }
}
