//! The sums of one step with int8 activations: exact, in integers.

use super::super::pack::{Stats, StepRows};
use super::BySmmla;
use super::end::Factors;
use super::{Ahead, Codes, End, LINE, MicroKernel, PanelGemm, ROUND};
use crate::kernels::simd::{DotOp, Dots, F32s, PairDots, Part, Shape, ends_by_rows};
use crate::quant::{MAX_STEP, PANEL_ROWS};

impl DotOp for PanelGemm<'_, i8> {
    type Out = ();

    #[inline(always)]
    fn run<D: Dots>(mut self, d: D) {
        Self::run(&mut self, ByDots(d));
    }

    #[inline(always)]
    fn run_matrix<P: PairDots>(mut self, mm: P) {
        Self::run(&mut self, BySmmla(mm));
    }
}

#[derive(Clone, Copy)]
pub(in crate::kernels::gemm) struct ByDots<D>(pub(super) D);

impl<D: Dots> MicroKernel<i8> for ByDots<D> {
    type Float = D::Float;
    const SHAPES: &'static [Shape] = D::SHAPES;
    const CENTRED: bool = true;
    const UNPACK_FROM: [usize; 2] = [D::UNPACK_FROM, usize::MAX];
    type Unpacked<C: Codes> = C::Bytes;
    type Sum = D::I;

    #[inline(always)]
    fn float(self) -> D::Float {
        self.0.float()
    }

    #[inline(always)]
    unsafe fn part<P: Part>(self, part: P) {
        // SAFETY: the caller's contract.
        unsafe { self.0.part(part) }
    }

    #[inline(always)]
    fn scaled(self, sum: D::I, stats: &Stats) -> <D::Float as F32s>::V {
        let (Self(d), s) = (self, self.float());
        s.mul(d.to_f32(sum), s.splat(stats.scale))
    }

    #[inline(always)]
    unsafe fn step<C: Codes, const M: usize, const N: usize>(
        self,
        w: [*const u8; N],
        x: StepRows<i8>,
        len: usize,
        end: &End<N>,
        ahead: &mut Ahead,
    ) {
        let Self(d) = self;
        // SAFETY: the caller's contract.
        unsafe {
            // A step of a single run needs no totals, whose vectors would not fit the registers.
            if C::run::<D>() < MAX_STEP && len > C::run::<D>() {
                end.add::<i8, Self, C, M>(self, &runs::<D, C, M, N>(d, w, x, len, ahead));
            } else if const { ends_by_rows::<D>(M, N) } {
                row_by_row::<D, C, M, N>(d, w, x, len, end, ahead);
            } else {
                end.add::<i8, Self, C, M>(self, &run::<D, C, M, N>(d, w, x, 0, len, ahead));
            }
        }
    }

    #[inline(always)]
    unsafe fn unpack<C: Codes>(self, from: *const u8, lines: usize, to: *mut u8) {
        let Self(d) = self;
        let vector = D::Float::LANES * 4;
        for line in 0..lines {
            for part in 0..PANEL_ROWS / D::Float::LANES {
                // SAFETY: a part of a line, and of two lines of bytes, the caller's contract.
                unsafe {
                    let codes = d.load(from.add(line * LINE + part * vector));
                    let to = to.add(2 * line * LINE + part * vector);
                    d.store(d.low(codes), to);
                    d.store(d.high(codes), to.add(LINE));
                }
            }
        }
    }
}

/// The sums of a step in several runs, each of which is closed.
///
/// # Safety
/// As [`MicroKernel::step`].
#[inline(always)]
unsafe fn runs<D: Dots, C: Codes, const M: usize, const N: usize>(
    d: D,
    w: [*const u8; N],
    x: StepRows<i8>,
    len: usize,
    ahead: &mut Ahead,
) -> [[D::I; N]; M] {
    let mut total = [[d.zero(); N]; M];
    let (mut at, mut number) = (0, 0);
    while at < len {
        let part = C::run::<D>().min(len - at);
        let mut w = w;
        for b in 0..N {
            // SAFETY: `at` is less than `len`, the caller's contract.
            w[b] = unsafe { w[b].add(at / C::PER_LINE * LINE) };
        }
        // SAFETY: as above.
        let sums = unsafe {
            run::<D, C, M, N>(d, w, StepRows { data: x.data.add(at * M), ..x }, number, part, ahead)
        };
        for a in 0..M {
            for b in 0..N {
                total[a][b] = d.add(total[a][b], sums[a][b]);
            }
        }
        at += part;
        number += 1;
    }
    total
}

/// The sums of run number `number` of a step, over `len` elements of k.
///
/// # Safety
/// As [`MicroKernel::step`].
#[inline(always)]
unsafe fn run<D: Dots, C: Codes, const M: usize, const N: usize>(
    d: D,
    mut w: [*const u8; N],
    x: StepRows<i8>,
    number: usize,
    len: usize,
    ahead: &mut Ahead,
) -> [[D::I; N]; M] {
    // SAFETY: the caller's contract.
    let mut sums = unsafe { open::<D, C, M, N>(d, x.stats, number) };
    let mut x = x.data;
    for _ in 0..len / ROUND {
        ahead.round(d.float());
        // SAFETY: a round of the run.
        unsafe { lines::<D, C, M, N>(d, &mut sums, w, x, ROUND / C::PER_LINE) };
        // SAFETY: a round further, or the end of the run.
        unsafe {
            x = x.add(ROUND * M);
            for b in 0..N {
                w[b] = w[b].add(ROUND / C::PER_LINE * LINE);
            }
        }
    }
    let mut closed = [[d.zero(); N]; M];
    for a in 0..M {
        for b in 0..N {
            closed[a][b] = C::close(d, sums[a][b]);
        }
    }
    closed
}

