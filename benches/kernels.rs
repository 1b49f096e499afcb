//! Every kernel at every level of this CPU, on the shapes of real models, compared with the most that the machine can do.
//!
//! `cargo bench --bench kernels -- gemm/bf16` selects by id: `gemm/bf16xf32/avx2/m4_n6144_k2048`, with `_t2` for two threads.
//! Compare GEMMs of few rows with `machine/read`, GEMMs of many rows with `machine/peak` of their unit.

#[path = "../tests/oracle/cases.rs"]
mod cases;
#[path = "../tests/oracle/matrices.rs"]
mod matrices;

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use diffulex::dtype::F16;
use diffulex::exec::{Executor, Serial, Threads};
use diffulex::kernels::{
    Activations, Attention, Kernels, KeySpan, KvRows, Level, Prepared, Projection, Rope, RopeTable,
};
use diffulex::quant::Format;
use diffulex::roofline;
use diffulex::tensor::{Rows, RowsMut};
use std::time::Duration;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// Numbers in [-1, 1) that look random; subnormals and zeros would distort the timings.
fn noise(len: usize) -> Vec<f32> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0).collect()
}

/// One thread, and two where there are two.
fn executors() -> Vec<(&'static str, Box<dyn Executor>)> {
    let mut all: Vec<(&str, Box<dyn Executor>)> = vec![("", Box::new(Serial))];
    if std::thread::available_parallelism().is_ok_and(|n| n.get() > 1) {
        all.push(("_t2", Box::new(Threads::new(2))));
    }
    all
}

fn gemm(c: &mut Criterion) {
    let mut group = quick(c, "gemm");
    for format in cases::MODEL_FORMATS {
        let format = Format::from_name(format).expect("a format");
        for (n, k) in cases::MODEL_GEMM {
            let w = matrices::matrix(n, k, format, &noise(n * k));
            for m in cases::MODEL_ROWS {
                let (x, mut out) = (noise(m * k), vec![0.0; m * n]);
                group.throughput(match m {
                    ..=4 => Throughput::Bytes(w.bytes() as u64),
                    _ => Throughput::Elements(2 * (m * n * k) as u64),
                });
                for kernels in Kernels::available() {
                    // Other weights are multiplied with f32 activations, whatever kind is chosen.
                    let differs = match kernels.activations() {
                        Activations::Int8 => matches!(format, Format::Quant(_)),
                        Activations::Bf16 => matches!(format, Format::Quant(_) | Format::Bf16),
                        _ => true,
                    };
                    // The scalar unit takes seconds for shapes that nobody runs on it.
                    let hopeless = m > 4 && kernels.unit_name(format).ends_with("/scalar");
                    if !differs || hopeless {
                        continue;
                    }
                    for (threads, exec) in executors() {
                        let unit = kernels.unit_name(format);
                        let id = format!("{format}x{unit}/m{m}_n{n}_k{k}{threads}");
                        let mut prepared = Prepared::default();
                        group.bench_function(id, |b| {
                            b.iter(|| {
                                let out = RowsMut::new(&mut out, n);
                                let mut one = [Projection { w: &w, bias: None, out }];
                                kernels.project(&*exec, Rows::new(&x, k), &mut prepared, &mut one);
                            });
                        });
                    }
                }
            }
        }
    }
}

fn attention(c: &mut Criterion) {
    let mut group = quick(c, "attention");
    for case in cases::MODEL_ATTENTION {
        let cases::AttentionCase { rows, n_heads, n_kv_heads, head_dim, keys } = case;
        let width = n_heads * head_dim;
        let (q, mut out) = (noise(rows * width), vec![0.0; rows * width]);
        let wide = noise(n_kv_heads * keys * head_dim);
        let half: Vec<_> = wide.iter().map(|&x| F16::from_f32(x)).collect();
        let spans = [KeySpan { rows: 0..rows, keys: 0..keys, table: 0 }];
        let flops = 4 * (rows * width * keys) as u64;
        group.throughput(Throughput::Elements(flops));
        // A canvas takes the scalar level minutes.
        let levels =
            Level::available().into_iter().filter(|level| flops < 1 << 30 || level.name() != "scalar");
        for level in levels {
            for (threads, exec) in executors() {
                let shape = format!("r{rows}_h{n_heads}_kv{n_kv_heads}_d{head_dim}_k{keys}{threads}");
                let kernels = Kernels::new(level);
                for (name, kv) in [("f16", KvRows::F16(&half)), ("f32", KvRows::F32(&wide))] {
                    group.bench_function(format!("{name}xf32/{}/{shape}", level.name()), |b| {
                        b.iter(|| {
                            kernels.attention(
                                &*exec,
                                Attention {
                                    q: Rows::new(&q, width),
                                    keys: kv,
                                    values: kv,
                                    page: keys,
                                    tables: &[0],
                                    n_heads,
                                    n_kv_heads,
                                    head_dim,
                                    spans: &spans,
                                    out: RowsMut::new(&mut out, width),
                                },
                            );
                        });
                    });
                }
            }
        }
    }
}

