use super::*;
use crate::engine::Engine;

#[test]
fn a_policy_as_text_says_the_same_as_overrides() {
    let all = "llada-random temperature=0.5 top-k=3 top-p=0.25 repetition-penalty=1.5 steps=4 steps-per-block=5 block=6 \
               sub-block=7 threshold=0.75 factor=2 entropy-bound=0.125 edit-threshold=0.5 edit-passes=2 expert-budget=0.25 blocks-ahead=2 confidence=margin alg-temp=1 eps=0.5 cfg=3 \
               cache=dual right-shift=true no-merge=true";
    let expected = Overrides {
        strategy: Some("llada-random".into()),
        temperature: Some(0.5),
        top_k: Some(3),
        top_p: Some(0.25),
        repetition_penalty: Some(1.5),
        steps: Some(4),
        steps_per_block: Some(5),
        block: Some(6),
        sub_block: Some(7),
        threshold: Some(0.75),
        factor: Some(2.0),
        entropy_bound: Some(0.125),
        edit_threshold: Some(0.5),
        edit_passes: Some(2),
        expert_budget: Some(0.25),
        blocks_ahead: Some(2),
        confidence: Some(Score::Margin),
        alg_temp: Some(1.0),
        eps: Some(0.5),
        cfg: Some(3.0),
        cache: Some(CachePlan::Dual),
        right_shift: Some(true),
        no_merge: Some(true),
    };
    assert_eq!(all.parse::<Overrides>().unwrap(), expected);
    assert_eq!(expected.to_string().parse::<Overrides>().unwrap(), expected, "what is printed is read again");
    assert_eq!(expected.to_string().split(' ').count(), OPTIONS.len());
    assert_eq!(" \t\n".parse::<Overrides>().unwrap(), Overrides::default());
    for (text, name, reason) in [
        ("steps=2 steps=3", "steps", "given twice"),
        ("llada-random dream-origin", "strategy", "given twice"),
        ("top-k=1.5", "top-k", "`1.5` given, a whole number expected"),
        ("threshold=high", "threshold", "`high` given, a number expected"),
        ("no-merge=1", "no-merge", "`1` given, true or false expected"),
        ("cache=all", "cache", "`all` given, one of none, prefix, dual, block, sub-block expected"),
        ("confidence=", "confidence", "`` given, one of probability, margin, entropy, random expected"),
        (
            "strategy=llada-random",
            "policy",
            "`strategy` is not a key of a policy; docs/decoding.md lists them",
        ),
        ("heat=1", "policy", "`heat` is not a key of a policy; docs/decoding.md lists them"),
    ] {
        match text.parse::<Overrides>() {
            Err(Error::Option { name: found, reason: why }) => {
                assert_eq!((found, why.as_str()), (name, reason), "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

/// A value that is out of range of each option with a range, and a sampler that uses the option.
const OUTSIDE: [(&str, &str, &str); 15] = [
    ("temperature", "101", "sdar-static"),
    ("top-p", "1.5", "sdar-static"),
    ("repetition-penalty", "0", "sdar-static"),
    ("steps", "0", "sdar-static"),
    ("steps-per-block", "0", "sdar-static"),
    ("block", "0", "sdar-static"),
    ("sub-block", "0", "sdar-static"),
    ("threshold", "1.5", "sdar-dynamic"),
    ("factor", "0", "sdar-dynamic"),
    ("entropy-bound", "-1", "sdar-dynamic"),
    ("edit-threshold", "1.5", "sdar-static"),
    ("expert-budget", "1.5", "sdar-dynamic"),
    ("alg-temp", "-1", "sdar-static"),
    ("eps", "1", "dream-entropy"),
    ("cfg", "-1", "sdar-static"),
];

#[test]
fn ranges_are_those_that_policies_check() {
    let open =
        |name: &str| Engine::open(format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (sdar, dream) = (open("sdar-f32"), open("dream-f32"));
    for (name, value, strategy) in OUTSIDE {
        let option = DecodeOption::named(name).unwrap();
        let mut overrides = Overrides { strategy: Some(strategy.into()), ..Overrides::default() };
        option.set(&mut overrides, Some(value)).unwrap();
        let engine = if strategy.starts_with("dream") { &dream } else { &sdar };
        let error = overrides.policy(engine).unwrap_err().to_string();
        let place = if name == "steps-per-block" { "steps" } else { name };
        assert!(error.contains(&format!("`{place}`")) && error.contains(option.range), "{name}: {error}");
    }
    // The rest: words, switches, and a number without a limit.
    let rest = OPTIONS.iter().filter(|option| !OUTSIDE.iter().any(|(name, ..)| *name == option.name));
    let rest: Vec<_> = rest.map(|option| option.name).collect();
    assert_eq!(
        rest,
        [
            "strategy",
            "top-k",
            "edit-passes",
            "blocks-ahead",
            "confidence",
            "cache",
            "right-shift",
            "no-merge"
        ]
    );
}

/// The table of docs/decoding.md.
fn table() -> String {
    let mut text = String::from("| option | value | what it does |\n|---|---|---|\n");
    for option in &OPTIONS {
        let name = if option.value.is_empty() {
            format!("--{}", option.name)
        } else {
            format!("--{} {}", option.name, option.value)
        };
        let values = match option.kind() {
            Kind::Choice if option.name != "strategy" => option.expected(),
            Kind::Choice => option.range.into(),
            Kind::Switch => "a switch".into(),
            _ => format!("{}, {}", option.expected(), option.range),
        };
        text += &format!("| `{name}` | {values} | {} |\n", option.help);
    }
    text
}

#[test]
fn the_documents_have_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/decoding.md");
    let document = std::fs::read_to_string(path).unwrap();
    let table = table();
    assert!(document.contains(&table), "docs/decoding.md, section \"Every option\", is to hold:\n{table}");
}
