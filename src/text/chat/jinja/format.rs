//! `'..'.format(..)`, as the sandbox of Jinja2 runs it.

use super::access;
use super::call::Given;
use super::machine::Machine;
use super::percent;
use super::print;
use super::text::{Ch, Text, plain, text};
use super::value::{Or, Value};

struct Formatter<'m, 'a> {
    machine: &'m mut Machine<'a>,
    given: Given,
    /// The next number of a field without a name; `None` once a field had a number.
    next: Option<usize>,
    numbered: bool,
}

/// `format.format(..)`
pub(super) fn format(machine: &mut Machine, format: &[Ch], given: Given) -> Or<Text> {
    let mut formatter = Formatter { machine, given, next: Some(0), numbered: false };
    formatter.run(format).map(Into::into)
}

impl Formatter<'_, '_> {
    fn run(&mut self, format: &[Ch]) -> Or<Vec<Ch>> {
        let (mut out, mut at) = (Vec::new(), 0);
        while let Some(&c) = format.get(at) {
            let doubled = format.get(at + 1) == Some(&c);
            match c.get() {
                '{' | '}' if doubled => {
                    out.push(c);
                    at += 2;
                }
                '}' => return Err("single '}' encountered in format string".into()),
                '{' => {
                    let len = format[at + 1..].iter().position(|c| c.get() == '}');
                    let field = &format[at + 1..at + 1 + len.ok_or("expected '}' before end of string")?];
                    if field.iter().any(|c| c.get() == '{') {
                        return Err("a field inside a field of a format is not supported".into());
                    }
                    self.field(&mut out, &plain(field))?;
                    self.machine.charge_text(out.len())?;
                    at += field.len() + 2;
                }
                _ => {
                    out.push(c);
                    at += 1;
                }
            }
        }
        Ok(out)
    }

    fn field(&mut self, out: &mut Vec<Ch>, field: &str) -> Or<()> {
        let (head, spec) = field.split_once(':').unwrap_or((field, ""));
        let (path, conversion) = head.split_once('!').map_or((head, None), |(path, how)| (path, Some(how)));
        let mut value = self.value(path)?;
        match conversion {
            None => {}
            Some("s") => value = Value::Text(print::str(&value)?),
            Some("r") => {
                let mut text = Vec::new();
                print::write_repr(&mut text, &value)?;
                value = Value::Text(text.into());
            }
            Some(other) => return Err(format!("the conversion '!{other}' of a format is not supported")),
        }
        write(self.machine, out, &value, spec)
    }

    /// The value of a field such as `0`, `name`, `name.attribute` or `name[key]`.
    fn value(&mut self, path: &str) -> Or<Value> {
        let end = path.find(['.', '[']).unwrap_or(path.len());
        let (first, mut rest) = path.split_at(end);
        let mut value = self.argument(first)?;
        while !rest.is_empty() {
            let index = rest.starts_with('[');
            let end = if index {
                rest.find(']').ok_or("missing ']' in format string")?
            } else {
                rest[1..].find(['.', '[']).map_or(rest.len(), |at| at + 1)
            };
            let name = &rest[1..end];
            value = match name.parse::<i128>() {
                Ok(number) if index => access::item(self.machine, &value, &Value::Int(number))?,
                _ if index => access::item(self.machine, &value, &Value::str(name))?,
                _ => self.machine.attribute(&value, name)?,
            };
            rest = &rest[end + usize::from(index)..];
        }
        Ok(value)
    }

    fn argument(&mut self, name: &str) -> Or<Value> {
        let position = match name.parse::<usize>() {
            _ if name.is_empty() => {
                let next = self.next.filter(|_| !self.numbered);
                let next =
                    next.ok_or("cannot switch from manual field specification to automatic field numbering")?;
                self.next = Some(next + 1);
                next
            }
            Ok(number) => {
                if self.next.is_some_and(|next| next > 0) {
                    return Err(
                        "cannot switch from automatic field numbering to manual field specification".into()
                    );
                }
                self.numbered = true;
                number
            }
            Err(_) => {
                let found = self.given.named.iter().find(|(known, _)| known == name);
                return found
                    .map(|(_, value)| value.clone())
                    .ok_or_else(|| format!("the key '{name}' of a format is missing"));
            }
        };
        let value = self.given.positional.get(position).cloned();
        value.ok_or_else(|| format!("replacement index {position} out of range for positional args tuple"))
    }
}

