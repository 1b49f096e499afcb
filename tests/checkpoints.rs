//! Checkpoints that load: the recorded ones with their exact architecture, mapped and read.

mod fixture;

use diffulex::cache::Attention;
use diffulex::kernels::{Rope, RopeScaling, RopeTable, Yarn};
use diffulex::model::GenerationConfig;
use diffulex::model::check_checkpoint;
use diffulex::model::{Alignment, Architecture, CommitRule, Dims};
use diffulex::weights::{Checkpoint, SafeTensors, Storage, TensorSource};
use fixture::golden;

const GOLDENS: [&str; 12] = [
    "a2d-qwen3-f32",
    "a2d-qwen2-bf16-sharded",
    "stable-diffcoder-f32",
    "nemotron-diffusion-f32",
    "dream-f32",
    "dream-bf16",
    "llada-f32",
    "llada-f16",
    "sdar-f32",
    "sdar-hd128-sharded",
    "fastdllm2-f32",
    "fastdllm2-untied",
];

fn load(name: &str, storage: Storage) -> (Architecture, SafeTensors) {
    let checkpoint = Checkpoint::locate(&golden(name)).unwrap();
    let arch = Architecture::from_file(checkpoint.config.as_ref().unwrap()).unwrap();
    let weights = checkpoint.open(storage).unwrap();
    check_checkpoint(&arch, &weights).unwrap_or_else(|error| panic!("{name}: {error}"));
    (arch, weights)
}

#[test]
fn recorded_checkpoints_have_their_architecture() {
    // vocab, hidden, ffn, layers, heads, kv heads, head_dim, positions; tied; qkv bias; mask; eos
    let rows = [
        ("dream-f32", [333, 112, 101, 2, 7, 1, 16, 131_072], false, true, Some(304), 300),
        ("dream-bf16", [304, 112, 96, 2, 7, 1, 16, 131_072], false, true, Some(294), 290),
        ("llada-f32", [320, 64, 96, 3, 4, 4, 16, 4096], false, false, Some(303), 299),
        ("llada-f16", [317, 96, 75, 2, 3, 3, 32, 4096], false, false, Some(315), 311),
        ("sdar-f32", [301, 72, 90, 2, 4, 2, 32, 32_768], true, false, Some(299), 294),
        ("sdar-hd128-sharded", [352, 44, 70, 2, 2, 1, 128, 32_768], false, false, Some(325), 320),
        ("fastdllm2-f32", [350, 96, 75, 2, 6, 1, 16, 32_768], true, true, None, 332),
        ("fastdllm2-untied", [288, 112, 60, 2, 7, 1, 16, 32_768], false, true, None, 282),
        ("a2d-qwen3-f32", [320, 64, 80, 2, 4, 2, 32, 40_960], true, false, None, 302),
        ("a2d-qwen2-bf16-sharded", [304, 84, 70, 2, 6, 1, 14, 40_960], true, true, None, 292),
        ("stable-diffcoder-f32", [320, 64, 96, 2, 4, 2, 16, 8192], false, false, None, 2),
    ];
    for (name, [vocab, hidden, ffn, layers, n_heads, n_kv_heads, head_dim, max_pos], tied, bias, mask, eos) in
        rows
    {
        let (arch, _) = load(name, Storage::Map);
        let dims = Dims { vocab, hidden, ffn, layers, n_heads, n_kv_heads, head_dim, max_pos };
        assert_eq!(arch.dims, dims, "{name}");
        assert_eq!(
            (arch.tied, arch.qkv_bias, arch.out_bias, arch.mlp_bias),
            (tied, bias, false, false),
            "{name}"
        );
        assert_eq!((arch.tokens.mask, &arch.tokens.eos[..]), (mask, &[eos][..]), "{name}");
        let (family, policy, attention, alignment, theta, eps) = match name.split('-').next().unwrap() {
            "dream" => ("Dream", "dream-entropy", Attention::Bidirectional, Alignment::Shifted, 1e6, 1e-6),
            "llada" => ("LLaDA", "llada-low-confidence", Attention::Bidirectional, Alignment::Own, 5e5, 1e-5),
            "sdar" => {
                ("SDAR", "sdar-dynamic", Attention::BlockCausal { block: 4 }, Alignment::Own, 1e6, 1e-6)
            }
            "a2d" => ("A2D", "mdlm", Attention::Bidirectional, Alignment::Own, 1e6, 1e-6),
            "stable" => {
                let attention = Attention::BlockCausal { block: 4 };
                ("Stable-DiffCoder", "stable-diffcoder", attention, Alignment::Own, 5e5, 1e-6)
            }
            _ => {
                let attention = Attention::BlockCausal { block: 32 };
                ("Fast-dLLM v2", "fast-dllm-v2", attention, Alignment::Shifted, 1e6, 1e-6)
            }
        };
        assert_eq!((arch.family, arch.policy), (family, policy), "{name}");
        assert_eq!((arch.attention, arch.alignment), (attention, alignment), "{name}");
        assert_eq!((arch.rope, arch.norm_eps), (Rope::new(theta, arch.dims.head_dim), eps), "{name}");
        assert_eq!(arch.qk_norm, family == "SDAR" || name == "a2d-qwen3-f32", "{name}");
        assert_eq!(arch.trained_block, (family == "A2D").then_some(32), "{name}");
    }
}

