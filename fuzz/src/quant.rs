//! Quantized matrices of any bytes: decoded as the layout says, multiplied as the oracle multiplies wherever scales are finite;
//! and any floats, stored in every format: an error that names them, or what was lost is bounded.

#[path = "../../tests/oracle/mod.rs"]
mod oracle;

use arbitrary::{Result, Unstructured};
use diffulex::Error;
use diffulex::bytes::Bytes;
use diffulex::dtype::{DType, F16, as_bytes};
use diffulex::exec::Serial;
use diffulex::kernels::Kernels;
use diffulex::quant::{Code, Format, Group, Matrix, Panels, Quant};
use diffulex::tensor::{Rows, RowsMut, TensorView};
use std::sync::LazyLock;

static KERNELS: LazyLock<Vec<Kernels>> = LazyLock::new(Kernels::available);

/// See the module.
pub fn check(data: &[u8]) {
    crate::with(data, |u| {
        let (n, k) = (u.int_in_range(1..=40)?, u.int_in_range(1..=300)?);
        let (exponent, seed) = (u.int_in_range(-30..=30)?, u.arbitrary()?);
        if u.arbitrary()? { check_stored(u, n, k, exponent) } else { check_panels(u, n, k, exponent, seed) }
    });
}

/// Numbers of few bits around `2^exponent`, or, where `exponent` is at its limit, of any bits.
fn numbers(u: &mut Unstructured<'_>, len: usize, exponent: i32) -> Result<Vec<f32>> {
    let bytes = crate::bytes(u, len)?;
    let number = |(i, byte): (usize, &u8)| match exponent {
        30 => f32::from_bits(u32::from_le_bytes([*byte, bytes[i / 2], bytes[i / 3], bytes[i / 5]])),
        _ => f32::from(*byte as i8) / 128.0 * 2f32.powi(exponent),
    };
    Ok(bytes.iter().enumerate().map(number).collect())
}

fn check_panels(u: &mut Unstructured<'_>, n: usize, k: usize, exponent: i32, seed: u8) -> Result<()> {
    let (quant, m) = (*u.choose(&Quant::all())?, u.int_in_range(1..=20)?);
    let x = numbers(u, m * k, exponent)?;
    let mut data = crate::bytes(u, quant.bytes(n, k).expect("a small shape"))?;
    // Where the input ends, codes and scales are made up, otherwise most matrices would be zeros.
    let mut state = seed;
    for byte in data.iter_mut().rev().take_while(|byte| **byte == 0) {
        state = state.wrapping_mul(5).wrapping_add(seed);
        *byte = state;
    }
    let w = Matrix::from_panels(n, k, quant, Bytes::copy_aligned(&data)).expect("a buffer of the right length");
    let panels = Panels::new(n, k, quant, &data).expect("the same length");
    let mut row = vec![0.0; k];
    for i in 0..n {
        w.decode_row(i, &mut row);
        let same = |j: usize| {
            let expected = decode(quant, &data, i, j, k);
            row[j] == expected || (row[j].is_nan() && expected.is_nan())
        };
        assert!((0..k).all(same), "{quant} [{n}, {k}]: row {i}");
    }
    // A row is worth comparing where all that kernels read of it is finite, what pads it included.
    let finite: Vec<bool> = (0..n)
        .map(|row| {
            (0..quant.groups(k)).map(|group| panels.scale(row, group)).all(|(a, b)| (a + b).is_finite())
        })
        .collect();
    let finite_x: Vec<bool> =
        x.chunks(k).map(|x| x.iter().all(|&x| x == 0.0 || (1e-30..1e12).contains(&x.abs()))).collect();
    KERNELS.iter().for_each(|kernels| check_product(kernels, &x, &w, &finite_x, &finite));
    Ok(())
}

fn check_product(kernels: &Kernels, x: &[f32], w: &Matrix, finite_x: &[bool], finite: &[bool]) {
    let (n, k, format) = (w.n(), w.k(), w.format());
    let mut out = vec![f32::NAN; x.len() / k * n];
    kernels.gemm(&Serial, Rows::new(x, k), w, None, RowsMut::new(&mut out, n));
    let (values, magnitudes) = (oracle::matrices::values(w), oracle::matrices::magnitudes(w));
    let (seen, values) = oracle::products::operands(kernels, format, k, x, &values);
    let expected = oracle::gemm(&seen, &values, &magnitudes, None, k);
    for (i, (&found, dot)) in out.iter().zip(expected).enumerate() {
        if finite_x[i / n] && finite[i % n] {
            let error = (f64::from(found) - dot.value).abs();
            let unit = kernels.unit_name(format);
            let bound = oracle::products::bound(k, dot.magnitude);
            assert!(
                error <= bound,
                "gemm/{format}x{unit} n {n} k {k}: output {i} is {found}, expected {dot:?}"
            );
        }
    }
}

