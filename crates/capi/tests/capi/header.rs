//! `include/diffulex.h` and this crate say the same: functions, numbers, and the layout of every struct as the C compiler sees it.

use diffulex_capi::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The header without comments.
fn header() -> String {
    let text = std::fs::read_to_string(root().join("include/diffulex.h")).unwrap();
    let mut parts = text.split("/*");
    let first = parts.next().unwrap().to_string();
    parts.fold(first, |all, part| all + part.split_once("*/").expect("comments end").1)
}

/// Words that are followed by `(`.
fn called(text: &str) -> impl Iterator<Item = &str> {
    text.split('(')
        .filter_map(|before| before.trim_end().rsplit(|c: char| !c.is_alphanumeric() && c != '_').next())
}

#[test]
fn every_function_is_declared_and_defined() {
    let header = header();
    let declared: BTreeSet<_> = called(&header).filter(|name| name.starts_with("diffulex_")).collect();
    let mut defined = BTreeSet::new();
    for file in std::fs::read_dir(root().join("crates/capi/src")).unwrap() {
        let source = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for after in source.split("#[unsafe(no_mangle)]").skip(1) {
            defined.insert(called(after).next().unwrap().to_string());
        }
    }
    assert!(declared.len() > 10, "{declared:?}");
    assert_eq!(declared, defined.iter().map(String::as_str).collect());
}

/// `NAME = number` of every enum, and the ABI version.
fn numbers(header: &str) -> BTreeMap<&str, i32> {
    let mut numbers = BTreeMap::new();
    for body in header.split("enum {").skip(1) {
        for line in body.split('}').next().unwrap().split(',') {
            let (name, value) = line.split_once('=').expect("every value is written");
            numbers.insert(name.trim(), value.trim().parse().unwrap());
        }
    }
    numbers
}

#[test]
fn every_number_is_the_same() {
    let header = header();
    let mut expected: BTreeMap<String, i32> = BTreeMap::new();
    for number in 0.. {
        // SAFETY: the name of a status is a static string.
        let name = unsafe { CStr::from_ptr(diffulex_status_name(number)) }.to_str().unwrap();
        if name == "DIFFULEX_UNKNOWN" {
            break;
        }
        expected.insert(name.into(), number);
    }
    for (name, number) in [
        ("ROW_OWN", ROW_OWN),
        ("ROW_BEFORE", ROW_BEFORE),
        ("ROW_SEEDED", ROW_SEEDED),
        ("EVENT_PASS", EVENT_PASS),
        ("EVENT_REVEALED", EVENT_REVEALED),
        ("EVENT_BLOCK", EVENT_BLOCK),
        ("PASS_PREFILL", PASS_PREFILL),
        ("PASS_DENOISE", PASS_DENOISE),
        ("PASS_COMMIT", PASS_COMMIT),
        ("STOP_LENGTH", STOP_LENGTH),
        ("STOP_TOKEN", STOP_TOKEN),
        ("STOP_CANCELLED", STOP_CANCELLED),
        ("STOP_STRING", STOP_STRING),
        ("VISIBLE_RULE", VISIBLE_RULE),
        ("VISIBLE_ALL", VISIBLE_ALL),
    ] {
        expected.insert(format!("DIFFULEX_{name}"), number);
    }
    let found: BTreeMap<String, i32> =
        numbers(&header).into_iter().map(|(name, number)| (name.into(), number)).collect();
    assert_eq!(found, expected);
    assert!(header.contains(&format!("#define DIFFULEX_ABI_VERSION {}\n", ABI_VERSION)));
    assert_eq!(diffulex_abi_version(), ABI_VERSION);
    // SAFETY: a static string.
    let version = unsafe { CStr::from_ptr(diffulex_version()) };
    assert_eq!(version.to_str(), Ok(env!("CARGO_PKG_VERSION")));
}