#[test]
fn nemotron_is_causal_but_for_the_block_in_work() {
    let (arch, _) = load("nemotron-diffusion-f32", Storage::Map);
    assert_eq!((arch.family, arch.policy), ("Nemotron-Labs-Diffusion", "nemotron-diffusion"));
    assert_eq!((arch.attention, arch.commit), (Attention::BlockCausal { block: 8 }, CommitRule::Causal));
    assert_eq!((arch.alignment, arch.norm_eps), (Alignment::Seeded, 1e-5));
    assert_eq!((arch.tokens.mask, &arch.tokens.eos[..]), (Some(7), &[2][..]));
    assert!(!(arch.qkv_bias || arch.out_bias || arch.qk_norm || arch.tied));
    let (factor, original, attention, queries) = (16.0, 16, 1.0, 0.1);
    let yarn = Yarn { factor, original, beta_fast: 32.0, beta_slow: 1.0, attention, queries };
    let rope = Rope { scaling: RopeScaling::Yarn(yarn), ..Rope::new(1e6, 32) };
    assert_eq!(arch.rope, rope);
    // Queries grow beyond the positions that the model was first trained for.
    let table = RopeTable::new(&rope, 32, 49);
    for (pos, factor) in [(0, 1.0), (15, 1.0), (16, 1.0 + 0.1 * 2f32.ln()), (48, 1.0 + 0.1 * 4f32.ln())] {
        assert_eq!(table.query_factor(pos), Some(factor), "position {pos}");
    }
    assert_eq!(RopeTable::new(&Rope::new(1e6, 32), 32, 4).query_factor(3), None);
}

