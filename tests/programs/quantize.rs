//! `diffulex-quantize`: what it writes runs, and what it refuses leaves nothing behind.

use crate::fixture::{TempDir, parts};
use crate::program::{Output, finish, program, run};
use crate::{MODELS, ids, model};
use diffulex::Engine;
use diffulex::cache::{KvDtype, Visible};
use diffulex::model::Probe;
use diffulex::quant::Format;
use serde_json::Value;
use std::fs;
use std::path::Path;

const QUANTIZE: &str = env!("CARGO_BIN_EXE_diffulex-quantize");

fn quantize(source: &str, output: &Path, more: &[&str]) -> Output {
    let output = output.display().to_string();
    finish(program(QUANTIZE, &[&[source, "-o", &output, "--threads", "2"], more].concat()))
}

/// Quantizes a golden directory into `out` of a new directory.
fn quantized(name: &str, more: &[&str]) -> (TempDir, Value) {
    let dir = TempDir::new();
    let report = quantize(&model(name), &dir.file("out"), &[&["--json"], more].concat());
    (dir, report.json())
}

fn logits(engine: &Engine) -> Vec<f32> {
    let visible = Visible::by_rule(engine.arch().attention, 0..12, 0, 12);
    let mut session = engine.session().unwrap();
    session.forward(&[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], 0, &visible, &mut Probe::none()).unwrap();
    session.logits(&(0..12).collect::<Vec<_>>(), &mut Probe::none()).data().to_vec()
}

/// Names in a directory, hidden ones included.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_output_is_the_model_that_quantizing_on_loading_makes() {
    for name in MODELS {
        for (option, format) in
            [("int4", "q4g64"), ("int8:row", "q8row"), ("q4g32z", "q4g32z"), ("bf16", "bf16")]
        {
            let (dir, report) = quantized(name, &["--format", option, "--no-check"]);
            let builder = || Engine::builder().threads(1).kv(KvDtype::F32).context(16);
            let stored = builder().open(dir.file("out")).unwrap();
            let loaded = builder().quantize(Format::from_name(format).unwrap()).open(model(name)).unwrap();
            assert_eq!(stored.model().weight_format().name(), format, "{name}");
            assert_eq!(stored.model().formats(), loaded.model().formats(), "{name} {option}");
            assert!(logits(&stored) == logits(&loaded), "{name} {option}: logits differ");
            let tensors = report["tensors"].as_array().unwrap();
            let bytes = |tensor: &Value| tensor["bytes_after"].as_u64().unwrap();
            let after: u64 = tensors.iter().map(bytes).sum();
            assert_eq!(report["bytes_after"], after, "{name} {option}");
            // Routers of 16 bits are held as f32: twice what they have in the file.
            let is_router = |tensor: &&Value| {
                tensor["name"].as_str().is_some_and(|name| name.ends_with("mlp.gate.weight"))
            };
            let routers: u64 = tensors.iter().filter(is_router).map(bytes).sum();
            assert!(after + routers >= stored.model().weight_bytes() as u64, "{name} {option}");
        }
    }
}

#[test]
fn the_output_runs_with_its_tokenizer_and_template() {
    for name in MODELS {
        let (dir, _) = quantized(name, &["--format", "int8", "--no-check"]);
        let out = dir.file("out").display().to_string();
        let arguments = |model, more: &[&'static str]| {
            let fixed = ["-w", model, "--prompt", "Hello", "--max-tokens", "12", "--json"];
            ids(&run(&[&fixed[..], more].concat()).json()["ids"])
        };
        assert_eq!(arguments(&out, &[]), arguments(&model(name), &["--quantize", "int8"]), "{name}");
        let expected = names(Path::new(&model(name)))
            .into_iter()
            .filter(|file| !file.contains("safetensors") && !file.ends_with(".md"));
        let mut expected: Vec<_> = expected.chain(["model.safetensors".to_string()]).collect();
        expected.sort();
        assert_eq!(names(&dir.file("out")), expected, "{name}: files");
    }
}

