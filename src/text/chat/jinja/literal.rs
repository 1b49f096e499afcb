//! String literals of a template.

use super::text::{Ch, chars};

/// The characters that a string literal means. Jinja2 lets Python's `unicode-escape` read it, after every character beyond
/// ASCII was written as an escape of its own.
pub(super) fn unescaped(literal: &[char]) -> Result<Vec<Ch>, String> {
    let mut out = Vec::with_capacity(literal.len());
    let mut at = 0;
    while let Some(&c) = literal.get(at) {
        at += 1;
        if c != '\\' {
            out.push(Ch::new(c));
            continue;
        }
        let Some(&escape) = literal.get(at) else { return Err("a backslash at the end of a string".into()) };
        at += 1;
        let simple = match escape {
            '\n' => continue,
            '\\' | '\'' | '"' => escape,
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            'x' | 'u' | 'U' | '0'..='7' => {
                let (base, first, most) = match escape {
                    'x' => (16, at, 2),
                    'u' => (16, at, 4),
                    'U' => (16, at, 8),
                    _ => (8, at - 1, 3),
                };
                let digits = literal[first..].iter().take(most).take_while(|c| c.is_digit(base)).count();
                if base == 16 && digits < most {
                    return Err(format!("a truncated \\{escape} escape in a string"));
                }
                at = first + digits;
                let code =
                    literal[first..at].iter().fold(0, |n, c| n * base + c.to_digit(base).expect("a digit"));
                char::from_u32(code).ok_or_else(|| {
                    format!("the escape \\{escape} of {code:#x} in a string is not supported")
                })?
            }
            'N' => return Err("the escape \\N in a string is not supported".into()),
            other if other.is_ascii() => {
                out.extend([Ch::new('\\'), Ch::new(other)]);
                continue;
            }
            other => {
                // The backslash meets the one of the escape that Jinja2 writes for the character, and quotes it.
                let code = other as u32;
                let written = match code {
                    0..0x100 => format!("\\x{code:02x}"),
                    0x100..0x10000 => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                };
                out.extend(chars(&written));
                continue;
            }
        };
        out.push(Ch::new(simple));
    }
    Ok(out)
}
