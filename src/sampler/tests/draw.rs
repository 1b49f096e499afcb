//! Draws and scores against f64, at every level.

use super::*;

const DRAW: Draw = Draw {
    temperature: 0.0,
    filters: Filters::OFF,
    kind: DrawKind::Multinomial,
    basis: Basis::Raw,
    repetition_penalty: 1.0,
};
const SCORES: [Score; 3] = [Score::Probability, Score::Margin, Score::NegEntropy];
const BASES: [Basis; 4] = [Basis::Raw, Basis::Tempered, Basis::Filtered, Basis::AlwaysFiltered];

/// The score of `token` under a distribution, in f64.
fn score_of(p: &[f64], score: Score, token: usize) -> f64 {
    let mut sorted = p.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    match score {
        Score::Probability => p[token],
        Score::Margin => sorted[0] - sorted.get(1).unwrap_or(&0.0),
        Score::NegEntropy => p.iter().filter(|&&p| p > 0.0).map(|p| p * p.ln()).sum(),
        Score::Random => panic!("not a function of the distribution"),
    }
}

/// `p`, restricted to what `filters` keep.
fn filtered(filters: &Filters, row: &[f32], temperature: f32) -> Vec<f64> {
    let mut p = vec![0.0; row.len()];
    let inv_t = Draw { temperature, ..DRAW }.inverse_temperature();
    filters.apply(row, inv_t).iter().for_each(|k| p[k.token as usize] = k.probability);
    p
}

#[test]
fn temperature_0_takes_the_first_maximum_and_no_random_number() {
    let mut row = logits(2500, Kind::Smooth, 1, 5);
    (row[700], row[2100], row[1]) = (9.5, 9.5, f32::NEG_INFINITY);
    let filters = Filters { top_k: 4, top_p: 0.9, order: FilterOrder::TopPThenTopK };
    for kernels in all_kernels() {
        for kind in [DrawKind::Multinomial, DrawKind::Gumbel] {
            for basis in BASES {
                for score in SCORES {
                    let mut stream = Rng::new(1).stream(2, 3);
                    let draw = Draw { kind, basis, filters, ..DRAW };
                    let drawn = draw.draw(&kernels, &row, score, &mut stream).unwrap();
                    assert_eq!(drawn.token, 700, "{kind:?} {basis:?} {score:?}");
                    assert_eq!(stream.uniform(), Rng::new(1).stream(2, 3).uniform(), "a number was drawn");
                }
            }
        }
    }
}

/// At temperatures far below the distances of logits only the maxima are drawn, each as often as the others.
#[test]
fn small_temperatures_draw_the_maxima() {
    let mut row = logits(2500, Kind::Smooth, 1, 5);
    (row[700], row[2100], row[1]) = (9.5, 9.5, f32::NEG_INFINITY);
    for kernels in all_kernels() {
        for temperature in [1e-4, 1e-5, 1e-6, 1e-20, 1e-40, 1e-45] {
            for kind in [DrawKind::Multinomial, DrawKind::Gumbel] {
                for filters in [Filters::OFF, Filters { top_p: 0.9, ..Filters::OFF }] {
                    let draw = Draw { temperature, kind, filters, basis: Basis::Tempered, ..DRAW };
                    draw.validate().unwrap();
                    let mut counts = [0; 2];
                    for seed in 0..40 {
                        let mut stream = Rng::new(seed).stream(2, 3);
                        let drawn = draw.draw(&kernels, &row, Score::Probability, &mut stream).unwrap();
                        assert_eq!(drawn.score, 0.5, "{draw:?}");
                        counts[[700, 2100].iter().position(|&t| t == drawn.token).expect("a maximum")] += 1;
                    }
                    // Gumbel noise of less than the last bit of a logit changes none, as in LLaDA: the first maximum wins.
                    let noiseless = kind == DrawKind::Gumbel && filters.is_off() && temperature < 1e-18;
                    let expected =
                        if noiseless { counts == [40, 0] } else { counts[0] >= 8 && counts[1] >= 8 };
                    assert!(expected, "{counts:?} {draw:?}");
                }
            }
        }
    }
}

