//! The tokens of 64-bit Arm in a build for another architecture.

use super::{DotOp, Op, TileOp, absent};

absent! {
    /// The token of the `neon` level, which does not exist on this architecture.
    pub Neon: row: Op, tile: TileOp, dots: DotOp;
    pub(crate) NeonDot: dots: DotOp;
    pub(crate) NeonI8mm: dots: DotOp;
}

impl Neon {
    /// None.
    pub fn new() -> Option<Self> {
        None
    }
}

impl NeonDot {
    pub(crate) fn new(level: Neon) -> Option<Self> {
        match level.0 {}
    }
}

impl NeonI8mm {
    pub(crate) fn new(dots: NeonDot) -> Option<Self> {
        match dots.0 {}
    }
}

pub(crate) fn features() -> Vec<&'static str> {
    Vec::new()
}
