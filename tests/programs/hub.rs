//! Models by their hub id, in a made-up Hugging Face cache with links as the real one has.
#![cfg(unix)]

use crate::fixture::{COMMIT, TempDir, download};
use crate::program::{Output, command, finish, program};
use std::path::Path;

fn open(cache: &Path, id: &str) -> Output {
    let mut command = command(&["-w", id, "--ids", "5,6,7", "--max-tokens", "4", "--ignore-eos", "--quiet"]);
    command.env("HF_HUB_CACHE", cache);
    finish(command)
}

#[track_caller]
fn refused(cache: &Path, id: &str, words: &[&str]) {
    let output = open(cache, id);
    assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{}", output.stderr);
    for words in words {
        assert!(output.stderr.contains(words), "{words}: {}", output.stderr);
    }
}

#[test]
fn a_downloaded_model_opens_by_its_id() {
    let dir = TempDir::new();
    for (name, golden_name) in [("SDAR", "sdar-f32"), ("Sharded", "sdar-hd128-sharded")] {
        download(dir.path(), &format!("models--Org--{name}"), golden_name, COMMIT);
        let expected = finish(command(&[
            "-w",
            &crate::model(golden_name),
            "--ids",
            "5,6,7",
            "--max-tokens",
            "4",
            "--ignore-eos",
            "--quiet",
        ]));
        for id in [
            format!("Org/{name}"),
            format!("Org/{name}/"),
            format!("https://huggingface.co/Org/{name}"),
            format!("https://huggingface.co/Org/{name}/tree/main"),
            format!("Org/{name}@main"),
            format!("Org/{name}@{COMMIT}"),
        ] {
            assert_eq!(open(dir.path(), &id).text(), expected.text(), "{id}");
        }
    }
    // Every program that takes a checkpoint knows ids.
    let out = dir.file("out").display().to_string();
    let mut command = program(
        env!("CARGO_BIN_EXE_diffulex-quantize"),
        &["Org/SDAR", "-o", &out, "--format", "int8", "--no-check"],
    );
    command.env("HF_HUB_CACHE", dir.path());
    let output = finish(command);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
}

#[test]
fn the_variables_of_the_hub_name_the_cache() {
    let dir = TempDir::new();
    for (variable, place) in [
        ("HUGGINGFACE_HUB_CACHE", ""),
        ("HF_HOME", "hub"),
        ("XDG_CACHE_HOME", "huggingface/hub"),
        ("HOME", ".cache/huggingface/hub"),
    ] {
        let root = dir.file(variable);
        download(&root.join(place), "models--Org--SDAR", "sdar-f32", COMMIT);
        let mut command = command(&["-w", "Org/SDAR", "--info", "--json"]);
        for other in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"] {
            command.env_remove(other);
        }
        command.env(variable, &root);
        assert_eq!(
            finish(command).json()["mask_id"],
            crate::manifest("sdar-f32")["mask_token_id"],
            "{variable}"
        );
    }
}

#[test]
fn a_path_that_exists_wins() {
    let dir = TempDir::new();
    download(dir.path(), "models--Org--SDAR", "sdar-f32", COMMIT);
    std::fs::create_dir_all(dir.file("Org/SDAR")).unwrap();
    let mut command = command(&["-w", "Org/SDAR", "--ids", "1"]);
    command.env("HF_HUB_CACHE", dir.path()).current_dir(dir.path());
    let output = finish(command);
    assert!(output.code == Some(2) && output.stderr.contains("Org/SDAR: no weights"), "{}", output.stderr);
}

#[test]
fn what_is_not_there_comes_with_the_command_that_downloads_it() {
    let dir = TempDir::new();
    let looked = dir.file("models--Org--SDAR").display().to_string();
    let advice = "`diffulex pull Org/SDAR`, or `hf download Org/SDAR`";
    refused(dir.path(), "Org/SDAR", &["Org/SDAR: no such file", &looked, advice]);
    let revised = "`diffulex pull Org/SDAR@v2`, or `hf download Org/SDAR --revision v2`";
    refused(dir.path(), "Org/SDAR@v2", &[&looked, revised]);
    // A name of the table of published models.
    for name in ["sdar-1.7b", "SDAR-1.7B-Chat", "jetlm/sdar-1.7b-chat"] {
        let command = "`diffulex pull JetLM/SDAR-1.7B-Chat`";
        refused(dir.path(), name, &["models--JetLM--SDAR-1.7B-Chat", command]);
    }
    refused(dir.path(), "sdar-1.7b@v2", &["`diffulex pull JetLM/SDAR-1.7B-Chat@v2`"]);
    let snapshot = download(dir.path(), "models--Org--SDAR", "sdar-f32", COMMIT);
    let there = format!("there is Org/SDAR@{COMMIT}");
    refused(dir.path(), "Org/SDAR@v2", &["no revision `v2`", &there]);
    refused(dir.path(), "sda", &["sda: No such file"]);
    // Downloaded by its commit, no branch is known.
    std::fs::remove_file(dir.file("models--Org--SDAR/refs/main")).unwrap();
    refused(dir.path(), "Org/SDAR", &["no revision `main`", &there]);
    assert_eq!(open(dir.path(), &format!("Org/SDAR@{COMMIT}")).code, Some(0));
    std::fs::write(dir.file("models--Org--SDAR/refs/main"), COMMIT.replace('0', "f")).unwrap();
    refused(dir.path(), "Org/SDAR", &["no revision `main`", &there]);
    std::fs::remove_dir_all(snapshot).unwrap();
    refused(dir.path(), "Org/SDAR", &["no such file", advice]);
}

