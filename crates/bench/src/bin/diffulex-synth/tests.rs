//! The crate's own readers read back every preset: shapes, special ids, words, sizes.

use super::*;
use diffulex::model::Architecture;
use diffulex::text::Tokenizer;
use diffulex::text::chat::{ChatTemplate, Message};
use diffulex::text::hf::HfTokenizer;

fn tokenizer(preset: &Preset) -> HfTokenizer {
    let value = vocabulary::tokenizer_json(preset.words, &preset.specials(), preset.family != Family::Llada);
    HfTokenizer::from_bytes(preset.name, value.to_string().as_bytes()).unwrap()
}

#[test]
fn real_presets_have_the_published_sizes() {
    // Parameters in millions, from the shapes: embedding and output matrix, and per layer q, k, v, o, gate, up, down.
    for (name, millions) in [
        ("sdar-1.7b", 2031.7),
        ("sdar-4b", 4411.4),
        ("sdar-8b", 8190.7),
        ("fast-dllm-1.5b", 1543.7),
        ("fast-dllm-7b", 7615.6),
        ("dream-7b", 7615.6),
        ("llada-8b", 8015.6),
        ("sdar-30b-a3b", 30_532.1),
        ("llada-moe-7b", 7356.9),
        ("llada2-mini", 16_255.6),
        ("llada2-flash", 102_889.7),
        ("a2d-qwen3-0.6b", 596.0),
        ("a2d-qwen2-0.5b", 494.0),
        ("open-dcoder-0.5b", 494.0),
        ("stable-diffcoder-8b", 8250.5),
        ("nemotron-8b", 8489.6),
    ] {
        let architecture = Preset::named(name).unwrap().architecture().unwrap();
        let bytes = total_bytes(&layout(&architecture.tensors(), Format::Bf16).unwrap().specs);
        let found = bytes as f64 / 2e6;
        assert!((found - millions).abs() < 0.1, "{name}: {found} million parameters");
    }
}

#[test]
fn special_ids_are_the_published_ones() {
    for (name, token, id) in [
        ("sdar-1.7b", "<|endoftext|>", 151_643),
        ("sdar-4b", "<|im_end|>", 151_645),
        ("sdar-8b", "<|MASK|>", 151_669),
        ("sdar-8b", "<think>", 151_667),
        ("fast-dllm-1.5b", "<|im_start|>", 151_644),
        ("fast-dllm-7b", "|<MASK>|", 151_665),
        ("dream-7b", "<|beginoftext|>", 151_665),
        ("dream-7b", "<|mask|>", 151_666),
        ("llada2-mini", "<|endoftext|>", 156_892),
        ("llada2-mini", "<|mask|>", 156_895),
        ("llada-8b", "<|startoftext|>", 126_080),
        ("llada-8b", "<|endoftext|>", 126_081),
        ("llada-8b", "<|mdm_mask|>", 126_336),
        ("llada-8b", "<|start_header_id|>", 126_346),
        ("llada-8b", "<|end_header_id|>", 126_347),
        ("llada-8b", "<|eot_id|>", 126_348),
    ] {
        assert_eq!(Preset::named(name).unwrap().id(token), id, "{name} {token}");
    }
}

#[test]
fn tokenizers_cover_their_ids_and_name_one_mask() {
    for preset in PRESETS.iter().filter(|p| {
        !matches!(p.name, "sdar-4b" | "sdar-8b" | "fast-dllm-7b" | "llada-moe-7b" | "llada2-flash")
            && !p.name.contains("-b32")
            && !p.name.starts_with("sdar-30b")
    }) {
        let tokenizer = tokenizer(preset);
        let specials = preset.specials();
        assert_eq!(tokenizer.size(), specials.last().unwrap().id + 1, "{}", preset.name);
        assert!(tokenizer.holes().is_empty() && tokenizer.size() <= preset.vocab, "{}", preset.name);
        for special in &specials {
            assert_eq!(
                tokenizer.encode(&special.content).unwrap(),
                [special.id as u32],
                "{}",
                special.content
            );
        }
        let mask = tokenizer.id_of(preset.mask());
        assert!(mask.is_some() && tokenizer.mask_id(None, None).unwrap() == mask, "{}", preset.name);
    }
}

#[test]
fn every_word_is_one_token_and_any_text_survives() {
    for name in ["tiny-sdar", "tiny-llada", "dream-7b"] {
        let preset = Preset::named(name).unwrap();
        let tokenizer = tokenizer(&preset);
        for id in (356..preset.words as u32).step_by(preset.words / 500) {
            let word = tokenizer.decode(&[id], true).unwrap();
            assert!(word.starts_with(' ') && word.len() % 2 == 1, "{name}: {id} is {word:?}");
            assert_eq!(tokenizer.encode(&word).unwrap(), [id], "{name}: {word:?}");
        }
        let text = "Kalo mi? <|im_end|>\n\tnaïve 🙂 語 123 \u{0}\u{7f}";
        assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap(), false).unwrap(), text, "{name}");
    }
}

#[test]
fn tiny_configurations_keep_the_traits_of_their_family() {
    for (tiny, real) in [
        ("tiny-sdar", "sdar-1.7b"),
        ("tiny-sdar-moe", "sdar-30b-a3b"),
        ("tiny-llada-moe", "llada-moe-7b"),
        ("tiny-llada2", "llada2-mini"),
        ("tiny-fast-dllm", "fast-dllm-1.5b"),
        ("tiny-dream", "dream-7b"),
        ("tiny-llada", "llada-8b"),
        ("tiny-a2d", "a2d-qwen3-0.6b"),
        ("tiny-open-dcoder", "open-dcoder-0.5b"),
        ("tiny-stable-diffcoder", "stable-diffcoder-8b"),
        ("tiny-nemotron", "nemotron-8b"),
    ] {
        let read = |name| Preset::named(name).unwrap().architecture().unwrap();
        let (tiny, real) = (read(tiny), read(real));
        let traits = |a: &Architecture| {
            (
                a.family,
                a.qk_norm,
                a.qkv_bias,
                a.out_bias,
                a.tied,
                a.attention,
                a.alignment,
                a.rope.theta,
                a.norm_eps,
                a.mixture.as_ref().map(|mixture| mixture.router),
            )
        };
        assert_eq!(traits(&tiny), traits(&real));
        assert!(tiny.dims.hidden * 7 <= real.dims.hidden);
    }
}

#[test]
fn templates_render_with_the_tokens_of_their_family() {
    for (name, want) in [
        ("tiny-sdar", "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"),
        (
            "tiny-fast-dllm",
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            "tiny-llada",
            "<|startoftext|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
    ] {
        let preset = Preset::named(name).unwrap();
        let config = preset.tokenizer_config();
        let template =
            preset.template_file().unwrap_or_else(|| config["chat_template"].as_str().unwrap().to_owned());
        let specials = vec![("bos_token".to_owned(), config["bos_token"].as_str().unwrap_or("").to_owned())];
        let template = ChatTemplate::from_source(name, &template, specials).unwrap();
        assert_eq!(template.render(&[Message::new("user", "hi")], true).unwrap(), want);
    }
}

#[test]
fn sizes_are_read() {
    for (text, want) in [("5GB", 5_000_000_000), ("1.5 MiB", 1_572_864), ("4096", 4096), ("2kb", 2000)] {
        assert_eq!(size(text), Ok(want), "{text}");
    }
    for text in ["", "GB", "0", "-1GB", "5TB", "x", "0.5"] {
        assert!(size(text).is_err(), "{text}");
    }
}
