//! `P V`: the values of a tile of keys, weighted and added to the outputs.

use super::Queries;
use super::tile::{KEYS, State};
use crate::kernels::gemm::{Decode, WeightRow, load};
use crate::kernels::simd::{Part, Tile};

/// What the outputs hold before some values are added to them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Onto {
    /// Nothing yet.
    Nothing,
    /// Earlier tiles, weighted by an earlier maximum: they are rescaled.
    EarlierTiles,
    /// Earlier values of this tile.
    ThisTile,
}

/// `out = out * rescale + P V` of the keys of one tile that lie in one page. Every output is one chain of fused additions in the order of the keys.
pub(super) struct Mix<'a, 'b, V> {
    pub(super) queries: &'a Queries<'b>,
    /// `[n, head_dim]`, `n <= KEYS`
    pub(super) values: &'a [V],
    pub(super) state: &'a State,
    /// Where the values begin in the tile.
    pub(super) at: usize,
    pub(super) onto: Onto,
}

impl<V> Mix<'_, '_, V>
where
    WeightRow<V>: Decode,
{
    /// All queries.
    #[inline(always)]
    pub(super) fn run<S: Tile>(&self, s: S) {
        // SAFETY: the part needs nothing that `tile` does not check.
        unsafe { s.part(All { s, mix: self }) }
    }

    /// All queries. Tiles have up to 12 accumulators where there are 16 registers, up to 24 where there are 32.
    #[inline(always)]
    fn all<S: Tile>(&self, s: S) {
        let mut i = 0;
        while i < self.queries.len {
            i += match (self.queries.len - i, S::WIDE) {
                (1, _) => self.columns::<S, 1, 8>(s, i),
                (2 | 3, _) => self.columns::<S, 2, 4>(s, i),
                (4 | 5, false) => self.columns::<S, 4, 2>(s, i),
                (4 | 5, true) => self.columns::<S, 4, 4>(s, i),
                (_, false) => self.columns::<S, 6, 2>(s, i),
                (_, true) => self.columns::<S, 6, 4>(s, i),
            };
        }
    }

    /// `M` queries, all columns, `N` vectors at a time. Returns `M`.
    #[inline(always)]
    fn columns<S: Tile, const M: usize, const N: usize>(&self, s: S, i: usize) -> usize {
        let head_dim = self.queries.head_dim;
        let mut at = 0;
        while at + N * S::LANES <= head_dim {
            self.tile::<S, M, N>(s, i, at, S::LANES);
            at += N * S::LANES;
        }
        while at < head_dim {
            let len = S::LANES.min(head_dim - at);
            self.tile::<S, M, 1>(s, i, at, len);
            at += len;
        }
        M
    }

    /// Columns `at ..` of queries `i .. i + M`: `N` vectors of `len` columns each (`len < LANES` only if `N` is 1).
    #[inline(always)]
    fn tile<S: Tile, const M: usize, const N: usize>(&self, s: S, i: usize, at: usize, len: usize) {
        let head_dim = self.queries.head_dim;
        let n = self.values.len() / head_dim;
        assert!(at + (N - 1) * S::LANES + len <= head_dim && len <= S::LANES, "columns outside the head");
        assert!(self.at + n <= KEYS, "more keys than scores");
        let mut out = [self.queries.out(i); M];
        for a in 1..M {
            out[a] = self.queries.out(i + a);
        }
        let mut acc = [[s.splat(0.0); N]; M];
        if self.onto != Onto::Nothing {
            for a in 0..M {
                let rescale = s.splat(self.state.rescale[i + a]);
                for b in 0..N {
                    // SAFETY: columns inside the head, asserted above; this task alone touches them, and wrote them before.
                    let old = unsafe {
                        load(
                            s,
                            WeightRow::new(std::slice::from_raw_parts(out[a], head_dim)),
                            at + b * S::LANES,
                            len,
                        )
                    };
                    acc[a][b] = if self.onto == Onto::ThisTile { old } else { s.mul(old, rescale) };
                }
            }
        }
        let (values, weights) = (WeightRow::new(self.values), &self.state.scores[i..][..M]);
        for j in 0..n {
            let mut v = [s.splat(0.0); N];
            for b in 0..N {
                // SAFETY: j < n rows of head_dim elements, and the columns are inside the head, asserted above.
                v[b] = unsafe { load(s, values, j * head_dim + at + b * S::LANES, len) };
            }
            for a in 0..M {
                let p = s.splat(weights[a][self.at + j]);
                for b in 0..N {
                    acc[a][b] = s.mul_add(p, v[b], acc[a][b]);
                }
            }
        }
        for a in 0..M {
            for b in 0..N {
                // SAFETY: as for reading; nothing else refers to these columns meanwhile.
                let new = unsafe { std::slice::from_raw_parts_mut(out[a].add(at + b * S::LANES), len) };
                if len == S::LANES { s.store(acc[a][b], new) } else { s.store_partial(acc[a][b], new) }
            }
        }
    }
}

/// All queries, as a function that is the same whatever the type of the keys.
struct All<'a, 'b, 'c, S, V> {
    s: S,
    mix: &'a Mix<'b, 'c, V>,
}

impl<S: Tile, V> Part for All<'_, '_, '_, S, V>
where
    WeightRow<V>: Decode,
{
    #[inline(always)]
    unsafe fn run(self) {
        self.mix.all(self.s);
    }
}
