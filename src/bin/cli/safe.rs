//! Text for a terminal that comes from files, models or other untrusted sources.

use std::borrow::Cow;

/// `text` without anything that a terminal would interpret: a model must not be able to move the cursor. Newlines and tabs stay;
/// carriage returns, which come before newlines, are removed; other control characters become a visible symbol.
pub fn safe(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| c == '\n' || c == '\t' || !c.is_control();
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let picture = |c: char| match c {
        '\x7f' => '\u{2421}',
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        _ => '\u{fffd}',
    };
    Cow::Owned(
        text.chars().filter(|&c| c != '\r').map(|c| if harmless(c) { c } else { picture(c) }).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert!(matches!(safe("plain\ttext\n語🙂"), Cow::Borrowed(_)), "not copied");
        assert_eq!(safe("\x1b[2Ja\r\nb\x07\x7f\u{9b}5A"), "\u{241b}[2Ja\nb\u{2407}\u{2421}\u{fffd}5A");
        let all: String = (0..=0x10ffff).filter_map(char::from_u32).collect();
        assert!(safe(&all).chars().all(|c| c == '\n' || c == '\t' || !c.is_control()), "every character");
    }
}
