//! [`Bf16`] and [`F16`] as the ecosystem knows them: `half`'s types, `bytemuck`'s traits.

use super::{Bf16, F16};

#[cfg(feature = "bytemuck")]
mod pod {
    use super::{Bf16, F16};

    // SAFETY: transparent wrappers of u16: zero is a value, every pattern is one, there is no padding.
    unsafe impl bytemuck::Zeroable for Bf16 {}
    // SAFETY: as above.
    unsafe impl bytemuck::Pod for Bf16 {}
    // SAFETY: as above.
    unsafe impl bytemuck::Zeroable for F16 {}
    // SAFETY: as above.
    unsafe impl bytemuck::Pod for F16 {}
}

#[cfg(feature = "half")]
mod convert {
    use super::{Bf16, F16};

    impl From<half::bf16> for Bf16 {
        fn from(x: half::bf16) -> Self {
            Self(x.to_bits())
        }
    }

    impl From<Bf16> for half::bf16 {
        fn from(x: Bf16) -> Self {
            Self::from_bits(x.0)
        }
    }

    impl From<half::f16> for F16 {
        fn from(x: half::f16) -> Self {
            Self(x.to_bits())
        }
    }

    impl From<F16> for half::f16 {
        fn from(x: F16) -> Self {
            Self::from_bits(x.0)
        }
    }
}
