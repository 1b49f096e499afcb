//! Finds the files of a checkpoint and opens its weights.
//!
//! The path that a user gives may be a directory in the Hugging Face layout, one of its safetensors files, or the index
//! of its shards. The configuration, tokenizer and template files are looked for in the directory of the weights.

use super::index::Index;
use super::{Error, Result, SafeTensors, TensorSource};
use crate::bytes::{ALIGN, AlignedBuf, Bytes, ask_for};
use crate::files::{self, INSTEAD, beside};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The index of a checkpoint in shards.
const INDEX: &str = "model.safetensors.index.json";
/// The weights of a checkpoint in one file.
const SINGLE: &str = "model.safetensors";

/// How the bytes of the weights come into memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    #[default]
    /// Mapped: opening takes no time, and only what is touched is read. Reads where the crate is built without `mmap`, and files of
    /// a file system that cannot map.
    Map,
    /// Read completely on opening. Nothing that happens to the file later has an effect.
    Read,
}

/// The files with the weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weights {
    /// One safetensors file.
    File(PathBuf),
    /// The index of several, which lie in the same directory.
    Index(PathBuf),
}

/// The files of a checkpoint. Each can be replaced before use.
/// ```
/// use diffulex::TensorSource;
/// use diffulex::weights::{Checkpoint, Storage};
/// use std::path::Path;
///
/// let files = Checkpoint::locate(Path::new("demo/sdar"))?;
/// let weights = files.open(Storage::default())?;
/// for name in weights.names() {
///     let tensor = weights.tensor(&name)?;
///     println!("{name}: {:?} of {}", tensor.shape(), tensor.dtype().name());
/// }
/// # Ok::<(), diffulex::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The weights.
    pub weights: Weights,
    /// The index of shards that lie complete next to [`Self::weights`] and are not read.
    pub passed_over: Option<PathBuf>,
    /// `config.json`
    pub config: Option<PathBuf>,
    /// `tokenizer.json`
    pub tokenizer: Option<PathBuf>,
    /// `tokenizer_config.json`
    pub tokenizer_config: Option<PathBuf>,
    /// `chat_template.jinja`, or `default.jinja` in `additional_chat_templates`
    pub chat_template: Option<PathBuf>,
    /// `generation_config.json`
    pub generation_config: Option<PathBuf>,
    /// `special_tokens_map.json`
    pub special_tokens_map: Option<PathBuf>,
}

impl Checkpoint {
    /// Finds the files of the checkpoint at `path`: a directory, a safetensors file, or an index (`*.json`).
    ///
    /// In a directory `model.safetensors` is taken if there is one, else the index, else the only `*.safetensors` file: the order
    /// of Hugging Face transformers.
    ///
    /// # Errors
    /// [`Error::Io`] if `path` does not exist; [`Error::Format`] if a directory has no weights, or several files that
    /// could be them, if `path` is one shard of several, if there is a file of another format instead, or if a file is a dangling
    /// link.
    pub fn locate(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
        let weights = if metadata.is_dir() {
            weights_in(path)?
        } else if path.extension().is_some_and(|extension| extension == "json") {
            Weights::Index(path.to_path_buf())
        } else {
            if let Some(format) = metadata.is_file().then(|| files::foreign(path)).flatten() {
                let what = format!("not a safetensors file but {format}, which {INSTEAD}");
                return Err(Error::format(path.display(), what));
            }
            refuse_lone_shard(path)?;
            Weights::File(path.to_path_buf())
        };
        let index = path.join(INDEX);
        let passed_over = metadata.is_dir()
            && weights == Weights::File(path.join(SINGLE))
            && Index::read(&index).is_ok_and(|index| index.missing(path).is_empty());
        let directory = if metadata.is_dir() { path } else { parent(path) };
        let beside = |name: &str| beside(directory, name);
        Ok(Self {
            weights,
            passed_over: passed_over.then_some(index),
            config: beside("config.json")?,
            tokenizer: beside("tokenizer.json")?,
            tokenizer_config: beside("tokenizer_config.json")?,
            chat_template: template(directory)?,
            generation_config: beside("generation_config.json")?,
            special_tokens_map: beside("special_tokens_map.json")?,
        })
    }

    /// The directory that holds the weights.
    pub fn directory(&self) -> &Path {
        let (Weights::File(path) | Weights::Index(path)) = &self.weights;
        parent(path)
    }

    /// Names of the shards that the index lists and that are not there; none if the weights are one file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Json`] or [`Error::Config`] if the index cannot be read.
    pub fn missing_shards(&self) -> Result<Vec<String>> {
        let Weights::Index(path) = &self.weights else { return Ok(Vec::new()) };
        Ok(Index::read(path)?.missing(parent(path)))
    }

    /// The files that hold the weights: one, or the shards that the index lists.
    ///
    /// # Errors
    /// As [`Self::missing_shards`].
    pub fn weight_files(&self) -> Result<Vec<PathBuf>> {
        match &self.weights {
            Weights::File(path) => Ok(vec![path.clone()]),
            Weights::Index(path) => {
                Ok(Index::read(path)?.shards.iter().map(|shard| parent(path).join(shard)).collect())
            }
        }
    }

    /// Opens the weights.
    ///
    /// # Errors
    /// [`Error::Io`], or what is wrong with a file: [`Error::Format`], [`Error::Json`], [`Error::DType`],
    /// [`Error::Config`]. With an index: every shard must be there, and hold exactly the tensors that the index says.
    pub fn open(&self, storage: Storage) -> Result<SafeTensors> {
        match &self.weights {
            Weights::File(path) => {
                let file = path.display().to_string();
                let mut source = SafeTensors::empty(&file);
                source.add(&file, &load(path, storage)?)?;
                Ok(source)
            }
            Weights::Index(path) => open_shards(path, storage),
        }
    }
}

