//! [`Parts`]: everything of a checkpoint but its weights, and [`Model::open`].

use super::Model;
use crate::engine::{Engine, EngineBuilder, ModelFiles};
use crate::error::Result;
use crate::files::beside;
use crate::json::Value;
use crate::model::Architecture;
use crate::tensor::TokenId;
use crate::text::chat::{ChatTemplate, refuse_without_default};
use crate::text::hf::HfTokenizer;
use crate::text::{Template, Tokenizer};
use crate::weights::{Checkpoint, InUse, Storage, TensorSource};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};

/// The Rust blocks of the documents are compiled as tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[doc = include_str!("../../docs/embedding.md")]
struct Documents;

/// The files of a checkpoint next to its weights, read.
pub struct Parts {
    /// config.json and generation_config.json.
    pub files: ModelFiles,
    /// Absent if there is none.
    pub tokenizer: Option<HfTokenizer>,
    /// Absent if there is none.
    pub template: Option<ChatTemplate>,
    /// tokenizer_config.json, which may name the mask.
    pub tokenizer_config: Option<Value>,
    /// special_tokens_map.json, which may name the mask.
    pub special_tokens_map: Option<Value>,
}

impl Parts {
    /// Reads the files.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) if there is no config.json, else what is wrong with a file.
    pub fn read(checkpoint: &Checkpoint) -> Result<Self> {
        Self::read_while(checkpoint, |_| Ok(())).map(|(parts, ())| parts)
    }

    /// As [`Self::read`]. The tokenizer takes longest; until it is read, `meanwhile` runs in another thread, unless another file is
    /// wrong.
    ///
    /// # Errors
    /// Those of [`Self::read`], else that of `meanwhile`.
    pub fn read_while<T: Send>(
        checkpoint: &Checkpoint,
        meanwhile: impl FnOnce(&ModelFiles) -> Result<T> + Send,
    ) -> Result<(Self, T)> {
        let read = |path: &Option<PathBuf>| path.as_deref().map(Value::read).transpose();
        let tokenizer_config = read(&checkpoint.tokenizer_config)?;
        let special_tokens_map = read(&checkpoint.special_tokens_map)?;
        let mut others = Some(|| {
            let config = checkpoint.tokenizer_config.as_deref();
            if checkpoint.chat_template.is_none() {
                refuse_without_default(checkpoint.directory())?;
            }
            let template = ChatTemplate::open(checkpoint.chat_template.as_deref(), config)?;
            let files = ModelFiles::read(checkpoint)?;
            let made = meanwhile(&files)?;
            Ok((files, template, made))
        });
        let mut run_others = || others.take().map(|others| others());
        let (tokenizer, done) = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().spawn_scoped(scope, &mut run_others);
            let tokenizer = tokenizer(checkpoint);
            let done = thread.map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            (tokenizer, done.ok().flatten())
        });
        // An error of the tokenizer is reported first, whatever took longer.
        let tokenizer = tokenizer?;
        // Where the system had no thread they have not run yet.
        let done = done.or_else(run_others).expect("run in the thread or here");
        let (files, template, made) = done?;
        Ok((Self { files, tokenizer, template, tokenizer_config, special_tokens_map }, made))
    }

    /// The mask that the tokenizer names.
    ///
    /// # Errors
    /// As [`HfTokenizer::mask_id`].
    pub fn mask(&self) -> Result<Option<TokenId>> {
        let Some(tokenizer) = &self.tokenizer else { return Ok(None) };
        tokenizer.mask_id(self.tokenizer_config.as_ref(), self.special_tokens_map.as_ref())
    }

    /// The model as data.
    pub fn arch(&self) -> &Architecture {
        &self.files.arch
    }

    /// Loads the weights. `builder` learns from the tokenizer which ids are tokens, and which one is the mask if neither the builder
    /// nor config.json says so. `origin` names the model in messages.
    ///
    /// # Errors
    /// As [`EngineBuilder::load`], and [`Self::mask`].
    pub fn load(self, origin: &str, mut builder: EngineBuilder, source: &dyn TensorSource) -> Result<Model> {
        if let Some(tokenizer) = &self.tokenizer {
            // The config decides; only where it is silent does the tokenizer have to name one mask.
            if builder.given_mask().or(self.files.arch.tokens.mask).is_none() {
                builder = builder.tokenizer_mask(self.mask()?);
            }
            builder = builder.tokens(tokenizer.size(), tokenizer.holes().to_vec());
        }
        let engine = builder.load(self.files, source)?;
        let tokenizer = self.tokenizer.map(|tokenizer| Box::new(tokenizer) as Box<dyn Tokenizer>);
        let template = self.template.map(|template| Box::new(template) as Box<dyn Template>);
        Ok(Model::new(engine, tokenizer, template, origin))
    }
}

/// The tokenizer that was given instead of the one next to the weights, or the one there: tokenizer.json, or vocab.json with
/// merges.txt.
fn tokenizer(checkpoint: &Checkpoint) -> Result<Option<HfTokenizer>> {
    let dir = checkpoint.directory();
    if let Some(path) = checkpoint.tokenizer.as_ref().filter(|path| **path != dir.join("tokenizer.json")) {
        return HfTokenizer::from_file(path).map(Some);
    }
    let there = checkpoint.tokenizer.is_some()
        || (beside(dir, "vocab.json")?.is_some() && beside(dir, "merges.txt")?.is_some());
    there.then(|| HfTokenizer::from_dir(dir)).transpose()
}

