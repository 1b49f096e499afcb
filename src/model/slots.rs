//! [`Slot`]: the tensors that a model needs, by the names in its checkpoint, and the check that a checkpoint has them.
//!
//! There is one list. The types of the weights ([`super::block`]) say what a block consists of, each by a function that is
//! generic over what is made of a weight ([`Make`]): [`List`] makes the list of [`Architecture::tensors`], the loader makes
//! matrices. So what is checked, quantized, counted or filled with random numbers is what is loaded.
//!
//! Checking is complete in both directions. A tensor that is missing would be noise; one that is left over means that the
//! model computes something that this engine does not.

use super::arch::Architecture;
use super::block::Block;
use super::linear::Linear;
use crate::error::{Error, Result};
use crate::quant::Format;
use crate::weights::TensorSource;
use std::collections::HashSet;
use std::ops::Range;

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The embedding, which is also the output matrix of a tied model.
    Embedding,
    /// The output matrix.
    Head,
    /// A matrix of attention.
    Attention,
    /// A matrix of a feed-forward part.
    FeedForward,
    /// The matrix that chooses experts. It decides, so it always stays in floats.
    Router,
    /// A weight of a norm.
    Norm,
    /// A bias.
    Bias,
}

impl Role {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Head => "lm_head",
            Self::Attention => "attention",
            Self::FeedForward => "mlp",
            Self::Router => "router",
            Self::Norm => "norms",
            Self::Bias => "biases",
        }
    }
}

/// A tensor that a model needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its name in the checkpoint.
    pub name: String,
    /// `[n, k]` of a matrix, `[n]` of a vector.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
    /// The block that it belongs to, counted from 0; `None` outside the blocks.
    pub layer: Option<usize>,
    /// The expert that it belongs to, counted from 0 in its block.
    pub expert: Option<usize>,
}

impl Slot {
    /// `[n, k]`, if it is a matrix.
    pub fn matrix(&self) -> Option<[usize; 2]> {
        self.shape.as_slice().try_into().ok()
    }

    /// Its format in a model whose blocks are in `blocks`, and whose embedding and output matrix are in `head`. Routers, norms
    /// and biases are f32.
    pub fn format(&self, blocks: Format, head: Format) -> Format {
        match self.role {
            Role::Embedding | Role::Head => head,
            Role::Attention | Role::FeedForward => blocks,
            Role::Router | Role::Norm | Role::Bias => Format::F32,
        }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What is made of every weight of a model. A weight is some rows of a tensor: all of them, unless weights share one.
pub(super) trait Make {
    /// What is made of a matrix.
    type Matrix;
    /// What is made of a vector.
    type Vector;

    fn matrix(&mut self, slot: Slot, rows: Range<usize>) -> Result<Self::Matrix>;

    fn vector(&mut self, slot: Slot, rows: Range<usize>) -> Result<Self::Vector>;
}

/// Makes the weights of one block, or of a part of it that has a prefix of its own.
pub(super) struct Part<'a, F> {
    make: &'a mut F,
    layer: usize,
    expert: Option<usize>,
    prefix: String,
}

impl<'a, F: Make> Part<'a, F> {
    /// The block `layer` of `arch`.
    pub(super) fn block(arch: &Architecture, layer: usize, make: &'a mut F) -> Self {
        Self { make, layer, expert: None, prefix: format!("{}{layer}.", arch.names.block) }
    }

    /// The weights whose names continue with `prefix`.
    pub(super) fn part(&mut self, prefix: &str) -> Part<'_, F> {
        Part { prefix: format!("{}{prefix}", self.prefix), make: self.make, ..*self }
    }