/// The directory of a file; "" is the current one.
fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new(""))
}

/// The chat template of a directory: of two that are called default, transformers takes the one in the folder.
fn template(directory: &Path) -> Result<Option<PathBuf>> {
    match beside(directory, "additional_chat_templates/default.jinja")? {
        None => beside(directory, "chat_template.jinja"),
        found => Ok(found),
    }
}

fn weights_in(directory: &Path) -> Result<Weights> {
    let (index, single) = (directory.join(INDEX), directory.join(SINGLE));
    if single.is_file() {
        return Ok(Weights::File(single));
    }
    if index.is_file() {
        return Ok(Weights::Index(index));
    }
    // A dangling link matters where there is nothing else to read.
    for name in [SINGLE, INDEX] {
        beside(directory, name)?;
    }
    let (mut found, mut others) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(directory).map_err(|e| Error::io(directory, e))? {
        let name = entry.map_err(|e| Error::io(directory, e))?.file_name();
        let weights = Path::new(&name).extension().is_some_and(|extension| extension == "safetensors");
        let path = if weights { beside(directory, name)? } else { Some(directory.join(name)) };
        if let Some(path) = path.filter(|path| path.is_file()) {
            if weights { &mut found } else { &mut others }.push(path);
        }
    }
    if found.len() == 1 {
        return Ok(Weights::File(found.remove(0)));
    }
    if found.is_empty() {
        let mut what = format!("no weights: expected {INDEX}, {SINGLE} or another .safetensors file");
        others.sort();
        if let Some((path, format)) = others.iter().find_map(|path| Some((path, files::foreign(path)?))) {
            let name = path.file_name().unwrap_or_default().display();
            what += &format!("; `{name}` is {format}, which {INSTEAD}");
        }
        return Err(Error::format(directory.display(), what));
    }
    found.sort();
    let names: Vec<_> =
        found.iter().filter_map(|path| path.file_name()).map(|name| name.to_string_lossy()).collect();
    let what =
        format!("several .safetensors files and no {INDEX}: {}; name the one to load", names.join(", "));
    Err(Error::format(directory.display(), what))
}

/// Half of a checkpoint would only be noticed by the first missing tensor; its index gives a better message.
fn refuse_lone_shard(path: &Path) -> Result<()> {
    let index = parent(path).join(INDEX);
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    if name == SINGLE || !index.is_file() {
        return Ok(());
    }
    let shards = Index::read(&index)?.shards;
    if shards.len() > 1 && shards.iter().any(|shard| *shard == name) {
        let what =
            format!("one shard of {}; give {} or its directory instead", shards.len(), index.display());
        return Err(Error::format(path.display(), what));
    }
    Ok(())
}

fn open_shards(path: &Path, storage: Storage) -> Result<SafeTensors> {
    let index = Index::read(path)?;
    let file = path.display().to_string();
    let shard_path = |shard: &str| parent(path).join(shard);
    for shard in &index.shards {
        beside(parent(path), shard)?;
    }
    let missing = index.missing(parent(path));
    if !missing.is_empty() {
        let (names, all) = (missing.join("`, `"), index.shards.len());
        let (noun, verb) = if missing.len() == 1 { ("shard", "is") } else { ("shards", "are") };
        return Err(Error::format(&file, format!("{noun} `{names}` {verb} missing, {all} are expected")));
    }
    let mut source = SafeTensors::empty(&file);
    for shard in &index.shards {
        let path = shard_path(shard);
        source.add(&path.display().to_string(), &load(&path, storage)?)?;
    }
    for (name, shard) in &index.map {
        let expected = shard_path(shard).display().to_string();
        // Also when it is in a different shard than the index says.
        if source.origin(name) != expected {
            return Err(Error::missing_tensor(expected, name));
        }
    }
    match source.names().iter().find(|name| index.shard(name).is_none()) {
        None => Ok(source),
        Some(name) => {
            let what = format!("tensor `{name}` is not in the index {file}");
            Err(Error::format(source.origin(name), what))
        }
    }
}

/// The bytes of a regular file, and whether they are mapped.
fn load(path: &Path, storage: Storage) -> Result<(Bytes, bool)> {
    // Before opening: opening a pipe would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
    if !metadata.is_file() {
        return Err(Error::format(path.display(), "not a regular file, expected a safetensors file"));
    }
    if metadata.len() == 0 {
        return Err(Error::format(path.display(), "the file is empty"));
    }
    match storage {
        #[cfg(feature = "mmap")]
        Storage::Map => match super::mmap::map(path)? {
            Some(mapped) => Ok((mapped, true)),
            None => Ok((read(path, " (it cannot be mapped here)")?, false)),
        },
        _ => Ok((read(path, " (it can be mapped)")?, false)),
    }
}

/// Reads a file straight into its final place. `hint` goes into the message if there is no memory for it.
fn read(path: &Path, hint: &str) -> Result<Bytes> {
    let io = |e| Error::io(path, e);
    let mut file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let length = usize::try_from(length)
        .map_err(|_| Error::format(path.display(), format!("{length} bytes do not fit the address space")))?;
    ask_for(format!("{}{hint}", path.display()), length.saturating_add(ALIGN))?;
    let mut buffer = AlignedBuf::zeroed(length);
    file.read_exact(buffer.as_mut()).map_err(io)?;
    Ok(Bytes::new(buffer))
}
