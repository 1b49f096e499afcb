//! [`Part`]: a part of a kernel that is a function of its own.
//!
//! Kernels are inlined into the functions that have the instructions of a token, loop for loop and shape for shape. Some of the compiler's
//! passes take quadratic time over functions with thousands of loops, and what two kernels have in common is compiled twice. So the
//! inner loop nests are parts: without them, the library takes 2.5 times as long to build. A part is a call, so it should not be too short: with a
//! part for every single tile of a few steps, int4 GEMMs of 32 and 128 rows were 2 to 5 % slower.

/// A part of a kernel.
pub(crate) trait Part {
    /// Runs it. Must be `#[inline(always)]`.
    ///
    /// # Safety
    /// What the values of the part point to is there, as the part says.
    unsafe fn run(self);
}

/// Tokens: they run parts in code compiled for their instructions.
pub(crate) trait Parts: Copy {
    /// Runs a part, which is not inlined.
    ///
    /// # Safety
    /// As [`Part::run`].
    unsafe fn part<P: Part>(self, part: P);
}

/// Gives a token [`Parts`].
macro_rules! parts {
    ($token:ty $(, $features:literal)?) => {
        impl $crate::kernels::simd::Parts for $token {
            #[inline(always)]
            unsafe fn part<P: $crate::kernels::simd::Part>(self, part: P) {
                $(#[target_feature(enable = $features)])?
                #[inline(never)]
                unsafe fn enter<P: $crate::kernels::simd::Part>(part: P) {
                    // SAFETY: the caller's contract.
                    unsafe { part.run() }
                }
                // SAFETY: the token proves the features, if there are any; the caller's contract.
                unsafe { enter(part) }
            }
        }
    };
}
pub(super) use parts;
