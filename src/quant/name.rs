//! Format names as options have them.

use super::{Code, Format, Group, Quant};
use crate::error::{Error, Result};
use std::str::FromStr;

/// Group of the integer formats unless the caller says otherwise: the error of 128 is a tenth higher, the scales of 32 take
/// twice the room.
pub const DEFAULT_GROUP: Group = Group::Of(64);

/// A format as an option names it: `int4`, `int8:row`, `bf16`, or a name such as `q4g64z`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FormatName {
    /// Everything is given.
    Exact(Format),
    /// Integers, and the group if it is given.
    Integers(Code, Option<Group>),
}

impl FromStr for FormatName {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (base, size) = text.split_once(':').map_or((text, None), |(base, size)| (base, Some(size)));
        let code = match base {
            "int8" => Code::Int8,
            "int4" => Code::Int4,
            _ => {
                let known = Format::from_name(text).map(Self::Exact);
                return known.ok_or_else(|| {
                    "expected int4, int8, int4:GROUP, int8:GROUP, bf16, f16, f32 or a name such as q4g64z"
                        .into()
                });
            }
        };
        Ok(Self::Integers(code, size.map(group).transpose()?))
    }
}

/// Reads a group: one of [`Group::SIZES`], or `row`.
///
/// # Errors
/// What was expected.
pub fn group(text: &str) -> std::result::Result<Group, String> {
    if text == "row" {
        return Ok(Group::Row);
    }
    let size = Group::SIZES.into_iter().find(|size| size.to_string() == text);
    size.map(Group::Of).ok_or_else(|| format!("expected a group of {} or row", sizes(", ")))
}

/// The sizes of groups, with `last` before the last one.
fn sizes(last: &str) -> String {
    let [sizes @ .., largest] = &Group::SIZES.map(|size| size.to_string());
    format!("{}{last}{largest}", sizes.join(", "))
}

impl FormatName {
    /// The format, where what the name leaves open is taken from the other options.
    ///
    /// # Errors
    /// [`Error::Option`] if there is no such format.
    pub fn resolve(self, default_group: Group, zero_points: bool) -> Result<Format> {
        match self {
            Self::Exact(format) => Ok(format),
            Self::Integers(code, own) => {
                let group = own.unwrap_or(default_group);
                let quant = Quant::new(code, group, zero_points && code == Code::Int4);
                // The only combination that does not exist.
                quant.map(Format::Quant).ok_or_else(|| {
                    let sizes = sizes(" or ");
                    Error::option("group", format!("int4 has groups of {sizes}; `row` is for int8"))
                })
            }
        }
    }
}
