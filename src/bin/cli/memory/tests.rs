use super::super::presets::Preset;
use super::*;

fn arch(name: &str) -> Architecture {
    Preset::named(name).unwrap().architecture().unwrap()
}

fn format(name: &str) -> Format {
    Format::from_name(name).unwrap()
}

/// A directory of files, removed at the end.
struct Files(PathBuf);

impl Files {
    fn new(test: &str, files: &[(&str, &str)]) -> Self {
        let dir = std::env::temp_dir().join(format!("diffulex-memory-{test}-{}", std::process::id()));
        for (name, text) in files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(dir)
    }

    fn left(&self) -> Option<u64> {
        control_groups(&self.0.join("groups"), &self.0.join("mounted"))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_session_needs_weights_keys_and_values_and_logits() {
    let sdar = arch("tiny-sdar");
    // tiny-sdar: hidden 128, ffn 352, 4 layers, 5 heads and 1 K/V head of 32, vocab 1024, not tied.
    let blocks = 4 * (2 * 160 * 128 + 2 * 32 * 128 + 3 * 352 * 128);
    let weights = matrix_bytes(&sdar, format("bf16"), format("f32"));
    assert_eq!(weights, 2 * blocks + 4 * 1024 * 128);
    let need = Need::new(weights, &sdar, KvDtype::F16, 100);
    let Attention::BlockCausal { block } = sdar.attention else { panic!("SDAR is block-causal") };
    assert_eq!((need.kv, need.logits), (100 * 4 * 2 * 32 * 2, block as u64 * 4 * 1024));
    assert_eq!(need.total(), need.weights + need.kv + need.logits);
    let dream = Need::new(0, &arch("tiny-dream"), KvDtype::F32, 50);
    assert_eq!(dream.logits, 50 * 4 * 1024, "no more rows than positions");
    let endless = Need::new(u64::MAX, &sdar, KvDtype::F32, usize::MAX);
    assert_eq!(endless.total(), u64::MAX);
}

#[test]
fn what_does_not_fit_is_refused_with_what_helps() {
    let need = Need { weights: 8_000_000_000, kv: 2_000_000_000, logits: 0, context: 4096 };
    assert_eq!(
        [20_000_000_000, 11_112_000_000, 11_111_000_000, 10_000_000_000, 9_999_999_999]
            .map(|free| need.fit(free)),
        [Fit::Fits, Fit::Fits, Fit::Close, Fit::Close, Fit::TooLarge]
    );
    let check = |free: Option<u64>| check("weights", &need, free, &advice(&need, true, KvDtype::F32));
    assert_eq!(check(None).unwrap(), None);
    assert_eq!(check(Some(20_000_000_000)).unwrap(), None);
    assert!(check(Some(10_500_000_000)).unwrap().unwrap().contains("10.00 GB of memory are needed"));
    let error = check(Some(4_000_000_000)).unwrap_err().to_string();
    for words in [
        "option `weights`: about 10.00 GB",
        "weights 8.00 GB",
        "keys and values of 4096 positions 2.00 GB",
        "4.00 GB are available",
        "--quantize int4",
        "a smaller --context",
        "--kv f16",
        "--no-memory-check",
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
    let small = Need { kv: 0, ..need };
    assert!(!advice(&small, true, KvDtype::F32).contains("--context"));
    assert!(advice(&small, false, KvDtype::F16).contains("a smaller model"));
}

#[test]
fn control_groups_limit_what_is_there() {
    // Version 2: a limit above the group counts; cached files are given back.
    let v2 = Files::new(
        "v2",
        &[
            ("groups", "0::/a/b\n"),
            ("mounted/a/b/memory.max", "max\n"),
            ("mounted/a/b/memory.current", "500\n"),
            ("mounted/a/memory.max", "1000\n"),
            ("mounted/a/memory.current", "700\n"),
            ("mounted/a/memory.stat", "anon 300\nactive_file 100\ninactive_file 50\n"),
        ],
    );
    assert_eq!(v2.left(), Some(1000 - (700 - 150)));
    // Inside a container the path is that of the host.
    let container = Files::new(
        "container",
        &[
            ("groups", "0::/docker/xyz\n"),
            ("mounted/memory.max", "1000\n"),
            ("mounted/memory.current", "2000\n"),
        ],
    );
    assert_eq!(container.left(), Some(0), "more in use than allowed");
    let v1 = Files::new(
        "v1",
        &[
            ("groups", "5:cpu,cpuacct:/x\n4:memory:/x\n"),
            ("mounted/memory/x/memory.limit_in_bytes", "4000\n"),
            ("mounted/memory/x/memory.usage_in_bytes", "1500\n"),
            (
                "mounted/memory/x/memory.stat",
                "active_file 7\ntotal_active_file 100\ntotal_inactive_file 400\n",
            ),
        ],
    );
    assert_eq!(v1.left(), Some(4000 - 1000));
    let none = Files::new("none", &[("groups", "0::/\n")]);
    assert_eq!(none.left(), None);
    assert_eq!(control_groups(Path::new("/nowhere"), Path::new("/nowhere")), None);
}

#[test]
fn linux_says_how_much_there_is() {
    let (available, total, peak) = (available(), total(), peak());
    if !cfg!(target_os = "linux") {
        println!("SKIPPED: only Linux says how much memory there is");
        assert_eq!((available, total, peak), (None, None, None));
        return;
    }
    assert!(available.unwrap() <= total.unwrap(), "{available:?} of {total:?}");
    assert!((1 << 16..total.unwrap()).contains(&peak.unwrap()), "{peak:?}");
}
