//! Python's string methods that cut, join, pad and test.

use super::machine::Machine;
use super::text::{self, Ch, Ends, Text, plain};
use super::unicode::{is_alpha, is_cased, is_decimal, is_digit, is_numeric, is_printable, is_titlecase};
use super::value::{Or, Value};

/// `str.replace`; a negative count means no limit.
pub(super) fn replace(machine: &mut Machine, text: &[Ch], old: &[Ch], new: &[Ch], count: i128) -> Or<Text> {
    let limit = usize::try_from(count).unwrap_or(if count < 0 { usize::MAX } else { 0 });
    let times = text::count(text, old).min(limit);
    machine.charge_text(text.len().saturating_add(times.saturating_mul(new.len())))?;
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    for n in 0..times {
        // An empty string is found before every character and at the end.
        let found = if old.is_empty() { n } else { text::find(text, old, at).expect("counted") };
        out.extend_from_slice(&text[at..found]);
        out.extend_from_slice(new);
        at = found + old.len();
    }
    out.extend_from_slice(&text[at..]);
    Ok(out.into())
}

pub(super) fn split<'a>(text: &'a [Ch], separator: Option<&[Ch]>, most: i128) -> Or<Vec<&'a [Ch]>> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let (mut out, mut rest) = (Vec::new(), text);
    let Some(separator) = separator else {
        loop {
            rest = text::strip(rest, None, Ends::Left);
            if rest.is_empty() {
                return Ok(out);
            }
            if out.len() == most {
                out.push(text::strip(rest, None, Ends::Right));
                return Ok(out);
            }
            let end = rest.iter().position(|c| c.is_space()).unwrap_or(rest.len());
            out.push(&rest[..end]);
            rest = &rest[end..];
        }
    };
    if separator.is_empty() {
        return Err("empty separator".into());
    }
    while out.len() < most
        && let Some(at) = text::find(rest, separator, 0)
    {
        out.push(&rest[..at]);
        rest = &rest[at + separator.len()..];
    }
    out.push(rest);
    Ok(out)
}

/// `str.rsplit`: the string read backwards.
pub(super) fn rsplit<'a>(text: &'a [Ch], separator: Option<&[Ch]>, most: i128) -> Or<Vec<&'a [Ch]>> {
    let backwards = |text: &[Ch]| text.iter().rev().copied().collect::<Vec<_>>();
    let (whole, separator) = (backwards(text), separator.map(backwards));
    let start = whole.as_ptr_range().start as usize;
    let place = |piece: &[Ch]| {
        let at = (piece.as_ptr() as usize - start) / size_of::<Ch>();
        &text[text.len() - at - piece.len()..text.len() - at]
    };
    let mut out: Vec<_> = split(&whole, separator.as_deref(), most)?.into_iter().map(place).collect();
    out.reverse();
    Ok(out)
}

pub(super) fn partition(text: &[Ch], separator: &[Ch], last: bool) -> Or<Value> {
    if separator.is_empty() {
        return Err("empty separator".into());
    }
    let found = if last { text::rfind(text, separator) } else { text::find(text, separator, 0) };
    Value::tuple(texts(match found {
        Some(at) => [&text[..at], &text[at..at + separator.len()], &text[at + separator.len()..]],
        None if last => [&[], &[], text],
        None => [text, &[], &[]],
    }))
}

pub(super) fn join(machine: &mut Machine, separator: &[Ch], items: &Value) -> Or<Value> {
    let items = items.items()?;
    machine.check_text(separator.len().saturating_mul(items.len().saturating_sub(1)))?;
    let mut out = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let Some(text) = item.as_text() else {
            return Err(format!("sequence item {i}: expected str instance, {} found", item.type_name()));
        };
        if i > 0 {
            out.extend_from_slice(separator);
        }
        out.extend_from_slice(text);
        machine.charge(1 + (text.len() + separator.len()) as u64 / 32)?;
    }
    machine.charge_text(out.len())?;
    Ok(Value::Text(out.into()))
}

/// `str.center`, `ljust` and `rjust`.
pub(super) fn pad(text: &[Ch], width: usize, fill: Ch, name: &str) -> Vec<Ch> {
    let fills = width.saturating_sub(text.len());
    let before = match name {
        "ljust" => 0,
        "rjust" => fills,
        // CPython puts the extra one in front where the width is odd.
        _ => fills / 2 + (fills & width & 1),
    };
    let filler = |n| std::iter::repeat_n(fill, n);
    filler(before).chain(text.iter().copied()).chain(filler(fills - before)).collect()
}

