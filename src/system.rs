//! What is requested from the system beyond the standard library: large pages, and the CPU time of a thread. On Linux;
//! elsewhere pages stay as they are, and time is wall-clock time.

use std::time::Instant;

/// Bytes of a large page of x86-64, and of aarch64 with small pages of 4 KiB.
pub(crate) const LARGE_PAGE: usize = 2 << 20;

/// Requests large pages for `memory`, as far as whole ones fit, where nothing has been written yet. With small ones, GEMMs whose
/// weights come from memory wait for translations of addresses: a third of their time in a virtual machine.
pub(crate) fn prefer_large_pages<T>(memory: &mut [T]) {
    let (bytes, start) = (size_of_val(memory), memory.as_mut_ptr().cast::<u8>());
    let before = start.align_offset(LARGE_PAGE);
    let length = bytes.saturating_sub(before) / LARGE_PAGE * LARGE_PAGE;
    if length > 0 {
        linux::huge_pages(start.wrapping_add(before), length);
    }
}

/// The CPU time of this thread from now on. That of other programs on the same core does not count, where the system can tell.
pub(crate) struct Stopwatch {
    wall: Instant,
    cpu: Option<f64>,
}

impl Stopwatch {
    /// Starts.
    pub(crate) fn start() -> Self {
        Self { wall: Instant::now(), cpu: linux::thread_seconds() }
    }

    /// Seconds since then, on the thread that started it.
    pub(crate) fn seconds(&self) -> f64 {
        match (self.cpu, linux::thread_seconds()) {
            (Some(start), Some(now)) => now - start,
            _ => self.wall.elapsed().as_secs_f64(),
        }
    }
}

#[cfg(all(target_os = "linux", target_pointer_width = "64", not(miri)))]
mod linux {
    use std::ffi::{c_int, c_void};

    unsafe extern "C" {
        fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int;
        fn clock_gettime(clock: c_int, time: *mut [i64; 2]) -> c_int;
    }

    const MADV_HUGEPAGE: c_int = 14;
    const CLOCK_THREAD_CPUTIME_ID: c_int = 3;

    pub(super) fn huge_pages(start: *mut u8, length: usize) {
        // SAFETY: this advice changes neither what the memory holds nor who may access it, wherever it lies. A system
        // without large pages refuses, which changes nothing.
        unsafe { madvise(start.cast(), length, MADV_HUGEPAGE) };
    }

    /// The time that this thread has had so far.
    pub(super) fn thread_seconds() -> Option<f64> {
        let mut time = [0; 2];
        // SAFETY: seconds and nanoseconds are two numbers of 64 bits on the systems of this module.
        let status = unsafe { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &mut time) };
        (status == 0).then(|| time[0] as f64 + time[1] as f64 * 1e-9)
    }
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", not(miri))))]
mod linux {
    pub(super) fn huge_pages(_: *mut u8, _: usize) {}

    pub(super) fn thread_seconds() -> Option<f64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_a_thread_is_what_it_worked() {
        let (watch, start) = (Stopwatch::start(), Instant::now());
        std::thread::sleep(std::time::Duration::from_millis(20));
        let worked = watch.seconds();
        assert!((0.0..=start.elapsed().as_secs_f64() + 1e-3).contains(&worked), "{worked}");
        if watch.cpu.is_some() {
            assert!(worked < 0.015, "{worked} s while asleep");
        }
    }

    #[test]
    fn large_pages_leave_the_contents_alone() {
        for len in [0, 1, LARGE_PAGE - 1, 3 * LARGE_PAGE + 5] {
            let mut memory: Vec<u8> = (0..len).map(|i| i as u8).collect();
            prefer_large_pages(&mut memory);
            assert!(memory.iter().enumerate().all(|(i, &x)| x == i as u8), "{len} bytes");
        }
    }
}
