//! Failures around a program while it runs: files that change under it, full disks, too little memory, files that may not be
//! read.

use crate::fixture::{TempDir, golden};
use crate::program::{Output, command, finish, program, reports_a_full_disk, run};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

const WEIGHTS: &str = "model.safetensors";

/// A generation that takes much longer than this test.
fn endless(model: &str, more: &[&str]) -> Command {
    let fixed = ["-w", model, "--ids", "1,2,3", "--level", "scalar", "--threads", "2", "--ignore-eos"];
    let length = ["--context", "32768", "--max-tokens", "30000", "--strategy", "sdar-static"];
    command(&[&fixed[..], &length, more].concat())
}

/// Starts `command`, waits for its first output, does `harm`, and waits for the end.
fn harmed(mut command: Command, harm: impl FnOnce()) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 4]).unwrap();
    harm();
    // The rest has to be read, or the program would wait for a reader.
    let rest = std::thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
    let output = child.wait_with_output().unwrap();
    rest.join().unwrap().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    Output { stdout: String::new(), stderr, code: output.status.code() }
}

#[test]
fn weights_that_are_cut_under_a_running_model_end_it_with_a_message() {
    let dir = TempDir::with_golden("sdar-f32");
    let file = dir.file(WEIGHTS);
    let harm = || File::options().write(true).open(&file).unwrap().set_len(0).unwrap();
    let outcome = harmed(endless(&dir.argument(), &[]), harm);
    if cfg!(target_os = "linux") {
        let wanted = format!("error: {}: the file changed or was truncated while in use", file.display());
        assert!(outcome.stderr.contains(&wanted), "{outcome:?}");
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
    } else {
        println!("skipped: only Linux says which file is mapped at an address");
    }
}

#[test]
fn weights_that_are_overwritten_under_a_running_model_are_noticed() {
    let dir = TempDir::with_golden("sdar-f32");
    let file = dir.file(WEIGHTS);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0);
    let short = ["--max-tokens", "400"];
    // `write` cuts the file first, which is another fault: the same bytes are written over.
    let harm = || {
        use std::os::unix::fs::FileExt;
        File::options().write(true).open(&file).unwrap().write_all_at(&bytes, 0).unwrap();
    };
    let outcome = harmed(
        command(
            &[
                &["-w", &dir.argument(), "--ids", "1,2,3", "--level", "scalar"][..],
                &short,
                &["--ignore-eos", "--strategy", "sdar-static"],
            ]
            .concat(),
        ),
        harm,
    );
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    let wanted = format!("error: {}: the file changed while it was in use", file.display());
    assert!(outcome.stderr.contains(&wanted), "{outcome:?}");
}

#[test]
fn a_clock_that_moved_is_no_fault_and_a_batch_whose_weights_changed_ends() {
    let dir = TempDir::with_golden("sdar-f32");
    let (file, output) = (dir.file(WEIGHTS), dir.file("o.jsonl"));
    let lines = "{\"prompt\": \"Hello\", \"max_tokens\": 200}\n".repeat(6);
    let prompts = dir.write("p.jsonl", lines).display().to_string();
    let (weights, to) = (dir.argument(), output.display().to_string());
    let batch = |harm: &dyn Fn()| {
        let fixed =
            ["-w", &weights, "--prompts", &prompts, "--output", &to, "--overwrite", "--parallel", "1"];
        let mut command = command(&[&fixed[..], &["--ignore-eos", "--level", "scalar", "--quiet"]].concat());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while !fs::read_to_string(&output).is_ok_and(|text| text.ends_with('\n')) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        harm();
        let done = child.wait_with_output().unwrap();
        let text = fs::read_to_string(&output).unwrap();
        fs::remove_file(&output).unwrap();
        (done.status.code(), String::from_utf8(done.stderr).unwrap(), text)
    };
    let open = || File::options().write(true).open(&file).unwrap();
    let later = || std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    let (code, stderr, text) = batch(&|| open().set_modified(later()).unwrap());
    assert_eq!((code, text.lines().count(), text.contains("error")), (Some(0), 6, false), "{stderr}");
    assert!(stderr.contains("its time changed while it was in use, its bytes did not"), "{stderr}");
    let (code, stderr, text) = batch(&|| {
        use std::os::unix::fs::FileExt;
        let byte = fs::metadata(&file).unwrap().len() - 2;
        open().write_all_at(b"\x3f", byte).unwrap();
        open().set_modified(later()).unwrap();
    });
    assert!(code == Some(2) && stderr.contains("the file changed while it was in use"), "{code:?} {stderr}");
    assert!(text.lines().count() < 6 && !text.contains("error"), "what was answered before stays: {text}");
}

#[test]
fn a_new_file_of_the_same_name_and_weights_that_were_read_are_no_fault() {
    let arguments = |dir: &TempDir, more: &[&'static str]| {
        let weights = dir.argument();
        let fixed = ["-w", &weights, "--ids", "1,2,3", "--level", "scalar", "--max-tokens", "400"];
        command(&[&fixed[..], &["--ignore-eos", "--strategy", "sdar-static", "--quiet"], more].concat())
    };
    let dir = TempDir::with_golden("sdar-f32");
    let replaced = harmed(arguments(&dir, &[]), || {
        let other = dir.write("other", b"not a model");
        fs::rename(other, dir.file(WEIGHTS)).unwrap();
    });
    assert_eq!((replaced.code, replaced.stderr.as_str()), (Some(0), ""));
    let dir = TempDir::with_golden("sdar-f32");
    let read = harmed(arguments(&dir, &["--no-mmap"]), || {
        File::options().write(true).open(dir.file(WEIGHTS)).unwrap().set_len(0).unwrap();
    });
    assert_eq!((read.code, read.stderr.as_str()), (Some(0), ""));
}

