//! SIGBUS: what a process gets when it touches a mapped page that its file no longer has. A message instead of a core dump.

use super::BAD_INPUT;
use std::sync::atomic::{AtomicBool, Ordering};

/// Longest line of the list of mappings that is understood, in bytes: addresses, and a path of up to 4096.
const LINE: usize = 4096 + 128;

/// From now on a fault in a mapped file ends the program with a message and exit code 2. Any other fault does what it did before.
pub(super) fn explain() {
    // SAFETY: the action makes system calls only (open, read, write, _exit): it does not allocate, lock or panic, which is what a
    // signal handler may do. It reads `si_addr`, which the system sets for SIGBUS.
    let outcome = unsafe {
        signal_hook_registry::register_sigaction(libc::SIGBUS, |info| act(info.si_addr() as usize))
    };
    // Without the handler a fault ends the program as it always does: without a message.
    drop(outcome);
}

/// What happens in the handler. Returning means that the fault is not ours.
fn act(address: usize) {
    static ACTING: AtomicBool = AtomicBool::new(false);
    // Several threads may touch the same file; the first one prints the message and ends them all.
    while ACTING.swap(true, Ordering::SeqCst) {
        std::hint::spin_loop();
    }
    let mut line = [0; LINE];
    if let Some(path) = file_mapped_at(address, &mut line) {
        say(b"error: ");
        say(path);
        say(b": the file changed or was truncated while in use; `--no-mmap` reads it once, at the start\n");
        // SAFETY: ends the process without running anything else, which is always allowed.
        unsafe { libc::_exit(i32::from(BAD_INPUT)) }
    }
    ACTING.store(false, Ordering::SeqCst);
}

/// Writes to stderr, as far as that is possible.
fn say(mut text: &[u8]) {
    while !text.is_empty() {
        // SAFETY: pointer and length are those of a slice.
        let written = unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
        match usize::try_from(written) {
            Ok(written) if written > 0 => text = &text[written..],
            _ => return,
        }
    }
}

/// The file that is mapped at an address, read line by line from the system's list into `line`. Only Linux has that list; elsewhere
/// nothing is found.
fn file_mapped_at(address: usize, line: &mut [u8; LINE]) -> Option<&[u8]> {
    // SAFETY: the path ends with a zero byte.
    let list = unsafe { libc::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY) };
    if list < 0 {
        return None;
    }
    let (mut filled, mut chunk) = (0, [0u8; 1024]);
    loop {
        // SAFETY: the pointer and the length are those of a buffer that is written to.
        let read = unsafe { libc::read(list, chunk.as_mut_ptr().cast(), chunk.len()) };
        let read = usize::try_from(read).ok().filter(|&read| read > 0)?;
        for &byte in &chunk[..read] {
            if byte != b'\n' {
                // A line that is too long is cut, and the path with it.
                line[filled.min(LINE - 1)] = byte;
                filled += 1;
                continue;
            }
            if let Some(path) = path_if_at(&line[..filled.min(LINE)], address) {
                let start = filled.min(LINE) - path;
                return Some(&line[start..filled.min(LINE)]);
            }
            filled = 0;
        }
    }
}

/// Length of the path that ends a line of the list of mappings, if the line is about a file at this address:
/// `start-end mode offset device inode path`.
fn path_if_at(line: &[u8], address: usize) -> Option<usize> {
    let (start, rest) = hexadecimal(line)?;
    let (end, rest) = hexadecimal(rest.strip_prefix(b"-")?)?;
    if !(start..end).contains(&address) {
        return None;
    }
    let path = rest.iter().position(|&byte| byte == b'/')?;
    Some(rest.len() - path)
}

fn hexadecimal(text: &[u8]) -> Option<(usize, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (number, rest) = text.split_at(digits);
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as usize);
    let mut value = 0usize;
    for byte in number {
        value = value.checked_mul(16)?.checked_add(digit(byte)?)?;
    }
    (digits > 0).then_some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_list_is_understood() {
        let line = b"7f00a000-7f00c000 r--s 00000000 fe:00 1234       /models/a b/model.safetensors";
        let at = |address| path_if_at(line, address).map(|length| &line[line.len() - length..]);
        for address in [0x7f00_a000, 0x7f00_b123, 0x7f00_bfff] {
            assert_eq!(at(address), Some(&b"/models/a b/model.safetensors"[..]));
        }
        assert_eq!((at(0x7f00_9fff), at(0x7f00_c000)), (None, None));
        for other in [
            "7f00a000-7f00c000 rw-p 00000000 00:00 0",
            "7f00a000-7f00c000 rw-p 0 00:00 0 [heap]",
            "",
            "-",
            "zz-1 /a",
        ] {
            assert_eq!(path_if_at(other.as_bytes(), 0x7f00_b000), None, "{other:?}");
        }
    }

    #[test]
    fn the_program_finds_its_own_file() {
        let mut line = [0; LINE];
        let found = file_mapped_at(a_line_of_the_list_is_understood as fn() as usize, &mut line);
        if !cfg!(target_os = "linux") {
            return assert_eq!(found, None, "only Linux has the list");
        }
        let found = String::from_utf8(found.expect("code is mapped from a file").to_vec()).unwrap();
        assert_eq!(found, std::env::current_exe().unwrap().display().to_string());
    }
}