impl Model {
    /// Opens a checkpoint with default settings: a directory, a `.safetensors` file or an index file, with everything that lies
    /// next to it. It decodes as `diffulex-run` does.
    ///
    /// A question, with what the checkpoint says about decoding:
    ///
    /// ```
    /// use diffulex::Model;
    ///
    /// let model = Model::open("demo/sdar")?;
    /// let answer = model.ask(&model.prompt("What is 27 + 45?")?)?;
    /// assert!(answer.text.contains("72"), "{}", answer.text);
    /// # Ok::<(), diffulex::Error>(())
    /// ```
    ///
    /// Several turns, as text becomes final, and by a rule of one's own:
    ///
    /// ```
    /// # use diffulex::{Control, Event, Model};
    /// # let model = Model::open("demo/sdar")?;
    /// use diffulex::text::Message;
    ///
    /// let messages = [
    ///     Message::new("user", "Sort these numbers: 7 3 9 1."),
    ///     Message::new("assistant", "1 3 7 9"),
    ///     Message::new("user", "What is 2 + 2?"),
    /// ];
    /// let mut setup = model.setup();
    /// setup.policy = "sdar-dynamic threshold=0.9".parse::<diffulex::engine::Overrides>()?.policy(&model.engine)?;
    /// setup.max_tokens = Some(32);
    /// let mut session = model.engine.session()?;
    /// let mut shown = String::new();
    /// let answer = model.answer(&mut session, &model.conversation(&messages)?, &setup, &mut |event, settled| {
    ///     if let Event::Revealed { tokens, .. } = event {
    ///         assert!(tokens.iter().all(|token| token.score <= 1.0));
    ///     }
    ///     shown += settled;
    ///     Ok(Control::Continue)
    /// })?;
    /// assert_eq!(shown + &answer.rest, answer.text);
    /// # Ok::<(), diffulex::Error>(())
    /// ```
    ///
    /// Many prompts in common forward passes ([`Batch`](super::Batch)):
    ///
    /// ```
    /// # use diffulex::{Control, Model};
    /// # let model = Model::open("demo/sdar")?;
    /// use diffulex::engine::Limits;
    ///
    /// let mut batch = model.batch(Limits::for_engine(&model.engine, 2))?;
    /// for question in ["What is 27 + 45?", "Sort these numbers: 7 3 9 1."] {
    ///     batch.add(model.prompt(question)?, model.setup())?;
    /// }
    /// while batch.open() > 0 {
    ///     for answered in batch.step(&mut |_id, _event, _settled| Ok(Control::Continue)) {
    ///         println!("{}", answered.result?.text);
    ///     }
    /// }
    /// # Ok::<(), diffulex::Error>(())
    /// ```
    ///
    /// A [decision](super::decide): how probable every answer to a question is, in one pass:
    ///
    /// ```
    /// # use diffulex::Model;
    /// # let model = Model::open("demo/sdar")?;
    /// use diffulex::engine::Reader;
    /// use diffulex::text_model::decide::{Decision, Kind, Question};
    ///
    /// let mood = Question {
    ///     name: "mood".to_owned(),
    ///     ask: None,
    ///     kind: Kind::Options(["happy", "sad"].map(str::to_owned).into()),
    ///     lead: None,
    /// };
    /// let decision = Decision {
    ///     state: "Mia the fox found a red ball and laughed.".to_owned(),
    ///     questions: vec![mood],
    ///     prompt: None,
    ///     again: false,
    /// };
    /// let prepared = model.prepare(&decision)?;
    /// let mut reader = Reader::new(&model.engine)?;
    /// let verdicts = model.decide(&mut reader, &model.setup().policy, &[prepared])?;
    /// let verdict = &verdicts[0][0];
    /// assert!((verdict.probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    /// println!("{}", verdict.labels[verdict.best]);
    /// # Ok::<(), diffulex::Error>(())
    /// ```
    /// # Errors
    /// Whatever is wrong with the files.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, Engine::builder())
    }

    /// As [`Self::open`], with the settings of `builder`.
    ///
    /// # Errors
    /// Whatever is wrong with the files or the setup.
    pub fn open_with(path: impl AsRef<Path>, builder: EngineBuilder) -> Result<Self> {
        let path = path.as_ref();
        let checkpoint = Checkpoint::locate(path)?;
        let storage = builder.storage_kind();
        let (parts, mapped) = Parts::read_while(&checkpoint, |_| match storage {
            Storage::Map => Ok(Some((InUse::hold(&checkpoint)?, checkpoint.open(storage)?))),
            // Takes longer than a tokenizer, which may be refused.
            Storage::Read => Ok(None),
        })?;
        let (in_use, source) = match mapped {
            Some(mapped) => mapped,
            None => (InUse::default(), checkpoint.open(storage)?),
        };
        let model = parts.load(&path.display().to_string(), builder, &source)?;
        in_use.check()?;
        Ok(Self { in_use, ..model })
    }
}
