//! `diffulex-run --trace`: the file says what happened, and the page shows it.

use crate::fixture::TempDir;
use crate::program::{command, finish, run};
use crate::{MODELS, ids, model};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const QUESTION: &str = "What is the capital of the country?";

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("`{key}` of {value}"))
}

fn at(value: &Value, key: &str) -> usize {
    usize::try_from(value[key].as_u64().unwrap_or_else(|| panic!("`{key}` of {value}"))).unwrap()
}

fn range(value: &Value, key: &str) -> (usize, usize) {
    let ends = ids(&value[key]);
    (ends[0] as usize, ends[1] as usize)
}

/// The sequence that a trace ends with; every rule of docs/trace.md about passes is checked on the way.
fn replay(trace: &Value) -> Vec<u64> {
    assert_eq!((&trace["format"], at(trace, "version")), (&Value::from("diffulex-trace"), 1), "the format");
    let (mask, length) = (trace["decoding"]["mask_id"].as_u64().unwrap(), at(trace, "length"));
    let mut canvas = ids(&trace["prompt"]["ids"]);
    assert_eq!(list(&trace["prompt"], "texts").len(), canvas.len(), "a string for each id");
    canvas.resize(length, mask);
    let limit = at(trace, "candidates_per_pass");
    for (i, pass) in list(trace, "passes").iter().enumerate() {
        let (rows, kind) = (range(pass, "rows"), pass["kind"].as_str().unwrap());
        assert_eq!(at(pass, "index"), i, "in order");
        assert!(["prefill", "denoise", "commit"].contains(&kind), "{kind}");
        assert!(rows.0 < rows.1 && rows.1 <= length && at(pass, "cached") <= length, "{pass}");
        assert!(pass["ms"].as_f64().unwrap() > 0.0, "{pass}");
        let edits = !trace["decoding"]["editing"].is_null();
        let progress = !list(pass, "revealed").is_empty() || (edits && list(pass, "candidates").is_empty());
        assert!(kind != "denoise" || progress, "a step without progress: {pass}");
        for token in list(pass, "revealed") {
            let slot = &mut canvas[at(token, "pos")];
            assert_eq!(*slot, mask, "revealed twice: {token}");
            *slot = token["token"].as_u64().unwrap();
            assert!(token["text"].is_string() && token["score"].is_number(), "{token}");
        }
        for edit in pass["edits"].as_array().into_iter().flatten() {
            let slot = &mut canvas[at(edit, "pos")];
            assert_eq!(*slot, edit["before"], "another token was there: {edit}");
            *slot = edit["token"].as_u64().unwrap();
            assert!(edits && edit["text"].is_string() && edit["score"].is_number(), "{edit}");
        }
        assert!(list(pass, "candidates").len() <= limit, "more than {limit} candidates");
        for candidate in list(pass, "candidates") {
            assert_eq!(canvas[at(candidate, "pos")], mask, "not a candidate: {candidate}");
        }
        if pass.get("block").is_some() {
            let (from, to) = range(pass, "block");
            assert!(!canvas[from..to].contains(&mask), "an unfinished block: {pass}");
        }
    }
    canvas
}

#[test]
fn a_trace_replays_to_the_answer() {
    let dir = TempDir::new();
    let file = dir.file("run.json");
    let path = file.display().to_string();
    for name in MODELS {
        let model = model(name);
        let arguments =
            ["-w", &model, "--prompt", QUESTION, "--max-tokens", "21", "--json", "--trace", &path];
        let printed = run(&arguments).json();
        let trace = read(&file);
        let canvas = replay(&trace);
        let prompt = list(&trace["prompt"], "ids").len();
        assert_eq!(canvas[prompt..at(&trace, "answer_end")], ids(&printed["ids"]), "{name}");
        assert_eq!(trace["summary"], printed, "{name}");
        let passes = list(&trace, "passes");
        assert_eq!(passes.len(), at(&printed, "nfe"), "{name}");
        let prefill = passes.iter().filter(|pass| pass["kind"] == "prefill").count();
        assert_eq!(prefill, at(&printed, "prefill_passes"), "{name}");
        assert!(
            passes.iter().any(|pass| !list(pass, "candidates").is_empty()),
            "{name}: nothing stayed masked"
        );
        assert_eq!(dir.names(), ["run.json"], "{name}: nothing else is left");
    }
}

