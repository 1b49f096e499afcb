//! [`Loss`]: how much weights changed when they were stored.

/// Sums of squares over the weights of a matrix, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// Sum of the squared differences between weights and what is stored.
    pub error: f64,
    /// Sum of the squared weights.
    pub energy: f64,
    /// Relative root mean square error of the group that lost the most.
    pub worst: f64,
    /// Row and group of it; the group is 0 where a whole row counts as one (floats).
    pub worst_at: (usize, usize),
}

/// Root of a ratio of sums of squares; 0 of 0 is not a loss.
fn relative(error: f64, energy: f64) -> f64 {
    if error == 0.0 { 0.0 } else { (error / energy).sqrt() }
}

impl Loss {
    pub(super) fn of_group(group: usize, error: f64, energy: f64) -> Self {
        Self { error, energy, worst: relative(error, energy), worst_at: (0, group) }
    }

    /// The same in row `row`.
    pub(super) fn in_row(mut self, row: usize) -> Self {
        self.worst_at.0 = row;
        self
    }

    /// Root mean square of the differences, relative to that of the weights.
    pub fn relative_rms(&self) -> f64 {
        relative(self.error, self.energy)
    }

    /// Both together; `self` comes first where both are equally bad.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let worse = if other.worst > self.worst { other } else { self };
        Self { error: self.error + other.error, energy: self.energy + other.energy, ..worse }
    }
}
