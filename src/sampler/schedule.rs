//! How many positions each denoise step should free: [`Pace`], and [`Quota`], its running state in one block.

/// The rule that spreads the masks of a block over its steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// `masks / steps` each, the remainder over the first steps. Source: LLaDA.
    EvenMasks,
    /// `block / steps` each, the remainder over the first steps, whatever is known in the block already. Source: SDAR.
    EvenBlock,
    /// `trunc(masks * (1 - s / t))` with t, s consecutive points of a line from 1 to `eps`; everything in the last step.
    /// Source: Dream.
    Timesteps {
        /// End of the line, above 0.
        eps: f32,
    },
    /// `round(masks * (1 - q))` of the masks that are left, halves to even, with q the ratio of two consecutive points of a line from
    /// 1 to 0 in f32. Steps that would free nothing are left out. Source: the dLLM framework.
    Rounded,
    /// `masks / steps` each; what a threshold rejects is added to the next step, and steps are added until nothing is rejected.
    /// Source: Dream, `confidence_threshold`.
    Carry,
}

/// Most steps of [`Pace::Rounded`]. With this many, nearly all free nothing, and f32 cannot distinguish more.
const MOST_ROUNDED: usize = 1 << 16;

/// What a denoise step should free.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Want {
    /// Number of positions.
    pub count: usize,
    /// Fraction of the masks, for rules that decide for each position alone.
    pub fraction: f32,
    /// Whether the step budget ends here: whatever is masked must be revealed now.
    pub last: bool,
}

/// State of a pace within one block.
#[derive(Clone, Debug)]
pub struct Quota {
    pace: Pace,
    step: usize,
    steps: usize,
    masks: usize,
    block: usize,
    carry: usize,
}

impl Quota {
    /// A block of `block` positions, of which `masks` are masked, to be done in `steps` steps.
    pub fn new(pace: Pace, steps: usize, masks: usize, block: usize) -> Self {
        let steps = match pace {
            Pace::Carry => steps.min(masks),
            Pace::Rounded => steps.min(MOST_ROUNDED),
            _ => steps,
        };
        Self { pace, step: 0, steps: steps.max(1), masks, block, carry: 0 }
    }

    /// Skips a step: the full pass of Dream's block sampler counts as its first one.
    #[must_use]
    pub fn skip(mut self) -> Self {
        self.step += 1;
        self
    }

    /// Whether the step budget is used up.
    pub fn is_over(&self) -> bool {
        self.step >= self.steps
    }

    /// What the next step should free, of `masks` positions that are masked now.
    pub fn next(&mut self, masks: usize) -> Want {
        if self.pace == Pace::Rounded {
            return self.next_rounded(masks);
        }
        let (step, steps) = (self.step, self.steps);
        // A carrying pace adds steps as it needs them, so it never has to finish in one go.
        let last = step + 1 >= steps && self.pace != Pace::Carry;
        self.step += 1;
        let even = |of: usize| of / steps + usize::from(step < of % steps);
        let (count, fraction) = match self.pace {
            Pace::EvenMasks => (even(self.masks), 1.0 / (steps - step.min(steps - 1)) as f32),
            Pace::EvenBlock => (even(self.block), 1.0 / (steps - step.min(steps - 1)) as f32),
            Pace::Timesteps { .. } if last => (masks, 1.0),
            Pace::Timesteps { eps } => {
                let fraction = 1.0 - timestep(step + 1, steps, eps) / timestep(step, steps, eps);
                ((masks as f32 * fraction) as usize, fraction)
            }
            Pace::Carry => (even(self.masks) + std::mem::take(&mut self.carry), 1.0),
            Pace::Rounded => unreachable!("it has a function of its own"),
        };
        Want { count: if step >= steps { masks } else { count }, fraction, last }
    }

    /// [`Pace::Rounded`]: its counts follow from the masks of the block, whatever was revealed.
    fn next_rounded(&mut self, masks: usize) -> Want {
        let line = |left: usize| 1.0 - (1.0 - left as f32 / self.steps as f32);
        while self.step < self.steps {
            let left = self.steps - self.step;
            self.step += 1;
            let fraction = 1.0 - f64::from(line(left - 1) / line(left));
            let count = ((self.masks as f64 * fraction).round_ties_even() as usize).min(self.masks);
            self.masks -= count;
            if count > 0 {
                return Want { count, fraction: fraction as f32, last: self.masks == 0 };
            }
        }
        Want { count: masks, fraction: 1.0, last: true }
    }

    /// Tells a carrying pace how many of the requested positions were kept back.
    pub fn rejected(&mut self, positions: usize) {
        if self.pace != Pace::Carry {
            return;
        }
        self.carry += positions;
        if positions > 0 && self.step == self.steps {
            // The extra steps have no budget of their own, only what was carried.
            self.masks = 0;
            self.steps += 1;
        }
    }
}

/// `steps + 1` points from 1 to `eps`, in f32, symmetric as a line drawn from both ends.
pub fn timesteps(steps: usize, eps: f32) -> Vec<f32> {
    (0..=steps).map(|i| timestep(i, steps, eps)).collect()
}

/// Point `i` of [`timesteps`], without the others: an unlimited budget has a point for every `usize`.
fn timestep(i: usize, steps: usize, eps: f32) -> f32 {
    let step = (eps - 1.0) / steps as f32;
    if i < steps.div_ceil(2) { 1.0 + step * i as f32 } else { eps - step * (steps - i) as f32 }
}
