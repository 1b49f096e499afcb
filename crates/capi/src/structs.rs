//! The structs of the header, member by member. `tests/capi` compares names, order and offsets with what a C compiler sees.

use std::ffi::{c_char, c_int, c_void};

/// A struct that begins with its own size, as the header says.
///
/// # Safety
/// `repr(C)`, the first member is `struct_size: usize`, no padding is ever read, and every bit pattern is a value (numbers,
/// pointers, optional functions).
pub(super) unsafe trait Versioned: Copy {
    /// What messages call it.
    const NAME: &'static str;
    /// `sizeof` in the first version, in bytes. Never changes.
    const FIRST: usize;
}

/// `DIFFULEX_ROW_*`: row `i` of the logits predicts position `i`.
pub const ROW_OWN: i32 = 0;
/// Row `i` of the logits predicts position `i + 1`.
pub const ROW_BEFORE: i32 = 1;
/// Row `i` of the logits predicts position `i`, but the first position of a block is predicted by the last row of the causal pass
/// before it.
pub const ROW_SEEDED: i32 = 2;
/// `DIFFULEX_EVENT_*`: a forward pass begins.
pub const EVENT_PASS: i32 = 0;
/// Masks became tokens.
pub const EVENT_REVEALED: i32 = 1;
/// A block is finished.
pub const EVENT_BLOCK: i32 = 2;
/// `DIFFULEX_PASS_*`: keys and values of the prompt.
pub const PASS_PREFILL: i32 = 0;
/// Candidates for masks.
pub const PASS_DENOISE: i32 = 1;
/// Keys and values of a finished block.
pub const PASS_COMMIT: i32 = 2;
/// `DIFFULEX_STOP_*`: as many tokens as requested were generated.
pub const STOP_LENGTH: i32 = 0;
/// A stop id was generated.
pub const STOP_TOKEN: i32 = 1;
/// The callback requested it.
pub const STOP_CANCELLED: i32 = 2;
/// A stop string ended the text.
pub const STOP_STRING: i32 = 3;
/// `DIFFULEX_VISIBLE_*`: the model's own rule.
pub const VISIBLE_RULE: i32 = 0;
/// Everything up to the end of the pass.
pub const VISIBLE_ALL: i32 = 1;

/// `diffulex_options`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of the struct that the caller knows.
    pub struct_size: usize,
    /// Instruction set.
    pub level: *const c_char,
    /// What quantized weights are multiplied by.
    pub activations: *const c_char,
    /// Element type of keys and values.
    pub kv: *const c_char,
    /// Mapped or read.
    pub storage: *const c_char,
    /// Format to quantize to while loading.
    pub quantize: *const c_char,
    /// Threads.
    pub threads: usize,
    /// Positions of a session.
    pub context: usize,
    /// The mask id.
    pub mask: *const u32,
    /// Ids that end the answer.
    pub stop: *const u32,
    /// How many.
    pub stop_len: usize,
    /// Ids from here on are not tokens.
    pub token_limit: usize,
}

// SAFETY: see the definition: repr(C), its size first, numbers and pointers.
unsafe impl Versioned for Options {
    const NAME: &'static str = "diffulex_options";
    const FIRST: usize = 96;
}

/// `diffulex_files`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Files {
    /// Bytes of the struct that the caller knows.
    pub struct_size: usize,
    /// config.json.
    pub config: *const c_void,
    /// Its bytes.
    pub config_len: usize,
    /// generation_config.json.
    pub generation_config: *const c_void,
    /// Its bytes.
    pub generation_config_len: usize,
    /// A safetensors file.
    pub weights: *const c_void,
    /// Its bytes.
    pub weights_len: usize,
    /// Whether the weights stay where they are.
    pub borrow: i32,
}

// SAFETY: see the definition: repr(C), its size first, numbers and pointers.
unsafe impl Versioned for Files {
    const NAME: &'static str = "diffulex_files";
    const FIRST: usize = 64;
}

