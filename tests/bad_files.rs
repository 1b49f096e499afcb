//! Weights that are damaged, incomplete, hostile or of another model: each is refused with a message that names the
//! file, the tensor, what was found and what was expected. Nothing panics.

mod fixture;

use diffulex::bytes::Bytes;
use diffulex::model::Architecture;
use diffulex::model::check_checkpoint;
use diffulex::weights::{Checkpoint, SafeTensors, Storage, TensorSource, Weights};
use diffulex::{Error, Result};
use fixture::{Table, TempDir, golden, parts, safetensors};
use std::path::Path;

fn read(bytes: Vec<u8>) -> Result<SafeTensors> {
    SafeTensors::from_bytes("t.safetensors", &Bytes::new(bytes))
}

/// Opens and checks a checkpoint in both ways, which must agree.
fn load(path: &Path) -> Result<()> {
    let load = |storage| {
        let checkpoint = Checkpoint::locate(path)?;
        let config = checkpoint.config.as_ref().expect("every test directory has a config");
        check_checkpoint(&Architecture::from_file(config)?, &checkpoint.open(storage)?).map(|_| ())
    };
    let (mapped, read) = (load(Storage::Map), load(Storage::Read));
    let text = |result: &Result<()>| result.as_ref().err().map(Error::to_string);
    assert_eq!(text(&mapped), text(&read), "mapped and read");
    mapped
}

/// Rewrites the header of a safetensors file by replacing a part of its text.
fn edit(file: &Path, from: &str, to: &str) {
    let (header, data) = parts(&std::fs::read(file).unwrap());
    assert!(header.contains(from), "{from} is not in the header");
    std::fs::write(file, safetensors(&header.replacen(from, to, 1), &data)).unwrap();
}

#[test]
fn bytes_that_are_no_safetensors_file() {
    let mut table = Table::default();
    let length = |n: u64, rest: &[u8]| [&n.to_le_bytes(), rest].concat();
    let f = "t.safetensors: ";
    for (input, bytes, fragments) in [
        ("empty", vec![], &[f, "the file is empty"][..]),
        ("3 bytes", vec![1, 2, 3], &[f, "file is truncated: 3 bytes, the header requires 8"]),
        ("8 bytes", length(100, b""), &[f, "file is truncated: 8 bytes, the header requires 108"]),
        ("short header", length(100, b"{\"a\""), &[f, "truncated: 12 bytes, the header requires 108"]),
        ("no header", length(0, b"{}"), &[f, "not a safetensors file", "does not start with `{`"]),
        ("no header, no data", length(0, b""), &[f, "not a safetensors file"]),
        (
            "huge header",
            length(u64::MAX, b"{}"),
            &[f, "header of 18446744073709551615", "limit is 100000000"],
        ),
        ("header over the limit", length(100_000_001, b"{}"), &["100000001 bytes, the limit is 100000000"]),
        ("pickle", b"PK\x03\x04\x00\x00\x08\x08\x00\x00archive".to_vec(), &[f, "not a safetensors file"]),
        ("html", b"<!DOCTYPE html><html></html>".to_vec(), &[f, "not a safetensors file"]),
        (
            "lfs pointer",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00".to_vec(),
            &[f, "Git LFS pointer"],
        ),
        ("space first", length(3, b" {}"), &[f, "does not start with `{`"]),
        ("list", length(2, b"[]"), &[f, "does not start with `{`"]),
        ("data without tensors", length(2, b"{}xyz"), &[f, "3 bytes after the last tensor"]),
    ] {
        table.row(input, read(bytes), "Format", fragments);
    }
    table.finish(14);
}

#[test]
fn headers_that_are_no_json() {
    let mut table = Table::default();
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    for (input, header, fragments) in [
        ("cut", "{\"a\":", &["t.safetensors: malformed JSON at byte 13: the text ends"][..]),
        ("two values", "{}{}", &["at byte 10: found `{`, expected the end"]),
        ("deep", &deep, &["at byte 139: nested deeper than 127"]),
        ("duplicate tensor", "{\"a\":1,\"a\":2}", &["at byte 15: duplicate key `a`"]),
        ("hidden duplicate", "{\"a\":1,\"\\u0061\":2}", &["at byte 15: duplicate key `a`"]),
        ("huge number", "{\"a\":1e999}", &["at byte 13", "64-bit float"]),
        ("control character", "{\"a\u{1}\":1}", &["at byte 11: found `\\u{1}`"]),
    ] {
        table.row(input, read(safetensors(header, b"")), "Json", fragments);
    }
    let not_utf8 = [&3u64.to_le_bytes()[..], b"{\"\xff"].concat();
    table.row("not UTF-8", read(not_utf8), "Json", &["at byte 10: not UTF-8"]);
    table.finish(8);
}

