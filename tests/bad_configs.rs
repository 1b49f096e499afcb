//! Configurations that are impossible, contradictory, or of a model that this engine does not know: each is refused with
//! a message that names the file, the key, what was found and what was expected.

mod fixture;

use diffulex::json::Value;
use diffulex::model::Architecture;
use diffulex::model::GenerationConfig;
use fixture::{Table, golden};
use proptest::prelude::*;
use serde_json::Value as Json;

const ALL: [&str; 4] = ["sdar-f32", "fastdllm2-f32", "dream-f32", "llada-f32"];

/// The golden configuration with some keys replaced; the text `absent` removes a key.
fn edited(family: &str, edits: &[(&str, &str)]) -> Value {
    let text = std::fs::read_to_string(golden(family).join("config.json")).unwrap();
    let mut json: Json = serde_json::from_str(&text).unwrap();
    for (key, value) in edits {
        match *value {
            "absent" => drop(json.as_object_mut().unwrap().remove(*key).expect("an absent key was removed")),
            value => json[*key] = serde_json::from_str(value).unwrap(),
        }
    }
    Value::parse("c.json", json.to_string().as_bytes()).unwrap()
}

fn read(family: &str, edits: &[(&str, &str)]) -> diffulex::Result<Architecture> {
    Architecture::from_config("c.json", &edited(family, edits))
}

/// One row for each value that is wrong for `key` in `family`.
fn values(table: &mut Table, family: &str, key: &str, values: &[&str], expected: &str) {
    for value in values {
        let found = if *value == "absent" || *value == "null" { "found nothing" } else { "found `" };
        let fragments = [&format!("c.json: key `{key}`: "), found, "expected ", expected];
        table.row(&format!("{family}: {key} = {value}"), read(family, &[(key, value)]), "Config", &fragments);
    }
}

#[test]
fn sizes_that_are_missing_zero_negative_or_enormous() {
    let mut table = Table::default();
    let wrong = ["absent", "null", "0", "-1", "1.5", "\"8\"", "1e300", "18446744073709551616"];
    for family in &ALL[..3] {
        for (key, expected) in [
            ("vocab_size", "from 1 to 16777216"),
            ("hidden_size", "from 1 to 1048576"),
            ("intermediate_size", "from 1 to 4194304"),
            ("num_hidden_layers", "from 1 to 4096"),
            ("num_attention_heads", "from 1 to 4096"),
            ("max_position_embeddings", "from 1 to 1073741824"),
        ] {
            values(&mut table, family, key, &wrong, expected);
        }
        values(&mut table, family, "num_key_value_heads", &wrong[2..], "from 1 to 4096");
        values(
            &mut table,
            family,
            "rms_norm_eps",
            &["absent", "0", "-1e-6", "2", "\"x\""],
            "from 1e-20 to 1e0",
        );
        values(
            &mut table,
            family,
            "rope_theta",
            &["absent", "0", "-1", "0.5", "1e13", "[]"],
            "from 1e0 to 1e12",
        );
        values(&mut table, family, "tie_word_embeddings", &["1", "\"false\""], "true or false");
    }
    values(&mut table, "sdar-f32", "head_dim", &["0", "-2", "4097", "true"], "from 1 to 4096");
    values(&mut table, "sdar-f32", "attention_bias", &["0", "[]"], "true or false");
    values(&mut table, "sdar-f32", "block_size", &["0", "-4", "32769", "4.5"], "from 1 to 32768");
    values(&mut table, "fastdllm2-f32", "bd_size", &["0", "-4", "32769"], "from 1 to 32768");
    for (key, expected) in [
        ("vocab_size", "from 1 to 16777216"),
        ("d_model", "from 1 to 1048576"),
        ("n_layers", "from 1 to 4096"),
        ("n_heads", "from 1 to 4096"),
        ("max_sequence_length", "from 1 to 1073741824"),
    ] {
        values(&mut table, "llada-f32", key, &wrong, expected);
    }
    values(&mut table, "llada-f32", "mlp_hidden_size", &wrong[2..], "from 1 to 4194304");
    values(&mut table, "llada-f32", "embedding_size", &wrong[2..], "from 1 to 16777216");
    values(&mut table, "llada-f32", "include_bias", &["0"], "true or false");
    table.finish(267);
}

