//! Downloads from a server on this machine that breaks off, lies, redirects and refuses.
#![cfg(unix)]

mod hub;

use hub::{COMMIT, Fault, Hub, Model, sum};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A recorded model, with files that are not read.
fn files(golden: &str) -> BTreeMap<String, Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(golden);
    let mut files: BTreeMap<_, _> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .filter(|(name, _)| !name.starts_with("golden"))
        .collect();
    for name in ["README.md", "modeling_sdar.py", "pytorch_model.bin", "onnx/model.safetensors"] {
        files.insert(name.to_owned(), b"not read".to_vec());
    }
    files
}

fn model(golden: &str) -> Model {
    Model { files: files(golden), ..Model::default() }
}

fn pull(hub: &Hub, cache: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_diffulex-pull"));
    command.args(arguments).env("HF_ENDPOINT", &hub.address).env("HF_HUB_CACHE", cache);
    for name in [
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "HF_HUB_OFFLINE",
        "HF_HOME",
        "http_proxy",
        "HTTP_PROXY",
        "ALL_PROXY",
        "all_proxy",
    ] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied()).output().unwrap()
}

#[track_caller]
fn pulled(hub: &Hub, cache: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> PathBuf {
    let output = pull(hub, cache, arguments, variables);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let snapshot = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end());
    assert_eq!(snapshot, cache.join("models--Org--Name/snapshots").join(COMMIT), "{errors}");
    snapshot
}

/// Fails with exit code 2, these words, and without anything that could be taken for a model.
#[track_caller]
fn refused(hub: &Hub, arguments: &[&str], variables: &[(&str, &str)], words: &[&str]) {
    let cache = TempDir::new().unwrap();
    let output = pull(hub, cache.path(), arguments, variables);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{errors}");
    for words in words {
        assert!(errors.contains(words), "{words}: {errors}");
    }
    assert!(!cache.path().join("models--Org--Name/refs/main").exists(), "{errors}");
}

/// The snapshot holds what is read, and nothing else.
#[track_caller]
fn holds(snapshot: &Path, model: &BTreeMap<String, Vec<u8>>) {
    let mut count = 0;
    for entry in fs::read_dir(snapshot).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        assert!(fs::read(entry.path()).unwrap() == model[&name], "{name}");
        let link = fs::read_link(entry.path()).unwrap();
        assert_eq!(
            link,
            Path::new("../../blobs").join(sum(&name, &model[&name])),
            "as huggingface_hub has it"
        );
        count += 1;
    }
    let wanted = model.keys().filter(|name| {
        let read = [
            "config.json",
            "generation_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
        ];
        let read = read.contains(&name.as_str()) || name.ends_with(".jinja") || name.ends_with(".index.json");
        read || name.ends_with(".safetensors") && !name.contains('/')
    });
    assert_eq!(count, wanted.count(), "files of the snapshot");
    let repository = snapshot.parent().unwrap().parent().unwrap();
    let refs: Vec<_> =
        fs::read_dir(repository.join("refs")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(refs, ["main"], "no commit is noted as a branch");
    let main = fs::read_to_string(repository.join("refs/main")).unwrap();
    assert_eq!(main.trim(), COMMIT, "the branch");
}

#[test]
fn what_is_read_is_downloaded_once() {
    for golden in ["sdar-f32", "sdar-hd128-sharded"] {
        for redirects in [false, true] {
            let hub = Hub::start(Model { redirects, ..model(golden) });
            let cache = TempDir::new().unwrap();
            let snapshot = pulled(&hub, cache.path(), &["Org/Name"], &[]);
            holds(&snapshot, &files(golden));
            let seen = hub.seen().join("\n");
            assert!(
                !["README", "modeling", "pytorch_model", "onnx"].iter().any(|name| seen.contains(name)),
                "{seen}"
            );
            // Letter case is the hub's, and what is there is compared, not downloaded.
            for name in ["org/name", "Org/Name@main", "https://huggingface.co/Org/Name"] {
                assert_eq!(pulled(&hub, cache.path(), &[name, "--quiet"], &[]), snapshot);
                assert!(hub.seen().iter().all(|path| path.starts_with("/api/")), "{name}");
            }
            // A file that changed on the disk is noticed.
            let config = fs::canonicalize(snapshot.join("config.json")).unwrap();
            fs::write(&config, "{}").unwrap();
            holds(&pulled(&hub, cache.path(), &["Org/Name"], &[]), &files(golden));
        }
    }
}

