//! `/openapi.json`: the APIs as an OpenAPI document, made from the routes, the types that requests are read into, and the
//! table of decoding options.

use crate::api::openai;
use diffulex::engine::options::{DecodeOption, Kind, OPTIONS};
use diffulex_cli::decoding;
use serde_json::{Value, json};
use std::borrow::Cow;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema, Type};
use utoipa::openapi::{OpenApi as Document, RefOr};
use utoipa::{OpenApi, PartialSchema, ToSchema};

/// The title and description of the whole, and the one route whose path pattern OpenAPI cannot express.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "diffulex-server",
        description = "A diffusion language model over HTTP. docs/server.md says what fields mean. A field that is not known is refused."
    ),
    paths(openai::model)
)]
pub(crate) struct Interfaces;

/// Decoding options by name, as the field `diffusion` takes them.
pub(crate) struct Diffusion;

impl PartialSchema for Diffusion {
    fn schema() -> RefOr<Schema> {
        let object = OPTIONS.iter().fold(ObjectBuilder::new().schema_type(Type::Object), |object, option| {
            object.property(decoding::key(option), option_schema(option))
        });
        object.additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false))).into()
    }
}

impl ToSchema for Diffusion {
    fn name() -> Cow<'static, str> {
        "Diffusion".into()
    }
}

fn option_schema(option: &DecodeOption) -> ObjectBuilder {
    let kind = match option.kind() {
        Kind::Real32 | Kind::Real64 => Type::Number,
        Kind::Whole => Type::Integer,
        Kind::Switch => Type::Boolean,
        Kind::Choice => Type::String,
    };
    let range = if option.range.is_empty() { String::new() } else { format!(" ({})", option.range) };
    ObjectBuilder::new().schema_type(kind).description(Some(format!("{}{range}", option.help)))
}

/// The document as a string, with the errors that every path may answer with.
///
/// # Panics
/// If the document cannot be written, which a test would find.
pub(crate) fn text(document: &Document) -> String {
    let mut whole = serde_json::to_value(document).expect("a document is JSON");
    for (path, operations) in whole["paths"].as_object_mut().into_iter().flatten() {
        let error = if path.starts_with("/api/") {
            json!({ "type": "object", "properties": { "error": { "type": "string" } } })
        } else {
            let text = json!({ "type": "string" });
            let optional = json!({ "type": ["string", "null"] });
            let keys = json!({ "message": text, "type": text, "param": optional, "code": optional });
            json!({ "type": "object", "properties": { "error": { "type": "object", "properties": keys } } })
        };
        let error = json!({
            "description": "what cannot be served, with the field of the request",
            "content": { "application/json": { "schema": error } },
        });
        operations.as_object_mut().into_iter().flatten().for_each(|(_, operation): (_, &mut Value)| {
            operation["responses"]["default"] = error.clone();
        });
    }
    whole.to_string()
}
