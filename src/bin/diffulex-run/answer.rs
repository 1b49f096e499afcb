//! One answer: a prompt goes through the decoding loop, whose events go to the display.

use crate::args::LengthArgs;
use crate::bound::bound;
use crate::cli;
use crate::display::Display;
use diffulex::engine::Session;
use diffulex::text_model::{Answer, Prompt, Setup};
use diffulex::{Control, Model, Policy, Result};

/// What the options say, with `policy`.
///
/// # Errors
/// For stop ids that the model does not have, and as [`bound`].
pub(crate) fn setup(args: &LengthArgs, policy: Policy, model: &Model) -> Result<Setup> {
    let stop_ids = match (&args.stop_id[..], args.ignore_eos) {
        (_, true) => &[][..],
        ([], false) => model.engine.stop(),
        (ids, false) => ids,
    };
    model.check_ids("stop-id", stop_ids)?;
    let (stop_ids, stop) = (stop_ids.to_vec(), args.stop.clone());
    let grammar = bound(args, model)?;
    Ok(Setup {
        policy,
        stop_ids,
        stop,
        seed: args.seed,
        grammar,
        alternatives: 0,
        max_tokens: args.max_tokens,
    })
}

/// Answers `prompt`. Ctrl-C ends the answer with what there is so far.
///
/// # Errors
/// A request that the model cannot serve, a NaN, text that cannot be written.
pub(crate) fn answer(
    session: &mut Session<'_>,
    model: &Model,
    setup: &Setup,
    prompt: &Prompt,
    display: &mut dyn Display,
) -> Result<Answer> {
    // The decoding loop looks at it before every forward pass.
    cli::catch_interrupt();
    let answer = model.answer(session, prompt, setup, &mut |event, settled| {
        let control = display.show(event, settled)?;
        Ok(if cli::interrupted() { Control::Stop } else { control })
    })?;
    display.finish(&answer.rest)?;
    Ok(answer)
}
