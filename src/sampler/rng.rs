//! Random numbers that depend only on (seed, denoise step, position), never on the order in which threads draw them.

/// A source of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rng {
    seed: u64,
}

/// Uniform numbers of one (step, position).
#[derive(Clone, Debug)]
pub struct Stream {
    state: u64,
}

/// SplitMix64's finaliser: a bijection of 64 bits whose output bits all depend on every input bit.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The increment of SplitMix64: 2^64 divided by the golden ratio, odd.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Rng {
    /// Streams of this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The stream of position `pos` in denoise step `step`.
    pub fn stream(&self, step: usize, pos: usize) -> Stream {
        let step = mix(self.seed ^ mix((step as u64).wrapping_add(STEP)));
        Stream { state: mix(step ^ mix((pos as u64).wrapping_mul(STEP).wrapping_add(1))) }
    }
}

impl Stream {
    /// The next number, uniform in the open interval (0, 1).
    pub fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(STEP);
        // 53 bits and a half, so that neither 0 nor 1 is ever returned.
        ((mix(self.state) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_and_are_uniform() {
        let rng = Rng::new(7);
        let mut buckets = [0usize; 16];
        let mut firsts = std::collections::HashSet::new();
        for pass in 0..64 {
            for pos in 0..64 {
                let mut stream = rng.stream(pass, pos);
                let u = stream.uniform();
                assert!(u > 0.0 && u < 1.0, "{u}");
                assert!(firsts.insert(u.to_bits()), "two streams begin alike");
                buckets[(u * 16.0) as usize] += 1;
            }
        }
        // 4096 draws, 256 expected in each bucket, standard deviation 15.5.
        assert!(buckets.iter().all(|&n| (180..332).contains(&n)), "{buckets:?}");
        assert_ne!(rng.stream(0, 0).uniform(), Rng::new(8).stream(0, 0).uniform());
        assert_eq!(rng.stream(3, 4).uniform(), Rng::new(7).stream(3, 4).uniform());
    }
}