#[test]
fn a_transfer_that_breaks_off_goes_on() {
    let name = "model.safetensors";
    let mut model = model("sdar-f32");
    model.faults.insert(name.to_owned(), Fault::Breaks { times: 2, after: 1000 });
    let hub = Hub::start(model);
    let cache = TempDir::new().unwrap();
    holds(&pulled(&hub, cache.path(), &["Org/Name"], &[]), &files("sdar-f32"));
    let ranges: Vec<_> = hub.seen().into_iter().filter(|path| path.contains(name)).collect();
    let ends: Vec<_> = ranges.iter().map(|line| line.rsplit(' ').next().unwrap()).collect();
    // Twice what it is, then what it holds.
    assert_eq!(ends, ["0-0", "0-0", "0-", "1000-", "2000-"]);
    // More often than it is tried again: the next call begins where this one ended.
    let again = Fault::Breaks { times: 7, after: 1000 };
    let hub = Hub::start(Model { faults: [(name.to_owned(), again)].into(), ..self::model("sdar-f32") });
    let cache = TempDir::new().unwrap();
    let output = pull(&hub, cache.path(), &["Org/Name"], &[]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(2) && errors.contains("Org/Name@main/model.safetensors"),
        "{errors}"
    );
    assert!(!cache.path().join("models--Org--Name/refs/main").exists());
    hub.seen();
    holds(&pulled(&hub, cache.path(), &["Org/Name"], &[]), &files("sdar-f32"));
    assert!(hub.seen().iter().any(|path| path.ends_with("model.safetensors 7000-")));
    // Ended after the last byte, before the file got its name.
    let blobs = cache.path().join("models--Org--Name/blobs");
    let blob = blobs.join(sum(name, &files("sdar-f32")[name]));
    fs::rename(&blob, blob.with_extension("part")).unwrap();
    fs::remove_file(cache.path().join("models--Org--Name/snapshots").join(COMMIT).join(name)).unwrap();
    holds(&pulled(&hub, cache.path(), &["Org/Name"], &[]), &files("sdar-f32"));
    let last = format!("{name} {}-", files("sdar-f32")[name].len() - 1);
    assert!(hub.seen().iter().any(|path| path.ends_with(&last)));
}

#[test]
fn wrong_content_is_found_and_removed() {
    for fault in [Fault::Wrong { times: 1 }, Fault::Whole { after: 1000, broken: false }] {
        let faults = BTreeMap::from([("model.safetensors".to_owned(), fault)]);
        let hub = Hub::start(Model { faults, ..model("sdar-f32") });
        let cache = TempDir::new().unwrap();
        holds(&pulled(&hub, cache.path(), &["Org/Name"], &[]), &files("sdar-f32"));
    }
    for name in ["model.safetensors", "config.json"] {
        let of = format!("Org/Name@main/{name}");
        for (fault, words) in [
            (Fault::Wrong { times: 9 }, &["its checksum is", "expected", "downloaded twice and removed"][..]),
            (Fault::Short(5), &["bytes received", "expected", "downloaded twice"]),
        ] {
            let faults = BTreeMap::from([(name.to_owned(), fault)]);
            let hub = Hub::start(Model { faults, ..model("sdar-f32") });
            refused(&hub, &["Org/Name"], &[], &[&[of.as_str()], words].concat());
        }
    }
}

