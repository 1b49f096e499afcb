//! `'..' % values`, as Python's strings format.

use super::machine::Machine;
use super::print;
use super::text::{Ch, Text, chars, plain};
use super::value::{Kind, Or, Value};

/// A conversion such as `%-8.3f`.
#[derive(Default)]
pub(super) struct Spec {
    pub(super) left: bool,
    pub(super) zero: bool,
    /// `+`, a blank or nothing.
    pub(super) sign: Option<char>,
    pub(super) alternate: bool,
    pub(super) width: usize,
    pub(super) precision: Option<usize>,
}

struct Formatter<'m, 'a, 'v> {
    machine: &'m mut Machine<'a>,
    format: &'v [Ch],
    at: usize,
    /// The values in order, and which is next.
    values: &'v [Value],
    next: usize,
    /// A dictionary for `%(name)s`.
    named: Option<&'v Value>,
    used_names: bool,
}

/// `format % value`
pub(super) fn format(machine: &mut Machine, format: &[Ch], value: &Value) -> Or<Text> {
    let single = std::slice::from_ref(value);
    let (values, lone) = match value {
        Value::Seq(seq) if seq.kind.is_tuple() => (&seq.items[..], false),
        _ => (single, true),
    };
    let named = matches!(value, Value::Dict(_)).then_some(value);
    let mut formatter = Formatter { machine, format, at: 0, values, next: 0, named, used_names: false };
    let out = formatter.run()?;
    // A lone list or dictionary may stay unused: Python takes it for a mapping.
    let mapping = lone && is_mapping(value);
    if formatter.next < values.len() && !mapping && !formatter.used_names {
        return Err("not all arguments converted during string formatting".into());
    }
    Ok(out.into())
}

/// What has items by key or index, as CPython sees it.
fn is_mapping(value: &Value) -> bool {
    match value {
        Value::Seq(seq) => !matches!(seq.kind, Kind::Keys | Kind::Values | Kind::Items),
        other => matches!(other, Value::Dict(_) | Value::Undefined(_)),
    }
}

impl Formatter<'_, '_, '_> {
    fn peek(&self) -> Or<char> {
        self.format.get(self.at).map(|c| c.get()).ok_or_else(|| "incomplete format".to_owned())
    }

    fn run(&mut self) -> Or<Vec<Ch>> {
        let mut out = Vec::new();
        while let Some(&c) = self.format.get(self.at) {
            self.at += 1;
            if c.get() != '%' {
                out.push(c);
                continue;
            }
            let name = self.name()?;
            let spec = self.spec()?;
            while matches!(self.peek()?, 'h' | 'l' | 'L') {
                self.at += 1;
            }
            let kind = self.peek()?;
            self.at += 1;
            if kind == '%' {
                out.push(c);
                continue;
            }
            let value = match name {
                Some(name) => self.by_name(&name)?,
                None => self.take()?,
            };
            self.convert(&mut out, kind, &spec, &value)?;
            self.machine.charge_text(out.len())?;
        }
        Ok(out)
    }

    fn name(&mut self) -> Or<Option<Vec<Ch>>> {
        if self.peek()? != '(' {
            return Ok(None);
        }
        let (start, mut open) = (self.at + 1, 1);
        while open > 0 {
            self.at += 1;
            match self.peek()? {
                '(' => open += 1,
                ')' => open -= 1,
                _ => {}
            }
        }
        self.at += 1;
        Ok(Some(self.format[start..self.at - 1].to_vec()))
    }

    fn by_name(&mut self, name: &[Ch]) -> Or<Value> {
        let Some(Value::Dict(dict)) = self.named else { return Err("format requires a mapping".into()) };
        self.used_names = true;
        let found = dict.get(&Value::Text(name.into())).cloned();
        found.ok_or_else(|| format!("the key '{}' of a format is missing", plain(name)))
    }

    fn take(&mut self) -> Or<Value> {
        let value = self.values.get(self.next).cloned();
        self.next += 1;
        value.ok_or_else(|| "not enough arguments for format string".to_owned())
    }

    fn spec(&mut self) -> Or<Spec> {
        let mut spec = Spec::default();
        loop {
            match self.peek()? {
                '-' => spec.left = true,
                '0' => spec.zero = true,
                '+' => spec.sign = Some('+'),
                ' ' => spec.sign = spec.sign.or(Some(' ')),
                '#' => spec.alternate = true,
                _ => break,
            }
            self.at += 1;
        }
        if let Some(width) = self.number()? {
            spec.left |= width < 0;
            spec.width = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX);
        }
        if self.peek()? == '.' {
            self.at += 1;
            let precision = self.number()?.unwrap_or(0).max(0);
            spec.precision = Some(usize::try_from(precision).unwrap_or(usize::MAX));
        }
        self.machine.charge_text(spec.width.max(spec.precision.unwrap_or(0)))?;
        Ok(spec)
    }

    fn number(&mut self) -> Or<Option<i128>> {
        if self.peek()? == '*' {
            self.at += 1;
            let value = self.take()?;
            return value.as_int().map(Some).ok_or_else(|| "* wants int".to_owned());
        }
        let mut number = None;
        while let Some(digit) = self.peek()?.to_digit(10) {
            number = Some(number.unwrap_or(0i128).saturating_mul(10).saturating_add(i128::from(digit)));
            self.at += 1;
        }
        Ok(number)
    }

    fn convert(&mut self, out: &mut Vec<Ch>, kind: char, spec: &Spec, value: &Value) -> Or<()> {
        let text = match kind {
            's' | 'r' => {
                self.machine.charge(value.size())?;
                let mut text = Vec::new();
                match kind {
                    's' => print::write_str(&mut text, value)?,
                    _ => print::write_repr(&mut text, value)?,
                }
                text.truncate(spec.precision.unwrap_or(usize::MAX));
                text
            }
            'c' => vec![character(value)?],
            'd' | 'i' | 'u' | 'x' | 'X' | 'o' => {
                let number = match value {
                    Value::Undefined(what) => return Err(what.to_string()),
                    Value::Float(value) if "diu".contains(kind) => whole(*value)?,
                    other => other.as_int().ok_or_else(|| format!("%{kind} format: a number expected"))?,
                };
                return pad_number(
                    out,
                    spec,
                    number < 0,
                    &integer(kind, spec, number),
                    spec.precision.is_none(),
                );
            }
            'f' | 'F' | 'e' | 'E' | 'g' | 'G' => {
                let number = match value {
                    Value::Undefined(what) => return Err(what.to_string()),
                    other => super::ops::as_float(other)?
                        .ok_or_else(|| format!("%{kind} format: a number expected"))?,
                };
                let digits = float(kind, spec.precision.unwrap_or(6), spec.alternate, number.abs())?;
                return pad_number(
                    out,
                    spec,
                    number.is_sign_negative() && !number.is_nan(),
                    &digits,
                    number.is_finite(),
                );
            }
            other => return Err(format!("unsupported format character '{other}'")),
        };
        let fill = spec.width.saturating_sub(text.len());
        if !spec.left {
            out.extend(std::iter::repeat_n(Ch::new(' '), fill));
        }
        out.extend_from_slice(&text);
        if spec.left {
            out.extend(std::iter::repeat_n(Ch::new(' '), fill));
        }
        Ok(())
    }
}