pub(super) fn expand_tabs(text: &[Ch], size: usize) -> Vec<Ch> {
    let (mut out, mut column) = (Vec::new(), 0);
    for &c in text {
        match c.get() {
            '\t' if size == 0 => {}
            '\t' => {
                let blanks = size - column % size;
                out.extend(std::iter::repeat_n(c.with(' '), blanks));
                column += blanks;
            }
            letter => {
                out.push(c);
                column = if matches!(letter, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    out
}

/// The methods that test all characters.
pub(super) fn question(text: &[Ch], name: &str) -> Or<bool> {
    let all = |test: fn(char) -> bool| !text.is_empty() && text.iter().all(|c| test(c.get()));
    let some = |test: fn(char) -> bool| text.iter().any(|c| test(c.get()));
    Ok(match name {
        "isalnum" => all(|c| is_alpha(c) || is_numeric(c)),
        "isalpha" => all(is_alpha),
        "isascii" => text.iter().all(|c| c.get().is_ascii()),
        "isdecimal" => all(is_decimal),
        "isdigit" => all(is_digit),
        "isnumeric" => all(is_numeric),
        "isspace" => all(text::is_space),
        "isprintable" => text.iter().all(|c| is_printable(c.get())),
        "islower" => some(char::is_lowercase) && !some(|c| c.is_uppercase() || is_titlecase(c)),
        "isupper" => some(char::is_uppercase) && !some(|c| c.is_lowercase() || is_titlecase(c)),
        "istitle" => is_title(text),
        "isidentifier" if text.iter().all(|c| c.get().is_ascii()) => {
            let word = plain(text);
            !word.is_empty()
                && !word.starts_with(|c: char| c.is_ascii_digit())
                && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        }
        _ => return Err(format!("`{name}` of this string is not supported")),
    })
}

fn is_title(text: &[Ch]) -> bool {
    let (mut inside, mut found) = (false, false);
    for c in text {
        let c = c.get();
        let capital = c.is_uppercase() || is_titlecase(c);
        if (capital && inside) || (!capital && is_cased(c) && !inside) {
            return false;
        }
        inside = is_cased(c);
        found |= inside;
    }
    found
}

/// Strings as values.
pub(super) fn texts<'a>(pieces: impl IntoIterator<Item = &'a [Ch]>) -> Vec<Value> {
    pieces.into_iter().map(|piece| Value::Text(piece.into())).collect()
}

/// `str.zfill`
pub(super) fn zero_fill(text: &[Ch], width: usize) -> Vec<Ch> {
    let sign = usize::from(text.first().is_some_and(|c| matches!(c.get(), '+' | '-')));
    let zeros = std::iter::repeat_n(Ch::new('0'), width.saturating_sub(text.len()));
    text[..sign].iter().copied().chain(zeros).chain(text[sign..].iter().copied()).collect()
}

/// The part of a string that `start` and `end` mean, and where it begins; none if it begins after the end.
pub(super) fn within(text: &[Ch], start: Option<i128>, end: Option<i128>) -> Option<(usize, &[Ch])> {
    let len = text.len() as i128;
    let clamp = |at: i128| (if at < 0 { at.saturating_add(len) } else { at }).max(0);
    let (start, end) = (clamp(start.unwrap_or(0)), clamp(end.unwrap_or(len)).min(len));
    (start <= end).then(|| (start as usize, &text[start as usize..end as usize]))
}

/// `str.startswith` and `str.endswith`, with one string or a tuple of them.
pub(super) fn affixed(part: Option<(usize, &[Ch])>, affix: &Value, end: bool) -> Or<bool> {
    let fits = |affix: &Value| match (affix.as_text(), part) {
        (Some(affix), Some((_, part))) => {
            Ok(if end { part.ends_with(affix) } else { part.starts_with(affix) })
        }
        (Some(_), None) => Ok(false),
        (None, _) => Err(format!("a string or a tuple of strings expected, not {}", affix.type_name())),
    };
    match affix {
        Value::Seq(seq) if seq.kind.is_tuple() => {
            for affix in &seq.items {
                if fits(affix)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        other => fits(other),
    }
}

/// `str.find`, `index`, their siblings from the right, and `count`.
pub(super) fn search(
    whole: &[Ch],
    part: &[Ch],
    start: Option<i128>,
    end: Option<i128>,
    name: &str,
) -> Or<Value> {
    let Some((offset, space)) = within(whole, start, end) else {
        return match name {
            "count" => Ok(Value::Int(0)),
            "find" | "rfind" => Ok(Value::Int(-1)),
            _ => Err("substring not found".into()),
        };
    };
    let found = match name {
        "count" => return Ok(Value::int(text::count(space, part))),
        "find" | "index" => text::find(space, part, 0),
        "rfind" | "rindex" => text::rfind(space, part),
        _ => return Err(format!("`{name}` of a string is not supported")),
    };
    match found {
        Some(at) => Ok(Value::int(offset + at)),
        None if name.ends_with("find") => Ok(Value::Int(-1)),
        None => Err("substring not found".into()),
    }
}
