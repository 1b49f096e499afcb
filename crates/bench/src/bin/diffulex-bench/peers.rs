//! Times of another engine, from a CSV file.
//!
//! ```text
//! rows,context,ms,name        any order; other columns are ignored
//! 4,0,90.0,other engine
//! ```

use crate::case::Case;
use diffulex::{Error, Result};
use diffulex_cli as cli;
use serde_json::{Value, json};
use std::path::Path;

/// A time of another engine.
#[derive(Debug, PartialEq)]
pub(crate) struct Peer {
    rows: usize,
    context: usize,
    ms: f64,
    name: String,
}

/// Reads the file.
///
/// # Errors
/// What is wrong with which line.
pub(crate) fn read(path: &Path) -> Result<Vec<Peer>> {
    parse(&path.display().to_string(), &cli::input::read(path)?)
}

fn parse(file: &str, text: &str) -> Result<Vec<Peer>> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let cells = |line: &str| line.split(',').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let header = lines.next().map(|(_, line)| cells(line)).unwrap_or_default();
    let column = |name: &str| {
        header.iter().position(|title| title == name).ok_or_else(|| {
            Error::format(file, format!("no column `{name}` in the header, rows, context and ms expected"))
        })
    };
    let (rows, context, ms) = (column("rows")?, column("context")?, column("ms")?);
    let name = column("name").ok();
    let mut peers = Vec::new();
    for (i, line) in lines {
        let cells = cells(line);
        let wrong = |what: String| Error::format(file, format!("line {}: {what}", i + 1));
        if cells.len() != header.len() {
            return Err(wrong(format!("{} cells, {} expected as in the header", cells.len(), header.len())));
        }
        let count = |at: usize| {
            let wrong = |_| wrong(format!("{} `{}`, a number of positions expected", header[at], cells[at]));
            cells[at].parse::<usize>().map_err(wrong)
        };
        let time = cells[ms].parse::<f64>().ok().filter(|ms| ms.is_finite() && *ms > 0.0);
        peers.push(Peer {
            rows: count(rows)?,
            context: count(context)?,
            ms: time.ok_or_else(|| wrong(format!("ms `{}`, a number above 0 expected", cells[ms])))?,
            name: name.map_or_else(|| "peer".to_owned(), |at| cells[at].clone()),
        });
    }
    if peers.is_empty() {
        return Err(Error::format(file, "no line below the header"));
    }
    Ok(peers)
}

/// The peers' times of the cases that were measured, each next to ours.
fn pairs<'a>(peers: &'a [Peer], cases: &'a [Case]) -> impl Iterator<Item = (&'a Case, &'a Peer)> {
    let of = |case: &'a Case| {
        let same = move |peer: &&Peer| (peer.rows, peer.context) == (case.rows, case.context);
        peers.iter().filter(same).map(move |peer| (case, peer))
    };
    cases.iter().flat_map(of)
}

/// A table for people.
pub(crate) fn text(peers: &[Peer], cases: &[Case]) -> String {
    let mut text = String::from("\n  rows context   ours ms  theirs ms   ratio  engine\n");
    for (case, peer) in pairs(peers, cases) {
        let ours = case.median() * 1e3;
        text += &format!(
            "{:6} {:7} {ours:9.2} {:10.2} {:7.2}  {}\n",
            case.rows,
            case.context,
            peer.ms,
            peer.ms / ours,
            peer.name
        );
    }
    text + "ratio: how many times as long they take\n"
}

pub(crate) fn json(peers: &[Peer], cases: &[Case]) -> Value {
    let row = |(case, peer): (&Case, &Peer)| {
        let ours = case.median() * 1e3;
        json!({ "rows": case.rows, "context": case.context, "name": peer.name, "ours_ms": ours,
                "theirs_ms": peer.ms, "ratio": peer.ms / ours })
    };
    pairs(peers, cases).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_their_titles() {
        let peer = |rows, context, ms, name: &str| Peer { rows, context, ms, name: name.to_owned() };
        let parsed = parse("a.csv", "rows,context,ms\n4,0,90.5\n\n32, 512, 307\n").unwrap();
        assert_eq!(parsed, [peer(4, 0, 90.5, "peer"), peer(32, 512, 307.0, "peer")]);
        let parsed = parse("a.csv", "name, ms,rows,date,context\r\nother,1.5,1,today,0\r\n").unwrap();
        assert_eq!(parsed, [peer(1, 0, 1.5, "other")]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, what) in [
            ("", "no column `rows`"),
            ("rows,ms\n1,2\n", "no column `context`"),
            ("rows,context,time\n1,0,2\n", "no column `ms`"),
            ("rows,context,ms\n", "no line below the header"),
            ("rows,context,ms\n1,0\n", "line 2: 2 cells, 3 expected"),
            ("rows,context,ms\n1,0,2\n\n-1,0,2\n", "line 4: rows `-1`"),
            ("rows,context,ms\n1,x,2\n", "line 2: context `x`"),
            ("rows,context,ms\n1,0,fast\n", "line 2: ms `fast`"),
            ("rows,context,ms\n1,0,0\n", "line 2: ms `0`"),
            ("rows,context,ms\n1,0,inf\n", "line 2: ms `inf`"),
        ] {
            let error = parse("a.csv", text).unwrap_err().to_string();
            assert!(error.starts_with("a.csv: ") && error.contains(what), "{text:?}: {error}");
        }
    }
}
