//! A whole engine: a tiny checkpoint of any family, damaged by the input, opened from memory and asked for a few tokens.
//! Errors are fine; what is generated keeps the rules of decoding.

use crate::policy::policy;
use ::safetensors::tensor::{Dtype, TensorView, serialize};
use arbitrary::{Result, Unstructured};
use diffulex::bytes::Bytes;
use diffulex::dtype::{Bf16, F16, as_bytes};
use diffulex::engine::{ModelFiles, PassKind};
use diffulex::exec::Serial;
use diffulex::json::Value;
use diffulex::model::{Architecture, GenerationConfig};
use diffulex::quant::Format;
use diffulex::weights::SafeTensors;
use diffulex::{Control, Engine, Event, Generation, Policy, Request};
use std::sync::{Arc, LazyLock};

const SIZES: &str =
    r#""vocab_size":20,"rms_norm_eps":1e-6,"rope_theta":1e4,"mask_token_id":19,"eos_token_id":[1]"#;
const DECODER: &str = r#""hidden_size":16,"num_attention_heads":2,"num_key_value_heads":1,"head_dim":8,"num_hidden_layers":2,"intermediate_size":24,"max_position_embeddings":64,"hidden_act":"silu""#;
const LLADA: &str = r#""d_model":16,"n_heads":2,"n_kv_heads":1,"n_layers":2,"mlp_hidden_size":24,"max_sequence_length":64,"block_type":"llama","layer_norm_type":"rms""#;

const NEMOTRON: &str = r#""model_type":"nemotron_labs_diffusion","block_size":4,"rope_parameters":{"rope_type":"yarn","rope_theta":1e4,"factor":4,"original_max_position_embeddings":8,"llama_4_scaling_beta":0.1}"#;

/// Positions of a session. Some requests do not fit.
const CONTEXT: usize = 32;

/// config.json and model.safetensors of a family and an element type.
pub(crate) type Files = (String, Vec<u8>);

