//! Cargo features change what the crate depends on, and no bit of what it computes.

use std::collections::BTreeSet;
use std::process::Command;

#[path = "../examples/fingerprint.rs"]
mod fingerprint;

/// Standard output of a cargo command in this package, without the network.
fn cargo(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("CARGO_NET_OFFLINE", "true").args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_core_depends_on_nothing() {
    let tree = cargo(&["tree", "--no-default-features", "-e", "normal"]);
    let lines: Vec<_> = tree.lines().collect();
    assert_eq!(lines.len(), 1, "{tree}");
    assert!(lines[0].starts_with(&format!("diffulex v{}", env!("CARGO_PKG_VERSION"))), "{tree}");
}

/// Cargo.toml has the version. The only other places are the name of a deployment's image and the heading of the latest changes.
#[test]
fn the_version_is_written_once() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    for entry in std::fs::read_dir(root.join("crates")).unwrap() {
        let manifest = entry.unwrap().path().join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest).unwrap();
        assert!(text.contains("\nversion.workspace = true\n"), "{}", manifest.display());
    }
    assert!(
        read("python/pyproject.toml").contains("dynamic = [\"version\"]"),
        "the wheel has that of its crate"
    );
    let changes = read("CHANGELOG.md");
    let latest = changes.lines().find_map(|line| line.strip_prefix("## ")).unwrap();
    assert_eq!(latest.split(' ').next(), Some(version), "the latest changes");
    assert!(read("deploy/kubernetes.yaml").contains(&format!("image: diffulex:{version}\n")), "deploy/");
}

/// Rounding could hide a difference behind equal tokens, but not behind equal bits of all logits.
#[test]
#[ignore = "slow: builds the core again, in a directory of its own"]
fn no_feature_changes_a_bit() {
    let ours = fingerprint::lines().unwrap();
    // A directory of its own: the build that runs this test holds the lock of the usual one.
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/target/core");
    let run = [
        "run",
        "--quiet",
        "--release",
        "--no-default-features",
        "--example",
        "fingerprint",
        "--target-dir",
        target,
    ];
    let core = cargo(&run);
    let core: Vec<_> = core.lines().collect();
    let levels = diffulex::kernels::Level::available().len();
    let checkpoints = fingerprint::checkpoints().len();
    assert!(checkpoints >= 13, "{checkpoints} checkpoints in tests/golden");
    assert_eq!(core.len(), checkpoints * levels, "{checkpoints} checkpoints at {levels} levels");
    assert_eq!(ours, core);
    // What is compared depends on its input: no two checkpoints, and no two of the six hashes of one, are equal.
    for line in &ours {
        let hashes: BTreeSet<_> = line.split(' ').skip(2).collect();
        assert!(hashes.len() >= 3, "{line}");
    }
    assert_eq!(ours.iter().collect::<BTreeSet<_>>().len(), ours.len());
}

/// The example for embedders, in a build without features: from bytes in memory and from a directory.
#[test]
#[ignore = "slow: builds the core again, in a directory of its own"]
fn the_core_alone_answers_a_question() {
    let run = |arguments: &[&str]| {
        let target = concat!(env!("CARGO_MANIFEST_DIR"), "/target/core");
        let fixed = ["run", "--quiet", "--release", "--no-default-features", "--example", "embed"];
        cargo(&[&fixed[..], &["--target-dir", target, "--"], arguments].concat())
    };
    // "27 + 45 = 72.", digit by digit.
    let answer = "[17, 22, 292, 220, 19, 20, 273, 220, 22, 17, 13]\n";
    assert_eq!(run(&[]), answer);
    let question = "685 574 198 302 281 220 17 22 292 220 19 20 30 686 198 685 620 198";
    let directory: Vec<_> = std::iter::once("demo/sdar").chain(question.split(' ')).collect();
    assert_eq!(run(&directory), answer);
}
