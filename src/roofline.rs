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
/// Streams of a thread: as many as a tile of few rows has.
const STREAMS: usize = 8;
/// How often everything is measured. The best counts: others may use the machine, too.
const REPETITIONS: usize = 8;

/// Reads the buffer once, apart from a remainder that does not fill a page of every stream; returns the number of bytes read.
pub fn read(exec: &dyn Executor, buffer: &[u64]) -> usize {
    let width = exec.width();
    let stream = buffer.len() / (width * STREAMS) / PAGE * PAGE;
    exec.run(width, &|i| {
        let part = &buffer[i * STREAMS * stream..][..STREAMS * stream];
        let mut sums = [0u64; 16];
        for at in (0..stream).step_by(PAGE) {
            for stream in part.chunks_exact(stream) {
                for line in stream[at..][..PAGE].as_chunks::<16>().0 {
                    for (sum, x) in sums.iter_mut().zip(line) {
                        *sum ^= x;
                    }
                }
            }
        }
        black_box(sums);
    });
    width * STREAMS * stream * size_of::<u64>()
}

/// How fast all threads together read memory, in bytes per second. Takes [`BUFFER_BYTES`] of memory and less than a second.
pub fn bandwidth(exec: &dyn Executor) -> f64 {
    let mut buffer = vec![0u64; BUFFER_BYTES / size_of::<u64>()];
    let share = buffer.len().div_ceil(exec.width());
    // Pages are there once they are written, near the thread that writes them.
    split(exec, &mut buffer, share, |_, part| part.fill(1));
    best_rate(|| read(exec, &buffer) as f64)
}

/// How fast all threads together multiply with the instructions for weights of `format`, in operations per second: a
/// multiplication and an addition are two.
pub fn peak(kernels: &Kernels, exec: &dyn Executor, format: Format) -> f64 {
    best_rate(|| kernels.spin(exec, format) as f64)
}

/// The largest amount of `work` per second.
fn best_rate(work: impl Fn() -> f64) -> f64 {
    let rate = |_| {
        let start = Instant::now();
        work() / start.elapsed().as_secs_f64()
    };
    (0..REPETITIONS).map(rate).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Serial, Threads};

    #[test]
    fn a_buffer_is_read_whole_pages_of_every_stream_at_a_time() {
        let buffer = vec![1u64; 10 * STREAMS * PAGE + 17];
        assert_eq!(read(&Serial, &buffer), 10 * STREAMS * PAGE * 8);
        assert_eq!(read(&Threads::new(3), &buffer), 9 * STREAMS * PAGE * 8);
        assert_eq!(read(&Serial, &buffer[..STREAMS * PAGE - 1]), 0);
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
