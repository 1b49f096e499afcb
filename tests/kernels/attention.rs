//! Attention against the oracle, with unused K/V rows of NaN after those in use.

use crate::oracle::{self, cases};
use crate::{bits, levels, noise};
use diffulex::dtype::F16;
use diffulex::exec::{Executor, Serial};
use diffulex::kernels::{Attention, Kernels, KeySpan, KvRows, Level};
use diffulex::tensor::{Rows, RowsMut};
use proptest::prelude::*;

/// An attention call with its operands.
pub(crate) struct AttentionCall {
    case: cases::AttentionCase,
    capacity: usize,
    pub(crate) q: Vec<f32>,
    keys: Vec<F16>,
    values: Vec<F16>,
}

impl AttentionCall {
    pub(crate) fn new(case: cases::AttentionCase, seed: u64) -> Self {
        // Room after the keys in use: what is there must not matter.
        let capacity = case.keys + 3;
        let len = case.n_kv_heads * capacity * case.head_dim;
        // Scores of magnitude 4 sqrt(head_dim): the softmax is neither flat nor a single key.
        let q = noise(case.rows * case.n_heads * case.head_dim, seed).iter().map(|x| 4.0 * x).collect();
        let narrow = |seed| -> Vec<F16> { noise(len, seed).into_iter().map(F16::from_f32).collect() };
        let (mut keys, mut values) = (narrow(seed + 1), narrow(seed + 2));
        for head in 0..case.n_kv_heads {
            let unused = (head * capacity + case.keys) * case.head_dim..(head + 1) * capacity * case.head_dim;
            keys[unused.clone()].fill(F16(0x7e00));
            values[unused].fill(F16(0x7e00));
        }
        Self { case, capacity, q, keys, values }
    }

    /// The first third of the rows sees the first half of the keys, the rest all but the first.
    pub(crate) fn spans(&self) -> Vec<KeySpan> {
        let cases::AttentionCase { rows, keys, .. } = self.case;
        let (row, half) = (rows / 3, keys.div_ceil(2));
        let first = usize::from(keys > 1);
        vec![
            KeySpan { rows: 0..row, keys: 0..half, table: 0 },
            KeySpan { rows: row..rows, keys: first..keys, table: 0 },
        ]
    }

    pub(crate) fn run(
        &self,
        kernels: &Kernels,
        exec: &dyn Executor,
        q: &[f32],
        spans: &[KeySpan],
        halves: bool,
    ) -> Vec<f32> {
        let cases::AttentionCase { n_heads, n_kv_heads, head_dim, .. } = self.case;
        let wide: Vec<_> =
            [&self.keys, &self.values].map(|x| x.iter().map(|x| x.to_f32()).collect::<Vec<f32>>()).into();
        let (keys, values) = match halves {
            true => (KvRows::F16(&self.keys), KvRows::F16(&self.values)),
            false => (KvRows::F32(&wide[0]), KvRows::F32(&wide[1])),
        };
        let mut out = vec![f32::NAN; q.len()];
        kernels.attention(
            exec,
            Attention {
                q: Rows::new(q, n_heads * head_dim),
                keys,
                values,
                page: self.capacity,
                tables: &[0],
                n_heads,
                n_kv_heads,
                head_dim,
                spans,
                out: RowsMut::new(&mut out, n_heads * head_dim),
            },
        );
        out
    }

    /// The same call with keys and values in pages of `page` positions, twice: rotated by `seed` and in
    /// reverse order, for spans in turn.
    fn run_paged(&self, kernels: &Kernels, spans: &[KeySpan], page: usize, seed: usize) -> Vec<f32> {
        let cases::AttentionCase { n_heads, n_kv_heads, head_dim, keys, .. } = self.case;
        let pages = keys.div_ceil(page);
        let stride = n_kv_heads * page * head_dim;
        let place = |table: usize, i: usize| match table {
            0 => (i + seed) % pages,
            _ => 2 * pages - 1 - i,
        };
        let scatter = |x: &[F16]| {
            let mut paged = vec![F16(0x7e00); 2 * pages * stride];
            for (table, head, pos) in all_of(2, n_kv_heads, keys) {
                let from = (head * self.capacity + pos) * head_dim;
                let to = place(table, pos / page) * stride + (head * page + pos % page) * head_dim;
                paged[to..to + head_dim].copy_from_slice(&x[from..from + head_dim]);
            }
            paged
        };
        let (keys, values) = (scatter(&self.keys), scatter(&self.values));
        let tables: Vec<u32> = (0..2)
            .flat_map(|table| (0..pages).map(move |i| (table, i)))
            .map(|(t, i)| place(t, i) as u32)
            .collect();
        let spans: Vec<_> = spans
            .iter()
            .enumerate()
            .map(|(i, span)| KeySpan { table: i % 2 * pages, ..span.clone() })
            .collect();
        let mut out = vec![f32::NAN; self.q.len()];
        kernels.attention(
            &Serial,
            Attention {
                q: Rows::new(&self.q, n_heads * head_dim),
                keys: KvRows::F16(&keys),
                values: KvRows::F16(&values),
                page,
                tables: &tables,
                n_heads,
                n_kv_heads,
                head_dim,
                spans: &spans,
                out: RowsMut::new(&mut out, n_heads * head_dim),
            },
        );
        out
    }

    /// Keys or values that a query head sees.
    fn seen(&self, x: &[F16], head: usize, keys: &KeySpan) -> Vec<f32> {
        let cases::AttentionCase { n_heads, n_kv_heads, head_dim, .. } = self.case;
        let first = head / (n_heads / n_kv_heads) * self.capacity;
        let range = (first + keys.keys.start) * head_dim..(first + keys.keys.end) * head_dim;
        x[range].iter().map(|x| x.to_f32()).collect()
    }
}

