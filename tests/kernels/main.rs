//! Every kernel at every level of this CPU against the f64 oracle, on the shapes where tiles, vectors and blocks end; and
//! what holds bit for bit on one level: rows do not see each other, executors and cargo features change nothing.
//!
//! Bounds: `EPS` is the unit of rounding of f32. A chain of `n` additions errs by at most `n EPS` times the sum of the
//! magnitudes; the tests allow that worst case for short chains and a chain per lane for long ones.

mod attention;
mod gemm;
#[path = "../oracle/mod.rs"]
mod oracle;
mod rows;

use attention::AttentionCall;
use diffulex::exec::{Executor, Serial, Threads};
use diffulex::kernels::{Kernels, Level, Rope, RopeTable};
use diffulex::quant::{Format, Matrix};
use diffulex::tensor::{Rows, RowsMut};
use gemm::run_gemm;
use oracle::{EPS, cases};

/// The kernels of every level of this CPU, with every kind of activations and every unit for them; says which ones it
/// lacks.
fn every_kernel() -> Vec<Kernels> {
    levels();
    let all = Kernels::available();
    let quantized = Format::from_name("q8row").expect("a format");
    for name in UNITS {
        if !all.iter().any(|kernels| kernels.unit_name(quantized) == name) {
            println!("unit {name}: not on this machine, skipped");
        }
    }
    all
}

/// What quantized weights are multiplied with in addition to f32.
const UNITS: [&str; 9] = [
    "i8/scalar",
    "i8/avx2",
    "i8/avxvnni",
    "i8/avx512vnni",
    "i8/amx",
    "bf16/amx",
    "i8/neon",
    "i8/sdot",
    "i8/smmla",
];

/// Every level of this CPU; says which ones it lacks, so that a skipped level does not read as a passed one.
fn levels() -> Vec<Kernels> {
    for name in ["scalar", "avx2", "avx512", "amx", "neon"] {
        if Level::from_name(name).is_err() {
            println!("level {name}: not on this machine, skipped");
        }
    }
    Level::available().into_iter().map(Kernels::new).collect()
}

/// Numbers in [-1, 1), the same for the same seed.
fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// A matrix of `format`, and the numbers that it holds.
fn matrix(n: usize, k: usize, format: Format, seed: u64) -> (Matrix, Vec<f32>) {
    let w = oracle::matrices::matrix(n, k, format, &noise(n * k, seed));
    let values = oracle::matrices::values(&w);
    (w, values)
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Executors that cut the work differently. The rayon executor is compared in its own test below.
fn executors() -> Vec<Box<dyn Executor>> {
    vec![Box::new(Threads::new(2)), Box::new(Threads::new(3)), Box::new(Threads::new(8))]
}

/// Runs every kernel that takes an executor and returns the bits of all outputs.
fn everything(kernels: &Kernels, exec: &dyn Executor) -> Vec<u32> {
    let mut all = Vec::new();
    for m in [1, 3, 33, 70] {
        for format in ["bf16", "q8g64", "q4g32z"] {
            // Wide enough to be cut into several tasks.
            let (w, _) = matrix(613, 75, Format::from_name(format).expect("a format"), 7);
            all.extend(bits(&run_gemm(kernels, exec, &noise(m * 75, 8), &w, None)));
        }
        // Wide enough to be cut into several tasks.
        let (x, y, width) = (noise(m * 2048, 9), noise(m * 2048, 10), 2048);
        let mut out = x.clone();
        kernels.rms_norm(exec, Rows::new(&x, width), &y[..width], 1e-6, RowsMut::new(&mut out, width));
        all.extend(bits(&out));
        kernels.rms_norm_heads(exec, RowsMut::new(&mut out, width), &y[..128], 1e-6);
        all.extend(bits(&out));
        kernels.rope(
            exec,
            RowsMut::new(&mut out, width),
            &RopeTable::new(&Rope::new(1e6, 128), 128, 100),
            20,
        );
        all.extend(bits(&out));
        kernels.swiglu(exec, RowsMut::new(&mut out, width), Rows::new(&y, width));
        all.extend(bits(&out));
        kernels.add(exec, RowsMut::new(&mut out, width), Rows::new(&y, width));
        all.extend(bits(&out));
        kernels.guide(exec, RowsMut::new(&mut out, width), Rows::new(&y, width), 2.5);
        all.extend(bits(&out));
    }
    for case in cases::ATTENTION {
        let call = AttentionCall::new(case, 11);
        all.extend(bits(&call.run(kernels, exec, &call.q, &call.spans(), true)));
    }
    all
}

#[test]
fn executors_do_not_change_a_bit() {
    for kernels in every_kernel() {
        let serial = everything(&kernels, &Serial);
        for exec in executors() {
            assert!(everything(&kernels, &*exec) == serial, "{} on {}", exec.width(), kernels.level().name());
        }
    }
}

#[cfg(feature = "rayon")]
#[test]
fn rayon_does_not_change_a_bit() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let exec = diffulex::exec::rayon::Rayon::new(std::sync::Arc::new(pool));
    for kernels in every_kernel() {
        assert!(everything(&kernels, &exec) == everything(&kernels, &Serial), "{}", kernels.level().name());
    }
}
