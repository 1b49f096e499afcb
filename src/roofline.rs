//! The most that this machine can do, as measured: how fast all threads together read memory, and how fast they multiply.
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
use crate::system::{Stopwatch, prefer_large_pages};
use std::hint::black_box;
use std::time::Instant;

/// Size of the buffer that [`bandwidth`] reads, in bytes: more than third-level caches hold.
pub const BUFFER_BYTES: usize = 512 << 20;
/// Numbers that are read from a stream before the next one: a page.
const PAGE: usize = 4096 / size_of::<u64>();
/// Numbers of streams per thread that [`bandwidth`] tries: CPUs differ in which number is fastest.
const STREAMS: [usize; 4] = [1, 2, 4, 8];
/// How often everything is measured. The best counts: others may use the machine, too. Peaks are measured in many short runs, since a
/// long one hardly ever has the cores to itself.
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
    bandwidth_of(exec, BUFFER_BYTES)
}

/// [`bandwidth`] with a buffer of `bytes`. A small one is quick, and shows the cache where it fits into it.
pub fn bandwidth_of(exec: &dyn Executor, bytes: usize) -> f64 {
    let mut buffer = vec![0u64; bytes / size_of::<u64>()];
    prefer_large_pages(&mut buffer);
    let share = buffer.len().div_ceil(exec.width());
    // Pages are there once they are written, near the thread that writes them.
    split(exec, &mut buffer, share, |_, part| part.fill(1));
    STREAMS
        .iter()
        .map(|&streams| best_rate(READS, || read(exec, &buffer, streams) as f64))
        .fold(0.0, f64::max)
}

/// How fast all threads together multiply with the instructions for weights of `format`, in operations per second: a
/// multiplication and an addition are two. A thread's time is the CPU time that it got.
pub fn peak(kernels: &Kernels, exec: &dyn Executor, format: Format) -> f64 {
    (0..SPINS).map(|_| kernels.spin(exec, format).rate).fold(0.0, f64::max)
}

/// The same by counting, if the instructions are vectors: what [`Kernels::operations_per_cycle`] says, at `clock` cycles per second.
pub fn counted_peak(kernels: &Kernels, exec: &dyn Executor, format: Format, clock: f64) -> Option<f64> {
    let operations = f64::from(kernels.operations_per_cycle(format)?);
    Some(operations * clock * exec.width() as f64)
}

/// Rounds of the chain that [`clock`] times, and their length in cycles: fractions of a millisecond.
const ROUNDS: u32 = 100_000;
const CYCLES_PER_ROUND: u32 = 6;

/// Cycles per second of this thread: the best of many runs of a chain of shifts and exclusive ors, of which a core does one per cycle
/// (or both at once in two). Loops of wide vectors may run at a lower clock.
pub fn clock() -> f64 {
    let run = |_| {
        let (mut x, watch) = (black_box(1u64), Stopwatch::start());
        for _ in 0..ROUNDS {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        black_box(x);
        f64::from(ROUNDS * CYCLES_PER_ROUND) / watch.seconds()
    };
    (0..SPINS).map(run).fold(0.0, f64::max)
}

/// The largest amount of `work` per second in this many runs.
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
    fn what_instructions_allow_is_counted() {
        let counts = [
            ("f32/avx2", "f32", 32),
            ("f32/avx512", "q4g64", 64),
            ("i8/avx2", "q4g64", 128),
            ("i8/avx2", "q8g64", 64),
            ("i8/avxvnni", "q4g64", 128),
            ("i8/avx512vnni", "q8g64", 256),
            ("i8/amx", "q4g64", 2048),
            ("bf16/amx", "bf16", 1024),
            ("f32/neon", "f32", 16),
            ("i8/neon", "q4g64", 32),
            ("i8/sdot", "q8g64", 64),
            ("i8/smmla", "q4g64", 128),
        ];
        for kernels in Kernels::available() {
            for (unit, format, count) in counts {
                let format = Format::from_name(format).unwrap();
                if kernels.unit_name(format) == unit {
                    assert_eq!(kernels.operations_per_cycle(format), Some(count), "{format} on {unit}");
                }
            }
            let format = Format::F32;
            let scalar = kernels.unit_name(format) == "f32/scalar";
            assert_eq!(counted_peak(&kernels, &Threads::new(2), format, 1e9).is_none(), scalar);
        }
    }

    #[test]
    fn every_unit_counts_the_operations_of_every_thread() {
        let two = Threads::new(2);
        for kernels in Kernels::available() {
            for format in ["f32", "q4g64", "q8g64"].map(|name| Format::from_name(name).unwrap()) {
                let one = kernels.spin(&Serial, format).operations;
                assert!(one > 0, "{format} on {}", kernels.unit_name(format));
                assert_eq!(
                    kernels.spin(&two, format).operations,
                    2 * one,
                    "{format} on {}",
                    kernels.unit_name(format)
                );
            }
        }
    }
}