    /// Expert `i` of those whose names continue with `prefix`.
    pub(super) fn expert(&mut self, prefix: &str, i: usize) -> Part<'_, F> {
        Part { expert: Some(i), ..self.part(&format!("{prefix}{i}.")) }
    }

    fn slot(&self, name: &str, ending: &str, shape: Vec<usize>, role: Role) -> Slot {
        let name = format!("{}{name}{ending}", self.prefix);
        Slot { name, shape, role, layer: Some(self.layer), expert: self.expert }
    }

    /// The weight of a norm, `[width]`.
    pub(super) fn norm(&mut self, name: &str, width: usize) -> Result<F::Vector> {
        let slot = self.slot(name, ".weight", vec![width], Role::Norm);
        self.make.vector(slot, 0..width)
    }

    /// A vector of `width` numbers under its whole name.
    pub(super) fn vector(&mut self, name: &str, width: usize, role: Role) -> Result<F::Vector> {
        let slot = self.slot(name, "", vec![width], role);
        self.make.vector(slot, 0..width)
    }

    /// Linear layers of `k` inputs that are used together, by name and number of outputs, with or without biases. Those of
    /// one name share a tensor, each after the other.
    pub(super) fn linears<const N: usize>(
        &mut self,
        role: Role,
        outputs: [(&str, usize); N],
        k: usize,
        bias: bool,
    ) -> Result<[Linear<F::Matrix, F::Vector>; N]> {
        let mut layers = Vec::with_capacity(N);
        for (i, &(name, n)) in outputs.iter().enumerate() {
            let rows_of = |layers: &[(&str, usize)]| -> usize {
                layers.iter().filter(|other| other.0 == name).map(|other| other.1).sum()
            };
            let start = rows_of(&outputs[..i]);
            let (rows, all) = (start..start + n, rows_of(&outputs));
            let slot = self.slot(name, ".weight", vec![all, k], role);
            let weight = self.make.matrix(slot, rows.clone())?;
            let slot = self.slot(name, ".bias", vec![all], Role::Bias);
            let bias = if bias { Some(self.make.vector(slot, rows)?) } else { None };
            layers.push(Linear { weight, bias });
        }
        Ok(layers.try_into().unwrap_or_else(|_| unreachable!("as many layers as outputs")))
    }
}

/// Makes the list of the tensors.
#[derive(Default)]
struct List(Vec<Slot>);

impl Make for List {
    type Matrix = ();
    type Vector = ();

    fn matrix(&mut self, slot: Slot, rows: Range<usize>) -> Result<()> {
        // A tensor that several weights share counts where the first of them does.
        self.0.extend((rows.start == 0).then_some(slot));
        Ok(())
    }

    fn vector(&mut self, slot: Slot, rows: Range<usize>) -> Result<()> {
        self.matrix(slot, rows)
    }
}

/// The weights outside the blocks, and the blocks.
pub(super) struct Weights<M, V> {
    /// `[vocab, hidden]`.
    pub(super) embed: M,
    pub(super) blocks: Vec<Block<M, V>>,
    /// `[hidden]`.
    pub(super) norm: V,
    /// `[vocab, hidden]`; absent where tied to the embedding.
    pub(super) lm_head: Option<M>,
}

impl<M, V> Weights<M, V> {
    /// Makes all weights of `arch`, in the order of the list.
    ///
    /// # Errors
    /// Those of `make`.
    pub(super) fn new(arch: &Architecture, make: &mut impl Make<Matrix = M, Vector = V>) -> Result<Self> {
        let (dims, names) = (&arch.dims, arch.names);
        let outside = |name: &str, shape: Vec<usize>, role| Slot {
            name: format!("{name}.weight"),
            shape,
            role,
            layer: None,
            expert: None,
        };
        let table = vec![dims.vocab, dims.hidden];
        let embed = make.matrix(outside(names.embed, table.clone(), Role::Embedding), 0..dims.vocab)?;
        let blocks = (0..dims.layers).map(|i| Block::new(arch, i, &mut Part::block(arch, i, make)));
        let blocks = blocks.collect::<Result<_>>()?;
        let norm = make.vector(outside(names.norm, vec![dims.hidden], Role::Norm), 0..dims.hidden)?;
        let head = outside(names.lm_head, table, Role::Head);
        let lm_head = if arch.tied { None } else { Some(make.matrix(head, 0..dims.vocab)?) };
        Ok(Self { embed, blocks, norm, lm_head })
    }
}