#[test]
fn a_model_of_the_cache_opens_by_what_people_call_it() {
    let dir = TempDir::new();
    download(dir.path(), "models--Org--SDAR", "sdar-f32", COMMIT);
    let expected = open(dir.path(), "Org/SDAR").text().to_owned();
    for name in ["SDAR", "sdar", "org/sdar", "ORG/SDAR@main", "sdar@main", &format!("sdar@{COMMIT}")] {
        assert_eq!(open(dir.path(), name).text(), expected, "{name}");
    }
    refused(dir.path(), "sdar@v2", &["no revision `v2`", &format!("there is Org/SDAR@{COMMIT}")]);
    // Two with the same name: only the whole id says which.
    download(dir.path(), "models--Other--Sdar", "sdar-f32", COMMIT);
    refused(dir.path(), "sdar", &["sdar: no such file", "the Hugging Face cache has Org/SDAR, Other/Sdar\n"]);
    assert_eq!(open(dir.path(), "other/sdar").text(), expected);
    download(dir.path(), "models--org--sdar", "sdar-f32", COMMIT);
    refused(dir.path(), "ORG/sdar", &["the Hugging Face cache has Org/SDAR, org/sdar\n"]);
    assert_eq!(open(dir.path(), "Org/SDAR").text(), expected);
}

#[test]
fn half_a_download_is_refused() {
    let dir = TempDir::new();
    let snapshot = download(dir.path(), "models--Org--Sharded", "sdar-hd128-sharded", COMMIT);
    let blobs = dir.file("models--Org--Sharded/blobs");
    let complete = "is not complete";
    // What is not read may be incomplete: files of a broken download, dangling links, other formats.
    std::fs::write(blobs.join("hash.incomplete"), "half").unwrap();
    for name in
        ["README.md", "merges.txt", "model.safetensors", "consolidated.safetensors", "tokenizer.model"]
    {
        std::os::unix::fs::symlink("../../blobs/nothing", snapshot.join(name)).unwrap();
    }
    std::fs::create_dir_all(dir.file(".locks/models--Org--Sharded")).unwrap();
    std::fs::create_dir_all(dir.file("models--Org--Sharded/.no_exist").join(COMMIT)).unwrap();
    assert_eq!(open(dir.path(), "Org/Sharded").code, Some(0));
    std::fs::create_dir_all(dir.file("models--Org--Sharded/snapshots/other")).unwrap();
    assert_eq!(open(dir.path(), "Org/Sharded").code, Some(0));
    // What is read may not.
    for name in ["generation_config.json", "special_tokens_map.json", "chat_template.jinja"] {
        let path = snapshot.join(name);
        let before = std::fs::read_link(&path).ok();
        let _ = std::fs::remove_file(&path);
        std::os::unix::fs::symlink("../../blobs/nothing", &path).unwrap();
        refused(dir.path(), "Org/Sharded", &[complete, &format!("{name} links to nothing")]);
        std::fs::remove_file(&path).unwrap();
        before.iter().for_each(|target| std::os::unix::fs::symlink(target, &path).unwrap());
    }
    let shard = std::fs::read_dir(&snapshot)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|name| name.starts_with("model-") && name.ends_with(".safetensors"))
        .unwrap();
    std::fs::remove_file(blobs.join(format!("{shard}-hash"))).unwrap();
    refused(dir.path(), "Org/Sharded", &[complete, &format!("{shard} links to nothing")]);
    std::fs::remove_file(snapshot.join(&shard)).unwrap();
    refused(dir.path(), "Org/Sharded", &[complete, &format!("{shard} missing")]);
    std::fs::remove_file(snapshot.join("config.json")).unwrap();
    refused(dir.path(), "Org/Sharded", &[complete, "no config.json"]);
}
