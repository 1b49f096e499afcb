//! `Architecture::tensors` is what is checked, loaded and counted: over random architectures, and weights that share a tensor.

mod fixture;

use diffulex::bytes::Bytes;
use diffulex::cache::{KvDtype, Visible};
use diffulex::dtype::{DType, as_bytes};
use diffulex::engine::ModelFiles;
use diffulex::exec::Serial;
use diffulex::kernels::{Activations, Level};
use diffulex::model::{
    Architecture, Dims, GenerationConfig, Mixture, Names, Probe, Recipe, Slot, Transformer, check_checkpoint,
};
use diffulex::quant::{Code, Format, Group, Matrix, Quant};
use diffulex::tensor::TensorView;
use diffulex::weights::{Checkpoint, MemorySource, Storage, Stored, StoredQuant, TensorSource};
use diffulex::{Engine, Error, Result};
use fixture::golden;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Mutex;

fn architecture(name: &str) -> Architecture {
    Architecture::from_file(&golden(name).join("config.json")).unwrap()
}

/// An architecture of a family with sizes and options of its own.
fn random_architecture() -> impl Strategy<Value = Architecture> {
    let family = proptest::sample::select(&["sdar-f32", "sdar-moe-f32", "llada2-f32", "llada-f32"][..]);
    let sizes = (1..40usize, 1..20usize, 1..20usize, 1..4usize, 1..4usize, 1..3usize, 1..5usize);
    (family, sizes, any::<[bool; 5]>()).prop_map(|(family, sizes, options)| {
        let (vocab, hidden, ffn, layers, n_kv_heads, groups, half) = sizes;
        let [qkv_bias, out_bias, mlp_bias, qk_norm, tied] = options;
        let n_heads = n_kv_heads * groups;
        let dims = Dims { vocab, hidden, ffn, layers, n_heads, n_kv_heads, head_dim: 2 * half, max_pos: 64 };
        let arch = architecture(family);
        let sparse = (0..layers).map(|i| i % 2 == usize::from(qkv_bias)).collect();
        let mixture = arch.mixture.clone().map(|mixture| Mixture {
            experts: 1 + hidden % 4,
            per_token: 1,
            shared: mixture.shared.map(|_| ffn),
            sparse,
            ..mixture
        });
        Architecture { dims, qkv_bias, out_bias, mlp_bias, qk_norm, tied, mixture, ..arch }
    })
}

fn numbers(elements: usize) -> Bytes {
    let x: Vec<f32> = (0..elements).map(|i| (i * 7 % 23) as f32 / 23.0 - 0.4).collect();
    Bytes::copy_aligned(as_bytes(&x))
}

fn source_of(slots: &[Slot]) -> MemorySource {
    let mut source = MemorySource::new("made");
    for slot in slots {
        let view = TensorView::new(DType::F32, slot.shape.clone(), numbers(slot.elements())).unwrap();
        source.insert(&slot.name, view);
    }
    source
}

/// Notes which tensors are read.
struct Watched<'a> {
    source: &'a MemorySource,
    read: Mutex<BTreeSet<String>>,
}

