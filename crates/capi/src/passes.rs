//! Forward passes for a decoding loop of the caller's own. Wrong calls, which panic in Rust, are refused before they are made.

use super::engine::share;
use super::error::{ErrorText, Failure, Outcome, Status, call};
use super::pointers::{required, slice, slice_mut};
use super::session::{SessionHandle, State};
use super::structs::{VISIBLE_ALL, VISIBLE_RULE};
use diffulex::cache::Visible;
use diffulex::model::Probe;

/// Does something with a session.
///
/// # Safety
/// `session` and `error` as the header says.
unsafe fn with(
    session: *mut SessionHandle,
    error: *mut ErrorText,
    work: impl FnOnce(&mut State) -> Outcome,
) -> Status {
    // SAFETY: by the contract.
    let work = || unsafe { share("session", session) }?.with(work);
    // SAFETY: by the contract.
    unsafe { call(error, work) }
}

/// One forward pass.
///
/// # Safety
/// Arguments as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn diffulex_forward(
    session: *mut SessionHandle,
    ids: *const u32,
    ids_len: usize,
    first: usize,
    visible: i32,
    error: *mut ErrorText,
) -> Status {
    let forward = |state: &mut State| {
        // SAFETY: the contract of this function.
        let ids = unsafe { slice("ids", ids, ids_len) }?;
        state.rows = 0;
        let session = &mut state.session;
        let end = first.saturating_add(ids.len());
        let (committed, filled) = (session.committed(), session.filled());
        if ids.is_empty() || first < committed || first > filled {
            return Err(Failure::argument(format!(
                "{} ids from position {first}, at least 1 from {committed} to {filled} expected",
                ids.len()
            )));
        }
        let visible = match visible {
            VISIBLE_RULE => Visible::by_rule(session.engine().arch().attention, first..end, 0, end),
            VISIBLE_ALL => Visible::all(first..end, 0..end),
            _ => return Err(Failure::argument(format!("visible is {visible}, 0 or 1 expected"))),
        };
        session.forward(ids, first, &visible, &mut Probe::none())?;
        state.rows = ids.len();
        Ok(())
    };
    // SAFETY: as above.
    unsafe { with(session, error, forward) }
}

/// Logits of the latest pass.
///
/// # Safety
/// Arguments as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn diffulex_logits(
    session: *mut SessionHandle,
    rows: *const usize,
    rows_len: usize,
    logits: *mut f32,
    logits_len: usize,
    error: *mut ErrorText,
) -> Status {
    let compute = |state: &mut State| {
        // SAFETY: the contract of this function, for this and the block below.
        let rows = unsafe { slice("rows", rows, rows_len) }?;
        let vocab = state.session.engine().arch().dims.vocab;
        if rows.len().checked_mul(vocab) != Some(logits_len) {
            return Err(Failure::argument(format!(
                "logits_len is {logits_len}, {} rows of {vocab} numbers expected",
                rows.len()
            )));
        }
        if let Some(row) = rows.iter().find(|&&row| row >= state.rows) {
            return Err(Failure::argument(format!("row {row} of a pass of {} rows", state.rows)));
        }
        // SAFETY: as above.
        let out = unsafe { slice_mut("logits", logits, logits_len) }?;
        out.copy_from_slice(state.session.logits(rows, &mut Probe::none()).data());
        Ok(())
    };
    // SAFETY: as above.
    unsafe { with(session, error, compute) }
}

/// Makes staged positions final.
///
/// # Safety
/// Arguments as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn diffulex_commit(
    session: *mut SessionHandle,
    rows: usize,
    error: *mut ErrorText,
) -> Status {
    let commit = |state: &mut State| {
        let staged = state.session.filled() - state.session.committed();
        if rows > staged {
            return Err(Failure::argument(format!("commit of {rows} rows, {staged} are staged")));
        }
        state.session.commit(rows);
        Ok(())
    };
    // SAFETY: the contract of this function.
    unsafe { with(session, error, commit) }
}

/// Forgets committed positions.
///
/// # Safety
/// Arguments as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn diffulex_rewind(
    session: *mut SessionHandle,
    length: usize,
    error: *mut ErrorText,
) -> Status {
    let rewind = |state: &mut State| {
        let committed = state.session.committed();
        if length > committed {
            return Err(Failure::argument(format!(
                "rewind to {length}, {committed} positions are committed"
            )));
        }
        state.session.rewind(length);
        Ok(())
    };
    // SAFETY: the contract of this function.
    unsafe { with(session, error, rewind) }
}

/// Reports how many positions are committed.
///
/// # Safety
/// Arguments as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn diffulex_committed(
    session: *mut SessionHandle,
    committed: *mut usize,
    error: *mut ErrorText,
) -> Status {
    let tell = |state: &mut State| {
        required("committed", committed)?;
        // SAFETY: not NULL, as checked; writable by the contract of this function.
        unsafe { committed.write(state.session.committed()) };
        Ok(())
    };
    // SAFETY: the contract of this function.
    unsafe { with(session, error, tell) }
}