#[test]
fn headers_that_declare_nonsense() {
    let mut table = Table::default();
    let good = r#""dtype":"F32","shape":[2],"data_offsets":[0,8]"#;
    let tensor = |fields: &str| format!("{{\"w\":{{{fields}}}}}");
    let with = |from: &str, to: &str| tensor(&good.replacen(from, to, 1));
    assert!(read(safetensors(&tensor(good), &[0; 8])).is_ok(), "the base of the table is valid");
    let two = |a: &str, b: &str| {
        let field = |range| format!("{{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":{range}}}");
        format!("{{\"a\":{},\"b\":{}}}", field(a), field(b))
    };
    let w = "t.safetensors: tensor `w`";
    for (input, header, fragments) in [
        ("no object", "{\"w\":[]}".into(), &[w, "not an object"][..]),
        ("no dtype", with("\"dtype\":\"F32\",", ""), &[w, "`dtype` is not a string"]),
        ("dtype a number", with("\"F32\"", "32"), &[w, "`dtype` is not a string"]),
        ("no shape", with("\"shape\":[2],", ""), &[w, "`shape` is not an array of sizes"]),
        ("shape a number", with("[2]", "2"), &[w, "`shape` is not an array of sizes"]),
        ("negative size", with("[2]", "[-2]"), &[w, "`shape` is not an array of sizes"]),
        ("fractional size", with("[2]", "[2.0]"), &[w, "`shape` is not an array of sizes"]),
        ("size of 65 bits", with("[2]", "[18446744073709551616]"), &[w, "`shape` is not"]),
        ("no offsets", with(",\"data_offsets\":[0,8]", ""), &[w, "`data_offsets` is not an array"]),
        ("one offset", with("[0,8]", "[8]"), &[w, "not a pair of offsets"]),
        ("three offsets", with("[0,8]", "[0,4,8]"), &[w, "not a pair of offsets"]),
        ("reversed", with("[0,8]", "[8,0]"), &[w, "[8, 0] end before they begin"]),
        ("unknown field", with("\"shape\"", "\"stride\":1,\"shape\""), &[w, "unknown field `stride`"]),
        ("wrong size", with("[2]", "[3]"), &[w, "has 8 bytes", "shape [3] of F32"]),
        ("wrong dtype", with("F32", "F64"), &[w, "has 8 bytes", "shape [2] of F64"]),
        ("overflow", with("[2]", "[4294967296,4294967296,2]"), &[w, "has 8 bytes", "[4294967296, 429"]),
        ("overflow by size", with("[2]", "[9223372036854775807]"), &[w, "has 8 bytes"]),
        ("out of range", with("[0,8]", "[0,4096]"), &["file is truncated: ", "the header requires"]),
        ("far out of range", with("[0,8]", "[0,18446744073709551615]"), &["file is truncated"]),
        ("begins late", with("[0,8]", "[4,12]"), &[w, "begins at byte 4", "expected 0"]),
        ("begins at the end of memory", with("[0,8]", "[18446744073709551615,18446744073709551615]"), &[w]),
        ("overlap", two("[0,4]", "[2,6]"), &["`b` begins at byte 2", "overlaps `a`, which ends at 4"]),
        ("twice the same bytes", two("[0,4]", "[0,4]"), &["`b` begins at byte 0", "overlaps `a`"]),
        ("gap", two("[0,4]", "[6,10]"), &["`b` begins at byte 6", "expected 4"]),
        ("bytes after", two("[0,2]", "[2,4]"), &["4 bytes after the last tensor"]),
        ("metadata a list", "{\"__metadata__\":[]}".into(), &["`__metadata__` is not an object of strings"]),
        ("metadata a number", "{\"__metadata__\":{\"a\":1}}".into(), &["`__metadata__` is not"]),
    ] {
        table.row(input, read(safetensors(&header, &[0; 8])), "Format", fragments);
    }
    for dtype in ["F8_E4M3", "C64", "f32", ""] {
        let fragments = [w, &format!("element type {dtype}"), "expected one of BOOL, U8"];
        table.row(dtype, read(safetensors(&with("F32", dtype), &[0; 8])), "DType", &fragments);
    }
    table.finish(31);
}

