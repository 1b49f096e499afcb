//! A line on stderr that shows that work is in progress: only on a terminal, and only once the work takes more than a second.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Work that takes no longer than this is not announced.
const DELAY: Duration = Duration::from_secs(1);
/// Time between two frames of the spinner.
const TICK: Duration = Duration::from_millis(100);

/// Work in progress. The line disappears when the value is dropped.
pub struct Progress {
    bar: ProgressBar,
    /// Dropping it ends the thread that draws.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins; `quiet` work never shows.
    pub fn start(message: impl Into<String>, quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        bar.set_style(style.expect("a valid template"));
        bar.set_message(message.into());
        if quiet || !std::io::stderr().is_terminal() {
            return Self { bar, end: None, thread: None };
        }
        let (end, ended) = channel();
        let shown = bar.clone();
        let thread = std::thread::spawn(move || {
            if ended.recv_timeout(DELAY) == Err(RecvTimeoutError::Timeout) {
                shown.set_draw_target(ProgressDrawTarget::stderr());
                shown.enable_steady_tick(TICK);
                // Until the sender is gone.
                let _ = ended.recv();
                shown.finish_and_clear();
            }
        });
        Self { bar, end: Some(end), thread: Some(thread) }
    }

    /// What is done now.
    pub fn message(&self, message: impl Into<String>) {
        self.bar.set_message(message.into());
    }

    /// What is done now, for a callback that is told how much of it is done.
    pub fn share(&self, message: impl Into<String>) -> impl Fn(usize, usize) + Send + Sync + 'static {
        let (bar, message) = (self.bar.clone(), message.into());
        move |done, all| bar.set_message(format!("{message}: {} %", 100 * done as u128 / all.max(1) as u128))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It cannot have panicked in a way that matters: it only draws.
            let _ = thread.join();
        }
    }
}