/// Presets that were checked on paper: what differs in the files of these models from those of their family.
#[test]
fn models_of_a_known_family_are_read_as_one() {
    let read = |name: &str, edits: &[(&str, &str)]| {
        let text = std::fs::read_to_string(golden(name).join("config.json")).unwrap();
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        edits.iter().for_each(|(key, value)| json[*key] = serde_json::from_str(value).unwrap());
        let json = diffulex::json::Value::parse("c", json.to_string().as_bytes()).unwrap();
        Architecture::from_config("c", &json)
    };
    // iLLaDA-8B: LLaDA's code with another mask.
    let illada = read("llada-f32", &[("mask_token_id", "5")]).unwrap();
    assert_eq!((illada.family, illada.tokens.mask), ("LLaDA", Some(5)));
    // TraDo is SDAR, Dream-Coder and DreamOn are Dream.
    assert_eq!(read("sdar-f32", &[("block_size", "4")]).unwrap().family, "SDAR");
    // Open-dCoder-0.5B: Dream under the class of Qwen2, with its code next to it.
    let code = r#"{"AutoModelForCausalLM": "modeling_qwen2.Qwen2ForCausalLM"}"#;
    let qwen2 = |code: &str, trusted: &str| {
        let edits = [
            ("architectures", r#"["Qwen2ForCausalLM"]"#),
            ("model_type", "\"qwen2\""),
            ("auto_map", code),
            ("trust_remote_code", trusted),
            ("mask_token_id", "null"),
        ];
        read("dream-f32", &edits)
    };
    let (ours, dream) = (qwen2(code, "true").unwrap(), read("dream-f32", &[]).unwrap());
    assert_eq!((ours.family, ours.policy, ours.tokens.mask), ("Open-dCoder", "dream-entropy", None));
    assert_eq!((ours.dims, ours.qkv_bias, ours.alignment), (dream.dims, true, Alignment::Shifted));
    // A Qwen2 that is read from left to right is not one.
    let other = r#"{"AutoModelForCausalLM": "modeling_qwen.Qwen2ForCausalLM"}"#;
    for code in ["null", "{}", other] {
        let message = qwen2(code, "true").unwrap_err().to_string();
        assert!(
            message.contains("architecture Qwen2ForCausalLM with model_type qwen2; known are"),
            "{message}"
        );
    }
    let message = qwen2(code, "null").unwrap_err().to_string();
    assert!(message.contains("`trust_remote_code` is absent, only true is known"), "{message}");
}

#[test]
fn mapped_and_read_weights_are_those_of_the_format_crate() {
    for name in GOLDENS {
        let (arch, mapped) = load(name, Storage::Map);
        let (_, read) = load(name, Storage::Read);
        let mut expected: Vec<String> = arch.tensors().into_iter().map(|slot| slot.name).collect();
        expected.sort();
        assert_eq!((mapped.names(), read.names()), (expected.clone(), expected), "{name}");
        for file in mapped.files() {
            let bytes = std::fs::read(file).unwrap();
            for (tensor, theirs) in safetensors::SafeTensors::deserialize(&bytes).unwrap().tensors() {
                for ours in [mapped.tensor(&tensor).unwrap(), read.tensor(&tensor).unwrap()] {
                    assert_eq!(ours.shape(), theirs.shape(), "{name}: {tensor}");
                    assert_eq!(ours.dtype().name(), theirs.dtype().to_string(), "{name}: {tensor}");
                    assert!(**ours.bytes() == *theirs.data(), "{name}: {tensor} has other bytes");
                }
                assert_eq!(&mapped.origin(&tensor), file);
            }
        }
    }
}

#[test]
fn files_are_found_beside_the_weights() {
    let dir = golden("fastdllm2-f32");
    let checkpoint = Checkpoint::locate(&dir).unwrap();
    assert_eq!(checkpoint, Checkpoint::locate(&dir.join("model.safetensors")).unwrap());
    assert_eq!(checkpoint.config, Some(dir.join("config.json")));
    assert_eq!(checkpoint.tokenizer, Some(dir.join("tokenizer.json")));
    assert_eq!(checkpoint.tokenizer_config, Some(dir.join("tokenizer_config.json")));
    assert_eq!(checkpoint.chat_template, Some(dir.join("chat_template.jinja")));
    assert_eq!(checkpoint.generation_config, Some(dir.join("generation_config.json")));
    assert_eq!(checkpoint.special_tokens_map, None);
    let sharded = golden("sdar-hd128-sharded");
    let index = Checkpoint::locate(&sharded.join("model.safetensors.index.json")).unwrap();
    assert_eq!(index, Checkpoint::locate(&sharded).unwrap());
    assert_eq!((&index.chat_template, index.open(Storage::Map).unwrap().files().len()), (&None, 2));
}

#[test]
fn generation_configs_are_read() {
    let read = |name| GenerationConfig::from_file(&golden(name).join("generation_config.json")).unwrap();
    let expected = GenerationConfig {
        eos: Some(vec![332, 330]),
        do_sample: Some(true),
        temperature: Some(0.7),
        top_k: Some(20),
        top_p: Some(0.8),
        repetition_penalty: Some(1.05),
    };
    assert_eq!(read("fastdllm2-f32"), expected);
    let sdar = read("sdar-f32");
    assert_eq!((sdar.eos, sdar.top_p, sdar.repetition_penalty), (Some(vec![296, 294]), Some(0.95), None));
    let none = GenerationConfig::default;
    let eos = |ids: &[u32]| GenerationConfig { eos: Some(ids.to_vec()), ..none() };
    let (yes, no) = (|| Some(true), GenerationConfig { do_sample: Some(false), ..none() });
    for (text, expected) in [
        (r#""eos_token_id": 7, "top_k": 0"#, GenerationConfig { top_k: Some(0), ..eos(&[7]) }),
        // "Off" has many spellings.
        ("", none()),
        (r#""temperature": null, "top_k": null, "top_p": null, "do_sample": null"#, none()),
        (r#""eos_token_id": null, "repetition_penalty": null"#, none()),
        (r#""top_k": -1"#, GenerationConfig { top_k: Some(0), ..none() }),
        (r#""top_k": -1.0"#, GenerationConfig { top_k: Some(0), ..none() }),
        (r#""top_k": 0.0, "top_p": 1"#, GenerationConfig { top_k: Some(0), top_p: Some(1.0), ..none() }),
        (r#""top_p": 0.0"#, GenerationConfig { top_p: Some(0.0), ..none() }),
        (
            r#""temperature": 0, "do_sample": true"#,
            GenerationConfig { temperature: Some(0.0), do_sample: yes(), ..none() },
        ),
        (r#""do_sample": true"#, GenerationConfig { do_sample: yes(), ..none() }),
        // Where nothing is drawn, nothing of it is used, whatever it says.
        (r#""do_sample": false"#, no.clone()),
        (r#""do_sample": false, "temperature": 0.7, "top_k": 50, "top_p": 0.9"#, no.clone()),
        (r#""do_sample": false, "temperature": -1, "top_k": "many", "top_p": 7"#, no.clone()),
        (
            r#""do_sample": false, "repetition_penalty": 1.5"#,
            GenerationConfig { repetition_penalty: Some(1.5), ..no },
        ),
        // No id, and ids of which one is invalid.
        (r#""eos_token_id": []"#, eos(&[])),
        (r#""eos_token_id": -1"#, eos(&[])),
        (r#""eos_token_id": [3, -1, 5]"#, eos(&[3, 5])),
    ] {
        let json = diffulex::json::Value::parse("g", format!("{{{text}}}").as_bytes()).unwrap();
        assert_eq!(GenerationConfig::from_json("g", &json).unwrap(), expected, "{text}");
    }
}

#[test]
fn who_names_the_stop_ids() {
    use diffulex::engine::{Engine, ModelFiles};
    let dir = golden("sdar-f32");
    let config = std::fs::read_to_string(dir.join("config.json")).unwrap();
    let source = Checkpoint::locate(&dir).unwrap().open(Storage::Read).unwrap();
    let stop = |in_config: &str, in_generation: &str| {
        let json = |file, text: &str| diffulex::json::Value::parse(file, text.as_bytes());
        let generation = GenerationConfig::from_json("g.json", &json("g.json", in_generation)?)?;
        let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
        config["eos_token_id"] = serde_json::from_str(in_config).unwrap();
        let files = ModelFiles::from_json("c.json", json("c.json", &config.to_string())?, generation)?;
        let engine = Engine::builder().threads(1).load(files, &source)?;
        diffulex::Result::Ok((engine.stop().to_vec(), engine.stop_origin()))
    };
    let none = "{}";
    let (config, generation) = ("config.json", "generation_config.json");
    for (in_config, in_generation, expected) in [
        ("13", r#"{"eos_token_id": [7, 9]}"#, (vec![7, 9], generation)),
        ("[13, 14]", none, (vec![13, 14], config)),
        ("13", r#"{"eos_token_id": null}"#, (vec![13], config)),
        ("13", r#"{"eos_token_id": []}"#, (vec![], generation)),
        ("13", r#"{"eos_token_id": -1}"#, (vec![], generation)),
        ("null", none, (vec![], "none")),
        ("-1", none, (vec![], "none")),
        // Not needed, so not checked.
        ("99999", r#"{"eos_token_id": 7}"#, (vec![7], generation)),
        ("\"x\"", r#"{"eos_token_id": 7}"#, (vec![7], generation)),
        // The model cannot produce it.
        ("13", r#"{"eos_token_id": [7, 99999]}"#, (vec![7], generation)),
    ] {
        assert_eq!(stop(in_config, in_generation).unwrap(), expected, "{in_config}, {in_generation}");
    }
    let error = stop("99999", none).unwrap_err().to_string();
    assert!(error.starts_with("c.json: key `eos_token_id`: found `99999`"), "{error}");
}

#[test]
fn defaults_of_keys_that_may_be_null() {
    let read = |family: &str, edits: &[(&str, &str)]| {
        let text = std::fs::read_to_string(golden(family).join("config.json")).unwrap();
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        for (key, value) in edits {
            json[*key] = serde_json::from_str(value).unwrap();
        }
        let json = diffulex::json::Value::parse("c", json.to_string().as_bytes()).unwrap();
        Architecture::from_config("c", &json).unwrap()
    };
    assert_eq!(read("dream-f32", &[("num_key_value_heads", "null")]).dims.n_kv_heads, 7);
    assert_eq!(read("sdar-f32", &[("head_dim", "null")]).dims.head_dim, 18);
    let biased = read("sdar-f32", &[("attention_bias", "true"), ("block_size", "null")]);
    assert_eq!((biased.qkv_bias, biased.out_bias, biased.mlp_bias), (true, true, false));
    assert_eq!(biased.attention, Attention::BlockCausal { block: 4 });
    let block = read("sdar-f32", &[("block_size", "16")]).attention;
    assert_eq!(block, Attention::BlockCausal { block: 16 });
    let block = read("fastdllm2-f32", &[("bd_size", "null")]).attention;
    assert_eq!(block, Attention::BlockCausal { block: 32 });
    let block = read("fastdllm2-f32", &[("bd_size", "8")]).attention;
    assert_eq!(block, Attention::BlockCausal { block: 8 });
    assert_eq!(read("llada-f32", &[("n_kv_heads", "null")]).dims.n_kv_heads, 4);
    let multi = read("llada-f32", &[("n_kv_heads", "null"), ("multi_query_attention", "true")]);
    assert_eq!(multi.dims.n_kv_heads, 1);
    assert_eq!(read("llada-f32", &[("mlp_hidden_size", "null")]).dims.ffn, 256);
    assert_eq!(read("llada-f32", &[("embedding_size", "null")]).dims.vocab, 320);
    assert_eq!(read("llada-f32", &[("embedding_size", "384")]).dims.vocab, 384);
    let qkv = read("llada-f32", &[("include_qkv_bias", "true")]);
    assert_eq!((qkv.qkv_bias, qkv.out_bias, qkv.mlp_bias), (true, false, false));
    let all = read("llada-f32", &[("include_bias", "true"), ("weight_tying", "true")]);
    assert_eq!((all.qkv_bias, all.out_bias, all.mlp_bias, all.tied), (true, true, true, true));
    let names: Vec<String> = all.tensors().into_iter().map(|slot| slot.name).collect();
    assert!(names.contains(&"model.transformer.blocks.2.ff_out.bias".to_string()), "{names:?}");
    assert!(!names.contains(&"model.transformer.ff_out.weight".to_string()), "{names:?}");
    let scaled = |scaling| Rope { scaling, ..read("dream-f32", &[]).rope };
    let linear = read("dream-f32", &[("rope_scaling", r#"{"type": "linear", "factor": 2}"#)]).rope;
    assert_eq!(linear, scaled(RopeScaling::Linear { factor: 2.0 }));
    let yarn = |attention| {
        let (factor, original) = (4.0, 32_768);
        scaled(RopeScaling::Yarn(Yarn {
            factor,
            original,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention,
            queries: 0.0,
        }))
    };
    let text = r#"{"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768"#;
    for (more, attention) in [
        ("", 0.1 * 4f64.ln() + 1.0),
        (r#", "mscale": 1.0, "mscale_all_dim": 1.0"#, 1.0),
        (r#", "attention_factor": 0.5"#, 0.5),
    ] {
        let parameters = format!("{text}{more}}}");
        assert_eq!(read("dream-f32", &[("rope_scaling", &parameters)]).rope, yarn(attention), "{more}");
        assert_eq!(read("dream-f32", &[("rope_parameters", &parameters)]).rope, yarn(attention), "{more}");
    }
    let tokens = read("dream-f32", &[("eos_token_id", "[1, 2]"), ("pad_token_id", "null")]).tokens;
    assert_eq!(tokens.eos, [1, 2]);
}

/// A sparse file far larger than the machine's memory opens at once, and its last bytes can be read.
#[cfg(all(target_os = "linux", feature = "mmap"))]
#[test]
fn mapping_reads_only_what_is_touched() {
    const BYTES: u64 = 1 << 38;
    let dir = fixture::TempDir::new();
    let header = format!(r#"{{"w":{{"dtype":"U8","shape":[{BYTES}],"data_offsets":[0,{BYTES}]}}}}"#);
    let path = dir.write("model.safetensors", fixture::safetensors(&header, b""));
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(8 + header.len() as u64 + BYTES).unwrap();
    let weights = Checkpoint::locate(dir.path()).unwrap().open(Storage::Map).unwrap();
    let tensor = weights.tensor("w").unwrap();
    assert_eq!(tensor.bytes().last(), Some(&0));
    let address = tensor.bytes().as_ptr() as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.ends_with(path.to_str().unwrap())).expect("the file is mapped");
    let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
    let hex = |text| usize::from_str_radix(text, 16).unwrap();
    assert!((hex(start)..hex(end)).contains(&address), "{address:x} is not in {line}");
    assert!(line.contains(" r--"), "the mapping can be written: {line}");
}

/// A file that is a dangling link is not absent: a snapshot of a hub cache without its blobs.
#[cfg(unix)]
#[test]
fn links_to_nothing_are_refused_by_name() {
    let temp = fixture::TempDir::new();
    let dir = temp.path();
    let files = [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
        "model.safetensors",
        "model.safetensors.index.json",
        "other.safetensors",
    ];
    for file in files {
        let link = dir.join(file);
        std::os::unix::fs::symlink("../../blobs/abc", &link).unwrap();
        if !file.contains("safetensors") {
            std::fs::write(dir.join("model.safetensors"), "").unwrap();
        }
        let error = Checkpoint::locate(dir).expect_err(file).to_string();
        assert_eq!(error, format!("{}: a link to ../../blobs/abc, which is not there", link.display()));
        std::fs::remove_file(link).unwrap();
        let _ = std::fs::remove_file(dir.join("model.safetensors"));
    }
    std::fs::write(dir.join("a.safetensors"), "").unwrap();
    std::os::unix::fs::symlink("gone", dir.join("b.safetensors")).unwrap();
    let index = r#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#;
    std::fs::write(dir.join("model.safetensors.index.json"), index).unwrap();
    let error = Checkpoint::locate(dir).unwrap().open(Storage::Read).err().unwrap().to_string();
    assert!(error.ends_with("b.safetensors: a link to gone, which is not there"), "{error}");
}
