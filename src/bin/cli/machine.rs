//! The machine: what it is, and what it was measured to do at most.

use diffulex::exec::Executor;
use diffulex::kernels::{Activations, Cpu, Kernels, Level};
use diffulex::quant::Format;
use diffulex::roofline;
use serde_json::{Value, json};

/// What the instructions of a unit do at most.
pub struct Peak {
    /// The unit, and what it multiplies: `f32/avx2`, `i8/avx2 x int4`.
    pub label: String,
    /// Operations per second of all threads.
    pub rate: f64,
    /// The same in theory, by counting instructions, unless there are no vectors.
    pub counted: Option<f64>,
}

/// A measured machine.
pub struct Machine {
    /// What the system calls the CPU.
    pub cpu: String,
    /// Level of the kernels.
    pub level: Level,
    /// Threads that were measured together.
    pub threads: usize,
    /// Bytes per second that all threads read from memory.
    pub bandwidth: f64,
    /// Cycles per second of a thread.
    pub clock: f64,
    /// One for each unit.
    pub peaks: Vec<Peak>,
}

/// What multiplies weights of `format`. Integer units multiply int4 and int8 with other instructions.
fn label(kernels: &Kernels, format: Format) -> String {
    let unit = kernels.unit_name(format);
    match format {
        Format::Quant(quant) if kernels.activations() == Activations::Int8 => {
            format!("{unit} x int{}", quant.code.bits())
        }
        _ => unit,
    }
}

/// Bytes that [`Machine::glance`] reads: enough to tell whether work takes seconds or minutes.
const GLANCE_BYTES: usize = 128 << 20;
/// What any machine achieves, for [`Machine::slow`]: bytes per second, and cycles per second in which units are busy.
const SLOW_BANDWIDTH: f64 = 5e9;
const SLOW_CLOCK: f64 = 1e9;

impl Machine {
    /// Measures memory, and every unit that one of the pairs uses.
    pub fn measure(exec: &dyn Executor, level: Level, pairs: &[(&Kernels, Format)]) -> Self {
        let clock = roofline::clock();
        Self::with(exec, level, pairs, [roofline::bandwidth(exec), clock], |kernels, format| {
            roofline::peak(kernels, exec, format)
        })
    }

    /// The same in a fraction of a second and with less memory, but less exactly.
    pub fn glance(exec: &dyn Executor, level: Level, pairs: &[(&Kernels, Format)]) -> Self {
        let rates = [roofline::bandwidth_of(exec, GLANCE_BYTES), roofline::clock()];
        Self::with(exec, level, pairs, rates, |kernels, format| roofline::peak(kernels, exec, format))
    }

    /// A machine as slow as almost any can be; nothing is measured.
    pub fn slow(exec: &dyn Executor, level: Level, pairs: &[(&Kernels, Format)]) -> Self {
        Self::with(exec, level, pairs, [SLOW_BANDWIDTH, SLOW_CLOCK], |kernels, format| {
            let counted = roofline::counted_peak(kernels, exec, format, SLOW_CLOCK);
            counted.unwrap_or(SLOW_CLOCK * exec.width() as f64)
        })
    }

    /// A machine with these read and clock rates, which multiplies as fast as `peak` says.
    fn with(
        exec: &dyn Executor,
        level: Level,
        pairs: &[(&Kernels, Format)],
        [bandwidth, clock]: [f64; 2],
        peak: impl Fn(&Kernels, Format) -> f64,
    ) -> Self {
        let mut peaks: Vec<Peak> = Vec::new();
        for &(kernels, format) in pairs {
            let label = label(kernels, format);
            if peaks.iter().all(|peak| peak.label != label) {
                let counted = roofline::counted_peak(kernels, exec, format, clock);
                peaks.push(Peak { label, rate: peak(kernels, format), counted });
            }
        }
        Self { cpu: cpu_name(), level, threads: exec.width(), bandwidth, clock, peaks }
    }

    /// Operations per second of what multiplies weights of `format`.
    ///
    /// # Panics
    /// If it was not measured.
    pub fn peak(&self, kernels: &Kernels, format: Format) -> f64 {
        let label = label(kernels, format);
        self.peaks.iter().find(|peak| peak.label == label).expect("every unit of the model was measured").rate
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let peak = |peak: &Peak| {
            json!({
                "unit": peak.label,
                "gops": peak.rate / 1e9,
                "counted_gops": peak.counted.map(|rate| rate / 1e9),
            })
        };
        json!({
            "cpu": self.cpu,
            "features": Cpu::detect().to_string(),
            "level": self.level.name(),
            "threads": self.threads,
            "read_gb_s": self.bandwidth / 1e9,
            "clock_ghz": self.clock / 1e9,
            "peaks": self.peaks.iter().map(peak).collect::<Vec<_>>(),
        })
    }

    /// Lines for people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "machine      {}, level {}, {} threads\n             {}\nread         {:.1} GB/s\nclock        {:.2} GHz\n",
            self.cpu,
            self.level.name(),
            self.threads,
            Cpu::detect(),
            self.bandwidth / 1e9,
            self.clock / 1e9
        );
        for Peak { label, rate, counted } in &self.peaks {
            let counted = counted.map(|rate| format!(" (by counting {:.0})", rate / 1e9)).unwrap_or_default();
            text += &format!("peak         {:.0} Gop/s: {label}{counted}\n", rate / 1e9);
        }
        text
    }
}

/// What the system calls the CPU; where it does not say, the architecture.
pub fn cpu_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let names = info.lines().filter_map(|line| line.strip_prefix("model name")?.split_once(": "));
    names.map(|(_, name)| name.trim().to_owned()).next().unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}
