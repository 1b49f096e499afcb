//! What this machine can do at most, measured: how fast all threads together read memory, and how fast they multiply.
//!
//! A pass that touches `bytes` and computes `operations` takes at least `max(bytes / bandwidth, operations / peak)`.
//! Machines share memory and clocks with others, so compare only with what was measured in the same run.
//!
//! # Source
//! Williams, Waterman, Patterson: Roofline, an insightful visual performance model for multicore architectures (2009).
#![forbid(unsafe_code)]

use crate::exec::{Executor, split};
use crate::kernels::Kernels;
use crate::quant::Format;
use std::hint::black_box;
use std::time::Instant;

/// Size of the buffer that [`bandwidth`] reads, in bytes: more than third-level caches hold.
pub const BUFFER_BYTES: usize = 512 << 20;
/// Numbers that are read from a stream before the next one: a page.
const PAGE: usize = 4096 / size_of::<u64>();
/// Numbers of streams of a thread that [`bandwidth`] tries: CPUs differ in how many they read fastest.
const STREAMS: [usize; 4] = [1, 2, 4, 8];
/// How often everything is measured. The best counts: others may use the machine, too. Peaks are measured in many short runs, since a
/// long one hardly ever has the cores for itself.
const READS: usize = 8;
const SPINS: usize = 64;

/// Reads the buffer once, every thread `streams` parts of it a page at a time in turns, apart from a remainder that does not fill a page
/// of every stream; returns the number of bytes read.
///
/// # Panics
/// If `streams` is 0.
pub fn read(exec: &dyn Executor, buffer: &[u64], streams: usize) -> usize {
    let width = exec.width();
    let stream = buffer.len() / (width * streams) / PAGE * PAGE;
    exec.run(width, &|i| {
        let part = &buffer[i * streams * stream..][..streams * stream];
        let mut sums = [0u64; 16];
        for at in (0..stream).step_by(PAGE) {
            for stream in part.chunks_exact(stream.max(1)) {
                for line in stream[at..][..PAGE].as_chunks::<16>().0 {
                    for (sum, x) in sums.iter_mut().zip(line) {
                        *sum ^= x;
                    }
                }
            }
        }
        black_box(sums);
    });
    width * streams * stream * size_of::<u64>()
}

/// How fast all threads together read memory with the number of streams that reads fastest, in bytes per second. Takes
/// [`BUFFER_BYTES`] of memory and about a second.
pub fn bandwidth(exec: &dyn Executor) -> f64 {
    let mut buffer = vec![0u64; BUFFER_BYTES / size_of::<u64>()];
    let share = buffer.len().div_ceil(exec.width());
    // Pages are there once they are written, near the thread that writes them.
    split(exec, &mut buffer, share, |_, part| part.fill(1));
    STREAMS
        .iter()
        .map(|&streams| best_rate(READS, || read(exec, &buffer, streams) as f64))
        .fold(0.0, f64::max)
}

/// How fast all threads together multiply with the instructions for weights of `format`, in operations per second: a
/// multiplication and an addition are two.
pub fn peak(kernels: &Kernels, exec: &dyn Executor, format: Format) -> f64 {
    best_rate(SPINS, || kernels.spin(exec, format) as f64)
}

/// The largest amount of `work` per second in so many runs.
fn best_rate(repetitions: usize, work: impl Fn() -> f64) -> f64 {
    let rate = |_| {
        let start = Instant::now();
        work() / start.elapsed().as_secs_f64()
    };
    (0..repetitions).map(rate).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Serial, Threads};

    #[test]
    fn a_buffer_is_read_whole_pages_of_every_stream_at_a_time() {
        for streams in STREAMS {
            let buffer = vec![1u64; 10 * streams * PAGE + 17];
            assert_eq!(read(&Serial, &buffer, streams), 10 * streams * PAGE * 8);
            assert_eq!(read(&Threads::new(3), &buffer, streams), 9 * streams * PAGE * 8);
            assert_eq!(read(&Serial, &buffer[..streams * PAGE - 1], streams), 0);
        }
    }

    #[test]
    fn every_unit_counts_the_operations_of_every_thread() {
        let two = Threads::new(2);
        for kernels in Kernels::available() {
            for format in ["f32", "q4g64", "q8g64"].map(|name| Format::from_name(name).unwrap()) {
                let one = kernels.spin(&Serial, format);
                assert!(one > 0, "{format} on {}", kernels.unit_name(format));
                assert_eq!(kernels.spin(&two, format), 2 * one, "{format} on {}", kernels.unit_name(format));
            }
        }
    }
}