#[test]
fn scores_are_those_of_the_distribution_that_the_basis_names() {
    let filters = Filters { top_k: 40, top_p: 0.8, order: FilterOrder::TopKThenTopP };
    for kernels in all_kernels() {
        for (vocab, seed) in [(1, 1), (2, 2), (17, 3), (300, 4), (2049, 5), (5000, 6)] {
            for kind in [Kind::Smooth, Kind::Tied, Kind::Flat] {
                let mut row = logits(vocab, kind, 2, seed);
                row[vocab / 2] = 0.5;
                // The smallest is subnormal, and its inverse is not finite.
                for temperature in [0.0, 0.7, 2.0, 1e-3, 1e-5, 1e-8, 1e-30, 1e-45] {
                    for basis in BASES {
                        check_scores(&kernels, &row, &Draw { temperature, basis, filters, ..DRAW });
                    }
                }
            }
        }
    }
}

/// The sums are made of f32 exponentials: each has seven digits, and so have short chains of them.
fn check_scores(kernels: &Kernels, row: &[f32], draw: &Draw) {
    let t = if draw.temperature == 0.0 { 1.0 } else { draw.temperature };
    let p = match (draw.basis, draw.temperature == 0.0) {
        (Basis::Raw, _) | (Basis::Filtered, true) => softmax(row, 1.0),
        (Basis::Tempered, _) => softmax(row, f64::from(t)),
        (Basis::Filtered, false) | (Basis::AlwaysFiltered, _) => filtered(&draw.filters, row, t),
    };
    for score in SCORES {
        let drawn = draw.draw(kernels, row, score, &mut Rng::new(9).stream(0, 0)).unwrap();
        let expected = score_of(&p, score, drawn.token as usize);
        let (level, vocab) = (kernels.level().name(), row.len());
        assert!(
            (drawn.score - expected).abs() <= 2e-5 * expected.abs().max(1e-3),
            "{score:?} {draw:?} of {vocab} tokens at {level}: {}, expected {expected}",
            drawn.score
        );
    }
}

/// Nearly certain positions differ by less than f32 can resolve next to 1.
#[test]
fn scores_near_1_are_ranked_by_what_is_left_of_them() {
    for kernels in all_kernels() {
        for vocab in [2, 40, 3000] {
            // Row i gives every other token the logit -gap; the rest of the probability shrinks as the gap grows.
            let gaps = [19.0f32, 19.5, 22.0, 26.0, 28.0];
            for score in SCORES {
                let mut last = f64::NEG_INFINITY;
                for gap in gaps {
                    let mut row = vec![-gap; vocab];
                    row[vocab / 2] = 0.0;
                    let found =
                        DRAW.draw(&kernels, &row, score, &mut Rng::new(0).stream(0, 0)).unwrap().score;
                    // 1 - p, 1 - margin and the entropy, without the loss of digits of a difference from 1.
                    let others = (vocab - 1) as f64 * (-f64::from(gap)).exp();
                    let (missing, expected) = match score {
                        Score::Probability => (1.0 - found, others / (1.0 + others)),
                        Score::Margin => (1.0 - found, (others + (-f64::from(gap)).exp()) / (1.0 + others)),
                        _ => (-found, others * f64::from(gap) / (1.0 + others) + others.ln_1p()),
                    };
                    let bound = 1e-4 * expected + 3e-16;
                    assert!(
                        (missing - expected).abs() <= bound,
                        "{score:?}, gap {gap}: {missing}, {expected}"
                    );
                    assert!(found > last, "{score:?} of {vocab}: gap {gap} is not surer than the one before");
                    last = found;
                }
            }
        }
    }
}

/// How often each token is drawn, over many streams.
fn counts(kernels: &Kernels, draw: &Draw, row: &[f32], draws: usize) -> Vec<usize> {
    let mut counts = vec![0; row.len()];
    for i in 0..draws {
        let drawn = draw.draw(kernels, row, Score::Random, &mut Rng::new(77).stream(i / 64, i % 64)).unwrap();
        counts[drawn.token as usize] += 1;
    }
    counts
}

