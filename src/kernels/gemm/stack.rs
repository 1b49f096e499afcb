//! [`StackBuffer`]: memory for a task without an allocation.

use std::mem::MaybeUninit;

/// A buffer on the stack, not zeroed: that would cost more than the GEMM of a small task.
#[repr(align(64))]
pub(in crate::kernels) struct StackBuffer<const LEN: usize>([MaybeUninit<f32>; LEN]);

impl<const LEN: usize> StackBuffer<LEN> {
    #[inline(always)]
    pub(in crate::kernels) fn new() -> Self {
        Self([MaybeUninit::uninit(); LEN])
    }

    /// A pointer to element `at` and all after it.
    #[inline(always)]
    pub(in crate::kernels) fn get(&mut self, at: usize) -> *mut f32 {
        self.0[at..].as_mut_ptr().cast()
    }
}
