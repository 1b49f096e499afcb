//! The answers of a batch: appended line by line, so that a run that is broken off loses nothing but the answer it was at.
//!
//! An output that is there is continued: lines with a result stay, lines with an error are tried again, half a line at the
//! end is cut off. A file gets every answer as soon as it is there, and is brought into the order of the input at the end; on
//! stdout answers wait for those before them.

use super::input::{Line, is_stream};
use crate::cli;
use diffulex::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where answers go.
pub(super) struct Output {
    /// Absent for stdout.
    file: Option<(File, PathBuf)>,
    /// Places in the input of the lines that were written, in the order of the output.
    order: Vec<usize>,
    /// What is there from an earlier run, by place in the input.
    done: Vec<bool>,
    /// Whether the order is that of the input in the end.
    ordered: bool,
    /// Answers that wait for those before them, on stdout.
    held: BTreeMap<usize, Value>,
    /// The next place in the input that stdout waits for.
    next: usize,
    /// Nobody reads stdout any more.
    closed: bool,
}

impl Output {
    /// Opens `path` for the answers to `lines`.
    ///
    /// # Errors
    /// If it cannot be written, if it is there although `resume` says that it cannot be continued, or if it is no output of
    /// these lines.
    pub(super) fn open(
        path: &Path,
        lines: &[Line],
        overwrite: bool,
        resume: bool,
        ordered: bool,
    ) -> Result<Self> {
        let mut done = vec![false; lines.len()];
        let new = |file, order, done| Self {
            file,
            order,
            done,
            ordered,
            held: BTreeMap::new(),
            next: 0,
            closed: false,
        };
        if is_stream(path) {
            return Ok(new(None, Vec::new(), done));
        }
        let io = |e| Error::io(path, e);
        let mut order = Vec::new();
        let regular = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
        if regular && !overwrite {
            let text = fs::read(path).map_err(io)?;
            if !resume && !text.is_empty() {
                let what = "it is there, and prompts from stdin cannot be continued; --overwrite begins anew";
                return Err(Error::option("output", format!("{}: {what}", path.display())));
            }
            let Existing { kept, whole } = existing(path, &text, lines)?;
            order = kept.iter().map(|(index, _)| *index).collect();
            order.iter().for_each(|&index| done[index] = true);
            if !whole {
                rewrite(path, kept.iter().map(|(_, line)| *line))?;
            }
        }
        let mut options = OpenOptions::new();
        let options =
            if overwrite && regular { options.write(true).truncate(true) } else { options.append(true) };
        let file = options.create(true).open(path).map_err(io)?;
        Ok(new(Some((file, path.to_path_buf())), order, done))
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
        let Some((file, path)) = &mut self.file else {
            self.held.insert(index, record);
            return self.print_held(!self.ordered);
        };
        // In one call: what is cut off by a crash is the end of this line and nothing before it.
        let line = format!("{record}\n");
        file.write_all(line.as_bytes()).and_then(|()| file.flush()).map_err(|e| Error::io(&*path, e))?;
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

    /// Writes what waits still, and brings a file into the order of the input.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn finish(mut self) -> Result<()> {
        self.print_held(true)?;
        let Some((_, path)) = &self.file else { return Ok(()) };
        if self.order.is_sorted() || !self.ordered {
            return Ok(());
        }
        let text = fs::read(path).map_err(|e| Error::io(path, e))?;
        let mut lines: Vec<_> = self.order.iter().zip(text.split_inclusive(|&byte| byte == b'\n')).collect();
        lines.sort_by_key(|(index, _)| **index);
        rewrite(path, lines.into_iter().map(|(_, line)| line))
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
            return refuse(number, format!("the id {id} is not in the prompts"));
        };
        if seen[index] > 0 {
            return refuse(number, format!("the id {id} stands in line {} already", seen[index]));
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

/// Replaces the file as a whole: at no time is less there than before.
fn rewrite<'a>(path: &Path, mut lines: impl Iterator<Item = &'a [u8]>) -> Result<()> {
    cli::replace(path, |out| lines.try_for_each(|line| out.write_all(line)))
}