/// Element `(row, k)` as `quant/panels.rs` describes the layout, without its code. `len` is the length of a row.
fn decode(quant: Quant, data: &[u8], row: usize, k: usize, len: usize) -> f32 {
    let padded = len.div_ceil(64) * 64;
    let group_len = match quant.group {
        Group::Of(size) => usize::from(size),
        Group::Row => padded,
    };
    let groups = padded.div_ceil(group_len);
    let planes = if quant.zero_points { 2 } else { 1 };
    let header = (planes * groups * 16 * 2).div_ceil(64) * 64;
    let panel = &data[row / 16 * (header + padded * 16 * quant.code.bits() / 8)..];
    let half = |i: usize| F16(u16::from_le_bytes([panel[2 * i], panel[2 * i + 1]])).to_f32();
    let (lane, group) = (row % 16, k / group_len);
    let scale = half(group * 16 + lane);
    match quant.code {
        Code::Int8 => scale * f32::from(panel[header + k / 4 * 64 + lane * 4 + k % 4] as i8),
        Code::Int4 => {
            let byte = panel[header + k / 8 * 64 + lane * 4 + k % 4];
            let code = if k % 8 < 4 { byte & 15 } else { byte >> 4 };
            let minimum = if quant.zero_points { half((groups + group) * 16 + lane) } else { -8.0 * scale };
            scale * f32::from(code) + minimum
        }
    }
}

fn check_stored(u: &mut Unstructured<'_>, n: usize, k: usize, exponent: i32) -> Result<()> {
    let w = numbers(u, n * k, exponent)?;
    let view = TensorView::new(DType::F32, vec![n, k], Bytes::copy_aligned(as_bytes(&w)));
    let floats = Matrix::from_tensor(&view.expect("n * k numbers")).expect("two dimensions");
    let format = *u.choose(&Format::all())?;
    let largest = w.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
    let finite = w.iter().all(|w| w.is_finite());
    let (stored, loss) = match floats.encode("w", format, &Serial) {
        Ok(stored) => stored,
        Err(error) => {
            let deserved = if matches!(error, Error::NotFinite { .. }) { !finite } else { largest > 65504.0 };
            assert!(deserved, "{format} of weights up to {largest}: {error}");
            return Ok(());
        }
    };
    assert!(finite && stored.format() == format, "{format}: what is not finite was stored");
    let group = match format {
        Format::Quant(quant) => quant.group_len(k),
        _ => k,
    };
    let (mut row, mut total) = (vec![0.0; k], 0.0);
    for (i, w) in w.chunks(k).enumerate() {
        stored.decode_row(i, &mut row);
        for (w, found) in w.chunks(group).zip(row.chunks(group)) {
            let squares = w.iter().zip(found).map(|(w, x)| (f64::from(*w) - f64::from(*x)).powi(2));
            let error: f64 = squares.sum();
            let allowed = w.len() as f64 * step(format, w).powi(2);
            assert!(error <= 1.05 * allowed, "{format}: {error:e} lost of {w:?}, {allowed:e} allowed");
            total += error;
        }
    }
    assert!(
        (loss.error - total).abs() <= 1e-2 * total + 1e-12 * loss.energy + 1e-30,
        "{format}: {loss:?}, lost {total:e}"
    );
    Ok(())
}

/// The most that one weight of a group loses by rounding to the codes of the plainest scale: half a step, more at the end with
/// fewer codes; and what subnormal halves round away.
fn step(format: Format, w: &[f32]) -> f64 {
    let ends = w.iter().map(|&w| f64::from(w)).fold((f64::MAX, f64::MIN), |(a, b), w| (a.min(w), b.max(w)));
    let largest = ends.1.max(-ends.0);
    let (unit, coarse) = (2f64.powi(-25), 2f64.powi(-11));
    match format {
        Format::F32 => 0.0,
        Format::Bf16 => largest / 256.0 + 2f64.powi(-134),
        Format::F16 => largest * coarse + unit,
        Format::Quant(quant) => match (quant.code, quant.zero_points) {
            (Code::Int8, _) => 0.57 * largest / 127.0 + 128.0 * unit,
            (Code::Int4, false) => 1.1 * largest / 8.0 + 16.0 * unit,
            (Code::Int4, true) => 0.6 * (ends.1 - ends.0) / 15.0 + largest * coarse + 17.0 * unit,
        },
    }
}