#[test]
fn weights_that_are_locked_for_writing_are_refused_until_they_are_free() {
    let dir = TempDir::with_golden("sdar-f32");
    let file = dir.file(WEIGHTS);
    let weights = dir.argument();
    let arguments = ["-w", &weights, "--ids", "1,2,3", "--max-tokens", "4", "--quiet"];
    let writer = File::options().write(true).open(&file).unwrap();
    writer.lock().unwrap();
    let refused = run(&arguments);
    let wanted = format!("error: {}: another program has locked the file for writing", file.display());
    assert!(refused.stderr.starts_with(&wanted), "{refused:?}");
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""));
    let read = run(&[&arguments[..], &["--no-mmap"]].concat());
    assert_eq!(read.code, Some(0), "{read:?}");
    writer.unlock().unwrap();
    // Readers do not lock each other out.
    let reader = File::open(&file).unwrap();
    reader.lock_shared().unwrap();
    let free = run(&arguments);
    assert_eq!((free.code, &free.stdout), (Some(0), &read.stdout), "{free:?}");
}

#[test]
fn a_full_disk_behind_standard_output_is_an_error() {
    let model = golden("sdar-f32").display().to_string();
    let generate = ["-w", &model, "--ids", "1,2,3", "--max-tokens", "8"];
    for command in [
        command(&generate),
        command(&[&generate[..], &["--json"]].concat()),
        command(&["-w", &model, "--info"]),
        command(&["--list-strategies"]),
        command(&["--doctor"]),
    ] {
        if !reports_a_full_disk(command) {
            return;
        }
    }
}

#[test]
fn too_little_memory_is_an_error() {
    let model = golden("sdar-f32").display().to_string();
    // Keys and values of the context take 38 MB, the program itself about 20.
    let length = ["--context", "32768", "--kv", "f32", "--max-tokens", "8", "--no-memory-check"];
    for (megabytes, code) in [(36, 2), (42, 2), (2000, 0)] {
        let script = format!("ulimit -v {} && exec \"$@\"", megabytes * 1024);
        let run = env!("CARGO_BIN_EXE_diffulex-run");
        let arguments = ["-c", &script, "sh", run, "-w", &model, "--ids", "1", "--quiet", "--threads", "1"];
        let outcome = finish(program("sh", &[&arguments[..], &length].concat()));
        assert_eq!(outcome.code, Some(code), "{megabytes} MB: {}", outcome.stderr);
        if code == 2 {
            let message = "option `context`: 32768 positions given, they need 1152 bytes each, more memory than there is";
            assert!(outcome.stderr.contains(message), "{megabytes} MB: {}", outcome.stderr);
        }
    }
}

#[test]
fn files_that_are_none_or_may_not_be_read_are_named() {
    let dir = TempDir::with_golden("fastdllm2-f32");
    let weights = dir.argument();
    let is_root = fs::metadata("/proc/self").is_ok_and(|metadata| {
        use std::os::unix::fs::MetadataExt;
        metadata.uid() == 0
    });
    for name in [WEIGHTS, "config.json", "tokenizer.json", "generation_config.json"] {
        let (file, kept) = (dir.file(name), dir.file("kept"));
        let expect = |what: &str, fragments: [&str; 2]| {
            let outcome =
                run(&["-w", &weights, "--prompt", "Hello", "--mask-id", "333", "--max-tokens", "2"]);
            assert_eq!(outcome.code, Some(2), "{name}, {what}: {}", outcome.stderr);
            let named = fragments.iter().all(|fragment| outcome.stderr.contains(fragment));
            assert!(named && !outcome.stderr.contains("panicked"), "{name}, {what}: {}", outcome.stderr);
        };
        let shown = file.display().to_string();
        if !is_root {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
            expect("no permission", [&shown, "Permission denied"]);
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        }
        fs::rename(&file, &kept).unwrap();
        if name == WEIGHTS {
            symlink(dir.file("nowhere"), &file).unwrap();
            expect("a dangling link", [&shown, "which is not there"]);
            fs::remove_file(&file).unwrap();
        }
        fs::create_dir(&file).unwrap();
        if name == WEIGHTS {
            expect("a directory", [&weights, "no weights"]);
        }
        let option = match name {
            WEIGHTS => "-w",
            "config.json" => "--config",
            "tokenizer.json" => "--tokenizer",
            _ => "--generation-config",
        };
        let kept_model = golden("fastdllm2-f32").display().to_string();
        let asked =
            if name == WEIGHTS { vec![option, &shown] } else { vec!["-w", &kept_model, option, &shown] };
        let outcome = run(&[&asked[..], &["--ids", "1", "--max-tokens", "2"]].concat());
        assert_eq!(outcome.code, Some(2), "{option}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(&shown), "{option}: {}", outcome.stderr);
        fs::remove_dir(&file).unwrap();
        fs::rename(&kept, &file).unwrap();
    }
    if is_root {
        println!("skipped: root may read what nobody else may");
    }
}
