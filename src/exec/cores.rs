//! How many cores this process may use.

use std::collections::HashSet;

/// Physical cores available to this process; at least 1.
///
/// Kernels keep the units of a core busy with one thread, so a second hardware thread on the same core only takes cache
/// from it. Where the system does not say which threads share a core (anything but Linux), every thread counts.
pub fn physical_cores() -> usize {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let siblings = |cpu: usize| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        std::fs::read_to_string(path).ok()
    };
    let cores: HashSet<String> = (0..).map_while(siblings).collect();
    if cores.is_empty() { threads } else { threads.min(cores.len()) }
}