/// Family, edits, the key that the error names, and what it says about it.
type Contradiction =
    (&'static str, &'static [(&'static str, &'static str)], &'static str, &'static [&'static str]);

const CONTRADICTIONS: &[Contradiction] = &[
    (
        "dream-f32",
        &[("hidden_size", "113")],
        "hidden_size",
        &["`113`", "multiple of num_attention_heads = 7"],
    ),
    ("dream-f32", &[("num_attention_heads", "5")], "hidden_size", &["`112`", "num_attention_heads = 5"]),
    ("dream-f32", &[("num_key_value_heads", "2")], "num_key_value_heads", &["`2`", "divisor of the 7 heads"]),
    ("dream-f32", &[("num_key_value_heads", "14")], "num_key_value_heads", &["`14`", "divisor of the 7"]),
    ("dream-f32", &[("hidden_size", "105")], "head_dim", &["even width, not 15"]),
    ("sdar-f32", &[("head_dim", "33")], "head_dim", &["`33`", "even width"]),
    ("sdar-f32", &[("head_dim", "null"), ("hidden_size", "74")], "hidden_size", &["`74`", "multiple of"]),
    ("sdar-f32", &[("num_key_value_heads", "3")], "num_key_value_heads", &["`3`", "divisor of the 4"]),
    ("llada-f32", &[("d_model", "65")], "d_model", &["`65`", "multiple of n_heads = 4"]),
    ("llada-f32", &[("n_kv_heads", "3")], "n_kv_heads", &["`3`", "divisor of the 4"]),
    ("llada-f32", &[("embedding_size", "319")], "embedding_size", &["`319`", "at least vocab_size = 320"]),
    (
        "llada-f32",
        &[("multi_query_attention", "true")],
        "n_kv_heads",
        &["`4`", "1, as multi_query_attention"],
    ),
    (
        "llada-f32",
        &[("multi_query_attention", "false"), ("n_kv_heads", "2")],
        "n_kv_heads",
        &["`2`", "4, as multi_query_attention is false"],
    ),
    (
        "llada-f32",
        &[("mlp_hidden_size", "null"), ("mlp_ratio", "1000000")],
        "mlp_ratio",
        &["`1000000`", "to 65536"],
    ),
    ("llada-f32", &[("mlp_hidden_size", "null"), ("mlp_ratio", "0")], "mlp_ratio", &["`0`", "from 1"]),
    ("fastdllm2-f32", &[("num_hidden_layers", "3")], "layer_types", &["2 entries", "num_hidden_layers = 3"]),
    ("dream-f32", &[("model_type", "\"llada\"")], "model_type", &["`\"llada\"`", "expected `Dream`"]),
    ("dream-f32", &[("model_type", "7")], "model_type", &["`7`", "a string"]),
    ("dream-f32", &[("architectures", "\"DreamModel\"")], "architectures", &["a list of strings"]),
    ("dream-f32", &[("architectures", "[]")], "architectures", &["`[]`", "a list of strings"]),
    (
        "dream-f32",
        &[("rope_parameters", r#"{"rope_theta": 5e5}"#)],
        "rope_theta",
        &["`1000000.0`", "500000, as in rope_parameters"],
    ),
    ("dream-f32", &[("rope_parameters", "5")], "rope_parameters", &["`5`", "an object"]),
    ("dream-f32", &[("rope_theta", "absent"), ("rope_parameters", "{}")], "rope_theta", &["found nothing"]),
    ("dream-f32", &[("rope_scaling", "2.0")], "rope_scaling", &["`2.0`", "an object"]),
    ("dream-f32", &[("rope_scaling", r#"{"type": "linear"}"#)], "factor", &["found nothing", "from 1e0"]),
    (
        "dream-f32",
        &[("rope_scaling", r#"{"type": "yarn", "factor": 0.5}"#)],
        "factor",
        &["`0.5`", "from 1e0"],
    ),
    (
        "dream-f32",
        &[
            ("rope_scaling", r#"{"type": "linear", "factor": 2}"#),
            ("rope_parameters", r#"{"rope_type": "linear", "factor": 3}"#),
        ],
        "rope_parameters",
        &["the same as in rope_scaling"],
    ),
    ("dream-f32", &[("mask_token_id", "333")], "mask_token_id", &["`333`", "from 0 to 332"]),
    ("dream-f32", &[("mask_token_id", "-1")], "mask_token_id", &["`-1`", "from 0 to 332"]),
    ("dream-f32", &[("mask_token_id", "[]")], "mask_token_id", &["`[]`", "one token id"]),
    ("dream-f32", &[("mask_token_id", "[1, 2]")], "mask_token_id", &["`[1,2]`", "one token id"]),
    ("dream-f32", &[("eos_token_id", "[1, 333]")], "eos_token_id", &["`[1,333]`", "from 0 to 332"]),
    ("dream-f32", &[("eos_token_id", "[-1, 333]")], "eos_token_id", &["`[333]`", "from 0 to 332"]),
    ("dream-f32", &[("eos_token_id", "-2")], "eos_token_id", &["`-2`", "a token id"]),
    ("dream-f32", &[("eos_token_id", "\"x\"")], "eos_token_id", &["`\"x\"`", "a token id"]),
    // An embedding may be wider than the vocabulary; its last rows are not tokens.
    ("llada-f32", &[("vocab_size", "200"), ("embedding_size", "320")], "mask_token_id", &["from 0 to 199"]),
    (
        "llada-f32",
        &[("vocab_size", "310"), ("embedding_size", "320"), ("mask_token_id", "5"), ("eos_token_id", "310")],
        "eos_token_id",
        &["`310`", "from 0 to 309"],
    ),
    ("dream-f32", &[("layer_types", "{}")], "layer_types", &["`{}`", "a list of strings"]),
];

#[test]
fn values_that_contradict_each_other() {
    let mut table = Table::default();
    for &(family, edits, key, fragments) in CONTRADICTIONS {
        let key = format!("c.json: key `{key}`: ");
        let fragments = [&[key.as_str()], fragments].concat();
        table.row(&format!("{family}: {edits:?}"), read(family, edits), "Config", &fragments);
    }
    table.finish(38);
}

#[test]
fn maths_that_the_engine_does_not_do() {
    let mut table = Table::default();
    let mut row = |family: &str, key: &str, value: &str, fragments: &[&str]| {
        let fragments = [&["not supported: c.json: key `", key][..], fragments].concat();
        table.row(
            &format!("{family}: {key} = {value}"),
            read(family, &[(key, value)]),
            "Unsupported",
            &fragments,
        );
    };
    for family in ALL {
        row(family, "alibi", "true", &["is `true`, only false or null"]);
        row(family, "use_sliding_window", "true", &["is `true`"]);
        row(family, "use_mrope", "true", &["is `true`"]);
        row(family, "mlp_bias", "true", &["is `true`"]);
        row(family, "num_experts", "8", &["is `8`, only false or null"]);
        row(family, "quantization_config", r#"{"bits": 4}"#, &["is `{\"bits\":4}`"]);
        row(family, "clip_qkv", "8.0", &["is `8.0`"]);
        row(family, "final_logit_softcapping", "30.0", &["is `30.0`"]);
        row(family, "attn_logit_softcapping", "50.0", &["is `50.0`"]);
        row(family, "residual_multiplier", "0.22", &["is `0.22`, only 1 or null"]);
        row(family, "embedding_multiplier", "12", &["is `12`, only 1 or null"]);
        row(family, "partial_rotary_factor", "0.5", &["is `0.5`, only 1 or null"]);
        row(family, "hidden_act", "\"gelu\"", &["is `\"gelu\"`, only \"silu\""]);
        row(
            family,
            "layer_types",
            r#"["full_attention", "sliding_attention"]"#,
            &["`\"sliding_attention\"`"],
        );
        row(
            family,
            "rope_scaling",
            r#"{"type": "dynamic", "factor": 4.0}"#,
            &["dynamic", "only null or the type"],
        );
        row(family, "rope_scaling", r#"{"rope_type": "llama3"}"#, &["llama3"]);
        row(family, "rope_scaling", r#"{"factor": 4.0}"#, &["factor"]);
    }
    let dream = "dream-f32";
    for (value, fragments) in [
        (r#"{"rope_type": "llama3"}"#, &["rope_type", "\"llama3\"", "\"default\", \"linear\", \"yarn\""][..]),
        (r#"{"rope_type": "yarn", "factor": 2, "truncate": false}"#, &["truncate", "only true"]),
        (r#"{"rope_type": "yarn", "factor": 2, "llama_4_scaling_beta": 0.1}"#, &["llama_4_scaling_beta"]),
        (r#"{"rope_type": "linear", "factor": 2, "beta_fast": 32}"#, &["`beta_fast` in `rope_parameters`"]),
        (r#"{"partial_rotary_factor": 0.5}"#, &["partial_rotary_factor", "0.5"]),
        (r#"{"mrope_section": [1]}"#, &["mrope_section", "rope_parameters"]),
        (r#"{"full_attention": {"rope_theta": 1e6}}"#, &["full_attention", "rope_parameters"]),
    ] {
        let result = read(dream, &[("rope_parameters", value)]);
        table.row(&format!("rope_parameters = {value}"), result, "Unsupported", fragments);
    }
    let mut row = |key: &str, value: &str, fragments: &[&str]| {
        let fragments = [&["not supported: c.json: key `", key][..], fragments].concat();
        table.row(
            &format!("llada: {key} = {value}"),
            read("llada-f32", &[(key, value)]),
            "Unsupported",
            &fragments,
        );
    };
    row("rope_scaling", r#"{"type": "yarn", "factor": 4.0}"#, &["yarn", "only null or the type \"default\""]);
    row("scale_logits", "true", &["is `true`"]);
    row("attention_layer_norm", "true", &["is `true`"]);
    row("input_emb_norm", "true", &["is `true`"]);
    row("bias_for_layer_norm", "true", &["is `true`"]);
    row("rope", "false", &["is `false`, only true"]);
    row("layer_norm_with_affine", "false", &["is `false`, only true"]);
    row("block_type", "\"sequential\"", &["is `\"sequential\"`, only \"llama\""]);
    row("layer_norm_type", "\"default\"", &["only \"rms\""]);
    row("layer_norm_type", "\"gemma_rms\"", &["only \"rms\""]);
    row("activation_type", "\"swiglu\"", &["only \"silu\""]);
    row("block_group_size", "2", &["is `2`, only 1"]);
    let biased = [("include_bias", "true"), ("bias_for_layer_norm", "null")];
    table.row(
        "bias of norms",
        read("llada-f32", &biased),
        "Unsupported",
        &["`include_bias`", "without a bias"],
    );
    table.finish(4 * 17 + 7 + 13);
}

#[test]
fn families_that_are_not_known() {
    let mut table = Table::default();
    let known = ["SDARForCausalLM / sdar", "Fast_dLLM_QwenForCausalLM", "DreamModel", "LLaDAModelLM / llada"];
    for (edits, found) in [
        (&[("architectures", "[\"Qwen3ForCausalLM\"]"), ("model_type", "\"qwen3\"")][..], "Qwen3ForCausalLM"),
        (&[("architectures", "[\"Qwen3ForCausalLM\"]")], "Qwen3ForCausalLM with model_type Dream"),
        (&[("model_type", "\"qwen2\"")], "DreamModel with model_type qwen2"),
        (&[("architectures", "absent"), ("model_type", "\"dream\"")], "(none) with model_type dream"),
        (&[("architectures", "absent"), ("model_type", "absent")], "(none) with model_type (none)"),
    ] {
        let fragments = [&["c.json: architecture ", found, "; known are "][..], &known].concat();
        table.row(&format!("{edits:?}"), read("dream-f32", edits), "Unsupported", &fragments);
    }
    // A type of another family than the class.
    values(&mut table, "llada-moe-f32", "model_type", &["\"sdar_moe\""], "`llada` or `lladamoe`");
    values(&mut table, "llada2-f32", "model_type", &["\"llada\""], "`llada2_moe`");
    for text in ["[]", "7", "\"sdar\"", "null"] {
        let json = Value::parse("c.json", text.as_bytes()).unwrap();
        let result = Architecture::from_config("c.json", &json);
        table.row(text, result, "Format", &["c.json: found `", text, "expected a JSON object"]);
    }
    table.finish(11);
}

#[test]
fn two_families_of_one_model_type_are_told_apart() {
    let family = |name: &str, edits: &[(&str, &str)]| read(name, edits).map(|arch| arch.family);
    for class in ["[\"LLaDAMoEModelLM\"]", "absent"] {
        for model_type in ["\"llada\"", "\"lladamoe\""] {
            let edits = [("architectures", class), ("model_type", model_type)];
            assert_eq!(family("llada-moe-f32", &edits).unwrap(), "LLaDA-MoE", "{edits:?}");
        }
    }
    assert_eq!(family("llada-f32", &[("architectures", "absent")]).unwrap(), "LLaDA");
    // The model type of Stable-DiffCoder is that of models that are read from left to right: only its class says what it is.
    let llama = "stable-diffcoder-f32";
    assert_eq!(family(llama, &[]).unwrap(), "Stable-DiffCoder");
    assert_eq!(family(llama, &[("model_type", "absent")]).unwrap(), "Stable-DiffCoder");
    // LLaDA has no experts, whatever its model type may mean elsewhere.
    let mut table = Table::default();
    let experts = read("llada-f32", &[("num_experts", "8")]);
    table.row("experts", experts, "Unsupported", &["`num_experts` is `8`"]);
    let dense = read(
        "llada-moe-f32",
        &[("architectures", "[\"LLaDAModelLM\"]"), ("num_experts", "absent"), ("qk_layernorm", "false")],
    );
    table.row("dense", dense, "Config", &["key `n_heads`: found nothing"]);
    for (edits, found) in [
        (&[("architectures", "absent")][..], "(none) with model_type llama"),
        (&[("architectures", "[\"LlamaForCausalLM\"]")], "LlamaForCausalLM with model_type llama"),
        (&[("model_type", "\"mistral\"")], "StableDiffcoderForCausalLM with model_type mistral"),
    ] {
        let fragments = ["c.json: architecture ", found, "; known are "];
        table.row(&format!("{edits:?}"), read(llama, edits), "Unsupported", &fragments);
    }
    values(&mut table, llama, "model_type", &["\"a2d-llama\""], "`llama`");
    table.finish(6);
}

#[test]
fn what_later_families_do_not_do() {
    let mut table = Table::default();
    let nemotron = "nemotron-diffusion-f32";
    let with = |more: &str| {
        let rope =
            r#""rope_type": "yarn", "rope_theta": 1e6, "factor": 16, "original_max_position_embeddings": 16"#;
        read(nemotron, &[("rope_parameters", &format!("{{{rope}, {more}}}"))])
    };
    assert!(with(r#""llama_4_scaling_beta": 0.1"#).is_ok());
    for (more, variant, fragments) in [
        (r#""llama_4_scaling_beta": -1"#, "Config", &["`llama_4_scaling_beta`: found `-1`"][..]),
        (r#""llama_4_scaling_beta": "x""#, "Config", &["`llama_4_scaling_beta`"]),
        (r#""truncate": false"#, "Unsupported", &["truncate", "only true"]),
        (r#""partial_rotary_factor": 0.5"#, "Unsupported", &["partial_rotary_factor", "only 1"]),
        (r#""llama_5": 1"#, "Unsupported", &["`llama_5` in `rope_parameters`"]),
    ] {
        table.row(more, with(more), variant, fragments);
    }
    // Only YaRN scales queries.
    let linear = r#"{"rope_type": "linear", "rope_theta": 1e6, "factor": 2, "llama_4_scaling_beta": 0.1}"#;
    let fragments = ["`llama_4_scaling_beta` in `rope_parameters`"];
    table.row("linear", read(nemotron, &[("rope_parameters", linear)]), "Unsupported", &fragments);
    for (family, key, value, known) in [
        (nemotron, "attention_bias", "true", "false or null"),
        (nemotron, "mlp_bias", "true", "false or null"),
        (nemotron, "hidden_act", "\"gelu\"", "\"silu\""),
        ("stable-diffcoder-f32", "mlp_bias", "true", "false or null"),
        ("stable-diffcoder-f32", "pretraining_tp", "2", "1 or null"),
        ("a2d-qwen3-f32", "use_sliding_window", "true", "false or null"),
        ("a2d-qwen3-f32", "layer_types", "[\"sliding_attention\", \"full_attention\"]", "full_attention"),
    ] {
        table.row(&format!("{family}: {key}"), read(family, &[(key, value)]), "Unsupported", &[key, known]);
    }
    for family in [nemotron, "stable-diffcoder-f32"] {
        values(&mut table, family, "block_size", &["0", "-1", "1.5", "1000000"], "from 1 to");
    }
    values(&mut table, "a2d-qwen3-f32", "model_type", &["\"a2d-qwen2\"", "\"sdar\""], "`a2d-qwen3`");
    table.finish(5 + 1 + 7 + 8 + 2);
}

#[test]
fn a_long_value_does_not_flood_the_message() {
    let long = format!("\"{}\"", "é".repeat(100_000));
    let message = read("dream-f32", &[("vocab_size", &long)]).unwrap_err().to_string();
    assert!(message.len() < 300 && message.contains("ééé...`, expected"), "{message}");
}

#[test]
fn one_family_key_is_enough_and_neutral_values_are_harmless() {
    for family in ALL {
        let plain = read(family, &[]).unwrap();
        for edits in [
            &[("architectures", "absent")][..],
            &[("model_type", "absent")],
            &[("rope_scaling", r#"{"rope_type": "default"}"#)],
            &[("rope_scaling", r#"{"type": "default"}"#)],
            &[("rope_scaling", "null"), ("rope_parameters", "null")],
            // Ids that are not needed.
            &[("pad_token_id", "-1"), ("bos_token_id", "99999999")],
            &[("pad_token_id", "1.5"), ("bos_token_id", "\"<s>\""), ("sep_token_id", "[]")],
            &[
                ("quantization_config", "null"),
                ("num_experts", "0"),
                ("clip_qkv", "null"),
                ("alibi", "false"),
            ],
            &[("partial_rotary_factor", "1.0"), ("residual_multiplier", "1")],
            &[
                ("rope_theta", "absent"),
                ("rope_parameters", &format!("{{\"rope_theta\": {:?}}}", plain.rope.theta)),
            ],
            &[("rope_parameters", r#"{"rope_type": "default", "partial_rotary_factor": 1.0}"#)],
        ] {
            assert_eq!(read(family, edits).unwrap(), plain, "{family}: {edits:?}");
        }
    }
}

#[test]
fn experts_that_are_impossible() {
    let (mut table, family) = (Table::default(), "sdar-moe-f32");
    let wrong = ["absent", "null", "0", "-1", "1.5", "\"8\"", "1e300"];
    values(&mut table, family, "num_experts", &wrong, "from 1 to 4096");
    values(&mut table, family, "moe_intermediate_size", &wrong, "from 1 to 4194304");
    values(&mut table, family, "num_experts_per_tok", &["absent", "0", "9"], "from 1 to 8");
    values(&mut table, family, "decoder_sparse_step", &["0", "-1", "\"1\""], "from 1 to 4096");
    values(&mut table, family, "norm_topk_prob", &["1", "\"yes\""], "true or false");
    let lists = ["1", "[2]", "[-1]", "[\"0\"]", "{}"];
    values(&mut table, family, "mlp_only_layers", &lists, "a list of whole numbers below 2");
    let many = read(family, &[("num_hidden_layers", "4096"), ("num_experts", "33")]);
    table.row("in all", many, "Config", &["`num_experts`: found `33`, expected a whole number from 1 to 32"]);
    table.finish(28);

    let sparse = |edits: &[(&str, &str)]| read(family, edits).unwrap().mixture.unwrap().sparse.to_vec();
    assert_eq!(sparse(&[]), [true, true]);
    assert_eq!(sparse(&[("decoder_sparse_step", "2")]), [false, true]);
    assert_eq!(sparse(&[("decoder_sparse_step", "null"), ("mlp_only_layers", "[1]")]), [true, false]);
    assert_eq!(read("sdar-f32", &[]).unwrap().mixture, None);
}

#[test]
fn routers_and_shared_experts_that_are_impossible() {
    let (mut table, moe) = (Table::default(), "llada-moe-f32");
    let wrong = ["0", "-1", "1.5", "\"8\"", "1e300"];
    values(&mut table, moe, "num_experts", &wrong, "from 1 to 4096");
    values(&mut table, moe, "num_experts", &["[8, 8]"], "from 1 to 4096");
    values(&mut table, moe, "num_experts_per_tok", &["absent", "0", "9"], "from 1 to 8");
    values(&mut table, moe, "expert_intermediate_size", &wrong, "from 1 to 4194304");
    values(&mut table, moe, "shared_expert_intermediate_size", &wrong, "from 1 to 4194304");
    let lists = ["absent", "1", "[1]", "[1,1,1]", "[1,2]", "[1,-1]", "[true,true]"];
    values(&mut table, moe, "moe_layer_freq", &lists, "num_hidden_layers = 2 numbers, 0 or 1");
    let one_dense = [("moe_layer_freq", "[0,1]"), ("dense_intermediate_size", "null")];
    table.row("dense width", read(moe, &one_dense), "Config", &["`dense_intermediate_size`: found nothing"]);
    let family = "llada2-f32";
    values(&mut table, family, "num_experts", &wrong, "from 1 to 4096");
    // 2 of 4 groups of 4.
    values(&mut table, family, "num_experts_per_tok", &["absent", "0", "9"], "from 1 to 8");
    values(&mut table, family, "n_group", &["0", "17", "\"4\""], "from 1 to 16");
    values(&mut table, family, "n_group", &["3", "5", "16"], "a divisor of num_experts = 16");
    values(&mut table, family, "topk_group", &["0", "5"], "from 1 to 4");
    values(&mut table, family, "num_shared_experts", &["0", "-1"], "from 1 to");
    values(&mut table, family, "first_k_dense_replace", &["-1", "4", "1.5"], "from 0 to 3");
    values(&mut table, family, "routed_scaling_factor", &["absent", "0", "-1", "\"2\"", "1e300"], "a number");
    values(&mut table, family, "rotary_dim", &["32", "0"], "16, as partial_rotary_factor says");
    values(&mut table, family, "partial_rotary_factor", &["0", "-1", "1.5", "0.03", "0.1"], "");
    for (key, value) in [
        ("use_bias", "true"),
        ("use_bias", "absent"),
        ("score_function", "\"softmax\""),
        ("router_dtype", "\"bf16\""),
        ("norm_topk_prob", "false"),
        ("use_rmsnorm", "false"),
        ("norm_head", "true"),
        ("norm_softmax", "true"),
        ("using_split_qkv_in_self_attention", "true"),
    ] {
        let result = read(family, &[(key, value)]);
        table.row(
            &format!("{key} = {value}"),
            result,
            "Unsupported",
            &[&format!("key `{key}` is "), "only "],
        );
    }
    for (key, value) in [
        ("moe_router_score_function", "\"sigmoid\""),
        ("norm_topk_prob", "true"),
        ("moe_router_enable_expert_bias", "true"),
        ("router_num_group", "8"),
        ("router_topk_group", "4"),
        ("routed_scaling_factor", "2.5"),
        ("clip_qkv", "8.0"),
    ] {
        let result = read(moe, &[(key, value)]);
        table.row(
            &format!("{key} = {value}"),
            result,
            "Unsupported",
            &[&format!("key `{key}` is "), "only "],
        );
    }
    table.finish(76);

    let mixture = |name: &str, edits: &[(&str, &str)]| read(name, edits).unwrap().mixture.unwrap();
    assert_eq!(mixture(moe, &[("moe_layer_freq", "[0,1]")]).sparse.to_vec(), [false, true]);
    assert_eq!(read(moe, &[("dense_intermediate_size", "absent")]).unwrap().dims.ffn, 28);
    assert_eq!(mixture(family, &[]).shared, Some(24));
    assert_eq!(mixture(family, &[("num_shared_experts", "3")]).shared, Some(72));
    assert_eq!(mixture(family, &[("num_shared_experts", "null")]).shared, None);
    assert_eq!(mixture(family, &[("first_k_dense_replace", "3")]).sparse.to_vec(), [false; 3]);
    assert_eq!(read(family, &[]).unwrap().rope.rotated, 16);
    let inner = [
        ("partial_rotary_factor", "absent"),
        ("rope_parameters", r#"{"rope_type": "default", "partial_rotary_factor": 0.25}"#),
        ("rotary_dim", "absent"),
    ];
    assert_eq!(read(family, &inner).unwrap().rope.rotated, 8);
}

#[test]
fn generation_configs_out_of_range() {
    let mut table = Table::default();
    for (key, values, expected) in [
        ("temperature", &["-0.1", "101", "\"hot\"", "true", "[1]"][..], "a number from 0e0 to 1e2"),
        ("top_p", &["-1", "1.5", "{}"], "a number from 0e0 to 1e0"),
        ("top_k", &["-2", "2.5", "\"20\"", "1e9"], "a whole number from 0 to 16777216; 0 or -1 is off"),
        ("repetition_penalty", &["0", "-1", "1e9"], "a number from 1e-2 to 1e2"),
        ("do_sample", &["1", "\"yes\""], "true or false"),
        ("eos_token_id", &["-2", "1.5", "\"</s>\"", "[1,[2]]", "4294967296"], "a token id"),
    ] {
        for value in values {
            let text = format!("{{\"do_sample\":true,\"{key}\":{value}}}");
            let text = if key == "do_sample" { format!("{{\"{key}\":{value}}}") } else { text };
            let json = Value::parse("g.json", text.as_bytes()).unwrap();
            let fragments = [&format!("g.json: key `{key}`: found `{value}`"), "expected ", expected];
            let result = GenerationConfig::from_json("g.json", &json);
            table.row(&format!("{key} = {value}"), result, "Config", &fragments);
        }
    }
    let list = Value::parse("g.json", b"[]").unwrap();
    table.row("a list", GenerationConfig::from_json("g.json", &list), "Format", &["g.json: found `[]`"]);
    table.finish(23);
}

/// Keys that would change what transformers generates are named; values that say "off" are not.
#[test]
fn generation_settings_without_effect_are_named() {
    let unused = |text: &str| {
        let json = Value::parse("g.json", text.as_bytes()).unwrap();
        GenerationConfig::without_effect("g.json", &json).unwrap()
    };
    for (text, keys) in [
        ("{}", &[][..]),
        (r#"{"do_sample": true, "min_p": 0.1, "typical_p": 0.9, "temperature": 1}"#, &["min_p", "typical_p"]),
        (r#"{"do_sample": false, "min_p": 0.1, "typical_p": 0.9}"#, &[]),
        (
            r#"{"num_beams": 4, "no_repeat_ngram_size": 3, "stop_strings": ["x"]}"#,
            &["num_beams", "no_repeat_ngram_size", "stop_strings"],
        ),
        (
            r#"{"num_beams": 1, "no_repeat_ngram_size": 0, "stop_strings": null, "suppress_tokens": [], "guidance_scale": 1.0, "forced_eos_token_id": null}"#,
            &[],
        ),
        (r#"{"alg": "entropy", "steps": 64, "alg_temp": 0.1}"#, &["steps", "alg", "alg_temp"]),
        (
            r#"{"max_new_tokens": 5, "max_length": 20, "bos_token_id": 1, "transformers_version": "4.53.3"}"#,
            &[],
        ),
    ] {
        assert_eq!(unused(text), keys, "{text}");
    }
}

/// What Python's json module reads beyond JSON does no harm in a key that is not read, and is refused by its key in one that is.
#[test]
fn values_that_only_python_knows() {
    let mut table = Table::default();
    let original = std::fs::read_to_string(golden("sdar-f32").join("config.json")).unwrap();
    let read =
        |text: &str| Architecture::from_config("c.json", &Value::parse_python("c.json", text.as_bytes())?);
    let expected = read(&original).unwrap();
    let long = "9".repeat(400);
    for value in
        ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", &long, r#""\ud83d""#, r#""a\udc00\ud83d""#]
    {
        let unread = original.replacen('{', &format!("{{\"time_step_limit\": [0, {value}], "), 1);
        assert_eq!(read(&unread).unwrap(), expected, "{value}");
        for key in ["rms_norm_eps", "hidden_size", "rope_theta", "architectures", "model_type"] {
            let Value::Object(mut entries) = Value::parse("c.json", original.as_bytes()).unwrap() else {
                unreachable!("a config is an object")
            };
            entries.retain(|(other, _)| other != key);
            entries.push((key.into(), Value::parse_python("value", value.as_bytes()).unwrap()));
            let result = Architecture::from_config("c.json", &Value::Object(entries));
            let shown = &value[..value.len().min(59)];
            table.row(&format!("{key} = {value}"), result, "Config", &["c.json: key `", key, shown]);
        }
    }
    // Strict readers stay strict.
    for value in ["NaN", "Infinity", "-Infinity", "1e400", r#""\ud83d""#] {
        assert!(Value::parse("t.json", value.as_bytes()).is_err(), "{value}");
    }
    for value in ["-NaN", "+Infinity", "nan", "inf", "Infinit", "-", r#""\ud83d"#, r#""\ud8""#] {
        assert!(Value::parse_python("t.json", value.as_bytes()).is_err(), "{value}");
    }
    let pair = Value::parse_python("t.json", br#""\ud83d\ude00""#).unwrap();
    assert_eq!(pair.as_str(), Some("😀"));
    table.finish(40);
}

#[test]
fn config_files_that_cannot_be_read() {
    let mut table = Table::default();
    let dir = fixture::TempDir::new();
    let file = |contents: &[u8]| dir.write("c.json", contents);
    table.row("missing", Architecture::from_file(&dir.file("x.json")), "Io", &["x.json: "]);
    table.row("directory", Architecture::from_file(dir.path()), "Format", &["not a regular file"]);
    table.row("empty", Architecture::from_file(&file(b"")), "Json", &["c.json: malformed JSON at byte 0"]);
    table.row(
        "deep",
        Architecture::from_file(&file(&[b'['; 1_000_000])),
        "Json",
        &["byte 127: nested deeper"],
    );
    let twice = Architecture::from_file(&file(br#"{"model_type":"sdar","model_type":"llada"}"#));
    table.row("twice", twice, "Json", &["at byte 21: duplicate key `model_type`"]);
    table.row("binary", Architecture::from_file(&file(b"{\"\xff\xfe")), "Json", &["at byte 2: not UTF-8"]);
    std::fs::File::create(dir.file("big.json")).unwrap().set_len(100_000_001).unwrap();
    let pointer = file(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
    table.row("pointer", Architecture::from_file(&pointer), "Format", &["c.json: a Git LFS pointer"]);
    table.row("pointer", GenerationConfig::from_file(&pointer), "Format", &["c.json: a Git LFS pointer"]);
    let big = Architecture::from_file(&dir.file("big.json"));
    table.row("big", big, "Format", &["big.json: 100000001 bytes, expected at most 100000000"]);
    table.row("generation", GenerationConfig::from_file(&dir.file("g.json")), "Io", &["g.json: "]);
    table.finish(10);
}

proptest! {
    /// Whatever one or two keys hold: an error, or sizes whose products can be computed.
    #[test]
    fn no_value_of_any_key_panics(
        family in proptest::sample::select(&ALL[..]),
        keys in proptest::collection::vec(any::<proptest::sample::Index>(), 1..=2),
        value in proptest::sample::select(&[
            "null", "0", "1", "2", "-1", "7", "4096", "1048576", "16777216", "1e300", "1e-300", "[]", "{}", "[[]]",
            "true", "false", "\"\"", "\"silu\"", "18446744073709551615", "{\"rope_theta\":1e4}", "[0,1]",
        ][..]),
    ) {
        let Value::Object(mut entries) = edited(family, &[]) else { unreachable!("a config is an object") };
        for key in keys {
            let key = key.index(entries.len());
            entries[key].1 = Value::parse("value", value.as_bytes()).unwrap();
        }
        if let Ok(arch) = Architecture::from_config("c.json", &Value::Object(entries)) {
            for slot in arch.tensors() {
                let bytes = slot.shape.iter().try_fold(8usize, |product, &dim| product.checked_mul(dim));
                prop_assert!(bytes.is_some() && !slot.shape.contains(&0), "{:?}", slot);
            }
        }
    }
}