/// `%c`
fn character(value: &Value) -> Or<Ch> {
    if let Some([c]) = value.as_text().map(|text| &text[..]) {
        return Ok(*c);
    }
    let code = value.as_int().ok_or("%c requires an int or a single character")?;
    let c = u32::try_from(code).ok().and_then(char::from_u32);
    c.map(Ch::new).ok_or_else(|| "%c arg not in range".to_owned())
}

/// The whole part of a float.
pub(super) fn whole(value: f64) -> Or<i128> {
    if !value.is_finite() {
        return Err("cannot convert float infinity or NaN to integer".into());
    }
    if value.abs() >= 1.7e38 {
        return Err("a whole number of more than 127 bits is not supported".into());
    }
    Ok(value as i128)
}

/// Digits of a whole number, without its sign.
fn integer(kind: char, spec: &Spec, number: i128) -> String {
    let number = number.unsigned_abs();
    let (prefix, digits) = match kind {
        'x' => ("0x", format!("{number:x}")),
        'X' => ("0X", format!("{number:X}")),
        'o' => ("0o", format!("{number:o}")),
        _ => ("", number.to_string()),
    };
    let zeros = spec.precision.unwrap_or(0).saturating_sub(digits.len());
    format!("{}{}{digits}", if spec.alternate { prefix } else { "" }, "0".repeat(zeros))
}

/// A number that is not negative, as C's `printf` writes it.
pub(super) fn float(kind: char, precision: usize, alternate: bool, value: f64) -> Or<String> {
    if precision > 1000 {
        return Err("a precision above 1000 is not supported".into());
    }
    let upper = |text: String| if kind.is_ascii_uppercase() { text.to_uppercase() } else { text };
    if !value.is_finite() {
        return Ok(upper(if value.is_nan() { "nan" } else { "inf" }.to_owned()));
    }
    let scientific = |precision: usize| {
        let text = format!("{value:.precision$e}");
        let (digits, exponent) = text.split_once('e').expect("an exponent");
        let exponent: i32 = exponent.parse().expect("a number");
        (digits.to_owned(), exponent)
    };
    let exponent_text =
        |exponent: i32| format!("e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    Ok(upper(match kind {
        'f' | 'F' => {
            let point = if alternate && precision == 0 { "." } else { "" };
            format!("{value:.precision$}{point}")
        }
        'e' | 'E' => {
            let (digits, exponent) = scientific(precision);
            let point = if alternate && precision == 0 { "." } else { "" };
            format!("{digits}{point}{}", exponent_text(exponent))
        }
        _ => {
            if alternate {
                return Err("the flag # of %g is not supported".into());
            }
            let precision = precision.max(1);
            let (digits, exponent) = scientific(precision - 1);
            let trim = |text: &str| match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => text.to_owned(),
            };
            if exponent < -4 || exponent >= precision as i32 {
                trim(&digits) + &exponent_text(exponent)
            } else {
                trim(&format!("{value:.*}", (precision as i32 - 1 - exponent) as usize))
            }
        }
    }))
}

/// Appends a number with its sign, blanks and zeros.
fn pad_number(out: &mut Vec<Ch>, spec: &Spec, negative: bool, digits: &str, zeros: bool) -> Or<()> {
    let sign = if negative { Some('-') } else { spec.sign };
    let fill = spec.width.saturating_sub(digits.len() + usize::from(sign.is_some()));
    let zero = spec.zero && !spec.left && zeros;
    if zero && digits.starts_with("0x") | digits.starts_with("0X") | digits.starts_with("0o") {
        return Err("zeros before a number with a prefix are not supported".into());
    }
    if !spec.left && !zero {
        out.extend(std::iter::repeat_n(Ch::new(' '), fill));
    }
    out.extend(sign.map(Ch::new));
    if zero {
        out.extend(std::iter::repeat_n(Ch::new('0'), fill));
    }
    out.extend(chars(digits));
    if spec.left {
        out.extend(std::iter::repeat_n(Ch::new(' '), fill));
    }
    Ok(())
}