#[test]
fn the_report_has_every_part_and_the_comparison() {
    let dir = TempDir::new();
    let out = dir.file("out");
    let report =
        quantize(&model("llada-f32"), &out, &["--format", "int4", "--lm-head", "bf16", "--embed", "int8:32"]);
    assert_eq!(report.stderr, "", "progress is for terminals");
    for words in [
        "embedding",
        "q8g32",
        "lm_head",
        "attention",
        "mlp",
        "q4g64",
        "norms",
        "largest errors:",
        "written in ",
        "f32 activations: cosine 0.9",
        "int8 activations: cosine 0.9",
        "same best token ",
    ] {
        assert!(report.text().contains(words), "{words}: {}", report.stdout);
    }
    let check = quantize(&model("llada-f32"), &out, &["--check-only", "--json"]).json();
    assert_eq!(check.as_object().unwrap().keys().collect::<Vec<_>>(), ["check"]);
    assert_eq!(check["check"]["positions"], 128);
    let (_dir, exact) = quantized("llada-f32", &["--format", "f32"]);
    let agreement = &exact["check"]["agreements"][0];
    assert_eq!(
        (&agreement["top1"], agreement["least_cosine"].as_f64().unwrap() > 0.999_999),
        (&1.0.into(), true)
    );
    assert_eq!(exact["check"]["agreements"].as_array().unwrap().len(), 1, "nothing to multiply int8 with");
}

#[test]
fn excluded_tensors_and_norms_are_the_bytes_of_the_source() {
    let (dir, report) = quantized(
        "dream-bf16",
        &["--format", "int4", "--exclude", "*.0.*", "--exclude", "lm_head*", "--no-check"],
    );
    let tensors = report["tensors"].as_array().unwrap();
    let kept = tensors.iter().filter(|tensor| tensor["format"] == "bf16");
    let source = diffulex::weights::Checkpoint::locate(Path::new(&model("dream-bf16"))).unwrap();
    let output = diffulex::weights::Checkpoint::locate(&dir.file("out")).unwrap();
    let open = |files: &diffulex::weights::Checkpoint| files.open(diffulex::weights::Storage::Read).unwrap();
    let (source, output) = (open(&source), open(&output));
    let mut matrices = 0;
    for tensor in kept {
        use diffulex::TensorSource;
        let name = tensor["name"].as_str().unwrap();
        let (a, b) = (source.tensor(name).unwrap(), output.tensor(name).unwrap());
        assert!(a.dtype() == b.dtype() && a.shape() == b.shape() && a.bytes()[..] == b.bytes()[..], "{name}");
        matrices += usize::from(a.shape().len() == 2);
    }
    assert_eq!(matrices, 7 + 1, "a block and the output matrix");
}

#[test]
fn the_file_depends_on_weights_and_options_only_and_panels_are_aligned() {
    for format in ["int4", "int8", "q4g128z"] {
        let dir = TempDir::new();
        let write = |name: &str, threads: &str| {
            let out = dir.file(name);
            let more = ["--format", format, "--no-check", "--threads", threads];
            let source = model("fastdllm2-f32");
            let arguments = [&[source.as_str(), "-o", out.to_str().unwrap()], &more[..]].concat();
            finish(program(QUANTIZE, &arguments)).text();
            fs::read(out.join("model.safetensors")).unwrap()
        };
        let file = write("one", "1");
        assert!(file == write("three", "3"), "{format}");
        let (header, data) = parts(&file);
        let start = file.len() - data.len();
        let header: Value = serde_json::from_str(&header).unwrap();
        let panels: Vec<_> =
            header.as_object().unwrap().iter().filter(|(_, tensor)| tensor["dtype"] == "U8").collect();
        assert!(panels.len() > 10, "{format}");
        for (name, tensor) in panels {
            let begin = tensor["data_offsets"][0].as_u64().unwrap() as usize;
            assert_eq!((start + begin) % 64, 0, "{format}: {name} begins inside a cache line");
        }
    }
}

