//! Tokenizers and chat templates of the golden checkpoints, and text as it streams.
#![cfg(all(feature = "tokenizers", feature = "chat"))]

mod fixture;

use diffulex::Model;
use diffulex::json;
use diffulex::tensor::TokenId;
use diffulex::text::chat::{ChatTemplate, Message};
use diffulex::text::hf::HfTokenizer;
use diffulex::text::{StreamDecoder, Tokenizer};
use proptest::prelude::*;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// All but fastdllm2-stop, which has traces only.
const WITH_TEXTS: usize = 16;

/// The golden checkpoints that have recorded strings, with their manifests.
fn goldens() -> Vec<(PathBuf, Value)> {
    let mut dirs: Vec<_> = fs::read_dir("tests/golden").unwrap().map(|entry| entry.unwrap().path()).collect();
    dirs.retain(|dir| dir.join("tokenizer.json").is_file());
    dirs.sort();
    let manifest = |dir: &Path| -> Value {
        serde_json::from_str(&fs::read_to_string(dir.join("golden.json")).unwrap()).unwrap()
    };
    let mut all: Vec<_> = dirs.into_iter().map(|dir| (dir.clone(), manifest(&dir))).collect();
    all.retain(|(_, manifest)| !list(&manifest["chat"]).is_empty());
    assert_eq!(all.len(), WITH_TEXTS, "checkpoints with recorded strings");
    all
}