fn check_attention(kernels: &Kernels, case: cases::AttentionCase, seed: u64) {
    let call = AttentionCall::new(case, seed);
    let spans = call.spans();
    for halves in [true, false] {
        let out = call.run(kernels, &Serial, &call.q, &spans, halves);
        for span in &spans {
            for row in span.rows.clone() {
                for head in 0..case.n_heads {
                    let at = (row * case.n_heads + head) * case.head_dim;
                    let q = &call.q[at..][..case.head_dim];
                    let keys = call.seen(&call.keys, head, span);
                    let expected = oracle::attention(q, &keys, &call.seen(&call.values, head, span));
                    for (i, expected) in expected.iter().enumerate() {
                        // Values are below 1. A score errs by about head_dim EPS |q||k| <= 4 sqrt(head_dim) head_dim EPS at worst,
                        // which is the relative error of its weight; in practice a hundredth of that.
                        let error = (f64::from(out[at + i]) - expected).abs();
                        let level = kernels.level().name();
                        assert!(
                            error < 5e-6,
                            "attention/{level} {case:?} row {row} head {head}: {} not {expected}",
                            out[at + i]
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn attention_agrees_with_the_oracle() {
    for kernels in levels() {
        for case in cases::ATTENTION {
            check_attention(&kernels, case, 20);
        }
    }
}

#[test]
fn attention_rows_do_not_see_each_other() {
    for kernels in levels() {
        for case in cases::ATTENTION {
            let call = AttentionCall::new(case, 30);
            let spans = call.spans();
            let all = call.run(&kernels, &Serial, &call.q, &spans, true);
            let width = case.n_heads * case.head_dim;
            for span in &spans {
                for row in span.rows.clone() {
                    let range = row * width..(row + 1) * width;
                    let alone = [KeySpan { rows: 0..1, keys: span.keys.clone(), table: 0 }];
                    let out = call.run(&kernels, &Serial, &call.q[range.clone()], &alone, true);
                    assert_eq!(bits(&out), bits(&all[range]), "{case:?} row {row}");
                }
            }
        }
    }
}

/// Every (table, head, position).
fn all_of(tables: usize, heads: usize, positions: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let pairs = (0..tables).flat_map(move |table| (0..heads).map(move |head| (table, head)));
    pairs.flat_map(move |(table, head)| (0..positions).map(move |pos| (table, head, pos)))
}

#[test]
fn pages_change_no_bit() {
    // Below, at and above the keys of a tile (up to 96), pages of one position, and pages that hold everything.
    for kernels in levels() {
        for case in cases::ATTENTION {
            let call = AttentionCall::new(case, 60);
            let spans = call.spans();
            let whole = call.run(&kernels, &Serial, &call.q, &spans, true);
            for (seed, page) in [1, 7, 24, 64, 95, 96, 97, 192, 1000].into_iter().enumerate() {
                let paged = call.run_paged(&kernels, &spans, page, seed);
                assert_eq!(bits(&paged), bits(&whole), "{case:?}, pages of {page}");
            }
        }
    }
}

#[test]
fn attention_does_not_depend_on_the_threads() {
    // Tasks are cut by the number of threads: whole heads, groups, single pairs.
    let pools = [2, 3, 7, 64].map(Cut);
    for kernels in levels() {
        for case in cases::ATTENTION {
            let call = AttentionCall::new(case, 50);
            let spans = call.spans();
            for halves in [true, false] {
                let serial = call.run(&kernels, &Serial, &call.q, &spans, halves);
                for pool in &pools {
                    let out = call.run(&kernels, pool, &call.q, &spans, halves);
                    assert_eq!(bits(&out), bits(&serial), "{case:?}, {} threads", pool.0);
                }
            }
        }
    }
}

/// Runs like [`Serial`], but has the work split for this many threads.
struct Cut(usize);

impl Executor for Cut {
    fn width(&self) -> usize {
        self.0
    }
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        Serial.run(tasks, task);
    }
}

#[test]
fn attention_survives_scores_that_exp_alone_would_not() {
    // Scores from -3e4 to 3e4: only the subtraction of the running maximum keeps exp finite, in either order of the keys.
    for kernels in levels() {
        let case = cases::attention([1, 1, 1, 8, 100]);
        for rising in [true, false] {
            let mut call = AttentionCall::new(case, 40);
            for key in 0..100 {
                let step = if rising { key } else { 99 - key } as f32 - 50.0;
                call.keys[key * 8..][..8].fill(F16::from_f32(step));
            }
            call.q.fill(200.0);
            let best = if rising { 99 } else { 0 };
            let span = [KeySpan { rows: 0..1, keys: 0..100, table: 0 }];
            let out = call.run(&kernels, &Serial, &call.q, &span, true);
            let expected: Vec<_> = call.values[best * 8..][..8].iter().map(|x| x.to_f32()).collect();
            assert_eq!(out, expected, "level {}", kernels.level().name());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn attention_of_any_shape(
        rows in 1usize..20,
        group in 1usize..9,
        n_kv_heads in 1usize..4,
        half in 1usize..70,
        keys in 1usize..160,
        seed in 0u64..1000,
    ) {
        let case = cases::attention([rows, group * n_kv_heads, n_kv_heads, 2 * half, keys]);
        for level in Level::available() {
            check_attention(&Kernels::new(level), case, seed);
        }
    }
}