#[test]
fn refusals_of_the_server_say_what_to_do() {
    let answered = |listing| Hub::start(Model { listing: Some(listing), ..model("sdar-f32") });
    for (status, words) in [
        (401, "set HF_TOKEN"),
        (404, "no such model"),
        (429, "try again later"),
        (500, "answered with status 500"),
    ] {
        refused(&answered(Err(status)), &["Org/Name"], &[], &["Org/Name@main: ", words]);
        let faults = BTreeMap::from([("config.json".to_owned(), Fault::Status(status))]);
        let hub = Hub::start(Model { faults, ..model("sdar-f32") });
        refused(&hub, &["Org/Name"], &[], &["Org/Name@main/config.json: ", words]);
    }
    refused(&answered(Ok("<html>".to_owned())), &["Org/Name"], &[], &["Org/Name@main", "cannot be read"]);
    let hub = Hub::start(model("sdar-f32"));
    refused(&hub, &["Org/Name@v2"], &[], &["Org/Name@v2: ", "no such model, revision or file"]);
    refused(&hub, &["no-such-model"], &[], &["no-such-model: no model of this name", "--list-models"]);
    refused(&hub, &["sdar-1.7b"], &[], &["JetLM/SDAR-1.7B-Chat@main: "]);
    refused(&hub, &["Org/Name"], &[("HF_HUB_OFFLINE", "1")], &["HF_HUB_OFFLINE"]);
    let seconds = [("DIFFULEX_PULL_TIMEOUT", "soon")];
    refused(&hub, &["Org/Name"], &seconds, &["DIFFULEX_PULL_TIMEOUT", "`soon` given"]);
    refused(&hub, &["Org/Name"], &[("HF_ENDPOINT", "ftp://x")], &["HF_ENDPOINT", "ftp://x"]);
    refused(&hub, &["Org/Name"], &[("HF_TOKEN", "a\nb")], &["HF_TOKEN", "no token has"]);
    // Nobody listens there.
    refused(&hub, &["Org/Name"], &[("HF_ENDPOINT", "http://127.0.0.1:1")], &["Org/Name@main", "127.0.0.1:1"]);
}

#[test]
fn no_name_of_the_server_leaves_the_cache() {
    for sum in ["../../../outside", "a/b", "..", ""] {
        let faults = BTreeMap::from([("config.json".to_owned(), Fault::Named(sum))]);
        let hub = Hub::start(Model { faults, ..model("sdar-f32") });
        refused(&hub, &["Org/Name"], &[], &["Org/Name@main/config.json: ", "which is not a checksum"]);
    }
}

#[test]
fn a_token_opens_what_needs_one() {
    let hub = Hub::start(Model { token: Some("hf_secret"), ..model("sdar-f32") });
    refused(&hub, &["Org/Name"], &[], &["set HF_TOKEN"]);
    refused(&hub, &["Org/Name"], &[("HF_TOKEN", "hf_other")], &["the token that was sent", "access"]);
    let cache = TempDir::new().unwrap();
    pulled(&hub, cache.path(), &["Org/Name"], &[("HF_TOKEN", "hf_secret")]);
    // As `hf auth login` leaves it.
    let cache = TempDir::new().unwrap();
    let path = cache.path().join("token");
    fs::write(&path, "hf_secret\n").unwrap();
    pulled(&hub, &cache.path().join("hub"), &["Org/Name"], &[]);
    let elsewhere = cache.path().join("elsewhere");
    pulled(&hub, &elsewhere, &["Org/Name"], &[("HF_TOKEN_PATH", path.to_str().unwrap())]);
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let faults = BTreeMap::from([("model.safetensors".to_owned(), Fault::Silent)]);
    let hub = Hub::start(Model { faults, ..model("sdar-f32") });
    let words = ["Org/Name@main/model.safetensors", "nothing came", "for 1 s", "resumes there"];
    refused(&hub, &["Org/Name"], &[("DIFFULEX_PULL_TIMEOUT", "1")], &words);
}

#[test]
fn repositories_that_cannot_be_read_are_refused_before_weights() {
    let without = |name: &str, golden: &str| {
        let mut model = model(golden);
        model.files.remove(name);
        Hub::start(model)
    };
    refused(&without("config.json", "sdar-f32"), &["Org/Name"], &[], &["no config.json"]);
    let hub = without("model.safetensors", "sdar-f32");
    refused(&hub, &["Org/Name"], &[], &["no weights as safetensors"]);
    assert!(hub.seen().iter().all(|path| path.starts_with("/api/")));
    let index = "model.safetensors.index.json";
    refused(
        &without(index, "sdar-hd128-sharded"),
        &["Org/Name"],
        &[],
        &["several .safetensors files", index],
    );
    let shard = files("sdar-hd128-sharded").into_keys().find(|name| name.starts_with("model-")).unwrap();
    let hub = without(&shard, "sdar-hd128-sharded");
    refused(&hub, &["Org/Name"], &[], &[index, &shard, "does not have"]);
}

