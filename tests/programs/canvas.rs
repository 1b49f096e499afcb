//! `diffulex-run --canvas`: what is left on an emulated terminal is the answer.

use crate::program::{Output, command, finish, run};
use crate::{MODELS, manifest, model};
use std::num::NonZeroU16;

const QUESTION: &str = "What is the capital of the country?";

fn side(n: usize) -> NonZeroU16 {
    NonZeroU16::new(u16::try_from(n).unwrap()).unwrap()
}

/// What a terminal shows after it was sent this, scrolled lines included, without empty ends.
fn shown(sent: &str, (width, height): (usize, usize)) -> Vec<String> {
    let mut terminal = vt100::Parser::new(side(height), side(width), 100_000);
    terminal.process(sent.as_bytes());
    let screen = terminal.screen_mut();
    assert!(!screen.hide_cursor(), "the cursor is visible");
    let (mut lines, columns) = (Vec::new(), u16::try_from(width).unwrap());
    for above in (1..=screen.scrollback_len()).rev() {
        screen.set_scrollback(above);
        lines.extend(screen.rows(0, columns).next());
    }
    screen.set_scrollback(0);
    lines.extend(screen.rows(0, columns));
    while lines.last().is_some_and(|line| line.trim().is_empty()) {
        lines.pop();
    }
    lines.iter().map(|line| line.trim_end().to_string()).collect()
}

/// A string as it may be sent to a terminal.
fn harmless(text: &str) -> String {
    let one = |c: char| match c {
        '\n' => "\r\n".to_string(),
        '\r' => String::new(),
        '\t' => c.to_string(),
        '\x7f' => "\u{2421}".to_string(),
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap().to_string(),
        _ if c.is_control() => "\u{fffd}".to_string(),
        _ => c.to_string(),
    };
    text.chars().map(one).collect()
}

fn drawn(arguments: &[&str], (width, height): (usize, usize), no_color: bool) -> Output {
    let mut command = command(&[arguments, &["--canvas", "on"]].concat());
    command.env("COLUMNS", width.to_string()).env("LINES", height.to_string());
    match no_color {
        true => command.env("NO_COLOR", "1"),
        false => command.env_remove("NO_COLOR"),
    };
    finish(command)
}

#[test]
fn the_screen_ends_with_exactly_the_answer() {
    for name in MODELS {
        let model = model(name);
        let ids = crate::list(&crate::ids(&manifest(name)["end_to_end"][0]["prompt_ids"]));
        for arguments in [
            &["-w", &model, "--prompt", QUESTION, "--max-tokens", "96", "--ignore-eos"][..],
            &["-w", &model, "--prompt", QUESTION, "--max-tokens", "40", "--stop", "e", "--stop", "x"],
            &["-w", &model, "--ids", &ids, "--max-tokens", "40"],
        ] {
            let plain = run(arguments);
            for size in [(20, 24), (40, 8), (80, 24)] {
                let live = drawn(arguments, size, false);
                assert!(live.text().contains("\x1b[?2026h"), "{name}: nothing was drawn");
                let expected = shown(&harmless(plain.text()), size);
                assert_eq!(shown(live.text(), size), expected, "{name}, {size:?}, {arguments:?}");
            }
        }
    }
}

#[test]
fn tokens_that_change_end_as_the_answer() {
    let model = model("llada2-f32");
    let editing =
        ["--strategy", "llada2-editing", "--block", "8", "--threshold", "0.2", "--edit-threshold", "0.6"];
    let arguments = [&["-w", &model, "--prompt", QUESTION, "--max-tokens", "40"][..], &editing].concat();
    let plain = run(&arguments);
    for size in [(20, 24), (80, 24)] {
        let live = drawn(&arguments, size, false);
        assert_eq!(shown(live.text(), size), shown(&harmless(plain.text()), size), "{size:?}");
    }
}

#[test]
fn gaps_are_filled_in_place() {
    for name in ["dream-f32", "llada-f32"] {
        let model = model(name);
        let prompt = "The quick brown fox jumps over the <mask:3>.";
        let arguments = ["-w", &model, "--raw", "--prompt", prompt];
        let plain = run(&arguments);
        let live = drawn(&arguments, (20, 12), false);
        assert!(live.text().contains('░'), "{name}: {:?}", live.text());
        let expected = shown(&harmless(plain.text()), (20, 12));
        assert_eq!(shown(live.text(), (20, 12)), expected, "{name}");
    }
}

#[test]
fn no_color_means_no_colour_and_a_pipe_no_canvas() {
    let model = model("llada-f32");
    let arguments = ["-w", &model, "--prompt", QUESTION, "--max-tokens", "24"];
    let is_colour = |text: &str| {
        text.split("\x1b[")
            .skip(1)
            .any(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m'))
    };
    let (coloured, colourless) = (drawn(&arguments, (80, 24), false), drawn(&arguments, (80, 24), true));
    assert!(is_colour(coloured.text()), "{:?}", coloured.text());
    assert!(colourless.text().contains("\x1b[?2026h") && !is_colour(colourless.text()));
    let plain = run(&arguments);
    assert_eq!(run(&[&arguments[..], &["--canvas", "off"]].concat()).text(), plain.text());
    assert!(!plain.text().contains('\x1b'), "{:?}", plain.text());
}
