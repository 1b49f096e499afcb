//! Frames on an emulated terminal: after every one of them the screen shows what it should, whatever scrolled and wrapped.

use super::screen::{Piece, Screen, Size, Style};
use std::num::NonZeroU16;
use unicode_width::UnicodeWidthChar;

const SIZES: [(usize, usize); 5] = [(20, 24), (40, 10), (80, 24), (9, 6), (133, 40)];
/// Wide characters, marks, emoji, tabs, empty lines, and lines longer than every width.
const TEXT: &str = "A lighthouse stood on the rock, and nobody remembered who had built it or why its lamp still burned.\n\n\
    灯台は岩の上に立っていた。誰もそれを覚えていない。灯りはまだ燃えていた。海は静かで、空は広かった。\n\
    caf\u{e9} cafe\u{301} 🙂🙃 ❤\u{fe0f} na\u{ef}ve\tone\ttwo\n1\t2\t3\n🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀\n\
    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx end";

fn terminal((width, height): (usize, usize)) -> vt100::Parser {
    let side = |n: usize| NonZeroU16::new(u16::try_from(n).unwrap()).unwrap();
    vt100::Parser::new(side(height), side(width), 10_000)
}

/// Everything that the terminal shows and that scrolled out of it, without empty ends.
fn lines(terminal: &mut vt100::Parser, width: usize) -> Vec<String> {
    let screen = terminal.screen_mut();
    let width = u16::try_from(width).unwrap();
    let mut lines = Vec::new();
    for above in (1..=screen.scrollback_len()).rev() {
        screen.set_scrollback(above);
        lines.extend(screen.rows(0, width).next());
    }
    screen.set_scrollback(0);
    lines.extend(screen.rows(0, width));
    trimmed(lines)
}

fn trimmed(lines: Vec<String>) -> Vec<String> {
    let mut lines: Vec<_> = lines.iter().map(|line| line.trim_end().to_string()).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// The lines of a string on a terminal of this width.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let (mut lines, mut column) = (vec![String::new()], 0);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let c = if c == '\t' && column == width { ' ' } else { c };
        let cells = match c.width().unwrap_or(0) {
            1 if chars.peek() == Some(&'\u{fe0f}') => 2,
            cells => cells,
        };
        if c == '\n' || column + cells > width {
            lines.push(String::new());
            column = 0;
        }
        let line = lines.last_mut().unwrap();
        match c {
            '\n' => {}
            '\t' => {
                let stop = (column / 8 * 8 + 8).min(width - 1);
                line.push_str(&" ".repeat(stop - column));
                column = stop;
            }
            _ => {
                line.push(c);
                column += cells;
            }
        }
    }
    trimmed(lines)
}

/// Tokens of one to five characters.
fn tokens() -> Vec<String> {
    let (mut tokens, mut rest, mut i) = (Vec::new(), TEXT, 0);
    while !rest.is_empty() {
        i += 1;
        let end = rest.char_indices().nth(i * 7 % 5 + 1).map_or(rest.len(), |(at, _)| at);
        tokens.push(rest[..end].to_string());
        rest = &rest[end..];
    }
    tokens
}

/// The states of a decoding in blocks: how many tokens are settled, and which of the block are known.
fn states(tokens: usize, block: usize) -> Vec<(usize, Vec<bool>)> {
    let mut states = Vec::new();
    for start in (0..tokens).step_by(block) {
        let len = block.min(tokens - start);
        let mut known = vec![false; len];
        // 7 has no factor in common with any length used: every position comes once.
        for i in 0..len {
            states.push((start, known.clone()));
            known[(i * 7 + 3) % len] = true;
        }
        assert!(known.iter().all(|&known| known), "a block of {len}");
    }
    states.push((tokens, Vec::new()));
    states
}

fn live(tokens: &[String], known: &[bool]) -> Vec<Piece> {
    let piece = |(token, &known): (&String, &bool)| match known {
        true => Piece { text: token.clone(), style: Style::Sure(0.7), positions: 1 },
        false => Piece { text: "░".into(), style: Style::Dim, positions: 1 },
    };
    tokens.iter().zip(known).map(piece).collect()
}

#[test]
fn every_frame_shows_settled_and_live_text() {
    let (tokens, mut compared) = (tokens(), 0);
    for (size, block) in SIZES.into_iter().flat_map(|size| [1, 4, 16].map(|block| (size, block))) {
        let (mut terminal, mut screen) = (terminal(size), Screen::new(true));
        let size = Size { width: size.0, height: size.1 };
        let mut printed = 0;
        for (settled, known) in states(tokens.len(), block) {
            // The known start of a block is settled, too.
            let ready = known.iter().take_while(|known| **known).count();
            let (settled, known) = (settled + ready, &known[ready..]);
            let pieces = live(&tokens[settled..], known);
            let frame = screen.frame(&tokens[printed..settled].concat(), &pieces, pieces.len(), size);
            printed = settled;
            terminal.process(frame.as_bytes());
            let text = tokens[..settled].concat();
            let tail: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
            let expected = wrapped(&format!("{text}{tail}"), size.width);
            let tall = expected.len() - wrapped(&text, size.width).len().min(expected.len()) + 2;
            if tall < size.height {
                compared += 1;
                assert_eq!(
                    lines(&mut terminal, size.width),
                    expected,
                    "{size:?}, {block}, {settled} settled"
                );
            }
        }
        terminal.process(screen.finish("", size).as_bytes());
        assert_eq!(lines(&mut terminal, size.width), wrapped(TEXT, size.width), "{size:?}, {block}: the end");
    }
    assert!(compared > 1000, "only {compared} frames were compared");
}

