//! SIMD inference for diffusion language models (SDAR, Fast-dLLM v2, Dream, LLaDA) on ordinary CPUs.
//!
//! Without default features the crate depends on nothing but std. Open a checkpoint with [`Engine::open`], decode with
//! [`Session::generate`], or bring a loop of your own on top of [`Session::forward`] and [`Session::logits`]. With the default features
//! [`Model`] goes from text to text: its `open` has examples of answers, conversations, batches, decisions and bound answers.
//!
//! ```
//! use diffulex::{Control, Engine, Request};
//!
//! let engine = Engine::open("demo/sdar")?;
//! // "What is 27 + 45?" in the format of the demo model.
//! let question = [685, 574, 198, 302, 281, 220, 17, 22, 292, 220, 19, 20, 30, 686, 198, 685, 620, 198];
//! let policy = engine.default_policy();
//! let request = Request { stop: engine.stop(), ..Request::new(&question, 32, &policy) };
//! let answer = engine.session()?.generate(&request, &mut |_event| Ok(Control::Continue))?;
//! assert!(answer.new_tokens() > 0 && answer.decode_passes() < answer.new_tokens());
//! # Ok::<(), diffulex::Error>(())
//! ```
//!
//! From the bottom up: [`dtype`], [`bytes`] and [`exec`] are plain storage and threads; [`tensor`] and [`json`] give them
//! shape; [`quant`] says how weights are stored; [`kernels`] compute on slices and [`weights`] reads files; [`cache`] keeps keys
//! and values, and [`roofline`] measures what the machine can do; [`model`] is the transformer and [`sampler`] the decoding
//! policies, neither of which sees the other; [`engine`] brings them together, and [`text`] turns ids into words;
//! [`text_model`] goes from text to text. A module
//! uses only what comes before it in this list. Programs, the C interface and the comparison with recordings are crates of their own.

pub mod bytes;
pub mod cache;
pub mod dtype;
pub mod engine;
pub mod error;
pub mod exec;
mod files;
pub mod json;
pub mod kernels;
pub mod model;
pub mod quant;
pub mod roofline;
pub mod sampler;
mod system;
pub mod tensor;
pub mod text;
pub mod text_model;
pub mod weights;

pub use engine::{Control, Engine, EngineBuilder, Event, Generation, Request, Session};
pub use error::{Error, Result};
pub use exec::Executor;
pub use model::Architecture;
pub use sampler::Policy;
pub use text_model::Model;
pub use weights::TensorSource;

#[cfg(not(all(target_endian = "little", target_pointer_width = "64")))]
compile_error!(
    "diffulex reads little-endian files in place and addresses more than 4 GB: it needs a little-endian 64-bit target"
);
