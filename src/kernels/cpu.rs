//! [`Cpu`]: a description of this CPU for reports.

use super::simd;
use std::fmt;

/// What this CPU has. `Display` gives one line for reports.
#[derive(Clone, Debug)]
pub struct Cpu {
    features: Vec<&'static str>,
}

impl Cpu {
    /// Queries the CPU and the operating system.
    pub fn detect() -> Self {
        Self { features: simd::features() }
    }

    /// The instruction set extensions found, by their usual names.
    pub fn features(&self) -> &[&'static str] {
        &self.features
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::env::consts::ARCH)?;
        for (i, feature) in self.features.iter().enumerate() {
            write!(f, "{}{feature}", if i == 0 { ": " } else { " " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Level;

    #[test]
    fn the_description_names_what_the_level_needs() {
        let text = Cpu::detect().to_string();
        assert!(text.starts_with(std::env::consts::ARCH), "{text}");
        let needed = match Level::detect().name() {
            "scalar" => "",
            "neon" => ": neon",
            _ => ": avx2 fma f16c",
        };
        assert!(text.contains(needed), "{text}");
    }
}
