//! What was written and how much was lost, as text or JSON.

use crate::check::Check;
use crate::cli::readable;
use crate::convert::{Conversion, Written};
use diffulex::model::Role;
use diffulex::quant::Loss;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Tensors with the largest error that are listed.
const WORST: usize = 5;

/// The tensors of one part of the model.
#[derive(Default)]
struct Total {
    tensors: usize,
    /// Bytes in the source and in the output.
    bytes: [u64; 2],
    loss: Loss,
    formats: Vec<String>,
}

impl Total {
    fn add(&mut self, tensor: &Written) {
        self.tensors += 1;
        for (sum, bytes) in self.bytes.iter_mut().zip(tensor.bytes) {
            *sum += bytes;
        }
        self.loss = self.loss.merge(tensor.loss);
        let format = tensor.planned.to.name();
        if !self.formats.contains(&format) {
            self.formats.push(format);
        }
    }
}

fn totals(tensors: &[Written]) -> BTreeMap<Role, Total> {
    let mut totals: BTreeMap<Role, Total> = BTreeMap::new();
    for tensor in tensors {
        totals.entry(tensor.planned.slot.role).or_default().add(tensor);
    }
    totals
}

/// The tensors that lost the most, worst first; those that lost nothing are left out.
fn worst(tensors: &[Written]) -> Vec<&Written> {
    let mut lossy: Vec<_> = tensors.iter().filter(|tensor| tensor.loss.error > 0.0).collect();
    lossy.sort_by(|a, b| {
        let order = b.loss.relative_rms().total_cmp(&a.loss.relative_rms());
        order.then_with(|| a.planned.slot.name.cmp(&b.planned.slot.name))
    });
    lossy.truncate(WORST);
    lossy
}

fn bytes(tensors: &[Written]) -> [u64; 2] {
    [0, 1].map(|i| tensors.iter().map(|tensor| tensor.bytes[i]).sum())
}

/// For people.
pub(crate) fn text(conversion: Option<&Conversion>, check: Option<&Check>) -> String {
    let mut text = String::new();
    if let Some(conversion) = conversion {
        describe(conversion, &mut text).expect("strings can always be written");
    }
    if let Some(check) = check {
        let Check { positions, agreements, time } = check;
        let seconds = time.as_secs_f64();
        let _ = writeln!(text, "logits of source and output on {positions} random tokens ({seconds:.1} s):");
        for agreement in agreements {
            let _ = writeln!(
                text,
                "  {} activations: cosine {:.6} (least {:.6}), same best token {:.1} %",
                agreement.activations.name(),
                agreement.mean_cosine,
                agreement.least_cosine,
                100.0 * agreement.top1
            );
        }
    }
    text
}

fn describe(conversion: &Conversion, text: &mut String) -> std::fmt::Result {
    let Conversion { tensors, time, peak_memory } = conversion;
    writeln!(
        text,
        "{:17} {:>7}  {:>9} -> {:>9}  rms error  worst group  format",
        "", "tensors", "before", "after"
    )?;
    for (role, total) in totals(tensors) {
        writeln!(
            text,
            "{:17} {:>7}  {:>9} -> {:>9}  {:>8.4} %  {:>9.2} %  {}",
            role.name(),
            total.tensors,
            readable(total.bytes[0]),
            readable(total.bytes[1]),
            100.0 * total.loss.relative_rms(),
            100.0 * total.loss.worst,
            total.formats.join(", ")
        )?;
    }
    let [before, after] = bytes(tensors);
    writeln!(text, "{:17} {:>7}  {:>9} -> {:>9}", "all", tensors.len(), readable(before), readable(after))?;
    let worst = worst(tensors);
    if !worst.is_empty() {
        writeln!(text, "largest errors:")?;
    }
    for Written { planned, loss, .. } in worst {
        let (row, group) = loss.worst_at;
        writeln!(
            text,
            "  {:.4} %  {}, worst group {:.2} % (row {row}, group {group})",
            100.0 * loss.relative_rms(),
            planned.slot.name,
            100.0 * loss.worst
        )?;
    }
    let memory = peak_memory.map_or_else(String::new, |bytes| format!(", peak memory {}", readable(bytes)));
    writeln!(text, "written in {:.1} s{memory}", time.as_secs_f64())
}

/// For programs.
pub(crate) fn json(conversion: Option<&Conversion>, check: Option<&Check>) -> Value {
    let mut report = json!({});
    if let Some(conversion) = conversion {
        let loss = |loss: &Loss| json!({ "relative_rms": loss.relative_rms(), "worst_group": loss.worst });
        let [before, after] = bytes(&conversion.tensors);
        let parts = totals(&conversion.tensors).into_iter().map(|(role, total)| {
            let [before, after] = total.bytes;
            json!({ "part": role.name(), "tensors": total.tensors, "formats": total.formats,
                    "bytes_before": before, "bytes_after": after, "loss": loss(&total.loss) })
        });
        let tensors = conversion.tensors.iter().map(|tensor| {
            let Written { planned, bytes: [before, after], loss: lost } = tensor;
            json!({ "name": planned.slot.name, "format": planned.to.name(), "bytes_before": before,
                    "bytes_after": after, "loss": loss(lost) })
        });
        report["bytes_before"] = before.into();
        report["bytes_after"] = after.into();
        report["parts"] = parts.collect();
        report["tensors"] = tensors.collect();
        report["seconds"] = conversion.time.as_secs_f64().into();
        report["peak_memory"] = conversion.peak_memory.into();
    }
    if let Some(check) = check {
        let agreements = check.agreements.iter().map(|agreement| {
            json!({ "activations": agreement.activations.name(), "mean_cosine": agreement.mean_cosine,
                    "least_cosine": agreement.least_cosine, "top1": agreement.top1 })
        });
        report["check"] = json!({ "positions": check.positions, "seconds": check.time.as_secs_f64(),
                                  "agreements": agreements.collect::<Vec<_>>() });
    }
    report
}
