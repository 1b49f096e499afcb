//! Many generations in one process: the same bits every time, and memory that does not grow.
//!
//! `DIFFULEX_SOAK=N` repeats everything N times; the default takes seconds.

#[path = "fixture/counting.rs"]
mod counting;
#[path = "fixture/mod.rs"]
mod fixture;

use counting::in_use;
use diffulex::sampler::Rng;
use diffulex::tensor::TokenId;
use diffulex::{Control, Engine, Request, Session};
use std::collections::HashMap;
use std::sync::Arc;

const FAMILIES: [&str; 4] = ["sdar-f32", "fastdllm2-f32", "llada-f32", "dream-f32"];

fn repeats() -> usize {
    std::env::var("DIFFULEX_SOAK").map_or(1, |text| text.parse().expect("DIFFULEX_SOAK is a number"))
}

fn engine(name: &str) -> Arc<Engine> {
    // The config of Fast-dLLM v2 names no mask.
    let builder = Engine::builder().threads(2).context(256).tokenizer_mask(Some(333));
    Arc::new(builder.open(fixture::golden(name)).unwrap())
}

/// The `i`-th of many different requests: its prompt and how many tokens it requests.
fn request(i: usize, vocab: usize, mask: TokenId) -> (Vec<TokenId>, usize) {
    let mut draws = Rng::new(i as u64).stream(0, 0);
    let mut below = |limit: usize| (draws.uniform() * limit as f64) as usize;
    let (len, new) = (1 + below(60), 1 + below(40));
    let id = |id: usize| if id as TokenId == mask { 1 } else { id as TokenId };
    ((0..len).map(|_| id(below(vocab))).collect(), new)
}

/// Generates; every third generation is cut short by its caller.
fn generate(session: &mut Session<'_>, i: usize) -> Vec<TokenId> {
    let engine = session.engine();
    let (vocab, mask) = (engine.arch().dims.vocab, engine.mask().unwrap());
    let (policy, (prompt, new)) = (engine.default_policy(), request(i, vocab, mask));
    let request = Request { seed: i as u64, ..Request::new(&prompt, new, &policy) };
    let mut events = 0;
    let mut control = |_: diffulex::Event<'_>| {
        events += 1;
        Ok(if i.is_multiple_of(3) && events > 5 { Control::Stop } else { Control::Continue })
    };
    session.generate(&request, &mut control).unwrap().canvas
}

/// One test, because others would allocate at the same time.
#[test]
fn what_is_repeated_is_the_same_and_takes_no_more_memory() {
    generations();
    engines();
}

/// Sessions that live long and sessions of one request.
fn generations() {
    const REQUESTS: usize = 24;
    let repeats = repeats();
    let engines = FAMILIES.map(engine);
    // The first round brings every buffer to its size.
    let mut sessions = engines.each_ref().map(|engine| engine.shared_session().unwrap());
    let mut expected = HashMap::new();
    for (family, session) in sessions.iter_mut().enumerate() {
        for i in 0..REQUESTS {
            expected.insert((family, i), generate(session, i));
        }
    }
    let (before, mut calls) = (in_use(), 0);
    for round in 0..3 * repeats {
        for (family, kept) in sessions.iter_mut().enumerate() {
            // One session for a long time, and one for each request, in another order every round.
            for step in 0..REQUESTS {
                let i = (step * 7 + round) % REQUESTS;
                assert_eq!(generate(kept, i), expected[&(family, i)], "{family}, request {i}, round {round}");
                let mut fresh = engines[family].shared_session().unwrap();
                assert_eq!(generate(&mut fresh, i), expected[&(family, i)], "{family}, request {i}, fresh");
                calls += 2;
            }
        }
        let grown = in_use() as isize - before as isize;
        assert!(grown.abs() <= 4096, "{grown} bytes more after {calls} generations");
    }
    println!("{calls} generations, {} bytes more than before", in_use() as isize - before as isize);
}

/// Engines with their threads, opened and closed.
fn engines() {
    let open = |name: &str| generate(&mut engine(name).shared_session().unwrap(), 1);
    let expected = FAMILIES.map(open);
    let before = in_use();
    for _ in 0..5 * repeats() {
        for (name, expected) in FAMILIES.iter().zip(&expected) {
            assert_eq!(&open(name), expected, "{name}");
        }
    }
    let grown = in_use() as isize - before as isize;
    assert!(grown.abs() <= 4096, "{grown} bytes more");
}