#[test]
fn tokens_that_change_are_traced() {
    let dir = TempDir::new();
    let file = dir.file("run.json");
    let path = file.display().to_string();
    let model = model("llada2-f32");
    let arguments =
        ["-w", &model, "--ids", "43,154,39,271,199,160,19,58,240", "--max-tokens", "16", "--kv", "f32"];
    let editing =
        ["--strategy", "llada2-editing", "--block", "8", "--threshold", "0.2", "--edit-threshold", "0.6"];
    let printed = run(&[&arguments[..], &editing, &["--json", "--trace", &path]].concat()).json();
    let trace = read(&file);
    let canvas = replay(&trace);
    assert_eq!(canvas[9..25], ids(&printed["ids"]));
    let edits = list(&trace, "passes").iter().filter_map(|pass| pass["edits"].as_array());
    assert_eq!(edits.map(Vec::len).sum::<usize>(), at(&printed, "edited"));
    assert!(at(&printed, "edited") > 5, "{printed}");
    assert_eq!(trace["decoding"]["editing"], serde_json::json!({ "threshold": 0.6, "passes": 16 }));
}

#[test]
fn gaps_and_long_canvases_are_traced() {
    let dir = TempDir::new();
    let file = dir.file("run.json");
    let path = file.display().to_string();
    let model = model("llada-f32");
    let gaps = ["-w", &model, "--raw", "--prompt", "The fox <mask:6> home.", "--json", "--trace", &path];
    let printed = run(&gaps).json();
    let (trace, filled) = (read(&file), ids(&printed["filled"][0]));
    let canvas = replay(&trace);
    assert!(canvas.windows(6).any(|window| window == filled), "{filled:?} in {canvas:?}");
    let long =
        ["-w", &model, "--raw", "--prompt", "The", "--max-tokens", "400", "--steps", "4", "--trace", &path];
    run(&[&long[..], &["--block", "400", "--ignore-eos", "--quiet"]].concat()).text();
    let trace = read(&file);
    replay(&trace);
    let first = &list(&trace, "passes")[0];
    let all =
        list(first, "revealed").len() + list(first, "candidates").len() + at(first, "candidates_left_out");
    assert_eq!((list(first, "candidates").len(), all), (256, 400));
}

#[test]
fn a_wrong_file_is_refused_before_any_work() {
    let dir = TempDir::new();
    for (name, words) in [
        ("run.txt", "option `trace`: `"),
        ("run", "a name that ends in .json or .html expected"),
        ("none/run.json", "none/run.json"),
    ] {
        let path = dir.file(name).display().to_string();
        // The model is not even opened.
        let refused = run(&["-w", "nowhere", "--prompt", QUESTION, "--trace", &path]);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{name}: {}", refused.stderr);
        assert!(refused.stderr.contains(words), "{name}: {}", refused.stderr);
    }
    let path = dir.file("run.json").display().to_string();
    assert_eq!(run(&["-w", "nowhere", "--prompt", QUESTION, "--trace", &path]).code, Some(2));
    assert_eq!(dir.names(), <[&str; 0]>::default(), "nothing is left of a run that failed");
}

/// A page of a run whose prompt tries to end the script that it is in.
fn page(dir: &TempDir) -> String {
    let file = dir.file("run.html");
    let (model, path) = (model("sdar-f32"), file.display().to_string());
    let prompt = "</script><script>document.title = 'taken'</script> & <!-- hello";
    run(&["-w", &model, "--raw", "--prompt", prompt, "--max-tokens", "30", "--ignore-eos", "--trace", &path])
        .text();
    std::fs::read_to_string(file).unwrap()
}

