//! How a caller departs from the model's defaults: [`Overrides`] win over `generation_config.json`, which wins over the model's
//! own policy, and what is not named stays.

use super::*;
use diffulex::engine::ModelFiles;
use diffulex::engine::Overrides;
use diffulex::sampler::{Floor, Score};
use diffulex::weights::{Checkpoint, Storage};

/// What a change to the model's own policy amounts to, written by hand.
type Change = fn(&mut Policy);

#[test]
fn nothing_wanted_is_the_policy_of_the_model() {
    for name in FAMILIES {
        let engine = engine(name);
        let policy = Overrides::default().policy(&engine).unwrap();
        assert_eq!(policy, engine.default_policy(), "{name}");
    }
}

#[test]
fn each_wish_changes_its_part_and_nothing_else() {
    let wish = Overrides::default;
    let table: [(&str, Overrides, Change); 13] = [
        ("sdar-f32", Overrides { temperature: Some(0.7), ..wish() }, |p| p.draw.temperature = 0.7),
        ("sdar-f32", Overrides { top_k: Some(5), ..wish() }, |p| p.draw.filters.top_k = 5),
        ("dream-f32", Overrides { top_p: Some(0.8), ..wish() }, |p| p.draw.filters.top_p = 0.8),
        ("llada-f32", Overrides { repetition_penalty: Some(1.2), ..wish() }, |p| {
            p.draw.repetition_penalty = 1.2;
        }),
        ("sdar-f32", Overrides { block: Some(8), ..wish() }, |p| p.schedule.block = Some(8)),
        // Steps of a block, or of all blocks together: what users of each kind of model mean.
        ("sdar-f32", Overrides { steps: Some(3), ..wish() }, |p| p.schedule.steps = Steps::PerBlock(3)),
        ("llada-f32", Overrides { steps: Some(3), ..wish() }, |p| p.schedule.steps = Steps::Total(3)),
        ("llada-f32", Overrides { steps_per_block: Some(3), ..wish() }, |p| {
            p.schedule.steps = Steps::PerBlock(3);
        }),
        ("llada-f32", Overrides { cfg: Some(1.5), ..wish() }, |p| p.guidance = 1.5),
        ("sdar-f32", Overrides { no_merge: Some(true), ..wish() }, |p| p.merge_commit = false),
        ("llada-f32", Overrides { confidence: Some(Score::Margin), ..wish() }, |p| p.score = Score::Margin),
        // A rule that says how much a step reveals decides the number of steps itself ...
        ("llada-f32", Overrides { threshold: Some(0.8), ..wish() }, |p| {
            p.unmask = Unmask::Threshold { tau: 0.8, strict: false, floor: Floor::Count(1), capped: false };
            p.schedule.steps = Steps::Unlimited;
        }),
        // ... unless the number was given.
        ("llada-f32", Overrides { factor: Some(2.0), steps: Some(4), ..wish() }, |p| {
            p.unmask = Unmask::Factor { factor: 2.0 };
            p.schedule.steps = Steps::Total(4);
        }),
    ];
    for (name, overrides, change) in table {
        let engine = engine(name);
        let mut expected = engine.default_policy();
        change(&mut expected);
        let policy = overrides.policy(&engine);
        assert_eq!(policy.unwrap(), expected, "{name}: {overrides:?}");
    }
}

#[test]
fn the_callers_wish_wins_over_the_checkpoint() {
    let engine = engine("sdar-f32");
    // Its generation_config.json.
    assert_eq!((engine.defaults().temperature, engine.defaults().top_k), (Some(0.6), Some(20)));
    let own = engine.default_policy();
    assert_eq!((own.draw.temperature, own.draw.filters.top_k), (0.6, 20));
    let wishes = Overrides { temperature: Some(0.0), ..Overrides::default() };
    let policy = wishes.policy(&engine).unwrap();
    assert_eq!((policy.draw.temperature, policy.draw.filters.top_k), (0.0, 20));
    // A checkpoint that says not to draw means what it says, whatever its temperature.
    let checkpoint = Checkpoint::locate(&fixture::golden("sdar-f32")).unwrap();
    let mut files = ModelFiles::read(&checkpoint).unwrap();
    files.generation.do_sample = Some(false);
    let greedy = Engine::builder().load(files, &checkpoint.open(Storage::Read).unwrap()).unwrap();
    let published = Policy::named(greedy.arch().policy).unwrap();
    assert_eq!(greedy.default_policy().draw, published.draw);
    // One that says to draw and not how, draws at temperature 1.
    let mut files = ModelFiles::read(&checkpoint).unwrap();
    files.generation.temperature = None;
    let drawn = Engine::builder().load(files, &checkpoint.open(Storage::Read).unwrap()).unwrap();
    assert_eq!(
        (drawn.default_policy().draw.temperature, drawn.default_policy().draw.filters.top_k),
        (1.0, 20)
    );
    let policy = Overrides { temperature: Some(0.0), ..Overrides::default() }.policy(&drawn).unwrap();
    assert_eq!(policy.draw.temperature, 0.0);
}

#[test]
fn wishes_that_contradict_each_other_or_the_model_are_refused_by_name() {
    let wish = Overrides::default;
    let named = |name: &str| Some(name.to_string());
    let table = [
        (
            "sdar-f32",
            Overrides { threshold: Some(0.5), factor: Some(1.0), ..wish() },
            "option `factor`: given together with `threshold`",
        ),
        (
            "sdar-f32",
            Overrides { threshold: Some(0.5), entropy_bound: Some(1.0), ..wish() },
            "option `entropy-bound`: given together with `threshold`",
        ),
        (
            "llada-f32",
            Overrides { steps: Some(2), steps_per_block: Some(2), ..wish() },
            "option `steps-per-block`: given together with `steps`",
        ),
        (
            "sdar-f32",
            Overrides { eps: Some(0.1), ..wish() },
            "option `eps`: the chosen sampler does not use time steps",
        ),
        (
            "sdar-f32",
            Overrides { alg_temp: Some(0.1), ..wish() },
            "option `alg-temp`: the chosen sampler does not use",
        ),
        (
            "sdar-f32",
            Overrides { strategy: named("dream-origin"), ..wish() },
            "option `strategy`: `dream-origin` given",
        ),
        (
            "dream-f32",
            Overrides { strategy: named("sdar-static"), ..wish() },
            "option `strategy`: `sdar-static` given",
        ),
        ("sdar-f32", Overrides { strategy: named("best"), ..wish() }, "option `strategy`: `best`"),
        ("sdar-f32", Overrides { cache: Some(CachePlan::Dual), ..wish() }, "option `cache`"),
        ("sdar-f32", Overrides { threshold: Some(1.5), ..wish() }, "option `threshold`"),
        ("sdar-f32", Overrides { temperature: Some(f32::NAN), ..wish() }, "option `temperature`"),
    ];
    for (name, overrides, message) in table {
        let refusal = overrides.policy(&engine(name)).unwrap_err().to_string();
        assert!(refusal.contains(message), "{name}: {overrides:?}: {refusal}");
    }
}
