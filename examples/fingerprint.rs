//! Prints a line for every recorded checkpoint and every level of this CPU: hashes of the bits of some logits and of generated
//! tokens. Two builds that print the same lines compute the same bits; tests/features.rs compares builds with different
//! Cargo features.
//!
//! `cargo run --release --no-default-features --example fingerprint`

use diffulex::cache::{Attention, KvDtype, Visible};
use diffulex::json::Value;
use diffulex::kernels::Level;
use diffulex::model::Probe;
use diffulex::tensor::TokenId;
use diffulex::weights::Storage;
use diffulex::{Control, Engine, Policy, Request, Result};
use std::path::{Path, PathBuf};

/// Tokens of the fixed forward pass: more than a tile of the matrix kernels, not a multiple of any.
const ROWS: usize = 13;
/// New tokens of the fixed generations.
const NEW: usize = 24;

/// FNV-1a over 32-bit words.
fn hash(words: impl IntoIterator<Item = u32>) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    words.into_iter().flat_map(u32::to_le_bytes).fold(0xcbf2_9ce4_8422_2325, step)
}

/// The checkpoints of tests/golden, in order.
pub(crate) fn checkpoints() -> Vec<PathBuf> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = std::fs::read_dir(golden).expect("tests/golden is part of the repository");
    let mut dirs: Vec<_> = entries.map(|entry| entry.expect("a readable directory").path()).collect();
    dirs.retain(|dir| dir.join("config.json").is_file());
    dirs.sort();
    dirs
}

fn open(dir: &Path, level: Level, kv: KvDtype) -> Result<Engine> {
    let manifest = Value::read(&dir.join("golden.json"))?;
    let mask = manifest.get("mask_token_id").and_then(Value::as_u64).expect("a recorded mask id");
    let engine = Engine::builder().level(level).threads(2).kv(kv).context(256).storage(Storage::Read);
    engine.mask(mask as TokenId).open(dir)
}

/// Ids that every recorded vocabulary has, without the mask: a prompt has no gaps.
fn ids(engine: &Engine) -> Result<Vec<TokenId>> {
    let mask = engine.mask()?;
    let ids = (0..ROWS as TokenId).map(|i| 7 + i * 19);
    Ok(ids.map(|id| if id == mask { id + 1 } else { id }).collect())
}

fn logits(engine: &Engine) -> Result<u64> {
    let mut session = engine.session()?;
    let visible = match engine.arch().attention {
        Attention::Bidirectional => Visible::all(0..ROWS, 0..ROWS),
        rule => Visible::by_rule(rule, 0..ROWS, 0, ROWS),
    };
    session.forward(&ids(engine)?, 0, &visible, &mut Probe::none())?;
    let rows: Vec<usize> = (0..ROWS).collect();
    let logits = session.logits(&rows, &mut Probe::none());
    Ok(hash(logits.data().iter().map(|x| x.to_bits())))
}

/// Tokens of a generation, since they are the same everywhere only if every bit of every probability is.
fn tokens(engine: &Engine, policy: &Policy) -> Result<u64> {
    let ids = ids(engine)?;
    let request = Request { seed: 11, ..Request::new(&ids, NEW, policy) };
    let generation = engine.session()?.generate(&request, &mut |_| Ok(Control::Continue))?;
    assert_eq!(generation.tokens.len(), NEW, "nothing ends the text");
    Ok(hash(generation.tokens))
}

/// The lines.
///
/// # Errors
/// If a checkpoint cannot be read.
pub(crate) fn lines() -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for dir in checkpoints() {
        for level in Level::available() {
            let name = dir.file_name().unwrap_or_default().to_string_lossy();
            let mut line = format!("{name} {}", level.name());
            for kv in [KvDtype::F32, KvDtype::F16] {
                let engine = open(&dir, level, kv)?;
                // As the family was published: what a checkpoint says about its defaults does not concern kernels.
                let greedy = Policy::named(engine.arch().policy).expect("presets name policies that exist");
                let mut drawn = greedy.clone();
                drawn.draw.temperature = 0.9;
                drawn.draw.filters.top_p = 0.95;
                let [greedy, drawn] = [tokens(&engine, &greedy)?, tokens(&engine, &drawn)?];
                line += &format!(" {:016x} {greedy:016x} {drawn:016x}", logits(&engine)?);
            }
            lines.push(line);
        }
    }
    Ok(lines)
}

#[allow(dead_code, reason = "tests/features.rs takes this file in as a module")]
fn main() -> Result<()> {
    for line in lines()? {
        println!("{line}");
    }
    Ok(())
}
