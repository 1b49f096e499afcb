//! `diffulex-synth` from the outside: what it writes is a checkpoint, always the same one, and nothing is overwritten without `--force`.

use diffulex::model::Architecture;
use diffulex::model::GenerationConfig;
use diffulex::model::{Role, check_checkpoint};
use diffulex::text::Tokenizer;
use diffulex::text::chat::{ChatTemplate, Message};
use diffulex::text::hf::HfTokenizer;
use diffulex::weights::{Checkpoint, Storage};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory that is removed when the test ends.
struct TestDir(PathBuf);

impl TestDir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("diffulex-synth-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn synth(threads: usize, dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_diffulex-synth"))
        .args(arguments)
        .arg("--output")
        .arg(dir)
        .env("RAYON_NUM_THREADS", threads.to_string())
        .output()
        .unwrap()
}

#[track_caller]
fn succeeds(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        output.stderr.is_empty(),
        "progress is for terminals: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[track_caller]
fn refused(output: &Output, reason: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains(reason), "{stderr}");
}

#[test]
fn tiny_presets_are_complete_checkpoints() {
    let dir = TestDir::new("complete");
    for preset in [
        "tiny-sdar",
        "tiny-sdar-moe",
        "tiny-fast-dllm",
        "tiny-dream",
        "tiny-llada",
        "tiny-llada2",
        "tiny-llada-moe",
        "tiny-a2d",
        "tiny-open-dcoder",
        "tiny-stable-diffcoder",
        "tiny-nemotron",
    ] {
        for dtype in ["bf16", "f16", "f32", "int4", "int8:row"] {
            let out = dir.join(&format!("{preset}-{dtype}"));
            succeeds(&synth(2, &out, &[preset, "--dtype", dtype, "--layers", "2"]));
            let architecture = Architecture::from_file(&out.join("config.json")).unwrap();
            assert_eq!(architecture.dims.layers, 2);
            let weights = Checkpoint::locate(&out).unwrap().open(Storage::Read).unwrap();
            check_checkpoint(&architecture, &weights).unwrap();
            let tokenizer = HfTokenizer::from_dir(&out).unwrap();
            assert!(tokenizer.size() <= architecture.dims.vocab, "{preset}");
            let config = diffulex::json::Value::read(&out.join("tokenizer_config.json")).unwrap();
            let mask = tokenizer.mask_id(Some(&config), None).unwrap();
            assert!(mask.is_some(), "{preset} has no mask token");
            assert!(architecture.tokens.mask.is_none_or(|id| Some(id) == mask), "{preset}");
            let files = Checkpoint::locate(&out).unwrap();
            let template =
                ChatTemplate::open(files.chat_template.as_deref(), files.tokenizer_config.as_deref());
            let template = template.unwrap().expect("a template");
            let text = template.render(&[Message::new("user", "kalo mi")], true).unwrap();
            let ids = tokenizer.encode(&text).unwrap();
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
            let generation = out.join("generation_config.json");
            assert_eq!(
                generation.exists(),
                !matches!(
                    preset,
                    "tiny-dream" | "tiny-llada" | "tiny-llada-moe" | "tiny-open-dcoder" | "tiny-nemotron"
                )
            );
            if generation.exists() {
                let eos = GenerationConfig::from_file(&generation).unwrap().eos.map(|ids| ids.len());
                assert_eq!(eos, Some(if preset == "tiny-stable-diffcoder" { 1 } else { 2 }));
            }
        }
    }
}

#[test]
fn the_same_seed_writes_the_same_bytes_on_any_number_of_threads() {
    let dir = TestDir::new("seed");
    let weights = |name: &str, threads, seed: &str| {
        let out = dir.join(name);
        succeeds(&synth(threads, &out, &["tiny-dream", "--seed", seed]));
        fs::read(out.join("model.safetensors")).unwrap()
    };
    let one = weights("one", 1, "7");
    assert!(one == weights("three", 3, "7"), "the number of threads changes the weights");
    assert!(one != weights("other", 1, "8"), "the seed changes nothing");
}

#[test]
fn shards_hold_the_same_tensors_as_one_file() {
    let dir = TestDir::new("shards");
    let (whole, cut) = (dir.join("whole"), dir.join("cut"));
    succeeds(&synth(2, &whole, &["tiny-llada"]));
    succeeds(&synth(2, &cut, &["tiny-llada", "--max-shard-size", "400KiB"]));
    assert!(whole.join("model.safetensors").exists() && !cut.join("model.safetensors").exists());
    let open = |dir: &Path| Checkpoint::locate(dir).unwrap().open(Storage::Read).unwrap();
    let (whole, shards) = (open(&whole), open(&cut));
    assert!(shards.files().len() > 2, "{:?}", shards.files());
    let architecture = Architecture::from_file(&cut.join("config.json")).unwrap();
    for name in architecture.tensors().into_iter().map(|slot| slot.name) {
        use diffulex::weights::TensorSource;
        assert!(
            whole.tensor(&name).unwrap().bytes()[..] == shards.tensor(&name).unwrap().bytes()[..],
            "{name}"
        );
    }
}

