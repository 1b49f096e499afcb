//! Checkpoints that we write are read back as they were made, and a failure leaves nothing behind.
#![cfg(feature = "safetensors")]

mod fixture;

use diffulex::dtype::DType;
use diffulex::weights::writer::{TensorSpec, write_checkpoint};
use diffulex::weights::{Checkpoint, Storage, TensorSource};
use diffulex::{Error, Result};
use fixture::TempDir;

fn specs() -> Vec<TensorSpec> {
    [
        ("b\"é", DType::F32, vec![5, 3]),
        ("a", DType::Bf16, vec![7]),
        ("empty", DType::F16, vec![0]),
        ("c", DType::U8, vec![40]),
    ]
    .map(|(name, dtype, shape)| TensorSpec { name: name.into(), dtype, shape })
    .to_vec()
}

/// Bytes that depend on the name, so that no tensor can be taken for another.
fn fill(spec: &TensorSpec, bytes: &mut [u8]) -> Result<()> {
    assert!(bytes.iter().all(|&byte| byte == 0), "the buffer is zeroed");
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = spec.name.as_bytes()[0].wrapping_mul(3).wrapping_add(i as u8);
    }
    Ok(())
}

#[test]
fn checkpoints_are_read_back_whole_and_in_shards() {
    let sharded = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let each = ["model-00001-of-00004.safetensors", "model-00004-of-00004.safetensors"];
    for (limit, files, first_and_last) in
        [(u64::MAX, 1, ["model.safetensors"; 2]), (74, 3, sharded), (0, 5, each)]
    {
        let dir = TempDir::new();
        let metadata = [("format".to_string(), "pt".to_string())];
        let paths = write_checkpoint(dir.path(), &specs(), limit, &metadata, &mut fill).unwrap();
        assert_eq!(paths.len(), files, "limit {limit}");
        let names: Vec<_> = paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        let last_shard = if files == 1 { 0 } else { files - 2 };
        assert_eq!([names[0], names[last_shard]], first_and_last);
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(dir.names(), sorted, "nothing else is left");
        let weights = Checkpoint::locate(dir.path()).unwrap().open(Storage::Read).unwrap();
        assert_eq!(weights.names().len(), 4);
        assert!(weights.metadata().contains(&metadata[0]));
        for spec in specs() {
            let tensor = weights.tensor(&spec.name).unwrap();
            assert_eq!((tensor.dtype(), tensor.shape()), (spec.dtype, &spec.shape[..]), "{}", spec.name);
            let mut expected = vec![0; spec.bytes()];
            fill(&spec, &mut expected).unwrap();
            assert!(**tensor.bytes() == *expected, "{}: other bytes", spec.name);
        }
    }
}

#[test]
fn nothing_is_left_after_a_failure() {
    for limit in [u64::MAX, 0] {
        let dir = TempDir::new();
        let mut calls = 0;
        let mut fill = |spec: &TensorSpec, _: &mut [u8]| {
            calls += 1;
            if spec.name == "a" { Err(Error::option("seed", "no")) } else { Ok(()) }
        };
        let error = write_checkpoint(dir.path(), &specs(), limit, &[], &mut fill).unwrap_err();
        assert_eq!(error.to_string(), "option `seed`: no");
        assert!(dir.names().is_empty(), "left: {:?}", dir.names());
        assert_eq!(calls, 2, "called again after the failure");
    }
}

#[test]
fn weights_are_not_overwritten() {
    for present in ["model.safetensors", "model.safetensors.index.json"] {
        for limit in [u64::MAX, 0] {
            let dir = TempDir::new();
            dir.write(present, "precious");
            let error =
                write_checkpoint(dir.path(), &specs(), limit, &[], &mut fill).unwrap_err().to_string();
            assert!(error.ends_with(&format!("already holds weights: {present}")), "{error}");
            assert_eq!(dir.names(), [present]);
        }
    }
    let missing = TempDir::new().file("no/such/directory");
    let error = write_checkpoint(&missing, &specs(), 0, &[], &mut fill).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[test]
#[should_panic(expected = "tensor `a` is in the list twice")]
fn duplicate_names_are_a_wrong_call() {
    let dir = TempDir::new();
    let twice = [specs()[1].clone(), specs()[1].clone()];
    let _ = write_checkpoint(dir.path(), &twice, 0, &[], &mut fill);
}

#[cfg(unix)]
#[test]
fn files_get_the_permissions_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new();
    let usual = dir.write("usual", "");
    let written = write_checkpoint(dir.path(), &specs(), u64::MAX, &[], &mut fill).unwrap().remove(0);
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(written), mode(usual));
}