#[test]
fn draws_have_the_frequencies_of_the_distribution() {
    let row = [0.5f32, 2.0, f32::NEG_INFINITY, -1.0, 2.0, 0.0, 1.25, f32::NEG_INFINITY, -3.0];
    let filters = Filters { top_k: 5, top_p: 0.85, order: FilterOrder::TopKThenTopP };
    for kernels in all_kernels() {
        for temperature in [0.5, 1.0, 1.7] {
            let draw = Draw { temperature, ..DRAW };
            let p = softmax(&row, f64::from(temperature));
            assert_frequencies("multinomial", &counts(&kernels, &draw, &row, 30_000), &p);
            let gumbel = Draw { kind: DrawKind::Gumbel, ..draw };
            assert_frequencies("gumbel", &counts(&kernels, &gumbel, &row, 30_000), &p);
            let p = filtered(&filters, &row, temperature);
            assert!(p.iter().filter(|&&p| p > 0.0).count() < 6, "the filters take nothing away");
            assert_frequencies("filtered", &counts(&kernels, &Draw { filters, ..draw }, &row, 30_000), &p);
        }
    }
}

/// Rows longer than the chunks of the search, the chunks of very different weight, one of them without any.
#[test]
fn draws_find_their_place_in_a_long_row() {
    const PEAKS: [usize; 6] = [0, 1023, 2048, 3071, 3072, 4999];
    let mut row = vec![-7.0f32; 5000];
    row[1024..2048].fill(f32::NEG_INFINITY);
    for (i, token) in PEAKS.into_iter().enumerate() {
        row[token] = i as f32 / 4.0;
    }
    // Peaks are counted alone, the others together with their chunk: each of them is too rare to be counted.
    let grouped = |values: Vec<f64>| {
        let mut sums = vec![0.0; PEAKS.len() + 5];
        for (token, value) in values.into_iter().enumerate() {
            let peak = PEAKS.iter().position(|&peak| peak == token);
            sums[peak.unwrap_or(PEAKS.len() + token / 1024)] += value;
        }
        sums
    };
    let expected = grouped(softmax(&row, 1.0));
    let draw = Draw { temperature: 1.0, ..DRAW };
    for kernels in all_kernels() {
        let counts = counts(&kernels, &draw, &row, 30_000).into_iter().map(|n| n as f64).collect();
        let counts: Vec<usize> = grouped(counts).into_iter().map(|n| n as usize).collect();
        assert_frequencies("long row", &counts, &expected);
    }
}

#[test]
fn rows_that_are_not_finite_or_all_banned_give_no_token() {
    for kernels in all_kernels() {
        for len in [1, 2, 9, 33, 4100] {
            for at in [0, len / 2, len - 1] {
                for bad in [f32::NAN, f32::INFINITY, -f32::NAN] {
                    let mut row = logits(len, Kind::Smooth, 1, 3);
                    row[at] = bad;
                    for kind in [DrawKind::Multinomial, DrawKind::Gumbel] {
                        for temperature in [0.0, 1.0] {
                            let draw = Draw { kind, temperature, ..DRAW };
                            let drawn =
                                draw.draw(&kernels, &row, Score::Margin, &mut Rng::new(0).stream(0, 0));
                            assert_eq!(drawn, None, "{bad} at {at} of {len}, {draw:?}");
                        }
                    }
                }
            }
            let banned = vec![f32::NEG_INFINITY; len];
            let drawn = DRAW.draw(&kernels, &banned, Score::Probability, &mut Rng::new(0).stream(0, 0));
            assert_eq!(drawn, None, "a row of {len} banned tokens");
        }
    }
}

#[test]
fn the_same_stream_draws_the_same_token() {
    let row = logits(400, Kind::Smooth, 1, 8);
    let draw = Draw { temperature: 2.0, ..DRAW };
    for kernels in all_kernels() {
        let token = |seed, pass, pos| {
            draw.draw(&kernels, &row, Score::Random, &mut Rng::new(seed).stream(pass, pos)).unwrap()
        };
        assert_eq!(token(1, 2, 3), token(1, 2, 3));
        let different =
            |other: &dyn Fn(usize) -> Drawn| (0..40).any(|i| other(i).token != token(1, 2, 3).token);
        assert!(different(&|i| token(2 + i as u64, 2, 3)) && different(&|i| token(1, 3 + i, 3)));
        assert!(different(&|i| token(1, 2, 4 + i)));
    }
}
