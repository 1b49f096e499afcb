//! Arguments of the C interface: structs of every size that a program of another version might hand over, strings, ids.

use arbitrary::{Result, Unstructured};
use diffulex::Policy;
use diffulex::engine::options::OPTIONS;
use diffulex_capi::{Files, Generation, Info, Options, Request};
use std::ffi::{CStr, CString, c_char};
use std::ptr::null;

/// Bytes that a newer version of a struct might have.
const NEWER: usize = 16;

/// A struct that begins with its size, and the members of a newer version after it.
#[repr(C)]
pub(crate) struct AnyVersion<T> {
    value: T,
    newer: [u8; NEWER],
}

impl<T> AnyVersion<T> {
    /// All zero but the size.
    pub(crate) fn zeroed() -> Self {
        // SAFETY: the structs of the interface are numbers and pointers.
        let mut new: Self = unsafe { std::mem::zeroed() };
        new.set_size(size_of::<T>());
        new
    }

    /// As [`Self::zeroed`], of this version or another.
    fn new(u: &mut Unstructured<'_>) -> Result<Self> {
        let mut new = Self::zeroed();
        if u.ratio(1, 8)? {
            new.set_size(u.int_in_range(0..=size_of::<Self>())?);
            u.fill_buffer(&mut new.newer[NEWER - 1..])?;
        }
        Ok(new)
    }

    fn set_size(&mut self, size: usize) {
        // SAFETY: the structs of the interface begin with their size.
        unsafe { (&raw mut self.value).cast::<usize>().write(size) };
    }

    /// The whole struct is known to the caller.
    pub(crate) fn is_whole(&self) -> bool {
        // SAFETY: as above.
        unsafe { (&raw const self.value).cast::<usize>().read() >= size_of::<T>() }
    }

    pub(crate) fn value(&self) -> &T {
        &self.value
    }

