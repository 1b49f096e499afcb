//! What is the same bit for bit: any number of threads, any executor, any seed that is the same.

use super::*;
use diffulex::exec::{Executor, Threads};
use diffulex::model::Probe;

const MODELS: [&str; 14] = [
    "a2d-qwen3-f32",
    "stable-diffcoder-f32",
    "nemotron-diffusion-f32",
    "sdar-f32",
    "sdar-hd128-sharded",
    "sdar-moe-f32",
    "llada-moe-f32",
    "llada2-f32",
    "fastdllm2-f32",
    "fastdllm2-untied",
    "llada-f32",
    "llada-f16",
    "dream-f32",
    "dream-bf16",
];

type Shared = Arc<dyn Executor + Send + Sync>;

fn executors() -> Vec<(&'static str, Shared)> {
    let executors: Vec<(&str, Shared)> = vec![
        ("1 thread", Arc::new(Threads::new(1))),
        ("2 threads", Arc::new(Threads::new(2))),
        ("3 threads", Arc::new(Threads::new(3))),
        #[cfg(feature = "rayon")]
        ("rayon", {
            use diffulex::exec::rayon::Rayon;
            Arc::new(Rayon::new(Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap())))
        }),
    ];
    executors
}

/// Decisions of a greedy and a sampled run, and the logits of a pass over everything.
fn results(engine: &Engine, name: &str) -> (Vec<impl PartialEq + std::fmt::Debug + use<>>, Vec<u32>) {
    let ids = prompt(engine, 21, 4);
    let decisions = [0.0, 0.9].map(|temperature| {
        let mut policy = policy_of(name);
        policy.draw.temperature = temperature;
        policy.draw.filters.top_p = 0.9;
        fresh(engine, &Request { seed: 3, ..Request::new(&ids, 13, &policy) }).decisions()
    });
    let mut session = engine.session().unwrap();
    let visible = diffulex::cache::Visible::by_rule(engine.arch().attention, 0..21, 0, 21);
    session.forward(&ids, 0, &visible, &mut Probe::none()).unwrap();
    let rows: Vec<usize> = (0..21).collect();
    let logits = session.logits(&rows, &mut Probe::none()).data().iter().map(|x| x.to_bits()).collect();
    (decisions.into(), logits)
}

#[test]
fn threads_and_executors_change_no_bit_at_any_level() {
    for level in fixture::levels() {
        for name in MODELS {
            let open = |exec| builder(name).level(level).executor(exec).open(fixture::golden(name)).unwrap();
            let expected = results(&open(Arc::new(Serial)), name);
            for (executor, exec) in executors() {
                let found = results(&open(exec), name);
                assert!(found.0 == expected.0, "{name} at {}: {executor} decides otherwise", level.name());
                assert!(found.1 == expected.1, "{name} at {}: {executor}: other logits", level.name());
            }
        }
    }
}

#[test]
fn the_seed_decides_and_nothing_else() {
    for name in FAMILIES {
        let engine = engine(name);
        let ids = prompt(&engine, 11, 6);
        let mut policy = policy_of(name);
        policy.draw.temperature = 1.0;
        let mut session = engine.session().unwrap();
        let mut texts = std::collections::HashSet::new();
        for seed in 0..6 {
            let request = Request { seed, ..Request::new(&ids, 20, &policy) };
            let decisions = run(&mut session, &request).decisions();
            assert_eq!(decisions, fresh(&engine, &request).decisions(), "{name}, seed {seed}");
            texts.insert(decisions.0);
        }
        assert_eq!(texts.len(), 6, "{name}: different seeds give the same text");
        policy.draw.temperature = 0.0;
        let greedy = |seed| fresh(&engine, &Request { seed, ..Request::new(&ids, 20, &policy) }).decisions();
        assert_eq!(greedy(1), greedy(2), "{name}: a seed without a temperature");
    }
}