#[test]
fn the_guide_names_every_option() {
    let guide =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide.md")).unwrap();
    let (_, chapter) = guide.split_once("\n## `diffulex-pull`\n").unwrap();
    let chapter = chapter.split("\n## ").next().unwrap();
    let help = Command::new(env!("CARGO_BIN_EXE_diffulex-pull")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    // Every program has these.
    let common = ["--help", "--version", "--completions", "--man"];
    // Descriptions are indented further, and may wrap before the name of an option.
    let indent = |line: &str| line.len() - line.trim_start().len();
    let lines = help.lines().filter(|line| indent(line) <= 6 && line.trim_start().starts_with('-'));
    let options = lines.filter_map(|line| line.split_whitespace().find(|word| word.starts_with("--")));
    let options: Vec<_> = options.filter(|option| !common.contains(option)).collect();
    assert!(options.contains(&"--dry-run"), "{options:?}");
    for option in options {
        assert!(chapter.contains(&format!("`{option}`")), "{option}");
    }
}

#[test]
fn a_dry_run_downloads_nothing() {
    let hub = Hub::start(model("sdar-f32"));
    let cache = TempDir::new().unwrap();
    let output = pull(&hub, cache.path(), &["Org/Name", "--dry-run"], &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("model.safetensors  ") && text.contains(" MB\n"),
        "{text}"
    );
    assert!(!text.contains("README"), "{text}");
    assert!(hub.seen().iter().all(|path| path.starts_with("/api/")));
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
}

#[test]
fn a_model_is_quantized_once_it_is_there() {
    let program = Path::new(env!("CARGO_BIN_EXE_diffulex-pull")).with_file_name("diffulex-quantize");
    let model = model("sdar-f32");
    let hub = Hub::start(model);
    let cache = TempDir::new().unwrap();
    let out = cache.path().join("made");
    let output = out.to_str().unwrap();
    let arguments = ["Org/Name", "--format", "int4", "--quiet", "--output", output];
    if !program.exists() {
        // Said before anything is downloaded, unless it is on the path.
        println!("skipped: {} was not built", program.display());
        refused(&hub, &arguments, &[("PATH", "")], &["--format", "diffulex-quantize", "cargo install"]);
        return;
    }
    // Nothing is downloaded for a directory that is not empty.
    fs::create_dir(&out).unwrap();
    fs::write(out.join("mine"), "").unwrap();
    refused(&hub, &arguments, &[], &["not empty: mine", "--output"]);
    assert!(!hub.seen().join("\n").contains("safetensors"), "{:?}", hub.seen());
    fs::remove_file(out.join("mine")).unwrap();
    let pulled = pull(&hub, cache.path(), &arguments, &[]);
    let errors = String::from_utf8_lossy(&pulled.stderr);
    assert_eq!((pulled.status.code(), &*errors), (Some(0), ""));
    assert_eq!(String::from_utf8(pulled.stdout).unwrap(), format!("{output}\n"));
    let mut names: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert!(
        names.contains(&"model.safetensors".into()) && names.contains(&"tokenizer.json".into()),
        "{names:?}"
    );
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("partial")), "{names:?}");
    let engine = diffulex::Engine::open(&out).unwrap();
    assert!(engine.model().is_quantized(), "int4");
}

#[test]
fn what_would_be_made_is_checked_before_the_download() {
    let hub = Hub::start(model("sdar-f32"));
    refused(&hub, &["Org/Name", "--format", "int5"], &[], &["int5", "--format", "int4, int8"]);
    refused(&hub, &["Org/Name", "--format", "int4:row"], &[], &["--format", "row"]);
    refused(&hub, &["Org/Name", "--output", "x"], &[], &["--format"]);
    refused(&hub, &["Org/Name", "--dry-run", "--format", "int4"], &[], &["--dry-run", "--format"]);
    assert_eq!(hub.seen(), Vec::<String>::new(), "nobody asked the server");
}