fn chat_template(dir: &Path) -> Option<ChatTemplate> {
    let files = diffulex::weights::Checkpoint::locate(dir).unwrap();
    ChatTemplate::open(files.chat_template.as_deref(), files.tokenizer_config.as_deref()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn ids(value: &Value) -> Vec<TokenId> {
    value.as_array().expect("a list").iter().map(|id| id.as_u64().expect("an id") as TokenId).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

/// Every list of ids in a manifest.
fn recorded_ids(manifest: &Value) -> Vec<Vec<TokenId>> {
    let mut all: Vec<_> = list(&manifest["chat"]).iter().map(|chat| ids(&chat["token_ids"])).collect();
    all.extend(list(&manifest["encode"]).iter().map(|entry| ids(&entry["token_ids"])));
    all.extend(list(&manifest["end_to_end"]).iter().map(|entry| ids(&entry["new_ids"])));
    all.extend(list(&manifest["traces"]).iter().flat_map(|trace| list(&trace["final_ids"]).iter().map(ids)));
    all
}

#[test]
fn chats_are_rendered_and_encoded_as_recorded() {
    for (dir, manifest) in goldens() {
        let tokenizer = HfTokenizer::from_dir(&dir).unwrap();
        let template = chat_template(&dir).expect("a template");
        let chats = list(&manifest["chat"]);
        assert!(!chats.is_empty(), "{}", dir.display());
        for chat in chats {
            let messages: Vec<_> = list(&chat["messages"])
                .iter()
                .map(|message| Message::new(text(&message["role"]), text(&message["content"])))
                .collect();
            let rendered = template.render(&messages, chat["add_generation_prompt"] == true).unwrap();
            assert_eq!(rendered, text(&chat["rendered"]), "{}", dir.display());
            let got = tokenizer.encode(&rendered).unwrap();
            assert_eq!(got, ids(&chat["token_ids"]), "{}", dir.display());
            assert_eq!(tokenizer.decode(&got, true).unwrap(), text(&chat["decoded_skip_special"]));
            assert_eq!(tokenizer.decode(&got, false).unwrap(), text(&chat["decoded_keep_special"]));
        }
        for entry in list(&manifest["end_to_end"]) {
            let rendered = template.render(&[Message::new("user", text(&entry["text"]))], true).unwrap();
            assert_eq!(rendered, text(&entry["rendered"]), "{}", dir.display());
            assert_eq!(tokenizer.encode(&rendered).unwrap(), ids(&entry["prompt_ids"]));
        }
    }
}

#[test]
fn plain_text_is_encoded_as_recorded() {
    for (dir, manifest) in goldens() {
        let tokenizer = HfTokenizer::from_file(&dir.join("tokenizer.json")).unwrap();
        let entries = list(&manifest["encode"]);
        assert!(entries.len() > 4, "{}", dir.display());
        for entry in entries {
            assert_eq!(
                tokenizer.encode(text(&entry["text"])).unwrap(),
                ids(&entry["token_ids"]),
                "{}",
                dir.display()
            );
            assert_eq!(tokenizer.decode(&ids(&entry["token_ids"]), false).unwrap(), text(&entry["decoded"]));
        }
    }
}

#[test]
fn sizes_and_special_ids_are_those_of_the_manifest() {
    for (dir, manifest) in goldens() {
        let tokenizer = HfTokenizer::from_dir(&dir).unwrap();
        assert_eq!(
            tokenizer.size() as u64,
            manifest["tokenizer_size"].as_u64().unwrap(),
            "{}",
            dir.display()
        );
        assert!(tokenizer.holes().is_empty(), "{}", dir.display());
        for (token, id) in manifest["special_ids"].as_object().unwrap() {
            assert_eq!(tokenizer.id_of(token).map(u64::from), id.as_u64(), "{token}");
        }
        let mask = manifest["mask_token_id"].as_u64().map(|id| id as TokenId);
        let config = json::Value::read(&dir.join("tokenizer_config.json")).unwrap();
        assert_eq!(tokenizer.mask_id(Some(&config), None).unwrap(), mask, "{}", dir.display());
        // The added tokens alone tell it, too.
        assert_eq!(tokenizer.mask_id(None, None).unwrap(), mask, "{}", dir.display());
    }
}

#[test]
fn the_older_pair_of_files_gives_the_same_tokenizer() {
    // Families whose words are cut as Qwen2's are, with its names of special tokens.
    let of_qwen = |m: &Value| m["family"] != "llada" && m["special_ids"]["<|endoftext|>"].is_u64();
    let pairs: Vec<_> = goldens().into_iter().filter(|(_, manifest)| of_qwen(manifest)).collect();
    assert!(pairs.len() >= 9, "{} checkpoints", pairs.len());
    for (source, manifest) in pairs {
        let dir = std::env::temp_dir().join(format!("diffulex-pair-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let tokenizer: Value =
            serde_json::from_str(&fs::read_to_string(source.join("tokenizer.json")).unwrap()).unwrap();
        let model = &tokenizer["model"];
        fs::write(dir.join("vocab.json"), model["vocab"].to_string()).unwrap();
        let merges: Vec<_> = list(&model["merges"])
            .iter()
            .map(|pair| format!("{} {}\n", text(&pair[0]), text(&pair[1])))
            .collect();
        fs::write(dir.join("merges.txt"), format!("#version: 0.2\n{}", merges.concat())).unwrap();
        fs::copy(source.join("tokenizer_config.json"), dir.join("tokenizer_config.json")).unwrap();
        let got = HfTokenizer::from_dir(&dir);
        // A gap in the listed ids cannot be honoured, and is refused rather than shifted.
        let config = fs::read_to_string(dir.join("tokenizer_config.json")).unwrap();
        let first = manifest["special_ids"]["<|endoftext|>"].as_u64().unwrap();
        fs::write(
            dir.join("tokenizer_config.json"),
            config.replace(&format!("\"{first}\": {{"), "\"99999\": {"),
        )
        .unwrap();
        let gap = HfTokenizer::from_dir(&dir);
        fs::remove_dir_all(&dir).unwrap();

        let got = got.unwrap();
        assert_eq!(got.size() as u64, manifest["tokenizer_size"].as_u64().unwrap(), "{}", source.display());
        for chat in list(&manifest["chat"]) {
            assert_eq!(
                got.encode(text(&chat["rendered"])).unwrap(),
                ids(&chat["token_ids"]),
                "{}",
                source.display()
            );
            assert_eq!(
                got.decode(&ids(&chat["token_ids"]), true).unwrap(),
                text(&chat["decoded_skip_special"])
            );
        }
        for entry in list(&manifest["encode"]) {
            assert_eq!(
                got.encode(text(&entry["text"])).unwrap(),
                ids(&entry["token_ids"]),
                "{}",
                source.display()
            );
        }
        assert!(gap.unwrap_err().to_string().contains("listed with id"), "{}", source.display());
    }
}

#[test]
fn a_damaged_tokenizer_is_an_error_and_never_a_panic() {
    let good = fs::read("tests/golden/llada-f32/tokenizer.json").unwrap();
    for end in (0..good.len() - 2).step_by(97) {
        let error = HfTokenizer::from_bytes("cut", &good[..end]).unwrap_err().to_string();
        assert!(error.starts_with("cut: malformed JSON"), "{error}");
    }
    let error = HfTokenizer::from_file(Path::new("tests/golden/absent.json")).unwrap_err().to_string();
    assert!(error.starts_with("tests/golden/absent.json: "), "{error}");
    // Flipped bytes may leave a tokenizer or not; both must end, and what is left must encode or refuse.
    for at in (0..good.len()).step_by(13) {
        for flip in [0x01, 0x10] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            if let Ok(tokenizer) = HfTokenizer::from_bytes("flipped", &bytes) {
                let _ =
                    tokenizer.encode("The <|mdm_mask|> naïve 🙂").map(|ids| tokenizer.decode(&ids, false));
            }
        }
    }
}

/// Decodes in pieces of these lengths (repeated) and checks that the pieces are the whole.
fn check_stream(tokenizer: &HfTokenizer, ids: &[TokenId], lengths: &[usize], skip: bool) {
    let whole = tokenizer.decode(ids, skip).unwrap();
    let mut decoder = StreamDecoder::new(tokenizer, skip);
    let (mut got, mut rest) = (String::new(), ids);
    for &length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(length.min(rest.len()));
        got.push_str(&decoder.push(piece).unwrap());
        assert!(whole.starts_with(&got), "{got:?} is not a prefix of {whole:?}");
        rest = after;
    }
    got.push_str(&decoder.finish().unwrap());
    assert_eq!(got, whole, "{ids:?}");
}

#[test]
fn recorded_ids_stream_to_their_text() {
    for (dir, manifest) in goldens() {
        let tokenizer = HfTokenizer::from_dir(&dir).unwrap();
        let lists = recorded_ids(&manifest);
        assert!(lists.iter().any(|ids| ids.len() > 64), "{}: none leaves the window", dir.display());
        for ids in &lists {
            for skip in [true, false] {
                check_stream(&tokenizer, ids, &[1], skip);
                check_stream(&tokenizer, ids, &[5, 1, 4], skip);
            }
        }
    }
}

#[test]
fn characters_of_several_tokens_appear_whole() {
    let tokenizer = HfTokenizer::from_file(Path::new("tests/golden/sdar-f32/tokenizer.json")).unwrap();
    let ids = tokenizer.encode("a🙂語b").unwrap();
    assert_eq!(ids.len(), 9, "the characters are not split, so this test shows nothing");
    let mut decoder = StreamDecoder::new(&tokenizer, true);
    let pieces: Vec<_> = ids.iter().map(|&id| decoder.push(&[id]).unwrap()).collect();
    assert_eq!(pieces, ["a", "", "", "", "🙂", "", "", "語", "b"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_ids_stream_to_their_text(
        ids in prop::collection::vec(0u32..305, 0..200),
        text in "(\\PC|[🙂語é \\n]){0,80}",
        lengths in prop::collection::vec(1usize..9, 1..9),
        skip in any::<bool>(),
    ) {
        let tokenizer = HfTokenizer::from_file(Path::new("tests/golden/dream-f32/tokenizer.json")).unwrap();
        check_stream(&tokenizer, &ids, &lengths, skip);
        let ids = tokenizer.encode(&text).unwrap();
        check_stream(&tokenizer, &ids, &lengths, skip);
    }
}

/// The tokenizer is read while the weights are opened. Which of them is reported does not depend on which takes longer.
#[test]
fn of_several_broken_files_the_same_one_is_named_always() {
    let temp = fixture::TempDir::new();
    let files = ["config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors"];
    for file in files {
        fs::copy(fixture::golden("llada-f32").join(file), temp.path().join(file)).unwrap();
    }
    let open = || Model::open(temp.path()).err().map(|error| error.to_string());
    assert_eq!(open(), None);
    let is_named = |name: &str| {
        for _ in 0..10 {
            let error = open().expect(name);
            assert!(error.starts_with(&temp.path().join(name).display().to_string()), "{name}: {error}");
        }
    };
    let alone = |name: &str| {
        let good = fs::read(temp.path().join(name)).unwrap();
        fs::write(temp.path().join(name), "{").unwrap();
        is_named(name);
        fs::write(temp.path().join(name), good).unwrap();
    };
    files.into_iter().for_each(alone);
    // Broken one after the other: of two, the one further to the left is named.
    for name in ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"] {
        fs::write(temp.path().join(name), "{").unwrap();
        is_named(name);
    }
}
