//! Progress of a download: a line on a terminal, and an end to a download that is stuck.

use diffulex::{Error, Result};
use diffulex_cli::{BAD_INPUT, note};
use hf_hub::api::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A download ends if the server sends nothing for this long.
const PATIENCE: Duration = Duration::from_secs(60);
/// The variable that overrides it, in seconds.
const VARIABLE: &str = "DIFFULEX_PULL_TIMEOUT";

/// How long a server may send nothing.
///
/// # Errors
/// [`Error::Option`] if the variable is not a whole number of seconds.
pub(crate) fn patience() -> Result<Duration> {
    let Ok(text) = std::env::var(VARIABLE) else { return Ok(PATIENCE) };
    let seconds = text.trim().parse().ok().filter(|&seconds| seconds > 0);
    let seconds = seconds.map(Duration::from_secs);
    seconds
        .ok_or_else(|| Error::option(VARIABLE, format!("`{text}` given, whole seconds from 1 on expected")))
}

/// Watches transfers: the library that makes them waits forever.
pub(crate) struct Watch {
    /// Milliseconds from the start to when something was last received.
    last: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    bar: ProgressBar,
    /// Bytes of this file that were counted.
    counted: u64,
}

fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

impl Watch {
    /// Begins to watch the transfer of `what` from `host`; the program ends when nothing more comes. What was received stays.
    pub(crate) fn start(what: &str, host: &str, bar: Option<&ProgressBar>) -> Self {
        let watch = Self {
            last: Arc::new(AtomicU64::new(now())),
            done: Arc::default(),
            bar: bar.cloned().unwrap_or_else(ProgressBar::hidden),
            counted: 0,
        };
        let (last, done) = (Arc::clone(&watch.last), Arc::clone(&watch.done));
        let message = format!("error: {what}: nothing came from {host} for");
        let patience = patience().unwrap_or(PATIENCE);
        std::thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(50));
                let idle = Duration::from_millis(now().saturating_sub(last.load(Ordering::Relaxed)));
                if idle > patience && !done.load(Ordering::Relaxed) {
                    let seconds = patience.as_secs();
                    note(&format!("{message} {seconds} s; the same command resumes there"));
                    std::process::exit(i32::from(BAD_INPUT));
                }
            }
        });
        watch
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

/// Called by the library; `init` comes again, followed by what is there already, when a broken transfer is resumed.
impl Progress for &mut Watch {
    fn init(&mut self, _size: usize, _name: &str) {
        self.bar.set_position(self.bar.position().saturating_sub(self.counted));
        self.counted = 0;
        self.last.store(now(), Ordering::Relaxed);
    }

    fn update(&mut self, size: usize) {
        self.counted += size as u64;
        self.bar.inc(size as u64);
        self.last.store(now(), Ordering::Relaxed);
    }

    fn finish(&mut self) {}
}

/// A line for all files together; only terminals see it.
pub(crate) fn bar(total: u64, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    let style = ProgressStyle::with_template("{bar:32} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}");
    bar.set_style(style.expect("a valid template"));
    bar
}