#[test]
fn a_page_holds_its_trace_and_fetches_nothing() {
    let page = page(&TempDir::new());
    let start = "<script type=\"application/json\" id=\"trace\">";
    let json = page.split_once(start).unwrap().1.split_once("</script>").unwrap().0;
    let trace = serde_json::from_str(json).unwrap();
    replay(&trace);
    assert!(trace["prompt"]["text"].as_str().unwrap().contains("</script>"), "the prompt is as it was");
    assert_eq!(page.matches("</script>").count(), 2, "the trace and the program, and nothing else");
    for outside in ["src=", "href=", "@import", "url(", "fetch("] {
        assert!(!page.replace(json, "").contains(outside), "{outside}");
    }
    assert!(page.contains("default-src 'none'"), "the policy of the page");
}

#[test]
fn a_browser_shows_the_page() {
    let dir = TempDir::new();
    page(&dir);
    let found = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    });
    let Some(browser) = found else {
        println!("SKIPPED: no chromium here, the page was not opened");
        return;
    };
    let profile = format!("--user-data-dir={}", dir.file("profile").display());
    let url = format!("file://{}#pass=2", dir.file("run.html").display());
    let mut browser = Command::new(browser);
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    browser.args([
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        &profile,
    ]);
    browser.args(["--dump-dom", &url]);
    let dom = finish(browser);
    let dom = dom.text();
    assert!(dom.contains("data-state=\"ready\"") && dom.contains("data-step=\"2\""), "{}", &dom[..300]);
    let page = std::fs::read_to_string(dir.file("run.html")).unwrap();
    let json = page.split_once("id=\"trace\">").unwrap().1.split_once("</script>").unwrap().0;
    let trace: Value = serde_json::from_str(json).unwrap();
    let (length, passes) = (at(&trace, "length"), list(&trace, "passes"));
    assert_eq!(dom.matches("data-p=\"").count(), length, "a span for each position");
    let revealed = passes[..2].iter().map(|pass| list(pass, "revealed").len()).sum::<usize>();
    assert_eq!(dom.matches("class=\"t k").count(), revealed, "revealed by the first two passes");
    assert_eq!(dom.matches("class=\"chart\"").count(), 3, "the charts");
    assert!(dom.contains("<title>sdar-f32"), "the prompt did not take over");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_is_traced_too_and_leaves_a_clean_screen() {
    use std::io::Read;
    let dir = TempDir::new();
    let (model, path) = (model("sdar-f32"), dir.file("run.json").display().to_string());
    let mut command =
        command(&["-w", &model, "--prompt", "Hello", "--level", "scalar", "--threads", "1", "--ignore-eos"]);
    command.args(["--context", "32768", "--max-tokens", "30000", "--strategy", "sdar-static"]);
    command.args(["--canvas", "on", "--trace", &path]).env("COLUMNS", "40").env("LINES", "10");
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = vec![0; 3000];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success(), "the signal was sent");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    let side = |n| std::num::NonZeroU16::new(n).unwrap();
    let mut terminal = vt100::Parser::new(side(10), side(40), 0);
    // The emulated terminal leaves U+FFFD out, where real ones show a character as wide as any.
    let printed = String::from_utf8([first, output.stdout].concat()).expect("frames are UTF-8");
    terminal.process(printed.replace('\u{fffd}', "?").as_bytes());
    let screen = terminal.screen();
    assert!(!screen.contents().contains('░') && !screen.hide_cursor(), "{}", screen.contents());
    assert_eq!(screen.cursor_position().1, 0, "the cursor is at the start of a line");
    let trace = read(&dir.file("run.json"));
    assert_eq!(trace["summary"]["finish_reason"], "cancelled");
    assert_eq!(dir.names(), ["run.json"]);
    replay(&trace);
}