/// As diffulex-quantize writes them: block matrices and experts in the format, embedding and output matrix in int8, the rest in floats.
#[test]
fn quantized_weights_are_written_without_a_float_copy() {
    use diffulex::weights::TensorSource;
    let dir = TestDir::new("quantized");
    let out = dir.join("int4");
    succeeds(&synth(2, &out, &["tiny-llada2", "--dtype", "int4:32"]));
    let architecture = Architecture::from_file(&out.join("config.json")).unwrap();
    let weights = Checkpoint::locate(&out).unwrap().open(Storage::Read).unwrap();
    for slot in architecture.tensors() {
        let format = weights.stored(&slot.name).unwrap().format().unwrap().to_string();
        let expected = match slot.role {
            Role::Attention | Role::FeedForward => "q4g32",
            Role::Embedding | Role::Head => "q8g32",
            Role::Router | Role::Norm | Role::Bias => "bf16",
        };
        assert_eq!(format, expected, "{}", slot.name);
    }
    let output = synth(2, &dir.join("two"), &["tiny-llada2", "--dtype", "int4", "--max-shard-size", "1MB"]);
    refused(&output, "option `max-shard-size`: given, but q4g64 weights are in one file");
}

#[test]
fn a_directory_in_use_is_left_alone_unless_forced() {
    let dir = TestDir::new("force");
    let out = dir.join("out");
    succeeds(&synth(2, &out, &["tiny-fast-dllm", "--max-shard-size", "400KiB"]));
    fs::write(out.join("notes.txt"), "mine").unwrap();
    let before = fs::read(out.join("config.json")).unwrap();
    refused(&synth(2, &out, &["tiny-dream"]), "is not empty");
    assert_eq!(fs::read(out.join("config.json")).unwrap(), before);
    succeeds(&synth(2, &out, &["tiny-dream", "--force"]));
    let mut names: Vec<_> =
        fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(
        names,
        ["config.json", "model.safetensors", "notes.txt", "tokenizer.json", "tokenizer_config.json"]
    );
}

#[test]
fn bad_input_is_refused_with_code_2() {
    let dir = TestDir::new("bad");
    refused(&synth(2, &dir.join("a"), &["sdar-9b"]), "sdar-1.7b");
    refused(&synth(2, &dir.join("b"), &["tiny-sdar", "--dtype", "int2"]), "int8, int4:GROUP");
    refused(&synth(2, &dir.join("c"), &["tiny-sdar", "--layers", "0"]), "layers");
    refused(&synth(2, &dir.join("d"), &["tiny-sdar", "--max-shard-size", "5TB"]), "unknown unit");
    assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 0, "something was written");
}

#[test]
fn the_list_names_every_preset() {
    let output = Command::new(env!("CARGO_BIN_EXE_diffulex-synth")).arg("--list").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let names: Vec<_> = text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, diffulex_cli::presets::PRESETS.map(|preset| preset.name));
    assert!(text.contains("sdar-1.7b           2031.7 M   4.06 GB"), "{text}");
}

#[test]
fn the_old_checkpoint_stays_until_the_new_one_is_there() {
    let dir = TestDir::new("stays");
    let out = dir.join("out");
    succeeds(&synth(2, &out, &["tiny-sdar"]));
    let names = || {
        let mut names: Vec<_> = fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let (before, config) = (names(), fs::read(out.join("config.json")).unwrap());
    // A run in progress, and what one that was killed left.
    let lock = fs::File::open(&out).unwrap();
    if lock.try_lock().is_ok() {
        refused(&synth(2, &out, &["tiny-dream", "--force"]), "another run writes to this directory");
        assert_eq!((names(), fs::read(out.join("config.json")).unwrap()), (before, config));
        drop(lock);
        fs::create_dir(out.join(".diffulex.abc.partial")).unwrap();
        fs::write(out.join(".diffulex.abc.partial/model.safetensors"), "half").unwrap();
    }
    succeeds(&synth(2, &out, &["tiny-dream", "--force"]));
    assert!(!names().iter().any(|name| name.to_string_lossy().starts_with('.')), "{:?}", names());
    let file = dir.join("file");
    fs::write(&file, "mine").unwrap();
    refused(&synth(2, &file, &["tiny-sdar", "--force"]), "ot a directory");
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
#[cfg(unix)]
fn a_signal_leaves_nothing_behind() {
    let dir = TestDir::new("signal");
    let out = dir.join("out");
    // Some gigabytes: it does not get far.
    let mut child = Command::new(env!("CARGO_BIN_EXE_diffulex-synth"))
        .args(["sdar-1.7b", "--output", out.to_str().unwrap()])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while !fs::read_dir(&out).is_ok_and(|mut entries| entries.next().is_some()) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    for _ in 0..2 {
        // The second one ends it at once.
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(sent.success() || child.try_wait().unwrap().is_some(), "the signal was sent");
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 0, "something was left");
}