pub(crate) static CHECKPOINTS: LazyLock<Vec<Files>> = LazyLock::new(|| {
    let families = [
        (r#""model_type":"sdar","block_size":4"#, DECODER),
        (r#""model_type":"Fast_dLLM_Qwen","bd_size":4,"tie_word_embeddings":true"#, DECODER),
        (r#""model_type":"Dream""#, DECODER),
        (r#""model_type":"llada","weight_tying":false"#, LLADA),
        (r#""model_type":"a2d-qwen3""#, DECODER),
        (r#""architectures":["StableDiffcoderForCausalLM"],"model_type":"llama""#, DECODER),
        (NEMOTRON, DECODER),
    ];
    let configs = families.map(|(family, sizes)| format!("{{{family},{sizes},{SIZES}}}"));
    let dtypes = [Dtype::F32, Dtype::BF16, Dtype::F16];
    let all = configs.iter().flat_map(|config| dtypes.map(|dtype| (config.clone(), weights(config, dtype))));
    all.collect()
});

/// The tensors of a configuration: numbers in [-1, 1) from their place.
fn weights(config: &str, dtype: Dtype) -> Vec<u8> {
    let json = Value::parse("config.json", config.as_bytes()).expect("written above");
    let arch = Architecture::from_config("config.json", &json).expect("a known family");
    let mut state = 1u32;
    let mut bytes = |elements: usize| {
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let x: Vec<f32> = std::iter::repeat_with(next).take(elements).collect();
        match dtype {
            Dtype::F32 => as_bytes(&x).to_vec(),
            Dtype::BF16 => as_bytes(&x.iter().map(|&x| Bf16::from_f32(x)).collect::<Vec<_>>()).to_vec(),
            _ => as_bytes(&x.iter().map(|&x| F16::from_f32(x)).collect::<Vec<_>>()).to_vec(),
        }
    };
    let stored: Vec<_> = arch
        .tensors()
        .into_iter()
        .map(|slot| {
            let data = bytes(slot.elements());
            (slot.name, slot.shape, data)
        })
        .collect();
    let views = stored.iter().map(|(name, shape, data)| {
        (name, TensorView::new(dtype, shape.clone(), data).expect("bytes of this shape"))
    });
    serialize(views, None).expect("a valid checkpoint")
}

/// See the module.
pub fn check(data: &[u8]) {
    crate::with(data, |u| {
        let (mut config, mut weights) = {
            let (config, weights) = u.choose(&CHECKPOINTS)?;
            (config.clone().into_bytes(), weights.clone())
        };
        damage(u, &mut config)?;
        damage(u, &mut weights)?;
        let format = if u.arbitrary()? { Some(*u.choose(&Format::all())?) } else { None };
        let Ok(engine) = open(&config, &weights, format) else { return Ok(()) };
        let policy = if u.arbitrary()? { policy(u)? } else { engine.default_policy() };
        run(u, &engine, &policy)
    });
}

/// Overwrites up to four bytes, removes one, or cuts the end off.
pub(crate) fn damage(u: &mut Unstructured<'_>, bytes: &mut Vec<u8>) -> Result<()> {
    for _ in 0..u.int_in_range(0..=4)? {
        let at = u.choose_index(bytes.len().max(1))?;
        match u.int_in_range(0..=9)? {
            0 => drop(bytes.drain(at..(at + 1).min(bytes.len()))),
            1 => bytes.insert(at, u.arbitrary()?),
            2 if u.ratio(1, 8)? => bytes.truncate(at),
            _ => {
                let byte = u.arbitrary()?;
                bytes.get_mut(at).into_iter().for_each(|old| *old = byte);
            }
        }
    }
    Ok(())
}

fn open(config: &[u8], weights: &[u8], format: Option<Format>) -> diffulex::Result<Engine> {
    let json = Value::parse("config.json", config)?;
    let arch = Architecture::from_config("config.json", &json)?;
    let generation = GenerationConfig::from_json("config.json", &json)?;
    let source = SafeTensors::from_bytes("model.safetensors", &Bytes::copy_aligned(weights))?;
    let context = CONTEXT.min(arch.dims.max_pos);
    let builder = Engine::builder().executor(Arc::new(Serial)).context(context);
    let builder = match format {
        Some(format) => builder.quantize(format),
        None => builder,
    };
    builder.load(ModelFiles { arch, generation }, &source)
}

fn run(u: &mut Unstructured<'_>, engine: &Engine, policy: &Policy) -> Result<()> {
    let len = u.int_in_range(0..=12)?;
    let prompt: Vec<u32> = crate::bytes(u, len)?.into_iter().map(|byte| u32::from(byte % 21)).collect();
    let request = Request {
        seed: u.arbitrary()?,
        stop: engine.stop(),
        padding: if u.ratio(1, 4)? { u.int_in_range(0..=12)? } else { 0 },
        ..Request::new(&prompt, u.int_in_range(0..=20)?, policy)
    };
    let cancel_after = if u.ratio(1, 8)? { u.int_in_range(0..=10)? } else { usize::MAX };
    let first = generate(engine, &request, cancel_after);
    let second = generate(engine, &request, cancel_after);
    match (first, second) {
        (Ok(first), Ok(second)) => assert_eq!(first.canvas, second.canvas, "the same request again"),
        (Err(_), Err(_)) => {}
        (first, second) => panic!("{first:?}, and then {second:?}"),
    }
    Ok(())
}

/// Generates and checks the result against the events on the way.
fn generate(engine: &Engine, request: &Request<'_>, cancel_after: usize) -> diffulex::Result<Generation> {
    let (mask, vocab) = (engine.mask()?, engine.arch().dims.vocab);
    let (mut passes, mut prefill, mut revealed, mut events) = (0, 0, 0, 0);
    let generation = engine.session()?.generate(request, &mut |event| {
        events += 1;
        match event {
            Event::Pass { kind, index, .. } => {
                assert_eq!(index, passes, "passes are counted");
                passes += 1;
                prefill += usize::from(kind == PassKind::Prefill);
            }
            Event::Revealed { tokens, edits, candidates, .. } => {
                let quiet = request.policy.editing.is_some() && candidates.is_empty();
                assert!(!tokens.is_empty() || quiet, "a step without progress");
                assert!(edits.is_empty() || request.policy.editing.is_some(), "{edits:?}");
                assert!(tokens.iter().all(|c| c.token != mask && (c.token as usize) < vocab), "{tokens:?}");
                revealed += tokens.len();
            }
            Event::Block { range, canvas } => {
                assert_eq!(canvas.first_mask(range.clone()), range.end, "a finished block with a mask");
            }
        }
        Ok(if events > cancel_after { Control::Stop } else { Control::Continue })
    })?;
    assert_eq!((generation.nfe, generation.prefill_passes), (passes, prefill), "passes");
    assert!(generation.tokens.len() <= request.max_new, "{} tokens", generation.tokens.len());
    assert!(generation.tokens.iter().all(|&id| id != mask && (id as usize) < vocab), "{generation:?}");
    let known = |ids: &[u32]| ids.iter().filter(|&&id| id != mask).count();
    let (before, after) = (known(request.prompt), known(&generation.canvas));
    assert_eq!(after, before + revealed, "positions that are known");
    let kept = request.prompt.iter().zip(&generation.canvas).all(|(a, b)| *a == mask || a == b);
    assert!(kept, "the prompt was changed: {:?}", generation.canvas);
    assert!(passes - prefill <= 4 * generation.canvas.len() + 4, "{passes} passes for {generation:?}");
    Ok(generation)
}