/// Size of a struct, and its members with their offsets.
type Layout = (usize, Vec<(&'static str, usize)>);

macro_rules! layout {
    ($type:ident: $($member:ident)*) => {
        (size_of::<$type>(), vec![$((stringify!($member), offset_of!($type, $member))),*])
    };
}

fn layouts() -> BTreeMap<&'static str, Layout> {
    BTreeMap::from([
        ("diffulex_error", layout!(ErrorText: status message)),
        (
            "diffulex_options",
            layout!(Options: struct_size level activations kv storage quantize threads context mask stop stop_len token_limit),
        ),
        (
            "diffulex_files",
            layout!(Files: struct_size config config_len generation_config generation_config_len weights weights_len borrow),
        ),
        (
            "diffulex_info",
            layout!(Info: struct_size family policy level activations kv weights vocab context threads block layers parameters
                weight_bytes mask stop stop_len alignment),
        ),
        (
            "diffulex_request",
            layout!(Request: struct_size prompt prompt_len max_new policy stop stop_len seed padding),
        ),
        ("diffulex_token", layout!(Token: position score id)),
        ("diffulex_message", layout!(Message: role content)),
        (
            "diffulex_question",
            layout!(Question: struct_size text messages messages_len policy stop stop_len max_new seed raw schema regex
                grammar),
        ),
        (
            "diffulex_answer",
            layout!(Answer: struct_size text text_len tokens nfe prefill_passes prefill_seconds decode_seconds stop_reason stop_id),
        ),
        (
            "diffulex_event",
            layout!(Event: struct_size kind pass pass_index begin end cached canvas canvas_len prompt_len tokens tokens_len
                candidates candidates_len mask),
        ),
        (
            "diffulex_generation",
            layout!(Generation: struct_size tokens tokens_len canvas canvas_len new_tokens nfe prefill_passes prefill_seconds
                decode_seconds cache stop_reason stop_id),
        ),
    ])
}

/// Structs of the header and their members, in order.
fn members(header: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut structs = BTreeMap::new();
    for part in header.split("typedef struct ").skip(1) {
        let Some((name, rest)) = part.split_once('{') else { continue };
        if name.contains(';') {
            continue; // A handle, whose members are private.
        }
        let body = rest.split_once('}').unwrap().0;
        let member = |line: &'_ str| -> Option<usize> {
            let line = line.trim_end().split('[').next()?;
            line.rfind(|c: char| !c.is_alphanumeric() && c != '_').map(|at| at + 1)
        };
        let names = body.split(';').filter(|line| !line.trim().is_empty());
        let names = names.map(|line| {
            let end = line.find('[').unwrap_or(line.len());
            &line[member(line).expect("a type and a name")..end]
        });
        structs.insert(name.trim(), names.collect());
    }
    structs
}

#[test]
fn every_struct_has_the_same_members() {
    let header = header();
    let expected: BTreeMap<&str, Vec<&str>> = layouts()
        .into_iter()
        .map(|(name, (_, members))| (name, members.into_iter().map(|(member, _)| member).collect()))
        .collect();
    assert_eq!(members(&header), expected);
}

/// The C compiler, if there is one.
fn compiler() -> Option<String> {
    let cc = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let found = Command::new(&cc).arg("--version").output().is_ok_and(|output| output.status.success());
    // A build for another CPU would need the compiler of that one.
    let native = cfg!(all(unix, any(target_arch = "x86_64", target_arch = "aarch64")));
    (found && native && !cfg!(miri)).then_some(cc)
}

fn compile(cc: &str, arguments: &[&str], source: &str, name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (file, program) = (dir.join(name), dir.join(format!("{name}.out")));
    std::fs::write(&file, source).unwrap();
    let mut command = Command::new(cc);
    command.args(arguments).args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"]);
    let output = command.arg(root().join("include")).arg(&file).arg("-o").arg(&program).output().unwrap();
    assert!(output.status.success(), "{cc} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    program
}

#[test]
fn the_c_compiler_sees_the_same_layout() {
    let Some(cc) = compiler() else {
        println!("SKIPPED: no C compiler for this machine, so sizes and offsets were not compared");
        return;
    };
    let mut source = "#include <diffulex.h>\n#include <stdio.h>\nint main(void) {\n".to_string();
    let mut expected = String::new();
    for (name, (size, members)) in layouts() {
        source += &format!("printf(\"{name} %zu\\n\", sizeof({name}));\n");
        expected += &format!("{name} {size}\n");
        for (member, offset) in members {
            source += &format!("printf(\"{name}.{member} %zu\\n\", offsetof({name}, {member}));\n");
            expected += &format!("{name}.{member} {offset}\n");
        }
    }
    // Uses the macro, too.
    source +=
        "diffulex_request r; DIFFULEX_INIT(&r); return r.struct_size != sizeof r || r.prompt != NULL; }\n";
    let program = compile(&cc, &["-std=c99"], &source, "layout.c");
    let output = Command::new(program).output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    let guide = std::fs::read_to_string(root().join("docs/c.md")).unwrap();
    let example = guide.split("```c\n").nth(1).and_then(|rest| rest.split("```").next());
    compile(&cc, &["-std=c99", "-c"], example.expect("the guide has an example"), "guide.c");
    compile(
        &cc,
        &["-std=c++11", "-x", "c++", "-c"],
        "#include <diffulex.h>\n#include <diffulex.h>\n",
        "header.cpp",
    );
}
