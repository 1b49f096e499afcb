#!/usr/bin/env bash
# Runs the tests of the core under tools that find undefined behaviour: tools/sanitize.sh [address|thread|miri|valgrind]..., all by default.
#
# address, thread  the sanitizers: library, kernels at every level of this machine, decoding, the pool. The thread sanitizer builds the
#                  standard library anew, so that it sees its locks.
# miri             an interpreter that checks every access; slow, so: threads, cache, formats, readers. Scalar kernels only.
# valgrind         the plain test programs, unchanged; it knows no AVX-512, so up to AVX2.
#
# thread and miri need a nightly toolchain (`rustup toolchain install nightly -c miri,rust-src`); address works without one.
# What is missing is skipped with a message.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_INCREMENTAL=0

target=$(rustc -vV | sed -n 's/^host: //p')
skip() { printf 'skipped: %s\n' "$*"; }
nightly() { rustup run nightly rustc --version >/dev/null 2>&1; }
component() { rustup component list --toolchain nightly 2>/dev/null | grep -q "^$1.*(installed)"; }
# Tests without dependencies other than those of the tests, from the smallest to whole generations.
tests=(--release --no-default-features --lib --test kernels --test decode --test golden --test soak)

run_address() {
    local toolchain=()
    if nightly; then toolchain=(+nightly); else export RUSTC_BOOTSTRAP=1; fi
    # Instrumented kernels that are inlined as in a release take a quarter of an hour to compile.
    CARGO_PROFILE_RELEASE_OPT_LEVEL=1 RUSTFLAGS="-Zsanitizer=address" ASAN_OPTIONS=detect_leaks=1 \
        cargo "${toolchain[@]}" test --target "$target" --target-dir target/sanitize-address "${tests[@]}"
}

run_thread() {
    nightly && component rust-src || { skip "the thread sanitizer needs nightly with rust-src"; return; }
    CARGO_PROFILE_RELEASE_OPT_LEVEL=1 RUSTFLAGS="-Zsanitizer=thread" \
        cargo +nightly test -Zbuild-std --target "$target" --target-dir target/sanitize-thread \
        --release --no-default-features --lib --test decode
}

run_miri() {
    nightly && component miri && component rust-src || { skip "miri needs nightly with miri and rust-src"; return; }
    # The clock and the files of the tests are the real ones.
    MIRIFLAGS="-Zmiri-disable-isolation" DIFFULEX_LEVEL=scalar PROPTEST_CASES=2 \
        cargo +nightly miri test --target-dir target/miri --no-default-features --lib -- \
        exec cache quant weights json::tests --skip every_pair --skip proptests
}

run_valgrind() {
    command -v valgrind >/dev/null || { skip "valgrind is not installed"; return; }
    local program
    cargo test --release --no-default-features --lib --test decode --no-run --message-format=json 2>/dev/null |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | while read -r program; do
        PROPTEST_CASES=2 DIFFULEX_LEVEL=scalar valgrind --quiet --error-exitcode=99 --leak-check=full \
            --errors-for-leak-kinds=definite "$program" --test-threads=1
    done
}

[ $# -gt 0 ] || set -- address thread miri valgrind
for kind in "$@"; do
    case $kind in
        address | thread | miri | valgrind) ;;
        *) echo "$kind is not one of address, thread, miri, valgrind" >&2; exit 2 ;;
    esac
    printf '== %s\n' "$kind"
    "run_$kind"
done