/// What the sums of run number `number` begin with.
///
/// # Safety
/// There are stats of `M` rows.
#[inline(always)]
unsafe fn open<D: Dots, C: Codes, const M: usize, const N: usize>(
    d: D,
    stats: *const Stats,
    number: usize,
) -> [[C::Sums<D>; N]; M] {
    let mut sums = [[C::open(d, &Stats::default(), 0); N]; M];
    for a in 0..M {
        // SAFETY: the caller's contract.
        sums[a] = [C::open(d, unsafe { &*stats.add(a) }, number); N];
    }
    sums
}

/// Adds the dot products of `count` lines of codes.
///
/// # Safety
/// They are at every `w`, and the elements of `M` rows for them at `x`.
#[inline(always)]
unsafe fn lines<D: Dots, C: Codes, const M: usize, const N: usize>(
    d: D,
    sums: &mut [[C::Sums<D>; N]; M],
    w: [*const u8; N],
    x: *const i8,
    count: usize,
) {
    for line in 0..count {
        let mut codes = [[d.zero(); N]; 2];
        for b in 0..N {
            // SAFETY: the caller's contract.
            let [first, second] = C::factors(d, unsafe { d.load(w[b].add(line * LINE)) });
            (codes[0][b], codes[1][b]) = (first, second);
        }
        for four in 0..C::PER_LINE / 4 {
            for a in 0..M {
                let at = (line * C::PER_LINE / 4 + four) * 4 * M + 4 * a;
                // SAFETY: four elements of row a < M, the caller's contract.
                let x = unsafe { d.splat4(x.add(at)) };
                C::dot(d, &mut sums[a], &codes[four], x);
            }
            C::pin(d, sums);
        }
    }
}

/// Elements of k that end a step row by row.
const LAST: usize = 8;

/// The sums of a step of `len` elements, the last [`LAST`] of them row by row, so that a row is scaled and added to its
/// accumulators while the units multiply for the next ones. Otherwise all sums end at the same time, and what follows them is
/// a dependency chain in which nothing multiplies.
///
/// # Safety
/// As [`MicroKernel::step`].
#[inline(always)]
unsafe fn row_by_row<D: Dots, C: Codes, const M: usize, const N: usize>(
    d: D,
    mut w: [*const u8; N],
    x: StepRows<i8>,
    len: usize,
    end: &End<N>,
    ahead: &mut Ahead,
) {
    // SAFETY: the caller's contract.
    let mut sums = unsafe { open::<D, C, M, N>(d, x.stats, 0) };
    let mut x = x.data;
    for _ in 0..len / ROUND - 1 {
        ahead.round(d.float());
        // SAFETY: a round of the step.
        unsafe {
            lines::<D, C, M, N>(d, &mut sums, w, x, ROUND / C::PER_LINE);
            x = x.add(ROUND * M);
            for b in 0..N {
                w[b] = w[b].add(ROUND / C::PER_LINE * LINE);
            }
        }
    }
    ahead.round(d.float());
    // SAFETY: the first part of the last round.
    unsafe {
        let first = ROUND - LAST;
        lines::<D, C, M, N>(d, &mut sums, w, x, first / C::PER_LINE);
        x = x.add(first * M);
        for b in 0..N {
            w[b] = w[b].add(first / C::PER_LINE * LINE);
        }
    }
    // SAFETY: the last elements of the step; the caller's contract.
    unsafe {
        let factors = end.factors::<i8, ByDots<D>, C>(ByDots(d));
        let mut codes = [[d.zero(); N]; 2];
        for b in 0..N {
            if C::PER_LINE == LAST {
                [codes[0][b], codes[1][b]] = C::factors(d, d.load(w[b]));
            } else {
                codes[0][b] = C::factors(d, d.load(w[b]))[0];
                codes[1][b] = C::factors(d, d.load(w[b].add(LINE)))[0];
            }
        }
        // One branch for all rows.
        let Factors { scale, minimum } = factors;
        if minimum.is_some() {
            rows::<D, C, M, N>(d, &mut sums, &codes, x, end, &Factors { scale, minimum });
        } else {
            rows::<D, C, M, N>(d, &mut sums, &codes, x, end, &Factors { scale, minimum: None });
        }
    }
}

/// Finishes a step row by row: the dot products of [`LAST`] elements, then what `end` says.
///
/// # Safety
/// As [`row_by_row`], with `x` and `codes` of the last elements.
#[inline(always)]
unsafe fn rows<D: Dots, C: Codes, const M: usize, const N: usize>(
    d: D,
    sums: &mut [[C::Sums<D>; N]; M],
    codes: &[[D::I; N]; 2],
    x: *const i8,
    end: &End<N>,
    factors: &Factors<<D::Float as F32s>::V, N>,
) {
    macro_rules! rows {
        ($($a:literal)+) => {$(
            if const { $a < M } {
                for four in 0..LAST / 4 {
                    // SAFETY: four elements of a row, the caller's contract.
                    let x = unsafe { d.splat4(x.add(four * 4 * M + 4 * $a)) };
                    C::dot(d, &mut sums[$a], &codes[four], x);
                }
                let mut closed = [d.zero(); N];
                for b in 0..N {
                    closed[b] = d.keep(C::close(d, sums[$a][b]));
                }
                // SAFETY: the caller's contract.
                unsafe { end.row(ByDots(d), factors, $a, &closed) };
            }
        )+};
    }
    assert!(M <= 8, "as many rows as are written out");
    // Written out: in a loop, sums would be in memory.
    rows!(0 1 2 3 4 5 6 7);
}