/// `diffulex_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// Bytes of the struct that the caller knows.
    pub struct_size: usize,
    /// Name of the family.
    pub family: *const c_char,
    /// Name of the policy that the model was published with.
    pub policy: *const c_char,
    /// Instruction set.
    pub level: *const c_char,
    /// What quantized weights are multiplied by.
    pub activations: *const c_char,
    /// Element type of keys and values.
    pub kv: *const c_char,
    /// Format of the block matrices.
    pub weights: *const c_char,
    /// Logits in a row.
    pub vocab: usize,
    /// Positions of a session.
    pub context: usize,
    /// Threads.
    pub threads: usize,
    /// Positions in a block; 0 for a bidirectional model.
    pub block: usize,
    /// Blocks of the transformer.
    pub layers: usize,
    /// Parameters.
    pub parameters: usize,
    /// Bytes of the weights.
    pub weight_bytes: usize,
    /// The mask id, or -1.
    pub mask: i64,
    /// Ids that end the answer.
    pub stop: *const u32,
    /// How many.
    pub stop_len: usize,
    /// [`ROW_OWN`], [`ROW_BEFORE`] or [`ROW_SEEDED`].
    pub alignment: i32,
}

// SAFETY: see the definition: repr(C), its size first, numbers and pointers.
unsafe impl Versioned for Info {
    const NAME: &'static str = "diffulex_info";
    const FIRST: usize = 144;
}

/// `diffulex_request`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Bytes of the struct that the caller knows.
    pub struct_size: usize,
    /// Token ids.
    pub prompt: *const u32,
    /// How many.
    pub prompt_len: usize,
    /// Positions after the prompt.
    pub max_new: usize,
    /// A policy as a string.
    pub policy: *const c_char,
    /// Ids that end the text.
    pub stop: *const u32,
    /// How many.
    pub stop_len: usize,
    /// Seed of every random number.
    pub seed: u64,
    /// Positions at the start that must not be attended to.
    pub padding: usize,
}

// SAFETY: see the definition: repr(C), its size first, numbers and pointers.
unsafe impl Versioned for Request {
    const NAME: &'static str = "diffulex_request";
    const FIRST: usize = 72;
}

/// `diffulex_token`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Token {
    /// Absolute position.
    pub position: usize,
    /// How sure the model is.
    pub score: f64,
    /// The token.
    pub id: u32,
}

/// `diffulex_event`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Bytes of this struct.
    pub struct_size: usize,
    /// [`EVENT_PASS`], [`EVENT_REVEALED`] or [`EVENT_BLOCK`].
    pub kind: i32,
    /// [`PASS_PREFILL`], [`PASS_DENOISE`] or [`PASS_COMMIT`].
    pub pass: i32,
    /// Passes before this one.
    pub pass_index: usize,
    /// First position of the pass or the block.
    pub begin: usize,
    /// One past the last.
    pub end: usize,
    /// Positions from the cache.
    pub cached: usize,
    /// The sequence.
    pub canvas: *const u32,
    /// Its positions.
    pub canvas_len: usize,
    /// Positions of the prompt.
    pub prompt_len: usize,
    /// What was revealed, and after that tokens that took the place of others (policies that edit).
    pub tokens: *const Token,
    /// How many.
    pub tokens_len: usize,
    /// What was drawn.
    pub candidates: *const Token,
    /// How many.
    pub candidates_len: usize,
    /// The mask id.
    pub mask: u32,
}

/// `diffulex_callback`.
pub type Callback = Option<unsafe extern "C" fn(event: *const Event, user_data: *mut c_void) -> c_int>;

/// `diffulex_generation`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Generation {
    /// Bytes of the struct that the caller knows.
    pub struct_size: usize,
    /// New tokens.
    pub tokens: *const u32,
    /// How many.
    pub tokens_len: usize,
    /// The sequence.
    pub canvas: *const u32,
    /// Its positions.
    pub canvas_len: usize,
    /// New tokens, those filled into the prompt included.
    pub new_tokens: usize,
    /// Forward passes.
    pub nfe: usize,
    /// Forward passes over the prompt.
    pub prefill_passes: usize,
    /// Seconds over the prompt.
    pub prefill_seconds: f64,
    /// Seconds of everything else.
    pub decode_seconds: f64,
    /// What was kept between steps.
    pub cache: *const c_char,
    /// [`STOP_LENGTH`], [`STOP_TOKEN`] or [`STOP_CANCELLED`].
    pub stop_reason: i32,
    /// The stop id.
    pub stop_id: u32,
}

// SAFETY: see the definition: repr(C), its size first, numbers and pointers.
unsafe impl Versioned for Generation {
    const NAME: &'static str = "diffulex_generation";
    const FIRST: usize = 96;
}
