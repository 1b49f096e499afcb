//! Chat templates from anywhere with messages from anyone: a string of bounded length, or an error.

use diffulex::Error;
use diffulex::text::chat::{ChatTemplate, Message};

/// The longest prompt text that a template may make of the short messages below, in bytes.
const LONGEST: usize = 64 << 20;

/// Takes the input as a template and the words of a user, with a zero byte between them.
pub fn check(data: &[u8]) {
    let end = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
    let Ok(source) = std::str::from_utf8(&data[..end]) else { return };
    let words = String::from_utf8_lossy(data.get(end + 1..).unwrap_or_default());
    let specials = [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(a, b)| (a.into(), b.into()));
    let template = match ChatTemplate::from_source("template", source, specials.to_vec()) {
        Ok(template) => template,
        Err(error) => return assert!(matches!(error, Error::Text { .. }), "{error}"),
    };
    let turns =
        [("system", "Be brief."), ("user", &*words), ("assistant", "<think>a</think>b"), ("user", "c")];
    let messages = turns.map(|(role, content)| Message::new(role, content));
    for count in [2, 4] {
        match template.render(&messages[..count], true) {
            Ok(text) => assert!(text.len() <= LONGEST, "{} bytes", text.len()),
            Err(error) => assert!(matches!(error, Error::Text { .. }), "{error}"),
        }
    }
}
