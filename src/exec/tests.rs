use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Tasks, rounds: as many, or as few as an interpreter that is a thousand times slower can do.
const fn few(many: usize) -> usize {
    if cfg!(miri) { 3 } else { many }
}

fn executors() -> Vec<Box<dyn Executor>> {
    let mut all: Vec<Box<dyn Executor>> = vec![Box::new(Serial)];
    all.extend([0, 1, 2, 3, 8].map(|width| Box::new(Threads::new(width)) as Box<dyn Executor>));
    all
}

#[test]
fn every_task_runs_once() {
    for exec in executors() {
        for tasks in [0, 1, 2, 3, 7, few(64), few(1000)] {
            let counts: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            exec.run(tasks, &|i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(
                counts.iter().all(|c| c.load(Ordering::Relaxed) == 1),
                "width {}, {tasks} tasks",
                exec.width()
            );
        }
    }
}

#[test]
fn split_hands_out_every_element_once() {
    for exec in executors() {
        for len in [0, 1, 5, 64, 65] {
            let mut data = vec![0u32; len];
            split(&*exec, &mut data, 7, |i, part| {
                part.iter_mut().enumerate().for_each(|(j, x)| *x += 1 + (i * 7 + j) as u32);
            });
            assert!(data.iter().enumerate().all(|(i, &x)| x == 1 + i as u32), "len {len}");
        }
    }
}

#[test]
fn split_outputs_hands_out_every_column_once() {
    for exec in executors() {
        for (unit, widths) in [(4, vec![10]), (1, vec![100]), (16, vec![7, 64, 1, 500]), (1000, vec![30, 20])]
        {
            let rows = 3;
            let mut data: Vec<_> = widths.iter().map(|width| vec![0.0; rows * width]).collect();
            let outputs = data.iter_mut().zip(&widths).map(|(data, &width)| Output { width, data }).collect();
            split_outputs(&*exec, outputs, unit, |matrix, mut columns| {
                let (range, width) = (columns.range(), widths[matrix]);
                assert!(
                    range.start % unit == 0 && (range.end % unit == 0 || range.end == width),
                    "{range:?}"
                );
                for i in 0..columns.rows() {
                    let numbers = columns.row_mut(i).iter_mut().zip(i * width + range.start..);
                    numbers.for_each(|(x, number)| *x += number as f32);
                }
            });
            for data in data {
                assert!(data.iter().enumerate().all(|(i, &x)| x == i as f32), "width {}", exec.width());
            }
        }
    }
}

#[test]
fn pieces_become_shorter() {
    let (pool, pieces) = (Threads::new(2), std::sync::Mutex::new(Vec::new()));
    let mut data = vec![0.0; 2048];
    split_outputs(&pool, vec![Output { width: 2048, data: &mut data }], 128, |_, columns| {
        pieces.lock().unwrap().push(columns.range());
    });
    let mut pieces = pieces.into_inner().unwrap();
    pieces.sort_by_key(|range| range.start);
    let lengths: Vec<_> = pieces.iter().map(ExactSizeIterator::len).collect();
    assert_eq!(lengths, [512, 384, 256, 128, 128, 128, 128, 128, 128, 128]);
}

#[test]
fn a_panicking_task_reaches_the_caller_and_the_pool_lives_on() {
    let pool = Threads::new(4);
    for round in 0..few(20) {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.run(16, &|i| assert!(i != round % 16, "task {i} fails"));
        }));
        assert!(outcome.is_err(), "round {round} did not report the panic");
        let sum = AtomicUsize::new(0);
        pool.run(16, &|i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 120, "round {round}");
    }
}

#[test]
fn nested_and_concurrent_calls_finish() {
    let pool = Threads::new(3);
    let sum = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..few(50) {
                    pool.run(4, &|_| {
                        pool.run(5, &|_| {
                            sum.fetch_add(1, Ordering::Relaxed);
                        });
                    });
                }
            });
        }
    });
    assert_eq!(sum.into_inner(), 3 * few(50) * 4 * 5);
}

#[test]
fn a_parked_pool_wakes_up() {
    let pool = Threads::new(3);
    for _ in 0..5 {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let sum = AtomicUsize::new(0);
        pool.run(8, &|i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 28);
    }
}
