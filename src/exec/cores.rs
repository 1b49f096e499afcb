//! How many cores this process may use.

use std::collections::HashSet;
use std::fs::read_to_string;

/// Where Linux describes the CPUs of the machine.
const CPUS: &str = "/sys/devices/system/cpu";

/// Physical cores available to this process; at least 1.
///
/// Kernels keep the units of a core busy with one thread, so a second hardware thread on the same core only takes cache
/// from it. Where the system does not say which threads share a core (anything but Linux), every thread counts.
pub fn physical_cores() -> usize {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let siblings = |cpu: usize| read_to_string(format!("{CPUS}/cpu{cpu}/topology/thread_siblings_list")).ok();
    let allowed = read_to_string("/proc/thread-self/status").ok();
    let allowed = allowed
        .as_deref()
        .and_then(|status| list(status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?));
    let online = read_to_string(format!("{CPUS}/online")).ok().and_then(|text| list(&text));
    allowed.map_or(threads, |allowed| count(&allowed, online.as_ref(), siblings, threads))
}

/// Cores of the CPUs that are `allowed` and `online`, at most `threads`, which takes quotas into account. A CPU for which the system does not
/// say what shares its core has a core of its own.
fn count(
    allowed: &HashSet<usize>,
    online: Option<&HashSet<usize>>,
    siblings: impl Fn(usize) -> Option<String>,
    threads: usize,
) -> usize {
    let usable = allowed.iter().filter(|cpu| online.is_none_or(|online| online.contains(cpu)));
    let cores: HashSet<String> = usable
        .map(|&cpu| siblings(cpu).map_or_else(|| cpu.to_string(), |list| list.trim().to_string()))
        .collect();
    if cores.is_empty() { threads } else { threads.min(cores.len()) }
}

/// A list of CPUs as Linux writes it: `0-3,8,10-11`. `None` if it is not one.
fn list(text: &str) -> Option<HashSet<usize>> {
    // More CPUs than any kernel is built for means that the file is not a list.
    const MOST: usize = 1 << 16;
    let mut cpus = HashSet::new();
    for range in text.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last >= MOST {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_counted_among_the_cpus_that_may_be_used() {
        // (CPU, its siblings) of the machine, allowed, online, threads; cores.
        let pairs: &[(usize, &str)] = &[(0, "0-1\n"), (1, "0-1\n"), (2, "2-3\n"), (3, "2-3\n")];
        let apart: &[(usize, &str)] = &[(0, "0,2"), (1, "1,3"), (2, "0,2"), (3, "1,3")];
        let no_smt: &[(usize, &str)] = &[(0, "0"), (2, "2"), (4, "4"), (6, "6")];
        for (machine, allowed, online, threads, cores) in [
            (pairs, "0-3", Some("0-3"), 4, 2),
            (pairs, "0-1", Some("0-3"), 2, 1),
            (pairs, "1,3", None, 2, 2),
            (pairs, "1-2", Some("0-3"), 2, 2),
            (apart, "0-3", Some("0-3"), 4, 2),
            (apart, "0,2", Some("0-3"), 2, 1),
            // SMT is switched off: every other CPU is offline and has no topology.
            (no_smt, "0-7", Some("0,2,4,6\n"), 4, 4),
            (no_smt, "0-1", None, 2, 2),
            // A quota allows less than the mask.
            (pairs, "0-3", Some("0-3"), 1, 1),
            // Nothing is known.
            (&[], "0-3", None, 4, 4),
            (pairs, "", Some("0-3"), 3, 3),
        ] {
            let siblings =
                |cpu| machine.iter().find(|(other, _)| *other == cpu).map(|(_, list)| list.to_string());
            let online = online.map(|text| list(text).unwrap());
            let found = count(&list(allowed).unwrap(), online.as_ref(), siblings, threads);
            assert_eq!(found, cores, "{machine:?}, allowed {allowed}, online {online:?}, {threads} threads");
        }
        for text in ["a", "1-", "-2", "3-x", "0-99999999"] {
            assert_eq!(list(text), None, "{text}");
        }
    }
}