/// The message of a run that must be refused and leave the directory as it was.
fn refused(source: &str, output: &Path, more: &[&str]) -> String {
    let before = output.exists().then(|| names(output));
    let outcome = quantize(source, output, more);
    assert_eq!(outcome.code, Some(2), "{more:?}: {}", outcome.stderr);
    assert_eq!(outcome.stdout, "", "{more:?}");
    assert_eq!(output.exists().then(|| names(output)), before, "{more:?}: something was left");
    outcome.stderr
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let dir = TempDir::new();
    let source = model("sdar-f32");
    for (more, words) in [
        (&[][..], "--format <FORMAT>"),
        (&["--format", "int3"], "expected int4, int8, int4:GROUP"),
        (&["--format", "int4:48"], "expected a group of 32, 64, 128, 256 or row"),
        (&["--format", "int4", "--group", "16"], "expected a group of 32, 64, 128, 256 or row"),
        (&["--format", "int4", "--group", "row"], "option `group`: int4 has groups of 32, 64, 128 or 256"),
        (&["--format", "int4:row"], "option `group`: int4 has groups of 32, 64, 128 or 256"),
        (&["--format", "bf16", "--group", "64"], "option `group`: no format that is given leaves it open"),
        (&["--format", "q4g64", "--group", "64"], "option `group`: no format that is given leaves it open"),
        (&["--format", "int8", "--zero-points"], "option `zero-points`: they are for int4"),
        (&["--format", "int4", "--lm-head", "int9"], "invalid value 'int9'"),
        (
            &["--format", "int4", "--exclude", "*.nothing"],
            "option `exclude`: no tensor of the model matches `*.nothing`",
        ),
        (&["--format", "int4", "--level", "avx1024"], "option `level`"),
        (&["--format", "int4", "--check-only"], "cannot be used with"),
        (&["--check-only", "--no-check"], "cannot be used with"),
    ] {
        let message = refused(&source, &dir.file("out"), more);
        assert!(message.contains(words), "{more:?}: {message}");
    }
}

#[test]
fn directories_that_would_be_mixed_up_are_refused() {
    let int4 = ["--format", "int4"];
    let dir = TempDir::with_golden("sdar-f32");
    let source = dir.argument();
    assert!(
        refused(&source, dir.path(), &int4).contains("option `output`: it is the directory of the source")
    );
    let file = dir.file("model.safetensors").display().to_string();
    assert!(refused(&file, dir.path(), &int4).contains("option `output`"), "the file of the source");
    let other = TempDir::new();
    other.write("model.safetensors", "weights");
    assert!(refused(&source, other.path(), &int4).contains("the directory is not empty: model.safetensors"));
    let missing = other.file("missing").display().to_string();
    assert!(refused(&missing, &other.file("out"), &int4).contains("missing"));
    // Once is enough.
    let (once, _) = quantized("sdar-f32", &["--format", "int8", "--no-check"]);
    let again = refused(&once.file("out").display().to_string(), &other.file("out"), &int4);
    assert!(again.contains("is quantized already, as q8g64"), "{again}");
    assert!(refused(&source, &other.file("nothing"), &["--check-only"]).contains("nothing"));
    let (another, _) = quantized("dream-f32", &["--format", "int8", "--no-check"]);
    let message = refused(&source, &another.file("out"), &["--check-only"]);
    assert!(message.contains("describes another model"), "{message}");
}

/// Where the data of a tensor begins in a safetensors file.
fn offset(file: &[u8], name: &str) -> usize {
    let (header, data) = parts(file);
    let header: Value = serde_json::from_str(&header).unwrap();
    file.len() - data.len() + header[name]["data_offsets"][0].as_u64().unwrap() as usize
}

#[test]
fn weights_that_are_not_finite_are_found_by_name() {
    let name = "model.layers.1.mlp.down_proj.weight";
    let source = TempDir::with_golden("sdar-f32");
    let mut bytes = fs::read(source.file("model.safetensors")).unwrap();
    let at = offset(&bytes, name);
    bytes[at + 8..at + 12].copy_from_slice(&f32::NAN.to_le_bytes());
    source.write("model.safetensors", bytes);
    let out = TempDir::new();
    let message = refused(&source.argument(), &out.file("out"), &["--format", "int4"]);
    assert!(message.contains(&format!("tensor `{name}`, row 0, column 2")), "{message}");

    let (dir, _) = quantized("sdar-f32", &["--format", "int4", "--no-check"]);
    let file = dir.file("out").join("model.safetensors");
    let whole = fs::read(&file).unwrap();
    let at = offset(&whole, name);
    for (bits, at) in [(0x7e00u16, at + 2 * 3), (0xfc00, at + 2 * 17)] {
        let mut damaged = whole.clone();
        damaged[at..at + 2].copy_from_slice(&bits.to_le_bytes());
        fs::write(&file, damaged).unwrap();
        let message = refused(&model("sdar-f32"), &dir.file("out"), &["--check-only"]);
        let group = (at - offset(&whole, name)) / 32;
        assert!(message.contains(&format!("tensor `{name}`, row ")), "{message}");
        assert!(message.contains(&format!("scale of group {group}")), "{message}");
    }
    fs::write(&file, &whole[..whole.len() - 100]).unwrap();
    let message = refused(&model("sdar-f32"), &dir.file("out"), &["--check-only"]);
    assert!(message.contains("file is truncated"), "{message}");
    fs::write(&file, whole).unwrap();
    quantize(&model("sdar-f32"), &dir.file("out"), &["--check-only"]).text();
}

