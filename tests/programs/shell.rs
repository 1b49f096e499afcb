//! What every program prints for shells and readers: completions, a manual page, versions.

use crate::PROGRAMS;
use crate::program::{FULL, close_after, finish, piped, program, reports_a_full_disk};
use diffulex::kernels::Level;
use std::process::{Command, Stdio};

fn name(path: &str) -> &str {
    let file = path.rsplit(['/', '\\']).next().unwrap();
    file.strip_suffix(".exe").unwrap_or(file)
}

/// The long options that `--help` shows.
fn options(path: &str) -> Vec<String> {
    let help = finish(program(path, &["--help"]));
    let words = help.text().lines().filter_map(|line| {
        let word = line.split_whitespace().find(|word| word.starts_with("--"))?;
        line.trim_start().starts_with('-').then(|| word.trim_end_matches(',').to_owned())
    });
    let options: Vec<String> = words.collect();
    assert!(options.len() > 5, "{path}: {options:?}");
    options
}

/// Runs the shell's own parser over a script; says so if there is no such shell.
fn parses(shell: &str, arguments: &[&str], path: &str, script: &str) {
    let spawned = Command::new(shell).args(arguments).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = spawned else {
        println!("SKIPPED: {shell} is not on this machine");
        return;
    };
    use std::io::Write;
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{path}, {shell}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn completions_parse_and_know_every_option() {
    for path in PROGRAMS {
        for (shell, parser) in [
            ("bash", Some(&["-n"][..])),
            ("zsh", Some(&["-n"])),
            ("fish", Some(&["--no-execute"])),
            ("powershell", None),
            ("elvish", None),
        ] {
            let script = finish(program(path, &["--completions", shell]));
            assert_eq!(script.stderr, "", "{path} {shell}");
            assert!(script.text().contains(name(path)), "{path} {shell}");
            for option in options(path) {
                let known = if shell == "fish" { option.trim_start_matches('-') } else { &option };
                assert!(script.stdout.contains(known), "{path} {shell}: {option}");
            }
            if let Some(arguments) = parser {
                parses(shell, arguments, path, &script.stdout);
            }
        }
        let unknown = finish(program(path, &["--completions", "csh"]));
        assert_eq!(unknown.code, Some(2));
        assert!(unknown.stderr.contains("bash, elvish, fish"), "{}", unknown.stderr);
    }
}

#[test]
fn the_manual_page_has_every_option() {
    for path in PROGRAMS {
        let page = finish(program(path, &["--man"]));
        assert_eq!(page.stderr, "", "{path}");
        assert!(page.text().contains(".TH ") && page.stdout.contains(".SH OPTIONS"), "{path}");
        let plain = page.stdout.replace("\\-", "-");
        for option in options(path) {
            assert!(plain.contains(&option), "{path}: {option}");
        }
        assert!(!plain.contains("levels of this cpu"), "{path}: a manual is not about one machine");
    }
}

#[test]
fn the_short_help_leaves_them_out() {
    for path in PROGRAMS {
        let short = finish(program(path, &["-h"]));
        assert!(!short.text().contains("--completions") && !short.stdout.contains("--man"), "{path}");
        let long = finish(program(path, &["--help"]));
        assert!(long.text().contains("--completions <SHELL>") && long.stdout.contains("--man"), "{path}");
    }
}

#[test]
fn versions_name_the_levels() {
    let levels: Vec<_> = Level::available().into_iter().map(Level::name).collect();
    for path in PROGRAMS {
        let number = format!("{} {}", name(path), env!("CARGO_PKG_VERSION"));
        assert_eq!(finish(program(path, &["-V"])).text(), format!("{number}\n"));
        let long = finish(program(path, &["--version"]));
        let lines: Vec<_> = long.text().lines().collect();
        let value = |line: &str| line.split_once(':').unwrap().1.trim().to_owned();
        assert_eq!(lines[0], number);
        assert_eq!(value(lines[1]), Level::compiled().join(", "), "{path}");
        assert_eq!(value(lines[2]), levels.join(", "), "{path}");
        assert_eq!(value(lines[3]), *levels.last().unwrap(), "{path}");
        let mut lowered = program(path, &["--version"]);
        lowered.env("DIFFULEX_LEVEL", "scalar");
        assert!(finish(lowered).text().contains("scalar (by DIFFULEX_LEVEL)"), "{path}");
        let mut wrong = program(path, &["--version"]);
        wrong.env("DIFFULEX_LEVEL", "mmx");
        assert!(finish(wrong).text().contains("`mmx` is not a level of this cpu"), "{path}");
    }
}

#[test]
fn a_full_disk_is_reported_and_a_closed_pipe_is_not() {
    for path in PROGRAMS {
        for arguments in
            [&["--help"][..], &["-h"], &["--version"], &["-V"], &["--man"], &["--completions", "bash"]]
        {
            if !reports_a_full_disk(program(path, arguments)) {
                return;
            }
            let (stderr, code) = close_after(piped(program(path, arguments)), 0);
            assert_eq!((stderr.as_str(), code), ("", Some(0)), "{path} {arguments:?}");
        }
        // A full stderr takes no message: the exit code shows the failure.
        for (arguments, code) in [(&["--no-such-option"][..], 2), (&["--help"], 0)] {
            let mut command = program(path, arguments);
            command.stderr(std::fs::File::options().write(true).open(FULL).unwrap());
            assert_eq!(finish(command).code, Some(code), "{path} {arguments:?}");
        }
    }
}
