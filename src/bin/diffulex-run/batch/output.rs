//! The answers of a batch: appended line by line, so that an interrupted run loses nothing but the answer it was at.
//!
//! An existing output is continued: lines with a result stay, lines with an error are tried again, half a line at the
//! end is cut off. A file gets every answer as soon as it is there, and is brought into the order of the input at the end; on
//! stdout answers wait for those before them.

use super::input::{Line, is_given, is_stream};
use crate::cli::{self, Claim};
use diffulex::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Where answers go.
pub(super) struct Output {
    /// Absent for stdout.
    file: Option<Claim>,
    /// Lines of an earlier run that stay, to be written anew without the rest; `None` if the file is as it should be.
    kept: Option<Vec<u8>>,
    /// Places in the input of the lines that were written, in the order of the output.
    order: Vec<usize>,
    /// What is left from an earlier run, by place in the input.
    done: Vec<bool>,
    /// Whether the order is that of the input in the end.
    ordered: bool,
    /// Answers that wait for those before them, on stdout.
    held: BTreeMap<usize, Value>,
    /// The next place in the input that stdout waits for.
    next: usize,
    /// Whether nobody reads stdout any more.
    closed: bool,
}

/// What becomes of an existing output.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Earlier {
    /// It is continued.
    Continued,
    /// It is emptied.
    Overwritten,
    /// It cannot be continued.
    Refused,
}

impl Output {
    /// Claims `path` for the answers to `lines`. Nothing in it changes before [`Self::begin`].
    ///
    /// # Errors
    /// If it cannot be written, if another run writes to it, if it exists and is refused, or if it is not an output of these lines.
    pub(super) fn open(path: &Path, lines: &[Line], earlier: Earlier, ordered: bool) -> Result<Self> {
        let mut output = Self {
            file: None,
            kept: None,
            order: Vec::new(),
            done: vec![false; lines.len()],
            ordered,
            held: BTreeMap::new(),
            next: 0,
            closed: false,
        };
        if is_stream(path) {
            return Ok(output);
        }
        let mut file = Claim::take("output", path)?;
        if earlier == Earlier::Overwritten {
            output.kept = Some(Vec::new());
        } else {
            let text = file.contents()?;
            if earlier == Earlier::Refused && !text.is_empty() {
                let what = "it is there, and prompts from stdin cannot be continued; --overwrite begins anew";
                return Err(Error::option("output", format!("{}: {what}", path.display())));
            }
            let Existing { kept, whole } = existing(path, &text, lines)?;
            output.order = kept.iter().map(|(index, _)| *index).collect();
            output.order.iter().for_each(|&index| output.done[index] = true);
            if !whole {
                output.kept = Some(kept.iter().flat_map(|(_, line)| line.iter().copied()).collect());
            }
        }
        output.file = Some(file);
        Ok(output)
    }

    /// To be called when everything is checked: removes what does not stay of an earlier run.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn begin(&mut self) -> Result<()> {
        match (&mut self.file, self.kept.take()) {
            (Some(file), Some(kept)) => file.replace(|out| out.write_all(&kept)),
            _ => Ok(()),
        }
    }

    /// Whether a line of the input has its answer from an earlier run.
    pub(super) fn has(&self, index: usize) -> bool {
        self.done[index]
    }

    /// Whether nobody reads the answers any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes the answer to a line of the input.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn take(&mut self, index: usize, record: Value) -> Result<()> {
        let Some(file) = &mut self.file else {
            self.held.insert(index, record);
            return self.print_held(!self.ordered);
        };
        file.append(format!("{record}\n").as_bytes())?;
        self.order.push(index);
        Ok(())
    }

    /// Prints the answers that wait for no other, or `all`.
    fn print_held(&mut self, all: bool) -> Result<()> {
        while let Some(entry) = self.held.first_entry().filter(|entry| all || *entry.key() == self.next) {
            self.next = entry.key() + 1;
            self.closed |= !cli::print(&format!("{}\n", entry.remove()))?;
        }
        Ok(())
    }

    /// Writes what is still waiting, and brings a file into the order of the input.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn finish(mut self) -> Result<()> {
        self.print_held(true)?;
        let Some(file) = self.file.as_mut().filter(|file| file.is_regular()) else { return Ok(()) };
        if self.order.is_sorted() || !self.ordered {
            return Ok(());
        }
        let text = file.contents()?;
        let mut lines: Vec<_> = self.order.iter().zip(text.split_inclusive(|&byte| byte == b'\n')).collect();
        lines.sort_by_key(|(index, _)| **index);
        file.replace(|out| lines.iter().try_for_each(|(_, line)| out.write_all(line)))
    }
}

/// What an earlier run left.
struct Existing<'a> {
    /// Lines with results, with their places in the input.
    kept: Vec<(usize, &'a [u8])>,
    /// Whether those are all lines.
    whole: bool,
}

/// Reads the output `text` of an earlier run over `lines`.
fn existing<'a>(path: &Path, text: &'a [u8], lines: &[Line]) -> Result<Existing<'a>> {
    let known: HashMap<String, usize> =
        lines.iter().enumerate().map(|(index, line)| (line.id.to_string(), index)).collect();
    let refuse = |number: usize, what: String| {
        let what = format!("line {number}: {what}; name another file, or begin anew with --overwrite");
        Err(Error::option("output", format!("{}: {what}", path.display())))
    };
    let (mut kept, mut whole, mut seen) = (Vec::new(), true, vec![0; lines.len()]);
    for (number, line) in (1..).zip(text.split_inclusive(|&byte| byte == b'\n')) {
        if !line.ends_with(b"\n") {
            whole = false;
            break;
        }
        let record: Value = serde_json::from_slice(line).unwrap_or_default();
        let (answered, failed) = (record.get("text").is_some(), record.get("error").is_some());
        let Some(id) = record.get("id").filter(|_| answered || failed) else {
            return refuse(number, "no answer of an earlier run".to_owned());
        };
        let Some(&index) = known.get(&id.to_string()) else {
            // A line that could not be read had an id of ours, and may have its own by now.
            if failed && is_given(id) {
                whole = false;
                continue;
            }
            return refuse(number, format!("the id {id} is not in the prompts"));
        };
        if seen[index] > 0 {
            return refuse(number, format!("the id {id} is already in line {}", seen[index]));
        }
        seen[index] = number;
        if answered {
            kept.push((index, line));
        } else {
            whole = false;
        }
    }
    Ok(Existing { kept, whole })
}