impl TensorSource for Watched<'_> {
    fn stored(&self, name: &str) -> Result<Stored> {
        self.read.lock().unwrap().insert(name.to_string());
        self.source.stored(name)
    }

    fn names(&self) -> Vec<String> {
        self.source.names()
    }

    fn origin(&self, name: &str) -> String {
        self.source.origin(name)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn loading_reads_the_tensors_of_the_list_and_counts_are_their_sums(arch in random_architecture()) {
        let slots = arch.tensors();
        let names: BTreeSet<_> = slots.iter().map(|slot| slot.name.clone()).collect();
        prop_assert_eq!(names.len(), slots.len(), "a name occurs twice");
        let source = source_of(&slots);
        let watched = Watched { source: &source, read: Mutex::default() };
        let model = Transformer::load(arch.clone(), &watched).unwrap();
        prop_assert_eq!(&watched.read.into_inner().unwrap(), &names);

        let elements: usize = slots.iter().map(|slot| slot.shape.iter().product::<usize>()).sum();
        prop_assert_eq!(model.parameters(), elements);
        let matrices: Vec<_> = slots.iter().filter(|slot| slot.matrix().is_some()).collect();
        let mut listed: Vec<_> = model.matrices().map(|(slot, _)| slot).collect();
        listed.dedup();
        prop_assert_eq!(&listed, &matrices);
        for slot in listed {
            // Weights that share a tensor have its rows together.
            let parts = || model.matrices().filter(|(other, _)| other.name == slot.name);
            let rows = parts().map(|(_, matrix)| matrix.n()).sum();
            let width = parts().next().unwrap().1.k();
            prop_assert_eq!(slot.matrix(), Some([rows, width]));
        }
        let bytes: usize = matrices.iter().map(|slot| 4 * slot.elements()).sum();
        prop_assert_eq!(model.weight_bytes(), bytes);
        let planned = Recipe::from(Format::Bf16).plan(&arch, &source).unwrap();
        prop_assert_eq!(planned.into_iter().map(|planned| planned.slot).collect::<Vec<_>>(), slots);
    }

    #[test]
    fn every_tensor_is_needed_and_no_other_is_taken(arch in random_architecture(), pick in any::<proptest::sample::Index>()) {
        let slots = arch.tensors();
        let missing = pick.index(slots.len());
        let mut others = slots.clone();
        let Slot { name, .. } = others.remove(missing);
        let error = check_checkpoint(&arch, &source_of(&others)).unwrap_err();
        prop_assert!(matches!(&error, Error::MissingTensor { name: found, .. } if *found == name), "{}", error);
        let mut source = source_of(&slots);
        for ignored in arch.ignored_tensors() {
            source.insert(ignored, TensorView::new(DType::F32, vec![1], numbers(1)).unwrap());
        }
        prop_assert_eq!(check_checkpoint(&arch, &source).unwrap(), slots);
        source.insert("more", TensorView::new(DType::F32, vec![1], numbers(1)).unwrap());
        let error = check_checkpoint(&arch, &source).unwrap_err().to_string();
        prop_assert!(error.contains("unexpected tensor `more`"), "{}", error);
    }
}

/// A checkpoint, and the same one with the query, key and value matrices of every block in one tensor.
fn separate_and_fused(name: &str) -> [(Architecture, MemorySource); 2] {
    let arch = architecture(name);
    let checkpoint = Checkpoint::locate(&golden(name)).unwrap().open(Storage::Read).unwrap();
    let names: &Names = Box::leak(Box::new(Names { q: "qkv", k: "qkv", v: "qkv", ..*arch.names }));
    let (mut separate, mut fused) = (MemorySource::new("separate"), MemorySource::new("fused"));
    for slot in arch.tensors() {
        let view = checkpoint.tensor(&slot.name).unwrap();
        separate.insert(&slot.name, view.clone());
        fused.insert(&slot.name, view);
    }
    for layer in 0..arch.dims.layers {
        for ending in ["weight", "bias"] {
            let parts = [arch.names.q, arch.names.k, arch.names.v]
                .map(|slot| separate.tensor(&format!("{}{layer}.{slot}.{ending}", arch.names.block)));
            let Ok(parts) = parts.into_iter().collect::<Result<Vec<_>>>() else { continue };
            let mut shape = parts[0].shape().to_vec();
            shape[0] = parts.iter().map(|part| part.shape()[0]).sum();
            let bytes: Vec<u8> = parts.iter().flat_map(|part| part.bytes().to_vec()).collect();
            let all = TensorView::new(parts[0].dtype(), shape, Bytes::copy_aligned(&bytes)).unwrap();
            fused.insert(format!("{}{layer}.qkv.{ending}", arch.names.block), all);
        }
    }
    let fused_arch = Architecture { names, ..arch.clone() };
    // Only what the fused model needs.
    let mut needed = MemorySource::new("fused");
    for slot in fused_arch.tensors() {
        needed.insert(&slot.name, fused.tensor(&slot.name).unwrap());
    }
    [(arch, separate), (fused_arch, needed)]
}