impl Architecture {
    /// Every tensor that the model needs, each once: embedding, blocks, final norm, output matrix.
    pub fn tensors(&self) -> Vec<Slot> {
        let mut list = List::default();
        Weights::new(self, &mut list).expect("a list takes every slot");
        list.0
    }

    /// Names of tensors that may be in a checkpoint although the model does not use them.
    pub fn ignored_tensors(&self) -> Vec<String> {
        let names = self.names;
        let mut ignored: Vec<String> = names.ignored.iter().map(|name| name.to_string()).collect();
        for i in 0..self.dims.layers {
            ignored.extend(names.ignored_in_block.iter().map(|name| format!("{}{i}.{name}", names.block)));
        }
        // Some exports of tied models store the embedding a second time.
        ignored.extend(self.tied.then(|| format!("{}.weight", names.lm_head)));
        ignored
    }
}

/// Why a checkpoint that holds `names` has no tensor `missing` of those in `slots`, if its names tell.
fn instead_of(missing: &str, slots: &[Slot], names: &[String]) -> Option<String> {
    let has = |name: &str| names.iter().any(|other| other == name);
    let missing_slot = slots.iter().find(|slot| slot.name == missing)?;
    // The name with something in front of it, such as what a training wrapper puts there.
    let longer = names.iter().filter_map(|name| name.strip_suffix(missing)).find(|prefix| !prefix.is_empty());
    if let Some(prefix) = longer {
        let all = names.iter().all(|name| name.starts_with(prefix));
        let which = if all { "every name begins with" } else { "there is one that begins with" };
        return Some(format!("{which} `{prefix}`, which is too much"));
    }
    // The name without its beginning: a part of a model that was saved alone.
    let mut from = 0;
    while let Some(dot) = missing[from..].find('.') {
        from += dot + 1;
        if has(&missing[from..]) {
            return Some(format!(
                "there is `{}`, without the leading `{}`",
                &missing[from..],
                &missing[..from]
            ));
        }
    }
    if missing_slot.role == Role::Head && slots.iter().all(|slot| slot.name == missing || has(&slot.name)) {
        return Some(
            "nothing else is missing; a model whose output matrix is its embedding says so in config.json \
             (`tie_word_embeddings`, or `weight_tying` of LLaDA)"
                .to_string(),
        );
    }
    names.is_empty().then(|| "the checkpoint has no tensors".to_string())
}

/// Checks that `source` holds every tensor that `arch` needs, in its shape and as floats or quantized, and no other. Returns
/// [`Architecture::tensors`].
///
/// Touches no weight, only their declarations.
///
/// # Errors
/// [`Error::MissingTensor`], [`Error::Shape`], [`Error::DType`], or [`Error::Format`] for a tensor that is left over.
pub fn check_checkpoint(arch: &Architecture, source: &dyn TensorSource) -> Result<Vec<Slot>> {
    let slots = arch.tensors();
    for Slot { name, shape, .. } in &slots {
        let stored = source.stored(name).map_err(|error| match error {
            Error::MissingTensor { file, name, .. } => {
                let instead = instead_of(&name, &slots, &source.names());
                Error::MissingTensor { file, name, instead }
            }
            other => other,
        })?;
        let found = stored.shape();
        if found != *shape {
            return Err(Error::Shape {
                file: source.origin(name),
                name: name.clone(),
                expected: shape.clone(),
                found,
            });
        }
        if stored.format().is_none() {
            return Err(Error::DType {
                file: source.origin(name),
                name: name.clone(),
                expected: "F32, F16 or BF16",
                found: source.tensor(name)?.dtype().name().to_string(),
            });
        }
    }
    let ignored = arch.ignored_tensors();
    let known: HashSet<&str> =
        slots.iter().map(|slot| &slot.name).chain(&ignored).map(String::as_str).collect();
    match source.names().iter().find(|name| !known.contains(name.as_str())) {
        None => Ok(slots),
        Some(name) => {
            let what =
                format!("unexpected tensor `{name}`: no part of the {} model of the config", arch.family);
            Err(Error::format(source.origin(name), what))
        }
    }
}
