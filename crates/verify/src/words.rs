//! The tokenizer and chat template of a checkpoint, as the library opens them.

use diffulex::json::Value;
use diffulex::text::chat::ChatTemplate;
use diffulex::text::hf::HfTokenizer;
use diffulex::text::{Template, Tokenizer};
use diffulex::weights::Checkpoint;
use diffulex_verify::Text;
use std::path::{Path, PathBuf};

/// Opens tokenizer and template of the checkpoint in `dir`.
pub(crate) fn open(dir: &Path) -> diffulex::Result<Text> {
    let files = Checkpoint::locate(dir)?;
    let json = |path: &Option<PathBuf>| path.as_deref().map(Value::read).transpose();
    let (special, config) = (json(&files.special_tokens_map)?, json(&files.tokenizer_config)?);
    let tokenizer = HfTokenizer::from_dir(files.directory())?;
    let mask = tokenizer.mask_id(config.as_ref(), special.as_ref())?;
    let template = ChatTemplate::open(files.chat_template.as_deref(), files.tokenizer_config.as_deref());
    let template = template.map(|template| template.map(|template| Box::new(template) as Box<dyn Template>));
    Ok(Text { tokenizer: Box::new(tokenizer) as Box<dyn Tokenizer>, mask, template })
}