#[test]
fn directories_and_paths() {
    let mut table = Table::default();
    let dir = TempDir::with_golden("sdar-f32");
    let locate = |name: &str| Checkpoint::locate(&dir.file(name));
    table.row("missing file", locate("no.safetensors"), "Io", &["no.safetensors: "]);
    std::fs::rename(dir.file("model.safetensors"), dir.file("model.bin")).unwrap();
    let fragments = ["no weights: expected model.safetensors.index.json, model.safetensors or another"];
    table.row("no weights", locate(""), "Format", &fragments);
    table.row(
        "a config as index",
        load(&dir.file("config.json")),
        "Config",
        &["config.json", "`weight_map`"],
    );
    table.row("text", load(&dir.write("a.txt", "hello, world")), "Format", &["a.txt", "not a safetensors"]);
    table.row("an empty file", load(&dir.write("e", "")), "Format", &["e: the file is empty"]);
    for name in ["b.safetensors", "a.safetensors"] {
        std::fs::copy(dir.file("model.bin"), dir.file(name)).unwrap();
    }
    let fragments = ["several .safetensors files", "a.safetensors, b.safetensors"];
    table.row("several files", locate(""), "Format", &fragments);
    std::fs::remove_file(dir.file("b.safetensors")).unwrap();
    assert_eq!(locate("").unwrap().weights, Weights::File(dir.file("a.safetensors")));
    load(dir.path()).unwrap();
    std::fs::create_dir(dir.file("model.safetensors")).unwrap();
    let checkpoint =
        Checkpoint { weights: Weights::File(dir.file("model.safetensors")), ..locate("").unwrap() };
    table.row("a directory", checkpoint.open(Storage::Map), "Format", &["not a regular file"]);
    table.finish(7);
}

#[test]
fn indexes_and_shards() {
    const INDEX: &str = "model.safetensors.index.json";
    const FIRST: &str = "model-00001-of-00002.safetensors";
    const SECOND: &str = "model-00002-of-00002.safetensors";
    let mut table = Table::default();
    let original = std::fs::read_to_string(golden("sdar-hd128-sharded").join(INDEX)).unwrap();
    let mut row = |input: &str, damage: &dyn Fn(&TempDir), variant: &str, fragments: &[&str]| {
        let dir = TempDir::with_golden("sdar-hd128-sharded");
        load(dir.path()).unwrap();
        damage(&dir);
        table.row(input, load(dir.path()), variant, fragments);
    };
    let index = |text: String| move |dir: &TempDir| drop(dir.write(INDEX, &text));
    let mapped = |shard: &str| index(original.replacen(&format!("{FIRST}\""), &format!("{shard}\""), 1));
    row("empty index", &index(String::new()), "Json", &[INDEX, "at byte 0"]);
    row("index a list", &index("[]".into()), "Config", &[INDEX, "`weight_map`"]);
    row(
        "no map",
        &index("{\"metadata\":{}}".into()),
        "Config",
        &[INDEX, "`weight_map`", "expected an object"],
    );
    row("empty map", &index("{\"weight_map\":{}}".into()), "Config", &[INDEX, "`weight_map`", "empty"]);
    row(
        "shard a number",
        &index(original.replacen(&format!("\"{FIRST}\""), "7", 1)),
        "Config",
        &[INDEX, "tensor `model.embed_tokens.weight` is mapped to 7"],
    );
    for shard in ["", ".", "..", "../x.safetensors", "/etc/passwd", "a/b", "a\\\\b", "c:x", "a\\u0000b"] {
        row(shard, &mapped(shard), "Config", &[INDEX, "`weight_map`", "expected the plain name of a file"]);
    }
    row(
        "unknown shard",
        &mapped("other.safetensors"),
        "Format",
        &[INDEX, "shard `other.safetensors` is missing"],
    );
    row(
        "tensor in another shard",
        &mapped(SECOND),
        "MissingTensor",
        &[SECOND, "`model.embed_tokens.weight`"],
    );
    row(
        "tensor nowhere",
        &index(original.replacen("lm_head.weight", "lm_tail.weight", 1)),
        "MissingTensor",
        &[SECOND, "`lm_tail.weight` is missing"],
    );
    let line = original.lines().find(|line| line.contains("lm_head.weight")).unwrap();
    row(
        "tensor not in the index",
        &index(original.replacen(line, "", 1)),
        "Format",
        &[SECOND, "`lm_head.weight` is not in the index"],
    );
    row(
        "duplicate tensor",
        &index(original.replacen(line, &line.repeat(2), 1)),
        "Json",
        &["`lm_head.weight`"],
    );
    row(
        "missing shard",
        &|dir| std::fs::remove_file(dir.file(SECOND)).unwrap(),
        "Format",
        &[INDEX, &format!("shard `{SECOND}` is missing, 2 are expected")],
    );
    let rename = |dir: &TempDir| edit(&dir.file(SECOND), "lm_head.weight", "model.embed_tokens.weight");
    row(
        "tensor in two shards",
        &rename,
        "Format",
        &[SECOND, "`model.embed_tokens.weight` is also in", FIRST],
    );
    let truncate = |dir: &TempDir| {
        let bytes = std::fs::read(dir.file(FIRST)).unwrap();
        dir.write(FIRST, &bytes[..bytes.len() - 1000]);
    };
    row(
        "truncated shard",
        &truncate,
        "Format",
        &[FIRST, "file is truncated: 280864 bytes", "requires 281864"],
    );
    let dir = TempDir::with_golden("sdar-hd128-sharded");
    let fragments = [SECOND, "one shard of 2; give ", INDEX];
    table.row("one shard alone", Checkpoint::locate(&dir.file(SECOND)), "Format", &fragments);
    table.finish(23);
}