/// Files may not become larger than 32 KB: as on a full disk, writing fails in the middle.
#[cfg(unix)]
#[test]
fn a_write_that_fails_leaves_nothing() {
    let (source, dir) = (TempDir::with_golden("sdar-f32"), TempDir::new());
    let out = dir.file("out");
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$@\"";
    let source = source.argument();
    let arguments = ["-c", script, "sh", QUANTIZE, &source, "-o", out.to_str().unwrap(), "--format", "int4"];
    let outcome = finish(program("sh", &arguments));
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("model.safetensors") && outcome.stderr.contains("arge"),
        "{}",
        outcome.stderr
    );
    assert!(!out.exists(), "{:?}", names(&out));
}

#[test]
fn help_and_version_are_no_errors() {
    let help = finish(program(QUANTIZE, &["--help"]));
    for option in
        ["SOURCE", "--output", "--format", "--zero-points", "--lm-head", "--exclude", "--check-only"]
    {
        assert!(help.text().contains(option), "{option}");
    }
    assert!(finish(program(QUANTIZE, &["--version"])).text().contains(env!("CARGO_PKG_VERSION")));
}

#[cfg(unix)]
mod interrupted {
    use super::{QUANTIZE, names};
    use crate::fixture::{TempDir, golden};
    use crate::program::program;
    use diffulex::Architecture;
    use diffulex::dtype::DType;
    use diffulex::model::Slot;
    use diffulex::weights::writer::{TensorSpec, write_checkpoint};
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    fn send(signal: &str, child: &Child) {
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "the signal was sent");
    }

    /// A model that takes a thread a second or two.
    fn large(dir: &TempDir) -> String {
        let source = dir.file("source");
        std::fs::create_dir(&source).unwrap();
        let config = std::fs::read_to_string(golden("llada-f32").join("config.json")).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
        config["n_layers"] = 150.into();
        config["mlp_hidden_size"] = 1024.into();
        std::fs::write(source.join("config.json"), config.to_string()).unwrap();
        let arch = Architecture::from_file(&source.join("config.json")).unwrap();
        let spec = |slot: Slot| TensorSpec { name: slot.name, dtype: DType::F32, shape: slot.shape };
        let tensors: Vec<_> = arch.tensors().into_iter().map(spec).collect();
        write_checkpoint(&source, &tensors, u64::MAX, &[], &mut |_, bytes| {
            let numbers = bytes.as_chunks_mut().0.iter_mut().enumerate();
            numbers.for_each(|(i, number)| *number = ((i * 37 % 101) as f32 - 50.0).to_le_bytes());
            Ok(())
        })
        .unwrap();
        source.display().to_string()
    }

    #[test]
    fn a_signal_ends_the_work_and_leaves_nothing() {
        let dir = TempDir::new();
        let source = large(&dir);
        for signal in ["-INT", "-TERM"] {
            let out = dir.file("out");
            let arguments =
                [&source, "-o", out.to_str().unwrap(), "--format", "int4", "--zero-points", "--threads", "1"];
            let mut command = program(QUANTIZE, &arguments);
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            // Weights are being written as soon as a file of theirs is there.
            while !(out.exists() && names(&out).iter().any(|name| name.starts_with('.'))) {
                std::thread::sleep(Duration::from_millis(1));
            }
            send(signal, &child);
            let output = child.wait_with_output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), stderr.as_str()), (Some(130), "interrupted\n"), "{signal}");
            assert!(!out.exists(), "{signal}: {:?}", names(&out));
        }
    }
}

#[test]
fn options_without_a_use_are_refused() {
    let refused = finish(program(QUANTIZE, &["dir", "--activations", "int8"]));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("unexpected argument '--activations'"), "{}", refused.stderr);
}