fn logits(arch: &Architecture, source: &dyn TensorSource, recipe: Option<Recipe>) -> Result<Vec<u32>> {
    let builder = Engine::builder().level(Level::detect()).activations(Activations::F32).threads(1);
    let builder = builder.kv(KvDtype::F32).context(32);
    let builder = match recipe {
        Some(recipe) => builder.quantize(recipe),
        None => builder,
    };
    let files = ModelFiles { arch: arch.clone(), generation: GenerationConfig::default() };
    let engine = builder.load(files, source)?;
    let ids: Vec<u32> = (0..13).map(|i| 3 + i * 17).collect();
    let mut session = engine.session()?;
    session.forward(&ids, 0, &Visible::by_rule(arch.attention, 0..13, 0, 13), &mut Probe::none())?;
    let rows: Vec<usize> = (0..13).collect();
    Ok(session.logits(&rows, &mut Probe::none()).data().iter().map(|x| x.to_bits()).collect())
}

fn int8() -> Quant {
    Quant::new(Code::Int8, Group::Of(64), false).unwrap()
}

#[test]
fn a_fused_tensor_is_three_weights_with_the_same_bits() {
    for name in ["sdar-f32", "dream-bf16", "llada-f16"] {
        let [(arch, separate), (fused_arch, fused)] = separate_and_fused(name);
        assert_eq!(
            fused_arch.tensors().len() + 2 * arch.dims.layers * (1 + usize::from(arch.qkv_bias)),
            arch.tensors().len()
        );
        let expected = logits(&arch, &separate, None).unwrap();
        assert_eq!(logits(&fused_arch, &fused, None).unwrap(), expected, "{name}");
        let recipe = || Some(Recipe::from(Format::Quant(int8())));
        let expected = logits(&arch, &separate, recipe()).unwrap();
        assert_eq!(
            logits(&fused_arch, &fused, recipe()).unwrap(),
            expected,
            "{name}, quantized while loading"
        );
    }
}

/// The source with every matrix of the blocks quantized.
fn quantized(arch: &Architecture, source: &MemorySource) -> MemorySource {
    let mut out = MemorySource::new("quantized");
    for slot in arch.tensors() {
        let view = source.tensor(&slot.name).unwrap();
        let (Some([n, k]), Some(_)) = (slot.matrix(), slot.layer) else {
            out.insert(&slot.name, view);
            continue;
        };
        let matrix = Matrix::from_tensor(&view).unwrap();
        let mut bytes = vec![0; int8().bytes(n, k).unwrap()];
        matrix.encode_into(&slot.name, Format::Quant(int8()), &mut bytes, &Serial).unwrap();
        out.insert_quantized(&slot.name, StoredQuant { quant: int8(), n, k }, Bytes::copy_aligned(&bytes));
    }
    out
}

#[test]
fn a_quantized_fused_tensor_is_cut_between_panels() {
    let [(arch, separate), (fused_arch, fused)] = separate_and_fused("sdar-f32");
    let expected = logits(&arch, &quantized(&arch, &separate), None).unwrap();
    assert_eq!(logits(&fused_arch, &quantized(&fused_arch, &fused), None).unwrap(), expected);
    // Heads of 6 elements put the first cut at row 24, inside a panel of 16.
    let odd = Dims { head_dim: 6, ..arch.dims };
    let arch = Architecture { dims: odd, ..fused_arch };
    let source = quantized(&arch, &source_of(&arch.tensors()));
    let error = logits(&arch, &source, None).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("rows 0..24 of tensor `model.layers.0.qkv.weight`"), "{error}");
}