fn rows(c: &mut Criterion) {
    let mut group = quick(c, "rows");
    let (rows, width, vocab) = (32, 2048, 151_936);
    let (x, y, logits) = (noise(rows * width), noise(rows * width), noise(vocab));
    let (mut out, mut probabilities) = (x.clone(), logits.clone());
    let mut halves = vec![F16(0); rows * width];
    let table = RopeTable::new(&Rope::new(1e6, 128), 128, rows);
    for level in Level::available() {
        let (kernels, name) = (Kernels::new(level), level.name());
        group.throughput(Throughput::Elements((rows * width) as u64));
        group.bench_function(format!("rms_norm/{name}/r{rows}_w{width}"), |b| {
            let weight = &y[..width];
            b.iter(|| {
                kernels.rms_norm(&Serial, Rows::new(&x, width), weight, 1e-6, RowsMut::new(&mut out, width));
            });
        });
        group.bench_function(format!("rope/{name}/r{rows}_w{width}"), |b| {
            b.iter(|| kernels.rope(&Serial, RowsMut::new(&mut out, width), &table, 0));
        });
        group.bench_function(format!("swiglu/{name}/r{rows}_w{width}"), |b| {
            out.copy_from_slice(&x);
            b.iter(|| kernels.swiglu(&Serial, RowsMut::new(&mut out, width), Rows::new(&y, width)));
        });
        group.bench_function(format!("add/{name}/r{rows}_w{width}"), |b| {
            b.iter(|| kernels.add(&Serial, RowsMut::new(&mut out, width), Rows::new(&y, width)));
        });
        group.bench_function(format!("narrow/{name}/r{rows}_w{width}"), |b| {
            b.iter(|| kernels.narrow(&x, &mut halves));
        });
        group.throughput(Throughput::Elements(vocab as u64));
        group.bench_function(format!("scan/{name}/w{vocab}"), |b| b.iter(|| kernels.scan(&logits)));
        group.bench_function(format!("exp_sums/{name}/w{vocab}"), |b| {
            b.iter(|| kernels.exp_sums(&logits, 1.0, 1.0));
        });
        group.bench_function(format!("softmax/{name}/w{vocab}"), |b| {
            probabilities.copy_from_slice(&logits);
            b.iter(|| kernels.softmax(&mut probabilities, 1.0, 1.0, 2.0));
        });
    }
}

fn limits(c: &mut Criterion) {
    let mut group = quick(c, "machine");
    let buffer = vec![1u64; 32 << 20];
    for (threads, exec) in executors() {
        group.throughput(Throughput::Bytes(size_of_val(&*buffer) as u64));
        for streams in [1, 8] {
            group.bench_function(format!("read/s{streams}{threads}"), |b| {
                b.iter(|| roofline::read(&*exec, &buffer, streams));
            });
        }
        for kernels in Kernels::available() {
            let formats: &[&str] = match kernels.activations() {
                Activations::Int8 => &["q8g64", "q4g64"],
                _ => &["f32"],
            };
            for format in formats {
                let format = Format::from_name(format).expect("a format");
                group.throughput(Throughput::Elements(kernels.spin(&*exec, format).operations));
                let id = format!("peak/{format}x{}{threads}", kernels.unit_name(format));
                group.bench_function(id, |b| b.iter(|| kernels.spin(&*exec, format)));
            }
        }
    }
}

/// A group with short runs: there are hundreds of them, and single runs differ by less than a machine does from hour to hour.
fn quick<'a>(c: &'a mut Criterion, name: &str) -> Group<'a> {
    let mut group = c.benchmark_group(name);
    group
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(10);
    group
}

criterion_group!(benches, limits, gemm, attention, rows);
criterion_main!(benches);
