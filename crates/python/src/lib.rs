//! The extension module of `python/diffulex`. Its doc comments are its Python documentation.
//!
//! A thin layer: what Python gives becomes what the library takes (`arguments.rs`), what the library returns becomes values of
//! `diffulex._types` (`values.rs`), an [`Error`](diffulex::Error) or a panic becomes an exception (`error.rs`). Passes run without
//! Python's global lock; signals are handled between two of them (`steps.rs`). Our own locks are never waited for while that one is held,
//! so that a process may fork at any time.

mod arguments;
mod decide;
mod engine;
mod error;
mod many;
mod model;
mod numbers;
mod question;
mod session;
mod steps;
mod values;

use pyo3::prelude::*;

/// What `import diffulex` finds.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::engine::Engine;
    #[pymodule_export]
    use crate::model::Model;
    #[pymodule_export]
    use crate::session::Session;
    #[pymodule_export]
    use crate::steps::Steps;

    use pyo3::prelude::*;

    /// The version of the library.
    #[pyfunction]
    fn version() -> &'static str {
        env!("CARGO_PKG_VERSION")
    }
}
