//! Which other tokens were probable where one was revealed: what the score of the token comes from, in every family.

use super::*;
use diffulex::sampler::{Basis, Draw, Score};

#[test]
fn the_most_probable_tokens_are_told_and_change_nothing() {
    for name in FAMILIES.into_iter().chain(GRIDS) {
        let engine = engine(name);
        let plain = policy_of(name);
        for score in [Score::Probability, Score::Margin] {
            let draw = Draw { temperature: 0.0, basis: Basis::Raw, ..plain.draw };
            let policy = Policy { score, draw, ..plain.clone() };
            let ids = prompt(&engine, 9, 5);
            let request = Request { seed: 3, alternatives: 4, ..Request::new(&ids, 12, &policy) };
            let mut seen = 0;
            let told = watch(&mut engine.session().unwrap(), &request, &mut |event| {
                let Event::Revealed { tokens, alternatives, .. } = event else {
                    return Ok(Control::Continue);
                };
                for token in *tokens {
                    let Some(best) = alternatives.get(&token.pos).filter(|best| !best.is_empty()) else {
                        assert_eq!(token.score, 1.0, "{name}: a token that was not drawn");
                        continue;
                    };
                    seen += 1;
                    assert_eq!((best.len(), best[0].token), (4, token.token), "{name}");
                    let ordered = best.windows(2).all(|pair| pair[0].probability >= pair[1].probability);
                    assert!(ordered && best.iter().map(|kept| kept.probability).sum::<f64>() <= 1.0 + 1e-9);
                    let [first, second] = [best[0].probability, best[1].probability];
                    match score {
                        Score::Probability => assert_eq!(token.score.to_bits(), first.to_bits(), "{name}"),
                        _ => assert!(
                            (token.score - (first - second)).abs() < 1e-12,
                            "{name}: {first} {second}"
                        ),
                    }
                }
                Ok(Control::Continue)
            });
            assert!(seen > 0, "{name}: no token was drawn");
            let without = fresh(&engine, &Request { alternatives: 0, ..request });
            assert_eq!(told.unwrap().decisions(), without.decisions(), "{name}");
        }
    }
}