/// What comes after the colon of a field.
#[derive(Default)]
struct Spec {
    fill: Option<char>,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    width: usize,
    comma: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

fn parse(spec: &str) -> Or<Spec> {
    let mut out = Spec::default();
    let mut chars: Vec<char> = spec.chars().collect();
    chars.reverse();
    let aligns = |c: Option<&char>| c.is_some_and(|c| "<>=^".contains(*c));
    if aligns(chars.len().checked_sub(2).and_then(|at| chars.get(at))) {
        out.fill = chars.pop();
    }
    if aligns(chars.last()) {
        out.align = chars.pop();
    }
    out.sign = chars.pop_if(|c| "+- ".contains(*c));
    out.alternate = chars.pop_if(|c| *c == '#').is_some();
    if chars.pop_if(|c| *c == '0').is_some() {
        out.fill = out.fill.or(Some('0'));
        out.align = out.align.or(Some('='));
    }
    let number = |chars: &mut Vec<char>| {
        let mut number: Option<usize> = None;
        while let Some(digit) = chars.last().and_then(|c| c.to_digit(10)) {
            number = Some(number.unwrap_or(0).saturating_mul(10).saturating_add(digit as usize));
            chars.pop();
        }
        number
    };
    out.width = number(&mut chars).unwrap_or(0);
    out.comma = chars.pop_if(|c| ",_".contains(*c));
    if chars.pop_if(|c| *c == '.').is_some() {
        out.precision = Some(number(&mut chars).ok_or("format specifier missing precision")?);
    }
    out.kind = chars.pop();
    if !chars.is_empty() {
        return Err(format!("invalid format specifier '{spec}'"));
    }
    Ok(out)
}

fn write(machine: &mut Machine, out: &mut Vec<Ch>, value: &Value, spec: &str) -> Or<()> {
    machine.charge(value.size())?;
    if spec.is_empty() {
        return print::write_str(out, value);
    }
    // A truth value is a number here.
    let whole = value.as_int().map(Value::Int);
    let value = whole.as_ref().unwrap_or(value);
    let parsed = parse(spec)?;
    machine.charge_text(parsed.width.max(parsed.precision.unwrap_or(0)))?;
    let invalid = || {
        Err(format!(
            "the format specifier '{spec}' for an object of type '{}' is not supported",
            value.type_name()
        ))
    };
    let (negative, digits): (bool, Text) = match value {
        Value::Text(given) | Value::Markup(given) => {
            let numeric = parsed.sign.is_some()
                || parsed.comma.is_some()
                || parsed.alternate
                || parsed.align == Some('=');
            if numeric || !matches!(parsed.kind, None | Some('s')) {
                return invalid();
            }
            let len = parsed.precision.unwrap_or(usize::MAX).min(given.len());
            (false, given[..len].into())
        }
        Value::Int(_) | Value::Float(_) => {
            if parsed.alternate {
                return invalid();
            }
            let Some((negative, digits)) = number(value, &parsed)? else { return invalid() };
            (negative, text(&digits))
        }
        _ => return invalid(),
    };
    let sign = if negative { Some('-') } else { parsed.sign.filter(|&sign| sign != '-') };
    let fill = parsed.width.saturating_sub(digits.len() + usize::from(sign.is_some()));
    let default = if value.as_text().is_some() { '<' } else { '>' };
    let align = parsed.align.unwrap_or(default);
    if parsed.comma.is_some() && align == '=' && fill > 0 {
        return invalid();
    }
    let (before, inside, after) = match align {
        '<' => (0, 0, fill),
        '^' => (fill / 2, 0, fill - fill / 2),
        '=' => (0, fill, 0),
        _ => (fill, 0, 0),
    };
    let filler = Ch::new(parsed.fill.unwrap_or(' '));
    out.extend(std::iter::repeat_n(filler, before));
    out.extend(sign.map(Ch::new));
    out.extend(std::iter::repeat_n(filler, inside));
    out.extend_from_slice(&digits);
    out.extend(std::iter::repeat_n(filler, after));
    Ok(())
}

/// Sign and digits of a number; none if the specifier is not known.
fn number(value: &Value, spec: &Spec) -> Or<Option<(bool, String)>> {
    let kind = spec.kind.unwrap_or(if matches!(value, Value::Int(_)) { 'd' } else { 'r' });
    let digits = match (value, kind) {
        (Value::Int(number), 'd' | 'x' | 'X' | 'o' | 'b') if spec.precision.is_none() => {
            let size = number.unsigned_abs();
            let digits = match kind {
                'x' => format!("{size:x}"),
                'X' => format!("{size:X}"),
                'o' => format!("{size:o}"),
                'b' => format!("{size:b}"),
                _ => size.to_string(),
            };
            if spec.comma.is_some() && kind != 'd' {
                return Ok(None);
            }
            return Ok(Some((*number < 0, grouped(digits, spec.comma))));
        }
        (Value::Float(number), 'r') if spec.precision.is_none() => print::float(number.abs()),
        (_, 'f' | 'F' | 'e' | 'E' | 'g' | 'G' | '%') => {
            let number = super::ops::as_float(value)?.expect("a number").abs();
            let precision = spec.precision.unwrap_or(6);
            match kind {
                '%' => percent::float('f', precision, false, number * 100.0)? + "%",
                kind => percent::float(kind, precision, false, number)?,
            }
        }
        _ => return Ok(None),
    };
    let negative = match value {
        Value::Float(number) => number.is_sign_negative() && !number.is_nan(),
        other => other.as_int().is_some_and(|number| number < 0),
    };
    Ok(Some((negative, grouped(digits, spec.comma))))
}

/// Puts a sign between groups of three digits of the whole part.
fn grouped(digits: String, comma: Option<char>) -> String {
    let Some(comma) = comma else { return digits };
    let whole = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && i < whole && (whole - i).is_multiple_of(3) {
            out.push(comma);
        }
        out.push(c);
    }
    out
}