#[test]
fn a_long_canvas_is_cut_to_the_screen_and_says_so() {
    for (width, height) in SIZES {
        let size = Size { width, height };
        let (mut terminal, mut screen) = (terminal((width, height)), Screen::new(true));
        let masks = Piece { text: "░".repeat(9000), style: Style::Dim, positions: 9000 };
        let ready = Piece { text: "語".repeat(3), style: Style::Sure(1.0), positions: 1 };
        for (i, settled) in ["one\n", "two ", "three\n", ""].into_iter().enumerate() {
            let frame = screen.frame(settled, &[ready.clone(), masks.clone()], 9001, size);
            terminal.process(frame.as_bytes());
            let shown = lines(&mut terminal, width);
            let note = shown.last().unwrap();
            let more: usize = note.trim_start_matches("… ").split(' ').next().unwrap().parse().expect(note);
            let masks: usize = shown.iter().map(|line| line.matches('░').count()).sum();
            assert_eq!(more + masks + 1, 9001, "{size:?}, frame {i}: {shown:?}");
            assert_eq!(shown[0], "one", "{size:?}, frame {i}");
        }
        terminal.process(screen.finish("end", size).as_bytes());
        assert_eq!(lines(&mut terminal, width), ["one", "two three", "end"], "{size:?}");
    }
}

#[test]
fn nothing_of_the_model_controls_the_terminal_and_no_colour_means_none() {
    let size = Size { width: 40, height: 10 };
    let mut screen = Screen::new(false);
    let pieces = ["\x1b[2J\x1b[31m", "\x07\u{9b}H\r", "ok"].map(|text| Piece {
        text: text.into(),
        style: Style::Sure(0.1),
        positions: 1,
    });
    let mut sent = screen.frame("\x1b[H\x1b]0;title\x07", &pieces, 3, size);
    sent += &screen.finish("\x1b[m", size);
    for own in ["\x1b[?2026h", "\x1b[?2026l", "\x1b[J", "\x1b7", "\x1b8", "\x1b[?7l", "\x1b[?7h", "\r\n"] {
        sent = sent.replace(own, "");
    }
    assert!(sent.contains("ok") && !sent.contains(char::is_control), "{sent:?}");
}

#[test]
fn what_is_typed_meanwhile_does_not_stay() {
    let size = Size { width: 20, height: 6 };
    let (mut terminal, mut screen) = (terminal((20, 6)), Screen::new(true));
    let masks = Piece { text: "░".repeat(30), style: Style::Dim, positions: 30 };
    terminal.process(screen.frame("some settled text", std::slice::from_ref(&masks), 30, size).as_bytes());
    terminal.process(b"^C");
    terminal.process(screen.finish("", size).as_bytes());
    assert_eq!(lines(&mut terminal, 20), ["some settled text"]);
    assert!(!terminal.screen().hide_cursor(), "the cursor is visible");
}

#[test]
fn a_resize_costs_no_text_and_leaves_no_mask() {
    // The emulator does not reflow, as xterm: lines that were there keep their breaks. 20 columns are filled exactly.
    for (before, after) in
        [((40, 10), (80, 24)), ((80, 24), (40, 10)), ((40, 10), (20, 8)), ((20, 8), (9, 6))]
    {
        let (mut terminal, mut screen) = (terminal(before), Screen::new(true));
        let masks = Piece { text: "░".repeat(120), style: Style::Dim, positions: 120 };
        let masks = std::slice::from_ref(&masks);
        let old = Size { width: before.0, height: before.1 };
        terminal.process(screen.frame("12345678901234567890", masks, 120, old).as_bytes());
        let side = |n: usize| NonZeroU16::new(u16::try_from(n).unwrap()).unwrap();
        terminal.screen_mut().set_size(side(after.1), side(after.0));
        let new = Size { width: after.0, height: after.1 };
        for settled in ["\n", "then more text, then more text\n"] {
            terminal.process(screen.frame(settled, masks, 120, new).as_bytes());
        }
        terminal.process(screen.finish("end", new).as_bytes());
        let shown = lines(&mut terminal, after.0);
        assert!(shown.iter().all(|line| !line.contains('░')), "{before:?} to {after:?}: {shown:?}");
        let more = [wrapped("then more text, then more text", after.0), vec!["end".into()]].concat();
        assert!(shown.ends_with(&more), "{before:?} to {after:?}: {shown:?}");
    }
}
