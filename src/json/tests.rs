mod same;

use super::*;
use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use same::same;
use serde_json::Value as Theirs;

fn parse(text: &str) -> Result<Value> {
    Value::parse("t.json", text.as_bytes())
}

/// Strings whose bytes are mostly JSON's own characters.
fn almost_json() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{".to_string()),
        Just("}".to_string()),
        Just("[".to_string()),
        Just("]".to_string()),
        Just(",".to_string()),
        Just(":".to_string()),
        Just("\"a\":".to_string()),
        Just("null".to_string()),
        Just("true".to_string()),
        "[ \t\n\r\u{b}\u{feff}]",
        "-?[0-9]{0,3}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?",
        "\"(\\\\u[dD][89a-fA-F][0-9a-f]{2}|\\\\u00[0-9a-f]{2}|\\\\[bfnrtx/]|[\u{0}-\u{20}é😀]){0,3}\"?",
    ];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn tree() -> impl Strategy<Value = Theirs> {
    let leaf = prop_oneof![
        Just(Theirs::Null),
        any::<bool>().prop_map(Theirs::from),
        any::<u64>().prop_map(Theirs::from),
        any::<i64>().prop_map(Theirs::from),
        (-1e300..1e300f64).prop_map(Theirs::from),
        any::<f32>().prop_filter("finite", |x| x.is_finite()).prop_map(|x| Theirs::from(f64::from(x))),
        any::<String>().prop_map(Theirs::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Theirs::from),
            hash_map(any::<String>(), inner, 0..6).prop_map(|map| Theirs::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_serde_json_refuses_we_refuse(text in prop_oneof![almost_json(), any::<String>()]) {
        if let Ok(ours) = parse(&text) {
            let theirs: Theirs = serde_json::from_str(&text).expect("serde_json refuses what we accept");
            prop_assert!(same(&ours, &theirs), "{ours} is not {theirs}");
        }
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..64)) {
        if Value::parse("t.json", &bytes).is_ok() {
            prop_assert!(serde_json::from_slice::<Theirs>(&bytes).is_ok());
        }
    }

    #[test]
    fn damaged_texts_are_judged_as_by_serde_json(tree in tree(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = serde_json::to_vec(&tree).unwrap();
        let at = at.index(text.len());
        text[at] = byte;
        if let Ok(ours) = Value::parse("t.json", &text) {
            let theirs: Theirs = serde_json::from_slice(&text).expect("serde_json refuses what we accept");
            prop_assert!(same(&ours, &theirs), "{ours} is not {theirs}");
        }
    }
}

proptest! {
    #[test]
    fn trees_survive_both_printers(tree in tree()) {
        for text in [serde_json::to_string(&tree).unwrap(), serde_json::to_string_pretty(&tree).unwrap()] {
            let ours = parse(&text).unwrap();
            prop_assert!(same(&ours, &tree), "{ours} is not {tree}");
            prop_assert_eq!(&parse(&ours.to_string()).unwrap(), &ours);
        }
    }
}

#[test]
fn whole_numbers_are_exact_or_none() {
    for (text, expected) in [
        ("0", Some(0)),
        ("-0", Some(0)),
        ("-0.0", Some(0)),
        ("0e999", Some(0)),
        ("1000000.0", Some(1_000_000)),
        ("1e6", Some(1_000_000)),
        ("0.001e5", Some(100)),
        ("120e-1", Some(12)),
        ("18446744073709551615", Some(u64::MAX)),
        ("1844674407370955161.5e1", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("1e20", None),
        ("1.5", None),
        ("125e-1", None),
        ("1e-9999999999", None),
        ("-1", None),
    ] {
        assert_eq!(parse(text).unwrap().as_u64(), expected, "{text}");
    }
    assert_eq!(parse("-9223372036854775808").unwrap().as_i64(), Some(i64::MIN));
    assert_eq!(parse("-9223372036854775809").unwrap().as_i64(), None);
    assert_eq!(parse("9223372036854775808").unwrap().as_i64(), None);
    assert_eq!(parse("-1e2").unwrap().as_i64(), Some(-100));
    assert_eq!(parse("0.1").unwrap().as_f64(), Some(0.1));
}

#[test]
fn strings_are_unescaped() {
    let text = r#""\"\\\/\b\f\n\r\t\u0041\u00e9\ud83d\ude00é""#;
    assert_eq!(parse(text).unwrap().as_str(), Some("\"\\/\u{8}\u{c}\n\r\tAé😀é"));
}

#[test]
fn nesting_stops_at_the_limit() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = |n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
        assert!(parse(&nested(MAX_DEPTH)).is_ok(), "{open}");
        assert!(serde_json::from_str::<Theirs>(&nested(MAX_DEPTH)).is_ok(), "{open}");
        let error = parse(&nested(MAX_DEPTH + 1)).unwrap_err().to_string();
        assert!(error.contains("nested deeper than 127"), "{error}");
        assert!(parse(&open.repeat(1_000_000)).is_err(), "a million of {open}");
    }
}

#[test]
fn a_text_has_a_limited_number_of_values() {
    let numbers = |n: usize| format!("[{}0]", "0,".repeat(n - 1));
    // The array counts, too.
    assert!(parse(&numbers(MAX_VALUES - 1)).is_ok(), "as many as are allowed");
    let error = parse(&numbers(MAX_VALUES)).unwrap_err().to_string();
    assert!(error.ends_with("more than 4194304 values"), "{error}");
    let keys = format!("{{{}\"\":0}}", "\"\":0,".repeat(MAX_VALUES / 2));
    assert!(parse(&keys).unwrap_err().to_string().ends_with("more than 4194304 values"), "keys count");
}

#[test]
fn malformed_texts_are_refused_at_the_offending_byte() {
    for (text, offset, what) in [
        ("", 0, "the text ends, expected a value"),
        ("  ", 2, "the text ends, expected a value"),
        ("nul", 0, "found `n`, expected a value"),
        ("nullx", 4, "found `x`, expected the end of the text"),
        ("\u{feff}1", 0, "expected a value"),
        ("[1,]", 3, "found `]`, expected a value"),
        ("[1 2]", 3, "found `2`, expected `,` or `]`"),
        ("{\"a\" 1}", 5, "found `1`, expected `:`"),
        ("{\"a\":1,}", 7, "found `}`, expected a key in quotes"),
        ("{a:1}", 1, "found `a`, expected a key in quotes"),
        ("{\"a\":1 \"b\":2}", 7, "expected `,` or `}`"),
        ("{\"a\":1,\"b\":2,\"a\":3}", 13, "duplicate key `a`"),
        ("{\"a\":1,\"\\u0061\":2}", 7, "duplicate key `a`"),
        // Of several among many keys, the first in the order of keys.
        (r#"{"k":0,"j":0,"i":0,"h":0,"g":0,"f":0,"e":0,"d":0,"k":1,"d":1}"#, 55, "duplicate key `d`"),
        ("01", 1, "expected the end of the text"),
        ("+1", 0, "expected a value"),
        ("-", 1, "expected a digit"),
        ("1.", 2, "expected a digit"),
        (".5", 0, "expected a value"),
        ("1e+", 3, "expected a digit"),
        ("NaN", 0, "expected a value"),
        ("[1e999]", 1, "does not fit a 64-bit float"),
        ("\"a", 2, "the text ends, expected a character"),
        ("\"a\nb\"", 2, "found `\\n`, expected a character"),
        ("\"\\x\"", 2, "found `x`, expected an escape"),
        ("\"\\u12g4\"", 5, "found `g`, expected four hexadecimal digits"),
        ("\"\\u+123\"", 3, "found `+`, expected four hexadecimal digits"),
        ("\"\\ud800\"", 3, "\\ud800 is half of a surrogate pair"),
        ("\"\\ud800x\"", 3, "\\ud800 is half of a surrogate pair"),
        ("\"\\ud800\\u0041\"", 3, "\\ud800 is half of a surrogate pair"),
        ("\"\\ude00\"", 3, "\\ude00 is half of a surrogate pair"),
    ] {
        let Err(Error::Json { file, offset: found, what: message }) = parse(text) else {
            panic!("{text:?} was accepted");
        };
        assert_eq!((file.as_str(), found), ("t.json", offset), "{text:?}: {message}");
        assert!(message.contains(what), "{text:?}: {message}");
    }
    let error = Value::parse("t.json", b"\"ab\xff\"").unwrap_err();
    assert!(matches!(error, Error::Json { offset: 3, .. }), "{error}");
}
