//! Formats as options name them.

use super::{Code, Format, Group, Quant};
use crate::error::{Error, Result};
use std::str::FromStr;

/// Group of the integer formats unless the caller says otherwise: the error of 128 is a tenth higher, the scales of 32 take
/// twice the room.
pub const DEFAULT_GROUP: Group = Group::Of(64);

/// A format as an option names it: `int4`, `int8:row`, `bf16`, or a name such as `q4g64z`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FormatName {
    /// Everything is said.
    Exact(Format),
    /// Integers, and the group if it is said.
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

/// Reads a group: `32`, `64`, `128`, `256` or `row`.
///
/// # Errors
/// What was expected.
pub fn group(text: &str) -> std::result::Result<Group, String> {
    match text {
        "row" => Ok(Group::Row),
        "32" | "64" | "128" | "256" => Ok(Group::Of(text.parse().expect("a small number"))),
        _ => Err("expected a group of 32, 64, 128, 256 or row".into()),
    }
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
                    Error::option("group", "int4 has groups of 32, 64, 128 or 256; `row` is for int8")
                })
            }
        }
    }
}
