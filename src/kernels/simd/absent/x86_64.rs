//! The tokens of x86-64 in a build for another architecture.

use super::{AmxOp, DotOp, Op, TileOp, absent};

absent! {
    /// The token of the `avx2` level, which does not exist on this architecture.
    pub Avx2: row: Op, tile: TileOp, dots: DotOp;
    /// The token of the `avx512` level, which does not exist on this architecture.
    pub Avx512: row: Op, tile: TileOp;
    /// The token of the `amx` level, which does not exist on this architecture.
    pub Amx:;
    pub(crate) AvxVnni: dots: DotOp;
    pub(crate) Avx512Vnni: dots: DotOp;
}

impl Avx2 {
    /// None.
    pub fn new() -> Option<Self> {
        None
    }
}

impl Avx512 {
    /// None.
    pub fn new() -> Option<Self> {
        None
    }
}

impl Amx {
    /// None.
    pub fn new(level: Avx512) -> Option<Self> {
        match level.0 {}
    }

    pub(crate) fn dots(self) -> Avx512Vnni {
        match self.0 {}
    }

    pub(crate) fn float(self) -> Avx512 {
        match self.0 {}
    }

    pub(crate) fn tiles<O: AmxOp>(self, _: O) {
        match self.0 {}
    }
}

impl AvxVnni {
    pub(crate) fn new(level: Avx2) -> Option<Self> {
        match level.0 {}
    }
}

impl Avx512Vnni {
    pub(crate) fn new(level: Avx512) -> Option<Self> {
        match level.0 {}
    }
}

pub(crate) fn features() -> Vec<&'static str> {
    Vec::new()
}
