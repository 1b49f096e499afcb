//! What `-V` and `--version` say.

use diffulex::kernels::{LEVEL_VARIABLE, Level};
use std::sync::LazyLock;

/// The version alone.
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The version, the levels that are compiled in, those of this CPU, and the one that will run.
pub fn long_version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let levels: Vec<_> = Level::available().into_iter().map(Level::name).collect();
        format!(
            "{}\nlevels compiled in:   {}\nlevels of this cpu:   {}\nlevel that is used:   {}",
            version(),
            Level::compiled().join(", "),
            levels.join(", "),
            chosen()
        )
    });
    &VERSION
}

/// The level that runs if no option says otherwise, and whether the environment chose it.
pub(super) fn chosen() -> String {
    let lowered = if std::env::var_os(LEVEL_VARIABLE).is_some() { " (by DIFFULEX_LEVEL)" } else { "" };
    Level::from_env().map_or_else(|error| error.to_string(), |level| format!("{}{lowered}", level.name()))
}