/// As in transformers; it is known that another set of weights is there.
#[test]
fn one_file_wins_over_an_index() {
    let dir = TempDir::with_golden("sdar-hd128-sharded");
    let located = || {
        let Checkpoint { weights, passed_over, .. } = Checkpoint::locate(dir.path()).unwrap();
        (weights, passed_over)
    };
    let path = dir.file("model.safetensors.index.json");
    let index = || Weights::Index(path.clone());
    assert_eq!(located(), (index(), None));
    std::fs::copy(golden("sdar-f32/model.safetensors"), dir.file("model.safetensors")).unwrap();
    let single = || Weights::File(dir.file("model.safetensors"));
    assert_eq!(located(), (single(), Some(path.clone())));
    assert_eq!(Checkpoint::locate(&path).unwrap().weights, index(), "it was named");
    // Leftovers of a merge are not a set of weights.
    std::fs::remove_file(dir.file("model-00001-of-00002.safetensors")).unwrap();
    assert_eq!(located(), (single(), None));
    dir.write("model.safetensors.index.json", "{");
    assert_eq!(located(), (single(), None));
}

#[test]
fn files_of_other_formats_are_named() {
    let mut table = Table::default();
    let zip: &[u8] = b"PK\x03\x04\x00\x00\x08\x08\x00\x00archive";
    for (name, bytes, format) in [
        ("model.gguf", &b"GGUF\x03\x00\x00\x00\x00\x00\x00\x00"[..], "a GGUF file"),
        ("ggml.bin", b"tjgg\x03\x00\x00\x00\x00", "a GGML file"),
        ("pytorch_model.bin", zip, "a PyTorch file"),
        ("consolidated.00.pth", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9", "a Python pickle"),
        ("tf_model.h5", b"\x89HDF\r\n\x1a\n\x00", "an HDF5 file"),
        ("short.gguf", b"GGUF", "a GGUF file"),
        ("big-endian.gguf", b"FUGG\x00\x00\x00\x03", "a GGUF file"),
        ("model.pt", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00", "a Python pickle"),
        ("model.ckpt", b"\x80\x05\x95\x10\x00\x00\x00\x00\x00", "a Python pickle"),
        ("model.tar.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00", "a gzip archive"),
        ("page", b"<!doctype html><html>", "a page for a browser"),
        ("message", b"Entry not found", "a message from the hub that the file does not exist"),
    ] {
        let dir = TempDir::new();
        let file = dir.write(name, bytes);
        let fragments = [name, format, "is not read: give the directory of the checkpoint"];
        table.row(name, Checkpoint::locate(&file), "Format", &fragments);
        table.row(&format!("a directory with {name}"), Checkpoint::locate(dir.path()), "Format", &fragments);
        // Under a name that promises something else.
        table.row(
            "as shard",
            read(bytes.to_vec()),
            "Format",
            &["t.safetensors: not a safetensors file but", format],
        );
    }
    table.finish(36);
    // The length of a header may begin with the bytes of a pickle.
    let header = format!("{{}}{}", " ".repeat(640 - 2));
    read(safetensors(&header, b"")).unwrap();
}

/// Names from tools that save a model inside another one, or a part of it.
#[test]
fn names_that_begin_otherwise_are_explained() {
    let mut table = Table::default();
    let renamed = |golden: &str, rename: &dyn Fn(&str) -> String| {
        let dir = TempDir::with_golden(golden);
        let file = dir.file("model.safetensors");
        let (header, data) = parts(&std::fs::read(&file).unwrap());
        let header: serde_json::Map<_, _> = serde_json::from_str(&header).unwrap();
        let header: serde_json::Map<_, _> =
            header.into_iter().map(|(name, value)| (rename(&name), value)).collect();
        std::fs::write(&file, safetensors(&serde_json::to_string(&header).unwrap(), &data)).unwrap();
        load(dir.path())
    };
    for prefix in ["module.", "_orig_mod.", "base_model.model.", "model."] {
        let every = |name: &str| if name.starts_with("__") { name.into() } else { format!("{prefix}{name}") };
        for golden in ["dream-f32", "llada-f32"] {
            let fragments = ["is missing: every name begins with", &format!("`{prefix}`")];
            table.row(prefix, renamed(golden, &every), "MissingTensor", &fragments);
        }
    }
    let bare = |name: &str| name.strip_prefix("model.").unwrap_or(name).to_string();
    table.row("bare", renamed("dream-f32", &bare), "MissingTensor", &[
        "tensor `model.embed_tokens.weight` is missing: there is `embed_tokens.weight`, without the leading `model.`",
    ]);
    let headless = |name: &str| if name == "lm_head.weight" { "x".into() } else { name.to_string() };
    table.row(
        "no head",
        renamed("dream-f32", &headless),
        "MissingTensor",
        &["`lm_head.weight`", "tie_word_embeddings"],
    );
    table.finish(10);
}

/// Checkpoint, an edit of its header, the error, and what it says after the name of the file.
type Edit = (&'static str, &'static str, &'static str, &'static str, &'static [&'static str]);

const EDITS: &[Edit] = &[
    (
        "dream-f32",
        "1.self_attn.q_proj.weight",
        "x",
        "MissingTensor",
        &["`model.layers.1.self_attn.q_proj.weight`"],
    ),
    (
        "dream-f32",
        "1.self_attn.q_proj.bias",
        "x",
        "MissingTensor",
        &["`model.layers.1.self_attn.q_proj.bias`"],
    ),
    ("dream-f32", "model.norm.weight", "model.norm.w", "MissingTensor", &["`model.norm.weight` is missing"]),
    ("dream-f32", "lm_head.weight", "lm_head.w", "MissingTensor", &["`lm_head.weight`"]),
    ("sdar-f32", "1.self_attn.k_norm", "1.self_attn.x", "MissingTensor", &["1.self_attn.k_norm.weight"]),
    (
        "llada-f32",
        "blocks.2.ff_out",
        "blocks.3.ff_out",
        "MissingTensor",
        &["blocks.2.ff_out.weight` is missing"],
    ),
    (
        "dream-f32",
        "[333,112]",
        "[112,333]",
        "Shape",
        &["`lm_head.weight`", "[112, 333], expected [333, 112]"],
    ),
    ("dream-f32", "[112]", "[1,112]", "Shape", &["has shape [1, 112], expected [112]"]),
    (
        "llada-f16",
        "[96,75]",
        "[75,96]",
        "Shape",
        &["blocks.0.ff_out.weight` has shape [75, 96], expected [96, 75]"],
    ),
    (
        "dream-f32",
        "\"F32\"",
        "\"I32\"",
        "DType",
        &["`lm_head.weight`", "type I32, expected F32, F16 or BF16"],
    ),
    ("dream-bf16", "\"BF16\"", "\"U16\"", "DType", &["element type U16, expected F32, F16 or BF16"]),
];

#[test]
fn tensors_of_another_model() {
    let mut table = Table::default();
    for &(family, from, to, variant, fragments) in EDITS {
        let dir = TempDir::with_golden(family);
        let file = dir.file("model.safetensors");
        edit(&file, from, to);
        let path = file.display().to_string();
        let fragments = [&[path.as_str()], fragments].concat();
        table.row(&format!("{family}: {from} -> {to}"), load(dir.path()), variant, &fragments);
    }
    table.finish(11);
}

#[test]
fn tensors_left_over() {
    let mut table = Table::default();
    for (family, name, ignored) in [
        ("sdar-f32", "model.layers.0.self_attn.q_proj.bias", false),
        ("sdar-f32", "model.layers.2.input_layernorm.weight", false),
        ("sdar-f32", "lm_head.weight", true),
        ("sdar-f32", "lm_head.bias", false),
        ("dream-f32", "model.layers.1.self_attn.rotary_emb.inv_freq", true),
        ("dream-f32", "model.layers.0.self_attn.o_proj.bias", false),
        ("llada-f32", "model.transformer.wpe.weight", false),
        ("fastdllm2-f32", "model.layers.0.mlp.experts.0.up_proj.weight", false),
    ] {
        let dir = TempDir::with_golden(family);
        let file = dir.file("model.safetensors");
        // An empty tensor before the first one moves no offset.
        let extra = format!("{{\"{name}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}},");
        edit(&file, "{", &extra);
        if ignored {
            load(dir.path()).unwrap_or_else(|error| panic!("{family}: {error}"));
            assert!(
                Checkpoint::locate(&file)
                    .unwrap()
                    .open(Storage::Read)
                    .unwrap()
                    .names()
                    .contains(&name.into())
            );
        } else {
            let path = file.display().to_string();
            let fragments = [path.as_str(), &format!("unexpected tensor `{name}`"), "of the config"];
            table.row(&format!("{family}: {name}"), load(dir.path()), "Format", &fragments);
        }
    }
    table.finish(6);
}

/// What becomes of a tensor of this name and shape: it may get another one, or be left out.
type Change<'a> = dyn Fn(&str, Vec<usize>) -> Option<Vec<usize>> + 'a;

/// A rebuilt copy of a recorded model's list of tensors, as declarations without data of their own.
fn declared(name: &str, change: &Change<'_>) -> Result<()> {
    let arch = Architecture::from_file(&golden(name).join("config.json")).unwrap();
    let mut source = diffulex::weights::MemorySource::new("declared");
    for slot in arch.tensors() {
        let Some(shape) = change(&slot.name, slot.shape) else { continue };
        let bytes = Bytes::new(vec![0; 4 * shape.iter().product::<usize>()]);
        let view = diffulex::tensor::TensorView::new(diffulex::dtype::DType::F32, shape, bytes).unwrap();
        source.insert(slot.name, view);
    }
    // Experts that the configuration does not count.
    if let Some(shape) = change("more", vec![24, 64]) {
        let bytes = Bytes::new(vec![0; 4 * shape.iter().product::<usize>()]);
        let view = diffulex::tensor::TensorView::new(diffulex::dtype::DType::F32, shape, bytes).unwrap();
        source.insert("model.layers.2.mlp.experts.16.up_proj.weight", view);
    }
    check_checkpoint(&arch, &source).map(|_| ())
}

/// A layer that has fewer experts than the configuration says, more, or a router for another number.
#[test]
fn experts_that_are_not_those_of_the_configuration() {
    let mut table = Table::default();
    let model = "llada2-f32";
    let all = |name: &str, shape: Vec<usize>| (name != "more").then_some(shape);
    declared(model, &all).unwrap();
    for missing in [
        "model.layers.1.mlp.experts.0.gate_proj.weight",
        "model.layers.2.mlp.experts.15.down_proj.weight",
        "model.layers.1.mlp.gate.weight",
        "model.layers.2.mlp.gate.expert_bias",
        "model.layers.1.mlp.shared_experts.up_proj.weight",
        "model.layers.0.mlp.up_proj.weight",
    ] {
        let without = |name: &str, shape| all(name, shape).filter(|_| name != missing);
        table.row(missing, declared(model, &without), "MissingTensor", &["declared", missing]);
    }
    // Layer 2 has half of the experts that layer 1 has.
    let fewer = |name: &str, shape| {
        let number = name.strip_prefix("model.layers.2.mlp.experts.").and_then(|rest| rest.split('.').next());
        all(name, shape).filter(|_| number.is_none_or(|number| number.parse::<usize>().unwrap() < 8))
    };
    table.row("fewer", declared(model, &fewer), "MissingTensor", &["`model.layers.2.mlp.experts.8."]);
    let more = |_: &str, shape| Some(shape);
    table.row(
        "more",
        declared(model, &more),
        "Format",
        &["unexpected tensor `model.layers.2.mlp.experts.16."],
    );
    for (name, found) in [
        ("model.layers.1.mlp.gate.weight", vec![8, 64]),
        ("model.layers.1.mlp.gate.expert_bias", vec![8]),
        ("model.layers.2.mlp.experts.3.up_proj.weight", vec![48, 64]),
    ] {
        let other = |tensor: &str, shape| all(tensor, if tensor == name { found.clone() } else { shape });
        table.row(name, declared(model, &other), "Shape", &[name, &format!("{found:?}")]);
    }
    table.finish(11);
}
