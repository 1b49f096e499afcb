//! Passes and commits of a recording, which are refused where they make no sense: the engine's own checks are assertions.

use diffulex::cache::Visible;
use diffulex::engine::Session;
use diffulex::model::Probe;
use diffulex::tensor::TokenId;

type Check<T> = Result<T, String>;

/// Runs one pass, if it makes sense after those before it.
pub(super) fn pass(session: &mut Session<'_>, ids: &[TokenId], first: usize, visible: &Visible) -> Check<()> {
    let (committed, filled) = (session.committed(), session.filled());
    if ids.is_empty() || first < committed || first > filled {
        let len = ids.len();
        return Err(format!(
            "{len} ids from position {first}, at least 1 from {committed} to {filled} expected"
        ));
    }
    let keys = visible.spans().iter().map(|span| span.keys.end).max().unwrap_or(0);
    let there = filled.max(first + ids.len());
    if keys > there {
        return Err(format!("it sees {keys} positions, of which {there} were computed"));
    }
    session.forward(ids, first, visible, &mut Probe::none()).map_err(|e| e.to_string())
}

/// Makes positions final, if they were computed.
pub(super) fn commit(session: &mut Session<'_>, rows: usize) -> Check<()> {
    let (committed, filled) = (session.committed(), session.filled());
    if committed + rows > filled {
        return Err(format!("{rows} positions to store from {committed} on, {filled} were computed"));
    }
    session.commit(rows);
    Ok(())
}