    pub(crate) fn as_ptr(&self) -> *const T {
        // Of the whole, so that the newer members may be read through it.
        (&raw const *self).cast()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut T {
        (&raw mut *self).cast()
    }
}

pub(crate) fn info(u: &mut Unstructured<'_>) -> Result<AnyVersion<Info>> {
    AnyVersion::new(u)
}

pub(crate) fn generation(u: &mut Unstructured<'_>) -> Result<AnyVersion<Generation>> {
    AnyVersion::new(u)
}

/// Files that are copied: what is borrowed would have to outlive sessions.
pub(crate) fn files(
    u: &mut Unstructured<'_>,
    config: &[u8],
    generation: Option<&[u8]>,
    weights: &[u8],
) -> Result<AnyVersion<Files>> {
    let mut files = AnyVersion::<Files>::new(u)?;
    let generation = generation.unwrap_or_default();
    files.value = Files {
        config: config.as_ptr().cast(),
        config_len: config.len(),
        generation_config: if generation.is_empty() { null() } else { generation.as_ptr().cast() },
        generation_config_len: generation.len(),
        weights: weights.as_ptr().cast(),
        weights_len: weights.len(),
        borrow: 0,
        ..files.value
    };
    Ok(files)
}

pub(crate) fn generation_config(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let known = [r#"{"eos_token_id":[3],"temperature":0.5}"#, r#"{"top_p":0.9,"top_k":4}"#, "{}"];
    let mut json = u.choose(&known)?.as_bytes().to_vec();
    if u.ratio(1, 4)? {
        crate::engine::damage(u, &mut json)?;
    }
    Ok(json)
}

/// What the strings and ids of options point to.
pub(crate) struct Texts {
    texts: [Option<&'static CStr>; 4],
    ids: Vec<u32>,
}

impl Texts {
    pub(crate) fn new(u: &mut Unstructured<'_>) -> Result<Self> {
        const LEVELS: [&CStr; 4] = [c"scalar", c"avx2", c"neon", c"none"];
        const ACTIVATIONS: [&CStr; 4] = [c"auto", c"f32", c"int8", c"\xff"];
        const KV: [&CStr; 3] = [c"f16", c"f32", c"bf16"];
        const FORMATS: [&CStr; 6] = [c"int4", c"int8", c"int4:32", c"int8:row", c"bf16", c"int4:0"];
        let texts = [one(u, &LEVELS)?, one(u, &ACTIVATIONS)?, one(u, &KV)?, one(u, &FORMATS)?];
        Ok(Self { texts, ids: ids(u, 20)? })
    }
}

/// One of them in every fourth case.
fn one(u: &mut Unstructured<'_>, texts: &[&'static CStr]) -> Result<Option<&'static CStr>> {
    if u.ratio(1, 4)? { u.choose(texts).copied().map(Some) } else { Ok(None) }
}

fn pointer(text: Option<&CStr>) -> *const c_char {
    text.map_or(null(), CStr::as_ptr)
}

pub(crate) fn options(u: &mut Unstructured<'_>, texts: &Texts) -> Result<AnyVersion<Options>> {
    let mut options = AnyVersion::<Options>::new(u)?;
    let [level, activations, kv, quantize] = texts.texts.map(pointer);
    options.value = Options {
        level,
        activations,
        kv,
        quantize,
        // More would only start and end threads.
        threads: if u.ratio(1, 16)? { 1025 } else { u.int_in_range(1..=2)? },
        context: if u.ratio(1, 8)? { u.arbitrary()? } else { u.int_in_range(0..=64)? },
        mask: if u.ratio(1, 8)? { texts.ids.as_slice().first().map_or(null(), |id| id) } else { null() },
        stop: if u.arbitrary()? { texts.ids.as_ptr() } else { null() },
        stop_len: if u.arbitrary()? { texts.ids.len() } else { 0 },
        token_limit: if u.ratio(1, 8)? { u.int_in_range(0..=24)? } else { 0 },
        ..options.value
    };
    Ok(options)
}

pub(crate) fn request(
    u: &mut Unstructured<'_>,
    prompt: &[u32],
    stop: &[u32],
    policy: Option<&CStr>,
) -> Result<AnyVersion<Request>> {
    let mut request = AnyVersion::<Request>::new(u)?;
    request.value = Request {
        prompt: if u.ratio(1, 16)? { null() } else { prompt.as_ptr() },
        prompt_len: prompt.len(),
        max_new: if u.ratio(1, 8)? { u.arbitrary()? } else { u.int_in_range(0..=16)? },
        policy: pointer(policy),
        stop: if u.arbitrary()? { stop.as_ptr() } else { null() },
        stop_len: if u.arbitrary()? { stop.len() } else { 0 },
        seed: u.arbitrary()?,
        padding: if u.ratio(1, 8)? { u.int_in_range(0..=12)? } else { 0 },
        ..request.value
    };
    Ok(request)
}

/// Up to twelve ids, rarely one outside the vocabulary.
pub(crate) fn ids(u: &mut Unstructured<'_>, vocab: usize) -> Result<Vec<u32>> {
    let len = u.int_in_range(0..=12)?;
    let limit = vocab as u32 + u32::from(u.ratio(1, 8)?);
    Ok(crate::bytes(u, len)?.into_iter().map(|byte| u32::from(byte) % limit).collect())
}

/// Names, keys and values of policies, and words that are not.
pub(crate) fn policy(u: &mut Unstructured<'_>) -> Result<Option<CString>> {
    let keys: Vec<_> = OPTIONS.iter().map(|option| option.name).chain(["unknown"]).collect();
    const VALUES: [&str; 18] = [
        "0",
        "1",
        "2",
        "4",
        "8",
        "0.5",
        "0.9",
        "1.5",
        "-1",
        "1e9",
        "nan",
        "true",
        "none",
        "prefix",
        "dual",
        "block",
        "probability",
        "",
    ];
    if u.ratio(1, 4)? {
        return Ok(None);
    }
    let mut text = String::new();
    if u.arbitrary()? {
        let names: Vec<_> = Policy::names().map(|(name, _)| name).chain(["no-policy"]).collect();
        text += u.choose(&names)?;
    }
    for _ in 0..u.int_in_range(0..=3)? {
        text += &format!(" {}={}", u.choose(&keys)?, u.choose(&VALUES)?);
    }
    Ok(Some(CString::new(text).expect("no NUL")))
}
