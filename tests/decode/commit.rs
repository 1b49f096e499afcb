//! What rows see when their keys and values become final: a model that denoises inside a block and commits causally, against
//! a plain loop of forward passes.

use super::*;
use diffulex::cache::{Attention, Visible};
use diffulex::engine::ModelFiles;
use diffulex::model::{CommitRule, Probe};
use diffulex::weights::{Checkpoint, Storage};

/// sdar-f32, whose blocks have 4 positions, with another commit rule.
fn committing(commit: CommitRule) -> Engine {
    let checkpoint = Checkpoint::locate(&fixture::golden("sdar-f32")).unwrap();
    let mut files = ModelFiles::read(&checkpoint).unwrap();
    files.arch.commit = commit;
    builder("sdar-f32").load(files, &checkpoint.open(Storage::Read).unwrap()).unwrap()
}

/// One step for each block: the most probable token of every mask.
fn plain_loop(engine: &Engine, prompt: &[TokenId], new: usize, commit: Attention) -> Vec<TokenId> {
    const BLOCK: usize = 4;
    let mask = engine.mask().unwrap();
    let mut ids = prompt.to_vec();
    ids.resize((prompt.len() + new).next_multiple_of(BLOCK), mask);
    let (mut session, open) = (engine.session().unwrap(), prompt.len() / BLOCK * BLOCK);
    let store = |session: &mut Session<'_>, ids: &[TokenId], first: usize, end: usize| {
        let visible = Visible::by_rule(commit, first..end, 0, end);
        session.forward(&ids[first..end], first, &visible, &mut Probe::none()).unwrap();
        session.commit(end - first);
    };
    if open > 0 {
        store(&mut session, &ids, 0, open);
    }
    for start in (open..ids.len()).step_by(BLOCK) {
        let end = start + BLOCK;
        let visible = Visible::all(start..end, 0..end);
        session.forward(&ids[start..end], start, &visible, &mut Probe::none()).unwrap();
        let rows: Vec<usize> = (0..BLOCK).filter(|row| ids[start + row] == mask).collect();
        let logits = session.logits(&rows, &mut Probe::none());
        let best = |row: &[f32]| {
            let allowed = (0..row.len()).filter(|&id| id != mask as usize);
            allowed.fold(0, |best, id| if row[id] > row[best] { id } else { best }) as TokenId
        };
        let tokens: Vec<TokenId> = (0..rows.len()).map(|i| best(logits.row(i))).collect();
        rows.iter().zip(tokens).for_each(|(row, token)| ids[start + row] = token);
        store(&mut session, &ids, start, end);
    }
    ids[prompt.len()..prompt.len() + new].to_vec()
}

#[test]
fn blocks_are_committed_by_the_rule_of_the_model() {
    let mut policy = Policy::named("sdar-static").unwrap();
    policy.schedule.steps = Steps::PerBlock(1);
    let mut differ = 0;
    for len in [1, 4, 7, 12] {
        let texts = [
            (CommitRule::AsDenoised, Attention::BlockCausal { block: 4 }),
            (CommitRule::Causal, Attention::CAUSAL),
        ]
        .map(|(commit, rule)| {
            let engine = committing(commit);
            let prompt = prompt(&engine, len, len as u64);
            let request = Request::new(&prompt, 20, &policy);
            let text = engine.session().unwrap().generate(&request, &mut |_| Ok(Control::Continue)).unwrap();
            assert_eq!(text.tokens, plain_loop(&engine, &prompt, 20, rule), "{len} tokens, {commit:?}");
            text.tokens
        });
        differ += usize::from(texts[0] != texts[1]);
    }
    assert!(differ > 0, "the rule matters");
}
